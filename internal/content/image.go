package content

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/internal/fault"
)

// MaxConfig is the limit on an image's config in bytes.
const MaxConfig = 8 << 20

// ImageConfig is what an image's config says about running it (OCI image spec, config.md). Everything in it is data
// from a stranger.
type ImageConfig struct {
	Platform     Platform
	Env          []string // "NAME=value"
	Entrypoint   []string
	Cmd          []string
	WorkingDir   string
	User         string   // "user", "uid", "user:group", "uid:gid" …; "" is root
	ExposedPorts []string // "80/tcp", sorted
	StopSignal   string   // "SIGTERM"; "" when the image names none
	DiffIDs      []Digest // of the layers, unpacked, bottom first
}

// ErrConfigInvalid is returned by ParseImageConfig.
var ErrConfigInvalid = fault.New(fault.Invalid, "CONFIG_INVALID", "the image's config is not valid")

// ParseImageConfig reads the config of an OCI or Docker image; ErrConfigInvalid.
func ParseImageConfig(body []byte) (ImageConfig, error) {
	if len(body) > MaxConfig {
		return ImageConfig{}, ErrConfigInvalid.WithMessage("the image's config has %d bytes; the limit is %d", len(body), MaxConfig)
	}
	var w struct {
		Platform
		Config struct {
			Env          []string
			Entrypoint   []string
			Cmd          []string
			WorkingDir   string
			User         string
			ExposedPorts map[string]struct{}
			StopSignal   string
		} `json:"config"`
		RootFS struct {
			Type    string   `json:"type"`
			DiffIDs []Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return ImageConfig{}, ErrConfigInvalid.WithMessage("the image's config is not JSON of the right shape: %v", err)
	}
	if w.RootFS.Type != "" && w.RootFS.Type != "layers" {
		return ImageConfig{}, ErrConfigInvalid.WithMessage("the image's rootfs.type is %q, not \"layers\"", clip(w.RootFS.Type))
	}
	for i, d := range w.RootFS.DiffIDs {
		if _, err := ParseDigest(string(d)); err != nil {
			return ImageConfig{}, ErrConfigInvalid.WithMessage("the image's rootfs.diff_ids[%d] %q is %s", i, clip(string(d)), fault.From(err).Message)
		}
	}
	return ImageConfig{
		Platform: w.Platform,
		Env:      w.Config.Env, Entrypoint: w.Config.Entrypoint, Cmd: w.Config.Cmd,
		WorkingDir: w.Config.WorkingDir, User: w.Config.User, StopSignal: w.Config.StopSignal,
		ExposedPorts: slices.Sorted(maps.Keys(w.Config.ExposedPorts)),
		DiffIDs:      w.RootFS.DiffIDs,
	}, nil
}

// ErrPlatformAbsent is returned by Select; its message lists what is offered.
var ErrPlatformAbsent = fault.New(fault.NotFound, "PLATFORM_ABSENT", "the image is not built for the wanted platform")

// Select gives the child of an index that suits a machine of platform want best: the same operating system and
// architecture, and the highest variant that the machine can run. A child that names no platform is taken only when
// none that names one suits; its config decides then. It returns ErrPlatformAbsent.
func Select(index []Descriptor, want Platform) (Descriptor, error) {
	best, bestRank := -1, 0
	for i, d := range index {
		if rank := suits(d, want); rank > bestRank {
			best, bestRank = i, rank
		}
	}
	if best < 0 {
		return Descriptor{}, ErrPlatformAbsent.WithMessage("the image is not built for %s; it offers %s", want, offered(index))
	}
	return index[best], nil
}

// Runs reports whether a machine of platform p can run what was built for other.
func (p Platform) Runs(other Platform) bool { return rank(other, p) > 0 }

func suits(d Descriptor, want Platform) int {
	switch {
	case d.MediaType != "" && !IsManifestType(d.MediaType):
		return 0
	case d.Platform == nil && d.ArtifactType != "":
		return 0
	case d.Platform == nil:
		return 1
	}
	return rank(*d.Platform, want)
}

// rank gives 0 when a machine of platform want cannot run what was built for have, and more the better it fits.
func rank(have, want Platform) int {
	have, want = have.normal(), want.normal()
	if have.OS != want.OS || have.Architecture != want.Architecture {
		return 0
	}
	h, w := level(have.Variant), level(want.Variant)
	if have.Variant != want.Variant && (h == 0 || w == 0 || h > w) {
		return 0
	}
	return 2 + h
}

// level gives the number of a variant like "v7": a machine runs its own and all lower ones. 0 for anything else.
func level(variant string) int {
	if len(variant) == 2 && variant[0] == 'v' && variant[1] >= '1' && variant[1] <= '9' {
		return int(variant[1] - '0')
	}
	return 0
}

// normal spells the platform as Go does (containerd's platforms.Normalize is the model): other names of
// architectures, and the variant that is meant when none is given.
func (p Platform) normal() Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	if p.Variant == "" {
		p.Variant = map[string]string{"amd64": "v1", "arm64": "v8", "arm": "v7"}[p.Architecture]
	}
	if d := p.Variant; len(d) == 1 && p.Architecture == "arm" {
		p.Variant = "v" + d
	}
	return p
}

func offered(index []Descriptor) string {
	var names []string
	for _, d := range index {
		// Attestations stand in the index as "unknown/unknown".
		if d.Platform == nil || d.Platform.OS == "unknown" {
			continue
		}
		if name := clip(d.Platform.String()); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "no platform at all"
	}
	const most = 20
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return strings.Join(names, ", ")
}
