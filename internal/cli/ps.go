package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

// psLine is one workload in `ps`.
type psLine struct {
	Kind     string    `json:"kind"`
	Name     string    `json:"name"`
	Group    string    `json:"resourceGroup"`
	State    string    `json:"state"`
	Image    string    `json:"image"`
	Address  string    `json:"address"`
	Restarts int       `json:"restarts"`
	Started  time.Time `json:"started,omitzero"`
	ID       string    `json:"id"`
}

func newPS(a *app) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "ps", Short: "List all workloads: container groups and web apps", Args: exactly(),
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			return ps(ctx, c, group, "")
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "of this resource group only")
	return cmd
}

// ps lists the workloads of a kind, "group" or "webapp", or of both when kind is "".
func ps(ctx context.Context, c *connection, group, kind string) error {
	all, err := lookup.Workloads(ctx, c.Client, group, kind)
	if err != nil {
		return err
	}
	lines := make([]psLine, len(all))
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(8)
	for i, w := range all {
		asking.Go(func() (err error) {
			lines[i], err = describe(ctx, c.Client, w)
			if client.NotFound(err) {
				lines[i], err = psLine{}, nil // it went away meanwhile
			}
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	there := []psLine{}
	for _, l := range lines {
		if l.ID != "" {
			there = append(there, l)
		}
	}
	return c.show(there, func(t *terminal.Table) { *t = psTable(there) })
}

func psTable(lines []psLine) terminal.Table {
	t := terminal.Table{Header: []string{"WORKLOAD", "GROUP", "STATE", "IMAGE", "ADDRESS", "RESTARTS", "AGE"}}
	for _, l := range lines {
		t.Add(l.Kind+"/"+l.Name, l.Group, l.State, l.Image, l.Address, strconv.Itoa(l.Restarts), age(l.Started))
	}
	return t
}

// age tells how long ago something was, in one unit.
func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := time.Since(t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// describe reads what `ps` shows of a workload.
func describe(ctx context.Context, c *client.Client, w lookup.Workload) (psLine, error) {
	line := psLine{Kind: w.Kind(), Name: w.Name, Group: client.GroupOf(w.ID), ID: w.ID, Address: "-"}
	var condition workload.Condition
	if w.Site {
		attempts, err := workload.Attempts(ctx, c, w.ID)
		if err != nil {
			return line, err
		}
		var site client.Site
		if err := c.Get(ctx, w.ID, &site); err != nil {
			return line, err
		}
		condition = workload.OfSite(site, attempts)
		line.Image = site.Properties.Image()
		if host := site.Properties.DefaultHostName; host != "" {
			line.Address = "https://" + host + portSuffix(c.Server().ARM)
		}
	} else {
		var group client.ContainerGroup
		if err := c.Get(ctx, w.ID, &group); err != nil {
			return line, err
		}
		condition = workload.OfGroup(group)
		line.Image, line.Address = groupImages(group), groupAddress(group)
	}
	line.State, line.Restarts, line.Started = condition.Word, condition.Restarts, condition.Started
	return line, nil
}

func groupImages(g client.ContainerGroup) string {
	var images []string
	for _, container := range g.Properties.Containers {
		images = append(images, container.Properties.Image)
	}
	return strings.Join(images, ",")
}

func groupAddress(g client.ContainerGroup) string {
	if g.Properties.IPAddress == nil || g.Properties.IPAddress.IP == "" {
		return "-"
	}
	return g.Properties.IPAddress.IP
}

// portSuffix gives ":8443" for a URL with a port, else "".
func portSuffix(url string) string {
	host := strings.TrimPrefix(url, "https://")
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		return host[i:]
	}
	return ""
}

func newRemove(a *app) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "rm WORKLOAD", Short: "Remove a workload; returns when its processes and network are gone", Args: exactly("WORKLOAD"),
		RunE: a.action(patient, func(ctx context.Context, c *connection, args []string) error {
			return remove(ctx, c, args[0], group)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	return cmd
}

func remove(ctx context.Context, c *connection, name, group string) error {
	target, err := lookup.FindWorkload(ctx, c.Client, name, group)
	if err != nil {
		return err
	}
	if _, err := c.Delete(ctx, target.ID); err != nil {
		return err
	}
	c.tell("removed %s", target.Short())
	return nil
}

// listCommand makes `group list` and `webapp list`.
func listCommand(a *app, what string, site bool) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "list", Short: "List " + what, Args: exactly(),
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			if a.output != formatJSON {
				return ps(ctx, c, group, lookup.Workload{Site: site}.Kind())
			}
			resourceType := client.TypeContainerGroup
			if site {
				resourceType = client.TypeSite
			}
			all, err := client.ListOfType[workload.Object](ctx, c.Client, group, resourceType)
			if err != nil {
				return err
			}
			return a.streams.JSON(all)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "of this resource group only")
	return cmd
}

// showCommand makes `group show` and `webapp show`.
func showCommand(a *app, kind string) *cobra.Command {
	return onWorkload(a, kind, "show", "Show a "+kind, quick, func(ctx context.Context, c *connection, w lookup.Workload) error {
		return c.showWorkload(ctx, w)
	})
}

// deleteCommand makes `group delete` and `webapp delete`.
func deleteCommand(a *app, kind string) *cobra.Command {
	return onWorkload(a, kind, "delete", "Remove a "+kind, patient, func(ctx context.Context, c *connection, w lookup.Workload) error {
		_, err := c.Delete(ctx, w.ID)
		return err
	})
}

// powerCommand makes stop, start and restart. Starting asks the registry again, and is waited for.
func powerCommand(a *app, kind, verb string) *cobra.Command {
	short := map[string]string{"stop": "Stop a ", "start": "Start a stopped ", "restart": "Stop and start a "}[verb] + kind
	return onWorkload(a, kind, verb, short, patient, func(ctx context.Context, c *connection, w lookup.Workload) error {
		if verb == "stop" {
			return c.Post(ctx, w.ID+"/stop", nil, nil)
		}
		return c.deploy(ctx, deployment{target: w, wait: waitRunning, change: func(ctx context.Context) (*client.Operation, error) {
			return c.BeginPost(ctx, w.ID+"/"+verb, nil)
		}})
	})
}

// onWorkload makes a command that does one thing to a workload of a kind.
func onWorkload(a *app, kind, verb, short string, limit time.Duration, do func(context.Context, *connection, lookup.Workload) error) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: exactly("NAME"),
		RunE: a.action(limit, func(ctx context.Context, c *connection, args []string) error {
			name := args[0]
			if !strings.Contains(name, "/") {
				name = kind + "/" + name
			}
			target, err := lookup.FindWorkload(ctx, c.Client, name, group)
			if err != nil {
				return err
			}
			if target.Kind() != kind {
				return exit.Usagef("%s is a %s: use 'fairlead %s %s'", name, target.Kind(), target.Kind(), verb)
			}
			return do(ctx, c, target)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	return cmd
}
