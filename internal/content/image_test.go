package content_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
)

func TestParseImageConfig(t *testing.T) {
	got, err := content.ParseImageConfig([]byte(`{"os":"linux","architecture":"arm","variant":"v7","created":"2024-01-01T00:00:00Z","history":[{}],
		"config":{"Env":["A=b"],"Entrypoint":["/app"],"Cmd":["-v"],"WorkingDir":"/w","User":"1:2","StopSignal":"SIGINT","ExposedPorts":{"80/tcp":{},"53/udp":{}},"Volumes":null},
		"rootfs":{"type":"layers","diff_ids":["` + sum + `"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := content.ImageConfig{
		Platform: content.Platform{OS: "linux", Architecture: "arm", Variant: "v7"},
		Env:      []string{"A=b"}, Entrypoint: []string{"/app"}, Cmd: []string{"-v"}, WorkingDir: "/w", User: "1:2", StopSignal: "SIGINT",
		ExposedPorts: []string{"53/udp", "80/tcp"}, DiffIDs: []content.Digest{sum},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for says, body := range map[string]string{
		"not JSON":        `{`,
		"rootfs.type":     `{"rootfs":{"type":"zfs"}}`,
		"diff_ids[0]":     `{"rootfs":{"diff_ids":["sha256:0"]}}`,
		"the limit is":    `{"x":"` + strings.Repeat("a", content.MaxConfig) + `"}`,
		"of the right sh": `{"config":{"Env":"A=b"}}`,
	} {
		if _, err := content.ParseImageConfig([]byte(body)); !errors.Is(err, content.ErrConfigInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want CONFIG_INVALID that says %q", err, says)
		}
	}
}

func FuzzParseImageConfig(f *testing.F) {
	f.Add([]byte(`{"os":"linux","config":{"ExposedPorts":{"80/tcp":{}}},"rootfs":{"type":"layers","diff_ids":["` + sum + `"]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := content.ParseImageConfig(body)
		if err != nil && fault.KindOf(err) != fault.Invalid {
			t.Fatal(err)
		}
		for _, d := range c.DiffIDs {
			if _, err := content.ParseDigest(string(d)); err != nil {
				t.Fatalf("accepted %q", d)
			}
		}
	})
}

func platform(s string) content.Platform {
	parts := strings.SplitN(s+"//", "/", 4)
	return content.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}

func TestSelect(t *testing.T) {
	child := func(s string) content.Descriptor {
		d := content.Descriptor{MediaType: content.MediaTypeManifest, Digest: content.FromBytes([]byte(s)), Size: 1}
		if s != "" {
			p := platform(s)
			d.Platform = &p
		}
		return d
	}
	for _, c := range []struct {
		offers []string
		want   string
		pick   int // -1: none
	}{
		{[]string{"linux/arm64", "linux/amd64"}, "linux/amd64", 1},
		{[]string{"linux/arm64/v8", "linux/amd64"}, "linux/arm64", 0},
		{[]string{"linux/arm64"}, "linux/arm64/v8", 0},
		{[]string{"linux/arm/v5", "linux/arm/v6", "linux/arm/v7"}, "linux/arm/v6", 1},
		{[]string{"linux/arm/v5", "linux/arm/v6"}, "linux/arm", 1},
		{[]string{"linux/arm/v7"}, "linux/arm/v6", -1},
		{[]string{"linux/amd64/v3", "linux/amd64"}, "linux/amd64", 1},
		{[]string{"linux/amd64", "linux/amd64/v2"}, "linux/amd64/v3", 1},
		{[]string{"linux/x86_64"}, "linux/amd64", 0},
		{[]string{"windows/amd64", "unknown/unknown"}, "linux/amd64", -1},
		{[]string{"", "linux/amd64"}, "linux/amd64", 1},
		{[]string{""}, "linux/amd64", 0},
		{nil, "linux/amd64", -1},
	} {
		var index []content.Descriptor
		for _, s := range c.offers {
			index = append(index, child(s))
		}
		got, err := content.Select(index, platform(c.want))
		if c.pick < 0 {
			if !errors.Is(err, content.ErrPlatformAbsent) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s of %v: %v, %v, want PLATFORM_ABSENT", c.want, c.offers, got.Platform, err)
			}
			continue
		}
		if err != nil || got.Digest != index[c.pick].Digest {
			t.Errorf("%s of %v: %v, %v, want %s", c.want, c.offers, got.Platform, err, c.offers[c.pick])
		}
	}
	_, err := content.Select([]content.Descriptor{child("linux/arm64"), child("linux/arm/v7"), child("unknown/unknown")}, platform("linux/amd64"))
	if want := "the image is not built for linux/amd64; it offers linux/arm64, linux/arm/v7"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	attestation := child("")
	attestation.ArtifactType = "application/vnd.example.sbom"
	layer := child("linux/amd64")
	layer.MediaType = "application/vnd.oci.image.layer.v1.tar"
	if got, err := content.Select([]content.Descriptor{attestation, layer}, platform("linux/amd64")); err == nil {
		t.Errorf("picked %+v, which is no image", got)
	}
}
