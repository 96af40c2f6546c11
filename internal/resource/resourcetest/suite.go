// Package resourcetest owns the contract of resource.Store and resource.Operations as tests that every driver runs.
package resourcetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/resource"
)

const group = "/subscriptions/S1/resourceGroups/Web"

func id(rest string) resource.ID { return resource.MustParseID(group + rest) }

func sample(name string) resource.Resource {
	return resource.Resource{
		ID: id("/providers/Microsoft.X/things/" + name), Location: "westus2", Kind: "linux",
		Tags: map[string]string{"a": "b"}, SKU: json.RawMessage(`{"name":"Basic"}`),
		Identity:   &resource.Identity{System: true, Attached: []resource.ID{id("/providers/Microsoft.I/ids/one")}},
		Properties: json.RawMessage(`{"x":1}`), Sealed: []byte{1, 2}, Unique: true,
	}
}

// Store checks a resource.Store; open gives an empty one.
func Store(t *testing.T, open func(*testing.T) resource.Store) {
	t.Run("round trip in any case", func(t *testing.T) { roundTrip(t, open(t)) })
	t.Run("etag guards a write", func(t *testing.T) { etags(t, open(t)) })
	t.Run("unique names across groups", func(t *testing.T) { uniqueNames(t, open(t)) })
	t.Run("concurrent creates of one name", func(t *testing.T) { concurrentCreates(t, open(t)) })
	t.Run("lists page by key", func(t *testing.T) { lists(t, open(t)) })
}

