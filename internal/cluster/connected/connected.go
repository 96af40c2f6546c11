// Package connected owns clusters that others run and that are known here by their kubeconfig: it keeps pull secrets in them
// that are minted for managed identities, renewed before they end, and taken away when the right to pull goes. Workloads
// that Fairlead itself runs on a cluster are package run's; how a cluster is spoken to is a driver's.
package connected

import (
	"context"
	"regexp"
	"strconv"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Cluster is a connected cluster as it is wanted.
type Cluster struct {
	ID         resource.ID
	Kubeconfig secret.Text // zero keeps the one that is there
	Context    string      // of the kubeconfig; "" is its current one
	Pulls      []Pull
}

// Pull is a pull secret that is kept in a namespace.
type Pull struct {
	Namespace string      `json:"namespace"`
	Secret    string      `json:"secretName"`
	Accounts  []string    `json:"serviceAccounts,omitempty"` // that pull with it without naming it
	Registry  string      `json:"registry"`                  // login server
	Identity  resource.ID `json:"identity"`                  // user-assigned; whose right it is
}

// Status is how far a connected cluster is.
type Status struct {
	Version string    // release of Kubernetes; "" when it has not answered yet
	Seen    time.Time // when it answered last
	Failure string    // why it does not answer; "" when it does
	Pulls   []PullStatus
}

// PullStatus is how far a pull secret is.
type PullStatus struct {
	Pull
	Expires time.Time // of what is in it; zero when there is none
	Failure string    // why there is none, or why it is not as wanted
}

// Remote is a cluster that is spoken to.
type Remote interface {
	// Version asks for its release of Kubernetes.
	Version(ctx context.Context) (string, error)
	// Put has a pull secret hold a login, and the service accounts name it. One of that name that is not ours is refused
	// with a Conflict fault; a service account that is not there, with a NotFound one, after all others were seen to.
	Put(ctx context.Context, p Pull, login pull.Login) error
	// Remove takes a pull secret away, from the service accounts as well; nil also when there is none.
	Remove(ctx context.Context, p Pull) error
}

// Named errors of this package.
var (
	// ErrNotFound: there is no such cluster.
	ErrNotFound = fault.New(fault.NotFound, "ResourceNotFound", "there is no such connected cluster")
	// ErrUnreachable: the cluster does not answer with this kubeconfig.
	ErrUnreachable = fault.New(fault.Invalid, "ClusterUnreachable", "the cluster does not answer")
	// ErrInvalid: the wish cannot be.
	ErrInvalid = fault.New(fault.Invalid, "InvalidConnectedCluster", "this cannot be")
	// ErrClosed: Run has ended.
	ErrClosed = fault.New(fault.Unavailable, "Closed", "Fairlead is ending")
)

var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
)

// validate refuses what could not be kept, with the field.
func (c Cluster) validate() error {
	seen := map[[2]string]bool{}
	for i, p := range c.Pulls {
		at := "pullSecrets[" + strconv.Itoa(i) + "]."
		bad := func(field, format string, args ...any) error {
			return ErrInvalid.WithMessage(format, args...).WithTarget(at + field)
		}
		switch {
		case !label.MatchString(p.Namespace):
			return bad("namespace", "%q is no name of a namespace", p.Namespace)
		case !subdomain.MatchString(p.Secret):
			return bad("secretName", "%q is no name of a secret", p.Secret)
		case p.Registry == "":
			return bad("registry", "the registry that the secret is for is missing")
		case p.Identity.IsZero():
			return bad("identity", "the managed identity that the secret is minted for is missing")
		case seen[[2]string{p.Namespace, p.Secret}]:
			return bad("secretName", "two secrets of the namespace %s are called %s", p.Namespace, p.Secret)
		}
		for _, a := range p.Accounts {
			if !subdomain.MatchString(a) {
				return bad("serviceAccounts", "%q is no name of a service account", a)
			}
		}
		seen[[2]string{p.Namespace, p.Secret}] = true
	}
	return nil
}
