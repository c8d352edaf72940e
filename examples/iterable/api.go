package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// A stage is how far a project has come on its way from plain API keys to tokens.
type stage int

const (
	plain    stage = iota // the API key is enough, and nobody looks at tokens
	observed              // the API key is enough, and it is reported who has no good token
	enforced              // the API key is not enough
)

// A project is one customer of the API, with its users and its API keys.
type project struct {
	mu          sync.Mutex
	stage       stage
	keys        middleware.KeySource // of the secrets that go with its API keys
	users       map[middleware.UserKey]bool
	invalidated map[middleware.UserKey]time.Time // whose tokens are good from then on only
	onHold      map[middleware.UserKey]bool
}

// setSecrets gives the project new secrets, newest first. One KeySource serves
// them until they change, so that the middleware can remember tokens.
func (p *project) setSecrets(secrets ...[]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = middleware.HS256(secrets...)
}

func (p *project) setStage(s stage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage = s
}

// invalidate ends the tokens of a user that were issued before now.
func (p *project) invalidate(key middleware.UserKey, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.invalidated[key] = now
}

// An api serves the messages of users: GET /api/inApp/getMessages?email=... or
// ?userId=..., with the project's API key in the field Api-Key.
type api struct {
	projects map[string]*project // by API key; fixed
	auth     *middleware.Middleware
}

// newAPI returns an API with the projects of these API keys. The observer is told
// of every decision about a token.
func newAPI(projects map[string]*project, observe middleware.Observer, now func() time.Time) (*api, error) {
	a := &api{projects: projects}
	var err error
	a.auth, err = middleware.New(middleware.Config{
		// The API key says whose secrets a token is signed with. Such tokens say
		// neither who made them nor for whom: the secret says it.
		Resolve: func(ctx context.Context, _ *http.Request, _ string) (middleware.Issuer, error) {
			p := projectOf(ctx)
			p.mu.Lock()
			defer p.mu.Unlock()
			return middleware.Issuer{Keys: p.keys, InsecureAnyIssuer: true, InsecureAnyAudience: true}, nil
		},
		TokenTypes: []string{"JWT"},
		UserKey: &middleware.UserKeyRule{
			Matches: func(_ context.Context, r *http.Request, key middleware.UserKey) (bool, error) {
				return key == asked(r), nil
			},
			Exists: func(ctx context.Context, key middleware.UserKey) (bool, error) {
				p := projectOf(ctx)
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.users[key], nil
			},
		},
		Validate: validate, Respond: respond, Observer: observe, Now: now,
	})
	return a, err
}

// validate knows what a token cannot: that it was invalidated, and that its user
// is on hold, for which the catalogue has no reason of its own.
func validate(ctx context.Context, c *middleware.Claims) error {
	key := middleware.UserKey{Email: c.Email, UserID: c.UserID}
	p := projectOf(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.IssuedAt.Before(p.invalidated[key]):
		return jwterrors.TokenInvalidated
	case p.onHold[key]:
		return errors.New("the user is on hold")
	}
	return nil
}

// ServeHTTP finds the project, and lets its stage decide about the token.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := a.projects[r.Header.Get("Api-Key")]
	if p == nil {
		answer(w, http.StatusUnauthorized, "BadApiKey", "Invalid API key")
		return
	}
	p.mu.Lock()
	at := p.stage
	p.mu.Unlock()
	next := http.Handler(http.HandlerFunc(messages))
	switch at {
	case observed:
		next = a.auth.Observe(next)
	case enforced:
		next = a.auth.Handler(next)
	}
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), projectKey{}, p)))
}

type projectKey struct{}

func projectOf(ctx context.Context) *project { return ctx.Value(projectKey{}).(*project) }

// asked returns the user that a request is about.
func asked(r *http.Request) middleware.UserKey {
	return middleware.UserKey{Email: r.FormValue("email"), UserID: r.FormValue("userId")}
}

func messages(w http.ResponseWriter, r *http.Request) {
	key := asked(r)
	write(w, http.StatusOK, map[string]any{"inAppMessages": []string{"hello " + key.Email + key.UserID}})
}

// respond keeps the body that the clients in the field know, with one code for
// everything that is wrong with a token. The reason stands in the challenge.
func respond(w http.ResponseWriter, r *http.Request, err error) {
	reason := jwterrors.ReasonOf(err)
	if reason.Status() != http.StatusUnauthorized {
		jwterrors.Responder{}.Respond(w, r, err)
		return
	}
	w.Header().Set("WWW-Authenticate", jwterrors.Responder{}.Challenge(err))
	answer(w, http.StatusUnauthorized, "InvalidJwtPayload", reason.Description())
}

func answer(w http.ResponseWriter, status int, code, msg string) {
	write(w, status, map[string]any{"code": code, "msg": msg, "params": nil})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left needs no answer
}
