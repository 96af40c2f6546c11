package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"fairlead.dev/internal/memo"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Bounds of what the directory accepts, as Microsoft Graph has them.
const (
	maxDisplayName = 256  // characters
	maxSecrets     = 100  // of one application
	secretLife     = 2    // years, when no end is given
	maxYear        = 9999 // that times are written with (RFC 3339)
)

// Bounds of the memory, in entries.
const rememberedPrincipals = 1 << 16

// Directory is the directory of one tenant. All methods are safe for concurrent use.
type Directory struct {
	store  Store
	sealer *secret.Sealer
	tenant string
	now    func() time.Time

	principals *memo.Memo[string, ServicePrincipal] // by object id
	secrets    *memo.Memo[string, login]            // by client id
	admins     *memo.Memo[resource.ID, Admin]
	federated  *memo.Memo[string, federated] // by client id
}

// NewDirectory opens the directory of a tenant; sealer seals the admin passwords of registries.
func NewDirectory(store Store, sealer *secret.Sealer, tenant string, now func() time.Time) *Directory {
	return &Directory{
		store: store, sealer: sealer, tenant: tenant, now: now,
		principals: memo.New[string, ServicePrincipal](rememberedPrincipals),
		secrets:    memo.New[string, login](rememberedPrincipals),
		admins:     memo.New[resource.ID, Admin](rememberedPrincipals),
		federated:  memo.New[string, federated](rememberedPrincipals),
	}
}

// Tenant gives the tenant's id.
func (d *Directory) Tenant() string { return d.tenant }

// Version gives a number that moves on with every change of the directory, for whoever remembers what it said.
func (d *Directory) Version(ctx context.Context) (int64, error) { return d.store.Version(ctx) }

// Changed gives a channel that is closed at the next change of the directory: of a principal, a secret or an admin user.
func (d *Directory) Changed() <-chan struct{} { return d.store.Changed() }

// CreateApplication makes an application; ErrInvalid for a name that is empty or over 256 characters. Names need not be
// unique.
func (d *Directory) CreateApplication(ctx context.Context, displayName string) (Application, error) {
	if err := checkName(displayName); err != nil {
		return Application{}, err
	}
	a := Application{ObjectID: uuid.NewString(), ClientID: uuid.NewString(), DisplayName: displayName, Created: d.stamp()}
	if err := d.store.CreateApplication(ctx, a); err != nil {
		return Application{}, fmt.Errorf("creating application %q: %w", displayName, err)
	}
	return a, nil
}

// Application finds an application by its object id; ErrNotFound.
func (d *Directory) Application(ctx context.Context, objectID string) (Application, error) {
	return d.store.Application(ctx, fold(objectID))
}

// ApplicationByClientID finds an application by its client id; ErrNotFound.
func (d *Directory) ApplicationByClientID(ctx context.Context, clientID string) (Application, error) {
	return d.store.ApplicationByClientID(ctx, fold(clientID))
}

// Applications lists applications in order of object id, at most limit of them, beginning behind after.
func (d *Directory) Applications(ctx context.Context, after string, limit int) ([]Application, error) {
	return d.store.Applications(ctx, fold(after), limit)
}

// DeleteApplication removes an application, its secrets and its service principal; ErrNotFound.
func (d *Directory) DeleteApplication(ctx context.Context, objectID string) error {
	return d.store.DeleteApplication(ctx, fold(objectID))
}

// AddSecret makes a client secret and gives its value, which is never to be had again. A zero start means now, a zero
// end two years after the start; the end may lie in the past. ErrNotFound, ErrInvalid when it ends before it starts or
// the application has 100 already.
func (d *Directory) AddSecret(ctx context.Context, objectID, displayName string, start, end time.Time) (Secret, secret.Text, error) {
	app, err := d.Application(ctx, objectID)
	if err != nil {
		return Secret{}, secret.Text{}, err
	}
	if len(app.Secrets) >= maxSecrets {
		return Secret{}, secret.Text{}, ErrInvalid.WithTarget("passwordCredential").WithMessage("the application has %d secrets, which is the limit: remove one first", maxSecrets)
	}
	s := Secret{KeyID: uuid.NewString(), DisplayName: displayName}
	if s.Start, s.End, err = d.period(start, end); err != nil {
		return Secret{}, secret.Text{}, err
	}
	if displayName != "" {
		if err := checkName(displayName); err != nil {
			return Secret{}, secret.Text{}, err
		}
	}
	value := password()
	s.Hint = value.Reveal()[:3]
	if err := d.store.AddSecret(ctx, app.ObjectID, StoredSecret{s, secret.HashGenerated(value)}); err != nil {
		return Secret{}, secret.Text{}, fmt.Errorf("adding a secret to application %s: %w", app.ClientID, err)
	}
	return s, value, nil
}

// period fills in what is missing of a secret's period.
func (d *Directory) period(start, end time.Time) (time.Time, time.Time, error) {
	start, end = stamp(start), stamp(end)
	switch {
	case start.IsZero() && !end.IsZero() && end.Before(d.stamp()):
		start = end // it is born expired, and so it never was valid
	case start.IsZero():
		start = d.stamp()
	}
	if end.IsZero() {
		end = start.AddDate(secretLife, 0, 0)
	}
	switch {
	case end.Before(start):
		return start, end, ErrInvalid.WithTarget("endDateTime").WithMessage("the secret would end before it starts")
	case start.Year() < 1 || end.Year() > maxYear:
		return start, end, ErrInvalid.WithTarget("endDateTime").WithMessage("the secret's period must lie between the years 1 and %d", maxYear)
	}
	return start, end, nil
}

