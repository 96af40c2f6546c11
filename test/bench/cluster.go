//go:build linux

package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// town is a cluster under measurement.
type town struct {
	*server
	kube, config string // the program fairlead-kube, the administrator's kubeconfig
}

// measureCluster measures a cluster of one node: until it is ready, until three replicas of a private image run, what it
// uses when nothing happens for five minutes, and a rollout of fifty pods.
func measureCluster(ctx context.Context, program, kube string, w io.Writer) (err error) {
	if kube, err = filepath.Abs(kube); err != nil {
		return err
	}
	size, err := os.Stat(kube)
	if err != nil {
		return err
	}
	s, err := start(program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if _, err := s.cli(ctx, "registry", "create", "myacr"); err != nil {
		return err
	}
	for _, tag := range []string{"v1", "v2"} {
		if err := s.pushSmall(ctx, "myacr/app:"+tag); err != nil {
			return err
		}
	}
	fmt.Fprint(w, "\n## A cluster of one node\n\n| | measured | aim |\n|---|---|---|\n")
	fmt.Fprintf(w, "| fairlead-kube | %d MiB | |\n", size.Size()>>20)
	t := town{server: s, kube: kube, config: filepath.Join(s.dir, "kubeconfig")}
	for _, step := range []func(context.Context, io.Writer) error{t.create, t.replicas, t.rest, t.rollout} {
		if err := step(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// created is how long a cluster took to be made.
type created struct {
	ready, all time.Duration
	stages     string
}

// create makes the cluster three times and keeps the last.
func (t town) create(ctx context.Context, w io.Writer) error {
	var runs []created
	for len(runs) < 3 {
		if len(runs) > 0 {
			if _, err := t.cli(ctx, "kube", "delete", "bench", "--yes"); err != nil {
				return err
			}
		}
		one, err := t.createOnce(ctx)
		if err != nil {
			return err
		}
		runs = append(runs, one)
	}
	slices.SortFunc(runs, func(a, b created) int { return cmp.Compare(a.ready, b.ready) })
	median := runs[1]
	fmt.Fprintf(w, "| `fairlead kube create` until the node is Ready, median of 3 | %.1f s: %s | 6 s |\n", median.ready.Seconds(), median.stages)
	fmt.Fprintf(w, "| until the command returns, with roles, webhooks and credentials in place | %.1f s | |\n", median.all.Seconds())
	_, err := t.cli(ctx, "kube", "get-credentials", "bench", "--admin", "--file", t.config)
	return err
}

// createOnce tells the stages apart by what 'fairlead kube create' says that it waits for.
func (t town) createOnce(ctx context.Context) (c created, err error) {
	cmd := t.command(ctx, "kube", "create", "bench", "--attach-acr", "myacr")
	said, err := cmd.StderrPipe()
	if err != nil {
		return c, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return c, err
	}
	var stages []string
	var all, last string
	var since time.Time
	for lines := bufio.NewScanner(said); lines.Scan(); {
		all += lines.Text() + "\n"
		stage, _, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "bench: "), ":") // what follows is about the same stage
		if !strings.HasPrefix(lines.Text(), "bench: ") || stage == last {
			continue
		}
		if last != "" {
			stages = append(stages, fmt.Sprintf("%s %.1f s", nodeName.ReplaceAllString(last, ""), time.Since(since).Seconds()))
		}
		if last, since = stage, time.Now(); strings.HasPrefix(stage, "settling") {
			c.ready = time.Since(begin)
		}
	}
	if err := cmd.Wait(); err != nil || c.ready == 0 {
		return c, fmt.Errorf("fairlead kube create: %w\n%s", err, all)
	}
	c.all, c.stages = time.Since(begin), strings.Join(stages, ", ")
	return c, nil
}

var nodeName = regexp.MustCompile(` aks-\S+`)

func (t town) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, t.kube, append([]string{"kubectl", "--kubeconfig", t.config}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

const deployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%[1]q},"spec":{"replicas":%[2]d,"selector":{"matchLabels":{"app":%[1]q}},
"template":{"metadata":{"labels":{"app":%[1]q}},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"app","image":"myacr.azurecr.io/app:%[3]s"}]}}}}`

// deploy gives how long a Deployment takes from 'kubectl apply' to all of its replicas being available.
func (t town) deploy(ctx context.Context, name, tag string, replicas int) (time.Duration, error) {
	begin := time.Now()
	if _, err := t.kubectl(ctx, fmt.Sprintf(deployment, name, replicas, tag), "apply", "-f", "-"); err != nil {
		return 0, err
	}
	_, err := t.kubectl(ctx, "", "rollout", "status", "deployment/"+name, "--timeout=5m")
	return time.Since(begin), err
}

func (t town) replicas(ctx context.Context, w io.Writer) error {
	for _, one := range []string{"cold", "warm"} {
		took, err := t.deploy(ctx, one, "v1", 3)
		if err != nil {
			return err
		}
		pulls, err := t.kubectl(ctx, "", "get", "events", "--field-selector", "reason=Pulled", "-o", `jsonpath={range .items[*]}{.involvedObject.name} {.message}{"\n"}{end}`)
		if err != nil {
			return err
		}
		of := "the image was there"
		for line := range strings.Lines(pulls) {
			if pull := pullTime.FindStringSubmatch(line); strings.HasPrefix(line, one) && pull != nil {
				of = "of it the pull, with credentials, " + pull[1]
			}
		}
		fmt.Fprintf(w, "| three replicas of a private image, %s, from `kubectl apply` to available | %.1f s; %s | |\n", one, took.Seconds(), of)
	}
	return nil
}

// pullTime finds in a kubelet's event how long a pull took.
var pullTime = regexp.MustCompile(`Successfully pulled image \S+ in (\S+)`)

func (t town) rollout(ctx context.Context, w io.Writer) error {
	took, err := t.deploy(ctx, "fifty", "v2", 50)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "| rollout of 50 pods of one private image | %.1f s | |\n", took.Seconds())
	return nil
}

// rest measures the cluster's processes when nothing has happened in it for five minutes, over a minute. No pods run.
func (t town) rest(ctx context.Context, w io.Writer) error {
	if _, err := t.kubectl(ctx, "", "delete", "deployments", "--all", "--wait"); err != nil {
		return err
	}
	if _, err := t.kubectl(ctx, "", "wait", "--for=delete", "pods", "--all", "--timeout=3m"); err != nil {
		return err
	}
	if err := pause(ctx, 5*time.Minute); err != nil {
		return err
	}
	const span = time.Minute
	before, err := t.uses()
	if err != nil {
		return err
	}
	if err := pause(ctx, span); err != nil {
		return err
	}
	after, err := t.uses()
	if err != nil {
		return err
	}
	var memory []int64
	var share []float64
	for i, u := range after {
		memory = append(memory, u.memory>>20)
		share = append(share, 100*(u.processor-before[i].processor).Seconds()/span.Seconds())
	}
	fmt.Fprintf(w, "| idle for five minutes, proportional set size: fairlead-kube + containerd | %d + %d = %d MiB | 500 MiB |\n", memory[0], memory[1], memory[0]+memory[1])
	fmt.Fprintf(w, "| the same, processor: share of one core | %.1f + %.1f = %.1f %% | 6 %% |\n", share[0], share[1], share[0]+share[1])
	return nil
}

// use is what a program's processes have: bytes of memory, and the time that they have had of a processor.
type use struct {
	memory    int64
	processor time.Duration
}

// uses gives what the cluster's fairlead-kube and its containerd have.
func (t town) uses() (both [2]use, err error) {
	for i, name := range []string{"fairlead-kube", "fairlead-node-containerd"} {
		pids, err := exec.Command("pgrep", "-f", "^"+name+" .*"+filepath.Join(t.dir, "data", "clusters")).Output()
		if err != nil {
			return both, fmt.Errorf("finding %s: %w", name, err)
		}
		for field := range strings.FieldsSeq(string(pids)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return both, err
			}
			memory, err := pss(pid)
			if err != nil {
				return both, err
			}
			processor, err := cpu(pid)
			if err != nil {
				return both, err
			}
			both[i] = use{both[i].memory + memory, both[i].processor + processor}
		}
	}
	return both, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
