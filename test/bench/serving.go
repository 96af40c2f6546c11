//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	connections = 32
	rounds      = 3
)

// load is what one server did under load.
type load struct {
	perSecond, perCPU float64
}

// measureServing asks for one manifest by tag, over and over: Fairlead with tokens and roles checked at each request
// over TLS, beside Debian's docker-registry and a bare handler, both over plain HTTP and without any check.
func measureServing(ctx context.Context, program string, seconds time.Duration, w io.Writer) error {
	ours, err := fairleadLoad(ctx, program, seconds)
	if err != nil {
		return err
	}
	peer, err := peerLoad(ctx, seconds)
	if err != nil {
		return err
	}
	bare, err := bareLoad(ctx, seconds)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n## GET manifest by tag, %d connections, median of %d\n\n", connections, rounds)
	fmt.Fprint(w, "| | requests/s | to docker-registry | requests/CPU s | to docker-registry | to bare |\n|---|---|---|---|---|---|\n")
	row := func(what string, l load) {
		fmt.Fprintf(w, "| %s | %.0f | %.2fx | %.0f | %.2fx | %.2fx |\n", what, l.perSecond, l.perSecond/peer.perSecond, l.perCPU, l.perCPU/peer.perCPU, l.perCPU/bare.perCPU)
	}
	row("Fairlead: TLS, bearer token, role checked", ours)
	row("Debian's docker-registry: plain HTTP, no check", peer)
	row("bare net/http handler, plain HTTP", bare)
	return nil
}

func fairleadLoad(ctx context.Context, program string, seconds time.Duration) (l load, err error) {
	s, err := start(program)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if _, err := s.cli(ctx, "registry", "create", "myacr"); err != nil {
		return l, err
	}
	if err := s.pushSmall(ctx, "myacr/app:v1"); err != nil {
		return l, err
	}
	server := "myacr" + s.ready.RegistrySuffix
	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(s.ready.Port))
	pool, err := trust(s.ready.CAFile)
	if err != nil {
		return l, err
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost: connections, TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	token, err := registryToken(ctx, transport, server, s.ready.Admin.ClientID, string(s.ready.Admin.ClientSecret))
	if err != nil {
		return l, err
	}
	return loadOf(ctx, transport, "https://"+server+"/v2/app/manifests/v1", token, s.cmd.Process.Pid, seconds)
}

// pushSmall pushes an image of one small program.
func (s *server) pushSmall(ctx context.Context, ref string) error {
	image := filepath.Join(s.dir, "image", "bin")
	if err := os.MkdirAll(image, 0o755); err != nil {
		return err
	}
	text, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(image, "busybox"), text, 0o755); err != nil {
		return err
	}
	_, err = s.cli(ctx, "push", filepath.Dir(image), ref, "--entrypoint", "/bin/busybox", "--cmd", "sleep", "--cmd", "1000")
	return err
}

func registryToken(ctx context.Context, transport http.RoundTripper, server, user, password string) (string, error) {
	query := url.Values{"service": {server}, "scope": {"repository:app:pull"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+server+"/oauth2/token?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	r.SetBasicAuth(user, password)
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Token == "" {
		return "", fmt.Errorf("the registry gave no token: %s: %w", resp.Status, err)
	}
	return body.Token, nil
}

// peerLoad starts Debian's docker-registry on a free port and loads it.
func peerLoad(ctx context.Context, seconds time.Duration) (l load, err error) {
	dir, err := workDir()
	if err != nil {
		return l, err
	}
	defer os.RemoveAll(dir)
	port, err := freePort()
	if err != nil {
		return l, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: '127.0.0.1:%d'}\n", dir, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return l, err
	}
	cmd := exec.CommandContext(ctx, "docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		return l, fmt.Errorf("the peer (Debian package docker-registry): %w", err)
	}
	defer endPeer(cmd)
	server := fmt.Sprintf("127.0.0.1:%d", port)
	if err := untilAnswers(ctx, "http://"+server+"/v2/"); err != nil {
		return l, err
	}
	image, err := random.Image(1024, 1)
	if err != nil {
		return l, err
	}
	ref, err := name.ParseReference(server+"/app:v1", name.Insecure)
	if err != nil {
		return l, err
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
		return l, err
	}
	return loadOf(ctx, &http.Transport{MaxIdleConnsPerHost: connections}, "http://"+server+"/v2/app/manifests/v1", "", cmd.Process.Pid, seconds)
}

// bareLoad loads a handler that answers the same number of bytes and does nothing else, in a process of its own.
func bareLoad(ctx context.Context, seconds time.Duration) (load, error) {
	self, err := os.Executable()
	if err != nil {
		return load{}, err
	}
	cmd := exec.CommandContext(ctx, self, "-bare")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return load{}, err
	}
	if err := cmd.Start(); err != nil {
		return load{}, err
	}
	defer endPeer(cmd)
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return load{}, err
	}
	return loadOf(ctx, &http.Transport{MaxIdleConnsPerHost: connections}, strings.TrimSpace(address), "", cmd.Process.Pid, seconds)
}

// serveBare is that process: it prints its address and serves until it is told to end.
func serveBare() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/\n", l.Addr())
	body := []byte(strings.Repeat("x", 420))
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }), ReadHeaderTimeout: time.Minute}
	return s.Serve(l)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func untilAnswers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			return resp.Body.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", address, ctx.Err())
		case <-tick.C:
		}
	}
}

// loadOf takes the medians of some rounds.
func loadOf(ctx context.Context, transport http.RoundTripper, address, token string, pid int, seconds time.Duration) (load, error) {
	var all []load
	for range rounds {
		one, err := loadOnce(ctx, transport, address, token, pid, seconds)
		if err != nil {
			return load{}, err
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b load) int { return int(a.perCPU - b.perCPU) })
	return all[rounds/2], nil
}

func loadOnce(ctx context.Context, transport http.RoundTripper, address, token string, pid int, seconds time.Duration) (load, error) {
	runtime.GC()
	before, err := cpu(pid)
	if err != nil {
		return load{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, seconds)
	defer cancel()
	var done atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, connections)
	begin := time.Now()
	for range connections {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := ask(ctx, transport, address, token); err != nil {
					if ctx.Err() == nil {
						failed <- err
					}
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	select {
	case err := <-failed:
		return load{}, err
	default:
	}
	after, err := cpu(pid)
	if err != nil {
		return load{}, err
	}
	n := float64(done.Load())
	return load{perSecond: n / took.Seconds(), perCPU: n / (after - before).Seconds()}, nil
}

func ask(ctx context.Context, transport http.RoundTripper, address, token string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
