package content

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"fairlead.dev/internal/fault"
)

// MaxDescriptors is how many layers or children a manifest may name.
const MaxDescriptors = 4096

// Manifest is what an image manifest or index says. Exactly one of two shapes: Config and Layers for an image,
// Manifests for an index. Every descriptor in it has a valid digest and a size that is not negative.
type Manifest struct {
	MediaType    string // never empty
	Config       *Descriptor
	Layers       []Descriptor
	Manifests    []Descriptor
	Subject      *Descriptor // what this refers to (a signature to its image); nil mostly
	ArtifactType string
	Annotations  map[string]string
}

// Errors that ParseManifest returns.
var (
	// ErrManifestInvalid: the body is no manifest of its media type.
	ErrManifestInvalid = fault.New(fault.Invalid, "MANIFEST_INVALID", "manifest invalid")
	// ErrManifestTooLarge: the body has more than MaxManifest bytes.
	ErrManifestTooLarge = fault.New(fault.Exhausted, "MANIFEST_INVALID", "manifest too large")
)

// IsIndex reports whether m names other manifests rather than an image.
func (m Manifest) IsIndex() bool { return isIndexType(m.MediaType) }

// ArtifactTypeAsReferrer gives the artifact type by which a list of referrers shows m: its own, or that of an image's
// config (OCI distribution spec 1.1, "Listing Referrers"). It may be "".
func (m Manifest) ArtifactTypeAsReferrer() string {
	if m.ArtifactType == "" && m.Config != nil {
		return m.Config.MediaType
	}
	return m.ArtifactType
}

func isIndexType(mediaType string) bool {
	return mediaType == MediaTypeIndex || mediaType == MediaTypeDockerIndex
}

// IsManifestType reports whether mediaType is one that ParseManifest reads.
func IsManifestType(mediaType string) bool {
	return isIndexType(mediaType) || mediaType == MediaTypeManifest || mediaType == MediaTypeDockerManifest
}

// Distributable reports whether a registry must hold the content itself: not so for base layers that their licence
// keeps elsewhere (OCI image spec, layer.md "Non-Distributable Layers").
func (d Descriptor) Distributable() bool {
	return !strings.HasPrefix(d.MediaType, "application/vnd.oci.image.layer.nondistributable.") &&
		!strings.HasPrefix(d.MediaType, "application/vnd.docker.image.rootfs.foreign.")
}

// ManifestTooLarge gives ErrManifestTooLarge for a body of size bytes; a size of 0 says that it is not known.
func ManifestTooLarge(size int64) error {
	if size == 0 {
		return ErrManifestTooLarge.WithMessage("the manifest has more than the %d bytes (4 MiB) that are allowed", MaxManifest)
	}
	return ErrManifestTooLarge.WithMessage("the manifest has %d bytes; at most %d (4 MiB) are allowed", size, MaxManifest)
}

