package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// RegistryUser is the user name that goes with a refresh token as password.
const RegistryUser = "00000000-0000-0000-0000-000000000000"

// RegistryLogin exchanges the client's identity for a refresh token of a registry, to be used as the password of
// RegistryUser. A principal with no right at all on the registry gets an *Error of status 401.
func (c *Client) RegistryLogin(ctx context.Context, loginServer string) (Secret, error) {
	access, err := c.Token(ctx, registryScope)
	if err != nil {
		return "", err
	}
	var reply struct {
		RefreshToken Secret `json:"refresh_token"`
	}
	err = c.postForm(ctx, "https://"+loginServer+"/oauth2/exchange", url.Values{
		"grant_type": {"access_token"}, "service": {loginServer}, "tenant": {c.server.Tenant}, "access_token": {string(access)},
	}, &reply)
	return reply.RefreshToken, err
}

// Content reads and deletes what a registry holds.
type Content struct {
	client      *Client
	loginServer string
	basic       string // Authorization header
}

// Content opens a registry with the refresh token that RegistryLogin gave.
func (c *Client) Content(loginServer string, refresh Secret) *Content {
	basic := base64.StdEncoding.EncodeToString([]byte(RegistryUser + ":" + string(refresh)))
	return &Content{client: c, loginServer: loginServer, basic: "Basic " + basic}
}

func (c *Content) do(ctx context.Context, method, target, accept string) (answer, error) {
	return c.client.send(ctx, request{
		method: method, url: "https://" + c.loginServer + target, auth: c.basic, header: http.Header{"Accept": {accept}},
	})
}

// Repositories lists all repositories of the registry.
func (c *Content) Repositories(ctx context.Context) ([]string, error) {
	return c.pages(ctx, "/v2/_catalog", func(body []byte) ([]string, error) {
		var page struct {
			Repositories []string `json:"repositories"`
		}
		err := json.Unmarshal(body, &page)
		return page.Repositories, err
	})
}

// Tags lists all tags of a repository.
func (c *Content) Tags(ctx context.Context, repository string) ([]string, error) {
	return c.pages(ctx, "/v2/"+escapePath(repository)+"/tags/list", func(body []byte) ([]string, error) {
		var page struct {
			Tags []string `json:"tags"`
		}
		err := json.Unmarshal(body, &page)
		return page.Tags, err
	})
}

// pageSize is how many names are asked for at once.
const pageSize = "1000"

// pages follows Link headers, of which only the query counts: what is asked stays the same.
func (c *Content) pages(ctx context.Context, path string, decode func([]byte) ([]string, error)) ([]string, error) {
	all := []string{}
	for query := "n=" + pageSize; query != ""; {
		a, err := c.do(ctx, http.MethodGet, path+"?"+query, "application/json")
		if err != nil {
			return nil, err
		}
		names, err := decode(a.body)
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
		query = nextQuery(a.header.Get("Link"))
	}
	return all, nil
}

// nextQuery gives the query of `<…?query>; rel="next"`, or "".
func nextQuery(link string) string {
	target, parameters, _ := strings.Cut(link, ">")
	if !strings.Contains(parameters, "next") {
		return ""
	}
	_, query, _ := strings.Cut(strings.TrimPrefix(target, "<"), "?")
	return query
}

// manifestTypes are the media types of manifests and indexes that are read.
func manifestTypes() string {
	return strings.Join([]string{
		"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	}, ", ")
}

// Manifest is what the registry says of a tag.
type Manifest struct {
	Digest    string
	MediaType string
	Platforms []string // of an index; "unknown/unknown" (attestations) left out
	Size      int64    // bytes of config and layers; 0 for an index
}

// Manifest reads the manifest behind a tag or digest.
func (c *Content) Manifest(ctx context.Context, repository, reference string) (Manifest, error) {
	a, err := c.do(ctx, http.MethodGet, "/v2/"+escapePath(repository)+"/manifests/"+reference, manifestTypes())
	if err != nil {
		return Manifest{}, err
	}
	type sized struct {
		Size int64 `json:"size"`
	}
	var body struct {
		Config    sized   `json:"config"`
		Layers    []sized `json:"layers"`
		Manifests []struct {
			Platform struct{ OS, Architecture, Variant string } `json:"platform"`
		} `json:"manifests"`
	}
	if err := a.decode(&body); err != nil {
		return Manifest{}, err
	}
	m := Manifest{Digest: a.header.Get("Docker-Content-Digest"), MediaType: a.header.Get("Content-Type"), Size: body.Config.Size}
	for _, l := range body.Layers {
		m.Size += l.Size
	}
	for _, child := range body.Manifests {
		p := strings.Trim(strings.Join([]string{child.Platform.OS, child.Platform.Architecture, child.Platform.Variant}, "/"), "/")
		if p != "" && p != "unknown/unknown" && !slices.Contains(m.Platforms, p) {
			m.Platforms = append(m.Platforms, p)
		}
	}
	return m, nil
}

// Delete removes a tag, or a manifest by its digest with all its tags.
func (c *Content) Delete(ctx context.Context, repository, reference string) error {
	_, err := c.do(ctx, http.MethodDelete, "/v2/"+escapePath(repository)+"/manifests/"+reference, "application/json")
	return err
}
