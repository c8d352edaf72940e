package bench_test

import (
	"crypto"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/refresher"
)

// BenchmarkProof holds requests that carry a proof of possession (RFC 9449) beside the
// signature that each of them costs at least.
func BenchmarkProof(b *testing.B) {
	for _, alg := range []string{"ES256", "EdDSA"} {
		b.Run("alg="+alg, func(b *testing.B) {
			key, err := refresher.DPoPKeyOf(keys[alg]().private.(crypto.Signer))
			require.NoError(b, err)
			transport, err := refresher.New(refresher.Config{
				AuthURL: "https://id.example.com/auth", Origins: []string{"https://api.example.com"}, Base: nowhere(), Proof: key,
			})
			require.NoError(b, err)
			defer transport.Close()
			require.NoError(b, transport.SetTokens(b.Context(), refresher.Tokens{AccessToken: accessToken(), TokenType: "DPoP"}))
			r := outgoing()
			beside(b, bareSignature(b, alg), func() {
				if resp, err := transport.RoundTrip(r); err != nil || resp.StatusCode != 200 {
					b.Fatal(err)
				}
			}, func(int) {})
		})
	}
}
