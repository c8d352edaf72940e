package middleware_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// withKeys returns a Middleware for tokens of keys.
func withKeys(t testing.TB, keys middleware.KeySource) *middleware.Middleware {
	return newAuth(t, func(c *middleware.Config) { c.Keys = keys })
}

func TestEveryAlgorithm(t *testing.T) { // MO-14, DC-03
	p384, p521 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	for _, c := range []struct {
		method  jwt.SigningMethod
		private crypto.Signer
	}{
		{jwt.SigningMethodRS256, rsaKey()}, {jwt.SigningMethodRS384, rsaKey()}, {jwt.SigningMethodRS512, rsaKey()},
		{jwt.SigningMethodPS256, rsaKey()}, {jwt.SigningMethodPS384, rsaKey()}, {jwt.SigningMethodPS512, rsaKey()},
		{jwt.SigningMethodES256, ecKey}, {jwt.SigningMethodES384, p384}, {jwt.SigningMethodES512, p521},
		{jwt.SigningMethodEdDSA, edKey},
	} {
		t.Run(c.method.Alg(), func(t *testing.T) {
			token := sign(c.method, c.private, object{"alg": c.method.Alg(), "kid": "k"}, claims())
			forged := token[:len(token)-8] + strings.Repeat("A", 8)
			listed := middleware.PublicKeys(middleware.PublicKey{ID: "k", Algorithm: c.method.Alg(), Key: c.private.Public()})
			document := jwkSet(jwk(c.private.Public(), object{"kid": "k", "alg": c.method.Alg(), "use": "sig"}))
			for _, keys := range []middleware.KeySource{listed, middleware.LocalJWKS(func() []byte { return document })} {
				auth := withKeys(t, keys)
				for range 2 { // the second time by a remembered header
					require.NoError(t, verify(auth, token))
					require.ErrorIs(t, verify(auth, forged), jwterrors.TokenSignatureInvalid)
				}
			}
		})
	}
}

// RFC 9864, Section 2.2: EdDSA with Ed25519 has a name of its own. A key is for one
// of the two.
func TestTheTwoNamesOfEd25519(t *testing.T) {
	token := func(alg string) string {
		return sign(jwt.SigningMethodEdDSA, edKey, object{"alg": alg, "kid": "k"}, claims())
	}
	for _, c := range []struct{ of, passes, refused string }{
		{"EdDSA", "EdDSA", "Ed25519"}, {"Ed25519", "Ed25519", "EdDSA"}, {"", "EdDSA", "Ed25519"},
	} {
		t.Run("a key for "+c.of, func(t *testing.T) {
			more := object{"kid": "k"}
			if c.of != "" {
				more["alg"] = c.of
			}
			listed := middleware.PublicKeys(middleware.PublicKey{ID: "k", Algorithm: c.of, Key: edKey.Public()})
			document := jwkSet(jwk(edKey.Public(), more))
			for _, keys := range []middleware.KeySource{listed, middleware.LocalJWKS(func() []byte { return document })} {
				auth := withKeys(t, keys)
				require.NoError(t, verify(auth, token(c.passes)))
				require.ErrorIs(t, verify(auth, token(c.refused)), jwterrors.TokenSignatureInvalid)
			}
		})
	}
}

// A salt of another length than the hash is not PS256 (RFC 7518, Section 3.5).
func TestTheSaltOfPSS(t *testing.T) {
	long := &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: 64, Hash: crypto.SHA256},
	}
	auth := withKeys(t, middleware.PublicKeys(middleware.PublicKey{Algorithm: "PS256", Key: &rsaKey().PublicKey}))
	header := object{"alg": "PS256"}
	require.NoError(t, verify(auth, sign(jwt.SigningMethodPS256, rsaKey(), header, claims())))
	require.ErrorIs(t, verify(auth, sign(long, rsaKey(), header, claims())), jwterrors.TokenSignatureInvalid)
}

