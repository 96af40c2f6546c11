// Command fairlead-kube is Kubernetes as one program, for Fairlead's managed clusters: control plane, datastore, kubelet
// and proxy of one upstream release. 'fairlead kube' starts it; people use it for its kubectl.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register"          // the logs' JSON format
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the clients
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version among the metrics
	"k8s.io/component-base/version"
	kubectl "k8s.io/kubectl/pkg/cmd"

	"fairlead.dev/kube/internal/config"
	"fairlead.dev/kube/internal/controlplane"
	"fairlead.dev/kube/internal/images"
	"fairlead.dev/kube/internal/node"
	"fairlead.dev/kube/internal/notify"
	"fairlead.dev/kube/internal/pki"
)

const usage = `fairlead-kube is started by 'fairlead kube'. Of its own it has:
  fairlead-kube run FILE       one process of a cluster, as FILE says
  fairlead-kube kubectl ...    kubectl
  fairlead-kube images         writes the images that a cluster itself needs, as a tar archive of an OCI layout
  fairlead-kube version
`

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(runKubectl(os.Args))
	}
	switch {
	case len(os.Args) == 3 && os.Args[1] == "run":
		if err := run(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "fairlead-kube:", err)
			os.Exit(1)
		}
	case len(os.Args) == 2 && os.Args[1] == "images":
		if err := images.Write(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "fairlead-kube:", err)
			os.Exit(1)
		}
	case len(os.Args) > 1 && os.Args[1] == "kubectl":
		os.Exit(runKubectl(os.Args[1:]))
	case len(os.Args) == 2 && os.Args[1] == "version":
		fmt.Println("Kubernetes", version.Get().GitVersion)
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}

func runKubectl(args []string) int {
	os.Args = args
	if err := kubectl.NewDefaultKubectlCommand().Execute(); err != nil {
		return 1
	}
	return 0
}

// run is one process of a cluster, until a signal ends it.
func run(file string) error {
	say := notify.Take()
	cfg, err := config.Read(file)
	if err != nil {
		return err
	}
	certs, err := pki.OpenCluster(filepath.Join(cfg.Dir, "pki"), time.Now)
	if err != nil {
		return err
	}
	// Several parts in one process set up logging, each with the same settings.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up := make(chan struct{})
	var errs [2]error
	var parts sync.WaitGroup
	parts.Go(func() { certs.KeepFresh(ctx) })
	if cfg.ControlPlane != nil {
		parts.Go(func() {
			defer cancel()
			errs[0] = controlplane.New(cfg, certs, say).Run(ctx, func() { close(up) })
		})
	} else {
		close(up)
	}
	parts.Go(func() {
		select {
		case <-up:
		case <-ctx.Done():
			return
		}
		if cfg.Node == nil {
			say.Ready()
			return
		}
		defer cancel()
		errs[1] = node.New(cfg, certs, say).Run(ctx, say.Ready)
	})
	parts.Wait()
	return errors.Join(errs[:]...)
}
