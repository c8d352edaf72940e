package main

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

// appSecret is what the client "app" proves itself with.
const appSecret = "app-secret-app-secret-app-secret"

// A server is an issuer whose page lets alice in without asking, and an API. In real
// life both are somewhere else; examples/server has a page that asks.
type server struct {
	*httptest.Server
	issuer   *issuer.Issuer
	denylist *middleware.Denylist
	grants   atomic.Int64 // requests for tokens
}

// alice is the only user.
var alice = issuer.User{ID: "alice", Scopes: []string{"api:read"}}

func newServer() (s *server, err error) {
	mux := http.NewServeMux()
	s = &server{Server: httptest.NewServer(mux), denylist: middleware.NewDenylist(middleware.DenylistOptions{})}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return nil, err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32)
	rand.Read(master)
	s.issuer, err = issuer.New(issuer.Config{
		Issuer: s.URL, Audience: []string{"api"}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: issuer.NewMemoryStore(), Denylist: s.denylist,
		Authenticate: func(context.Context, issuer.Credentials) (issuer.User, error) {
			return issuer.User{}, jwterrors.CredentialsInvalid // there is no login but that of the page
		},
		Grants: []string{issuer.GrantRefreshToken, issuer.GrantClientCredentials, issuer.GrantAuthorizationCode},
		Clients: []issuer.Client{
			{ID: "mobile", Scopes: []string{"api:read"}, RedirectURIs: []string{"http://127.0.0.1/callback"}, Grants: []string{issuer.GrantRefreshToken, issuer.GrantAuthorizationCode}},
			{ID: "app", Secrets: []string{appSecret}, Scopes: []string{"api:read"}, Grants: []string{issuer.GrantClientCredentials}},
		},
		AuthorizationEndpoint: s.URL + "/authorize",
	})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(s.issuer.JWKS), Issuer: s.URL, Audience: []string{"api"}, Revocations: s.denylist,
	})
	if err != nil {
		return nil, err
	}
	mux.HandleFunc("/auth/", func(w http.ResponseWriter, r *http.Request) {
		s.grants.Add(1)
		s.issuer.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.Handle("GET /api", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		_, _ = io.WriteString(w, claims.Subject+" "+claims.ClientID) // a client that left needs no answer
	})))
	return s, nil
}

// authorize sends the browser back with a code.
func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	code, err := s.issuer.GrantCode(r.Context(), issuer.CodeRequest{
		ClientID: q.Get("client_id"), RedirectURI: q.Get("redirect_uri"), Scope: q.Get("scope"), User: alice,
		CodeChallenge: q.Get("code_challenge"), CodeChallengeMethod: q.Get("code_challenge_method"),
	})
	if err != nil {
		http.Error(w, "this request is not granted", http.StatusBadRequest)
		return
	}
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}
