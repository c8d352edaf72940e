package conformance

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// RFC 9449, Sections 5, 7, 8, 9 and 10: a client that is not ours, at our issuer and
// our API.
func oauth4webapiDPoP(t *testing.T, folder string) {
	h := newBoundHome(t, issuer.ES256)
	all := []any{}
	for _, name := range proofAlgorithms {
		all = append(all, name)
	}
	assert.Equal(t, []step{
		{"step": "discovery", "issuer": all, "api": all},
		{"step": "code", "type": "dpop", "asked": 1.0},
		{"step": "call", "status": 204.0, "asked": 1.0},
		{"step": "another call", "status": 204.0, "asked": 1.0},
		{"step": "code of another key", "code": "invalid_dpop_proof"},
		{"step": "token of another key", "code": "challenge dpop"},
		{"step": "as a bearer token", "code": "challenge dpop"},
		{"step": "refresh with another key", "code": "invalid_dpop_proof"},
		{"step": "refresh", "type": "dpop", "rotated": true},
		{"step": "its token", "status": 204.0},
		{"step": "client_credentials", "type": "dpop", "status": 204.0},
		{"step": "introspect", "type": "DPoP", "bound": true},
	}, run(t, folder, "oauth4webapi-dpop.mjs", h.url, h.api, redirectURI, clientSecret))
}

// RFC 9449, Sections 4.2 and 4.3: proofs that are not ours, good ones and others.
func proofsOfDPoP(t *testing.T, folder string) {
	h := newBoundHome(t, issuer.ES256)
	wrong := string(jwterrors.ProofInvalid)
	assert.Equal(t, []step{
		{"step": "ES256", "type": "DPoP", "bound": true, "status": 204.0},
		{"step": "Ed25519", "type": "DPoP", "bound": true, "status": 204.0},
		{"step": "RS256", "type": "DPoP", "bound": true, "status": 204.0},
		{"step": "PS256", "type": "DPoP", "bound": true, "status": 204.0},
		{"step": "another method", "answer": wrong},
		{"step": "another path", "answer": wrong},
		{"step": "another host", "answer": wrong},
		{"step": "the URL in another spelling", "answer": 204.0},
		{"step": "another token", "answer": wrong},
		{"step": "no token", "answer": wrong},
		{"step": "as a bearer token", "answer": wrong},
	}, run(t, folder, "dpop.mjs", h.url, h.api))
}

// RFC 9449, Section 7.1: proofs of ours, and a verifier that is not.
func proofsForOAuth4webapi(t *testing.T, folder string) {
	h := newBoundHome(t, issuer.ES256)
	api := serve(t, folder, "dpop-api.mjs", h.url, h.api)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, key := range map[string]*refresher.DPoPKey{"ES256": refresher.GenerateDPoPKey(), "EdDSA": must(refresher.NewDPoPKey(private))} {
		t.Run(name, func(t *testing.T) {
			session, err := refresher.New(refresher.Config{AuthURL: h.url + "/auth", Origins: []string{h.url, api}, DPoP: key, InsecureAllowHTTP: true})
			require.NoError(t, err)
			defer session.Close()
			require.NoError(t, session.Login(t.Context(), refresher.Credentials{Username: "alice", Password: "an obviously fake password"}))
			for _, path := range []string{"/", "/orders?page=2", "/a%2Fb/%C3%A9"} {
				assert.Equal(t, http.StatusNoContent, status(t, session, api+path), path)
			}
			require.NoError(t, session.Refresh(t.Context()))
			assert.Equal(t, http.StatusNoContent, status(t, session, api))

			// And it does look at them.
			thief := &http.Client{Transport: refresher.GenerateDPoPKey().Transport(nil)}
			for _, client := range []*http.Client{http.DefaultClient, thief} {
				r := must(http.NewRequest(http.MethodGet, api, nil))
				r.Header.Set("Authorization", "DPoP "+held(session).AccessToken)
				resp, err := client.Do(r)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			}
		})
	}
}

// RFC 9449, Sections 5, 8 and 10: our client, at a provider that is not ours and asks
// for nonces.
func oidcProviderDPoP(t *testing.T, folder string) {
	provider := serve(t, folder, "oidc-provider.mjs", redirectURI, clientSecret)
	keys := middleware.Discover(provider, middleware.JWKSOptions{InsecureAllowHTTP: true})
	login := func(resource string, key *refresher.DPoPKey) refresher.Tokens {
		client := &http.Client{Transport: key.Transport(nil)}
		tokens := spent(t, client, provider, resource, url.Values{"dpop_jkt": {key.Thumbprint()}})
		require.Equal(t, "DPoP", tokens.TokenType)
		return tokens
	}

	t.Run("an API behind the middleware", func(t *testing.T) {
		const resource = "urn:api:ES256"
		key := refresher.GenerateDPoPKey()
		first := login(resource, key)
		api, _ := newAPI(t, provider, resource, keys)
		session := newSession(t, provider, api, resource, first, key)
		assert.Equal(t, http.StatusNoContent, status(t, session, api))

		// The provider refuses another key, and the session is not lost by it.
		thief := &http.Client{Transport: refresher.GenerateDPoPKey().Transport(nil)}
		resp, err := thief.PostForm(provider+"/token", url.Values{
			"grant_type": {"refresh_token"}, "client_id": {"mobile"}, "resource": {resource}, "refresh_token": {first.RefreshToken},
		})
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
		require.NoError(t, session.Refresh(t.Context()))
		assert.NotEqual(t, first.RefreshToken, held(session).RefreshToken, "it was not rotated")
		assert.Equal(t, http.StatusNoContent, status(t, session, api))
	})

	t.Run("userinfo", func(t *testing.T) {
		key := refresher.GenerateDPoPKey()
		session := newSession(t, provider, provider, "", login("", key), key)
		for range 2 {
			resp, err := session.Client().Get(provider + "/me")
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.JSONEq(t, `{"sub":"alice"}`, string(body))
			require.NoError(t, session.Refresh(t.Context()))
		}
		r := must(http.NewRequest(http.MethodGet, provider+"/me", nil))
		r.Header.Set("Authorization", "Bearer "+held(session).AccessToken)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	})
}
