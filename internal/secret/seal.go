package secret

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sealer seals and opens secrets with XChaCha20-Poly1305 under versioned keys that are kept outside the database.
// New secrets are sealed under the newest key; older ones open under theirs.
type Sealer struct {
	newest uint32
	keys   map[uint32]cipher.AEAD
}

// NewSealer makes a Sealer from 32-byte keys by version; the highest version seals.
func NewSealer(keys map[uint32][]byte) (*Sealer, error) {
	s := &Sealer{keys: make(map[uint32]cipher.AEAD, len(keys))}
	for version, key := range keys {
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("sealing key %d: %w", version, err)
		}
		s.keys[version] = aead
		s.newest = max(s.newest, version)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no sealing key")
	}
	return s, nil
}

// Seal gives version (4 bytes, big endian), nonce and ciphertext. context binds the box to its place ("admin/<registry
// key>"): a box moved to another row does not open.
func (s *Sealer) Seal(plain []byte, context string) []byte {
	aead := s.keys[s.newest]
	box := binary.BigEndian.AppendUint32(nil, s.newest)
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	return aead.Seal(append(box, nonce...), nonce, plain, []byte(context))
}

// Open is the inverse of Seal; it fails on another context, an unknown key version and any changed bit.
func (s *Sealer) Open(box []byte, context string) ([]byte, error) {
	if len(box) < 4 {
		return nil, fmt.Errorf("sealed box is too short")
	}
	aead, ok := s.keys[binary.BigEndian.Uint32(box)]
	if !ok {
		return nil, fmt.Errorf("sealed under key version %d, which is not in the key file", binary.BigEndian.Uint32(box))
	}
	box = box[4:]
	if len(box) < aead.NonceSize() {
		return nil, fmt.Errorf("sealed box is too short")
	}
	plain, err := aead.Open(nil, box[:aead.NonceSize()], box[aead.NonceSize():], []byte(context))
	if err != nil {
		return nil, fmt.Errorf("sealed box does not open: it was changed, moved, or sealed under another key")
	}
	return plain, nil
}

// Box is a sealed secret as a store keeps it, with what its owner needs to choose among several.
type Box struct {
	ID      string
	Created time.Time
	Sealed  []byte
}
