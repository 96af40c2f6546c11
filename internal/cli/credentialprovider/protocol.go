package credentialprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"fairlead.dev/client"
)

// The protocol between the kubelet and this program.
//
// Source: https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/
const (
	apiVersion   = "credentialprovider.kubelet.k8s.io/v1"
	kindRequest  = "CredentialProviderRequest"
	kindResponse = "CredentialProviderResponse"
)

// Bounds of what is read, in bytes.
const (
	maxRequest = 1 << 20
	maxImage   = 4 << 10
)

// Request is what the kubelet asks: the credentials for one image, and for whom where it was told to say so (KEP-4412).
type Request struct {
	Kind                      string            `json:"kind"`
	APIVersion                string            `json:"apiVersion"`
	Image                     string            `json:"image"`
	ServiceAccountToken       client.Secret     `json:"serviceAccountToken"`
	ServiceAccountAnnotations map[string]string `json:"serviceAccountAnnotations"`
}

// Login is a user name and password for one registry.
type Login struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Response is what the kubelet is answered. Keys of Auth are hosts as they stand in images.
type Response struct {
	Kind          string           `json:"kind"`
	APIVersion    string           `json:"apiVersion"`
	CacheKeyType  string           `json:"cacheKeyType"`
	CacheDuration string           `json:"cacheDuration"`
	Auth          map[string]Login `json:"auth"`
}

// ReadRequest reads one request. Fields that it does not know are passed over: a newer kubelet may send some.
func ReadRequest(r io.Reader) (Request, error) {
	var req Request
	text, err := io.ReadAll(io.LimitReader(r, maxRequest+1))
	switch {
	case err != nil:
		return req, fmt.Errorf("reading the request from stdin: %w", err)
	case len(text) > maxRequest:
		return req, fmt.Errorf("the request on stdin is over %d bytes long", maxRequest)
	case len(strings.TrimSpace(string(text))) == 0:
		return req, fmt.Errorf("stdin is empty: the kubelet writes a %s there", kindRequest)
	}
	if err := json.Unmarshal(text, &req); err != nil {
		return Request{}, fmt.Errorf("the request on stdin is not a %s in JSON: %w", kindRequest, unquoted(err))
	}
	switch {
	case req.Kind != kindRequest:
		return Request{}, fmt.Errorf("kind is %.80q, not %q", req.Kind, kindRequest)
	case req.APIVersion != apiVersion:
		return Request{}, fmt.Errorf("apiVersion is %.80q, not %q: the provider's apiVersion in the kubelet's CredentialProviderConfig must be that", req.APIVersion, apiVersion)
	case req.Image == "":
		return Request{}, fmt.Errorf("image is missing")
	case len(req.Image) > maxImage || strings.ContainsFunc(req.Image, unprintable):
		return Request{}, fmt.Errorf("image is no image reference: %.80q", req.Image)
	}
	return req, nil
}

func unprintable(r rune) bool { return r <= ' ' || r >= 0x7f }

// unquoted takes from a decoder's error what it quotes of the input, which may be part of a token.
func unquoted(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("field %q must not be a JSON %s", wrong.Field, strings.Fields(wrong.Value)[0])
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("the fault is at byte %d", syntax.Offset)
	}
	return fmt.Errorf("it cannot be read")
}

// nothing is the answer for an image that is none of ours: not to be remembered, so that a change of the configuration
// is noticed.
func nothing() Response {
	return Response{Kind: kindResponse, APIVersion: apiVersion, CacheKeyType: "Registry", CacheDuration: "0s", Auth: map[string]Login{}}
}

// loginFor is the answer with a login for all images of a host.
func loginFor(host string, l Login, keep time.Duration) Response {
	r := nothing()
	r.CacheDuration, r.Auth[host] = keep.String(), l
	return r
}

// hostOf gives the host of an image as it is written, and whether it names one: without it an image is of Docker Hub.
func hostOf(image string) (string, bool) {
	host, _, ok := strings.Cut(image, "/")
	return host, ok && hostShape.MatchString(host) && (strings.ContainsAny(host, ".:") || host == "localhost")
}

var (
	hostShape    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	patternShape = regexp.MustCompile(`^([a-z0-9-]*\*[a-z0-9-]*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)
)

// pattern is a host in which one "*", in its first label only, stands for any letters of that label.
type pattern struct {
	before, after string
	wild          bool
}

func parsePattern(s string) (pattern, error) {
	s = strings.ToLower(s)
	if !patternShape.MatchString(s) {
		return pattern{}, fmt.Errorf("%.80q is no host, such as myacr.azurecr.io or *.azurecr.io:8443", s)
	}
	before, after, wild := strings.Cut(s, "*")
	return pattern{before, after, wild}, nil
}

// match tells whether a host fits, and what its "*" stands for.
func (p pattern) match(host string) (string, bool) {
	host = strings.ToLower(host)
	if !p.wild {
		return "", host == p.before
	}
	middle, ok := strings.CutPrefix(host, p.before)
	if !ok {
		return "", false
	}
	middle, ok = strings.CutSuffix(middle, p.after)
	return middle, ok && middle != "" && !strings.ContainsAny(middle, ".:")
}

// with puts something in the place of the "*".
func (p pattern) with(middle string) string {
	if !p.wild {
		return p.before
	}
	return p.before + middle + p.after
}