// What anyone in the process does to golang-jwt's variables changes nothing.
func TestTheAlgorithmsAreOurOwn(t *testing.T) {
	auth := newAuth(t)
	forged := sign(jwt.SigningMethodHS256, random(32), hsHeader, claims())
	name, hash := jwt.SigningMethodHS256.Name, jwt.SigningMethodHS256.Hash
	defer func() { jwt.SigningMethodHS256.Name, jwt.SigningMethodHS256.Hash = name, hash }()
	token := good()
	jwt.SigningMethodHS256.Name, jwt.SigningMethodHS256.Hash = "none", crypto.MD5
	require.NoError(t, verify(auth, token))
	require.ErrorIs(t, verify(auth, forged), jwterrors.TokenSignatureInvalid)
}

// Each source of secrets has one algorithm, and takes several secrets.
func TestEveryAlgorithmWithASecret(t *testing.T) { // DC-03, IT-33
	methods := []*jwt.SigningMethodHMAC{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512}
	old, next := random(64), random(64)
	for i, source := range []func(...[]byte) middleware.KeySource{middleware.HS256, middleware.HS384, middleware.HS512} {
		t.Run(methods[i].Alg(), func(t *testing.T) {
			both, after := withKeys(t, source(old, next)), withKeys(t, source(next))
			for j, method := range methods {
				header := object{"alg": method.Alg(), "kid": "whatever"}
				ofOld, ofNext := sign(method, old, header, claims()), sign(method, next, header, claims())
				forged := sign(method, random(64), header, claims())
				for range 2 { // the second time by a remembered header
					require.ErrorIs(t, verify(both, forged), jwterrors.TokenSignatureInvalid)
					if i != j {
						require.ErrorIs(t, verify(both, ofOld), jwterrors.TokenSignatureInvalid)
						continue
					}
					require.NoError(t, verify(both, ofOld))
					require.NoError(t, verify(both, ofNext))
					require.NoError(t, verify(after, ofNext))
					require.ErrorIs(t, verify(after, ofOld), jwterrors.TokenSignatureInvalid)
				}
			}
		})
	}
}

// Whoever publishes a set cannot make a secret of what is in it: no algorithm
// with a secret gets as far as its keys.
func TestASetNeverAllowsSecrets(t *testing.T) {
	document := jwkSet(jwk(&rsaKey().PublicKey, object{"kid": "k"}), object{"kty": "oct", "kid": "k", "k": encode(secret)})
	local := middleware.LocalJWKS(func() []byte { return document })
	remote := &endpoint{}
	for _, keys := range []middleware.KeySource{local, remote.keys()} {
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
			for _, key := range [][]byte{secret, rsaKey().N.Bytes(), {}} {
				err := verify(withKeys(t, keys), sign(method, key, object{"alg": method.Alg(), "kid": "k"}, claims()))
				require.ErrorIs(t, err, jwterrors.TokenSignatureInvalid)
				require.ErrorContains(t, err, "is not allowed")
			}
		}
	}
	assert.Zero(t, remote.fetches.Load(), "nothing is fetched for them")
}

func TestRotationOfSecrets(t *testing.T) { // IT-33
	next := random(32)
	withNext := func(header object) string { return sign(jwt.SigningMethodHS256, next, header, claims()) }
	both := withKeys(t, middleware.HS256(secret, next))
	require.NoError(t, verify(both, good()))
	require.NoError(t, verify(both, withNext(hsHeader)))
	require.NoError(t, verify(both, withNext(hsHeader.with("kid", "whatever"))))
	after := withKeys(t, middleware.HS256(next))
	require.ErrorIs(t, verify(after, good()), jwterrors.TokenSignatureInvalid, "the secret was rotated")
	require.NoError(t, verify(after, withNext(hsHeader)))
}

