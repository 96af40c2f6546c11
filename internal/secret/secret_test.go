package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fairlead.dev/internal/secret"
)

func TestTextHides(t *testing.T) {
	const value = "hunter2hunter2"
	s := secret.New(value)
	type holder struct {
		Inner  struct{ S secret.Text }
		P      *secret.Text
		hidden secret.Text
	}
	var h holder
	h.Inner.S, h.P, h.hidden = s, &s, s

	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "secret", s, "holder", h)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", s, "holder", h)
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprint(s, h, &h) + logged.String() + string(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%p"} {
		shown += fmt.Sprintf(verb, h) + fmt.Sprintf(verb, s) + fmt.Sprintf(verb, &s)
	}
	if strings.Contains(shown, value) || strings.Contains(shown, fmt.Sprintf("%x", value)) {
		t.Errorf("the secret is shown: %s", shown)
	}
	if s.Reveal() != value {
		t.Error("Reveal does not give the secret")
	}
}

func TestGenerate(t *testing.T) {
	a, b := secret.Generate(32), secret.Generate(32)
	if a == b || len(a.Reveal()) != 43 {
		t.Errorf("generated lengths %d and %d, equal: %v", len(a.Reveal()), len(b.Reveal()), a == b)
	}
}

func TestHashes(t *testing.T) {
	s, other := secret.New("correct horse"), secret.New("correct horsE")
	for name, hash := range map[string]func(secret.Text) string{"generated": secret.HashGenerated, "chosen": secret.HashChosen} {
		h := hash(s)
		if !secret.Matches(h, s) || secret.Matches(h, other) || secret.Matches(h, secret.Text{}) || strings.Contains(h, s.Reveal()) {
			t.Errorf("%s: %s", name, h)
		}
	}
	if first, again := secret.HashChosen(s), secret.HashChosen(s); first == again {
		t.Error("two hashes of a chosen secret are equal: there is no salt")
	}
}

func FuzzMatches(f *testing.F) {
	f.Add(secret.HashGenerated(secret.New("s")))
	f.Add("argon2id$1$8$1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("argon2id$4294967295$1048577$255$$")
	f.Fuzz(func(t *testing.T, hash string) {
		if secret.Matches(hash, secret.New("never the right one, whatever the hash")) {
			t.Errorf("%q matches", hash)
		}
	})
}

func TestSealer(t *testing.T) {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	open := func(keys map[uint32][]byte) *secret.Sealer {
		s, err := secret.NewSealer(keys)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := open(map[uint32][]byte{1: key(1)})
	after := open(map[uint32][]byte{1: key(1), 2: key(2)})
	lost := open(map[uint32][]byte{2: key(2)})
	old := before.Seal([]byte("plain"), "here")

	if got, err := after.Open(old, "here"); err != nil || string(got) != "plain" {
		t.Errorf("after rotation: %q, %v", got, err)
	}
	if _, err := before.Open(after.Seal([]byte("plain"), "here"), "here"); err == nil {
		t.Error("new boxes are not sealed under the newest key")
	}
	for name, err := range map[string]error{
		"another place": second(after.Open(old, "there")),
		"a lost key":    second(lost.Open(old, "here")),
		"nothing":       second(after.Open(nil, "here")),
		"a short box":   second(after.Open(old[:9], "here")),
	} {
		if err == nil {
			t.Errorf("%s: the box opens", name)
		}
	}
	if _, err := secret.NewSealer(nil); err == nil {
		t.Error("a sealer without keys is made")
	}
	if _, err := secret.NewSealer(map[uint32][]byte{1: {1}}); err == nil {
		t.Error("a key that is too short is taken")
	}
}

func second[T any](_ T, err error) error { return err }

func TestSealerRefusesEveryChange(t *testing.T) {
	s, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		box := s.Seal(plain, "here")
		if got, err := s.Open(box, "here"); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opens to %v, %v", got, err)
		}
		box[rapid.IntRange(0, len(box)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := s.Open(box, "here"); err == nil {
			t.Fatal("a changed box opens")
		}
	})
}
