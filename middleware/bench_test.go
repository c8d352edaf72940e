package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/middleware"
)

// First sight of a token, as a whole middleware. internal/bench has the peers.
func BenchmarkHandler(b *testing.B) {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	document := jwkSet(jwk(&rsaKey().PublicKey, object{"kid": "r"}), jwk(&ecKey.PublicKey, object{"kid": "e"}), jwk(edKey.Public(), object{"kid": "d"}))
	local := middleware.LocalJWKS(func() []byte { return document })
	two := func(c *middleware.Config) {
		c.Issuers = []middleware.Issuer{{Issuer: "b", Audience: []string{"b"}, Keys: middleware.HS256(random(32))}}
	}
	for _, c := range []struct {
		name  string
		auth  *middleware.Middleware
		token string
	}{
		{"HS256", newAuth(b), good()},
		{"HS256 of two issuers", newAuth(b, two), good()},
		{"HS256 with escapes", newAuth(b), hs(hsHeader, claims().with("name", "a \"quoted\" name"))},
		{"RS256", withKeys(b, local), sign(jwt.SigningMethodRS256, rsaKey(), object{"alg": "RS256", "kid": "r"}, claims())},
		{"ES256", withKeys(b, local), sign(jwt.SigningMethodES256, ecKey, object{"alg": "ES256", "kid": "e"}, claims())},
		{"EdDSA", withKeys(b, local), sign(jwt.SigningMethodEdDSA, edKey, object{"alg": "EdDSA", "kid": "d"}, claims())},
		{"forged", newAuth(b), sign(jwt.SigningMethodHS256, random(32), hsHeader, claims())},
		{"expired", newAuth(b), hs(hsHeader, claims().with("exp", 1640086400))},
		{"8 KiB of dots", newAuth(b), strings.Repeat(".", 8192)},
		{"8 KiB of one part", newAuth(b), strings.Repeat("e", 8192)},
		{"an unknown kid", withKeys(b, local), sign(jwt.SigningMethodES256, ecKey, object{"alg": "ES256", "kid": "x"}, claims())},
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
