package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/middleware"
)

// A token as a whole middleware sees it, for the first time where its name does
// not say otherwise. internal/bench has the peers.
func BenchmarkHandler(b *testing.B) {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	document := jwkSet(jwk(&rsaKey().PublicKey, object{"kid": "r"}), jwk(&ecKey.PublicKey, object{"kid": "e"}), jwk(edKey.Public(), object{"kid": "d"}))
	local := middleware.LocalJWKS(func() []byte { return document })
	listed := newLister()
	listed.revoke()
	two := func(c *middleware.Config) {
		c.Issuers = []middleware.Issuer{{Issuer: "b", Audience: []string{"b"}, Keys: middleware.HS256(random(32))}}
	}
	for _, c := range []struct {
		name  string
		auth  *middleware.Middleware
		token string
	}{
		{"HS256 seen before", newAuth(b), good()},
		{"ES256 seen before, with a status list", listed.auth(b), listed.at(5)},
		{"ES256 seen before", newAuth(b, func(c *middleware.Config) { c.Keys = listed.keySource() }), listed.at(5)},
		{"RS256 seen before", withKeys(b, local), sign(jwt.SigningMethodRS256, rsaKey(), object{"alg": "RS256", "kid": "r"}, claims())},
		{"HS256", newAuth(b, uncached), good()},
		{"HS256 of two issuers", newAuth(b, uncached, two), good()},
		{"HS256 with escapes", newAuth(b, uncached), hs(hsHeader, claims().with("name", "a \"quoted\" name"))},
		{"RS256", keyed(b, local), sign(jwt.SigningMethodRS256, rsaKey(), object{"alg": "RS256", "kid": "r"}, claims())},
		{"ES256", keyed(b, local), sign(jwt.SigningMethodES256, ecKey, object{"alg": "ES256", "kid": "e"}, claims())},
		{"EdDSA", keyed(b, local), sign(jwt.SigningMethodEdDSA, edKey, object{"alg": "EdDSA", "kid": "d"}, claims())},
		{"forged", newAuth(b), sign(jwt.SigningMethodHS256, random(32), hsHeader, claims())},
		{"expired", newAuth(b, uncached), hs(hsHeader, claims().with("exp", 1640086400))},
		{"8 KiB of dots", newAuth(b), strings.Repeat(".", 8192)},
		{"8 KiB of one part", newAuth(b), strings.Repeat("e", 8192)},
		{"an unknown kid", keyed(b, local), sign(jwt.SigningMethodES256, ecKey, object{"alg": "ES256", "kid": "x"}, claims())},
	} {
		b.Run(c.name, func(b *testing.B) {
			h, w, r := c.auth.Handler(next), httptest.NewRecorder(), request("Bearer "+c.token)
			b.ReportAllocs()
			for b.Loop() {
				clear(w.Header())
				w.Body.Reset()
				h.ServeHTTP(w, r)
			}
		})
	}
}

func uncached(c *middleware.Config) { c.CacheBytes = middleware.NoCache }

func keyed(b *testing.B, keys middleware.KeySource) *middleware.Middleware {
	return newAuth(b, uncached, func(c *middleware.Config) { c.Keys = keys })
}

// First sight with the cache on: each token is new, and is put in the cache.
func BenchmarkDistinctTokens(b *testing.B) {
	tokens := make([]string, 1<<16) // more than the cache holds
	for i := range tokens {
		tokens[i] = hs(hsHeader, claims().with("jti", strconv.Itoa(i)))
	}
	for name, auth := range map[string]*middleware.Middleware{"with cache": newAuth(b), "without": newAuth(b, uncached)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := auth.Verify(b.Context(), tokens[i%len(tokens)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHitInParallel(b *testing.B) {
	auth, token := newAuth(b), good()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := verify(auth, token); err != nil {
				b.Error(err)
			}
		}
	})
}
