package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// The API version that az is told to use for container groups.
const azGroupVersion = "2023-05-01"

// kind is what differs between kinds of workloads: the commands that change one.
type kind interface {
	// useImage has the container run another image.
	useImage(q *inquiry, why, image string) []Fix
	// newIdentity has the workload pull in a new way, as the credential that it has is good for nothing.
	newIdentity(q *inquiry) []Fix
	// newSecret makes a secret for the application that c names and gives it to the workload.
	newSecret(q *inquiry, c pull.Candidate) []Fix
	// stranger is about a pull that had to go without a credential.
	stranger(ctx context.Context, q *inquiry) (*finding, error)
}

// groupKind are container groups and web apps.
type groupKind struct{}

func (groupKind) stranger(ctx context.Context, q *inquiry) (*finding, error) { return q.unusable(ctx) }

// identityType is the resource type of user-assigned identities.
const identityType = "Microsoft.ManagedIdentity/userAssignedIdentities"

// assign gives a principal the least role that pulls.
func (q *inquiry) assign(principalID string) Fix {
	scope := q.endpoint.Registry.String()
	return Fix{
		Why:     "grant pull on this registry",
		Command: line("fairlead", "role", "assign", "AcrPull", "--to", principalID, "--on", scope),
		Az: line("az", "role", "assignment", "create", "--assignee-object-id", principalID, "--assignee-principal-type",
			"ServicePrincipal", "--role", "AcrPull", "--scope", scope),
	}
}

// assignIfNeeded gives the principal the role unless it is known to have the right. Who may not read the registry is
// told to do it in any case: to assign again does no harm.
func (q *inquiry) assignIfNeeded(principalID string) []Fix {
	if q.entitled && q.allowed {
		return nil
	}
	return []Fix{q.assign(principalID)}
}

// useIdentity has the workload pull with an identity that exists.
func (q *inquiry) useIdentity(id pull.Identity) []Fix {
	return append(q.assignIfNeeded(id.PrincipalID), q.pullWith(id))
}

func (q *inquiry) pullWith(id pull.Identity) Fix {
	if q.group.Web != nil {
		return q.sitePullsWith(id)
	}
	args := append(q.update(), "--identity", id.Resource.String())
	return Fix{Why: "pull with this identity", Command: line(q.forServer(args)...), Az: q.azGroup(map[string]any{
		"server": q.ref.Host, "identity": id.Resource.String(),
	}, id.Resource)}
}

// forServer says for which registry a credential is where a group has images from several.
func (q *inquiry) forServer(args []string) []string {
	if len(q.group.Containers) > 1 {
		args = append(args, "--server", q.ref.Host)
	}
	return args
}

func (q *inquiry) sitePullsWith(id pull.Identity) Fix {
	args, config := append(q.update(), "--use-identity"), `{"acrUseManagedIdentityCreds": true`
	if !id.System {
		args = append(args, "--identity-client-id", id.ClientID)
		config += fmt.Sprintf(`, "acrUserManagedIdentityID": %q`, id.ClientID)
	} else {
		config += `, "acrUserManagedIdentityID": ""`
	}
	az := line("az", "webapp", "config", "set", "-g", q.group.ID.ResourceGroup(), "-n", q.group.ID.Name(), "--generic-configurations", config+"}")
	if !q.attached(id) {
		args = append(q.update(), "--use-identity", "--identity", id.Resource.String())
		az = line("az", "webapp", "identity", "assign", "-g", q.group.ID.ResourceGroup(), "-n", q.group.ID.Name(), "--identities", id.Resource.String()) + " && " + az
	}
	return Fix{Why: "pull with this identity", Command: line(args...), Az: az}
}

func (q *inquiry) attached(id pull.Identity) bool {
	return slices.ContainsFunc(q.group.Identities, func(have pull.Identity) bool { return have.Resource.Equal(id.Resource) })
}

// newIdentity makes an identity for the workload, gives it the role and has the workload pull with it.
func (groupKind) newIdentity(q *inquiry) []Fix {
	group, name := q.group.ID.ResourceGroup(), q.group.ID.Name()+"-pull"
	id := resource.GroupID(q.group.ID.Subscription(), group).Provider(identityType, name)
	assign := q.assign(id.String())
	clientID, principalID := azShow(id, "clientId"), azShow(id, "principalId")
	assign.Az = strings.Replace(assign.Az, id.String(), principalID, 1)
	use := q.pullWith(pull.Identity{Resource: id})
	use.Az = strings.Replace(use.Az, `"acrUserManagedIdentityID": ""`, `"acrUserManagedIdentityID": "'`+clientID+`'"`, 1)
	return []Fix{
		{
			Why:     "make an identity that pulls for this workload",
			Command: line("fairlead", "identity", "create", name, "-g", group),
			Az:      line("az", "identity", "create", "-g", group, "-n", name),
		},
		assign, use,
	}
}

