package token

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"fairlead.dev/internal/secret"
)

// How keys live.
const (
	keyBits   = 2048
	keyLife   = 90 * 24 * time.Hour // then a new one signs
	lookAgain = time.Second         // between two looks for a key that a token names and we do not know
)

// KeyStore keeps signing keys: PKCS #8, sealed, with the "kid" of tokens as ID.
type KeyStore interface {
	// Keys gives all keys, oldest first.
	Keys(ctx context.Context) ([]secret.Box, error)
	// AddKey stores a new key; the newest signs. When newest is not the ID of the newest key at present ("": there is none)
	// nothing is stored: somebody else was faster.
	AddKey(ctx context.Context, k secret.Box, newest string) error
	// DeleteKey removes a key, if it is there.
	DeleteKey(ctx context.Context, id string) error
}

// keyring is the keys in memory, opened.
type keyring struct {
	store  KeyStore
	sealer *secret.Sealer
	now    func() time.Time

	mu     sync.RWMutex
	keys   []key // oldest first
	signs  jose.Signer
	loaded time.Time
}

type key struct {
	id      string
	created time.Time
	private *rsa.PrivateKey
}

// signer gives the signer of the newest key, making the first key or a successor when it is due.
func (k *keyring) signer(ctx context.Context) (jose.Signer, error) {
	k.mu.RLock()
	signs, due := k.signs, k.due()
	k.mu.RUnlock()
	if !due {
		return signs, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.due() {
		return k.signs, nil
	}
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	if k.due() {
		if err := k.replace(ctx); err != nil {
			return nil, err
		}
	}
	return k.signs, nil
}

// due reports whether a new key must be made before anything is signed.
func (k *keyring) due() bool {
	return len(k.keys) == 0 || !k.now().Before(k.keys[len(k.keys)-1].created.Add(keyLife))
}

// find gives the public key with an id; ErrInvalid when it is none of ours or its last token has run out. An id that is
// not known may be one that a neighbour has just made, so the store is asked, but not at every stranger's wish.
func (k *keyring) find(ctx context.Context, id string) (*rsa.PublicKey, error) {
	k.mu.RLock()
	found, fresh := k.known(id), k.now().Before(k.loaded.Add(lookAgain))
	k.mu.RUnlock()
	if found == nil && !fresh {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.now().Before(k.loaded.Add(lookAgain)) {
			if err := k.load(ctx); err != nil {
				return nil, err
			}
		}
		found = k.known(id)
	}
	if found == nil {
		return nil, ErrInvalid
	}
	return found, nil
}

func (k *keyring) known(id string) *rsa.PublicKey {
	for i, one := range k.keys {
		if one.id == id && !k.spent(i) {
			return &one.private.PublicKey
		}
	}
	return nil
}

// spent reports whether all tokens of the i-th key have run out: its successor has signed alone for as long as the
// longest token lives.
func (k *keyring) spent(i int) bool {
	return i+1 < len(k.keys) && k.now().After(k.keys[i+1].created.Add(longestLife+skew))
}

func (k *keyring) public(ctx context.Context) (jose.JSONWebKeySet, error) {
	if _, err := k.signer(ctx); err != nil {
		return jose.JSONWebKeySet{}, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	var set jose.JSONWebKeySet
	for i, one := range k.keys {
		if !k.spent(i) {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: &one.private.PublicKey, KeyID: one.id, Algorithm: string(jose.RS256), Use: "sig"})
		}
	}
	slices.Reverse(set.Keys)
	return set, nil
}

func (k *keyring) rotate(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.load(ctx); err != nil {
		return err
	}
	if err := k.replace(ctx); err != nil {
		return err
	}
	for i, one := range k.keys {
		if k.spent(i) {
			if err := k.store.DeleteKey(ctx, one.id); err != nil {
				return fmt.Errorf("removing signing key %s: %w", one.id, err)
			}
		}
	}
	return k.load(ctx)
}

// replace makes a key that signs from now on. k.mu is held.
func (k *keyring) replace(ctx context.Context) error {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return fmt.Errorf("making a signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("writing a signing key: %w", err)
	}
	newest := ""
	stored := secret.Box{ID: uuid.NewString(), Created: k.now().UTC().Truncate(time.Microsecond)}
	if n := len(k.keys); n > 0 {
		newest = k.keys[n-1].id
		if last := k.keys[n-1].created; !stored.Created.After(last) { // the order of making must show in the times
			stored.Created = last.Add(time.Microsecond)
		}
	}
	stored.Sealed = k.sealer.Seal(der, keyPlace(stored.ID))
	if err := k.store.AddKey(ctx, stored, newest); err != nil {
		return fmt.Errorf("storing a signing key: %w", err)
	}
	return k.load(ctx)
}

// load reads the keys from the store. k.mu is held.
func (k *keyring) load(ctx context.Context) error {
	stored, err := k.store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("reading signing keys: %w", err)
	}
	keys := make([]key, 0, len(stored))
	for _, s := range stored {
		private, err := k.open(s)
		if err != nil {
			return fmt.Errorf("opening signing key %s: %w", s.ID, err)
		}
		keys = append(keys, key{s.ID, s.Created, private})
	}
	k.keys, k.loaded = keys, k.now()
	if len(keys) == 0 {
		return nil
	}
	newest := keys[len(keys)-1]
	k.signs, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: newest.private, KeyID: newest.id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	return err
}

func (k *keyring) open(s secret.Box) (*rsa.PrivateKey, error) {
	der, err := k.sealer.Open(s.Sealed, keyPlace(s.ID))
	if err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := private.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is no RSA key")
	}
	return key, nil
}

// keyPlace binds a sealed key to its place.
func keyPlace(id string) string { return "key/" + id }