func TestWhichPublicKey(t *testing.T) { // MO-14
	a, b, c := newEC(), newEC(), newEC()
	list := func(keys ...middleware.PublicKey) middleware.KeySource { return middleware.PublicKeys(keys...) }
	key := func(id string, k *ecdsa.PrivateKey) middleware.PublicKey {
		return middleware.PublicKey{ID: id, Key: &k.PublicKey}
	}
	for _, test := range []struct {
		name   string
		keys   middleware.KeySource
		signer *ecdsa.PrivateKey
		kid    any
		reason jwterrors.Reason
	}{
		{"by its kid", list(key("a", a), key("b", b)), b, "b", ""},
		{"under another's kid", list(key("a", a), key("b", b)), b, "a", jwterrors.TokenSignatureInvalid},
		{"under no kid, with two keys", list(key("a", a), key("b", b)), b, nil, jwterrors.TokenKeyUnknown},
		{"under no kid, with one key", list(key("a", a)), a, nil, ""},
		{"under no kid, with one key of the algorithm", list(key("a", a), middleware.PublicKey{ID: "r", Key: &rsaKey().PublicKey}), a, nil, ""},
		{"without IDs, the first", list(key("", a), key("", b)), a, "x", ""},
		{"without IDs, the second", list(key("", a), key("", b)), b, nil, ""},
		{"without IDs, another", list(key("", a), key("", b)), c, "x", jwterrors.TokenSignatureInvalid},
		{"one with ID, one without", list(key("a", a), key("", b)), b, "x", ""},
		{"one with ID, one without, under that ID", list(key("a", a), key("", b)), b, "a", ""},
		{"one with ID, one without, under no kid", list(key("a", a), key("", b)), b, nil, ""},
		{"one with ID, under no kid beside one without", list(key("a", a), key("", b)), a, nil, jwterrors.TokenSignatureInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := sign(jwt.SigningMethodES256, test.signer, object{"alg": "ES256"}.with("kid", test.kid), claims())
			auth := withKeys(t, test.keys)
			for range 2 {
				assert.Equal(t, test.reason, jwterrors.ReasonOf(verify(auth, token)))
			}
		})
	}
}

// The caller's keys may change afterwards without changing ours.
func TestKeysAreCopied(t *testing.T) {
	ed := slices.Clone(edKey.Public().(ed25519.PublicKey))
	rs := &rsa.PublicKey{N: new(big.Int).Set(rsaKey().N), E: rsaKey().E}
	auth := withKeys(t, middleware.PublicKeys(middleware.PublicKey{Key: ed}, middleware.PublicKey{Key: rs}))
	ed[0]++
	rs.N.SetInt64(15)
	require.NoError(t, verify(auth, sign(jwt.SigningMethodEdDSA, edKey, object{"alg": "EdDSA"}, claims())))
	require.NoError(t, verify(auth, sign(jwt.SigningMethodRS256, rsaKey(), object{"alg": "RS256"}, claims())))
}

