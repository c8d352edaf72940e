package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// An account is an app that is registered with the service: its public keys, and
// how strict the service is with it. Both are changed at run time.
type account struct {
	mu      sync.Mutex
	listed  []middleware.PublicKey
	keys    middleware.KeySource // of listed; nil while that is empty
	enforce bool                 // else tokens are only looked at
	strict  bool                 // requests of nobody in particular need a token, too

	synced atomic.Int64 // how many reports came in
}

func (a *account) source() middleware.KeySource {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keys
}

// setKeys replaces the keys. The middleware is given one KeySource until they
// change, so that it can remember tokens.
func (a *account) setKeys(keys []middleware.PublicKey) {
	a.listed, a.keys = keys, nil
	if len(keys) > 0 {
		a.keys = middleware.PublicKeys(keys...)
	}
}

// An api takes the reports of apps:
//
//	POST /sdk/report?identifier=...  with the field App-Key, and a token
//	POST /dashboard/keys             {"kid", "public_key"} adds a key in PEM
//	DELETE /dashboard/keys/{kid}     removes it
//	PUT /dashboard/enforcement       {"enforce", "strict"}
//
// The routes of the dashboard want the field App-Key, too, and the dashboard's own
// password.
type api struct {
	accounts map[string]*account // by app key; fixed
	auth     *middleware.Middleware
	password [32]byte // of the dashboard, hashed
}

func newAPI(accounts map[string]*account, password string, observer middleware.Observer, now func() time.Time) (http.Handler, error) {
	a := &api{accounts: accounts, password: sha256.Sum256([]byte(password))}
	var err error
	a.auth, err = middleware.New(middleware.Config{
		Resolve: func(ctx context.Context, r *http.Request, _ string) (middleware.Issuer, error) {
			// The keys are those of the app that the request names. Its tokens say
			// no issuer: whoever has the private key is one.
			return middleware.Issuer{
				Keys: a.account(r).source(), Audience: []string{r.Header.Get("App-Key")}, InsecureAnyIssuer: true,
			}, nil
		},
		UserKey: &middleware.UserKeyRule{
			Matches: func(_ context.Context, r *http.Request, key middleware.UserKey) (bool, error) {
				return key.UserID == identifier(r), nil
			},
		},
		Observer: observer, Now: now,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sdk/report", a.report)
	mux.HandleFunc("POST /dashboard/keys", a.dashboard(addKey))
	mux.HandleFunc("DELETE /dashboard/keys/{kid}", a.dashboard(removeKey))
	mux.HandleFunc("PUT /dashboard/enforcement", a.dashboard(setEnforcement))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.account(r) == nil {
			http.Error(w, "no such app", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

func (a *api) account(r *http.Request) *account { return a.accounts[r.Header.Get("App-Key")] }

func identifier(r *http.Request) string { return r.URL.Query().Get("identifier") }

// report takes what an app reports of a user, or of nobody in particular.
func (a *api) report(w http.ResponseWriter, r *http.Request) {
	acc := a.account(r)
	acc.mu.Lock()
	enforce, strict := acc.enforce, acc.strict
	acc.mu.Unlock()
	take := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		acc.synced.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	switch {
	case !enforce:
		take = a.auth.Observe(take)
	case identifier(r) == "" && !strict:
		take = a.auth.Optional(take)
	default:
		take = a.auth.Handler(take)
	}
	take.ServeHTTP(w, r)
}

// dashboard is for who knows its password.
func (a *api) dashboard(change func(*account, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		password, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if sum := sha256.Sum256([]byte(password)); subtle.ConstantTimeCompare(sum[:], a.password[:]) != 1 {
			jwterrors.Responder{Realm: "dashboard"}.Respond(w, r, jwterrors.TokenGenericError)
			return
		}
		acc := a.account(r)
		acc.mu.Lock()
		defer acc.mu.Unlock()
		if err := change(acc, r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func addKey(a *account, r *http.Request) error {
	var body struct {
		KID string `json:"kid"`
		Key string `json:"public_key"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 16<<10)).Decode(&body); err != nil || body.KID == "" {
		return errors.New("a key has a kid and a public_key")
	}
	block, rest := pem.Decode([]byte(body.Key))
	if block == nil || block.Type != "PUBLIC KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return errors.New("the public_key is one block PUBLIC KEY in PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return errors.New("the public_key cannot be read")
	}
	keys := append(slices.Clone(a.listed), middleware.PublicKey{ID: body.KID, Algorithm: "RS256", Key: key})
	if err := usable(keys); err != nil {
		return err
	}
	a.setKeys(keys)
	return nil
}

// usable says what a Middleware would say of keys. A public key is no secret, and
// neither is what is wrong with it.
func usable(keys []middleware.PublicKey) error {
	_, err := middleware.New(middleware.Config{
		Keys: middleware.PublicKeys(keys...), InsecureAnyIssuer: true, InsecureAnyAudience: true,
	})
	return err
}

func removeKey(a *account, r *http.Request) error {
	kid := r.PathValue("kid")
	a.setKeys(slices.DeleteFunc(slices.Clone(a.listed), func(k middleware.PublicKey) bool { return k.ID == kid }))
	return nil
}

func setEnforcement(a *account, r *http.Request) error {
	var body struct{ Enforce, Strict bool }
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&body); err != nil {
		return errors.New("it is {\"enforce\": true or false, \"strict\": true or false}")
	}
	a.enforce, a.strict = body.Enforce, body.Strict
	return nil
}
