package cluster

import (
	"context"
	"net/netip"

	"fairlead.dev/internal/fault"
)

// Machine is what clusters run on: it makes their nodes and the processes on them.
type Machine interface {
	// Check tells the release of Kubernetes that clusters get ("1.37.2"), and whether there is room for one of so many nodes
	// beside those of the others. ErrProgramMissing, ErrTooManyNodes.
	Check(ctx context.Context, nodes, others int) (version string, err error)
	// Start brings a cluster about as plan says, or finds it running so; what runs that plan does not have is ended. It
	// returns when every node is ready, telling progress meanwhile in a few words for people. ErrProgramMissing,
	// ErrTooManyNodes; other errors are the machine's own.
	Start(ctx context.Context, plan Plan, progress func(string)) (Running, error)
	// Stop ends a cluster's processes and pods and keeps its data; nil also when nothing runs.
	Stop(ctx context.Context, key string) error
	// Rotate takes the certificates of a stopped cluster away, so that its next start makes new ones.
	Rotate(ctx context.Context, key string) error
	// Remove ends a cluster and takes all that is kept of it away; nil also when there is nothing.
	Remove(ctx context.Context, key string) error
}

// Running is a cluster that runs.
type Running interface {
	// Run brings back what dies until ctx ends; the cluster then goes on without it.
	Run(ctx context.Context) error
	// Close lets go of the cluster's processes, which run on. Run must have returned.
	Close() error
	// Access is how the cluster is reached.
	Access() (Access, error)
}

// Named errors of machines.
var (
	// ErrProgramMissing: the program fairlead-kube is not installed.
	ErrProgramMissing = fault.New(fault.Unavailable, "KubernetesProgramMissing", "the program fairlead-kube is not beside fairlead nor on PATH")
	// ErrTooManyNodes: this machine cannot carry that many.
	ErrTooManyNodes = fault.New(fault.Exhausted, "QuotaExceeded", "this machine cannot carry as many nodes")
)

// Plan is what a machine needs to know to bring a cluster about.
type Plan struct {
	Key         string // 16 hexadecimal digits, from the cluster's id: what its things on the machine are called
	Name        string // a DNS label
	PodCIDR     netip.Prefix
	ServiceCIDR netip.Prefix
	DNSDomain   string   // "cluster.local"
	Hosts       []string // names that clients reach the API server by
	Issuer      string   // of service accounts' tokens
	Nodes       []NodePlan
	// Authentication, Authorization and Admission are the API server's configurations of how Fairlead has a say in them
	// (apiserver.config.k8s.io/v1), as JSON; empty for none.
	Authentication, Authorization, Admission []byte
	// Files are further files, by their names, that those configurations refer to in the cluster's directory.
	Files map[string][]byte
	// CredentialProviders is the kubelets' configuration of programs that they ask for credentials before a pull
	// (kubelet.config.k8s.io/v1 CredentialProviderConfig), as JSON; empty for none. Each of them is Fairlead's own.
	CredentialProviders []byte
	// VerifyPull is the kubelet's imagePullCredentialsVerificationPolicy (KEP-2535).
	VerifyPull string
	// PodsReachMetadata lets pods use the nodes' own identity.
	PodsReachMetadata bool
}

// NodePlan is a node of a plan.
type NodePlan struct {
	Name       string // a DNS label
	Labels     map[string]string
	ProviderID string
}

// Access is how a cluster is reached: an address that this machine alone can reach, and the credential that may do
// everything.
type Access struct {
	Server      netip.AddrPort
	Authority   []byte // PEM
	Certificate []byte // PEM, of cluster-admin
	Key         []byte // PEM
	TokenKey    []byte // PEM, the public key that service accounts' tokens are verified with
}