func roundTrip(t *testing.T, s resource.Store) {
	want := sample("One")
	stored, created, err := s.PutResource(t.Context(), want, "")
	if err != nil || !created || stored.ETag == "" || stored.Created.IsZero() {
		t.Fatalf("put: %v, created %v, %+v", err, created, stored)
	}
	got, err := s.Resource(t.Context(), resource.MustParseID("/SUBSCRIPTIONS/s1/resourcegroups/WEB/providers/microsoft.x/THINGS/one"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored, got, cmp.Comparer(resource.ID.Equal)); diff != "" {
		t.Errorf("stored and read differ (-stored +read):\n%s", diff)
	}
	if got.ID.String() != want.ID.String() {
		t.Errorf("the spelling changed: %s", got.ID)
	}
	if err := s.DeleteResource(t.Context(), want.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resource(t.Context(), want.ID); !errors.Is(err, resource.ErrNotFound) {
		t.Errorf("after delete: %v", err)
	}
	if err := s.DeleteResource(t.Context(), want.ID); !errors.Is(err, resource.ErrNotFound) {
		t.Errorf("second delete: %v", err)
	}
}

func etags(t *testing.T, s resource.Store) {
	r := sample("one")
	if _, _, err := s.PutResource(t.Context(), r, "*"); !errors.Is(err, resource.ErrChanged) {
		t.Errorf("'*' matched what does not exist: %v", err)
	}
	first, _, err := s.PutResource(t.Context(), r, "")
	if err != nil {
		t.Fatal(err)
	}
	r.Tags = nil
	second, created, err := s.PutResource(t.Context(), r, first.ETag)
	if err != nil || created || second.ETag == first.ETag || !second.Created.Equal(first.Created) {
		t.Errorf("second put: %v, created %v, %+v", err, created, second)
	}
	if _, _, err := s.PutResource(t.Context(), r, first.ETag); !errors.Is(err, resource.ErrChanged) {
		t.Errorf("a stale ETag was accepted: %v", err)
	}
}

func uniqueNames(t *testing.T, s resource.Store) {
	r := sample("One")
	if _, _, err := s.PutResource(t.Context(), r, ""); err != nil {
		t.Fatal(err)
	}
	other := r
	other.ID = resource.MustParseID("/subscriptions/S1/resourceGroups/other/providers/Microsoft.X/things/ONE")
	if _, _, err := s.PutResource(t.Context(), other, ""); !errors.Is(err, resource.ErrTaken) {
		t.Errorf("a taken name was accepted: %v", err)
	}
	got, err := s.FindByName(t.Context(), "microsoft.X/Things", "oNe")
	if err != nil || !got.ID.Equal(r.ID) {
		t.Errorf("FindByName: %v, %v", got.ID, err)
	}
	other.Unique = false
	if _, _, err := s.PutResource(t.Context(), other, ""); err != nil {
		t.Errorf("a name that need not be unique was refused: %v", err)
	}
}

func concurrentCreates(t *testing.T, s resource.Store) {
	var group sync.WaitGroup
	var mu sync.Mutex
	won, taken := 0, 0
	for i := range 8 {
		group.Go(func() {
			r := sample("same")
			r.ID = resource.MustParseID(fmt.Sprintf("/subscriptions/S1/resourceGroups/g%d/providers/Microsoft.X/things/same", i))
			_, _, err := s.PutResource(t.Context(), r, "")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, resource.ErrTaken):
				taken++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won != 1 || taken != 7 {
		t.Errorf("%d creates won and %d were refused, want 1 and 7", won, taken)
	}
}

func lists(t *testing.T, s resource.Store) {
	for _, name := range []string{"c", "a", "b"} {
		if _, _, err := s.PutResource(t.Context(), sample(name), ""); err != nil {
			t.Fatal(err)
		}
	}
	beside := sample("zz")
	beside.ID = resource.MustParseID(group + "0/providers/Microsoft.X/things/zz") // the group "Web0" is not in "Web"
	other := sample("d")
	other.ID = id("/providers/Microsoft.Y/others/d")
	for _, r := range []resource.Resource{beside, other} {
		if _, _, err := s.PutResource(t.Context(), r, ""); err != nil {
			t.Fatal(err)
		}
	}
	names := func(scope resource.ID, resourceType, after string, limit int) string {
		list, err := s.ListResources(t.Context(), scope, resourceType, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, r := range list {
			out.WriteString(r.ID.Name() + " ")
		}
		return out.String()
	}
	for _, c := range []struct {
		got, want string
	}{
		{names(id(""), "microsoft.x/things", "", 0), "a b c "},
		{names(id(""), "microsoft.x/things", "", 2), "a b "},
		{names(id(""), "microsoft.x/things", sample("b").ID.Key(), 2), "c "},
		{names(id(""), "", "", 0), "a b c d "},
		{names(resource.Root, "Microsoft.X/things", "", 0), "a b c zz "},
	} {
		if c.got != c.want {
			t.Errorf("listed %q, want %q", c.got, c.want)
		}
	}
}

// Operations checks a resource.Operations; open gives an empty one.
func Operations(t *testing.T, open func(*testing.T) resource.Operations) {
	s := open(t)
	o := resource.Operation{ID: "o1", Kind: resource.OperationDelete, Resource: id("/providers/Microsoft.X/things/a"), Location: "westus2", Caller: "p1"}
	if err := s.BeginOperation(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	open1, err := s.OpenOperations(t.Context(), resource.OperationDelete)
	if err != nil || len(open1) != 1 || open1[0].ID != "o1" || open1[0].Status != resource.InProgress || open1[0].Created.IsZero() {
		t.Fatalf("open: %+v, %v", open1, err)
	}
	if puts, err := s.OpenOperations(t.Context(), resource.OperationPut); err != nil || len(puts) != 0 {
		t.Errorf("another kind was listed: %+v, %v", puts, err)
	}
	o.Status, o.Code, o.Message = resource.Failed, "Code", "it broke"
	if err := s.EndOperation(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Status, o.Code = resource.Succeeded, ""
	if err := s.EndOperation(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got, err := s.Operation(t.Context(), "o1")
	if err != nil || got.Status != resource.Failed || got.Code != "Code" || got.Message != "it broke" || got.Ended.IsZero() {
		t.Errorf("the first end must stay: %+v, %v", got, err)
	}
	if err := s.ForgetOperations(t.Context(), got.Ended.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Operation(t.Context(), "o1"); !errors.Is(err, resource.ErrNotFound) {
		t.Errorf("a forgotten operation: %v", err)
	}
}
