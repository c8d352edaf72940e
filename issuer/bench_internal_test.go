package issuer

import (
	"strings"
	"testing"
	"time"
)

// BenchmarkMint is one access token, and beside it the bare signature of the
// same length: the difference is ours.
func BenchmarkMint(b *testing.B) {
	for _, algorithm := range []string{HS256, RS256, ES256, EdDSA} {
		key, err := GenerateKey(algorithm)
		if err != nil {
			b.Fatal(err)
		}
		ring, err := NewKeyRing(KeyRingConfig{Key: key})
		if err != nil {
			b.Fatal(err)
		}
		const issuer = "https://id.example.com"
		audience := []string{"orders"}
		i := &Issuer{c: Config{Issuer: issuer, Audience: audience, Keys: ring, AccessTTL: DefaultAccessTTL}, claims: firstClaims(issuer, audience)}
		now := time.Now()
		s := &Session{
			ID: random(16), Subject: "user-123", ClientID: "mobile", Scopes: []string{"api:read", "api:write"},
			Email: "alice@example.com", AuthTime: now, ExpiresAt: now.Add(time.Hour),
		}
		token, _, err := i.mint(s, i.claims, now)
		if err != nil {
			b.Fatal(err)
		}
		input := []byte(token[:strings.LastIndexByte(token, '.')])
		b.Run(algorithm+"/mint", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := i.mint(s, i.claims, now); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(algorithm+"/signature", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.signature(input); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
