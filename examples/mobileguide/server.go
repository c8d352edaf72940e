package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

const (
	audience       = "mobile"
	user, password = "alice", "correct horse battery staple"
)

// A server is what the app talks to: the issuer and the API, and switches for what
// goes wrong with them.
type server struct {
	url   string
	clock story.Clock
	key   refresher.PublicKey // ships with the app
	http  *httptest.Server

	refreshes atomic.Int64 // calls of /auth/refresh
	refused   atomic.Int64 // answers of 401
	broken    atomic.Bool  // /auth/refresh answers 500
	denylist  *middleware.Denylist

	mu   sync.Mutex
	last string // the Authorization of the last call
	meet *meeting
}

func newServer() (*server, error) {
	s := &server{http: httptest.NewUnstartedServer(nil)}
	s.url = "http://" + s.http.Listener.Addr().String()
	s.denylist = middleware.NewDenylist(middleware.DenylistOptions{Now: s.clock.Now})
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := issuer.NewKey(private)
	if err != nil {
		return nil, err
	}
	s.key = refresher.PublicKey{ID: key.ID(), Key: private.Public()}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32)
	rand.Read(master)
	iss, err := issuer.New(issuer.Config{
		Issuer: s.url, Audience: []string{audience}, Keys: ring, MasterKeys: []issuer.MasterKey{{Secret: master}},
		Store: issuer.NewMemoryStore(), Denylist: s.denylist, Authenticate: authenticate,
		Claims: []string{"name", "roles"}, Now: s.clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(iss.JWKS), Issuer: s.url, Audience: []string{audience},
		Revocations: s.denylist, Leeway: middleware.NoLeeway, Now: s.clock.Now,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /auth/refresh", func(w http.ResponseWriter, r *http.Request) {
		s.refreshes.Add(1)
		if s.broken.Load() {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		iss.ServeHTTP(w, r)
	})
	mux.Handle("/auth/", iss)
	mux.Handle("GET /me", auth.Handler(http.HandlerFunc(me)))
	mux.Handle("GET /admin", auth.Handler(middleware.RequireScopes("admin")(http.HandlerFunc(me))))
	mux.Handle("GET /broken", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusInternalServerError)
	})))
	s.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(r)
		counted := &counting{ResponseWriter: w, refused: &s.refused}
		mux.ServeHTTP(counted, r)
	})
	s.http.Start()
	return s, nil
}

func authenticate(_ context.Context, c issuer.Credentials) (issuer.User, error) {
	if c.Username != user || c.Password != password {
		return issuer.User{}, jwterrors.CredentialsInvalid
	}
	return issuer.User{ID: user, Claims: map[string]any{"name": "Alice", "roles": []string{"reader", "writer"}}}, nil
}

func me(w http.ResponseWriter, r *http.Request) {
	claims, _ := middleware.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(claims.Subject) // a client that left needs no answer
}

// note remembers a call, and makes those wait that are to come together.
func (s *server) note(r *http.Request) {
	if r.URL.Path != "/me" {
		return
	}
	s.mu.Lock()
	s.last = r.Header.Get("Authorization")
	meet := s.meet
	s.mu.Unlock()
	if meet != nil {
		meet.wait(r.Context())
	}
}

func (s *server) lastToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// together makes the next n calls of the API wait for one another.
func (s *server) together(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meet = &meeting{missing: n, all: make(chan struct{})}
}

// A meeting is over when everybody has come. Who comes later does not wait.
type meeting struct {
	mu      sync.Mutex
	missing int
	all     chan struct{}
}

func (m *meeting) wait(ctx context.Context) {
	m.mu.Lock()
	m.missing--
	if m.missing == 0 {
		close(m.all)
	}
	m.mu.Unlock()
	select {
	case <-m.all:
	case <-ctx.Done():
	}
}

// counting counts answers of 401.
type counting struct {
	http.ResponseWriter
	refused *atomic.Int64
}

func (c *counting) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		c.refused.Add(1)
	}
	c.ResponseWriter.WriteHeader(status)
}

// invalidate ends the access token that is in use, and nothing else.
func (s *server) invalidate(ctx context.Context, a *app) error {
	tokens, ok := a.session.Tokens()
	if !ok {
		return errors.New("there are no tokens")
	}
	var claims struct{ Jti string }
	if err := tokens.UnverifiedClaims(&claims); err != nil {
		return err
	}
	return s.denylist.DenyToken(ctx, claims.Jti, s.clock.Now().Add(time.Hour))
}

// A network is that of the phone, which is not always there.
type network struct {
	gone atomic.Bool
	sent atomic.Int64
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if n.gone.Load() {
		return nil, fmt.Errorf("%s %s: there is no network", r.Method, r.URL.Path)
	}
	n.sent.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}
