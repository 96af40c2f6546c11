// Package secret owns how secrets are held: in memory as Text, which no log, format verb or JSON encoder shows; at
// rest hashed, when they are only verified (Hash), or sealed under a versioned key, when they must be shown or
// presented again (Sealer). Which secret is which is the business of the packages to its right.
package secret

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"unique"
)

const redacted = "[redacted]"

// Text is a secret in memory. Every way of printing it gives "[redacted]", or at most an address when it lies in an
// unexported field, where fmt asks no methods; Reveal is the one way out, so that a search for Reveal finds every place
// where a secret leaves. Texts of equal secrets are equal under ==.
type Text struct{ value unique.Handle[string] }

// New wraps value.
func New(value string) Text {
	if value == "" {
		return Text{}
	}
	return Text{unique.Make(value)}
}

// Generate makes a secret of n random bytes, written in unpadded base64url.
func Generate(n int) Text {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand.Read aborts the program instead
	return New(base64.RawURLEncoding.EncodeToString(b))
}

// Reveal gives the secret itself.
func (t Text) Reveal() string {
	if t.IsZero() {
		return ""
	}
	return t.value.Value()
}

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t == Text{} }

// Format hides the secret from every verb of fmt: String alone would not serve %d.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String hides the secret from what calls it directly.
func (t Text) String() string { return redacted }

// LogValue hides the secret from log/slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the secret: what must be stored with it is sealed by its owner with Reveal.
func (t Text) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
