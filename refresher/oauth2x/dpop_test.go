package oauth2x_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/oauth2x"
)

// The exchange of a code, the refresh and the calls of the API, with a Transport or with
// an oauth2.Transport, are under one key (RFC 9449), at a server that asks for nonces.
func TestEverythingUnderOneKey(t *testing.T) {
	key := refresher.GenerateDPoPKey()
	checker := &dpop.Checker{
		Algorithms: dpop.Algorithms, MaxAge: time.Minute, Nonces: dpop.NewNonces(nil), Replays: dpop.NewMemory(dpop.MaxProofs, time.Now), Now: time.Now,
	}
	var grants atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
		p, err := checker.Check(r, token, key.Thumbprint())
		if nonce := checker.Nonce(p, err); nonce != "" {
			w.Header().Set("DPoP-Nonce", nonce)
		}
		switch {
		case err != nil:
			jwterrors.Responder{}.RespondOAuth(w, r, err)
		case r.URL.Path == "/token":
			n := grants.Add(1)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"access-%d","token_type":"DPoP","expires_in":3600,"refresh_token":"refresh-%d"}`, n, n)
		default:
			fmt.Fprint(w, token)
		}
	}))
	defer server.Close()
	config := &oauth2.Config{ClientID: "app", Endpoint: oauth2.Endpoint{TokenURL: server.URL + "/token", AuthStyle: oauth2.AuthStyleInParams}}
	proving := &http.Client{Transport: key.Transport(nil)}
	token, err := config.Exchange(context.WithValue(t.Context(), oauth2.HTTPClient, proving), "the code")
	require.NoError(t, err)

	tr, err := refresher.New(refresher.Config{
		Origins: []string{server.URL}, InsecureAllowHTTP: true, DPoP: key, // on loopback
		Source: oauth2x.RefreshGrant{Config: config, Client: proving, InsecureAllowHTTP: true},
	})
	require.NoError(t, err)
	defer tr.Close()
	require.NoError(t, tr.SetTokens(t.Context(), oauth2x.FromToken(token)))
	require.NoError(t, tr.Refresh(t.Context()))
	theirs := &oauth2.Transport{Source: oauth2x.TokenSource(t.Context(), tr), Base: key.Transport(nil)}
	for _, client := range []*http.Client{tr.Client(), {Transport: theirs}} {
		resp, err := client.Get(server.URL + "/api")
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		assert.Equal(t, "access-2", string(data))
	}
}
