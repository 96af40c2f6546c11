//go:build linux

package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/rogpeppe/go-internal/testscript"
)

// transport connects every name to the server of the script and trusts its authority.
func transport(ts *testscript.TestScript) *http.Transport {
	pem, err := os.ReadFile(ts.Getenv("CA"))
	ts.Check(err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		ts.Fatalf("%s holds no certificate", ts.Getenv("CA"))
	}
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", ts.Getenv("PORT")))
		},
	}
}

// cmdCrane pushes an image with go-containerregistry, reads it back and deletes it: crane REPOSITORY USER PASSWORD.
func cmdCrane(ts *testscript.TestScript, neg bool, args []string) {
	ref := "myacr" + ts.Getenv("SUFFIX") + "/" + args[0] + ":crane"
	options := []crane.Option{
		crane.WithTransport(transport(ts)), crane.WithAuth(&authn.Basic{Username: args[1], Password: args[2]}),
	}
	image, err := random.Image(4096, 3)
	ts.Check(err)
	err = crane.Push(image, ref, options...)
	if neg {
		if err == nil {
			ts.Fatalf("crane: the push was accepted")
		}
		ts.Logf("crane: refused: %v", err)
		return
	}
	ts.Check(err)
	pushed, err := image.Digest()
	ts.Check(err)
	pulled, err := crane.Pull(ref, options...)
	ts.Check(err)
	layers, err := pulled.Layers()
	ts.Check(err)
	for _, layer := range layers {
		r, err := layer.Uncompressed()
		ts.Check(err)
		ts.Check(r.Close())
	}
	if got, err := crane.Digest(ref, options...); err != nil || got != pushed.String() {
		ts.Fatalf("crane: the registry gives %s, %v for %s", got, err, pushed)
	}
	ts.Check(crane.Delete("myacr"+ts.Getenv("SUFFIX")+"/"+args[0]+"@"+pushed.String(), options...))
	if _, err := crane.Digest(ref, options...); err == nil {
		ts.Fatalf("crane: the image is still there after its deletion")
	}
}

// cmdContainerd pulls an image with containerd's own client and pushes it elsewhere: containerd FROM TO USER PASSWORD.
func cmdContainerd(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), "test"), time.Minute)
	defer cancel()
	socket := "/run/fairlead-" + markOf(ts.Getenv("DATA")) + "/containerd.sock"
	c, err := containerd.New(socket)
	ts.Check(err)
	defer c.Close()
	from, to := "myacr"+ts.Getenv("SUFFIX")+"/"+args[0], "myacr"+ts.Getenv("SUFFIX")+"/"+args[1]
	resolver := resolver(ts, args[2], args[3])
	image, err := c.Pull(ctx, from, containerd.WithResolver(resolver))
	if neg {
		if err == nil {
			ts.Fatalf("containerd: the pull was accepted")
		}
		ts.Logf("containerd: refused: %v", err)
		return
	}
	ts.Check(err)
	ts.Check(c.Push(ctx, to, image.Target(), containerd.WithResolver(resolver)))
	if _, d, err := resolver.Resolve(ctx, to); err != nil || d.Digest != image.Target().Digest {
		ts.Fatalf("containerd: %s is %s, %v; pushed was %s", to, d.Digest, err, image.Target().Digest)
	}
	ts.Check(c.ImageService().Delete(ctx, from))
}

func resolver(ts *testscript.TestScript, user, password string) remotes.Resolver {
	client := &http.Client{Transport: transport(ts)}
	authorizer := docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(func(string) (string, string, error) {
		return user, password, nil
	}))
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithClient(client), docker.WithAuthorizer(authorizer)),
	})
}
