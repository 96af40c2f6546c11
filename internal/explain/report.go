package explain

import (
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// The verdicts.
const (
	CanPull    = "can-pull"
	CannotPull = "cannot-pull"
	NotAPull   = "not-a-pull" // the image is there; what is wrong comes after the pull
)

// Report says why one container of a workload can or cannot pull its image. Its JSON is docs/reference/failures.md,
// section 3; no secret, token or password stands in it.
type Report struct {
	Container     string         `json:"container"`
	Verdict       string         `json:"verdict"`
	Code          string         `json:"code"`  // of the failure; "" when there is none or it is hidden
	Stage         string         `json:"stage"` // that failed
	Summary       string         `json:"summary"`
	Image         Image          `json:"image"`
	Credential    *Credential    `json:"credential,omitempty"`
	Identity      *Identity      `json:"identity,omitempty"`
	Token         *Token         `json:"token,omitempty"`
	Authorization *Authorization `json:"authorization,omitempty"`
	Stages        []Stage        `json:"stages"`
	Fix           []Fix          `json:"fix"` // steps, in order; empty where no command can repair it
	AlsoWrong     []Also         `json:"alsoWrong"`
	FirstError    *Also          `json:"firstError,omitempty"` // of the retries, when it was another than the last
	FirstSeen     time.Time      `json:"firstSeen,omitzero"`
	LastSeen      time.Time      `json:"lastSeen,omitzero"`
	NextRetry     time.Time      `json:"nextRetry,omitzero"`
}

// Image is what was asked for.
type Image struct {
	Given     string         `json:"given"`
	Resolved  string         `json:"resolved"`
	Digest    content.Digest `json:"digest,omitempty"`
	Defaulted []string       `json:"defaulted"`
}

// Credential is where the credential that was used stands, and why others were not used.
type Credential struct {
	Source  string    `json:"source"` // "none" for a stranger
	From    string    `json:"from"`
	Skipped []Skipped `json:"skipped"`
}

// Skipped is a credential that was not used.
type Skipped struct {
	Source string `json:"source"`
	From   string `json:"from"`
	Why    string `json:"why"`
}

// Identity is who asks, or for a credential that cannot be used who would ask.
type Identity struct {
	Kind        string `json:"kind"`
	Name        string `json:"name"`
	ResourceID  string `json:"resourceId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
	PrincipalID string `json:"principalId,omitempty"`
	TenantID    string `json:"tenantId,omitempty"`
	Attached    *bool  `json:"attached,omitempty"` // of managed identities: to this workload
}

// Token is what became of the request for a registry token.
type Token struct {
	Status    string `json:"status"` // "issued", "refused"
	Audience  string `json:"audience,omitempty"`
	NotBefore string `json:"notBefore,omitempty"`
	ExpiresAt string `json:"expiresAt,omitempty"`
}

// Authorization is what was looked at to decide.
type Authorization struct {
	Needed     string       `json:"needed"`
	Mode       string       `json:"mode"`
	Considered []Considered `json:"considered"`
}

// Considered is one role assignment.
type Considered struct {
	Role        string `json:"role"`
	Scope       string `json:"scope"`
	PrincipalID string `json:"principalId"`
	Result      string `json:"result"` // "accepted", "rejected"
	Why         string `json:"why,omitempty"`
}

// Stage is one step and how it is known: by doing it just now, or by reading what is configured or recorded.
type Stage struct {
	Name    pull.StageName `json:"name"`
	Outcome string         `json:"outcome"` // a pull.Outcome, "not reached", or "hidden: …"
	Known   string         `json:"known,omitempty"`
	Message string         `json:"message,omitempty"`
}

// Fix is one complete command and its twin for the az CLI; Az is "" where az has none that is safe to paste.
type Fix struct {
	Why     string `json:"why"`
	Command string `json:"command"`
	Az      string `json:"az"`
}

// Also is another failure.
type Also struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
}
