package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/issuer"
)

// The story checks what it tells, over HTTP: JWT is off by default (MO-01), two
// instances share nothing (MO-02), the app hands in tokens with whose they are
// (MO-03), looks at them when it is launched (MO-04), is told of errors and hands
// in another token from inside (MO-05) by a listener that came late (MO-08), in the
// documented form (MO-07); a report waits for that token and no longer (MO-09); ten
// failures in a row end the attempts (MO-10), a success ends the count (MO-11), and
// a new session the pause (MO-12); a logout deletes (MO-13); keys and enforcement
// are managed at run time (MO-14, MO-15), and nobody in particular needs no token
// (MO-16).
func TestStory(t *testing.T) {
	exampletest.Story(t, run, 8)
}

func newTestWorld(t *testing.T) *world {
	t.Helper()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}

// MO-06: what the listener gets has a code, a description, the token, the user, the
// app and the time, and is told from other errors by its type; the reason, by its
// own.
func TestTheErrorOfTheListener(t *testing.T) {
	w := newTestWorld(t)
	c, err := w.sdk(testApp, nil)
	if err != nil {
		t.Fatal(err)
	}
	forger, err := issuer.GenerateKey(issuer.RS256)
	if err != nil {
		t.Fatal(err)
	}
	minter, err := issuer.NewMinter(issuer.MinterConfig{Key: forger, Claims: map[string]any{"aud": testApp}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := minter.Mint(t.Context(), issuer.UserID(user))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.login(t.Context(), user, token); err != nil {
		t.Fatal(err)
	}
	told := w.refused(t.Context(), c)
	if told == nil {
		t.Fatal("the listener was told nothing")
	}
	err = told // as one gets it from elsewhere
	var e *jwterrors.Error
	var reason jwterrors.Reason
	if !errors.As(err, &e) || !errors.As(err, &reason) {
		t.Fatalf("the listener got %T", err)
	}
	if reason != jwterrors.TokenKeyUnknown || e.Status != 401 || e.Reason.Description() == "" || e.Token != token[:20]+"..." ||
		e.Identity != user || e.App != testApp || time.Since(e.Time) > time.Minute {
		t.Errorf("the listener got %+v", e)
	}
	if strings.Contains(e.String()+e.Error(), token[:21]) {
		t.Error("more than 20 characters of the token are shown")
	}
}

// MO-05, MO-08, MO-09: while the key is replaced, 50 reports of 50 instances are
// under way, and listeners come and go; everybody gets a token, and nothing waits
// for ever.
func TestListenersUnderLoad(t *testing.T) {
	w := newTestWorld(t)
	token, err := w.fetch(t.Context(), testApp, user)
	if err != nil {
		t.Fatal(err)
	}
	old := w.keys[testApp]
	key, err := w.newKey(testApp)
	if err == nil {
		err = w.signWith(testApp, key)
	}
	if err == nil {
		err = w.dashboard(testApp, "DELETE", "/dashboard/keys/"+old.ID(), "")
	}
	if err != nil {
		t.Fatal(err)
	}
	listener := func(c *sdk, _ *jwterrors.Error) {
		token, err := w.fetch(context.Background(), testApp, user)
		if err == nil {
			_ = c.passAuthenticationDetails(context.Background(), token, user)
		}
	}
	const many = 50
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			c, err := w.sdk(testApp, nil)
			if err == nil {
				c.registerAuthenticationListener(listener)
				err = c.login(t.Context(), user, token)
			}
			if err != nil {
				t.Error(err)
				return
			}
			again := make(chan struct{})
			go func() {
				defer close(again)
				for range 100 {
					c.registerAuthenticationListener(func(*sdk, *jwterrors.Error) {})()
				}
			}()
			c.track()
			if err := c.sync(t.Context()); err != nil {
				t.Error(err)
			}
			<-again
		})
	}
	all.Wait()
	if n := w.accounts[testApp].synced.Load(); n != many {
		t.Errorf("%d reports were taken, of %d", n, many)
	}
	if n := w.asked.Load(); n != many+1 {
		t.Errorf("%d tokens were made, want one for each instance and the first", n)
	}
}

