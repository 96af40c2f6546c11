//go:build linux

package clusters

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairlead.dev/internal/api/aks"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// patience is how long a request to an API server may take.
const patience = 10 * time.Second

// read reads what is at a path of a cluster's API into out.
func read(ctx context.Context, a cluster.Access, path string, out any) error {
	answer, err := request(ctx, a, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// request asks an API server as the cluster's administrator, and gives its answer.
func request(ctx context.Context, a cluster.Access, method, path string, body []byte) ([]byte, error) {
	pair, err := tls.X509KeyPair(a.Certificate, a.Key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.Authority)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+a.Server.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	// Server-side apply: https://kubernetes.io/docs/reference/using-api/server-side-apply/
	req.Header.Set("Content-Type", "application/apply-patch+yaml")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, errNoSuchObject.WithMessage("the cluster has nothing at %s", path)
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("the API server answers %s to %s %s: %.300s", resp.Status, method, path, answer)
	}
	return answer, nil
}

var errNoSuchObject = fault.New(fault.NotFound, "NotFound", "the cluster has no such object")

// settle puts into a cluster what pulls and workload identity need there, and takes out nodes that it no longer has: to
// their pods nothing will ever happen again.
func (c *Clusters) settle(ctx context.Context, wanted cluster.Cluster, a cluster.Access) error {
	objects := aks.CredentialObjects()
	if wanted.WorkloadIdentity {
		objects = append(objects, aks.Objects(c.deps.Inside.URL(resource.Clusters)+admitPath, c.deps.Authority)...)
	}
	for _, object := range objects {
		if _, err := request(ctx, a, http.MethodPatch, object.Path+"?fieldManager=fairlead&force=true", object.Body); err != nil {
			return err
		}
	}
	if err := forgetNodes(ctx, a, wanted.NodeNames()); err != nil {
		return err
	}
	return awaitAccount(ctx, a)
}

// awaitAccount waits for the service account that pods have who name none: until the cluster's controllers have made it, no
// pod is let in.
func awaitAccount(ctx context.Context, a cluster.Access) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := request(ctx, a, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", nil)
		if !errors.Is(err, errNoSuchObject) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// forgetNodes deletes all nodes but those of these names.
func forgetNodes(ctx context.Context, a cluster.Access, wanted []string) error {
	const nodes = "/api/v1/nodes"
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"items"`
	}
	if err := read(ctx, a, nodes, &list); err != nil {
		return err
	}
	for _, n := range list.Items {
		if slices.Contains(wanted, n.Metadata.Name) {
			continue
		}
		if _, err := request(ctx, a, http.MethodDelete, nodes+"/"+n.Metadata.Name, nil); err != nil && !errors.Is(err, errNoSuchObject) {
			return err
		}
	}
	return nil
}

// Annotations implements aks.ServiceAccounts.
func (c *Clusters) Annotations(ctx context.Context, id resource.ID, namespace, name string) (map[string]string, error) {
	a, err := c.Access(ctx, id)
	if err != nil {
		return nil, err
	}
	var account struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	path := "/api/v1/namespaces/" + url.PathEscape(namespace) + "/serviceaccounts/" + url.PathEscape(name)
	err = read(ctx, a, path, &account)
	return account.Metadata.Annotations, err
}

// Keys implements entra.Issuers for the issuers of clusters' service accounts.
func (c *Clusters) Keys(ctx context.Context, issuer string) (jose.JSONWebKeySet, bool, error) {
	for _, one := range c.Clusters() {
		if c.issuer(one) != issuer {
			continue
		}
		a, err := c.Access(ctx, one.ID)
		if err != nil {
			return jose.JSONWebKeySet{}, true, err
		}
		key, err := tokenKey(a.TokenKey)
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}, true, err
	}
	return jose.JSONWebKeySet{}, false, nil
}

// tokenKey gives the key that service accounts' tokens are verified with, under the id that Kubernetes gives it: the SHA-256
// of its DER form in unpadded base64url.
//
// Source: keyIDFromPublicKey in https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/serviceaccount/jwt.go
func tokenKey(text []byte) (jose.JSONWebKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return jose.JSONWebKey{}, errors.New("the key of service accounts' tokens is not in PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	sum := sha256.Sum256(block.Bytes)
	return jose.JSONWebKey{Key: key, KeyID: base64.RawURLEncoding.EncodeToString(sum[:]), Use: "sig"}, nil
}