// RemoveSecret removes a client secret; ErrNotFound.
func (d *Directory) RemoveSecret(ctx context.Context, objectID, keyID string) error {
	return d.store.RemoveSecret(ctx, fold(objectID), fold(keyID))
}

// CreateServicePrincipal makes the service principal of an application; ErrNotFound when there is no such application,
// ErrDuplicate when it has one.
func (d *Directory) CreateServicePrincipal(ctx context.Context, clientID string) (ServicePrincipal, error) {
	app, err := d.ApplicationByClientID(ctx, clientID)
	if err != nil {
		return ServicePrincipal{}, err
	}
	sp := ServicePrincipal{
		ID: uuid.NewString(), ClientID: app.ClientID, DisplayName: app.DisplayName,
		Kind: KindApplication, Enabled: true, Created: d.stamp(),
	}
	if err := d.store.CreatePrincipal(ctx, sp); err != nil {
		return ServicePrincipal{}, fmt.Errorf("creating the service principal of %s: %w", app.ClientID, err)
	}
	return sp, nil
}

// ServicePrincipal finds a service principal by its object id; ErrNotFound.
func (d *Directory) ServicePrincipal(ctx context.Context, id string) (ServicePrincipal, error) {
	return d.store.ServicePrincipal(ctx, fold(id))
}

// ServicePrincipalByClientID finds a service principal by its client id; ErrNotFound.
func (d *Directory) ServicePrincipalByClientID(ctx context.Context, clientID string) (ServicePrincipal, error) {
	return d.store.ServicePrincipalByClientID(ctx, fold(clientID))
}

// ServicePrincipals lists service principals in order of object id, at most limit of them, beginning behind after.
func (d *Directory) ServicePrincipals(ctx context.Context, after string, limit int) ([]ServicePrincipal, error) {
	return d.store.ServicePrincipals(ctx, fold(after), limit)
}

// SetEnabled enables or disables a service principal; ErrNotFound. A disabled one is refused at its next request.
func (d *Directory) SetEnabled(ctx context.Context, id string, enabled bool) error {
	return d.store.SetEnabled(ctx, fold(id), enabled)
}

// DeleteServicePrincipal removes a service principal; ErrNotFound. Its application stays. A managed identity goes with
// its resource only: ErrInvalid.
func (d *Directory) DeleteServicePrincipal(ctx context.Context, id string) error {
	sp, err := d.ServicePrincipal(ctx, id)
	if err != nil {
		return err
	}
	if sp.Kind == KindManaged {
		return ErrInvalid.WithMessage("the managed identity %s is removed with its resource %s", sp.ID, sp.Resource)
	}
	return d.store.DeletePrincipal(ctx, sp.ID)
}

// EnsureManaged gives the managed identity of a resource, making it, with a new client id and principal id, when there
// is none. For a user-assigned identity owner is its own resource id.
func (d *Directory) EnsureManaged(ctx context.Context, owner resource.ID, system bool, name string) (ServicePrincipal, error) {
	if err := checkName(name); err != nil {
		return ServicePrincipal{}, err
	}
	sp := ServicePrincipal{
		ID: uuid.NewString(), ClientID: uuid.NewString(), DisplayName: name,
		Kind: KindManaged, Enabled: true, Resource: owner, System: system, Created: d.stamp(),
	}
	have, err := d.store.ServicePrincipalOf(ctx, owner)
	if errors.Is(err, ErrNotFound) {
		err = d.store.CreatePrincipal(ctx, sp)
		if errors.Is(err, ErrDuplicate) { // somebody else was faster
			return d.store.ServicePrincipalOf(ctx, owner)
		}
		have = sp
	}
	if err != nil {
		return ServicePrincipal{}, fmt.Errorf("making the managed identity of %s: %w", owner, err)
	}
	return have, nil
}

// Managed gives the managed identity of a resource; ErrPrincipalUnknown.
func (d *Directory) Managed(ctx context.Context, owner resource.ID) (ServicePrincipal, error) {
	sp, err := d.store.ServicePrincipalOf(ctx, owner)
	if errors.Is(err, ErrNotFound) {
		return sp, ErrPrincipalUnknown.WithMessage("%s has no managed identity", owner)
	}
	return sp, err
}

// DeleteManaged removes the managed identity of a resource, if it has one.
func (d *Directory) DeleteManaged(ctx context.Context, owner resource.ID) error {
	sp, err := d.store.ServicePrincipalOf(ctx, owner)
	if err == nil {
		err = d.store.DeletePrincipal(ctx, sp.ID)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func checkName(name string) error {
	if name == "" || utf8.RuneCountInString(name) > maxDisplayName || !utf8.ValidString(name) || strings.ContainsFunc(name, isControl) {
		return ErrInvalid.WithTarget("displayName").WithMessage("the display name must have 1 to %d characters, none of them a control character", maxDisplayName)
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// fold gives a GUID as it is stored; what is no GUID is not found.
func fold(id string) string { return strings.ToLower(id) }

func (d *Directory) stamp() time.Time { return stamp(d.now()) }

// stamp gives a time as every store keeps it.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// password makes a secret that no command line takes for a flag.
func password() secret.Text {
	for {
		if t := secret.Generate(32); !strings.HasPrefix(t.Reveal(), "-") {
			return t
		}
	}
}
