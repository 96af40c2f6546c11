//go:build linux

package clusters

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fairlead.dev/internal/cluster"
)

// What a cluster's ingress proxy is known by: package config of module fairlead.dev/kube documents both.
const (
	ingressHosts = "ingress-hosts.json" // in the cluster's directory
	ingressPort  = 10080                // on the node that is the control plane too
)

// Ingress gives what serves a host that an Ingress of a running cluster names: that cluster's ingress proxy. Of clusters that
// name the same host, the first by its id has it.
func (c *Clusters) Ingress(host string) (http.Handler, bool) {
	a, found := c.ingress(host)
	if !found {
		return nil, false
	}
	to := &url.URL{Scheme: "http", Host: netip.AddrPortFrom(a.Server.Addr(), ingressPort).String()}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		FlushInterval: -1, // what is streamed is streamed on
		ErrorLog:      slog.NewLogLogger(c.deps.Log.Handler(), slog.LevelDebug),
	}, true
}

// ingress finds the cluster.
func (c *Clusters) ingress(host string) (cluster.Access, bool) {
	host = strings.ToLower(host)
	for _, one := range c.Clusters() {
		a, err := c.Access(context.Background(), one.ID) // it waits for nothing: the list was read already
		if err != nil {
			continue
		}
		var served struct {
			Hosts []string `json:"hosts"`
		}
		text, err := os.ReadFile(filepath.Join(c.machine.Dir(cluster.Key(one.ID)), ingressHosts))
		if err == nil && json.Unmarshal(text, &served) == nil && slices.ContainsFunc(served.Hosts, func(h string) bool { return covers(h, host) }) {
			return a, true
		}
	}
	return cluster.Access{}, false
}

// covers reports whether a host of an Ingress, whose first label may be "*", stands for a host name.
//
// Source: https://kubernetes.io/docs/concepts/services-networking/ingress/#hostname-wildcards
func covers(pattern, host string) bool {
	if rest, wild := strings.CutPrefix(pattern, "*."); wild {
		_, parent, _ := strings.Cut(host, ".")
		return parent == rest
	}
	return pattern == host
}

// certificateLife is how long the certificate of an Ingress is remembered, in seconds: every connection to its host asks
// for it, and cert-manager and people change it now and then.
const certificateLife = 10

// Certificate gives the one that an Ingress names in spec.tls for a host: ok is false when there is none.
func (c *Clusters) Certificate(ctx context.Context, host string) (certificate *tls.Certificate, served, ok bool) {
	a, served := c.ingress(host)
	if !served {
		return nil, false, false
	}
	pair, err := c.certificates.Get(time.Now().Unix()/certificateLife, host, func() (*tls.Certificate, error) { return c.certificate(ctx, a, host) })
	if err != nil {
		c.deps.Log.WarnContext(ctx, "the certificate of an Ingress cannot be looked up", "host", host, "error", err)
	}
	return pair, true, pair != nil
}

// certificate finds it in the cluster; nil when there is none.
func (c *Clusters) certificate(ctx context.Context, a cluster.Access, host string) (*tls.Certificate, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Namespace string `json:"namespace"`
			} `json:"metadata"`
			Spec struct {
				TLS []struct {
					Hosts      []string `json:"hosts"`
					SecretName string   `json:"secretName"`
				} `json:"tls"`
			} `json:"spec"`
		} `json:"items"`
	}
	if err := read(ctx, a, "/apis/networking.k8s.io/v1/ingresses", &list); err != nil {
		return nil, err
	}
	for _, item := range list.Items {
		for _, t := range item.Spec.TLS {
			if t.SecretName == "" || !slices.ContainsFunc(t.Hosts, func(h string) bool { return covers(strings.ToLower(h), host) }) {
				continue
			}
			pair, err := pairOf(ctx, a, item.Metadata.Namespace, t.SecretName)
			if err != nil {
				c.deps.Log.WarnContext(ctx, "the certificate of an Ingress is of no use", "host", host, "namespace", item.Metadata.Namespace, "secret", t.SecretName, "error", err)
				continue
			}
			return &pair, nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer, and remembered as one
}

// pairOf reads a secret of the type kubernetes.io/tls.
func pairOf(ctx context.Context, a cluster.Access, namespace, name string) (tls.Certificate, error) {
	var secret struct {
		Data struct {
			Certificate []byte `json:"tls.crt"`
			Key         []byte `json:"tls.key"`
		} `json:"data"`
	}
	path := "/api/v1/namespaces/" + url.PathEscape(namespace) + "/secrets/" + url.PathEscape(name)
	if err := read(ctx, a, path, &secret); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(secret.Data.Certificate, secret.Data.Key)
}
