// Package lookup owns what people call things: it turns the names, client ids and short forms that they type into
// resource ids and principals, by asking the server, and says so when a name fits several or none.
package lookup

import (
	"context"
	"strings"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
)

// Workload is a container group or a web app.
type Workload struct {
	ID   string
	Name string
	Site bool // a web app
}

// Kind gives the word by which people know it: "group" or "webapp".
func (w Workload) Kind() string {
	if w.Site {
		return "webapp"
	}
	return "group"
}

// Short gives the form that every command takes, "webapp/NAME" or "group/NAME".
func (w Workload) Short() string { return w.Kind() + "/" + w.Name }

// OfID makes a workload from its resource id.
func OfID(id string) (Workload, error) {
	w := Workload{ID: id, Name: client.NameOf(id), Site: hasType(id, client.TypeSite)}
	if !w.Site && !hasType(id, client.TypeContainerGroup) {
		return w, exit.Usagef("%s is neither a container group nor a web app", id)
	}
	return w, nil
}

func hasType(id, resourceType string) bool {
	return strings.Contains(strings.ToLower(id), "/providers/"+strings.ToLower(resourceType)+"/")
}

// FindWorkload finds a workload by name ("app"), by kind and name ("group/app", "webapp/app") or by resource id; group
// narrows the search to one resource group unless it is "".
func FindWorkload(ctx context.Context, c *client.Client, text, group string) (Workload, error) {
	if strings.HasPrefix(text, "/") {
		return OfID(text)
	}
	kind, name, ok := strings.Cut(text, "/")
	if !ok {
		kind, name = "", text
	}
	if kind != "" && kind != "group" && kind != "webapp" {
		return Workload{}, exit.Usagef("%q is not a workload: write its name, group/NAME, webapp/NAME or its resource id", text)
	}
	all, err := Workloads(ctx, c, group, kind)
	if err != nil {
		return Workload{}, err
	}
	var fits []Workload
	for _, w := range all {
		if strings.EqualFold(w.Name, name) {
			fits = append(fits, w)
		}
	}
	return one(fits, "workload", text, "list them with 'fairlead ps'", func(w Workload) string { return w.ID })
}

// Workloads lists the workloads of a kind, "group" or "webapp", or of both when kind is "", in a resource group or, when
// group is "", in all.
func Workloads(ctx context.Context, c *client.Client, group, kind string) ([]Workload, error) {
	var all []Workload
	for _, site := range []bool{false, true} {
		if kind != "" && kind != (Workload{Site: site}).Kind() {
			continue
		}
		found, err := workloadsOf(ctx, c, group, site)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func workloadsOf(ctx context.Context, c *client.Client, group string, site bool) ([]Workload, error) {
	resourceType := client.TypeContainerGroup
	if site {
		resourceType = client.TypeSite
	}
	found, err := client.ListOfType[client.Resource[struct{}]](ctx, c, group, resourceType)
	if group != "" && client.NotFound(err) {
		return nil, nil
	}
	var out []Workload
	for _, r := range found {
		out = append(out, Workload{ID: r.ID, Name: r.Name, Site: site})
	}
	return out, err
}

// one gives the only thing that fits, or an error that lists what does.
func one[T any](fits []T, what, text, hint string, id func(T) string) (T, error) {
	var none T
	switch len(fits) {
	case 1:
		return fits[0], nil
	case 0:
		return none, exit.Errorf(exit.NotFound, hint, "there is no %s called %q", what, text)
	}
	ids := make([]string, 0, len(fits))
	for _, f := range fits {
		ids = append(ids, "  "+id(f))
	}
	return none, exit.Errorf(exit.Usage, "give one of these ids in full", "%q fits more than one %s:\n%s", text, what, strings.Join(ids, "\n"))
}

// kind is a type of resource that is looked up by name.
type kind struct {
	resourceType string
	what         string // for people
	hint         string // what to do when there is none
}

// named finds a resource of the subscription by its name or id; in one resource group only, when group is not "".
func named[P any](ctx context.Context, c *client.Client, k kind, text, group string) (client.Resource[P], error) {
	if strings.HasPrefix(text, "/") {
		if !hasType(text, k.resourceType) {
			return client.Resource[P]{}, exit.Usagef("%s is not the id of a %s", text, k.what)
		}
		var r client.Resource[P]
		err := c.Get(ctx, text, &r)
		return r, err
	}
	found, err := client.ListOfType[client.Resource[P]](ctx, c, group, k.resourceType)
	if err != nil && (group == "" || !client.NotFound(err)) {
		return client.Resource[P]{}, err
	}
	var fits []client.Resource[P]
	for _, r := range found {
		if strings.EqualFold(r.Name, text) {
			fits = append(fits, r)
		}
	}
	return one(fits, k.what, text, k.hint, func(r client.Resource[P]) string { return r.ID })
}

// Registry finds a registry by its name, login server or id.
func Registry(ctx context.Context, c *client.Client, text string) (client.Registry, error) {
	name, _, _ := strings.Cut(text, ".")
	if strings.HasPrefix(text, "/") {
		name = text
	}
	hint := "list them with 'fairlead registry list', or create it with 'fairlead registry create " + name + "'"
	return named[client.RegistryProperties](ctx, c, kind{client.TypeRegistry, "registry", hint}, name, "")
}

// Cluster finds a managed cluster by its name or id; in one resource group only, when group is not "".
func Cluster(ctx context.Context, c *client.Client, text, group string) (client.Cluster, error) {
	hint := "list them with 'fairlead kube list', or create it with 'fairlead kube create " + client.NameOf("/"+text) + "'"
	return named[client.ClusterProperties](ctx, c, kind{client.TypeCluster, "cluster", hint}, text, group)
}

// Connected finds a connected cluster by its name or id; in one resource group only, when group is not "".
func Connected(ctx context.Context, c *client.Client, text, group string) (client.Connected, error) {
	hint := "connect it with 'fairlead kube connect " + client.NameOf("/"+text) + " --kubeconfig FILE'"
	return named[client.ConnectedProperties](ctx, c, kind{client.TypeConnected, "connected cluster", hint}, text, group)
}

// ClusterOrOnly is Cluster, for which no name means the only cluster that there is.
func ClusterOrOnly(ctx context.Context, c *client.Client, text, group string) (client.Cluster, error) {
	if text != "" {
		return Cluster(ctx, c, text, group)
	}
	all, err := client.ListOfType[client.Cluster](ctx, c, "", client.TypeCluster)
	switch {
	case err != nil:
		return client.Cluster{}, err
	case len(all) == 1:
		return all[0], nil
	case len(all) == 0:
		return client.Cluster{}, exit.Errorf(exit.NotFound, "create one with 'fairlead kube create NAME'", "there is no cluster")
	}
	names := make([]string, len(all))
	for i, each := range all {
		names[i] = each.Name
	}
	return client.Cluster{}, exit.Errorf(exit.Usage, "name one with --cluster", "there are several clusters: %s", strings.Join(names, ", "))
}
