package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

const (
	user, secret = "alice", "correct horse battery staple"
	audience     = "bank"

	byPassword     = "password" // the values of "acr"
	byTwoFactors   = "mfa"
	recentTransfer = 5 * time.Minute
)

// A server is an issuer and a bank.
type server struct {
	http *http.Server
	url  string

	asked atomic.Int32 // how many requests for a transfer have come

	mu   sync.Mutex
	used map[string]bool // one-time codes
	made []string        // transfers
}

func newServer(now func() time.Time) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + listener.Addr().String(), used: map[string]bool{}}
	handler, err := s.handler(now)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s.http = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.http.Serve(listener) }() // until Close
	return s, nil
}

func (s *server) handler(now func() time.Time) (http.Handler, error) {
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return nil, err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, Now: now})
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32)
	rand.Read(master)
	iss, err := issuer.New(issuer.Config{
		Issuer: s.url, Audience: []string{audience}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: issuer.NewMemoryStore(), Now: now,
		Authenticate: s.authenticate(now), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(iss.JWKS), Issuer: s.url, Audience: []string{audience}, Now: now,
	})
	if err != nil {
		return nil, err
	}
	strong := middleware.RequireAuthentication(middleware.Authentication{ACRValues: []string{byTwoFactors}, MaxAge: recentTransfer})
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("GET /balance", auth.Handler(http.HandlerFunc(balance)))
	transfer := auth.Handler(strong(http.HandlerFunc(s.transfer)))
	mux.HandleFunc("POST /transfers", func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		transfer.ServeHTTP(w, r)
	})
	return mux, nil
}

// authenticate takes a password, and the one-time code behind it where there is one.
func (s *server) authenticate(now func() time.Time) func(context.Context, issuer.Credentials) (issuer.User, error) {
	return func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
		given, second, two := c.Password, "", false
		if at := strings.LastIndexByte(c.Password, ' '); at == len(secret) {
			given, second, two = c.Password[:at], c.Password[at+1:], true
		}
		if c.Username != user || subtle.ConstantTimeCompare([]byte(given), []byte(secret)) != 1 {
			return issuer.User{}, jwterrors.CredentialsInvalid
		}
		if !two {
			return issuer.User{ID: user, ACR: byPassword}, nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.used[second] || !valid(second, now()) {
			return issuer.User{}, jwterrors.CredentialsInvalid
		}
		s.used[second] = true // RFC 6238, Section 5.2
		return issuer.User{ID: user, ACR: byTwoFactors}, nil
	}
}

func balance(w http.ResponseWriter, r *http.Request) {
	claims, _ := middleware.FromContext(r.Context())
	_, _ = io.WriteString(w, "the balance of "+claims.Subject+", who has logged in by "+claims.ACR)
}

// transfer makes the transfer that the body says.
func (s *server) transfer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.made = append(s.made, string(body))
	s.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

// transfers returns those that were made.
func (s *server) transfers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.made)
}
