package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

const (
	user, password = "alice", "correct horse battery staple"
	audience       = "api"
)

// A server is an issuer and an API. What goes to the API is seen by the thief.
type server struct {
	http *http.Server
	url  string

	mu     sync.Mutex
	seen   *http.Request  // the last one to the API
	events []issuer.Event // what the operator sees
	why    string         // the cause of the last refusal in the log of the API
}

func newServer() (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + listener.Addr().String()}
	handler, err := s.handler()
	if err != nil {
		return nil, fmt.Errorf("%w, %v", err, listener.Close())
	}
	s.http = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.http.Serve(listener) }() // until Close
	return s, nil
}

func (s *server) handler() (http.Handler, error) {
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
	iss, err := issuer.New(issuer.Config{
		Issuer: s.url, Audience: []string{audience}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: issuer.NewMemoryStore(),
		Authenticate: authenticate, OnEvent: s.note, Logger: slog.New(slog.DiscardHandler),
		DPoP: &issuer.DPoP{RequireNonce: true},
	})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(iss.JWKS), Issuer: s.url, Audience: []string{audience},
		DPoP:   &middleware.DPoP{RequireNonce: true, PublicURL: s.url},
		Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{ReplaceAttr: s.read})),
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	api := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		_, _ = io.WriteString(w, r.URL.Path+" of "+claims.Subject)
	}))
	mux.Handle("/api/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = r.Clone(context.Background())
		s.mu.Unlock()
		api.ServeHTTP(w, r)
	}))
	return mux, nil
}

func authenticate(_ context.Context, c issuer.Credentials) (issuer.User, error) {
	if c.Username != user || c.Password != password {
		return issuer.User{}, jwterrors.CredentialsInvalid
	}
	return issuer.User{ID: user}, nil
}

func (s *server) note(e issuer.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// read reads the log.
func (s *server) read(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "cause" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.why = a.Value.String()
	}
	return a
}

// cause returns why the last request was refused, which the client is not told.
func (s *server) cause() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// captured returns the last request to the API, with everything that is in it.
func (s *server) captured() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// told returns how many events of a kind there were about a session.
func (s *server) told(kind issuer.EventKind, sid string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == kind && e.SessionID == sid {
			n++
		}
	}
	return n
}
