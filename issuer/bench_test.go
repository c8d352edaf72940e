package issuer_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tokenloop/tokenloop/issuer"
)

// BenchmarkRefresh is a whole refresh through the handler. In strict mode each
// one rotates.
func BenchmarkRefresh(b *testing.B) {
	for _, algorithm := range []string{issuer.HS256, issuer.RS256, issuer.ES256, issuer.EdDSA} {
		b.Run(algorithm, func(b *testing.B) {
			f := newFixture(b, func(c *issuer.Config) {
				c.Grace, c.OnEvent = issuer.NoGrace, nil
				c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(b, algorithm)}))
			})
			token := f.login().str("refresh_token")
			b.ReportAllocs()
			for b.Loop() {
				answer, status := f.direct(token)
				if status != 200 {
					b.Fatal(status)
				}
				_, token, _ = strings.Cut(answer, `"refresh_token":"`)
				token, _, _ = strings.Cut(token, `"`)
			}
		})
	}
}

// BenchmarkForgedRefresh is what it costs to be attacked.
func BenchmarkForgedRefresh(b *testing.B) {
	f := newFixture(b, nil)
	token := f.login().str("refresh_token")
	token = token[:len(token)-43] + strings.Repeat("A", 43)
	b.ReportAllocs()
	for b.Loop() {
		if _, status := f.direct(token); status != 401 {
			b.Fatal(status)
		}
	}
}

// BenchmarkJWKS is the answer that every verifier polls.
func BenchmarkJWKS(b *testing.B) {
	f := newFixture(b, nil)
	r := httptest.NewRequest("GET", "/auth/.well-known/jwks.json", nil)
	b.ReportAllocs()
	for b.Loop() {
		f.issuer.ServeHTTP(httptest.NewRecorder(), r)
	}
}
