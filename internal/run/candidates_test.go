package run_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

func TestCandidates(t *testing.T) {
	user := pull.Identity{Resource: resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"), ClientID: "client-1", PrincipalID: "principal-1"}
	system := pull.Identity{ClientID: "client-2", PrincipalID: "principal-2", System: true}
	other := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/other")
	password := run.Credential{Server: "myacr.azurecr.io", Username: "u", Password: secret.New("p"), From: "imageRegistryCredentials[0]"}
	identity := func(id resource.ID) run.Credential {
		return run.Credential{Server: "https://MyACR.local/", Identity: id, From: "imageRegistryCredentials[1]"}
	}
	group := func(identities []pull.Identity, credentials ...run.Credential) run.Group {
		return run.Group{Identities: identities, Credentials: credentials}
	}
	web := func(w run.Web, identities ...pull.Identity) run.Group {
		return run.Group{ID: resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/shop"), Identities: identities, Web: &w}
	}
	settings := run.Web{Server: "https://myacr.local", Username: "u", Password: secret.New("p")}

	for _, c := range []struct {
		name  string
		group run.Group
		want  []string // source, field, who, why not
	}{
		{"nothing", group(nil), nil},
		{"an identity that is not named is none", group([]pull.Identity{user, system}), nil},
		{"a password, the server by its alias", group(nil, password), []string{"imageRegistryCredentials imageRegistryCredentials[0] u -"}},
		{"in order, another registry's too", group([]pull.Identity{user}, run.Credential{Server: "else.io", Username: "x", From: "imageRegistryCredentials[0]"}, identity(user.Resource)), []string{
			"imageRegistryCredentials imageRegistryCredentials[0] x for another registry",
			"managedIdentity imageRegistryCredentials[1].identity client-1 -",
		}},
		{"an identity that is not attached", group([]pull.Identity{user}, identity(other)), []string{"managedIdentity imageRegistryCredentials[1].identity  identity not attached"}},
		{"the system identity may not", group([]pull.Identity{{Resource: other, ClientID: "c", System: true}}, identity(other)), []string{"managedIdentity imageRegistryCredentials[1].identity  identity not attached"}},

		{"site without anything", web(run.Web{}), nil},
		{"site with only a server", web(run.Web{Server: "https://myacr.local"}), nil},
		{"site's settings", web(settings), []string{"appSettings DOCKER_REGISTRY_SERVER_USERNAME u -"}},
		{"site's settings for another registry", web(run.Web{Server: "else.io", Username: "u"}), []string{"appSettings DOCKER_REGISTRY_SERVER_USERNAME u for another registry"}},
		{"site's settings for Docker Hub, which is the default", web(run.Web{Username: "u"}), []string{"appSettings DOCKER_REGISTRY_SERVER_USERNAME u for another registry"}},
		{"the setting forgotten", web(run.Web{}, user, system), []string{
			"managedIdentity acrUseManagedIdentityCreds client-1 managed identity is not enabled for pulling",
			"managedIdentity acrUseManagedIdentityCreds client-2 managed identity is not enabled for pulling",
		}},
		{"site's system identity", web(run.Web{UseManagedIdentity: true}, user, system), []string{"managedIdentity acrUseManagedIdentityCreds client-2 -"}},
		{"site without a system identity", web(run.Web{UseManagedIdentity: true}, user), []string{"managedIdentity acrUseManagedIdentityCreds  identity not attached"}},
		{"site's identity by client id, over settings", web(run.Web{UseManagedIdentity: true, UserManagedIdentityClientID: "CLIENT-1", Username: "u"}, system, user), []string{"managedIdentity acrUserManagedIdentityID client-1 -"}},
		{"a principal id for a client id", web(run.Web{UseManagedIdentity: true, UserManagedIdentityClientID: "principal-1"}, user), []string{"managedIdentity acrUserManagedIdentityID principal-1 no attached identity has this client id"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image, err := content.ParseReference("myacr.local/app:v1")
			if err != nil {
				t.Fatal(err)
			}
			same := func(a, b string) bool { return a == "myacr.azurecr.io" && b == "myacr.local" }
			var got []string
			for _, k := range run.Candidates(c.group, image, same) {
				who, skip := k.Username, k.Skip
				if k.Identity != nil {
					who = k.Identity.ClientID
				}
				if skip == "" {
					skip = "-"
				}
				got = append(got, fmt.Sprintf("%s %s %s %s", k.Source, k.From, who, skip))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
