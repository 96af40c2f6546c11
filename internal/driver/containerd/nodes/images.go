//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"fairlead.dev/internal/driver/containerd/daemon"
)

// pauseImage holds the namespaces of each pod. It comes with fairlead-kube and is never fetched; its tag changes with it.
const pauseImage = "fairlead.dev/pause:1"

// loadImages puts the images that the cluster itself needs on the node, out of the program.
func (n *node) loadImages(ctx context.Context, program string) (err error) {
	c, err := client.New(n.daemon().Socket(), client.WithDefaultNamespace(daemon.CRINamespace))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if _, err := c.GetImage(ctx, pauseImage); !errdefs.IsNotFound(err) {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "images")
	archive, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	imported, err := c.Import(ctx, archive)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("import what '%s images' writes: %w", Program, err)
	}
	for _, each := range imported {
		if err := client.NewImage(c, each).Unpack(ctx, "overlayfs"); err != nil {
			return fmt.Errorf("unpack %s: %w", each.Name, err)
		}
	}
	return nil
}
