package credentialprovider

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"unicode"

	"fairlead.dev/client"
)

// Step is one request of the way from an image to a login.
type Step string

// The steps, in their order. Of the first two there is one.
const (
	StepMetadata   Step = "metadata"   // the node's identity gets an access token
	StepFederation Step = "federation" // the pod's service account is turned into an access token
	StepExchange   Step = "exchange"   // the registry turns the access token into a login
)

func (s Step) String() string {
	switch s {
	case StepMetadata:
		return "asking the instance metadata for a token of the node's identity"
	case StepFederation:
		return "exchanging the service account's token for one of its managed identity"
	case StepExchange:
		return "exchanging the identity's token at the registry"
	}
	return string(s)
}

// Failure says which step failed, where, and what to do.
type Failure struct {
	Step     Step
	URL      string // "" when nothing was asked
	Status   int    // of the answer; 0 when there was none
	Message  string // the server's words, or why there are none; never a token
	Advice   string
	ClientID string // of the identity, as far as it is known
}

// Error implements error.
func (f *Failure) Error() string {
	text := fmt.Sprintf("%s failed", f.Step)
	if f.URL != "" {
		text += " at " + f.URL
	}
	text += ": "
	if f.Status != 0 {
		text += fmt.Sprintf("%d %s: ", f.Status, http.StatusText(f.Status))
	}
	return text + f.Message
}

// Hint says what to do next.
func (f *Failure) Hint() string { return f.Advice }

// unreachable describes a request that got no answer.
func unreachable(f Failure, err error) *Failure {
	name, unknown := errors.AsType[*net.DNSError](err)
	certificate, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		f.Message = "no answer in time"
		f.Advice = "see whether the node reaches that address; the time for everything is 'timeout' in the configuration"
	case unknown:
		f.Message = fmt.Sprintf("the name %s does not resolve on this node", name.Name)
		f.Advice = "the node's resolver must know it; or name Fairlead's address as 'address' in the configuration"
	case untrusted:
		f.Message = "its certificate is not trusted: " + certificate.Err.Error()
		f.Advice = "name the authority's file as 'caFile' in the configuration; 'fairlead trust' prints where it is"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Message = "nothing listens there: connection refused"
		f.Advice = "see whether Fairlead runs and the address is right"
	default:
		f.Message = cause(err).Error()
		f.Advice = "see whether the node reaches that address"
	}
	if f.Step == StepMetadata && f.Status == 0 {
		f.Advice += "; instance metadata is 'metadataEndpoint' in the configuration"
	}
	return &f
}

// cause takes the URL off an error of net/http, which Failure says itself.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// refused describes an answer that is no success. Nothing that was sent stands in it.
func refused(f Failure, body []byte, sent ...client.Secret) *Failure {
	f.Message = words(body, sent...)
	switch {
	case f.Step == StepExchange && f.Status == http.StatusUnauthorized:
		f.Message += fmt.Sprintf(" (the managed identity %s has no role on this registry, or is none of its tenant)", orUnknown(f.ClientID))
		f.Advice = fmt.Sprintf("give it one: fairlead role assign AcrPull --to %s --on %s", orUnknown(f.ClientID), registryOf(f.URL))
	case f.Step == StepExchange && f.Status == http.StatusNotFound:
		f.Advice = "there is no registry of that name: see the image's host, and 'registries' in the configuration"
	case f.Step == StepMetadata && strings.Contains(f.Message, "Identity not found"):
		f.Advice = "the node does not have the identity (any more): see 'clientId' in the configuration, or give the node an identity again"
	case f.Step == StepMetadata && strings.Contains(f.Message, "Multiple user assigned"):
		f.Advice = "name the one that is to pull as 'clientId' in the configuration"
	case f.Step == StepMetadata && f.Status == http.StatusNotFound:
		f.Advice = "that is no instance metadata service: see 'metadataEndpoint' in the configuration"
	case f.Step == StepFederation && f.Status < http.StatusInternalServerError: // it is said already what it needs
	default:
		f.Advice = "see the server's log"
	}
	return &f
}

func orUnknown(id string) string {
	if id == "" {
		return "CLIENT_ID"
	}
	return id
}

// registryOf gives the registry's name out of a URL of its login server.
func registryOf(url string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(url, "https://"), ".")
	return name
}

var tokenShape = regexp.MustCompile(`eyJ[\w-]+\.[\w.-]+`)

// maxWords is how much of a server's answer is shown, in bytes.
const maxWords = 400

// words gives what a server says in an error: that of OAuth2, of a registry, or plain text on one line. Whatever looks
// like a token, or was sent as one, is taken out.
func words(body []byte, sent ...client.Secret) string {
	var known struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Errors      []struct{ Code, Message string }
	}
	text := string(body)
	if json.Unmarshal(body, &known) == nil {
		switch {
		case len(known.Errors) > 0:
			text = known.Errors[0].Code + ": " + known.Errors[0].Message
		case known.Error != "":
			text = known.Error + ": " + known.Description
		}
	}
	for _, s := range sent {
		if s != "" {
			text = strings.ReplaceAll(text, string(s), "[token]")
		}
	}
	text = tokenShape.ReplaceAllString(text, "[token]")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	switch {
	case text == "":
		return "the answer is empty"
	case len(text) > maxWords:
		return strings.ToValidUTF8(text[:maxWords], "") + "…"
	}
	return text
}