// A JWK Set is not only what we like to see in it.
func TestWhichKeysOfASet(t *testing.T) {
	rs, es, ed := &rsaKey().PublicKey, &ecKey.PublicKey, edKey.Public()
	signed := func(name string, key any) string {
		return sign(jwt.GetSigningMethod(name), key, object{"alg": name, "kid": "k"}, claims())
	}
	rs256, es256, eddsa := signed("RS256", rsaKey()), signed("ES256", ecKey), signed("EdDSA", edKey)
	short := must(rsa.GenerateKey(rand.Reader, 1024))
	for _, c := range []struct {
		name  string
		key   object
		token string
		ok    bool
	}{
		{"an RSA key", jwk(rs, object{"kid": "k"}), rs256, true},
		{"for signatures", jwk(rs, object{"kid": "k", "use": "sig"}), rs256, true},
		{"for encryption", jwk(rs, object{"kid": "k", "use": "enc"}), rs256, false},
		{"for nothing", jwk(rs, object{"kid": "k", "use": ""}), rs256, false},
		{"with use a number", jwk(rs, object{"kid": "k", "use": 1}), rs256, false},
		{"for verifying", jwk(rs, object{"kid": "k", "key_ops": []string{"verify"}}), rs256, true},
		{"for wrapping", jwk(rs, object{"kid": "k", "key_ops": []string{"wrapKey"}}), rs256, false},
		{"for verifying, and for a number", jwk(rs, object{"kid": "k", "key_ops": []any{"verify", 1}}), rs256, false},
		{"with key_ops a string", jwk(rs, object{"kid": "k", "key_ops": "verify"}), rs256, false},
		{"for its algorithm", jwk(rs, object{"kid": "k", "alg": "RS256"}), rs256, true},
		{"for another algorithm", jwk(rs, object{"kid": "k", "alg": "PS256"}), rs256, false},
		{"for RSA encryption", jwk(rs, object{"kid": "k", "alg": "RSA-OAEP"}), rs256, false},
		{"for HS256", jwk(rs, object{"kid": "k", "alg": "HS256"}), rs256, false},
		{"for HS512", jwk(rs, object{"kid": "k", "alg": "HS512"}), rs256, false},
		{"for none", jwk(rs, object{"kid": "k", "alg": "none"}), rs256, false},
		{"of 1024 bits", jwk(&short.PublicKey, object{"kid": "k"}), signed("RS256", short), false},
		{"with a certificate that is none", jwk(rs, object{"kid": "k", "x5c": []string{"AAAA"}, "x5t": "x", "x5u": "http://127.0.0.1:1/"}), rs256, true},
		{"with members of a later time", jwk(rs, object{"kid": "k", "exp": 1, "future": object{"a": 1}}), rs256, true},
		{"private", jwk(rs, object{"kid": "k", "d": encode(rsaKey().D.Bytes())}), rs256, false},
		{"with the exponent 1", jwk(rs, object{"kid": "k", "e": encode([]byte{1})}), rs256, false},
		{"with an exponent that is too long", jwk(rs, object{"kid": "k", "e": encode(append([]byte{1}, make([]byte, 8)...))}), rs256, false},
		{"without modulus", jwk(rs, object{"kid": "k", "n": ""}), rs256, false},
		{"with a kid that is a number", jwk(rs, object{"kid": 1}), rs256, false},
		{"an EC key", jwk(es, object{"kid": "k"}), es256, true},
		{"an EC key for ES384", jwk(es, object{"kid": "k", "alg": "ES384"}), es256, false},
		{"an EC key of another curve", jwk(es, object{"kid": "k", "crv": "P-384"}), es256, false},
		{"an EC key that is no point", jwk(es, object{"kid": "k", "y": encode([]byte{1})}), es256, false},
		{"an Ed25519 key", jwk(ed, object{"kid": "k"}), eddsa, true},
		{"an X25519 key", jwk(ed, object{"kid": "k", "crv": "X25519"}), eddsa, false},
		{"an Ed25519 key that is short", jwk(ed, object{"kid": "k", "x": "AAAA"}), eddsa, false},
		{"a secret", object{"kty": "oct", "kid": "k", "k": encode(secret)}, sign(jwt.SigningMethodHS256, secret, hsHeader.with("kid", "k"), claims()), false},
		{"a secret in a public key", jwk(rs, object{"kid": "k", "k": encode(secret)}), sign(jwt.SigningMethodHS256, secret, hsHeader.with("kid", "k"), claims()), false},
		{"of an unknown kind", object{"kty": "AKP", "kid": "k", "alg": "ML-DSA-44", "pub": "AAAA"}, rs256, false},
		{"of no kind", object{"kid": "k"}, rs256, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Beside a good key, which is not spoilt by it.
			good := newEC()
			document := jwkSet(c.key, jwk(&good.PublicKey, object{"kid": "good"}))
			auth := withKeys(t, middleware.LocalJWKS(func() []byte { return document }))
			require.NoError(t, verify(auth, sign(jwt.SigningMethodES256, good, object{"alg": "ES256", "kid": "good"}, claims())))
			if err := verify(auth, c.token); c.ok {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
			}
		})
	}
}

func TestTwoKeysOfOneKid(t *testing.T) {
	a, b := newEC(), newEC()
	document := jwkSet(
		jwk(&a.PublicKey, object{"kid": "k"}), jwk(&b.PublicKey, object{"kid": "k"}),
		jwk(&rsaKey().PublicKey, object{"kid": "k"}), jwk(edKey.Public(), nil),
	)
	auth := withKeys(t, middleware.LocalJWKS(func() []byte { return document }))
	for range 2 {
		for _, key := range []*ecdsa.PrivateKey{a, b} {
			require.NoError(t, verify(auth, sign(jwt.SigningMethodES256, key, object{"alg": "ES256", "kid": "k"}, claims())))
		}
		require.NoError(t, verify(auth, sign(jwt.SigningMethodRS256, rsaKey(), object{"alg": "RS256", "kid": "k"}, claims())))
		require.ErrorIs(t, verify(auth, sign(jwt.SigningMethodES256, newEC(), object{"alg": "ES256", "kid": "k"}, claims())), jwterrors.TokenSignatureInvalid)
		require.ErrorIs(t, verify(auth, sign(jwt.SigningMethodES256, a, object{"alg": "ES256"}, claims())), jwterrors.TokenKeyUnknown, "which of two is not guessed")
		// A key of a set that has no kid is for tokens without one.
		require.NoError(t, verify(auth, sign(jwt.SigningMethodEdDSA, edKey, object{"alg": "EdDSA"}, claims())))
		require.ErrorIs(t, verify(auth, sign(jwt.SigningMethodEdDSA, edKey, object{"alg": "EdDSA", "kid": "x"}, claims())), jwterrors.TokenKeyUnknown)
	}
}

