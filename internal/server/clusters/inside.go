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
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairlead.dev/internal/api/aks"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// patience is how long a request to an API server may take.
const patience = 10 * time.Second

// request asks an API server as the cluster's administrator. A body is applied at the path; else what is there is read
// into out.
func request(ctx context.Context, a cluster.Access, path string, body []byte, out any) error {
	pair, err := tls.X509KeyPair(a.Certificate, a.Key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.Authority)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	method, to := http.MethodGet, "https://"+a.Server.String()+path
	if body != nil {
		method, to = http.MethodPatch, to+"?fieldManager=fairlead&force=true"
	}
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	// Server-side apply: https://kubernetes.io/docs/reference/using-api/server-side-apply/
	req.Header.Set("Content-Type", "application/apply-patch+yaml")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusNotFound:
		return errNoSuchObject.WithMessage("the cluster has nothing at %s", path)
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("the API server answers %s to %s %s: %.300s", resp.Status, method, path, answer)
	case out == nil:
		return nil
	}
	return json.Unmarshal(answer, out)
}

var errNoSuchObject = fault.New(fault.NotFound, "NotFound", "the cluster has no such object")

// settle puts into a cluster what pulls and workload identity need there.
func (c *Clusters) settle(ctx context.Context, wanted cluster.Cluster, a cluster.Access) error {
	objects := aks.CredentialObjects()
	if wanted.WorkloadIdentity {
		objects = append(objects, aks.Objects(c.deps.Inside.URL(resource.Clusters)+admitPath, c.deps.Authority)...)
	}
	for _, object := range objects {
		if err := request(ctx, a, object.Path, object.Body, nil); err != nil {
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
	err = request(ctx, a, path, nil, &account)
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