// azShow is a shell substitution of a property of an identity that does not exist yet.
func azShow(id resource.ID, property string) string {
	return `"$(` + line("az", "identity", "show", "--ids", id.String(), "--query", property, "-o", "tsv") + `)"`
}

// newSecret makes a secret and hands it to the workload unseen. Other secrets of the application stay: others use them.
func (groupKind) newSecret(q *inquiry, c pull.Candidate) []Fix {
	reset := line("fairlead", "sp", "reset", c.Username, "--append", "--output", "secret")
	use := line(append(q.update(), "--server", q.ref.Host, "--username", c.Username, "--credential-stdin")...)
	azSecret := `"$(` + line("az", "ad", "sp", "credential", "reset", "--id", c.Username, "--append", "--query", "password", "-o", "tsv") + `)"`
	az := q.azGroup(map[string]any{"server": q.ref.Host, "username": c.Username, "password": azHole}, resource.ID{})
	az = strings.Replace(az, azHole, `'`+azSecret+`'`, 1)
	if q.group.Web != nil {
		az = line("az", "webapp", "config", "container", "set", "-g", q.group.ID.ResourceGroup(), "-n", q.group.ID.Name(),
			"--container-registry-url", "https://"+q.ref.Host, "--container-registry-user", c.Username, "--container-registry-password") + " " + azSecret
	}
	var steps []Fix
	if !q.principal.IsZero() {
		steps = q.assignIfNeeded(q.principal.ID())
	}
	return append(steps, Fix{Why: "make a new secret and give it to the workload, unseen", Command: reset + " | " + use, Az: az})
}

// azHole stands where a secret comes in.
const azHole = "{secret}"

// useImage has the container run another image.
func (groupKind) useImage(q *inquiry, why, image string) []Fix {
	args := append(q.update(), "--image", image)
	if q.group.Web != nil {
		return []Fix{{Why: why, Command: line(args...), Az: line("az", "webapp", "config", "container", "set",
			"-g", q.group.ID.ResourceGroup(), "-n", q.group.ID.Name(), "--container-image-name", image)}}
	}
	if len(q.group.Containers) > 1 {
		args = append(args, "--container", q.container.Name)
	}
	at := slices.IndexFunc(q.group.Containers, func(c run.Container) bool { return c.Name == q.container.Name })
	f := Fix{Why: why, Command: line(args...)}
	if !q.hasSecrets() && !slices.ContainsFunc(q.group.Credentials, hasPassword) {
		f.Az = q.azSet(fmt.Sprintf("properties.containers[%d].properties.image=%s", at, image))
	}
	return []Fix{f}
}

// update begins the command that changes the workload.
func (q *inquiry) update() []string {
	kind := "group"
	if q.group.Web != nil {
		kind = "webapp"
	}
	return []string{"fairlead", kind, "update", q.group.ID.Name(), "-g", q.group.ID.ResourceGroup()}
}

// azGroup puts a pull credential into a container group with az, whose generic update reads the group and writes it
// back. What Azure does not give back it would lose, so there is no such command for groups with other secrets.
func (q *inquiry) azGroup(credential map[string]any, attach resource.ID) string {
	serves := func(c run.Credential) bool { return strings.EqualFold(c.Server, q.ref.Host) }
	others := slices.DeleteFunc(slices.Clone(q.group.Credentials), serves)
	if q.group.Web != nil || q.hasSecrets() || slices.ContainsFunc(others, hasPassword) {
		return ""
	}
	entries := []map[string]any{}
	for _, c := range others {
		entries = append(entries, map[string]any{"server": c.Server, "identity": c.Identity.String()})
	}
	set := []string{"properties.imageRegistryCredentials=" + jsonText(append(entries, credential))}
	if !attach.IsZero() {
		kind, ids := "UserAssigned", map[string]any{attach.String(): struct{}{}}
		for _, id := range q.group.Identities {
			if id.System {
				kind = "SystemAssigned, UserAssigned"
				continue
			}
			if !id.Resource.Equal(attach) {
				ids[id.Resource.String()] = struct{}{}
			}
		}
		set = append(set, "identity.type="+kind, "identity.userAssignedIdentities="+jsonText(ids))
	}
	return q.azSet(set...)
}

func (q *inquiry) azSet(values ...string) string {
	return line(append([]string{"az", "resource", "update", "--ids", q.group.ID.String(), "--api-version", azGroupVersion, "--set"}, values...)...)
}

func hasPassword(c run.Credential) bool { return c.Identity.IsZero() }

func (q *inquiry) hasSecrets() bool {
	return slices.ContainsFunc(q.group.Containers, func(c run.Container) bool {
		return slices.ContainsFunc(c.Env, func(e run.EnvVar) bool { return e.IsSecure })
	})
}

func jsonText(v any) string {
	b, _ := json.Marshal(v) // maps of strings always encode
	return string(b)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// line puts a command line together, each word quoted for the shell where it needs to be.
func line(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if !plainWord.MatchString(w) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
