package middleware

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"
)

// A KeySource holds the keys of one issuer. [HS256], [HS384], [HS512],
// [PublicKeys], [JWKS], [Discover] and [LocalJWKS] make one. Each key has one
// algorithm, and a source accepts only the algorithms of its keys: whatever a
// token says in its header, a public key is never used as a secret (RFC 8725,
// Section 3.1).
//
// A KeySource can be given to several Middlewares, which then share what it has
// loaded, but not to two issuers of one Config.
type KeySource interface {
	// check returns every mistake in the source's configuration.
	check() error

	// allows reports whether a key of this source could be for alg.
	allows(alg *algorithm) bool

	// snapshot returns the keys that can be used now, or nil when there are
	// none or when they are too old. It never waits.
	snapshot(now time.Time) *keySet

	// lookup returns the keys that can be used now after having done what is
	// allowed to get the key called kid, if it is missing. It may wait, for
	// as long as ctx allows, and it fails when the keys are not known.
	lookup(ctx context.Context, now time.Time, kid string) (*keySet, error)

	// inspect returns what there is of the keys, without the issuer's name. It
	// neither waits nor causes a fetch.
	inspect(now time.Time) KeyState
}

// A key verifies signatures of one algorithm.
type key struct {
	id       string // "kid"; may be empty
	alg      *algorithm
	material any   // of a public key
	macs     *macs // of a secret
}

// A keySet is one state of an issuer's keys. It never changes: newer keys are
// another keySet, so that what was found out with one is not used with another.
type keySet struct {
	keys []*key
	byID map[string][]*key

	// fixed means that the caller listed the keys. One without an id then
	// fits tokens of every kid, since nobody else said what it is called.
	fixed bool
}

func newKeySet(keys []*key, fixed bool) *keySet {
	s := &keySet{keys, make(map[string][]*key, len(keys)), fixed}
	for _, k := range keys {
		s.byID[k.id] = append(s.byID[k.id], k)
	}
	return s
}

// has reports whether a token that names kid can be judged with this set. A
// token that names none always can.
func (s *keySet) has(kid string) bool {
	return kid == "" || len(s.byID[kid]) > 0 || s.fixed && len(s.byID[""]) > 0
}

// find returns the keys that may have signed a token with this header.
//
// A kid is looked up by its name. A token without one fits a key only if that
// is the single key of its algorithm, or one that was listed without an id.
func (s *keySet) find(alg *algorithm, kid string) []*key {
	var fit []*key
	among := s.keys
	if kid != "" {
		among = s.byID[kid]
	}
	for _, k := range among {
		if k.alg == alg {
			fit = append(fit, k)
		}
	}
	switch {
	case kid == "" && len(fit) == 1:
		return fit
	case kid == "":
		fit = nil
	}
	if s.fixed {
		for _, k := range s.byID[""] {
			if k.alg == alg {
				fit = append(fit, k)
			}
		}
	}
	return fit
}

// fixedKeys is a KeySource that never changes.
type fixedKeys struct {
	set *keySet
	err error
}

func (s *fixedKeys) check() error               { return s.err }
func (s *fixedKeys) snapshot(time.Time) *keySet { return s.set }
func (s *fixedKeys) allows(alg *algorithm) bool {
	for _, k := range s.set.keys {
		if k.alg == alg {
			return true
		}
	}
	return false
}

func (s *fixedKeys) lookup(context.Context, time.Time, string) (*keySet, error) {
	return s.set, nil
}

func (s *fixedKeys) inspect(time.Time) KeyState { return KeyState{Keys: len(s.set.keys)} }

// HS256 returns a source with secrets for HMAC with SHA-256 (RFC 7518, Section
// 3.2). Each secret has at least 32 bytes, from a random source; [New] refuses a
// shorter one, and no secret at all. A token may be signed with any of them,
// whatever its kid: to rotate, list the new secret beside the old one, let the
// issuer change over, and remove the old one when its last token has expired.
func HS256(secrets ...[]byte) KeySource { return secretKeys("HS256", secrets) }

// HS384 is [HS256] with SHA-384. Each secret has at least 48 bytes.
func HS384(secrets ...[]byte) KeySource { return secretKeys("HS384", secrets) }

// HS512 is [HS256] with SHA-512. Each secret has at least 64 bytes.
func HS512(secrets ...[]byte) KeySource { return secretKeys("HS512", secrets) }

// secretKeys returns a source with secrets for the algorithm called name.
func secretKeys(name string, secrets [][]byte) KeySource {
	var mistakes []error
	var keys []*key
	alg := algorithms[name]
	least := alg.hash.Size() // RFC 7518, Section 3.2
	if len(secrets) == 0 {
		mistakes = append(mistakes, fmt.Errorf("%s needs a secret", name))
	}
	for i, secret := range secrets {
		if len(secret) < least {
			mistakes = append(mistakes, fmt.Errorf("secret %d of %s has %d bytes, fewer than %d", i, name, len(secret), least))
		}
		keys = append(keys, &key{alg: alg, macs: newMACs(alg.hash, bytes.Clone(secret))})
	}
	return &fixedKeys{newKeySet(keys, true), errors.Join(mistakes...)}
}

// A PublicKey is a key to verify with, which need not be kept secret.
type PublicKey struct {
	// ID is the key's name, with which a token says in "kid" that it was
	// signed with this key. A key without an ID is tried for every token of
	// its algorithm, so give IDs to more than a few.
	ID string

	// Algorithm is the only one that the key is for. Empty means RS256 for an
	// RSA key, and EdDSA for an Ed25519 key, whose tokens may say Ed25519 instead
	// (RFC 9864): name that. A key on another curve has but one.
	Algorithm string

	// Key is an *rsa.PublicKey of 2048 to 8192 bits, an *ecdsa.PublicKey on
	// P-256, P-384 or P-521, or an ed25519.PublicKey.
	Key crypto.PublicKey
}

// PublicKeys returns a source with public keys that are known beforehand, for
// the algorithms RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512,
// EdDSA and Ed25519. To rotate, list the new key beside the old one.
func PublicKeys(keys ...PublicKey) KeySource {
	var mistakes []error
	var all []*key
	seen := map[string]bool{}
	if len(keys) == 0 {
		mistakes = append(mistakes, errors.New("PublicKeys needs a key"))
	}
	for i, k := range keys {
		material, alg, err := publicKey(k.Key, k.Algorithm)
		switch {
		case err != nil:
			mistakes = append(mistakes, fmt.Errorf("public key %d: %w", i, err))
		case k.ID != "" && seen[k.ID]:
			mistakes = append(mistakes, fmt.Errorf("public key %d: its ID %q is that of another key", i, k.ID))
		}
		seen[k.ID] = true
		all = append(all, &key{id: k.ID, alg: alg, material: material})
	}
	return &fixedKeys{newKeySet(all, true), errors.Join(mistakes...)}
}
