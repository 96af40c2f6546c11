//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// administrator is the application that first start makes: Owner at "/".
type administrator struct {
	directory *identity.Directory
	app       identity.Application
}

const (
	administratorName = "Fairlead administrator"
	startSecretName   = "ready file" // the display name of the secret that each start mints
	ownerRole         = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
)

// openAdministrator finds the administrator by the object id that first start stored, or makes it: also when it was
// deleted since, for without one no start could write a ready file, and nobody could mend that. A role that was taken
// from it since stays taken.
func openAdministrator(ctx context.Context, directory *identity.Directory, engine *access.Engine, objectID string) (*administrator, error) {
	app, err := directory.Application(ctx, objectID)
	noted := err == nil
	if errors.Is(err, identity.ErrNotFound) {
		app, err = firstApplication(ctx, directory)
	}
	if err != nil {
		return nil, fmt.Errorf("finding or making the administrator's application: %w", err)
	}
	principal, err := directory.ServicePrincipalByClientID(ctx, app.ClientID)
	if err == nil && noted {
		return &administrator{directory, app}, nil
	}
	if errors.Is(err, identity.ErrNotFound) {
		principal, err = directory.CreateServicePrincipal(ctx, app.ClientID)
	}
	if err != nil {
		return nil, fmt.Errorf("finding or making the administrator's service principal: %w", err)
	}
	_, err = engine.Assign(ctx, access.Assignment{ // under the principal's own number, so that it is made once
		GUID: principal.ID, Scope: resource.Root, PrincipalID: principal.ID, RoleGUID: ownerRole, Description: "The administrator that first start makes",
	})
	if err != nil {
		return nil, fmt.Errorf("making the administrator Owner: %w", err)
	}
	return &administrator{directory, app}, nil
}

// firstApplication makes the administrator's application, or finds the one that a first start made before it was killed:
// nobody has come in yet, so it is alone and has no secret. The steps behind it go on from there.
func firstApplication(ctx context.Context, directory *identity.Directory) (identity.Application, error) {
	apps, err := directory.Applications(ctx, "", 2)
	if err != nil {
		return identity.Application{}, err
	}
	if len(apps) == 1 && apps[0].DisplayName == administratorName && len(apps[0].Secrets) == 0 {
		return apps[0], nil
	}
	return directory.CreateApplication(ctx, administratorName)
}

// mint adds this start's secret, taking back those that killed starts left. revoke takes it back at the end.
func (a *administrator) mint(ctx context.Context) (value secret.Text, revoke func(context.Context) error, err error) {
	app, err := a.directory.Application(ctx, a.app.ObjectID)
	if err != nil {
		return secret.Text{}, nil, err
	}
	for _, old := range app.Secrets {
		if old.DisplayName == startSecretName {
			if err := a.directory.RemoveSecret(ctx, app.ObjectID, old.KeyID); err != nil {
				return secret.Text{}, nil, fmt.Errorf("taking back the secret of an earlier start: %w", err)
			}
		}
	}
	minted, value, err := a.directory.AddSecret(ctx, app.ObjectID, startSecretName, time.Time{}, time.Time{})
	if err != nil {
		return secret.Text{}, nil, fmt.Errorf("minting the ready file's secret: %w", err)
	}
	return value, func(ctx context.Context) error { return a.directory.RemoveSecret(ctx, app.ObjectID, minted.KeyID) }, nil
}
