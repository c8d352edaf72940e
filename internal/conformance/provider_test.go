package conformance

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// A provider that is not ours issues and refreshes the tokens, the refresher
// attaches them, and the middleware verifies them.
func oidcProvider(t *testing.T, folder string) {
	provider := serve(t, folder, "oidc-provider.mjs", redirectURI, clientSecret)
	keys := middleware.Discover(provider, middleware.JWKSOptions{InsecureAllowHTTP: true})

	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"} {
		t.Run("client_credentials, "+algorithm, func(t *testing.T) {
			resource := "urn:api:" + algorithm
			api, _ := newAPI(t, provider, resource, keys)
			session, err := refresher.New(refresher.Config{
				Origins: []string{api}, InsecureAllowHTTP: true, Unattended: true, Issuer: provider, Audience: resource,
				Source: refresher.ClientCredentials{
					TokenURL: provider + "/token", ClientID: "app", ClientSecret: clientSecret,
					Scopes: []string{"api:read"}, Parameters: url.Values{"resource": {resource}},
				},
			})
			require.NoError(t, err)
			defer session.Close()
			assert.Equal(t, http.StatusNoContent, status(t, session, api))
		})
	}

	t.Run("authorization_code, refresh and revocation", func(t *testing.T) {
		const resource = "urn:api:ES256"
		api, denied := newAPI(t, provider, resource, keys)
		first := consented(t, provider, resource)
		session := newSession(t, provider, api, resource, first)
		assert.Equal(t, http.StatusNoContent, status(t, session, api))
		assert.Equal(t, first.RefreshToken, held(session).RefreshToken)

		// The API refuses the token, and so it is refreshed, once.
		require.NoError(t, denied.DenyToken(t.Context(), jti(t, first.AccessToken), time.Now().Add(time.Hour)))
		assert.Equal(t, http.StatusNoContent, status(t, session, api))
		second := held(session)
		assert.NotEqual(t, first.RefreshToken, second.RefreshToken, "it was not rotated")
		assert.NotEqual(t, first.AccessToken, second.AccessToken)

		// A token that was revoked is of no use.
		require.NoError(t, session.Logout(t.Context()))
		late := newSession(t, provider, api, resource, second)
		assert.ErrorIs(t, late.Refresh(t.Context()), jwterrors.RefreshTokenInvalid)
	})

	t.Run("a replay ends the session", func(t *testing.T) {
		const resource = "urn:api:ES256"
		api, _ := newAPI(t, provider, resource, keys)
		first := consented(t, provider, resource)
		session, thief := newSession(t, provider, api, resource, first), newSession(t, provider, api, resource, first)
		require.NoError(t, session.Refresh(t.Context()))
		assert.ErrorIs(t, thief.Refresh(t.Context()), jwterrors.RefreshTokenInvalid)
		assert.ErrorIs(t, session.Refresh(t.Context()), jwterrors.RefreshTokenInvalid)
	})
}

// newAPI runs an API for the tokens of a provider, which asks a list what to deny.
func newAPI(t *testing.T, provider, audience string, keys middleware.KeySource) (string, *middleware.Denylist) {
	t.Helper()
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	auth, err := middleware.New(middleware.Config{
		Keys: keys, Issuer: provider, Audience: []string{audience}, Revocations: denied, TokenTypes: []string{"at+jwt"},
		DPoP: &middleware.DPoP{RequireNonce: true, InsecureAnyHost: true}, // it is known by its address alone
	})
	require.NoError(t, err)
	server := httptest.NewServer(auth.Handler(middleware.RequireScopes("api:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))))
	t.Cleanup(server.Close)
	return server.URL, denied
}

func status(t *testing.T, session *refresher.Transport, url string) int {
	t.Helper()
	resp, err := session.Client().Get(url)
	require.NoError(t, err)
	resp.Body.Close()
	return resp.StatusCode
}

func held(session *refresher.Transport) refresher.Tokens {
	tokens, _ := session.Tokens()
	return tokens
}

// source is a public client of the provider.
func source(provider, resource string) refresher.OAuth {
	o := refresher.OAuth{TokenURL: provider + "/token", RevokeURL: provider + "/token/revocation", ClientID: "mobile"}
	if resource != "" {
		o.Parameters = url.Values{"resource": {resource}}
	}
	return o
}

// newSession goes on with tokens, which may be bound to a key.
func newSession(t *testing.T, provider, api, resource string, tokens refresher.Tokens, key ...*refresher.DPoPKey) *refresher.Transport {
	t.Helper()
	config := refresher.Config{Origins: []string{api}, InsecureAllowHTTP: true, Source: source(provider, resource)}
	if resource != "" { // else the token is opaque
		config.Issuer, config.Audience = provider, resource
	}
	for _, key := range key {
		config.DPoP = key
	}
	session, err := refresher.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { session.Close() })
	require.NoError(t, session.SetTokens(t.Context(), tokens))
	return session
}

// consented lets alice log in at the provider, and spends the code.
func consented(t *testing.T, provider, resource string) refresher.Tokens {
	t.Helper()
	return spent(t, http.DefaultClient, provider, resource, nil)
}

// spent is consented by a client, and with further parameters of the request.
func spent(t *testing.T, client *http.Client, provider, resource string, more url.Values) refresher.Tokens {
	t.Helper()
	const verifier = "an-obviously-fake-verifier-of-a-public-client"
	sum := sha256.Sum256([]byte(verifier))
	jar := must(cookiejar.New(nil))
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirectURI) || len(via) > 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	asked := url.Values{
		"client_id": {"mobile"}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "scope": {"openid api:read"}, "state": {"a state"},
		"code_challenge": {b64(sum[:])}, "code_challenge_method": {"S256"},
	}
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"mobile"}, "redirect_uri": {redirectURI}, "code_verifier": {verifier}}
	if resource != "" {
		asked.Set("resource", resource)
		form.Set("resource", resource)
	}
	maps.Copy(asked, more)
	resp, err := browser.Get(provider + "/auth?" + asked.Encode())
	require.NoError(t, err)
	resp.Body.Close()
	back, err := resp.Location()
	require.NoError(t, err, resp.Status)
	require.Equal(t, "a state", back.Query().Get("state"), back.String())

	form.Set("code", back.Query().Get("code"))
	resp, err = client.PostForm(provider+"/token", form)
	require.NoError(t, err)
	defer resp.Body.Close()
	var tokens refresher.Tokens
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&tokens))
	require.NotEmpty(t, tokens.RefreshToken, resp.Status)
	return tokens
}

// jti returns the ID of an access token.
func jti(t *testing.T, token string) string {
	t.Helper()
	var c struct {
		ID string `json:"jti"`
	}
	require.NoError(t, json.Unmarshal(unb64(strings.Split(token, ".")[1]), &c))
	require.NotEmpty(t, c.ID)
	return c.ID
}
