//go:build linux

package daemon

import (
	// Imported for what they register: containerd is composed by its plugins' init functions.
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin"
	_ "github.com/containerd/containerd/v2/core/runtime/v2"
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/cri"
	_ "github.com/containerd/containerd/v2/plugins/cri/images"
	_ "github.com/containerd/containerd/v2/plugins/cri/runtime"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/mount"
	_ "github.com/containerd/containerd/v2/plugins/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/server/grpc"
	_ "github.com/containerd/containerd/v2/plugins/server/ttrpc"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/healthcheck"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/version"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"
	_ "github.com/containerd/containerd/v2/plugins/transfer"
)

// shimPlugin is the one plugin of the shim.
const shimPlugin = "io.containerd.ttrpc.v1.task"

// daemonPlugins are the plugins of the daemon: what a client needs to store content, to unpack it on overlayfs and to
// run tasks, and no more. A plugin that comes in by an import and is not listed here (NRI, tracing, other snapshotters)
// never starts.
var daemonPlugins = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"io.containerd.content.v1.content":            true,
	"io.containerd.differ.v1.walking":             true,
	"io.containerd.event.v1.exchange":             true,
	"io.containerd.gc.v1.scheduler":               true,
	"io.containerd.grpc.v1.containers":            true,
	"io.containerd.grpc.v1.content":               true,
	"io.containerd.grpc.v1.diff":                  true,
	"io.containerd.grpc.v1.events":                true,
	"io.containerd.grpc.v1.healthcheck":           true,
	"io.containerd.grpc.v1.images":                true,
	"io.containerd.grpc.v1.leases":                true,
	"io.containerd.grpc.v1.namespaces":            true,
	"io.containerd.grpc.v1.sandboxes":             true,
	"io.containerd.grpc.v1.snapshots":             true,
	"io.containerd.grpc.v1.tasks":                 true,
	"io.containerd.grpc.v1.version":               true,
	"io.containerd.lease.v1.manager":              true,
	"io.containerd.metadata.v1.bolt":              true,
	"io.containerd.mount-manager.v1.bolt":         true,
	"io.containerd.runtime.v2.task":               true,
	"io.containerd.sandbox.store.v1.local":        true,
	"io.containerd.server.v1.grpc":                true,
	"io.containerd.server.v1.ttrpc":               true,
	"io.containerd.service.v1.containers-service": true,
	"io.containerd.service.v1.content-service":    true,
	"io.containerd.service.v1.diff-service":       true,
	"io.containerd.service.v1.images-service":     true,
	"io.containerd.service.v1.namespaces-service": true,
	"io.containerd.service.v1.snapshots-service":  true,
	"io.containerd.service.v1.tasks-service":      true,
	"io.containerd.shim.v1.manager":               true,
	"io.containerd.snapshotter.v1.overlayfs":      true,
	"io.containerd.warning.v1.deprecations":       true,
}

// criPlugins are what a daemon has besides when it serves a kubelet.
var criPlugins = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"io.containerd.cri.v1.images":                       true,
	"io.containerd.cri.v1.runtime":                      true,
	"io.containerd.grpc.v1.cri":                         true,
	"io.containerd.podsandbox.controller.v1.podsandbox": true,
	"io.containerd.sandbox.controller.v1.shim":          true,
	"io.containerd.service.v1.introspection-service":    true,
	"io.containerd.transfer.v1.local":                   true,
}
