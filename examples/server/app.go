package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
	"github.com/tokenloop/tokenloop/middleware"
)

// An app is the whole server: the issuer, the API that it protects, and what
// they share.
type app struct {
	http.Handler
	ring   *issuer.KeyRing
	store  *issuer.MemoryStore
	events *issuer.EventQueue
	alg    string
	log    *slog.Logger
	now    func() time.Time
}

// triesOfAlice is more than the default: there is one user, and whoever tries the
// server out plays everybody who gets the password wrong.
var triesOfAlice = issuer.Budget{Attempts: 100, Every: time.Minute}

func newApp(o options, log *slog.Logger) (*app, error) {
	a := &app{alg: o.alg, log: log, now: func() time.Time { return time.Now().Add(o.clockOffset) }}
	if o.store != "memory:" {
		return nil, fmt.Errorf("-store %q: only memory: exists so far", o.store)
	}
	a.store = &issuer.MemoryStore{Now: a.now}

	key, secret, err := signingKey(o)
	if err != nil {
		return nil, err
	}
	master, err := fileOrRandom("-master-key-file", o.masterKeyFile, 32)
	if err != nil {
		return nil, err
	}
	// The API asks the ring itself for keys, and other verifiers fetch a key
	// that they do not know: here a new key may sign at once.
	a.ring, err = issuer.NewKeyRing(issuer.KeyRingConfig{
		Key: key, PublishBefore: issuer.NoDelay, RetireAfter: o.accessTTL + time.Hour, Now: a.now,
	})
	if err != nil {
		return nil, err
	}
	users, err := newUsers(log)
	if err != nil {
		return nil, err
	}
	denylist := middleware.NewDenylist(middleware.DenylistOptions{Now: a.now})
	a.events, err = issuer.NewEventQueue(issuer.EventQueueConfig{Handle: a.event, Logger: log})
	if err != nil {
		return nil, err
	}
	cookie := ""
	if o.browser {
		cookie = issuer.DefaultCookie
	}
	iss, err := issuer.New(issuer.Config{
		Issuer: o.issuer, Audience: []string{o.audience}, Keys: a.ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: a.store,
		Authenticate: users.Authenticate, Denylist: denylist, ClientID: mobileID,
		AccessTTL: o.accessTTL, RefreshTTL: o.refreshTTL, Grace: orNegative(o.grace),
		Clients: clients(), Grants: []string{issuer.GrantRefreshToken, issuer.GrantClientCredentials},
		Revocation: true, Introspection: true, ScopesSupported: []string{"api:read", "api:write"},
		Limits: issuer.Limits{Account: triesOfAlice, InsecureOff: o.unlimited}, Cookie: cookie, Origins: o.origins,
		Logger: log, Now: a.now, OnEvent: a.events.Add,
	})
	if err != nil {
		return nil, err
	}

	keys := middleware.LocalJWKS(iss.JWKS)
	if secret != nil {
		keys = middleware.HS256(secret)
	}
	auth, err := middleware.New(middleware.Config{
		Keys: keys, Issuer: o.issuer, Audience: []string{o.audience}, Issuers: others(o.trust),
		Leeway: orNegative(o.leeway), Revocations: denylist, Realm: "api", Logger: log, Now: a.now,
	})
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("/.well-known/", iss.WellKnown())
	mux.Handle("GET /api/me", auth.Handler(http.HandlerFunc(me)))
	mux.Handle("GET /api/read", auth.Handler(middleware.RequireScopes("api:read")(http.HandlerFunc(me))))
	mux.Handle("GET /api/admin", auth.Handler(middleware.RequireScopes("admin")(http.HandlerFunc(me))))
	mux.Handle("POST /api/echo", auth.Handler(http.HandlerFunc(echo)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	if o.inspect {
		mux.Handle("GET /inspect", inspect(auth))
		mux.Handle("POST /inspect", inspect(auth))
	}
	a.Handler = mux
	return a, nil
}

// signingKey returns the key of the flags, or a new one, and the secret when it
// is for HS256.
func signingKey(o options) (*issuer.Key, []byte, error) {
	switch {
	case o.alg == issuer.HS256:
		if o.keyFile != "" {
			return nil, nil, errors.New("-key-file is for RS256, ES256 and EdDSA; HS256 has -secret-file")
		}
		secret, err := fileOrRandom("-secret-file", o.secretFile, 32)
		if err != nil {
			return nil, nil, err
		}
		key, err := issuer.NewSecretKey(secret)
		return key, secret, err
	case o.secretFile != "":
		return nil, nil, errors.New("-secret-file is for HS256 alone")
	case o.keyFile == "":
		key, err := issuer.GenerateKey(o.alg)
		return key, nil, err
	}
	data, err := os.ReadFile(o.keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("-key-file: %w", err)
	}
	key, err := issuer.ParseKey(data)
	if err == nil && key.Algorithm() != o.alg {
		err = fmt.Errorf("-key-file holds a key for %s, and -alg is %s", key.Algorithm(), o.alg)
	}
	return key, nil, err
}

// fileOrRandom returns the bytes of a file, or n random ones without a file.
func fileOrRandom(flag, name string, n int) ([]byte, error) {
	if name == "" {
		b := make([]byte, n)
		rand.Read(b)
		return b, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if len(b) < n {
		return nil, fmt.Errorf("%s: the file has %d bytes, and %d are needed", flag, len(b), n)
	}
	return b, nil
}

// others are the issuers of -trust. This server is for tests on one machine, so
// their keys may come over plain HTTP.
func others(trust []trusted) []middleware.Issuer {
	var all []middleware.Issuer
	for _, t := range trust {
		all = append(all, middleware.Issuer{
			Issuer: t.issuer, Audience: []string{t.audience},
			Keys: middleware.JWKS(t.jwks, middleware.JWKSOptions{InsecureAllowHTTP: true}),
		})
	}
	return all
}

// The clients of the server. A real one has their secrets from its configuration.
const (
	appID     = "app"
	appSecret = "app-secret-app-secret-app-secret"
	mobileID  = "mobile"
)

func clients() []issuer.Client {
	return []issuer.Client{
		{
			ID: appID, Secrets: []string{appSecret}, Scopes: []string{"api:read", "api:write"}, MayIntrospect: true,
			Grants: []string{issuer.GrantRefreshToken, issuer.GrantClientCredentials},
		},
		{ID: mobileID, Grants: []string{issuer.GrantRefreshToken}},
	}
}

// The one user of the server.
const (
	userName     = "alice"
	userPassword = "correct horse battery staple"
)

// newUsers returns a directory of one user. A real one asks a database.
func newUsers(log *slog.Logger) (*password.Authenticator, error) {
	hasher, err := password.New(password.Config{})
	if err != nil {
		return nil, err
	}
	hash, err := hasher.Hash(context.Background(), userPassword)
	if err != nil {
		return nil, err
	}
	alice := password.Account{User: issuer.User{ID: userName, Scopes: []string{"api:read", "api:write"}}, Hash: hash}
	return password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: hasher, Logger: log,
		Lookup: func(_ context.Context, c issuer.Credentials) (password.Account, error) {
			if c.Username != userName {
				return password.Account{}, nil
			}
			return alice, nil
		},
	})
}

// background removes expired sessions until ctx is done.
func (a *app) background(ctx context.Context) {
	_ = a.store.Run(ctx) // its only error is that of ctx
}

// event writes the audit log.
func (a *app) event(e issuer.Event) {
	attrs := []any{"kind", e.Kind, "at", e.Time, "sub", e.Subject, "sid", e.SessionID, "address", e.Address, "reason", e.Reason}
	if e.Err != nil {
		a.log.Error("event", append(attrs, "err", e.Err)...)
		return
	}
	a.log.Info("event", attrs...)
}

// tell writes events until ctx is done, and then those that are left.
func (a *app) tell(ctx context.Context) {
	_ = a.events.Run(ctx) // its only error is that of ctx
	if n := a.events.Dropped(); n > 0 {
		a.log.Warn("events were dropped", "count", n)
	}
}

// rotate lets a new key sign.
func (a *app) rotate() error {
	if a.alg == issuer.HS256 {
		return errors.New("an HS256 secret is shared with verifiers and is not rotated at run time")
	}
	key, err := issuer.GenerateKey(a.alg)
	if err != nil {
		return err
	}
	from, err := a.ring.Rotate(key)
	if err != nil {
		return err
	}
	a.log.Info("a new key signs", "kid", key.ID(), "from", from)
	return nil
}

// me answers the claims of the token.
func me(w http.ResponseWriter, r *http.Request) {
	claims, _ := middleware.FromContext(r.Context())
	var all map[string]any
	if err := claims.Decode(&all); err != nil {
		http.Error(w, "the claims cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(all)
}

// echo answers the body, up to 1 MiB of it.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "the body is too large or broke off", http.StatusRequestEntityTooLarge)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(body)
}
