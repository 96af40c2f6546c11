package identity

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// SetAdmin turns the admin user of a registry on or off. Turned on for the first time it gets two passwords; they stay
// the same through off and on again, but what was issued before does not come back to life.
func (d *Directory) SetAdmin(ctx context.Context, registry resource.ID, enabled bool) error {
	have, err := d.store.Admin(ctx, registry)
	switch {
	case errors.Is(err, ErrNotFound) && !enabled:
		return nil
	case err == nil && have.Enabled == enabled:
		return nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	}
	return d.store.UpdateAdmin(ctx, registry, func(a Admin) (Admin, error) {
		a.Registry, a.Enabled, a.Generation = registry, enabled, newGeneration()
		for i := range a.Passwords {
			if a.Passwords[i] == nil {
				a.Passwords[i] = d.sealPassword(registry, i)
			}
		}
		return a, nil
	})
}

// AdminEnabled reports whether the admin user of a registry is on.
func (d *Directory) AdminEnabled(ctx context.Context, registry resource.ID) (bool, error) {
	_, err := d.admin(ctx, registry)
	if errors.Is(err, ErrAdminDisabled) {
		return false, nil
	}
	return err == nil, err
}

// AdminPasswords gives both passwords of the admin user; ErrAdminDisabled.
func (d *Directory) AdminPasswords(ctx context.Context, registry resource.ID) ([2]secret.Text, error) {
	a, err := d.admin(ctx, registry)
	if err != nil {
		return [2]secret.Text{}, err
	}
	return d.open(a)
}

// RegenerateAdmin replaces the first (0) or the second (1) password; ErrAdminDisabled, ErrInvalid. Tokens that were
// issued to the admin user, with either password, end.
func (d *Directory) RegenerateAdmin(ctx context.Context, registry resource.ID, which int) error {
	if which != 0 && which != 1 {
		return ErrInvalid.WithTarget("name").WithMessage("an admin user has the passwords 'password' and 'password2'")
	}
	return d.store.UpdateAdmin(ctx, registry, func(a Admin) (Admin, error) {
		if !a.Enabled {
			return a, ErrAdminDisabled
		}
		a.Generation, a.Passwords[which] = newGeneration(), d.sealPassword(registry, which)
		return a, nil
	})
}

// DeleteAdmin removes the admin user of a registry, if it has one.
func (d *Directory) DeleteAdmin(ctx context.Context, registry resource.ID) error {
	return d.store.DeleteAdmin(ctx, registry)
}

// AdminPrincipal gives the admin user of a registry while it is on and of the generation given, which a token carries;
// ErrAdminDisabled, ErrBadPassword.
func (d *Directory) AdminPrincipal(ctx context.Context, registry resource.ID, generation int64) (Principal, error) {
	a, err := d.admin(ctx, registry)
	if err != nil {
		return Principal{}, err
	}
	if a.Generation != generation {
		return Principal{}, ErrBadPassword.WithMessage("the passwords of the admin user were changed since")
	}
	return d.adminPrincipal(a), nil
}

// admin gives an admin user that is on; ErrAdminDisabled.
func (d *Directory) admin(ctx context.Context, registry resource.ID) (Admin, error) {
	version, err := d.store.Version(ctx)
	if err != nil {
		return Admin{}, err
	}
	a, err := d.admins.Get(version, registry, func() (Admin, error) { return d.store.Admin(ctx, registry) })
	if errors.Is(err, ErrNotFound) || err == nil && !a.Enabled {
		return Admin{}, ErrAdminDisabled
	}
	return a, err
}

func (d *Directory) sealPassword(registry resource.ID, which int) []byte {
	return d.sealer.Seal([]byte(password().Reveal()), passwordPlace(registry, which))
}

func (d *Directory) open(a Admin) (passwords [2]secret.Text, err error) {
	for i, box := range a.Passwords {
		plain, err := d.sealer.Open(box, passwordPlace(a.Registry, i))
		if err != nil {
			return passwords, fmt.Errorf("opening admin password %d of %s: %w", i+1, a.Registry, err)
		}
		passwords[i] = secret.New(string(plain))
	}
	return passwords, nil
}

// passwordPlace binds a sealed password to its place.
func passwordPlace(registry resource.ID, which int) string {
	return fmt.Sprintf("admin/%s/%d", registry.Key(), which)
}

// newGeneration gives a number that JSON carries exactly. It is random and not counted, so that a registry made anew
// under an old name does not repeat the numbers of the old one.
func newGeneration() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:])>>12) | 1 // never 0
}
