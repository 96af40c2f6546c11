package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/kubectl"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/manifest"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

type applyOptions struct {
	file, group, name, location, plan, wait, setStdin string
	set                                               []string
	cluster, namespace                                string
	admin                                             bool
}

func newApply(a *app) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change what a file describes, and wait until it runs",
		Long: `Create or change what a file describes, and wait until it runs.

The file is a container group's YAML as written for Azure, the ARM JSON or YAML of one resource,
several of either divided by lines of '---', or an App Service configuration ("App Service
Configuration:" and lines of "Name: value"). The server checks it strictly: a field that it does not
know is refused by its path.

Kubernetes objects are given to a cluster, behind all others: to the one named with --cluster, or the
only one. What the cluster has to say against one is shown as it is, with the number of its document.

Placeholders such as <SERVICE_PRINCIPAL_CLIENT_ID> are filled in with --set, and with --set-stdin
for what should not be seen.`,
		Example: `  fairlead apply -f aci.yaml -g demo
  fairlead sp reset CLIENT_ID --output secret |
    fairlead apply -f aci.yaml -g demo --set SERVICE_PRINCIPAL_CLIENT_ID=CLIENT_ID --set-stdin SERVICE_PRINCIPAL_CLIENT_SECRET
  fairlead apply -f aks.yaml --cluster dev --admin --set BASE64_ENCODED_DOCKER_CONFIG=…
  fairlead apply -f appservice.txt -g demo --name shop --set MANAGED_IDENTITY_CLIENT_ID=CLIENT_ID`,
		Args: exactly(),
		RunE: a.action(patient, func(ctx context.Context, c *connection, _ []string) error { return apply(ctx, c, o) }),
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "the file; - for stdin")
	f.StringVarP(&o.group, "resource-group", "g", "", "resource group, created when it does not exist")
	f.StringVar(&o.name, "name", "", "name of the resource, when the file does not give one")
	f.StringVarP(&o.location, "location", "l", "", "region, when the file does not give one (default "+defaultLocation+")")
	f.StringVar(&o.plan, "plan", "", "plan of a web app (default: NAME-plan, created when it does not exist)")
	f.StringArrayVar(&o.set, "set", nil, "PLACEHOLDER=VALUE: fill in <PLACEHOLDER>; may be repeated")
	f.StringVar(&o.setStdin, "set-stdin", "", "PLACEHOLDER whose value is read from stdin")
	f.StringVar(&o.cluster, "cluster", "", "cluster for Kubernetes objects (default: the only one)")
	f.StringVarP(&o.namespace, "namespace", "n", "", "namespace for Kubernetes objects that name none")
	f.BoolVarP(&o.admin, "admin", "a", false, "apply Kubernetes objects as the cluster's administrator")
	bindWait(cmd, &o.wait)
	return cmd
}

func apply(ctx context.Context, c *connection, o applyOptions) error {
	if err := checkWait(o.wait); err != nil {
		return err
	}
	documents, err := o.read(c.app)
	if err != nil {
		return err
	}
	if o.name != "" && len(documents) > 1 {
		return exit.Usagef("--name is for files of one resource; %s holds %d", o.file, len(documents))
	}
	var target client.Cluster
	objects, err := o.objects(documents)
	if err == nil && len(objects) > 0 { // before anything is created
		target, err = lookup.ClusterOrOnly(ctx, c.Client, o.cluster, "")
	}
	if err != nil {
		return err
	}
	for _, d := range documents {
		if d.Object != nil {
			continue
		}
		if err := applyOne(ctx, c, o, d); err != nil {
			return fmt.Errorf("%s: %w", o.file, err)
		}
	}
	if len(objects) == 0 {
		return nil
	}
	return applyObjects(ctx, c, target, objects, o)
}

// objects gives the Kubernetes objects among documents.
func (o applyOptions) objects(documents []manifest.Document) ([]kubectl.Document, error) {
	var out []kubectl.Document
	for _, d := range documents {
		if d.Object == nil {
			continue
		}
		text, err := d.Object.Text()
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", o.file, d.Number, err)
		}
		out = append(out, kubectl.Document{
			Number: d.Number, Kind: d.Object.Kind, Name: d.Object.Name, Namespace: d.Object.Namespace, Rolls: d.Object.Rolls, Text: text,
		})
	}
	return out, nil
}

// applyObjects gives a cluster objects, and waits until what is rolled out is so.
func applyObjects(ctx context.Context, c *connection, target client.Cluster, objects []kubectl.Document, o applyOptions) error {
	options := kubectl.ApplyOptions{File: o.file, Cluster: target.Name, Namespace: o.namespace}
	if c.output == formatJSON {
		options.Output = formatJSON
	}
	return c.kubectl(ctx, target, o.admin, func(k *kubectl.Kubectl) error {
		var said bytes.Buffer
		err := k.Apply(ctx, kubectl.Streams{Out: c.streams.Out, Err: io.MultiWriter(c.streams.Err, &said)}, objects, options)
		if _, refused := errors.AsType[kubectl.ExitError](err); refused {
			hint := ""
			if !o.admin && strings.Contains(said.String(), "(Forbidden)") {
				hint = "give yourself the role that it names, or apply as the cluster's administrator with --admin"
			}
			return exit.Errorf(exit.Failure, hint, "%s: the cluster %s has not taken all that is in it", o.file, target.Name)
		}
		if err != nil || o.wait == waitNone {
			return err
		}
		return k.Rollouts(ctx, kubectl.Streams{Out: c.streams.Err, Err: c.streams.Err}, objects, options)
	})
}

