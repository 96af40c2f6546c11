package arm

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

const (
	otherClusters = group + "/providers/Microsoft.Kubernetes/connectedClusters/"
	elsewhere     = otherClusters + "elsewhere"
	puller        = identities + "puller"
	otherBody     = `{"location":"westus2","properties":{"distribution":"k3s","fairleadProfile":{"kubeconfig":"the kubeconfig","context":"c","pullSecrets":[
		{"namespace":"web","serviceAccounts":["default"],"registry":"MyAcr.azurecr.io","identity":"` + puller + `"}]}}}`
)

// remoteCluster is a cluster of others that does as it is told.
type remoteCluster struct {
	mu      sync.Mutex
	refused error
	holds   map[string]string // by namespace and secret: the user whose login it holds
}

func (r *remoteCluster) service(store cluster.Store, sealer *secret.Sealer) *connected.Service {
	return connected.NewService(connected.Config{
		Store: store, Sealer: sealer,
		Open: func(_ resource.ID, kubeconfig secret.Text, context string) (connected.Remote, error) {
			if kubeconfig.Reveal() != "the kubeconfig" || context != "c" {
				return nil, fault.New(fault.Invalid, "InvalidKubeconfig", "this is no kubeconfig: it has no contexts")
			}
			return r, nil
		},
		Lend: func(_ context.Context, registry string, _ resource.ID) (pull.Login, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return pull.Login{Host: registry, Username: "u", Expires: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)}, r.refused
		},
		Changed: func() <-chan struct{} { return nil },
		Now:     func() time.Time { return time.Date(2100, 1, 2, 0, 4, 5, 0, time.UTC) },
	})
}

func (r *remoteCluster) Version(context.Context) (string, error) { return "v1.37.2", nil }

func (r *remoteCluster) Put(_ context.Context, p connected.Pull, login pull.Login) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holds == nil {
		r.holds = map[string]string{}
	}
	r.holds[p.Namespace+"/"+p.Secret] = login.Username
	return nil
}

func (r *remoteCluster) Remove(_ context.Context, p connected.Pull) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.holds, p.Namespace+"/"+p.Secret)
	return nil
}

func (r *remoteCluster) secrets() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.holds)
}

func TestConnectedClusters(t *testing.T) {
	w := newWorld(t).group()
	w.want(http.StatusCreated, "PUT", puller, `{"location":"westus2"}`)
	w.want(http.StatusCreated, "PUT", elsewhere, otherBody)
	w.eventually("the pull secret is there", func() bool { return w.remote.secrets() == 1 })
	w.golden("connected-refreshed", w.do("POST", elsewhere+"/refreshPullSecrets", ""))
	a := w.do("GET", elsewhere, "")
	w.golden("connected", a)
	if strings.Contains(a.raw, "the kubeconfig") {
		t.Error("the kubeconfig is shown")
	}
	w.want(http.StatusOK, "PUT", elsewhere, strings.Replace(otherBody, `"kubeconfig":"the kubeconfig",`, "", 1)) // keeps the one that is there
	w.remote.mu.Lock()
	w.remote.refused = fault.New(fault.Denied, "ROLE_MISSING", "the registry refused the right to pull")
	w.remote.mu.Unlock()
	w.golden("connected-refused", w.do("POST", elsewhere+"/refreshPullSecrets", ""))
	if n := w.remote.secrets(); n != 0 {
		t.Errorf("%d secrets without the right", n)
	}
	w.restart()
	if a := w.do("GET", elsewhere, ""); a.text("properties.fairleadProfile.pullSecrets.0.secretName") != "fairlead-pull" {
		t.Error(a.raw)
	}
	w.want(http.StatusOK, "DELETE", elsewhere, "")
	w.want(http.StatusNotFound, "GET", elsewhere, "")
}

func TestConnectedClusterRefusals(t *testing.T) {
	w := newWorld(t).group()
	w.want(http.StatusCreated, "PUT", puller, `{"location":"westus2"}`)
	for name, body := range map[string]string{
		"no-kubeconfig": strings.Replace(otherBody, `"kubeconfig":"the kubeconfig",`, "", 1),
		"kubeconfig":    strings.Replace(otherBody, "the kubeconfig", "x", 1),
		"namespace":     strings.Replace(otherBody, `"web"`, `"Web!"`, 1),
		"registry":      strings.Replace(otherBody, `"registry":"MyAcr.azurecr.io",`, "", 1),
		"identity":      strings.Replace(otherBody, puller, "puller", 1),
		"nobody":        strings.Replace(otherBody, puller, identities+"nobody", 1),
	} {
		w.golden("connected-"+name, w.do("PUT", elsewhere, body))
	}
	w.want(http.StatusNotFound, "GET", elsewhere, "")
}
