package run

import (
	"encoding/json"
	"fmt"

	"fairlead.dev/internal/secret"
)

// secret.Text never encodes itself, so these shapes say where a Group's secrets stand once it is sealed: each hides the
// field of the same name that it embeds.
type (
	storedGroup struct {
		Group
		Containers  []storedContainer
		Credentials []storedCredential
		Web         *storedWeb
	}
	storedContainer struct {
		Container
		Env []storedEnv
	}
	storedEnv struct {
		EnvVar
		Secure string
	}
	storedCredential struct {
		Credential
		Password string
	}
	storedWeb struct {
		Web
		Password string
	}
)

// encode gives the group with its secrets, to be sealed.
func encode(g Group) ([]byte, error) {
	out := storedGroup{Group: g}
	for _, c := range g.Containers {
		stored := storedContainer{Container: c}
		for _, e := range c.Env {
			stored.Env = append(stored.Env, storedEnv{e, e.Secure.Reveal()})
		}
		out.Containers = append(out.Containers, stored)
	}
	for _, c := range g.Credentials {
		out.Credentials = append(out.Credentials, storedCredential{c, c.Password.Reveal()})
	}
	if g.Web != nil {
		out.Web = &storedWeb{*g.Web, g.Web.Password.Reveal()}
	}
	return json.Marshal(out)
}

// decode is the inverse of encode.
func decode(plain []byte) (Group, error) {
	var in storedGroup
	if err := json.Unmarshal(plain, &in); err != nil {
		return Group{}, fmt.Errorf("reading a stored workload: %w", err)
	}
	g := in.Group
	for _, c := range in.Containers {
		for _, e := range c.Env {
			e.EnvVar.Secure = secret.New(e.Secure)
			c.Container.Env = append(c.Container.Env, e.EnvVar)
		}
		g.Containers = append(g.Containers, c.Container)
	}
	for _, c := range in.Credentials {
		c.Credential.Password = secret.New(c.Password)
		g.Credentials = append(g.Credentials, c.Credential)
	}
	if in.Web != nil {
		g.Web = &in.Web.Web
		g.Web.Password = secret.New(in.Web.Password)
	}
	return g, nil
}

// clone gives a copy that shares nothing with g, so that neither side's later changes reach the other.
func (g Group) clone() (Group, error) {
	plain, err := encode(g)
	if err != nil {
		return Group{}, err
	}
	return decode(plain)
}
