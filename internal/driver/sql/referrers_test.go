package sql

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
)

// TestReferrersCostAPage: whatever else there is, a list of referrers is one range of an index, in its order.
func TestReferrersCostAPage(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for query, index := range map[string]string{
		referrersOfSubject: "SEARCH referrers USING INDEX referrers_by_subject (repository=? AND subject=? AND manifest>?)",
		referrersOfType:    "SEARCH referrers USING PRIMARY KEY (repository=? AND subject=? AND artifact_type=? AND manifest>?)",
	} {
		rows, err := db.read.QueryContext(t.Context(), "explain query plan "+query, 1, "s", "", 10, "t")
		steps, err := collect(rows, err, func(row scanner) (step string, err error) {
			var id, parent, unused int
			return step, row.Scan(&id, &parent, &unused, &step)
		})
		if err != nil || len(steps) != 1 || steps[0] != index {
			t.Errorf("%v, %v, want %q", steps, err, index)
		}
	}
}

// TestMigrationFindsReferrers: what referred to something before there was a list of it is in the list.
func TestMigrationFindsReferrers(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "fairlead.db")
	subject := content.FromBytes([]byte("subject"))
	config := fmt.Sprintf(`{"mediaType":"example/config","digest":"%s","size":2}`, content.FromBytes([]byte("{}")))
	want := map[content.Digest]content.Descriptor{}
	old := oldDatabase(t, path, 9)
	insert(ctx, t, old, `insert into registries (tenant, key, id, name_key, created) values ('t', $1, $2, 'acme', 0)`, acme.Key(), acme.String())
	insert(ctx, t, old, `insert into repositories (number, tenant, registry, name) values (1, 't', $1, 'app')`, acme.Key())
	for rest, shown := range map[string]content.Descriptor{
		`"artifactType":"example/sbom","layers":[],"annotations":{"a":"ä"}`: {ArtifactType: "example/sbom", Annotations: map[string]string{"a": "ä"}},
		`"layers":[]`:                    {ArtifactType: "example/config"},
		`"annotations":null,"layers":[]`: {ArtifactType: "example/config"},
	} {
		body := fmt.Sprintf(`{"schemaVersion":2,"config":%s,"subject":{"mediaType":"x/y","digest":"%s","size":7},%s}`, config, subject, rest)
		var own struct{ ArtifactType string }
		if err := json.Unmarshal([]byte(body), &own); err != nil {
			t.Fatal(err)
		}
		shown.Digest, shown.MediaType, shown.Size = content.FromBytes([]byte(body)), content.MediaTypeManifest, int64(len(body))
		want[shown.Digest] = shown
		insert(ctx, t, old, `insert into manifests (repository, digest, media_type, size, subject, artifact_type, pushed, body) values (1, $1, $2, $3, $4, $5, 0, $6)`,
			string(shown.Digest), shown.MediaType, shown.Size, string(subject), own.ArtifactType, []byte(body))
	}
	insert(ctx, t, old, `insert into manifests (repository, digest, media_type, size, artifact_type, pushed, body) values (1, 'sha256:none', 'x', 2, '', 0, $1)`, []byte("{}"))
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	db, err := Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	page, more, err := NewRegistry(db, "t").ListReferrers(ctx, registry.Repository{Registry: acme, Name: "app"}, registry.ReferrerQuery{Subject: subject, Limit: 10})
	if err != nil || more {
		t.Fatal(more, err)
	}
	got := map[content.Digest]content.Descriptor{}
	for _, d := range page {
		got[d.Digest] = d
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var acme = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/acme")

// oldDatabase makes a database as a program with that schema version left it.
func oldDatabase(t *testing.T, path string, version int64) *DB {
	t.Helper()
	write, err := open(path, "immediate", 1)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, write, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	read, err := open(path, "deferred", 1)
	if err != nil {
		t.Fatal(err)
	}
	return &DB{read: read, write: write}
}

func insert(ctx context.Context, t *testing.T, db *DB, query string, args ...any) {
	t.Helper()
	if _, err := db.write.ExecContext(ctx, query, args...); err != nil {
		t.Fatal(strings.Fields(query)[2], err)
	}
}

// BenchmarkReferrers asks for what refers to one manifest among 100,000 that refer to others, and to one that all of 100,000
// refer to, where the artifact type that is asked for is rare.
func BenchmarkReferrers(b *testing.B) {
	ctx := context.Background()
	db, err := Open(ctx, filepath.Join(b.TempDir(), "fairlead.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	numbers := `with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) `
	for _, query := range []string{
		`insert into registries (tenant, key, id, name_key, created) values ('t', '` + acme.Key() + `', '` + acme.String() + `', 'acme', 0)`,
		`insert into repositories (number, tenant, registry, name) values (1, 't', '` + acme.Key() + `', 'app')`,
		numbers + `insert into manifests (repository, digest, media_type, size, subject, artifact_type, pushed, body) select 1, 'one' || i, 'x/y', 2, 's', 't', 0, '{}' from n`,
		numbers + `insert into manifests (repository, digest, media_type, size, subject, artifact_type, pushed, body) select 1, 'all' || i, 'x/y', 2, 's', 't', 0, '{}' from n`,
		numbers + `insert into referrers select 1, 'subject' || i, 'type', 'one' || i, 'x/y', 2, 'null' from n`,
		numbers + `insert into referrers select 1, 'subject', iif(i % 33333 = 0, 'rare', 'type'), 'all' || i, 'x/y', 2, 'null' from n`,
	} {
		if _, err := db.write.ExecContext(ctx, query); err != nil {
			b.Fatal(err)
		}
	}
	store, repo := NewRegistry(db, "t"), registry.Repository{Registry: acme, Name: "app"}
	for name, c := range map[string]struct {
		q    registry.ReferrerQuery
		want int
	}{
		"one":  {registry.ReferrerQuery{Subject: "subject4711", Limit: 1000}, 1},
		"rare": {registry.ReferrerQuery{Subject: "subject", ArtifactType: "rare", Limit: 1000}, 3},
		"page": {registry.ReferrerQuery{Subject: "subject", Limit: 1000}, 1000},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if page, _, err := store.ListReferrers(ctx, repo, c.q); err != nil || len(page) != c.want {
					b.Fatal(len(page), err)
				}
			}
		})
	}
}
