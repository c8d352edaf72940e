package conformance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"maps"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// public returns k without its private part, and with other members.
func (k jwk) public(changes ...any) jwk {
	k = maps.Clone(k)
	delete(k, "d")
	for n := 0; n < len(changes); n += 2 {
		k[changes[n].(string)] = changes[n+1]
	}
	return k
}

// bytes returns a parameter.
func (k jwk) bytes(name string) []byte { return unb64(k[name].(string)) }

// private returns the private key that k is.
func (k jwk) private(t *testing.T) crypto.Signer {
	t.Helper()
	switch k["kty"] {
	case "RSA":
		exponent := new(big.Int).SetBytes(k.bytes("e"))
		return &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).SetBytes(k.bytes("n")), E: int(exponent.Int64())},
			D:         new(big.Int).SetBytes(k.bytes("d")),
		}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-521": elliptic.P521()}[k["crv"].(string)]
		return must(ecdsa.ParseRawPrivateKey(curve, k.bytes("d")))
	default:
		return ed25519.NewKeyFromSeed(k.bytes("d"))
	}
}

// A token of ours is accepted that was signed with a key of an RFC, when the key
// is published as the RFC prints its public part.
func TestTheKeysOfTheRFCs(t *testing.T) {
	for _, c := range []struct {
		name   string
		key    jwk
		public jwk
		as     algorithm
	}{
		{"RFC 7515, A.2, RSA", rsa7515, rsa7515.public(), algorithm{name: "RS256", hash: crypto.SHA256}},
		{"RFC 7515, A.3, P-256", p256of7515, p256of7515.public(), algorithm{name: "ES256", hash: crypto.SHA256}},
		{"RFC 7515, A.4, P-521", p521of7515, p521of7515.public(), algorithm{name: "ES512", hash: crypto.SHA512}},
		{"RFC 7517, A.1 and A.2, RSA", rsa7517, rsa7517.public(), algorithm{name: "RS256", hash: crypto.SHA256}},
		{"RFC 7520, 3.1 and 3.2, P-521", p521of7520, p521of7520.public(), algorithm{name: "ES512", hash: crypto.SHA512}},
		{"RFC 7520, 3.3 and 3.4, RSA", rsa7520, rsa7520.public(), algorithm{name: "RS256", hash: crypto.SHA256}},
		{"RFC 7520, 3.3 and 3.4, RSA, for PS384", rsa7520, rsa7520.public("alg", "PS384"), algorithm{name: "PS384", hash: crypto.SHA384}},
		{"RFC 8037, A.1 and A.2, Ed25519", ed8037, ed8037.public(), algorithm{name: "EdDSA"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.as.key = c.key.private(t)
			header := jwk{"alg": c.as.name}
			if kid, ok := c.key["kid"]; ok {
				header["kid"] = kid
			}
			signed := c.as.token(header, claims())
			config := middleware.Config{Keys: set(c.public), Issuer: "joe", Audience: []string{"orders"}}
			got, err := judge(t, config, signed)
			assert.Empty(t, got, "%v", err)
			got, err = judge(t, config, otherSignature(signed))
			assert.Equal(t, jwterrors.TokenSignatureInvalid, got, "%v", err)
		})
	}
}

// How many keys of the RFCs' sets can be used, and which.
func TestTheKeySetsOfTheRFCs(t *testing.T) {
	for _, c := range []struct {
		name    string
		keys    []jwk
		want    int
		because string
	}{
		{"RFC 7517, A.1", []jwk{enc7517.public(), rsa7517.public()}, 1, `the key on P-256 has "use":"enc"`},
		{"RFC 7517, A.2", []jwk{enc7517, rsa7517}, 0, "private keys: who publishes one has no secret any more"},
		{"RFC 7517, A.3", []jwk{wrap7517, hmac7515}, 0, "symmetric keys: a set that is published has none"},
		{"RFC 7517, B", []jwk{x5c7517}, 1, "what a certificate says is not looked at"},
		{"RFC 7520, 3.1", []jwk{p521of7520.public()}, 1, "for signatures"},
		{"RFC 7520, 3.2", []jwk{p521of7520}, 0, "a private key"},
		{"RFC 7520, 3.3", []jwk{rsa7520.public()}, 1, "for signatures"},
		{"RFC 7520, 3.4", []jwk{rsa7520}, 0, "a private key"},
		{"RFC 7520, 3.5 and 3.6", []jwk{hmac7520, enc7520}, 0, "symmetric keys"},
		{"RFC 8037, A.1", []jwk{ed8037}, 0, "a private key"},
		{"RFC 8037, A.2", []jwk{ed8037.public()}, 1, "for signatures"},
		{"RFC 8037, A.6", []jwk{x8037}, 0, "X25519 agrees on keys and signs nothing"},
	} {
		auth, err := middleware.New(middleware.Config{Keys: set(c.keys...), Issuer: "joe", Audience: []string{"orders"}})
		require.NoError(t, err)
		assert.Equal(t, c.want, auth.KeyStates()[0].Keys, "%s: %s", c.name, c.because)
	}
}
