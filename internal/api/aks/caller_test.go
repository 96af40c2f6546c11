package aks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"fairlead.dev/internal/api/aks"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

func TestCallerByToken(t *testing.T) {
	token, another := secret.Generate(32), secret.Generate(32)
	other := resource.MustParseID(managedCluster.String() + "-2")
	hashes := map[resource.ID]string{managedCluster: secret.HashGenerated(token), other: secret.HashGenerated(another)}
	caller := aks.CallerByToken(func(context.Context) map[resource.ID]string { return hashes })
	who := func(header string) resource.ID {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Authorization", header)
		cluster, ok := caller(r)
		if ok == cluster.IsZero() {
			t.Errorf("%v of %q", ok, cluster)
		}
		return cluster
	}
	for header, want := range map[string]resource.ID{
		"Bearer " + token.Reveal():                   managedCluster,
		"bearer  " + token.Reveal():                  managedCluster,
		"Bearer " + another.Reveal():                 other,
		"Bearer " + token.Reveal() + "x":             {},
		"Bearer " + hashes[managedCluster]:           {},
		"Bearer ":                                    {},
		"Basic " + token.Reveal():                    {},
		"":                                           {},
		"Bearer " + token.Reveal()[:10] + " garbage": {},
	} {
		if got := who(header); got != want {
			t.Errorf("%q is taken for %q, want %q", header, got, want)
		}
	}
	delete(hashes, managedCluster)
	if got := who("Bearer " + token.Reveal()); !got.IsZero() {
		t.Error("the token of a cluster that is gone still counts")
	}
	hashes[other] = "no hash"
	if got := who("Bearer no hash"); !got.IsZero() {
		t.Error("a broken hash is a password")
	}
}
