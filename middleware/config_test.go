package middleware_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/middleware"
)

func TestNewReportsEveryMistakeAtOnce(t *testing.T) {
	_, err := middleware.New(middleware.Config{
		Leeway: -2, MaxLifetime: -1, MaxTokenBytes: -1, TokenTypes: []string{},
		Issuers: []middleware.Issuer{{Issuer: "b", Audience: []string{""}, Keys: middleware.HS256()}},
	})
	for _, want := range []string{"Leeway", "MaxLifetime", "MaxTokenBytes", "TokenTypes", `issuer ""`, "Issuer, is empty", "Audience is empty", "Keys are nil", `issuer "b"`, "empty string", "HS256 needs a secret"} {
		assert.ErrorContains(t, err, want)
	}
}

func TestMistakesInTheConfig(t *testing.T) {
	short, curve := must(rsa.GenerateKey(rand.Reader, 1024)), must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	keys := middleware.HS256(secret)
	public := func(k ...middleware.PublicKey) func(*middleware.Config) {
		return func(c *middleware.Config) { c.Keys = middleware.PublicKeys(k...) }
	}
	jwks := func(url string, o middleware.JWKSOptions) func(*middleware.Config) {
		return func(c *middleware.Config) { c.Keys = middleware.JWKS(url, o) }
	}
	const url = "https://id.example.com/jwks"
	for _, c := range []struct {
		name   string
		change func(*middleware.Config)
		want   string // "" for none
	}{
		{"none", func(*middleware.Config) {}, ""},
		{"no issuer, as from an unset variable", func(c *middleware.Config) { c.Issuer = "" }, "Issuer, is empty"},
		{"no audience", func(c *middleware.Config) { c.Audience = nil }, `Audience is empty; it is what its tokens call this service in "aud"`},
		{"an empty audience, as from an unset variable", func(c *middleware.Config) { c.Audience = []string{""} }, "empty string"},
		{"no keys", func(c *middleware.Config) { c.Keys = nil }, "Keys are nil; HS256, "},
		{"a leeway of 5 minutes", func(c *middleware.Config) { c.Leeway = 5 * time.Minute }, ""},
		{"a leeway beyond", func(c *middleware.Config) { c.Leeway = 5*time.Minute + 1 }, "Leeway"},
		{"no leeway", func(c *middleware.Config) { c.Leeway = middleware.NoLeeway }, ""},
		{"claims that are shared, and a Validate that may change them", func(c *middleware.Config) {
			c.ShareClaims, c.Validate = true, func(context.Context, *middleware.Claims) error { return nil }
		}, "ShareClaims and Validate"},
		{"the issuer twice", func(c *middleware.Config) {
			c.Issuers = []middleware.Issuer{{Issuer: issuer, Audience: []string{"x"}, Keys: middleware.HS256(random(32))}}
		}, "listed twice"},
		{"the keys twice", func(c *middleware.Config) {
			c.Keys = keys
			c.Issuers = []middleware.Issuer{{Issuer: "b", Audience: []string{"x"}, Keys: keys}}
		}, "own source"},
		{"any issuer, and further ones", func(c *middleware.Config) {
			c.InsecureAnyIssuer = true
			c.Issuers = []middleware.Issuer{{Issuer: "b", Audience: []string{"x"}, Keys: middleware.HS256(random(32))}}
		}, "InsecureAnyIssuer"},
		{"any audience is not for further issuers", func(c *middleware.Config) {
			c.InsecureAnyAudience = true
			c.Issuers = []middleware.Issuer{{Issuer: "b", Keys: middleware.HS256(random(32))}}
		}, "Audience is empty"},
		{"a required claim", func(c *middleware.Config) { c.RequiredClaims = []string{"jti", "JTI"} }, ""},
		{"a required claim without name", func(c *middleware.Config) { c.RequiredClaims = []string{"jti", ""} }, "RequiredClaims contains an empty"},
		{"a required claim twice", func(c *middleware.Config) { c.RequiredClaims = []string{"jti", "sub", "jti"} }, `RequiredClaims contains "jti" twice`},
		{"metadata", func(c *middleware.Config) {
			c.ResourceMetadata = "https://api.example.com/.well-known/oauth-protected-resource"
		}, ""},
		{"metadata over http", func(c *middleware.Config) {
			c.ResourceMetadata = "http://127.0.0.1:8080/.well-known/oauth-protected-resource"
		}, ""},
		{"metadata at a path", func(c *middleware.Config) { c.ResourceMetadata = "/.well-known/oauth-protected-resource" }, "ResourceMetadata"},
		{"metadata in a file", func(c *middleware.Config) { c.ResourceMetadata = "file:///metadata" }, "ResourceMetadata"},
		{"metadata without host", func(c *middleware.Config) { c.ResourceMetadata = "https:///metadata" }, "ResourceMetadata"},
		{"metadata with a line break", func(c *middleware.Config) { c.ResourceMetadata = "https://api.example.com/\r\nX: y" }, "ResourceMetadata"},
		{"a further issuer for any audience", func(c *middleware.Config) {
			c.Issuers = []middleware.Issuer{{Issuer: "b", Keys: middleware.HS256(random(32)), InsecureAnyAudience: true}}
		}, ""},
		{"a further issuer of any name", func(c *middleware.Config) {
			c.Issuers = []middleware.Issuer{{Issuer: "b", Audience: []string{"x"}, Keys: middleware.HS256(random(32)), InsecureAnyIssuer: true}}
		}, `issuer "b": InsecureAnyIssuer is set, and it is one of several`},
		{"no cache", func(c *middleware.Config) { c.CacheBytes = middleware.NoCache }, ""},
		{"a cache of one byte", func(c *middleware.Config) { c.CacheBytes = 1 }, ""},
		{"a cache of less", func(c *middleware.Config) { c.CacheBytes = -2 }, "CacheBytes"},
		{"a cookie", func(c *middleware.Config) { c.TokenCookie = "__Host-token" }, ""},
		{"a cookie with a wrong name", func(c *middleware.Config) { c.TokenCookie = "a b" }, "TokenCookie"},
		{"origins of no cookie", func(c *middleware.Config) { c.CookieOrigins = http.NewCrossOriginProtection() }, "CookieOrigins"},
		{"a negative length of forms", func(c *middleware.Config) { c.MaxFormBytes = -1 }, "MaxFormBytes"},
		{"a secret of 31 bytes", func(c *middleware.Config) { c.Keys = middleware.HS256(secret, random(31)) }, "secret 1"},
		{"an empty secret", func(c *middleware.Config) { c.Keys = middleware.HS256([]byte{}) }, "secret 0"},
		{"a secret of 47 bytes for HS384", func(c *middleware.Config) { c.Keys = middleware.HS384(random(48), random(47)) }, "secret 1 of HS384 has 47 bytes, fewer than 48"},
		{"a secret of 48 bytes for HS384", func(c *middleware.Config) { c.Keys = middleware.HS384(random(48)) }, ""},
		{"no secret for HS384", func(c *middleware.Config) { c.Keys = middleware.HS384() }, "HS384 needs a secret"},
		{"a secret of 63 bytes for HS512", func(c *middleware.Config) { c.Keys = middleware.HS512(random(63)) }, "secret 0 of HS512 has 63 bytes, fewer than 64"},
		{"a secret of 64 bytes for HS512", func(c *middleware.Config) { c.Keys = middleware.HS512(random(64)) }, ""},
		{"no secret for HS512", func(c *middleware.Config) { c.Keys = middleware.HS512() }, "HS512 needs a secret"},
		{"a nil secret", func(c *middleware.Config) { c.Keys = middleware.HS256(nil) }, "secret 0"},
		{"no public key", public(), "needs a key"},
		{"an RSA key of 1024 bits", public(middleware.PublicKey{Key: &short.PublicKey}), "2048 to 8192 bits, not 1024"},
		{"an RSA key of 8200 bits", public(middleware.PublicKey{Key: &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 8199), big.NewInt(1)), E: 65537}}), "not 8200"},
		{"an RSA key with the exponent 1", public(middleware.PublicKey{Key: &rsa.PublicKey{N: rsaKey().N, E: 1}}), "exponent"},
		{"an RSA key with an even exponent", public(middleware.PublicKey{Key: &rsa.PublicKey{N: rsaKey().N, E: 4}}), "exponent"},
		{"an RSA key that can be factored", public(middleware.PublicKey{Key: &rsa.PublicKey{N: factorable(0), E: 65537}}), "CVE-2017-15361"},
		{"an RSA key that differs from it modulo one prime", public(middleware.PublicKey{Key: &rsa.PublicKey{N: factorable(701), E: 65537}}), ""},
		{"an RSA key without modulus", public(middleware.PublicKey{Key: &rsa.PublicKey{}}), "nil"},
		{"a nil RSA key", public(middleware.PublicKey{Key: (*rsa.PublicKey)(nil)}), "nil"},
		{"a nil ECDSA key", public(middleware.PublicKey{Key: (*ecdsa.PublicKey)(nil)}), "nil"},
		{"an ECDSA key without curve", public(middleware.PublicKey{Key: &ecdsa.PublicKey{}}), "nil"},
		{"an ECDSA key on P-224", public(middleware.PublicKey{Key: &curve.PublicKey}), "curve"},
		{"an ECDSA key without a point", public(middleware.PublicKey{Key: &ecdsa.PublicKey{Curve: elliptic.P256()}}), "point"},
		{"an Ed25519 key that is short", public(middleware.PublicKey{Key: ed25519.PublicKey{1}}), "32 bytes, not 1"},
		{"a nil key", public(middleware.PublicKey{}), "<nil>"},
		{"a private key", public(middleware.PublicKey{Key: ecKey}), "*ecdsa.PrivateKey"},
		{"a secret as a public key", public(middleware.PublicKey{Key: secret}), "[]uint8"},
		{"an algorithm of another key", public(middleware.PublicKey{Key: &ecKey.PublicKey, Algorithm: "RS256"}), `"RS256" is not for this key`},
		{"HS256 for a public key", public(middleware.PublicKey{Key: &rsaKey().PublicKey, Algorithm: "HS256"}), `"HS256" is not for this key`},
		{"HS384 for a public key", public(middleware.PublicKey{Key: &rsaKey().PublicKey, Algorithm: "HS384"}), `"HS384" is not for this key`},
		{"HS512 for a public key", public(middleware.PublicKey{Key: &ecKey.PublicKey, Algorithm: "HS512"}), `"HS512" is not for this key`},
		{"none for a public key", public(middleware.PublicKey{Key: &rsaKey().PublicKey, Algorithm: "none"}), `"none" is not for this key`},
		{"two keys of one ID", public(middleware.PublicKey{ID: "k", Key: &ecKey.PublicKey}, middleware.PublicKey{ID: "k", Key: edKey.Public()}), "that of another key"},
		{"two keys without ID", public(middleware.PublicKey{Key: &ecKey.PublicKey}, middleware.PublicKey{Key: edKey.Public()}), ""},
		{"a JWKS", jwks(url, middleware.JWKSOptions{}), ""},
		{"a JWKS over http", jwks("http://id.example.com/jwks", middleware.JWKSOptions{}), "InsecureAllowHTTP"},
		{"a JWKS over http on loopback", jwks("http://127.0.0.1/jwks", middleware.JWKSOptions{}), "InsecureAllowHTTP"},
		{"a JWKS over http that is wanted", jwks("http://127.0.0.1/jwks", middleware.JWKSOptions{InsecureAllowHTTP: true}), ""},
		{"a JWKS from a file", jwks("file:///etc/jwks", middleware.JWKSOptions{InsecureAllowHTTP: true}), "not one of https"},
		{"a JWKS without URL", jwks("", middleware.JWKSOptions{}), "not one of https"},
		{"a JWKS with a path alone", jwks("/jwks", middleware.JWKSOptions{}), "not one of https"},
		{"a JWKS without host", jwks("https:///jwks", middleware.JWKSOptions{}), "not one of https"},
		{"a JWKS whose URL has half an escape", jwks("https://id.example.com/%2", middleware.JWKSOptions{}), "not one of https"},
		{"a JWKS with a password", jwks("https://a:b@id.example.com/", middleware.JWKSOptions{}), "user"},
		{"a JWKS with a negative timeout", jwks(url, middleware.JWKSOptions{Timeout: -1}), "Timeout is negative"},
		{"a JWKS that is renewed before it is there", jwks(url, middleware.JWKSOptions{RefreshAfter: -1}), "RefreshAfter is negative"},
		{"a JWKS with a negative interval", jwks(url, middleware.JWKSOptions{MissInterval: -1}), "MissInterval is negative"},
		{"a JWKS of a negative length", jwks(url, middleware.JWKSOptions{MaxBytes: -1}), "MaxBytes is negative"},
		{"a JWKS that is too old before it is renewed", jwks(url, middleware.JWKSOptions{MaxStale: time.Minute}), "MaxStale"},
		{"a JWKS with a wrong RSA algorithm", jwks(url, middleware.JWKSOptions{RSAAlgorithm: "HS256"}), "RSAAlgorithm"},
		{"a JWKS with HS512 for RSA keys", jwks(url, middleware.JWKSOptions{RSAAlgorithm: "HS512"}), "RSAAlgorithm"},
		{"a local JWKS without function", func(c *middleware.Config) { c.Keys = middleware.LocalJWKS(nil) }, "function"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := middleware.Config{Keys: middleware.HS256(secret), Issuer: issuer, Audience: []string{audience}}
			c.change(&config)
			auth, err := middleware.New(config)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			assert.Nil(t, auth)
			assert.NotContains(t, err.Error(), "a:b@")
		})
	}
}

// What the caller does with its own values afterwards changes nothing.
func TestTheConfigIsCopied(t *testing.T) {
	own, audiences, types := append([]byte(nil), secret...), []string{audience}, []string{"at+jwt"}
	auth := newAuth(t, func(c *middleware.Config) {
		c.Keys, c.Audience, c.TokenTypes = middleware.HS256(own), audiences, types
	})
	own[0]++
	audiences[0], types[0] = "x", "x"
	require.NoError(t, verify(auth, good()))
}

// factorable returns a modulus of 2048 bits that has the form of those that the
// library of some chips made: a power of 65537 modulo each prime up to 701, except
// one.
func factorable(except int64) *big.Int {
	product := big.NewInt(1)
	for p := int64(2); p <= 701; p++ {
		if big.NewInt(p).ProbablyPrime(0) && p != except {
			product.Mul(product, big.NewInt(p))
		}
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(12345), product)
	n.Add(n, new(big.Int).Lsh(product, uint(2048-product.BitLen())))
	if except != 0 { // a multiple of it is a power of nothing
		for new(big.Int).Mod(n, big.NewInt(except)).Sign() != 0 {
			n.Add(n, product)
		}
	}
	return n
}
