package aks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// maxAdmission is the largest AdmissionReview that is read, in bytes: an object of Kubernetes has at most 1.5 MiB, and the
// review may hold it twice.
const maxAdmission = 4 << 20

// ServiceAccounts reads the service accounts of clusters.
type ServiceAccounts interface {
	// Annotations gives the annotations of one. A fault of the kind NotFound says that there is none.
	Annotations(ctx context.Context, cluster resource.ID, namespace, name string) (map[string]string, error)
}

// WebhookDeps is what the webhook needs.
type WebhookDeps struct {
	// Caller gives the managed cluster whose API server makes a request.
	Caller          func(r *http.Request) (cluster resource.ID, ok bool)
	ServiceAccounts ServiceAccounts
	// TenantID is what pods get as AZURE_TENANT_ID when nobody says otherwise. "adfs" is the tenant with which the client
	// libraries look nothing up in Microsoft's cloud first; our login host knows it.
	TenantID string
	// AuthorityHost is what pods get as AZURE_AUTHORITY_HOST: our login host under a name that leads there from a pod.
	AuthorityHost string
	Log           *slog.Logger
}

// NewWebhook gives the mutating admission webhook of clusters. It does to pods with the label
// azure.workload.identity/use: "true" what azure-workload-identity does (see mutate), and lets all others pass unchanged.
// It answers POST of an AdmissionReview; what it cannot read is answered 400, and a pod that asks for something that
// cannot be given is refused with the reason.
//
// Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/ and
// https://azure.github.io/azure-workload-identity/docs/installation/mutating-admission-webhook.html
func NewWebhook(deps WebhookDeps) http.Handler { return &webhook{deps} }

type webhook struct{ WebhookDeps }

// The kind and version of the one review that is spoken.
const (
	admissionVersion = "admission.k8s.io/v1"
	admissionKind    = "AdmissionReview"
)

// review is an AdmissionReview, as far as it is read and written.
type review struct {
	APIVersion string             `json:"apiVersion"`
	Kind       string             `json:"kind"`
	Request    *admissionRequest  `json:"request,omitempty"`
	Response   *admissionResponse `json:"response,omitempty"`
}

type admissionRequest struct {
	UID      string `json:"uid"`
	Resource struct {
		Group    string `json:"group"`
		Version  string `json:"version"`
		Resource string `json:"resource"`
	} `json:"resource"`
	SubResource string          `json:"subResource"`
	Namespace   string          `json:"namespace"`
	Operation   string          `json:"operation"`
	Object      json.RawMessage `json:"object"`
}

type admissionResponse struct {
	UID       string           `json:"uid"`
	Allowed   bool             `json:"allowed"`
	Status    *admissionStatus `json:"status,omitempty"`
	PatchType string           `json:"patchType,omitempty"`
	Patch     []byte           `json:"patch,omitempty"` // a JSON patch (RFC 6902), which JSON carries in base64
}

type admissionStatus struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

var errAdmission = fault.New(fault.Invalid, "BadRequest", "the body is no AdmissionReview of admission.k8s.io/v1 with a request")

// ServeHTTP implements http.Handler.
func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeFailure(w, http.StatusMethodNotAllowed, "an AdmissionReview is posted")
		return
	}
	cluster, ok := h.Caller(r)
	if !ok {
		writeFailure(w, http.StatusUnauthorized, errReviewCaller.Message)
		return
	}
	request, err := readAdmission(r)
	if err != nil {
		writeFailure(w, http.StatusBadRequest, fault.From(err).Message)
		return
	}
	patch, err := h.admit(r.Context(), cluster, request)
	response := &admissionResponse{UID: request.UID, Allowed: err == nil}
	switch {
	case err != nil:
		response.Status = h.refusal(r.Context(), cluster, err)
	case len(patch) > 0:
		if response.Patch, err = json.Marshal(patch); err != nil {
			writeFailure(w, http.StatusInternalServerError, "the patch cannot be written")
			return
		}
		response.PatchType = "JSONPatch"
	}
	api.WriteJSON(w, http.StatusOK, review{APIVersion: admissionVersion, Kind: admissionKind, Response: response})
}

func readAdmission(r *http.Request) (*admissionRequest, error) {
	body, err := api.ReadBody(r, maxAdmission)
	if err != nil {
		return nil, errAdmission.WithMessage("the body is over %d bytes or ended early", maxAdmission).WithCause(err)
	}
	var in review
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, errAdmission.WithCause(err)
	}
	if in.APIVersion != admissionVersion || in.Kind != admissionKind || in.Request == nil || in.Request.UID == "" {
		return nil, errAdmission
	}
	return in.Request, nil
}

// admit gives the changes to what a request is about: none unless a pod is created that uses workload identity.
func (h *webhook) admit(ctx context.Context, cluster resource.ID, r *admissionRequest) ([]operation, error) {
	if r.Operation != "CREATE" || r.Resource.Group != "" || r.Resource.Resource != "pods" || r.SubResource != "" {
		return nil, nil
	}
	var p pod
	if err := json.Unmarshal(r.Object, &p); err != nil {
		return nil, errPod.WithMessage("the pod is not understood").WithCause(err)
	}
	if p.Metadata.Labels[labelUse] != "true" || len(p.Spec.Containers) == 0 {
		return nil, nil
	}
	account := cmp.Or(p.Spec.ServiceAccountName, "default")
	annotations, err := h.ServiceAccounts.Annotations(ctx, cluster, r.Namespace, account)
	if err != nil && fault.KindOf(err) == fault.NotFound {
		return nil, errPod.WithMessage("the pod uses workload identity, but its service account %q does not exist in the namespace %q", account, r.Namespace)
	}
	if err != nil {
		return nil, err
	}
	return h.mutate(p, annotations)
}

// refusal says why a pod is not admitted. What is our own failure shows nothing, and is logged.
func (h *webhook) refusal(ctx context.Context, cluster resource.ID, err error) *admissionStatus {
	if errors.Is(err, errPod) {
		return &admissionStatus{Code: http.StatusBadRequest, Reason: "BadRequest", Message: "workload identity: " + fault.From(err).Message}
	}
	if !errors.Is(err, context.Canceled) {
		h.Log.ErrorContext(ctx, "a pod could not be changed for workload identity", "request_id", api.RequestID(ctx), "cluster", cluster.String(), "error", err)
	}
	return &admissionStatus{Code: http.StatusInternalServerError, Reason: "InternalError", Message: "workload identity: the service account cannot be read at present"}
}

func writeFailure(w http.ResponseWriter, status int, message string) {
	api.WriteJSON(w, status, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": message})
}
