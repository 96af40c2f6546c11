// Package run owns what is running: it takes the desired state of a workload (a container group or a web app), has
// every image pulled for the workload's own identity, starts the containers, keeps them running by their restart policy
// and answers what became of them. One goroutine owns each workload; everything it decides on is stored before it
// acts, so that a Fairlead that was killed finds its containers again and goes on.
//
//	Put ──► ask the right to pull, fetch ──► sandbox ──► start ──► keep by policy ──► Stop, Delete
//	             │  refused                                 ▲
//	             └─ Failed; again when access changes, or   │
//	                after 10 s doubling to 300 s ───────────┘
//
// How an image is fetched is package pull's business, how a container is made a Runtime's, and which JSON a workload
// was written in the surface's.
package run

import (
	"context"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Kind says which sort of workload a Group is.
type Kind string

// The kinds of workload.
const (
	KindContainerGroup Kind = "containerGroup"
	KindWebApp         Kind = "webApp"
)

// RestartPolicy says what happens when a container exits.
type RestartPolicy string

// The restart policies, spelled as Azure does.
const (
	Always    RestartPolicy = "Always"    // started again after any exit
	OnFailure RestartPolicy = "OnFailure" // started again after an exit code that is not 0
	Never     RestartPolicy = "Never"     // left alone
)

// Group is the desired state of one workload: its containers share a sandbox, that is, one address, one set of limits
// and one life. It holds secrets and is stored sealed as a whole.
type Group struct {
	ID            resource.ID
	Kind          Kind
	Location      string
	Containers    []Container
	RestartPolicy RestartPolicy   // "" is Always; a web app is always restarted
	Credentials   []Credential    // imageRegistryCredentials, in their order; container groups only
	Identities    []pull.Identity // attached to the workload: user-assigned ones and the system-assigned one
	IP            *IPAddress      // nil when the group asks for no address outside
	Web           *Web            // set for web apps only
}

// Container is one container of a Group.
type Container struct {
	Name     string   // unique within the group: lower-case letters, digits and '-', at most 63
	Image    string   // as it was written
	Command  []string // replaces the image's entrypoint and arguments when not empty
	Env      []EnvVar // over the image's own
	Ports    []Port   // that it listens on; for show only
	CPU      float64  // cores; a limit, not a reservation
	MemoryGB float64  // GiB, as Azure counts memoryInGB; a limit, not a reservation
}

// EnvVar is an environment variable with a public or a secret value.
type EnvVar struct {
	Name     string
	Value    string
	Secure   secret.Text
	IsSecure bool // the value is Secure
}

// Port is a port and its protocol.
type Port struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol,omitempty"` // "TCP" or "UDP"; "" is TCP
}

// IPAddress is a container group's address on the container network.
type IPAddress struct {
	Ports        []Port
	DNSNameLabel string
	Public       bool
}

// Credential is one entry of imageRegistryCredentials: a user name and password, or a user-assigned identity.
type Credential struct {
	Server   string
	Username string
	Password secret.Text
	Identity resource.ID // zero when the entry names a user
	From     string      // the entry's path: "imageRegistryCredentials[0]"
}

// Web is what makes a Group a web app.
type Web struct {
	SiteName string
	Hostname string // default host name, without a port

	UseManagedIdentity          bool   // acrUseManagedIdentityCreds
	UserManagedIdentityClientID string // acrUserManagedIdentityID: a client id; "" is the system-assigned identity

	Server   string // DOCKER_REGISTRY_SERVER_URL, with or without "https://"
	Username string // DOCKER_REGISTRY_SERVER_USERNAME
	Password secret.Text

	Port       int           // WEBSITES_PORT; 0 tries 80 and 8080
	StartLimit time.Duration // WEBSITES_CONTAINER_START_TIME_LIMIT; 0 is 230 s
}

// Puller has images pulled. *pull.Puller is the real one.
type Puller interface {
	// Pull asks the right to pull with the request's own credentials, also when the image is on the node, and fetches
	// what is missing. The Attempt is the whole record, also beside an error; the observer sees it grow.
	Pull(ctx context.Context, r pull.Request, o pull.Observer) (pull.Image, pull.Attempt, error)
	// Reopen gives back an image that was pulled before and is still on the node, asking no registry: for restarts by
	// policy after Fairlead itself was restarted. A NotFound fault says that it is not on the node.
	Reopen(ctx context.Context, image string, digest content.Digest) (pull.Image, error)
}