// MO-12: in the pause nothing is sent, also when a good token is there; the next
// session uses it.
func TestAPauseLastsUntilTheNextSession(t *testing.T) {
	w := newTestWorld(t)
	c, err := w.sdk(testApp, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := w.fetch(t.Context(), testApp, user)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.login(t.Context(), user, ""); err != nil {
		t.Fatal(err)
	}
	c.failed(&jwterrors.Error{Reason: jwterrors.Paused})
	if err := c.passAuthenticationDetails(t.Context(), token, user); err != nil {
		t.Fatal(err)
	}
	c.track()
	if err := c.sync(t.Context()); !errors.Is(err, jwterrors.Paused) || w.requests.Load() != 0 {
		t.Errorf("in the pause: %v, and %d requests", err, w.requests.Load())
	}
	c.newSession()
	if err := c.sync(t.Context()); err != nil || w.accounts[testApp].synced.Load() != 1 {
		t.Errorf("in the next session: %v", err)
	}
}

// MO-14, MO-15: what the dashboard does not take changes nothing.
func TestTheDashboardRefuses(t *testing.T) {
	w := newTestWorld(t)
	for _, c := range []struct {
		name, app, password, method, path, body string
		status                                  int
	}{
		{"no password", testApp, "", "PUT", "/dashboard/enforcement", `{"enforce": false}`, 401},
		{"a wrong password", testApp, "x", "PUT", "/dashboard/enforcement", `{"enforce": false}`, 401},
		{"an app that does not exist", "x", dashboardKey, "PUT", "/dashboard/enforcement", `{"enforce": false}`, 403},
		{"no JSON", testApp, dashboardKey, "PUT", "/dashboard/enforcement", `{`, 400},
		{"a key without a name", testApp, dashboardKey, "POST", "/dashboard/keys", `{"public_key": "x"}`, 400},
		{"a key that is none", testApp, dashboardKey, "POST", "/dashboard/keys", `{"kid": "x", "public_key": "x"}`, 400},
		{"a key that is too short", testApp, dashboardKey, "POST", "/dashboard/keys", `{"kid": "x", "public_key": "` + short + `"}`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, err := w.call(c.app, c.password, c.method, c.path, c.body)
			if err != nil || status != c.status {
				t.Errorf("got %d %v, want %d", status, err, c.status)
			}
		})
	}
	a := w.accounts[testApp]
	if !a.enforce || len(a.listed) != 1 {
		t.Errorf("the account was changed: enforce %t, %d keys", a.enforce, len(a.listed))
	}
}

// MO-03, MO-16: a token goes with its user, whom the request names. Nobody needs
// none, but a bad one is refused also of nobody.
func TestWhoseReport(t *testing.T) {
	w := newTestWorld(t)
	token, err := w.fetch(t.Context(), testApp, user)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, token, identifier string
		status                  int
	}{
		{"the user's", token, user, 204},
		{"another user's", token, "user124", 401},
		{"the user's, without a token", "", user, 401},
		{"nobody's", "", "", 204},
		{"nobody's, with a token of the user", token, "", 401},
		{"nobody's, with a token that is none", "x", "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, err := w.call(testApp, c.token, "POST", "/sdk/report?identifier="+c.identifier, "")
			if err != nil || status != c.status {
				t.Errorf("got %d %v, want %d", status, err, c.status)
			}
		})
	}
}

// short is the public half of an RSA key of 512 bits.
const short = `-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAN7pF47pNJTqu61jqWp/9Q/6QuZEpPis\nfuFuvyU+JnBLN2U0ENJNxW9Nwtn2OwVQTgpfchEi+QYvuI1ug+VG9qMCAwEAAQ==\n-----END PUBLIC KEY-----\n`
