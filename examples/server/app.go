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
	"github.com/tokenloop/tokenloop/middleware"
)

// An app is the whole server: the issuer, the API that it protects, and what
// they share.
type app struct {
	http.Handler
	ring     *issuer.KeyRing
	store    *storage
	feed     feed // nil where nothing is denied elsewhere
	denylist *middleware.Denylist
	events   *issuer.EventQueue
	alg      string
	keyFile  string // "" where keys are generated
	log      *slog.Logger
	now      func() time.Time
}

// requestTimeout is how long a request may wait for a database that does not
// answer. Then the answer is 503, and the client tries again.
const requestTimeout = 10 * time.Second

// maxDenylistAge is how long the API goes on without the database that says whose
// tokens were denied. Then it answers 503.
const maxDenylistAge = time.Minute

// triesOfAlice is more than the default: there is one user, and whoever tries the
// server out plays everybody who gets the password wrong.
var triesOfAlice = issuer.Budget{Attempts: 100, Every: time.Minute}

// newApp opens the store of the flags, which close closes.
func newApp(ctx context.Context, o options, log *slog.Logger) (*app, error) {
	a := &app{alg: o.alg, keyFile: o.keyFile, log: log, now: func() time.Time { return time.Now().Add(o.clockOffset) }}
	var err error
	if a.store, err = openStorage(ctx, o.store, a.now, log); err != nil {
		return nil, err
	}
	if err := a.build(ctx, o); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// build makes everything that is not the store.
func (a *app) build(ctx context.Context, o options) error {
	log := a.log
	key, secret, err := signingKey(o)
	if err != nil {
		return err
	}
	master, err := a.masterKey(o)
	if err != nil {
		return err
	}
	// The API asks the ring itself for keys, and other verifiers fetch a key
	// that they do not know: here a new key may sign at once.
	a.ring, err = issuer.NewKeyRing(issuer.KeyRingConfig{
		Key: key, PublishBefore: issuer.NoDelay, RetireAfter: o.accessTTL + time.Hour, Now: a.now,
	})
	if err != nil {
		return err
	}
	users, err := newUsers(ctx, a.store.accounts, log)
	if err != nil {
		return err
	}
	var denier issuer.Denier
	if a.store.feed == nil {
		a.denylist = middleware.NewDenylist(middleware.DenylistOptions{Now: a.now})
		denier = a.denylist
	} else {
		a.denylist = middleware.NewDenylist(middleware.DenylistOptions{MaxAge: maxDenylistAge, Now: a.now})
		if a.feed, err = a.store.feed(a.denylist); err != nil {
			return err
		}
		denier = a.feed
	}
	a.events, err = issuer.NewEventQueue(issuer.EventQueueConfig{Handle: a.event, Logger: log})
	if err != nil {
		return err
	}
	limits := issuer.Limits{Account: triesOfAlice, Limiter: a.store.limiter}
	switch {
	case o.unlimited:
		limits = issuer.Limits{InsecureOff: true}
	case limits.Limiter == nil:
		if limits.Limiter, err = issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Now: a.now}); err != nil {
			return err
		}
	}
	cookie := ""
	if o.browser {
		cookie = issuer.DefaultCookie
	}
	ofIssuer, ofAPI, err := a.proofs(o, master)
	if err != nil {
		return err
	}
	iss, err := issuer.New(issuer.Config{
		Issuer: o.issuer, Audience: []string{o.audience}, Keys: a.ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: a.store,
		Authenticate: users.Authenticate, Register: users.Register, Denylist: denier, ClientID: mobileID,
		AccessTTL: o.accessTTL, RefreshTTL: o.refreshTTL, Grace: orNegative(o.grace),
		Clients: clients(), Grants: []string{issuer.GrantRefreshToken, issuer.GrantClientCredentials, issuer.GrantAuthorizationCode},
		AuthorizationEndpoint: site(o.issuer) + authorizePath, DPoP: ofIssuer,
		Revocation: true, Introspection: true, ScopesSupported: scopes,
		Limits: limits, Cookie: cookie, Origins: o.origins,
		Logger: log, Now: a.now, OnEvent: a.events.Add,
	})
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	metadata, err := describe(mux, o)
	if err != nil {
		return err
	}
	keys := middleware.LocalJWKS(iss.JWKS)
	if secret != nil {
		keys = middleware.HS256(secret)
	}
	auth, err := middleware.New(middleware.Config{
		Keys: keys, Issuer: o.issuer, Audience: []string{o.audience}, Issuers: others(o.trust),
		Leeway: orNegative(o.leeway), Revocations: a.denylist, DPoP: ofAPI, Realm: "api", ResourceMetadata: metadata, Logger: log, Now: a.now,
	})
	if err != nil {
		return err
	}

	mux.Handle("/auth/", iss)
	mux.Handle("/.well-known/", iss.WellKnown())
	page := &consent{
		issuer: iss, authenticate: users.Authenticate, limiter: limits.Limiter, account: limits.Account, tell: a.events.Add, now: a.now,
	}
	mux.Handle(authorizePath, page.handler())
	mux.Handle("GET /api/me", auth.Handler(http.HandlerFunc(me)))
	mux.Handle("GET /api/read", auth.Handler(middleware.RequireScopes("api:read")(http.HandlerFunc(me))))
	mux.Handle("GET /api/admin", auth.Handler(middleware.RequireScopes("admin")(http.HandlerFunc(me))))
	recently := middleware.RequireAuthentication(middleware.Authentication{MaxAge: o.transferAge})
	mux.Handle("GET /api/transfer", auth.Handler(recently(http.HandlerFunc(me))))
	mux.Handle("POST /api/echo", auth.Handler(http.HandlerFunc(echo)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	if o.inspect {
		mux.Handle("GET /inspect", inspect(auth))
		mux.Handle("POST /inspect", inspect(auth))
	}
	if o.debug {
		mux.HandleFunc("GET /debug/runtime", debugRuntime)
	}
	a.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
	return nil
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
	}
	key, err := nextKey(o.alg, o.keyFile)
	return key, nil, err
}

