package aks

import (
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// The kind of object that the webhook reads and writes.
const (
	reviewVersion = "authorization.k8s.io/v1"
	reviewKind    = "SubjectAccessReview"
)

// reviewSpec is what a SubjectAccessReview asks. What the decision does not rest on (groups, selectors) is left out.
//
// Source: https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/
type reviewSpec struct {
	User        string                 `json:"user"`
	Extra       map[string][]string    `json:"extra"`
	Resource    *resourceAttributes    `json:"resourceAttributes"`
	NonResource *nonResourceAttributes `json:"nonResourceAttributes"`
}

type resourceAttributes struct {
	Namespace   string `json:"namespace"` // "": the whole cluster
	Verb        string `json:"verb"`
	Group       string `json:"group"` // "": the core group
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
}

type nonResourceAttributes struct {
	Path string `json:"path"`
	Verb string `json:"verb"`
}

type reviewReply struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Status     reviewStatus `json:"status"`
}

// byToken reports whether the user is who they are by an Entra token, and not by a certificate of that name, say (see
// AuthenticationConfiguration).
func (s reviewSpec) byToken() bool { return len(s.Extra[extraTenant]) > 0 }

// reviewStatus allows, denies, which keeps others from allowing, or has no opinion.
type reviewStatus struct {
	Allowed bool   `json:"allowed"`
	Denied  bool   `json:"denied,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// reviewFailure is a Status of Kubernetes' API.
type reviewFailure struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Status     string `json:"status"`
	Message    string `json:"message"`
	Reason     string `json:"reason"`
	Code       int    `json:"code"`
}

// parseReview reads a review; a fault of kind Invalid names what is wrong with it.
func parseReview(body []byte) (reviewSpec, error) {
	var review struct {
		APIVersion string     `json:"apiVersion"`
		Kind       string     `json:"kind"`
		Spec       reviewSpec `json:"spec"`
	}
	if err := api.DecodeJSON(body, &review); err != nil {
		return reviewSpec{}, err
	}
	switch {
	case review.APIVersion != reviewVersion || review.Kind != reviewKind:
		return reviewSpec{}, errReview.WithMessage("the body is %.60q of %.60q; wanted is %s of %s", review.Kind, review.APIVersion, reviewKind, reviewVersion)
	case review.Spec.Resource == nil && review.Spec.NonResource == nil:
		return reviewSpec{}, errReview.WithMessage("spec has neither resourceAttributes nor nonResourceAttributes")
	case review.Spec.Resource != nil && review.Spec.NonResource != nil:
		return reviewSpec{}, errReview.WithMessage("spec has both resourceAttributes and nonResourceAttributes")
	}
	return review.Spec, nil
}

// question is a review in Azure's words: whether all of these data actions are allowed at a scope.
type question struct {
	actions []access.Action // never empty
	scope   resource.ID     // the cluster, or a namespace of it
}

// errNoQuestion: the review asks about something that no request can be about.
var errNoQuestion = fault.New(fault.Invalid, "NoQuestion", "the review asks about nothing")

// Words of a review. None that enters a data action can hold a slash: it would turn one data action into another.
var (
	objectIDPattern  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	wordPattern      = regexp.MustCompile(`^(\*|[a-z0-9]([a-z0-9.:_-]{0,251}[a-z0-9])?)$`)
	namespacePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	pathPattern      = regexp.MustCompile(`^/[\x21-\x7e]{0,1000}$`)
)

// isObjectID reports whether a user name is that of an Entra principal (see AuthenticationConfiguration).
func isObjectID(user string) bool { return objectIDPattern.MatchString(user) }

// question translates as Azure's own webhook does.
//
// Source: https://github.com/kubeguard/guard, authz/providers/azure/rbac/checkaccessreqhelper.go
func (s reviewSpec) question(cluster resource.ID) (question, error) {
	if s.NonResource != nil {
		action, err := s.NonResource.action()
		return question{[]access.Action{action}, cluster}, err
	}
	a := *s.Resource
	switch {
	case !wordPattern.MatchString(a.Verb):
		return question{}, errNoQuestion.WithMessage("%.100q is no verb", a.Verb)
	case a.Group != "" && !wordPattern.MatchString(a.Group):
		return question{}, errNoQuestion.WithMessage("%.100q is no group", a.Group)
	case !wordPattern.MatchString(a.Resource):
		return question{}, errNoQuestion.WithMessage("%.100q is no resource", a.Resource)
	}
	scope := cluster
	if a.Namespace != "" {
		if !namespacePattern.MatchString(a.Namespace) {
			return question{}, errNoQuestion.WithMessage("%.100q is no name of a namespace", a.Namespace)
		}
		scope = cluster.Child("namespaces", a.Namespace)
	}
	return question{a.actions(), scope}, nil
}

// actions gives the one data action that a request needs; of a request for "*", as "kubectl auth can-i '*' '*'" makes, all
// that are known, behind the one with the star itself, which no list of single actions holds.
func (a resourceAttributes) actions() []access.Action {
	all := []access.Action{a.action()}
	things := []resourceAttributes{a}
	if a.Group == "*" || a.Resource == "*" {
		things = things[:0]
		for thing := range strings.FieldsSeq(knownResources) {
			group, name, grouped := strings.Cut(thing, "/")
			if !grouped {
				group, name = "", thing
			}
			if (a.Group == "*" || a.Group == group) && (a.Resource == "*" || a.Resource == name) {
				things = append(things, resourceAttributes{Verb: a.Verb, Group: group, Resource: name, Subresource: a.Subresource})
			}
		}
	}
	for _, thing := range things {
		if thing.Subresource == "*" {
			for _, sub := range reaching() {
				thing.Subresource = sub
				all = append(all, thing.single()...)
			}
			thing.Subresource = ""
		}
		all = append(all, thing.single()...)
	}
	return all
}

// reaching gives the subresources that lead into a workload.
func reaching() []string { return []string{"exec", "attach", "portforward", "proxy"} }

// single gives the data actions on one resource: one, or of the verb "*" each.
func (a resourceAttributes) single() []access.Action {
	if a.Verb != "*" {
		return []access.Action{a.action()}
	}
	var all []access.Action
	for _, verb := range []string{"get", "create", "delete"} {
		a.Verb = verb
		all = append(all, a.action())
	}
	return all
}

// action gives the data action of one request. Subresources do not show in it, as in Azure (reading a pod's log is reading
// the pod), but for those that lead into a workload. Azure tells only "exec" of pods apart, and there whoever may read a pod
// may also read what it serves, through "proxy"; here that takes what writing it takes.
func (a resourceAttributes) action() access.Action {
	name := access.ClusterActions
	if a.Group != "" {
		name += a.Group + "/"
	}
	name += a.Resource + "/"
	if slices.Contains(reaching(), a.Subresource) {
		return access.Action{Name: name + a.Subresource + "/action", Data: true}
	}
	return access.Action{Name: name + verbOf(a.Verb), Data: true}
}

// verbOf gives the end of a data action. Verbs that Kubernetes has for special rights (bind, escalate, use, impersonate,
// approve …) become actions of that name.
func verbOf(verb string) string {
	switch verb {
	case "get", "list", "watch":
		return "read"
	case "create", "update", "patch":
		return "write"
	case "delete", "deletecollection":
		return "delete"
	case "*":
		return "*"
	}
	return verb + "/action"
}

// action gives the data action for a path that is no object's ("/metrics"); its verbs are HTTP's methods.
func (a nonResourceAttributes) action() (access.Action, error) {
	if !pathPattern.MatchString(a.Path) {
		return access.Action{}, errNoQuestion.WithMessage("%.100q is no path", a.Path)
	}
	var segments []string
	for segment := range strings.SplitSeq(a.Path, "/") {
		switch segment {
		case "":
		case ".", "..":
			return access.Action{}, errNoQuestion.WithMessage("%.100q is no path", a.Path)
		default:
			segments = append(segments, segment)
		}
	}
	verb := ""
	switch a.Verb {
	case "get", "head", "options":
		verb = "read"
	case "post", "put", "patch":
		verb = "write"
	case "delete", "*":
		verb = a.Verb
	default:
		return access.Action{}, errNoQuestion.WithMessage("%.100q is no verb for a path", a.Verb)
	}
	name := access.ClusterActions + strings.Join(append(segments, verb), "/")
	return access.Action{Name: name, Data: true}, nil
}

// knownResources are those of Kubernetes itself, "resource" or "group/resource".
//
// Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.37/
const knownResources = `
	bindings componentstatuses configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims persistentvolumes
	pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services users groups
	admissionregistration.k8s.io/mutatingwebhookconfigurations admissionregistration.k8s.io/validatingwebhookconfigurations
	admissionregistration.k8s.io/validatingadmissionpolicies admissionregistration.k8s.io/validatingadmissionpolicybindings
	apiextensions.k8s.io/customresourcedefinitions apiregistration.k8s.io/apiservices
	apps/controllerrevisions apps/daemonsets apps/deployments apps/replicasets apps/statefulsets
	authentication.k8s.io/tokenreviews authorization.k8s.io/localsubjectaccessreviews authorization.k8s.io/subjectaccessreviews
	autoscaling/horizontalpodautoscalers batch/cronjobs batch/jobs certificates.k8s.io/certificatesigningrequests certificates.k8s.io/signers
	coordination.k8s.io/leases discovery.k8s.io/endpointslices events.k8s.io/events
	flowcontrol.apiserver.k8s.io/flowschemas flowcontrol.apiserver.k8s.io/prioritylevelconfigurations metrics.k8s.io/nodes metrics.k8s.io/pods
	networking.k8s.io/ingressclasses networking.k8s.io/ingresses networking.k8s.io/ipaddresses networking.k8s.io/networkpolicies networking.k8s.io/servicecidrs
	node.k8s.io/runtimeclasses policy/poddisruptionbudgets
	rbac.authorization.k8s.io/clusterrolebindings rbac.authorization.k8s.io/clusterroles rbac.authorization.k8s.io/rolebindings rbac.authorization.k8s.io/roles
	resource.k8s.io/deviceclasses resource.k8s.io/resourceclaims resource.k8s.io/resourceclaimtemplates resource.k8s.io/resourceslices scheduling.k8s.io/priorityclasses
	storage.k8s.io/csidrivers storage.k8s.io/csinodes storage.k8s.io/csistoragecapacities storage.k8s.io/storageclasses
	storage.k8s.io/volumeattachments storage.k8s.io/volumeattributesclasses`
