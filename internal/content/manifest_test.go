package content_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
)

func descriptor(mediaType string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":2}`, mediaType, sum)
}

var (
	image = `{"schemaVersion":2,"mediaType":"` + content.MediaTypeManifest + `","config":` + descriptor(content.MediaTypeConfig) +
		`,"layers":[` + descriptor("application/vnd.oci.image.layer.v1.tar+gzip") + `],"annotations":{"a":"b"}}`
	index = `{"schemaVersion":2,"mediaType":"` + content.MediaTypeIndex + `","manifests":[` + descriptor(content.MediaTypeManifest) + `]}`
)

func TestParseManifest(t *testing.T) {
	m, err := content.ParseManifest(content.MediaTypeManifest, []byte(image))
	if err != nil {
		t.Fatal(err)
	}
	want := content.Manifest{
		MediaType:   content.MediaTypeManifest,
		Config:      &content.Descriptor{MediaType: content.MediaTypeConfig, Digest: sum, Size: 2},
		Layers:      []content.Descriptor{{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: sum, Size: 2}},
		Annotations: map[string]string{"a": "b"},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if m, err = content.ParseManifest("", []byte(index)); err != nil || !m.IsIndex() || len(m.Manifests) != 1 {
		t.Errorf("index: %+v, %v", m, err)
	}
}

func TestArtifactTypeAsReferrer(t *testing.T) {
	for body, want := range map[string]string{
		image: content.MediaTypeConfig,
		index: "",
		strings.Replace(image, `{`, `{"artifactType":"example/sbom",`, 1): "example/sbom",
		strings.Replace(index, `{`, `{"artifactType":"example/list",`, 1): "example/list",
	} {
		m, err := content.ParseManifest("", []byte(body))
		if got := m.ArtifactTypeAsReferrer(); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", body, got, err, want)
		}
	}
}

func TestParseManifestTakesTheTypeFromWhereItIsKnown(t *testing.T) {
	bare := strings.Replace(image, `"mediaType":"`+content.MediaTypeManifest+`",`, "", 1)
	for _, c := range []struct{ served, body, want string }{
		{content.MediaTypeDockerManifest, bare, content.MediaTypeDockerManifest},
		{"", bare, content.MediaTypeManifest},
		{"", `{"schemaVersion":2,"manifests":[]}`, content.MediaTypeIndex},
		{content.MediaTypeDockerIndex, `{"schemaVersion":2,"manifests":[]}`, content.MediaTypeDockerIndex},
		{"", image, content.MediaTypeManifest},
	} {
		m, err := content.ParseManifest(c.served, []byte(c.body))
		if err != nil || m.MediaType != c.want {
			t.Errorf("served as %q: %q, %v, want %q", c.served, m.MediaType, err, c.want)
		}
	}
}

