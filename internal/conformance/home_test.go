package conformance

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

// The redirect URI of the clients. Nobody is there: what it is sent is in the
// redirect.
const redirectURI = "http://127.0.0.1/callback"

const clientSecret = "an-obviously-fake-client-secret-of-32-bytes"

// A home is an issuer of ours and an API, on one host.
type home struct {
	url    string // of the issuer
	api    string // the resource, and the audience
	issuer *issuer.Issuer
}

// newHome runs a home whose tokens are signed with an algorithm.
func newHome(t *testing.T, algorithm string) *home { return serveHome(t, algorithm, false) }

// newBoundHome runs one that takes proofs (RFC 9449), and asks for nonces.
func newBoundHome(t *testing.T, algorithm string) *home { return serveHome(t, algorithm, true) }

func serveHome(t *testing.T, algorithm string, bound bool) *home {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	h := &home{url: server.URL, api: server.URL + "/api"}

	var ofIssuer *issuer.DPoP
	var ofAPI *middleware.DPoP
	metadata := middleware.ProtectedResourceMetadata{Resource: h.api, AuthorizationServers: []string{h.url}, InsecureAllowHTTP: true}
	if bound {
		secret := random(32) // clients know one nonce for each origin
		ofIssuer = &issuer.DPoP{RequireNonce: true, NonceSecret: secret}
		ofAPI = &middleware.DPoP{RequireNonce: true, NonceSecret: secret, PublicURL: h.url}
		metadata.DPoPSigningAlgValuesSupported = proofAlgorithms
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.GenerateKey(algorithm))})
	require.NoError(t, err)
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	all := []string{issuer.GrantAuthorizationCode, issuer.GrantRefreshToken, issuer.GrantClientCredentials}
	scopes := []string{"api:read"}
	h.issuer, err = issuer.New(issuer.Config{
		Issuer: h.url, Audience: []string{h.api}, Keys: ring, Denylist: denied, Grace: issuer.NoGrace,
		MasterKeys: []issuer.MasterKey{{Secret: random(32)}}, Store: issuer.NewMemoryStore(),
		Authenticate: func(context.Context, issuer.Credentials) (issuer.User, error) { return alice, nil },
		Logger:       slog.New(slog.DiscardHandler), DPoP: ofIssuer,
		Grants: all, Revocation: true, Introspection: true, AuthorizationEndpoint: h.url + "/authorize",
		Clients: []issuer.Client{
			{ID: "spa", Grants: all[:2], Scopes: scopes, RedirectURIs: []string{redirectURI}},
			{ID: "app", Grants: all, Scopes: scopes, RedirectURIs: []string{redirectURI}, Secrets: []string{clientSecret}, MayIntrospect: true},
		},
	})
	require.NoError(t, err)
	described, err := metadata.Handler()
	require.NoError(t, err)
	auth, err := middleware.New(middleware.Config{
		Keys:   middleware.Discover(h.url, middleware.JWKSOptions{InsecureAllowHTTP: true}),
		Issuer: h.url, Audience: []string{h.api}, Revocations: denied, ResourceMetadata: metadata.URL(), DPoP: ofAPI,
	})
	require.NoError(t, err)

	mux.Handle("/auth/", h.issuer)
	mux.Handle("/.well-known/", h.issuer.WellKnown())
	mux.Handle("/.well-known/oauth-protected-resource/", described)
	mux.HandleFunc("GET /authorize", h.authorize)
	mux.Handle("GET /api", auth.Handler(middleware.RequireScopes("api:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))))
	return h
}

// proofAlgorithms are those that proofs may be signed with by default.
var proofAlgorithms = []string{"ES256", "EdDSA", "Ed25519", "ES384", "PS256", "RS256"}

var alice = issuer.User{ID: "alice", Scopes: []string{"api:read"}}

// authorize stands for the page that logs alice in and asks her: she allows
// everything at once.
func (h *home) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	code, err := h.issuer.GrantCode(r.Context(), issuer.CodeRequest{
		ClientID: q.Get("client_id"), RedirectURI: q.Get("redirect_uri"), Scope: q.Get("scope"),
		CodeChallenge: q.Get("code_challenge"), CodeChallengeMethod: q.Get("code_challenge_method"), User: alice,
		DPoPJKT: q.Get("dpop_jkt"),
	})
	if err != nil {
		jwterrors.Responder{}.Respond(w, r, err)
		return
	}
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// login returns an access token of alice.
func (h *home) login(t *testing.T) string {
	t.Helper()
	resp, err := http.Post(h.url+"/auth/login", "application/json", strings.NewReader(`{"username":"alice","password":"an obviously fake password"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&tokens))
	require.NotEmpty(t, tokens.AccessToken)
	return tokens.AccessToken
}