// wire is the shape of both kinds; which fields may be present depends on the media type.
type wire struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *strict           `json:"config"`
	Layers        descriptors       `json:"layers"`
	Manifests     descriptors       `json:"manifests"`
	Subject       *strict           `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// strict is a descriptor that every decoder reads alike: with two digests one client would fetch what no registry has
// looked for.
type strict Descriptor

// UnmarshalJSON implements json.Unmarshaler.
func (d *strict) UnmarshalJSON(body []byte) error {
	if _, err := fieldsOf(body, "mediaType", "digest", "size", "urls", "annotations", "platform", "artifactType"); err != nil {
		return err
	}
	return json.Unmarshal(body, (*Descriptor)(d))
}

// descriptors is a list of at most MaxDescriptors: what follows is not read, as a descriptor in memory is many times as
// large as the shortest text of one.
type descriptors []Descriptor

// UnmarshalJSON implements json.Unmarshaler.
func (list *descriptors) UnmarshalJSON(body []byte) error {
	if string(body) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return invalid("layers and manifests are JSON arrays")
	}
	for dec.More() {
		if len(*list) == MaxDescriptors {
			return invalid("it names %d layers or manifests, or more; at most %d are allowed", MaxDescriptors+1, MaxDescriptors)
		}
		var d strict
		if err := dec.Decode(&d); err != nil {
			return err
		}
		*list = append(*list, Descriptor(d))
	}
	return nil
}

// ParseManifest reads a manifest or index of OCI's or Docker's media types. An empty mediaType takes the body's own, or
// OCI's for its shape. A body that could be read as one kind by one client and as the other by the next is refused
// (CVE-2021-41190): a media type that differs from the one it is served under, layers and manifests both, a field of it
// or of a descriptor given twice or in other letter case. It returns ErrManifestInvalid and ErrManifestTooLarge.
func ParseManifest(mediaType string, body []byte) (Manifest, error) {
	if len(body) > MaxManifest {
		return Manifest{}, ManifestTooLarge(int64(len(body)))
	}
	fields, err := fieldsOf(body, "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations")
	if err != nil {
		return Manifest{}, err
	}
	var w wire
	switch err := json.Unmarshal(body, &w); {
	case errors.Is(err, ErrManifestInvalid):
		return Manifest{}, err
	case err != nil:
		return Manifest{}, invalid("it is not the JSON of a manifest: %v", err)
	}
	m := Manifest{
		MediaType: w.MediaType, Config: (*Descriptor)(w.Config), Layers: w.Layers, Manifests: w.Manifests,
		Subject: (*Descriptor)(w.Subject), ArtifactType: w.ArtifactType, Annotations: w.Annotations,
	}
	if err := m.settleType(mediaType, fields); err != nil {
		return Manifest{}, err
	}
	if w.SchemaVersion != 2 {
		return Manifest{}, invalid("schemaVersion is %d, not 2", w.SchemaVersion)
	}
	if err := m.check(fields); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

func invalid(format string, args ...any) error {
	return ErrManifestInvalid.WithMessage("manifest invalid: "+format, args...)
}

// fieldsOf gives the names of the object's fields, refusing what decoders are known to read differently: a field given
// twice, and one that is known but for its letter case.
func fieldsOf(body []byte, known ...string) (map[string]bool, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, invalid("it is not a JSON object")
	}
	fields := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, invalid("it is not JSON: %v", err)
		}
		name, _ := t.(string)
		if _, before := fields[name]; before { // also as null
			return nil, invalid("the field %q is given twice", clip(name))
		}
		for _, k := range known {
			if name != k && strings.EqualFold(name, k) {
				return nil, invalid("the field %q must be written %q", clip(name), k)
			}
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, invalid("it is not JSON: %v", err)
		}
		fields[name] = string(value) != "null"
	}
	if _, err := dec.Token(); err != nil {
		return nil, invalid("it is not JSON: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, invalid("something follows the JSON object")
	}
	return fields, nil
}

// settleType sets the media type from the one it is served under, its own, or its shape.
func (m *Manifest) settleType(served string, fields map[string]bool) error {
	switch {
	case served != "" && m.MediaType != "" && served != m.MediaType:
		return invalid("its mediaType is %q, but it came as %q", clip(m.MediaType), clip(served))
	case m.MediaType != "":
	case served != "":
		m.MediaType = served
	case fields["manifests"]:
		m.MediaType = MediaTypeIndex
	default:
		m.MediaType = MediaTypeManifest
	}
	if !IsManifestType(m.MediaType) {
		return invalid("the media type %q is not an image manifest or index of OCI or of Docker (schema 2)", clip(m.MediaType))
	}
	return nil
}

func (m *Manifest) check(fields map[string]bool) error {
	switch index := m.IsIndex(); {
	case index && (fields["layers"] || fields["config"]):
		return invalid("an index holds no config and no layers")
	case index && !fields["manifests"]:
		return invalid("an index without manifests")
	case !index && fields["manifests"]:
		return invalid("an image manifest holds no manifests")
	case !index && m.Config == nil:
		return invalid("an image manifest without config")
	case !index && !fields["layers"]:
		return invalid("an image manifest without layers")
	case len(m.ArtifactType) > MaxMediaType:
		return tooLongType("artifactType", m.ArtifactType)
	}
	return m.checkDescriptors()
}

func (m *Manifest) checkDescriptors() error {
	for where, d := range map[string]*Descriptor{"config": m.Config, "subject": m.Subject} {
		if d != nil {
			if err := d.check(where); err != nil {
				return err
			}
		}
	}
	for i := range m.Layers {
		if err := m.Layers[i].check(fmt.Sprintf("layers[%d]", i)); err != nil {
			return err
		}
	}
	for i := range m.Manifests {
		if err := m.Manifests[i].check(fmt.Sprintf("manifests[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Descriptor) check(where string) error {
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return ErrManifestInvalid.WithMessage("manifest invalid: %s.digest %q is %s", where, clip(string(d.Digest)), fault.From(err).Message).WithTarget(where + ".digest")
	}
	if d.Size < 0 {
		return ErrManifestInvalid.WithMessage("manifest invalid: %s.size is %d", where, d.Size).WithTarget(where + ".size")
	}
	if len(d.MediaType) > MaxMediaType {
		return tooLongType(where+".mediaType", d.MediaType)
	}
	return nil
}

func tooLongType(where, mediaType string) error {
	return ErrManifestInvalid.WithMessage("manifest invalid: %s has %d characters; a media type has at most %d", where, len(mediaType), MaxMediaType).WithTarget(where)
}
