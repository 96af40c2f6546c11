package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Costs of argon2id as recommended by RFC 9106 section 4 for memory-constrained environments.
const (
	argonTime    = 3
	argonMemory  = 64 * 1024 // KiB
	argonThreads = 4
)

// HashGenerated hashes a secret that Generate made: its entropy makes a slow hash pointless, so it is one SHA-256.
func HashGenerated(t Text) string {
	sum := sha256.Sum256([]byte(t.Reveal()))
	return "sha256$" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// HashChosen hashes a secret that a person chose, with argon2id and a random salt.
func HashChosen(t Text) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	key := argon2.IDKey([]byte(t.Reveal()), salt, argonTime, argonMemory, argonThreads, 32)
	return fmt.Sprintf("argon2id$%d$%d$%d$%s$%s", argonTime, argonMemory, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// Matches reports whether hash was made of t, in constant time for equal formats; a malformed hash never matches.
func Matches(hash string, t Text) bool {
	if rest, ok := strings.CutPrefix(hash, "sha256$"); ok {
		want, err := base64.RawStdEncoding.DecodeString(rest)
		sum := sha256.Sum256([]byte(t.Reveal()))
		return err == nil && subtle.ConstantTimeCompare(want, sum[:]) == 1
	}
	var time, memory uint32
	var threads uint8
	var salt64, key64 string
	fields := strings.Split(hash, "$")
	if len(fields) != 6 || fields[0] != "argon2id" {
		return false
	}
	if _, err := fmt.Sscan(fields[1], &time); err != nil {
		return false
	}
	if _, err := fmt.Sscan(fields[2], &memory); err != nil {
		return false
	}
	if _, err := fmt.Sscan(fields[3], &threads); err != nil {
		return false
	}
	salt64, key64 = fields[4], fields[5]
	salt, errSalt := base64.RawStdEncoding.DecodeString(salt64)
	want, errKey := base64.RawStdEncoding.DecodeString(key64)
	if errSalt != nil || errKey != nil || time == 0 || time > 4*argonTime || memory > 4*argonMemory || threads == 0 || len(want) != 32 {
		return false
	}
	got := argon2.IDKey([]byte(t.Reveal()), salt, time, memory, threads, 32)
	return subtle.ConstantTimeCompare(want, got) == 1
}
