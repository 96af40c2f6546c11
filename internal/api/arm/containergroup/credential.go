package containergroup

import (
	"fmt"
	"slices"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

// Azure's refusals of imageRegistryCredentials, with its spelling.
var (
	errNotAttached = fault.New(fault.Invalid, "InvalidImageRegistryIdentity", "the identity is not the group's")
	errAmbiguous   = fault.New(fault.Invalid, "AmbiguousImageResitryCredentialType", "both a user name and an identity, or none")
	errTooOld      = fault.New(fault.Invalid, "InvalidImageRegistryCredentialType", "the api-version knows no identities here")
)

func (d *decoder) credentials(p *properties) error {
	for i := range p.Credentials {
		c := &p.Credentials[i]
		out, err := d.credential(fmt.Sprintf("imageRegistryCredentials[%d]", i), c)
		if err != nil {
			return err
		}
		c.Password = nil
		d.group.Credentials = append(d.group.Credentials, out)
	}
	return nil
}

func (d *decoder) credential(from string, c *credential) (run.Credential, error) {
	path, group := "properties."+from, d.group.ID.Name()
	out := run.Credential{Server: c.Server, Username: c.Username, From: from}
	switch {
	case c.Server == "":
		return out, invalid(path+".server", "it is the name of a registry's host.")
	case (c.Username == "") == (c.Identity == ""):
		return out, errAmbiguous.WithMessage("The registry credential type in the 'imageRegistryCredentials' of container group '%s' cannot be detected. "+
			"Please set exactly one of username or identity", group).WithTarget(path)
	case c.Identity != "":
		return d.identityCredential(path, out, c)
	case c.Password != nil && *c.Password != "":
		out.Password = secret.New(*c.Password)
		return out, nil
	}
	// A GET never shows a password: a body that was read and sent back keeps the one that is stored.
	if d.Old != nil {
		for _, old := range d.Old.Credentials {
			if old.Server == c.Server && old.Username == c.Username && !old.Password.IsZero() {
				out.Password = old.Password
				return out, nil
			}
		}
	}
	return out, invalid(path+".password", "a credential with a user name has a password.")
}

func (d *decoder) identityCredential(path string, out run.Credential, c *credential) (run.Credential, error) {
	group := d.group.ID.Name()
	if d.Version < identityVersion {
		return out, errTooOld.WithMessage("Identity in 'imageRegistryCredentials' of container group '%s' is not supported.", group).WithTarget(path + ".identity")
	}
	refusal := errNotAttached.WithMessage("The identity in the 'imageRegistryCredentials' of container group '%s' not found in container group identity list.", group).
		WithTarget(path + ".identity")
	id, err := resource.ParseID(c.Identity)
	if err != nil {
		return out, refusal.WithCause(err)
	}
	out.Identity, c.Identity = id, id.String()
	block := d.Resource.Identity
	if block == nil || !slices.ContainsFunc(block.Attached, id.Equal) {
		d.doomed = refusal
	}
	return out, nil
}