// read parses the file and fills its placeholders in; one that is left is refused before anything is created.
func (o applyOptions) read(a *app) ([]manifest.Document, error) {
	if o.file == "" {
		return nil, exit.Usagef("-f FILE is missing")
	}
	if o.file == "-" && o.setStdin != "" {
		return nil, exit.Usagef("stdin cannot be both the file and a placeholder's value")
	}
	values, err := o.values(a)
	if err != nil {
		return nil, err
	}
	text, err := readFile(a, o.file)
	if err != nil {
		return nil, exit.WithHint(&exit.Error{Code: exit.Usage, Err: err}, "check the path "+o.file)
	}
	documents, err := manifest.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.file, err)
	}
	var left []string
	for _, d := range documents {
		d.Fill(values)
		left = append(left, d.Unfilled()...)
	}
	if len(left) > 0 {
		return nil, exit.Errorf(exit.Usage, "fill them in, in the file or with --set NAME=VALUE (--set-stdin NAME for a secret)",
			"%s has placeholders that are not filled in:\n  %s", o.file, strings.Join(left, "\n  "))
	}
	return documents, nil
}

func readFile(a *app, path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(a.streams.In, 32<<20))
	}
	return os.ReadFile(path)
}

func (o applyOptions) values(a *app) (map[string]string, error) {
	values := map[string]string{}
	for _, s := range o.set {
		name, value, err := workload.ParseEnv(s)
		if err != nil {
			return nil, exit.Usagef("--set: %w", err)
		}
		values[name] = value
	}
	if o.setStdin == "" {
		return values, nil
	}
	value, err := a.streams.ReadSecret(o.setStdin)
	values[o.setStdin] = value
	return values, err
}

func applyOne(ctx context.Context, c *connection, o applyOptions, d manifest.Document) error {
	if d.App != nil {
		return applyApp(ctx, c, o, *d.App)
	}
	r := d.Resource
	if location, _ := r.Body["location"].(string); location == "" {
		r.Body["location"] = o.region()
	}
	id, err := o.identify(c.Client, *r)
	if err != nil {
		return err
	}
	if err := ensureGroup(ctx, c.Client, client.GroupOf(id), r.Body["location"]); err != nil {
		return err
	}
	options := []client.Option{client.Strict()}
	if r.APIVersion != "" {
		options = append(options, client.APIVersion(r.APIVersion))
	}
	if target, err := lookup.OfID(id); err == nil {
		return c.deploy(ctx, deployment{target: target, change: put(c.Client, target, r.Body, options...), wait: o.wait})
	}
	var made workload.Object
	if err := c.Put(ctx, id, r.Body, &made, options...); err != nil {
		return err
	}
	return c.show(made, func(t *terminal.Table) {
		t.Header = []string{"NAME", "TYPE"}
		t.Add(client.NameOf(id), r.Type)
	})
}

func (o applyOptions) region() string {
	if o.location != "" {
		return o.location
	}
	return defaultLocation
}

// identify gives the id of what a document describes. An id in the file counts, unless flags say otherwise.
func (o applyOptions) identify(c *client.Client, r manifest.Resource) (string, error) {
	if r.ID != "" && o.group == "" && o.name == "" {
		return r.ID, nil
	}
	name := r.Name
	if o.name != "" {
		name = o.name
	}
	if name == "" {
		return "", exit.Usagef("the %s has no name: give --name", r.Type)
	}
	return c.ResourceID(orDefault(o.group), r.Type, name), nil
}

func orDefault(group string) string {
	if group == "" {
		return defaultGroup
	}
	return group
}

// ensureGroup creates a resource group unless it exists.
func ensureGroup(ctx context.Context, c *client.Client, group string, location any) error {
	if group == "" {
		return nil
	}
	id := c.GroupID(group)
	err := c.Get(ctx, id, nil)
	if !client.NotFound(err) {
		return err
	}
	return c.Put(ctx, id, workload.Object{"location": location}, nil)
}

// applyApp deploys a web app from an App Service configuration.
func applyApp(ctx context.Context, c *connection, o applyOptions, app manifest.App) error {
	if o.name == "" {
		return exit.Usagef("an App Service configuration gives no name: give --name")
	}
	site := workload.Site{Image: app.Image, UseIdentity: app.UsesManagedIdentity(), ClientID: app.ClientID}
	switch {
	case app.ClientID != "":
		identity, err := lookup.Identity(ctx, c.Client, app.ClientID)
		if err != nil {
			return err
		}
		site.Identities = []string{identity.ID}
	case site.UseIdentity:
		site.System = true
	}
	group := orDefault(o.group)
	target := lookup.Workload{ID: c.ResourceID(group, client.TypeSite, o.name), Name: o.name, Site: true}
	if err := ensureGroup(ctx, c.Client, group, o.region()); err != nil {
		return err
	}
	return deploySite(ctx, c, target, site, siteOptions{plan: o.plan, location: o.region(), wait: o.wait, create: true})
}
