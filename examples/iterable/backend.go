package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// tokenTTL is how long a token lives, and reuse for how long who asks again gets
// the same one.
const (
	tokenTTL = time.Hour
	reuse    = 10 * time.Minute
)

// budget is how often a user may ask for a token.
var budget = issuer.Budget{Attempts: 10, Every: 30 * time.Second}

// A backend is the app's own server. It alone knows the secret of the API key, and
// gives a token to who is logged in with it: POST /jwt {"userId": "..."} or
// {"email": "..."}, with the session of the app, answers {"token": "..."}.
type backend struct {
	minter   atomic.Pointer[issuer.Minter]
	limiter  *issuer.MemoryLimiter
	sessions map[[32]byte]account // by the hash of their token; fixed
	now      func() time.Time

	asked  atomic.Int64 // how often a token was asked for
	down   atomic.Bool  // to show what happens then
	broken atomic.Bool
}

// An account is a user of the app.
type account struct {
	id        string
	user      issuer.Identity
	confirmed bool // who is not gets no token
}

func newBackend(now func() time.Time, secret []byte) (*backend, error) {
	b := &backend{sessions: map[[32]byte]account{}, now: now}
	var err error
	if b.limiter, err = issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Now: now}); err != nil {
		return nil, err
	}
	return b, b.setSecrets(secret)
}

// setSecrets makes tokens with the first secret from now on.
func (b *backend) setSecrets(secrets ...[]byte) error {
	m, err := issuer.NewMinter(issuer.MinterConfig{Secrets: secrets, TTL: tokenTTL, Reuse: reuse, Now: b.now})
	if err != nil {
		return err
	}
	b.minter.Store(m)
	return nil
}

// register begins a session of the app, as its login would.
func (b *backend) register(session string, a account) {
	b.sessions[sha256.Sum256([]byte(session))] = a
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.asked.Add(1)
	if b.down.Load() {
		http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
		return
	}
	session, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	who, ok := b.sessions[sha256.Sum256([]byte(session))]
	if !ok {
		jwterrors.Responder{Realm: "app"}.Respond(w, r, jwterrors.TokenGenericError)
		return
	}
	wait, err := b.limiter.Take(r.Context(), who.id, budget)
	switch {
	case err != nil:
		jwterrors.Responder{}.Respond(w, r, &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: err})
		return
	case wait > 0:
		jwterrors.Responder{}.Respond(w, r, &jwterrors.Error{Reason: jwterrors.RateLimited, RetryAfter: wait})
		return
	}
	var body struct{ Email, UserID string }
	err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body)
	if err != nil || r.Header.Get("Content-Type") != "application/json" || r.Method != http.MethodPost {
		jwterrors.Responder{}.Respond(w, r, jwterrors.RequestInvalid)
		return
	}
	user := issuer.UserID(body.UserID)
	if body.Email != "" {
		user = issuer.Email(body.Email)
	}
	if user != who.user { // a session gets tokens of its own user alone
		jwterrors.Responder{}.Respond(w, r, jwterrors.ScopeInsufficient)
		return
	}
	var token *string // null for who may not have one
	if who.confirmed {
		minted, err := b.minter.Load().Mint(r.Context(), user)
		if err != nil {
			jwterrors.Responder{}.Respond(w, r, err)
			return
		}
		if b.broken.Load() {
			minted = string(bytes.Repeat([]byte("x"), len(minted)))
		}
		token = &minted
	}
	write(w, http.StatusOK, map[string]*string{"token": token})
}
