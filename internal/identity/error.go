package identity

import "fairlead.dev/internal/fault"

// Errors of the directory. Messages name ids, never secrets.
var (
	// ErrAppUnknown: no application has the client id (AADSTS700016).
	ErrAppUnknown = fault.New(fault.Unauthenticated, "AppUnknown", "no application has this client id in the directory")
	// ErrSecretWrong: none of the application's secrets is the one given, or it is not valid yet (AADSTS7000215).
	ErrSecretWrong = fault.New(fault.Unauthenticated, "SecretWrong", "the client secret is wrong")
	// ErrSecretExpired: the secret given was right until its end date (AADSTS7000222).
	ErrSecretExpired = fault.New(fault.Unauthenticated, "SecretExpired", "the client secret has expired")
	// ErrPrincipalUnknown: there is no such principal, or the application has none.
	ErrPrincipalUnknown = fault.New(fault.Unauthenticated, "PrincipalUnknown", "there is no such principal in the directory")
	// ErrPrincipalDisabled: the principal is disabled (AADSTS7000112).
	ErrPrincipalDisabled = fault.New(fault.Unauthenticated, "PrincipalDisabled", "the principal is disabled")
	// ErrBadPassword: the user name or password of a registry's admin user is wrong or was regenerated.
	ErrBadPassword = fault.New(fault.Unauthenticated, "BadPassword", "the user name or the password is wrong")
	// ErrAdminDisabled: the registry's admin user is off.
	ErrAdminDisabled = fault.New(fault.Unauthenticated, "AdminDisabled", "the admin user of the registry is disabled")
	// ErrFederationUnknown: the identity has no federated credential with the token's issuer and subject (AADSTS70021).
	ErrFederationUnknown = fault.New(fault.Unauthenticated, "FederationUnknown", "the identity has no federated credential for this issuer and subject")
	// ErrFederationAudience: it has one, but for another audience (AADSTS700212).
	ErrFederationAudience = fault.New(fault.Unauthenticated, "FederationAudience", "the identity's federated credential is for another audience")
	// ErrFederationsFull: the identity has as many federated credentials as one may have.
	ErrFederationsFull = fault.New(fault.Conflict, "FederationsFull", "the identity has 20 federated credentials, which is the limit: remove one first")
	// ErrNotFound: the directory has no such object.
	ErrNotFound = fault.New(fault.NotFound, "DirectoryObjectNotFound", "the directory has no such object")
	// ErrDuplicate: the directory has such an object already.
	ErrDuplicate = fault.New(fault.Conflict, "DirectoryObjectExists", "the directory has such an object already")
	// ErrInvalid: a value that the directory does not accept; Target names it.
	ErrInvalid = fault.New(fault.Invalid, "DirectoryValueInvalid", "the value is not valid")
)
