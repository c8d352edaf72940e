// Command iterable is a service with JWT-enabled API keys, in the manner of
// Iterable: a request carries the API key of a project and a token that names its
// user in "email" or "userId". It has three parts, each on a server of its own on
// loopback:
//
//   - api.go: the API. It refuses bad tokens with one of eleven reasons.
//   - backend.go: the app's own server, which alone knows the secret and gives
//     tokens to those who are logged in with it.
//   - client.go: the app, which asks that server for tokens when it needs them.
//
// The program plays what happens to them, checks what it tells, and ends within
// seconds: the three go by one clock, which it moves on.
//
//	go run ./examples/iterable
package main

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

func main() { story.Main("iterable", run) }

// run tells the story to out. Its error is the first thing that did not happen.
func run(ctx context.Context, out io.Writer) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	return story.Play(ctx, out, w, "JWT-enabled API keys: the API is "+w.app.api+" and the app's own server "+w.app.backend,
		identify, prefetched, refreshPeriod, invalidToken, reasons, networkFailure, tooOften, rotation, migration)
}

// The API keys: one of a project with tokens, and one of a project that still has
// plain API keys.
const (
	jwtKey   = "key-with-jwt"
	plainKey = "key-without-jwt"
)

// A world is the three servers, and what became of their decisions.
type world struct {
	clock   story.Clock
	secret  []byte // of jwtKey
	project *project
	legacy  *project // of plainKey
	backend *backend
	app     *app
	servers []*httptest.Server

	accepted  atomic.Int64 // successCallback
	refused   atomic.Int64 // failureCallback
	decisions tally

	mu       sync.Mutex
	failures []*jwterrors.Error // onJwtError
}

func newWorld() (*world, error) {
	w := &world{secret: newSecret()}
	w.project, w.legacy = newProject(w.secret, enforced), newProject(w.secret, plain)
	api, err := newAPI(map[string]*project{jwtKey: w.project, plainKey: w.legacy}, &w.decisions, w.clock.Now)
	if err != nil {
		return nil, err
	}
	if w.backend, err = newBackend(w.clock.Now, w.secret); err != nil {
		return nil, err
	}
	for _, a := range []account{
		{"1", issuer.Email("user@example.com"), true},
		{"2", issuer.UserID("user123"), true},
		{"3", issuer.UserID("unconfirmed"), false},
	} {
		w.backend.register("session of "+a.id, a) // random in a real app
	}
	w.app = &app{
		api: w.serve(api), backend: w.serve(w.backend), key: jwtKey, session: "session of 1",
		retryInterval: 10 * time.Millisecond, // 2 * time.Second in a real app
		onSuccess:     func() { w.accepted.Add(1) },
		onFailure:     func(jwterrors.Reason) { w.refused.Add(1) },
		onJwtError:    w.onJwtError,
		now:           w.clock.Now,
	}
	return w, nil
}

func newProject(secret []byte, at stage) *project {
	p := &project{
		stage: at, invalidated: map[middleware.UserKey]time.Time{}, onHold: map[middleware.UserKey]bool{},
		users: map[middleware.UserKey]bool{{Email: "user@example.com"}: true, {UserID: "user123"}: true, {UserID: "on hold"}: true},
	}
	p.onHold[middleware.UserKey{UserID: "on hold"}] = true
	p.setSecrets(secret)
	return p
}

func newSecret() []byte {
	secret := make([]byte, 32)
	rand.Read(secret)
	return secret
}

func (w *world) serve(h http.Handler) string {
	server := httptest.NewServer(h)
	w.servers = append(w.servers, server)
	return server.URL
}

func (w *world) close() {
	for _, server := range w.servers {
		server.Close()
	}
}

// onJwtError gets what the app would send to its monitoring: e has the reason, the
// user, the beginning of the token, and when it failed.
func (w *world) onJwtError(e *jwterrors.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, e)
}

// failed returns the first failure that onJwtError was told with that reason.
func (w *world) failed(reason jwterrors.Reason) *jwterrors.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.failures {
		if e.Reason == reason {
			return e
		}
	}
	return nil
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = nil
}

// A tally counts what the middleware decided, by reason.
type tally struct {
	mu sync.Mutex
	n  map[jwterrors.Reason]int
}

func (t *tally) Checked(_ context.Context, o middleware.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[jwterrors.Reason]int{}
	}
	t.n[o.Reason]++
}

func (t *tally) of(reason jwterrors.Reason) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[reason]
}