func TestParseManifestRefuses(t *testing.T) {
	with := func(body, field string) string { return strings.TrimSuffix(body, "}") + "," + field + "}" }
	for name, c := range map[string]struct{ served, body, says string }{
		"empty":                   {"", "", "not a JSON object"},
		"array":                   {"", "[]", "not a JSON object"},
		"truncated":               {"", image[:len(image)-20], "not JSON"},
		"trailing":                {"", image + "{}", "follows"},
		"schema 1":                {"", `{"schemaVersion":1}`, "schemaVersion is 1"},
		"other type":              {content.MediaTypeIndex, image, "but it came as"},
		"foreign type":            {"text/plain", `{"schemaVersion":2}`, "media type"},
		"layers in an index":      {"", with(index, `"layers":[]`), "holds no config and no layers"},
		"manifests in an image":   {"", with(image, `"manifests":[]`), "holds no manifests"},
		"Manifests in an image":   {"", with(image, `"Manifests":[]`), "must be written"},
		"layers twice":            {"", with(image, `"layers":[]`), "given twice"},
		"no config":               {"", `{"schemaVersion":2,"layers":[]}`, "without config"},
		"no layers":               {"", `{"schemaVersion":2,"config":` + descriptor("x/y") + `}`, "without layers"},
		"null layers":             {"", `{"schemaVersion":2,"layers":null,"config":` + descriptor("x/y") + `}`, "without layers"},
		"no manifests":            {"", `{"schemaVersion":2,"mediaType":"` + content.MediaTypeIndex + `"}`, "without manifests"},
		"negative size":           {"", strings.Replace(image, `"size":2`, `"size":-1`, 1), "config.size is -1"},
		"size as text":            {"", strings.Replace(image, `"size":2`, `"size":"2"`, 1), "not the JSON of a manifest"},
		"huge size":               {"", strings.Replace(image, `"size":2`, `"size":1e99`, 1), "not the JSON of a manifest"},
		"bad digest":              {"", strings.Replace(index, sum, "sha256:../../x", 1), "manifests[0].digest"},
		"bad subject (no digest)": {"", with(image, `"subject":{}`), "subject.digest"},
		"subject that is a path":  {"", with(image, `"subject":{"mediaType":"x/y","digest":"sha256:../../x","size":1}`), "subject.digest"},
		"subject of another kind": {"", with(image, `"subject":{"mediaType":"x/y","digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":1}`), "subject.digest"},
		"subject given twice":     {"", with(image, `"subject":null,"subject":`+descriptor("x/y")), "given twice"},
		"long artifact type":      {"", with(image, `"artifactType":"`+strings.Repeat("a", content.MaxMediaType+1)+`"`), "artifactType has 256 characters"},
		"long type of a config":   {"", strings.Replace(image, content.MediaTypeConfig, strings.Repeat("a", content.MaxMediaType+1), 1), "config.mediaType has 256 characters"},
		"null layer":              {"", `{"schemaVersion":2,"layers":[null],"config":` + descriptor("x/y") + `}`, "not a JSON object"},
		"layers no array":         {"", `{"schemaVersion":2,"layers":{},"config":` + descriptor("x/y") + `}`, "JSON arrays"},
		"two digests of a config": {"", strings.Replace(image, `"size":2`, `"Digest":"`+sum+`","size":2`, 1), "must be written"},
		"two digests of a child":  {"", strings.Replace(index, `"size":2`, `"digest":"`+sum+`","size":2`, 1), "given twice"},
	} {
		_, err := content.ParseManifest(c.served, []byte(c.body))
		if !errors.Is(err, content.ErrManifestInvalid) || !strings.Contains(fault.From(err).Message, c.says) {
			t.Errorf("%s: %v, want MANIFEST_INVALID that says %q", name, err, c.says)
		}
	}
	big := with(image, `"x":"`+strings.Repeat("a", content.MaxManifest)+`"`)
	if _, err := content.ParseManifest("", []byte(big)); !errors.Is(err, content.ErrManifestTooLarge) || !strings.Contains(err.Error(), "4194304") {
		t.Errorf("over the limit: %v", err)
	}
	many := `{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(descriptor("x/y")+",", content.MaxDescriptors+1), ",") + `]}`
	if _, err := content.ParseManifest("", []byte(many)); !errors.Is(err, content.ErrManifestInvalid) || !strings.Contains(err.Error(), "4097") {
		t.Errorf("too many descriptors: %v", err)
	}
}

// TestParseManifestIsBounded: a small body must not become hundreds of megabytes of descriptors.
func TestParseManifestIsBounded(t *testing.T) {
	for _, shortest := range []string{"{}", "0"} {
		body := []byte(`{"schemaVersion":2,"layers":[` + strings.Repeat(shortest+",", (content.MaxManifest-100)/(len(shortest)+1)) + shortest + `]}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := content.ParseManifest("", body); !errors.Is(err, content.ErrManifestInvalid) {
			t.Errorf("%s: %v", shortest, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 16*content.MaxManifest {
			t.Errorf("%s: %d MiB allocated for a body of %d bytes", shortest, took>>20, len(body))
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(content.MediaTypeManifest, []byte(image))
	f.Add("", []byte(index))
	f.Add("", []byte(`{"schemaVersion":2,"LAYERS":[]}`))
	f.Fuzz(func(t *testing.T, mediaType string, body []byte) {
		m, err := content.ParseManifest(mediaType, body)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.Exhausted {
				t.Fatalf("kind %s: %v", k, err)
			}
			return
		}
		if !content.IsManifestType(m.MediaType) || m.IsIndex() == (m.Config != nil) || m.IsIndex() && len(m.Layers) > 0 || !m.IsIndex() && len(m.Manifests) > 0 {
			t.Fatalf("neither an image nor an index: %+v", m)
		}
		for _, d := range append(m.Layers, m.Manifests...) {
			if _, err := content.ParseDigest(string(d.Digest)); err != nil || d.Size < 0 {
				t.Fatalf("accepted %+v", d)
			}
		}
	})
}
