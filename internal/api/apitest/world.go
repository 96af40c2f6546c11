// Package apitest owns what the tests of several surfaces share: a world of real stores and a real core to put a surface
// over, and golden files of whole HTTP answers.
package apitest

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

// Tenant is the tenant of every World.
const Tenant = "11111111-2222-3333-4444-555555555555"

// GUIDs of built-in roles.
const (
	Owner             = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor       = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader            = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	UserAccessAdmin   = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	AcrPull           = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
	AcrPush           = "8311e382-0749-4cb8-b61a-304f252e45ec"
	AcrDelete         = "c2f4ef07-c644-48eb-af81-4b1b4947fb11"
	RepositoryReader  = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
	startOfEveryWorld = "2030-01-02T03:04:05Z"
)

// World is a core over an empty database, with a clock that stands still until a test moves Now.
type World struct {
	T         testing.TB
	Now       time.Time
	Origin    resource.Origin
	Directory *identity.Directory
	Access    *access.Engine
	Tokens    *token.Service
}

// New makes a World whose database goes away with the test.
func New(t testing.TB) *World {
	t.Helper()
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	Must(t, err)
	t.Cleanup(func() { Must(t, db.Close()) })
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	Must(t, err)
	w := &World{T: t, Origin: resource.Origin{Domains: []string{"fairlead.localhost", "fairlead.internal"}, Port: 8443}}
	w.Now, err = time.Parse(time.RFC3339, startOfEveryWorld)
	Must(t, err)
	w.Directory = identity.NewDirectory(sql.NewDirectory(db, Tenant), sealer, Tenant, w.Clock)
	w.Access = access.NewEngine(sql.NewAccess(db, Tenant), Tenant)
	w.Tokens = token.NewService(sql.NewKeys(db, Tenant), sealer, w.Origin, Tenant, w.Clock)
	return w
}

// Clock gives Now.
func (w *World) Clock() time.Time { return w.Now }

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Program is an application that can sign in.
type Program struct {
	identity.Principal
	ObjectID string // of the application
	KeyID    string // of the secret
	Secret   secret.Text
}

// Program makes an application with a service principal and a secret.
func (w *World) Program(name string) Program {
	w.T.Helper()
	ctx := w.T.Context()
	app, err := w.Directory.CreateApplication(ctx, name)
	Must(w.T, err)
	sp, err := w.Directory.CreateServicePrincipal(ctx, app.ClientID)
	Must(w.T, err)
	s, value, err := w.Directory.AddSecret(ctx, app.ObjectID, "first", time.Time{}, time.Time{})
	Must(w.T, err)
	p, err := w.Directory.Principal(ctx, sp.ID)
	Must(w.T, err)
	return Program{Principal: p, ObjectID: app.ObjectID, KeyID: s.KeyID, Secret: value}
}

// Assign gives a role to a principal.
func (w *World) Assign(p identity.Principal, role string, scope resource.ID) access.Assignment {
	w.T.Helper()
	a, err := w.Access.Assign(w.T.Context(), access.Assignment{Scope: scope, PrincipalID: p.ID(), RoleGUID: role})
	Must(w.T, err)
	return a
}

// Token gives an Entra access token of p.
func (w *World) Token(p identity.Principal, audience string) string {
	w.T.Helper()
	raw, _, err := w.Tokens.IssueAccess(w.T.Context(), p, audience, 1)
	Must(w.T, err)
	return raw.Reveal()
}

// Log gives a logger that keeps quiet.
func Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Wrap gives a surface its request ids, as the server does.
func Wrap(h http.Handler) http.Handler {
	return api.NewTelemetry(Log(), prometheus.NewRegistry()).Wrap("test", h)
}
