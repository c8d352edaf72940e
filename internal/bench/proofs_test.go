package bench_test

import (
	"context"
	"crypto"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// BenchmarkBesideProofs holds proofs of possession (RFC 9449) beside the bare
// operation on their signature: what a client does for a request, and a whole
// request with a token that was verified before, whose proof is new each time.
func BenchmarkBesideProofs(b *testing.B) {
	const url = "https://api.example.com/orders"
	for _, alg := range []string{"ES256", "EdDSA"} {
		key := must(dpop.NewKey(keys[alg]().private.(crypto.Signer)))
		now := time.Now()
		token := keys["HS256"]().token([]byte(`{"iss":"` + issuerName + `","aud":"` + audience + `","iat":` + strconv.FormatInt(now.Unix(), 10) +
			`,"exp":` + strconv.FormatInt(now.Add(time.Hour).Unix(), 10) + `,"sub":"` + subject + `","cnf":{"jkt":"` + key.Thumbprint + `"}}`))
		hash := dpop.TokenHash(token)
		prove := func() string { return must(key.Proof("GET", url, hash, "", time.Now())) }

		b.Run("work=prove/alg="+alg+"/impl=tokenloop", func(b *testing.B) {
			own := must(refresher.NewDPoPKey(keys[alg]().private.(crypto.Signer)))
			client := must(refresher.New(refresher.Config{
				AuthURL: "https://id.example.com/auth", Origins: []string{"https://api.example.com"}, Base: nowhere(), DPoP: own,
			}))
			defer client.Close()
			require.NoError(b, client.SetTokens(b.Context(), refresher.Tokens{AccessToken: token, TokenType: "DPoP"}))
			r := outgoing()
			beside(b, "x-bare", 1, bareSignature(b, alg), func() {
				if resp, err := client.RoundTrip(r); err != nil || resp.StatusCode != 200 {
					b.Fatal(err)
				}
			}, func(int) {})
		})
		b.Run("work=request/alg="+alg+"/impl=tokenloop", func(b *testing.B) {
			m, err := middleware.New(middleware.Config{
				Keys: ownKeys("HS256"), Issuer: issuerName, Audience: []string{audience},
				DPoP: &middleware.DPoP{PublicURL: "https://api.example.com"},
			})
			require.NoError(b, err)
			h := m.Handler(behind(ignore, func(ctx context.Context) string {
				c, _ := middleware.FromContext(ctx)
				return c.Subject
			}))
			w, r := newSink(), request("DPoP "+token)
			r.Header["Dpop"] = []string{""}
			var proofs []string
			beside(b, "x-bare", 1, bareVerification(b, alg), func() {
				r.Header["Dpop"][0] = proofs[0]
				proofs = proofs[1:]
				serve(b, h, w, r, true)
			}, func(n int) {
				proofs = proofs[:0]
				for range n {
					proofs = append(proofs, prove())
				}
			})
		})
	}
}
