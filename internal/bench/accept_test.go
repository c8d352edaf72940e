package bench_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Nobody is fast here by not checking.
func TestEverybodyChecks(t *testing.T) {
	for _, impl := range implementations() {
		for _, alg := range algorithms {
			if !impl.can(alg) {
				continue
			}
			t.Run(impl.name+"/"+alg, func(t *testing.T) {
				t.Parallel()
				var subjects []string
				h := impl.build(t, alg, func(subject string) { subjects = append(subjects, subject) })
				status := func(authorization string) int {
					w := newSink()
					r := request(authorization)
					if authorization == "" {
						r.Header.Del("Authorization")
					}
					h.ServeHTTP(w, r)
					return w.status
				}
				for range 2 { // the second time, it may be remembered
					assert.Less(t, status(rings[alg]()[0]), 300, "the good token")
				}
				require.Equal(t, []string{subject, subject}, subjects, "what the handler found in the context")
				for name, authorization := range bad(alg) {
					if name == otherAlgorithm && impl.keyDecides {
						continue
					}
					assert.GreaterOrEqual(t, status(authorization), 400, name)
					assert.Len(t, subjects, 2, "the handler was reached by %s", name)
				}
			})
		}
	}
}

const otherAlgorithm = "another algorithm"

// bad returns what must be refused, each with the name of what is wrong.
func bad(alg string) map[string]string {
	k, good := keys[alg](), goodClaims()
	other := newKey(alg)
	other.kid = k.kid
	header, _, _ := strings.Cut(strings.TrimPrefix(rings[alg]()[0], "Bearer "), ".")
	another := map[string]string{"HS256": "HS384", "RS256": "RS384", "ES256": "ES384", "EdDSA": "ES256"}[alg]
	input := encode([]byte(`{"alg":"`+another+`","typ":"JWT","kid":"`+k.kid+`"}`)) + "." + encode(good.payload(0))
	bearer := func(token string) string { return "Bearer " + token }
	all := map[string]string{
		"no token":         "",
		"another scheme":   "Basic YTpi",
		"expired":          bearer(k.token(claims{issuerName, audience, time.Now().Add(-time.Hour)}.payload(0))),
		"another issuer":   bearer(k.token(claims{"https://id.example.org", audience, good.expires}.payload(0))),
		"another audience": bearer(k.token(claims{issuerName, "payments", good.expires}.payload(0))),
		"forged":           bearer(other.token(good.payload(0))),
		"no signature":     bearer(header + "." + encode(good.payload(0)) + "."),
		"no algorithm":     bearer(encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(good.payload(0)) + "."),
		// Signed as alg is, by the right key.
		otherAlgorithm: bearer(input + "." + encode(k.sign([]byte(input)))),
		"garbage":      bearer(garbage),
		"dots":         bearer(dots),
		"deep":         bearer(deep),
		"huge":         bearer(other.token(append(good.payload(0)[:292], `,"x":"`+strings.Repeat("x", 1<<20)+`"}`...))),
	}
	if k.kid != "" { // a secret has none
		stranger := newKey(alg)
		stranger.kid = "bench-unknown"
		all["unknown-kid"] = bearer(stranger.token(good.payload(0)))
	}
	return all
}

// Tokens that are none, the longer ones of 8 KiB.
var (
	garbage = "bm90LWEtdG9rZW4"
	dots    = strings.Repeat(".", 8192)
	deep    = deepHeader(8192)
)

// deepHeader returns a token of n bytes whose header is JSON of as many nested
// arrays as fit.
func deepHeader(n int) string {
	const tail = ".e30.AAAA"
	levels := (n - len(tail)) * 3 / 4
	levels -= len(`{"alg":"HS256","x":}`)
	header := encode([]byte(`{"alg":"HS256","x":` + strings.Repeat("[", levels/2) + strings.Repeat("]", levels/2) + "}"))
	return header + strings.Repeat("A", n-len(tail)-len(header)) + tail
}

func TestTheTokensAreWhatTheNumbersAreAbout(t *testing.T) {
	assert.Len(t, goodClaims().payload(1), 293)
	for alg, length := range map[string]int{"HS256": 472, "RS256": 798} {
		assert.Len(t, strings.TrimPrefix(rings[alg]()[0], "Bearer "), length, alg)
	}
	assert.Len(t, deep, 8192)
	for _, alg := range algorithms {
		seen := map[string]bool{}
		for _, value := range rings[alg]() {
			require.False(t, seen[value], "%s: a token is there twice", alg)
			seen[value] = true
		}
	}
}
