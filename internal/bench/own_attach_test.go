package bench_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/refresher"
)

// attachTokenloop is our transport, with the origin pinned as it must be.
func attachTokenloop(tb testing.TB, token string, base http.RoundTripper) roundTrip {
	transport, err := refresher.New(refresher.Config{
		AuthURL: "https://id.example.com/auth",
		Origins: []string{"https://api.example.com"},
		Base:    base,
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = transport.Close() })
	require.NoError(tb, transport.SetTokens(tb.Context(), refresher.Tokens{AccessToken: token}))
	return transport.RoundTrip
}
