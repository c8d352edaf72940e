package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/refresher"
)

// The story checks what it tells, over HTTP, with all the rooms between two
// clients and two servers: DC-03 and DC-04 (the middleware and the issuer wrap and
// are wrapped by what is there), DC-05 (100 calls, one refresh on either side),
// DC-06 (one list of reasons, from the upstream to the caller's client), DC-07, AX-04
// (no answer of a gateway but 401 makes a client refresh).
func TestStory(t *testing.T) {
	exampletest.Story(t, run, 6)
}

func newTestWorld(t *testing.T) *world {
	t.Helper()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	if err := w.alice.Login(t.Context(), refresher.Credentials{Username: "alice", Password: password}); err != nil {
		t.Fatal(err)
	}
	return w
}

// AX-18: the client of the user and the one of the gateway are instances of their
// own, for different APIs and with different logins, and wait for 60 seconds.
func TestTwoInstances(t *testing.T) {
	w := newTestWorld(t)
	if _, err := w.ask(t.Context(), w.client, "GET", "/orders", ""); err != nil {
		t.Fatal(err)
	}
	alice, _ := w.alice.Tokens()
	own, _ := w.own.Tokens()
	if alice.AccessToken == "" || own.AccessToken == "" || alice.AccessToken == own.AccessToken || alice.RefreshToken == "" || own.RefreshToken != "" {
		t.Errorf("the instances have %v and %v", alice, own)
	}
	if limit := w.client.Timeout; limit != 60*time.Second {
		t.Errorf("the client waits for %v", limit)
	}
	if err := w.alice.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if still, ok := w.own.Tokens(); !ok || still.AccessToken != own.AccessToken {
		t.Error("the logout of one is that of the other")
	}
}

// A preflight has no token, and none is added to it on the way.
func TestPreflights(t *testing.T) {
	w := newTestWorld(t)
	a, err := w.ask(t.Context(), http.DefaultClient, "OPTIONS", "/orders", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "GET", "X-User", "bob")
	if _, seen := w.last(); err != nil || a.status != http.StatusUnauthorized || seen != 0 {
		t.Errorf("got %d %v, and the upstream saw %d requests", a.status, err, seen)
	}
}

// A body is sent again where it is short. Where it is long or of unknown length,
// the caller is told to try again, and that helps.
func TestBodies(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   io.Reader
		length int
		again  bool
	}{
		{"none", nil, 0, true},
		{"short", strings.NewReader("book"), 4, true},
		{"at the limit", bytes.NewReader(make([]byte, maxRewind)), maxRewind, true},
		{"over the limit", bytes.NewReader(make([]byte, maxRewind+1)), maxRewind + 1, false},
		{"of unknown length", io.MultiReader(strings.NewReader("book")), 4, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTestWorld(t)
			if _, err := w.ask(t.Context(), w.client, "GET", "/orders", ""); err != nil {
				t.Fatal(err)
			}
			first, _ := w.last()
			if err := w.denylist.DenyToken(t.Context(), first.jti, time.Now().Add(accessTTL)); err != nil {
				t.Fatal(err)
			}
			a, err := w.stream(t.Context(), w.client, "POST", "/orders", c.body)
			if err != nil {
				t.Fatal(err)
			}
			if c.again {
				if a.status != http.StatusOK || len(a.body) < c.length {
					t.Errorf("got %d and %d bytes", a.status, len(a.body))
				}
				return
			}
			if a.status != http.StatusServiceUnavailable || a.reason != jwterrors.RefreshUnavailable || a.header.Get("Retry-After") == "" {
				t.Errorf("got %d %s", a.status, a.reason)
			}
			if a, err = w.ask(t.Context(), w.client, "POST", "/orders", "book"); err != nil || a.status != http.StatusOK {
				t.Errorf("then got %d %v", a.status, err)
			}
		})
	}
}

// An upstream that cannot be reached, and a client of the gateway that the issuer
// does not know any more, are no matter of the caller's token.
func TestWhatIsNotTheCallersFault(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  func(*world)
		status int
		reason jwterrors.Reason
	}{
		{"nobody listens", func(w *world) { w.servers[2].Close() }, 502, ""},
		{"the gateway has been closed", func(w *world) { _ = w.own.Close() }, 503, jwterrors.RefreshUnavailable},
		{"the issuer is gone", func(w *world) { w.servers[1].Close() }, 503, jwterrors.RefreshUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTestWorld(t)
			c.fault(w)
			renewals := w.renewals.Load()
			a, err := w.ask(t.Context(), w.client, "GET", "/orders", "")
			if err != nil || a.status != c.status || a.reason != c.reason || a.header.Get("WWW-Authenticate") != "" {
				t.Errorf("got %d %s %v, want %d %s", a.status, a.reason, err, c.status, c.reason)
			}
			if w.renewals.Load() != renewals {
				t.Error("the caller's client got a new token for it")
			}
		})
	}
}

// What the transport says to the gateway, the gateway does not say to the caller as
// if it were of the caller's token.
func TestRespond(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
	}{
		{"no token at the moment", &jwterrors.Error{Reason: jwterrors.TokenGenerationError}, 503},
		{"a wrong secret", &jwterrors.Error{Reason: jwterrors.ClientInvalid}, 502},
		{"a pause", &jwterrors.Error{Reason: jwterrors.Paused}, 502},
		{"a token that had expired when it came", &jwterrors.Error{Reason: jwterrors.TokenExpired}, 503},
		{"no patience", context.DeadlineExceeded, 504},
		{"no connection", errors.New("connection refused"), 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			respond(w, nil, c.err)
			if w.Code != c.status || w.Header().Get("WWW-Authenticate") != "" {
				t.Errorf("answered %d with %q, want %d", w.Code, w.Header(), c.status)
			}
		})
	}
}