func TestLocalJWKS(t *testing.T) {
	var document atomic.Pointer[[]byte]
	publish := func(b []byte) { document.Store(&b) }
	publish(nil)
	a, b := newEC(), newEC()
	tokenA := sign(jwt.SigningMethodES256, a, object{"alg": "ES256", "kid": "a"}, claims())
	tokenB := sign(jwt.SigningMethodES256, b, object{"alg": "ES256", "kid": "b"}, claims())
	auth := withKeys(t, middleware.LocalJWKS(func() []byte { return *document.Load() }))

	require.ErrorIs(t, verify(auth, tokenA), jwterrors.KeysUnavailable)
	publish(jwkSet(jwk(&a.PublicKey, object{"kid": "a"})))
	require.NoError(t, verify(auth, tokenA))
	require.ErrorIs(t, verify(auth, tokenB), jwterrors.TokenKeyUnknown)
	publish(jwkSet(jwk(&a.PublicKey, object{"kid": "a"}), jwk(&b.PublicKey, object{"kid": "b"})))
	require.NoError(t, verify(auth, tokenA))
	require.NoError(t, verify(auth, tokenB))
	for _, bad := range []string{"", "null", "{}", `{"keys":[]}`, `{"keys":null}`, "<html>", `{"keys":[{"kty":"oct","k":"AAAA"}]}`} {
		publish([]byte(bad))
		require.NoError(t, verify(auth, tokenA), "%q changes nothing", bad)
	}
	publish(jwkSet(jwk(&b.PublicKey, object{"kid": "b"})))
	require.NoError(t, verify(auth, tokenB))
	require.ErrorIs(t, verify(auth, tokenA), jwterrors.TokenKeyUnknown, "a key that was removed verifies nothing")
	publish(jwkSet(jwk(&a.PublicKey, object{"kid": "b"})))
	require.ErrorIs(t, verify(auth, tokenB), jwterrors.TokenSignatureInvalid, "nor does one whose name another has got")
}

// A document that is changed in place is noticed, too.
func TestLocalJWKSInOnePlace(t *testing.T) {
	document := jwkSet(jwk(&ecKey.PublicKey, object{"kid": "aa"}))
	auth := withKeys(t, middleware.LocalJWKS(func() []byte { return document }))
	token := sign(jwt.SigningMethodES256, ecKey, object{"alg": "ES256", "kid": "aa"}, claims())
	require.NoError(t, verify(auth, token))
	copy(document, strings.Replace(string(document), `"aa"`, `"bb"`, 1))
	require.ErrorIs(t, verify(auth, token), jwterrors.TokenKeyUnknown)
}

func TestLocalJWKSWhileItRotates(t *testing.T) {
	var documents [8][]byte
	var tokens [8]string
	for i := range documents {
		k, next := newEC(), newEC()
		kid := string(rune('a' + i))
		documents[i] = jwkSet(jwk(&k.PublicKey, object{"kid": kid}), jwk(&next.PublicKey, object{"kid": "next"}))
		tokens[i] = sign(jwt.SigningMethodES256, k, object{"alg": "ES256", "kid": kid}, claims())
	}
	var at atomic.Int64
	auth := withKeys(t, middleware.LocalJWKS(func() []byte { return documents[at.Load()%8] }))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				before := at.Load()
				err := verify(auth, tokens[before%8])
				if at.Load() == before {
					assert.NoError(t, err)
				}
				at.CompareAndSwap(before, before+1)
			}
		})
	}
	wg.Wait()
}
