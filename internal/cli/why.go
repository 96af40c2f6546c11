package cli

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/explanation"
	"fairlead.dev/internal/cli/kubewhy"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
)

func newWhy(a *app) *cobra.Command {
	var group string
	var pods kubewhy.Options
	cmd := &cobra.Command{
		Use: "why WORKLOAD", Short: "Why can't it pull? The whole chain, and the command that repairs it",
		Long: `Why can't it pull? Fairlead asks again, now, with the workload's own credential: a token for that
identity, a look at that manifest. It shows every stage, what was tried, and last the command that
repairs the fault. Stages marked (read) are known from configuration or from the record of the last
pull, all others from doing them now.

For Kubernetes, write deployment/NAME, pod/NAME, statefulset/NAME, daemonset/NAME, replicaset/NAME or
job/NAME. The cluster is read with your own rights: by your kubeconfig, by another one with
--kubeconfig, or as you with --cluster. The pods, their secrets that log in to the images' registries,
service accounts and events go to Fairlead, which tries each credential in the kubelet's order. What
you may not read is told, not guessed.

The exit code is 0 when every container can pull, and 5 when one cannot. With --output json there
is one object for each container; for Kubernetes one for the workload, with a report for pods that
fail alike.`,
		Example: "  fairlead why shop\n  fairlead why webapp/shop --output json\n  fairlead why deployment/web -n shop --cluster demo",
		Args:    exactly("WORKLOAD"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			target, kubernetes, err := kubewhy.Parse(args[0])
			if err != nil {
				return err
			}
			if !kubernetes {
				return whyOf(ctx, c, args[0], group, pods)
			}
			pods.Target, pods.Group = target, group
			return whyPods(ctx, c, pods)
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	f.StringVarP(&pods.Namespace, "namespace", "n", "", "namespace of the pods (default: that of the kubeconfig's context)")
	f.StringVar(&pods.Cluster, "cluster", "", "managed cluster to look in, as whoever is signed in")
	f.StringVar(&pods.Kubeconfig, "kubeconfig", "", "kubeconfig of the cluster to look in (default: as kubectl finds it)")
	f.StringVar(&pods.Context, "context", "", "context of the kubeconfig (default: its current one)")
	return cmd
}

// whyPods is why for Kubernetes.
func whyPods(ctx context.Context, c *connection, o kubewhy.Options) error {
	text, report, err := kubewhy.Ask(ctx, c.Client, c.local.Gather, func(ctx context.Context) (kubewhy.Managed, error) {
		return c.managed(ctx, o.Cluster, o.Group)
	}, o)
	if err != nil {
		return err
	}
	if c.output == formatJSON {
		err = c.streams.JSON(text)
	} else {
		kubewhy.Write(c.streams, report)
	}
	if err == nil && report.Unable > 0 {
		return exit.Quiet(exit.CannotStart)
	}
	return err
}

// managed finds a managed cluster, and makes whoever is signed in a user of it.
func (c *connection) managed(ctx context.Context, name, group string) (m kubewhy.Managed, err error) {
	found, err := lookup.Cluster(ctx, c.Client, name, group)
	if err != nil {
		return m, err
	}
	m.ID = found.ID
	if m.Kubeconfig, err = c.kubeconfig(ctx, m.ID, false); err != nil {
		return m, err
	}
	m.Token, err = c.Token(ctx, clusterServer+"/.default")
	return m, err
}

func whyOf(ctx context.Context, c *connection, name, group string, pods kubewhy.Options) error {
	if pods != (kubewhy.Options{}) {
		return exit.Usagef("--namespace, --cluster, --kubeconfig and --context are for Kubernetes: write deployment/%s or pod/%s", name, name)
	}
	target, err := lookup.FindWorkload(ctx, c.Client, name, group)
	if err != nil {
		return err
	}
	raw, err := client.List[json.RawMessage](ctx, c.Client, target.ID+"/why")
	if err != nil {
		return err
	}
	var code exit.Code
	for i, text := range raw {
		var report client.Report
		if err := json.Unmarshal(text, &report); err != nil {
			return err
		}
		if !report.CanPull() {
			code = exit.CannotStart
		}
		if c.output == formatJSON {
			if err := c.streams.JSON(text); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			c.line("")
		}
		explanation.Write(c.streams, report)
	}
	if code != exit.OK {
		return exit.Quiet(code)
	}
	return nil
}

// line writes one line of a result.
func (a *app) line(parts ...string) {
	_, _ = a.streams.Out.Write([]byte(strings.Join(parts, "") + "\n"))
}

func newAttempts(a *app) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "attempts WORKLOAD", Short: "Show the record of a workload's pulls, stage by stage", Args: exactly("WORKLOAD"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return showAttempts(ctx, c, args[0], group)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	return cmd
}

func showAttempts(ctx context.Context, c *connection, name, group string) error {
	target, err := lookup.FindWorkload(ctx, c.Client, name, group)
	if err != nil {
		return err
	}
	if c.output == formatJSON {
		var raw json.RawMessage
		if err := c.Get(ctx, target.ID+"/attempts", &raw); err != nil {
			return err
		}
		return c.streams.JSON(raw)
	}
	attempts, err := c.Attempts(ctx, target.ID)
	if err != nil {
		return err
	}
	t := terminal.Table{Header: []string{"CONTAINER", "STAGE", "OUTCOME", "TOOK", "MESSAGE"}}
	for _, of := range attempts {
		if of.Last == nil {
			continue
		}
		for _, s := range of.Last.Stages {
			took := "-"
			if !s.Ended.IsZero() {
				took = s.Ended.Sub(s.Started).Round(time.Millisecond).String()
			}
			t.Add(of.Container, s.Name, s.Outcome, took, strings.TrimSpace(s.Code+" "+s.Message))
		}
	}
	c.streams.Table(t)
	return nil
}
