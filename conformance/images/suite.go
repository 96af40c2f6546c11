package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	upstream "k8s.io/kubernetes/test/utils/image"
)

// image is one image of the suite.
type image struct {
	name       string // without the registry's host
	layers     []v1.Layer
	entrypoint []string
	cmd        []string
}

// suite gives the images that the specs of the Conformance suite pull. Their names are the suite's own.
func suite(programs string) ([]image, error) {
	in := func(path string) string { return filepath.Join(programs, path) }
	var fault error
	on := func(below []v1.Layer, files []file) []v1.Layer {
		top, err := layer(files)
		if err != nil && fault == nil {
			fault = err
		}
		return append(slices.Clip(below), top)
	}

	system, err := baseFiles(in("busybox"))
	if err != nil {
		return nil, err
	}
	debian, err := withLibraries(debianPrograms)
	if err != nil {
		return nil, err
	}
	base := on(nil, system)
	tools := on(base, append(debian, file{path: "usr/bin/nc", link: "nc.openbsd"},
		file{path: "etc/os-release", text: "NAME=\"Alpine Linux\"\nID=alpine\n"})) // a spec looks for the name of upstream's base
	agnhost := on(tools, []file{
		{path: "agnhost", from: in("agnhost")},
		{path: "agnhost-2", link: "agnhost"},
		{path: "localhost.crt", from: in("files/localhost.crt"), mode: 0o644},
		{path: "localhost.key", from: in("files/localhost.key"), mode: 0o644},
		{path: "uploads/"},
		{path: "etc/passwd", text: passwd + "user-defined-in-image:x:1000:1000:Linux User:/home/user-defined-in-image:/bin/sh\n"},
		{path: "etc/group", text: group + "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"},
	})
	pet := func(name string) []v1.Layer {
		return on(agnhost, []file{
			{path: name + ".jpg", from: in("files/" + name + "/" + name + ".jpg"), mode: 0o644},
			{path: "data.json", from: in("files/" + name + "/data.json"), mode: 0o644},
		})
	}
	run := []string{"/agnhost"}
	images := []image{
		{name: nameOf(upstream.Agnhost), layers: agnhost, entrypoint: run, cmd: []string{"pause"}},
		{name: nameOf(upstream.AgnhostPrev), layers: agnhost, entrypoint: run, cmd: []string{"pause"}},
		{name: nameOf(upstream.BusyBox), layers: base, cmd: []string{"sh"}},
		{name: nameOf(upstream.GlibcDnsTesting), layers: tools, cmd: []string{"bash"}},
		{name: nameOf(upstream.Kitten), layers: pet("kitten"), entrypoint: run, cmd: []string{"test-webserver"}},
		{name: nameOf(upstream.Nautilus), layers: pet("nautilus"), entrypoint: run, cmd: []string{"test-webserver"}},
		{
			name: nameOf(upstream.Nginx), cmd: []string{"httpd", "-f", "-p", "80", "-h", "/usr/share/nginx/html"},
			layers: on(base, []file{{path: "usr/share/nginx/html/index.html", text: "<h1>Welcome to nginx!</h1>\n"}}),
		},
		{
			name: nameOf(upstream.Nonewprivs), cmd: []string{"nnp"},
			layers: on(base, []file{{path: "usr/local/bin/nnp", from: in("nnp"), mode: 0o4755}}),
		},
		{
			name: nameOf(upstream.APIServer), entrypoint: []string{"/sample-apiserver"},
			layers: on(base, []file{{path: "sample-apiserver", from: in("sample-apiserver")}}),
		},
		{
			name: nameOf(upstream.Etcd), cmd: []string{"etcd"},
			layers: on(base, []file{{path: "usr/local/bin/etcd", from: in("etcd")}}),
		},
		{
			name: nameOf(upstream.Pause), entrypoint: []string{"/pause"},
			layers: on(nil, []file{{path: "pause", from: in("pause")}}),
		},
	}
	return images, fault
}

// nameOf gives an image's name as the suite has it, without the host.
func nameOf(id upstream.ImageID) string {
	_, name, _ := strings.Cut(upstream.GetE2EImage(id), "/")
	return name
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
	group  = "root:x:0:\ndaemon:x:1:\nmail:x:8:\nnogroup:x:65534:\n"
)

// baseFiles gives what the smallest system has: busybox under the names of all its programs, and who is who.
func baseFiles(busybox string) ([]file, error) {
	out, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", busybox, err)
	}
	files := []file{
		{path: "bin/busybox", from: busybox},
		{path: "usr/bin/env", link: "/bin/busybox"},
		{path: "etc/passwd", text: passwd},
		{path: "etc/group", text: group},
		{path: "etc/shadow", text: "root:*:::::::\n", mode: 0o640},
		{path: "etc/nsswitch.conf", text: "passwd: files\ngroup: files\nhosts: files dns\n"},
		{path: "tmp/", mode: 0o1777},
		{path: "var/tmp/", mode: 0o1777},
		{path: "root/", mode: 0o700},
		{path: "home/"},
	}
	for name := range strings.FieldsSeq(string(out)) {
		if name != "busybox" {
			files = append(files, file{path: "bin/" + name, link: "busybox"})
		}
	}
	return files, nil
}

// build makes the image of its layers.
func (i image) build() (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, i.layers...)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint, config.Config.Cmd = i.entrypoint, i.cmd
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return mutate.ConfigFile(img, config)
}