// nextKey returns the key that is in file, or a new one without a file.
func nextKey(alg, file string) (*issuer.Key, error) {
	if file == "" {
		return issuer.GenerateKey(alg)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("-key-file: %w", err)
	}
	key, err := issuer.ParseKey(data)
	if err == nil && key.Algorithm() != alg {
		err = fmt.Errorf("-key-file holds a key for %s, and -alg is %s", key.Algorithm(), alg)
	}
	return key, err
}

// masterKey returns the key of the flags, or the one that is kept beside the
// sessions, or a new one.
func (a *app) masterKey(o options) ([]byte, error) {
	switch {
	case o.masterKeyFile == "" && a.store.keyFile != "":
		return keptKey(a.store.keyFile)
	case o.masterKeyFile == "" && !a.store.brief:
		a.log.Warn("sessions cannot be refreshed by other servers or after a restart: give them all one -master-key-file", "store", a.store.name)
	}
	return fileOrRandom("-master-key-file", o.masterKeyFile, 32)
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

	mobileLoopback = "http://127.0.0.1/callback" // with any port (RFC 8252, Section 7.3)
	mobileApp      = "com.example.mobile:/callback"
)

// scopes are what users and clients can be granted.
var scopes = []string{"api:read", "api:write"}

func clients() []issuer.Client {
	return []issuer.Client{
		{
			ID: appID, Secrets: []string{appSecret}, Scopes: scopes, MayIntrospect: true,
			Grants: []string{issuer.GrantRefreshToken, issuer.GrantClientCredentials},
		},
		{
			ID: mobileID, Scopes: scopes, RedirectURIs: []string{mobileLoopback, mobileApp},
			Grants: []string{issuer.GrantRefreshToken, issuer.GrantAuthorizationCode},
		},
	}
}

// background hears what other servers deny, until ctx is done.
func (a *app) background(ctx context.Context) {
	if a.feed != nil {
		_ = a.feed.Run(ctx) // its only error is that of ctx
	}
}

// inStep waits until it is known what other servers have denied.
func (a *app) inStep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for a.feed != nil {
		if _, ok := a.denylist.Age(); ok {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("-store: %s: it does not tell what was denied: %w", a.store.name, ctx.Err())
		}
	}
	return nil
}

// close is the last thing that happens to an app.
func (a *app) close() error { return a.store.close() }

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

// rotate lets another key sign.
func (a *app) rotate() error {
	if a.alg == issuer.HS256 {
		return errors.New("an HS256 secret is shared with verifiers and is not rotated at run time")
	}
	key, err := nextKey(a.alg, a.keyFile)
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
