package run

import (
	"strings"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// Fields that candidates come from.
const (
	fieldUseIdentity = "acrUseManagedIdentityCreds"
	fieldClientID    = "acrUserManagedIdentityID"
	fieldSettings    = "DOCKER_REGISTRY_SERVER_USERNAME"
)

// Candidates gives the credentials that a workload has for an image, in order of precedence, those that cannot be used
// with the reason. An identity that is attached to a container group but not named by its imageRegistryCredentials is
// none, as in Azure. sameRegistry tells whether two hosts mean one registry here (its own name and its alias); it is
// not asked for equal ones.
func Candidates(g Group, image content.Reference, sameRegistry func(a, b string) bool) []pull.Candidate {
	serves := func(server string) bool {
		host := hostOf(server)
		return host == image.Host || sameRegistry(host, image.Host)
	}
	if g.Web != nil {
		return webCandidates(g, serves)
	}
	var out []pull.Candidate
	for _, c := range g.Credentials {
		out = append(out, groupCandidate(g, c, serves(c.Server)))
	}
	return out
}

func groupCandidate(g Group, c Credential, serves bool) pull.Candidate {
	out := pull.Candidate{Source: pull.SourceCredentials, From: c.From, Server: c.Server, Username: c.Username, Password: c.Password}
	if !c.Identity.IsZero() {
		out.Source, out.From = pull.SourceIdentity, c.From+".identity"
		out.Identity, out.Skip = attached(g, c.Identity)
	}
	if !serves {
		out.Skip = pull.SkipOtherHost
	}
	return out
}

// attached finds a user-assigned identity of the group: in Azure no other may pull for a container group.
func attached(g Group, id resource.ID) (*pull.Identity, string) {
	for _, have := range g.Identities {
		if !have.System && have.Resource.Equal(id) {
			return &have, ""
		}
	}
	return &pull.Identity{Resource: id}, pull.SkipNotAttached
}

func webCandidates(g Group, serves func(string) bool) []pull.Candidate {
	if g.Web.UseManagedIdentity {
		return []pull.Candidate{webIdentity(g)}
	}
	var out []pull.Candidate
	if g.Web.Username != "" || !g.Web.Password.IsZero() {
		c := pull.Candidate{Source: pull.SourceSettings, From: fieldSettings, Server: g.Web.Server, Username: g.Web.Username, Password: g.Web.Password}
		if !serves(g.Web.Server) {
			c.Skip = pull.SkipOtherHost
		}
		out = append(out, c)
	}
	for _, have := range g.Identities {
		out = append(out, pull.Candidate{Source: pull.SourceIdentity, From: fieldUseIdentity, Identity: &have, Skip: pull.SkipNotEnabled})
	}
	return out
}

func webIdentity(g Group) pull.Candidate {
	want := g.Web.UserManagedIdentityClientID
	for _, have := range g.Identities {
		if want == "" && have.System {
			return pull.Candidate{Source: pull.SourceIdentity, From: fieldUseIdentity, Identity: &have}
		}
		if want != "" && strings.EqualFold(have.ClientID, want) {
			return pull.Candidate{Source: pull.SourceIdentity, From: fieldClientID, Identity: &have}
		}
	}
	if want == "" {
		return pull.Candidate{Source: pull.SourceIdentity, From: fieldUseIdentity, Identity: &pull.Identity{Resource: g.ID, System: true}, Skip: pull.SkipNotAttached}
	}
	return pull.Candidate{Source: pull.SourceIdentity, From: fieldClientID, Identity: &pull.Identity{ClientID: want}, Skip: pull.SkipWrongClientID}
}

// hostOf gives the host of a server as people write it: with a scheme, a path, in any case, or not at all, which is
// Docker Hub.
func hostOf(server string) string {
	if _, rest, ok := strings.Cut(server, "://"); ok {
		server = rest
	}
	host, _, _ := strings.Cut(server, "/")
	host = strings.ToLower(host)
	if host == "" || host == "index.docker.io" {
		return content.DefaultHost
	}
	return host
}
