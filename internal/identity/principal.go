// Package identity owns who is asking: the directory of one tenant (applications with their client secrets, service
// principals, managed identities and their federations, the admin users of registries) and the step from a Credential to a Principal. What
// a principal may do is the business of package access; tokens are package token's.
package identity

import (
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Kind says what sort of principal asks.
type Kind string

// The kinds of principals.
const (
	KindApplication   Kind = "application"     // a service principal of an application in the directory
	KindManaged       Kind = "managedIdentity" // user-assigned or system-assigned
	KindRegistryAdmin Kind = "registryAdmin"   // the admin user of one registry; not in the directory
)

// Principal is who asks, established. Only this package makes one; the zero Principal is nobody. It is comparable.
type Principal struct {
	id, clientID, tenant, name string
	kind                       Kind
	resource                   resource.ID
	system                     bool
	generation                 int64
}

// ID gives the principal (object) id, which role assignments name: a GUID, or "admin:<registry key>" for the admin user
// of a registry.
func (p Principal) ID() string { return p.id }

// ClientID gives the client (application) id, which is never the principal id; "" for the admin user of a registry.
func (p Principal) ClientID() string { return p.clientID }

// Tenant gives the tenant's id.
func (p Principal) Tenant() string { return p.tenant }

// Kind says what sort of principal it is.
func (p Principal) Kind() Kind { return p.kind }

// Name gives the display name.
func (p Principal) Name() string { return p.name }

// Resource gives a user-assigned identity's own resource id, the id of the resource that a system-assigned one belongs
// to, or the registry of an admin user; the zero ID for applications.
func (p Principal) Resource() resource.ID { return p.resource }

// SystemAssigned reports whether it is the system-assigned identity of Resource.
func (p Principal) SystemAssigned() bool { return p.system }

// Generation gives, for the admin user of a registry, the number that changes whenever its passwords or its state
// change, so that what was issued before can be refused; 0 for all others.
func (p Principal) Generation() int64 { return p.generation }

// IsZero reports whether the principal is nobody.
func (p Principal) IsZero() bool { return p.id == "" }

// Credential is something a caller proves an identity with: ClientSecret, RegistryPassword or Assertion.
type Credential interface{ credential() }

// ClientSecret proves to be an application.
type ClientSecret struct {
	ClientID string
	Secret   secret.Text
}

// RegistryPassword proves to be the admin user of a registry, whose user name is the registry's name.
type RegistryPassword struct {
	Registry resource.ID
	Username string
	Password secret.Text
}

func (ClientSecret) credential()     {}
func (RegistryPassword) credential() {}

func adminID(registry resource.ID) string { return "admin:" + registry.Key() }

func (d *Directory) adminPrincipal(a Admin) Principal {
	return Principal{
		id: adminID(a.Registry), tenant: d.tenant, name: a.Registry.Name(), kind: KindRegistryAdmin,
		resource: a.Registry, generation: a.Generation,
	}
}

func (d *Directory) principal(sp ServicePrincipal) Principal {
	return Principal{
		id: sp.ID, clientID: sp.ClientID, tenant: d.tenant, name: sp.DisplayName, kind: sp.Kind,
		resource: sp.Resource, system: sp.System,
	}
}
