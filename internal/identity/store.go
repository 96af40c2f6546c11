package identity

import (
	"context"
	"time"

	"fairlead.dev/internal/resource"
)

// Application is an application of the directory: what a service principal is the local face of.
type Application struct {
	ObjectID    string // GUID
	ClientID    string // GUID, never equal to ObjectID
	DisplayName string
	Created     time.Time
	Secrets     []Secret // in order of KeyID
}

// Secret is what is known of a client secret: never its value.
type Secret struct {
	KeyID       string // GUID
	DisplayName string
	Hint        string // the first three characters
	Start, End  time.Time
}

// ServicePrincipal is an entry that roles can be assigned to: the local face of an application, or a managed identity.
type ServicePrincipal struct {
	ID          string // object id, GUID
	ClientID    string
	DisplayName string
	Kind        Kind // KindApplication, KindManaged
	Enabled     bool
	Resource    resource.ID // as Principal.Resource
	System      bool
	Created     time.Time
}

// StoredSecret is a client secret as the store keeps it: hashed.
type StoredSecret struct {
	Secret
	Hash string // of secret.HashGenerated
}

// Admin is the admin user of a registry as the store keeps it.
type Admin struct {
	Registry   resource.ID
	Enabled    bool
	Generation int64
	Passwords  [2][]byte // sealed
}

// Store keeps a directory. Its parts are written apart so that each stays small.
type Store interface {
	ApplicationStore
	SecretStore
	PrincipalStore
	AdminStore
	FederationStore
	// Version gives a number that moves on with every change that any method of the store makes, before that method
	// returns. It is asked at every request and must cost next to nothing.
	Version(ctx context.Context) (int64, error)
	// Changed gives a channel that is closed at the next change.
	Changed() <-chan struct{}
}

// ApplicationStore keeps applications. All methods return ErrNotFound for an application that is not there.
type ApplicationStore interface {
	// CreateApplication stores a new one without secrets; ErrDuplicate when an id is taken.
	CreateApplication(ctx context.Context, a Application) error
	// Application finds one, with its secrets, by its object id.
	Application(ctx context.Context, objectID string) (Application, error)
	// ApplicationByClientID finds one, with its secrets, by its client id.
	ApplicationByClientID(ctx context.Context, clientID string) (Application, error)
	// Applications lists them, with their secrets, in order of object id behind after, at most limit.
	Applications(ctx context.Context, after string, limit int) ([]Application, error)
	// DeleteApplication removes one with its secrets and its service principal.
	DeleteApplication(ctx context.Context, objectID string) error
}

// SecretStore keeps client secrets.
type SecretStore interface {
	// AddSecret stores a new secret of an application; ErrNotFound when there is no such application.
	AddSecret(ctx context.Context, objectID string, s StoredSecret) error
	// RemoveSecret removes one; ErrNotFound.
	RemoveSecret(ctx context.Context, objectID, keyID string) error
	// Secrets gives all secrets of the application with a client id; ErrNotFound when there is no such application.
	Secrets(ctx context.Context, clientID string) ([]StoredSecret, error)
}

// PrincipalStore keeps service principals. Methods that name one return ErrNotFound when it is not there.
type PrincipalStore interface {
	// CreatePrincipal stores a new one; ErrDuplicate when the id, the client id or the owner is taken.
	CreatePrincipal(ctx context.Context, p ServicePrincipal) error
	// ServicePrincipal finds one by its object id.
	ServicePrincipal(ctx context.Context, id string) (ServicePrincipal, error)
	// ServicePrincipalByClientID finds one by its client id.
	ServicePrincipalByClientID(ctx context.Context, clientID string) (ServicePrincipal, error)
	// ServicePrincipalOf finds the managed identity that belongs to a resource.
	ServicePrincipalOf(ctx context.Context, owner resource.ID) (ServicePrincipal, error)
	// ServicePrincipals lists them in order of object id behind after, at most limit.
	ServicePrincipals(ctx context.Context, after string, limit int) ([]ServicePrincipal, error)
	// SetEnabled enables or disables one.
	SetEnabled(ctx context.Context, id string, enabled bool) error
	// DeletePrincipal removes one.
	DeletePrincipal(ctx context.Context, id string) error
}

// AdminStore keeps the admin users of registries.
type AdminStore interface {
	// Admin gives the admin user of a registry; ErrNotFound.
	Admin(ctx context.Context, registry resource.ID) (Admin, error)
	// UpdateAdmin lets change look at the admin user (the zero Admin when there is none yet) and stores what it gives, in
	// one transaction. An error of change is passed on and nothing is stored.
	UpdateAdmin(ctx context.Context, registry resource.ID, change func(Admin) (Admin, error)) error
	// DeleteAdmin removes it, if it is there.
	DeleteAdmin(ctx context.Context, registry resource.ID) error
}

// FederationStore keeps the federations of principals. They go with their principal.
type FederationStore interface {
	// PutFederation stores one, or changes the one of the principal that has its name without regard to case, which keeps
	// its spelling and Created; created tells which. ErrNotFound when there is no such principal, ErrDuplicate when another
	// one of the principal has the same issuer and subject, ErrFederationsFull when it has limit of them already.
	PutFederation(ctx context.Context, principal string, f Federation, limit int) (stored Federation, created bool, err error)
	// Federations gives those of a principal in order of their case-folded names; none when there is no such principal.
	Federations(ctx context.Context, principal string) ([]Federation, error)
	// DeleteFederation removes one; ErrNotFound.
	DeleteFederation(ctx context.Context, principal, name string) error
}
