// Package kubewhy owns the question why pods cannot pull: what people write for a workload in Kubernetes, how its cluster
// is reached, and how the answer looks. Reading the cluster is done by a function that the program hands in, for it takes
// a library that the CLI does not have; what the evidence means, Fairlead says.
package kubewhy

import (
	"context"
	"encoding/json"
	"strings"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/explanation"
	"fairlead.dev/internal/cli/terminal"
)

// Target is a workload in Kubernetes.
type Target struct {
	Kind, Name string // "Deployment", "web"
}

// kinds gives the kind for what people write, which is what kubectl takes.
func kinds() map[string]string {
	return map[string]string{
		"pod": "Pod", "pods": "Pod", "po": "Pod",
		"deployment": "Deployment", "deployments": "Deployment", "deploy": "Deployment",
		"replicaset": "ReplicaSet", "replicasets": "ReplicaSet", "rs": "ReplicaSet",
		"statefulset": "StatefulSet", "statefulsets": "StatefulSet", "sts": "StatefulSet",
		"daemonset": "DaemonSet", "daemonsets": "DaemonSet", "ds": "DaemonSet",
		"job": "Job", "jobs": "Job",
	}
}

// Parse reads "deployment/web"; ok is false for what is no workload in Kubernetes.
func Parse(text string) (t Target, ok bool, err error) {
	kind, name, _ := strings.Cut(text, "/")
	if kind, _, _ = strings.Cut(kind, "."); kind == "" { // "deployment.apps/web", as kubectl prints it
		return Target{}, false, nil
	}
	full, ok := kinds()[strings.ToLower(kind)]
	if !ok || !strings.Contains(text, "/") {
		return Target{}, false, nil
	}
	if name == "" || strings.Contains(name, "/") {
		return Target{}, true, exit.Usagef("%q names no workload: write %s/NAME", text, strings.ToLower(full))
	}
	return Target{full, name}, true, nil
}

// Options say which workload is asked about, and where its cluster is.
type Options struct {
	Target
	Namespace  string
	Cluster    string // name or resource id of a managed cluster
	Group      string // resource group to look for it in
	Kubeconfig string // file
	Context    string
}

// Managed is a managed cluster, and how whoever asks is a user of it.
type Managed struct {
	ID         string // resource id
	Kubeconfig []byte
	Token      client.Secret // for its API server
}

// Question is what is to be read.
type Question struct {
	Kubeconfig []byte        // nil: File, or where kubectl would look
	Token      client.Secret // in place of the kubeconfig's own credential; "" for that
	File       string
	Context    string
	Namespace  string
	Target
	Kubectl []string // how whoever asks runs kubectl
}

// Gather reads the evidence about a workload of a cluster: a document for Fairlead.
type Gather func(context.Context, Question) (json.RawMessage, error)

// Ask reads the cluster and asks why. managed gives the one that is meant when o names one. text is the whole answer.
func Ask(ctx context.Context, c *client.Client, gather Gather, managed func(context.Context) (Managed, error), o Options) (text json.RawMessage, report client.PodsReport, err error) {
	q := Question{File: o.Kubeconfig, Context: o.Context, Namespace: o.Namespace, Target: o.Target, Kubectl: []string{"kubectl"}}
	cluster := ""
	switch {
	case gather == nil:
		return nil, report, exit.Errorf(exit.Failure, "", "this program cannot read clusters")
	case o.Cluster != "" && o.Kubeconfig != "":
		return nil, report, exit.Usagef("give --cluster or --kubeconfig, not both")
	case o.Cluster != "":
		m, err := managed(ctx)
		if err != nil {
			return nil, report, err
		}
		cluster, q.Kubeconfig, q.Token = m.ID, m.Kubeconfig, m.Token
		q.Kubectl = []string{"fairlead", "kube", "kubectl", client.NameOf(cluster), "--"}
	default:
		if o.Kubeconfig != "" {
			q.Kubectl = append(q.Kubectl, "--kubeconfig", o.Kubeconfig)
		}
		if o.Context != "" {
			q.Kubectl = append(q.Kubectl, "--context", o.Context)
		}
	}
	evidence, err := gather(ctx, q)
	if err != nil {
		return nil, report, err
	}
	if text, err = c.WhyPods(ctx, cluster, evidence); err != nil {
		return nil, report, err
	}
	return text, report, json.Unmarshal(text, &report)
}

// maxPods is how many pods' names are shown.
const maxPods = 5

// Write shows the answer to people: the sentence that holds for all pods, then a report for each reason.
func Write(s terminal.Streams, r client.PodsReport) {
	line := func(parts ...string) { _, _ = s.Out.Write([]byte(strings.Join(parts, "") + "\n")) }
	line(s.Paint(s.Out, terminal.Bold, terminal.Clean(strings.ToLower(r.Kind)+"/"+r.Name+": "+r.Summary)))
	for _, of := range r.Reports {
		names := of.Pods
		more := ""
		if len(names) > maxPods {
			names, more = names[:maxPods], " and others"
		}
		line("")
		line(s.Paint(s.Out, terminal.Dim, terminal.Clean("container "+of.Container+" of "+strings.Join(names, ", ")+more)))
		explanation.Write(s, of.Report)
	}
	if len(r.Unread) > 0 {
		line("")
		line(s.Paint(s.Out, terminal.Yellow, "what you may not read in the cluster, and is not looked at:"))
	}
	for _, u := range r.Unread {
		line("  ", terminal.Clean(u.What+": "+u.Why))
	}
}
