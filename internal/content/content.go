// Package content owns what is moved: digests, descriptors, references, platforms, the shapes of manifests and
// indexes, and the limits on all of them. It is left of both the registry, which stores content, and the pull, which
// fetches it, so that both name it alike. It does no I/O.
package content

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"

	"fairlead.dev/internal/fault"
)

// Limits that are promised (design section 10).
const (
	MaxManifest   = 4 << 20 // bytes of a manifest or index
	MaxRepository = 255     // characters of a repository's name
	MaxTag        = 128     // characters of a tag
	MaxMediaType  = 255     // characters of a media type: 127 of its type, '/', and 127 of its subtype (RFC 6838 section 4.2)
)

// Digest is "<algorithm>:<lower-case hex>", with sha256 or sha512 (OCI image spec, descriptor.md "Digests"). A Digest
// that came from ParseDigest or FromBytes is valid.
type Digest string

// ErrDigestInvalid is returned by ParseDigest.
var ErrDigestInvalid = fault.New(fault.Invalid, "DIGEST_INVALID", "not a digest: it is 'sha256:' and 64, or 'sha512:' and 128, lower-case hexadecimal characters")

// ParseDigest checks s; ErrDigestInvalid.
func ParseDigest(s string) (Digest, error) {
	algorithm, encoded, ok := strings.Cut(s, ":")
	want := map[string]int{"sha256": 2 * sha256.Size, "sha512": 2 * sha512.Size}[algorithm]
	if !ok || want == 0 || len(encoded) != want || strings.Trim(encoded, "0123456789abcdef") != "" {
		return "", ErrDigestInvalid
	}
	return Digest(s), nil
}

// FromBytes gives the sha256 digest of b.
func FromBytes(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// FromHash gives the digest of what was written to h, which Algorithm's NewHash made.
func FromHash(algorithm string, h hash.Hash) Digest {
	return Digest(algorithm + ":" + hex.EncodeToString(h.Sum(nil)))
}

// Algorithm gives "sha256" or "sha512".
func (d Digest) Algorithm() string { a, _, _ := strings.Cut(string(d), ":"); return a }

// Hex gives what follows the algorithm.
func (d Digest) Hex() string { _, h, _ := strings.Cut(string(d), ":"); return h }

// NewHash gives a hash of the digest's algorithm.
func (d Digest) NewHash() hash.Hash {
	if d.Algorithm() == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// Verify reports whether b has this digest.
func (d Digest) Verify(b []byte) bool {
	h := d.NewHash()
	h.Write(b)
	return FromHash(d.Algorithm(), h) == d
}

func (d Digest) String() string { return string(d) }

// Descriptor names content by type, digest and size (OCI image spec, descriptor.md).
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// Platform is what an image was built for (OCI image spec, image-index.md).
type Platform struct {
	OS           string   `json:"os"`
	Architecture string   `json:"architecture"`
	Variant      string   `json:"variant,omitempty"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
}

func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Media types of manifests and indexes, OCI's and Docker's.
const (
	MediaTypeManifest       = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeIndex          = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeConfig         = "application/vnd.oci.image.config.v1+json"
	MediaTypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
)
