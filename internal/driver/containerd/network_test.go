//go:build linux

package containerd

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"fairlead.dev/internal/driver/containerd/network"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

const httpd = "echo page > /tmp/index.html; exec httpd -f -p 80 -h /tmp"

func TestSandboxesMeet(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	service := free.Addr().(*net.TCPAddr).Port
	free.Close()
	b := newBox(t, Config{Services: []int{service}})
	b.start("server", httpd, nil)
	get := func(from, url string) string {
		return b.runIn(from, "busybox", "timeout", "5", "wget", "-q", "-O", "-", url)
	}
	client := func(id string, sb run.Sandbox) {
		b.sb = sb
		b.start(id, idle, nil)
	}
	server := b.sb
	client("neighbour", server)
	client("stranger", b.sandbox("sb2", run.SandboxSpec{}))
	b.await("the server answers", func() bool { return get("neighbour", "http://127.0.0.1/") == "page\n" })
	if got := get("stranger", "http://"+server.IP+"/"); got != "page\n" {
		t.Errorf("from another sandbox: %q", got)
	}
	resp, err := http.Get("http://" + server.IP + "/")
	must(t, err)
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "page\n" {
		t.Errorf("from the host: %q", body)
	}

	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })}
	defer srv.Close()
	listen := func(host string, port int) string {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		must(t, err)
		go srv.Serve(l)
		return l.Addr().String()
	}
	gateway := b.d.Gateway().String()
	if got := get("stranger", "http://"+listen(gateway, service)+"/"); !strings.HasPrefix(got, b.sb.IP+":") {
		t.Errorf("from the gateway: %q, want to be seen as %s", got, b.sb.IP)
	}
	_, everywhere, err := net.SplitHostPort(listen("0.0.0.0", 0))
	must(t, err)
	for _, closed := range []string{listen(gateway, 0), net.JoinHostPort(gateway, everywhere)} {
		if got := get("stranger", "http://"+closed+"/"); strings.Contains(got, b.sb.IP) {
			t.Errorf("a container reaches %s, which is none of the services: %q", closed, got)
		}
	}
	bridge, err := netlink.LinkByName(b.d.names.bridge)
	must(t, err)
	if six, err := netlink.AddrList(bridge, netlink.FAMILY_V6); err != nil || len(six) > 0 {
		t.Errorf("containers reach the machine by IPv6, past the rules: %v, %v", six, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestPublishedPorts(t *testing.T) {
	b := newBox(t, Config{})
	port := hostPort()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	must(t, err)
	mapping := []run.PortMapping{{HostPort: port, Port: 80, Protocol: "TCP"}}
	spec := run.SandboxSpec{ID: "published", Hostname: "h", Ports: mapping}
	if _, err := b.d.CreateSandbox(t.Context(), spec); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), fmt.Sprintf("127.0.0.1:%d/tcp", port)) {
		t.Errorf("a port that a process has: %v", err)
	}
	l.Close()
	b.sb, err = b.d.CreateSandbox(t.Context(), spec)
	must(t, err)
	b.start("server", httpd, nil)
	page := func() string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	b.await("the published port answers", func() bool { return page() == "page\n" })
	other := run.SandboxSpec{ID: "other", Hostname: "h2", Ports: mapping}
	if _, err := b.d.CreateSandbox(t.Context(), other); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), "published") {
		t.Errorf("a port that another sandbox has: %v", err)
	}
	if err := network.CheckFree(t.Context(), portsOf(mapping)); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a port that another program forwards: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
	must(t, b.d.Remove(t.Context(), "server"))
	must(t, b.d.RemoveSandbox(t.Context(), "published"))
	_, err = b.d.CreateSandbox(t.Context(), other)
	must(t, err)
}
