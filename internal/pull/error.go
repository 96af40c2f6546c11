package pull

import "fairlead.dev/internal/fault"

// Error is why a pull failed: the stage that it failed in, the code of the failure (docs/reference/failures.md) and the
// fault that carries the words for the user.
type Error struct {
	Stage StageName
	Code  string
	Err   *fault.Error // one of the named errors below, mostly
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the fault.
func (e *Error) Unwrap() error { return e.Err }

// Named errors of this package. What the node alone can see is coarser than what explain finds out: a registry refuses
// a wrong password and a missing role alike.
var (
	ErrReferenceInvalid    = fault.New(fault.Invalid, "REF_INVALID", "not a valid image reference")
	ErrHostUnknown         = fault.New(fault.NotFound, "REF_HOST_UNKNOWN", "the host in the image's name is no registry that is known here")
	ErrNoCredential        = fault.New(fault.Unauthenticated, "CRED_NONE", "no credential is configured for the registry, and it refuses strangers")
	ErrNotAttached         = fault.New(fault.Unauthenticated, "CRED_IDENTITY_NOT_ATTACHED", "the identity that is named as pull credential is not attached to the workload")
	ErrNotEnabled          = fault.New(fault.Unauthenticated, "CRED_MI_NOT_ENABLED", "an identity is attached, but pulling with it is not switched on")
	ErrWrongClientID       = fault.New(fault.Unauthenticated, "CRED_WRONG_CLIENT_ID", "no attached identity has the client id that is named for pulling")
	ErrOtherHost           = fault.New(fault.Unauthenticated, "CRED_STALE_SETTINGS", "the only credential that is configured is for another registry")
	ErrIdentityGone        = fault.New(fault.Unauthenticated, "CRED_NODE_IDENTITY_GONE", "the identity gets no token: it was deleted or disabled")
	ErrRefused             = fault.New(fault.Unauthenticated, "AUTH_REFUSED", "the registry refused the user name and password, or they give no right to it")
	ErrDenied              = fault.New(fault.Denied, "ROLE_MISSING", "the registry refused the credential the right to pull")
	ErrRepositoryUnknown   = fault.New(fault.NotFound, "REPO_UNKNOWN", "the registry has no such repository")
	ErrTagUnknown          = fault.New(fault.NotFound, "TAG_UNKNOWN", "the repository has no such tag")
	ErrDigestUnknown       = fault.New(fault.NotFound, "DIGEST_UNKNOWN", "the repository has no manifest of this digest")
	ErrPlatformAbsent      = fault.New(fault.NotFound, "PLATFORM_ABSENT", "the image is not built for this machine's platform")
	ErrMismatch            = fault.New(fault.Unavailable, "CONTENT_MISMATCH", "the content is not what its digest and size say")
	ErrInvalid             = fault.New(fault.Invalid, "CONTENT_INVALID", "the image's manifest or config is not valid")
	ErrTooBig              = fault.New(fault.Exhausted, "CONTENT_TOO_BIG", "the image is beyond a limit")
	ErrUnreachable         = fault.New(fault.Unavailable, "NET_TIMEOUT", "the registry cannot be reached")
	ErrTLS                 = fault.New(fault.Unavailable, "NET_TLS", "the registry's certificate is not to be trusted")
	ErrThrottled           = fault.New(fault.Unavailable, "REG_THROTTLED", "the registry asks to come back later")
	ErrRegistryUnavailable = fault.New(fault.Unavailable, "REG_UNAVAILABLE", "the registry does not work at present")
	ErrNoSpace             = fault.New(fault.Exhausted, "UNPACK_NO_SPACE", "the node has no space left")
	ErrNotOnNode           = fault.New(fault.NotFound, "NOT_ON_NODE", "the image is not on the node")
	ErrNode                = fault.New(fault.Internal, "NODE_FAILED", "the node could not store the image")
	ErrCancelled           = fault.New(fault.Unavailable, "CANCELLED", "the pull was ended before it was done")
)
