package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/refresher"
)

const user = "user123"

// accepted reports something of the user, or of nobody, and says whether the
// service took it.
func (w *world) accepted(ctx context.Context, c *sdk, app string) bool {
	before := w.accounts[app].synced.Load()
	c.track()
	return c.sync(ctx) == nil && w.accounts[app].synced.Load() == before+1
}

// refused reports something of the user, whom the service refuses, and returns what
// the listener is told. It does not wait for another token.
func (w *world) refused(ctx context.Context, c *sdk) *jwterrors.Error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var told atomic.Pointer[jwterrors.Error]
	defer c.registerAuthenticationListener(func(_ *sdk, e *jwterrors.Error) {
		told.Store(e)
		cancel()
	})()
	c.track()
	if err := c.sync(ctx); err == nil {
		return nil
	}
	<-ctx.Done()
	return told.Load()
}

func switchedOn(ctx context.Context, s *story.Story, w *world) {
	s.Begin("isJwtEnabled is switched on by configuration")
	off, err := w.sdk(testApp, func(c *sdkConfig) { c.jwt = false })
	s.Must(err)
	off.registerAuthenticationListener(func(*sdk, *jwterrors.Error) { s.Tell(false, "there is a callback") })
	s.Must(off.login(ctx, user, ""))
	off.track()
	err = off.sync(ctx)
	s.Tell(errors.Is(err, jwterrors.TokenMissing), "Without it a report of %s has no token: %s.", user, jwterrors.ReasonOf(err))

	on, err := w.sdk(testApp, nil)
	if s.Must(err); err != nil {
		return
	}
	s.Tell(w.accepted(ctx, on, testApp), "What is reported of nobody in particular needs none.")
	token, err := w.fetch(ctx, testApp, user)
	s.Must(err)
	s.Must(on.login(ctx, user, token))
	s.Tell(w.accepted(ctx, on, testApp), "The app logs %s in with a token of its own server, and the report is taken.", user)

	s.Must(w.dashboard(testApp, "PUT", "/dashboard/enforcement", `{"enforce": true, "strict": true}`))
	s.Must(on.logout(ctx))
	on.track()
	err = on.sync(ctx)
	s.Tell(errors.Is(err, jwterrors.TokenMissing), "If the dashboard says so, what is reported of nobody needs a token, too: %s.", jwterrors.ReasonOf(err))
	s.Must(w.dashboard(testApp, "PUT", "/dashboard/enforcement", `{"enforce": true, "strict": false}`))
}

func instances(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Two instances, for the test app and for the live app")
	test, err := w.sdk(testApp, nil)
	s.Must(err)
	live, err := w.sdk(liveApp, nil)
	if s.Must(err); err != nil {
		return
	}
	for _, c := range []struct {
		sdk *sdk
		app string
	}{{test, testApp}, {live, liveApp}} {
		token, err := w.fetch(ctx, c.app, user)
		s.Must(err)
		s.Must(c.sdk.login(ctx, user, token))
		s.Tell(w.accepted(ctx, c.sdk, c.app), "%s has its own keys, its own token and its own user.", c.app)
	}
	s.Must(test.logout(ctx))
	s.Tell(w.accepted(ctx, live, liveApp), "The logout of one is no matter of the other.")

	astray, err := w.sdk(liveApp, nil)
	if s.Must(err); err != nil {
		return
	}
	token, err := w.fetch(ctx, testApp, user)
	s.Must(err)
	s.Must(astray.login(ctx, user, token))
	e := w.refused(ctx, astray)
	s.Tell(e != nil && e.Reason == jwterrors.TokenKeyUnknown && e.App == liveApp, "A token of the test app is refused by the live one, whose listener is told why: %s.", jwterrors.TokenKeyUnknown)
}

func listener(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The listener is told of an error, and hands in a new token")
	c, err := w.sdk(testApp, nil)
	if s.Must(err); err != nil {
		return
	}
	s.Must(c.login(ctx, user, ""))
	var shown atomic.Pointer[string]
	c.registerAuthenticationListener(func(c *sdk, e *jwterrors.Error) { // late, and it is told all the same
		shown.Store(new(e.String()))
		token, err := w.fetch(ctx, testApp, user)
		if err == nil {
			_ = c.passAuthenticationDetails(ctx, token, user) // from inside: nothing waits for the listener
		}
	})
	token, err := w.fetch(ctx, testApp, user)
	s.Must(err)
	s.Must(c.passAuthenticationDetails(ctx, token, user))
	s.Tell(w.accepted(ctx, c, testApp), "A report is taken.")
	err = c.passAuthenticationDetails(ctx, token, "somebody else")
	s.Tell(errors.Is(err, jwterrors.TokenUserKeyInvalid), "A token goes with its identifier, and not with another one: %s.", jwterrors.ReasonOf(err))
	s.Must(c.login(ctx, user, token))

	// The key of the token goes: the service says no, whatever the clock says.
	key, err := w.newKey(testApp)
	if s.Must(err); err != nil {
		return
	}
	old := w.keys[testApp]
	s.Must(w.signWith(testApp, key))
	s.Must(w.dashboard(testApp, "DELETE", "/dashboard/keys/"+old.ID(), ""))
	requests, asked := w.requests.Load(), w.asked.Load()
	shown.Store(nil)
	s.Tell(w.accepted(ctx, c, testApp), "Its key is gone: the report waits for another token, and is taken with that.")
	s.Tell(w.requests.Load() == requests+2 && w.asked.Load() == asked+1, "That was one report that was refused, one token, and the report once more.")
	s.Until(ctx, func() bool { return shown.Load() != nil }, "The listener has printed, with 20 characters of the token and no more:")
	if line := shown.Load(); line != nil {
		want := "401 AUTH_TOKEN_KEY_UNKNOWN: The token was signed with an unknown key. (token: " + token[:20] + "..., identifier: user123, message: No message)"
		s.Tell(*line == want, "%s", *line)
	}
	bare := &jwterrors.Error{Reason: jwterrors.TokenGenericError}
	s.Tell(bare.String() == "401 AUTH_TOKEN_GENERIC_ERROR: The token was refused. (token: No token, identifier: No identifier, message: No message)", "%s", bare.String())
}

func laterLaunch(ctx context.Context, s *story.Story, w *world) {
	s.Begin("A later launch looks at the token before the first request")
	store := &refresher.MemoryStore{} // a file, or the keychain, in a real app
	with := func(c *sdkConfig) { c.store = store }
	first, err := w.sdk(testApp, with)
	s.Must(err)
	token, err := w.fetch(ctx, testApp, user)
	s.Must(err)
	s.Must(first.login(ctx, user, token))
	w.clock.Advance(tokenTTL)

	second, err := w.sdk(testApp, with)
	if s.Must(err); err != nil {
		return
	}
	who, expired, err := second.launch(ctx)
	s.Must(err)
	s.Tell(who == user && expired, "The store has %s, whose token has expired.", who)
	requests := w.requests.Load()
	token, err = w.fetch(ctx, testApp, who)
	s.Must(err)
	s.Must(second.passAuthenticationDetails(ctx, token, who))
	s.Tell(w.accepted(ctx, second, testApp) && w.requests.Load() == requests+1, "The app fetches a new one, and no request is made with the old.")
}

func severalKeys(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Several public keys at once")
	c, err := w.sdk(testApp, nil)
	if s.Must(err); err != nil {
		return
	}
	login := func() {
		token, err := w.fetch(ctx, testApp, user)
		s.Must(err)
		s.Must(c.login(ctx, user, token))
	}
	old := w.keys[testApp]
	login()
	key, err := w.newKey(testApp)
	s.Must(err)
	s.Tell(w.accepted(ctx, c, testApp), "The dashboard has two keys: a token of the first is good.")
	s.Must(w.signWith(testApp, key))
	login()
	s.Tell(w.accepted(ctx, c, testApp), "One of the second, too.")
	s.Must(w.dashboard(testApp, "DELETE", "/dashboard/keys/"+old.ID(), ""))
	s.Tell(w.accepted(ctx, c, testApp), "The first is removed, and that is no matter of the second.")
	s.Must(w.signWith(testApp, old))
	login()
	s.Tell(w.refused(ctx, c) != nil, "But a token of the first is refused from then on.")
	s.Must(w.signWith(testApp, key))
	status, err := w.call(testApp, "a wrong one", "DELETE", "/dashboard/keys/"+key.ID(), "")
	s.Must(err)
	s.Tell(status == 401, "Who has not the password of the dashboard changes nothing: %d.", status)
}

func enforcement(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Enforcement off: everything passes, and it is counted what would not")
	s.Must(w.dashboard(testApp, "PUT", "/dashboard/enforcement", `{"enforce": false}`))
	c, err := w.sdk(testApp, func(c *sdkConfig) { c.jwt = false })
	if s.Must(err); err != nil {
		return
	}
	s.Must(c.login(ctx, user, ""))
	missing := w.observed.of(jwterrors.TokenMissing)
	s.Tell(w.accepted(ctx, c, testApp) && w.observed.of(jwterrors.TokenMissing) == missing+1, "A report without a token is taken, and counted as %s.", jwterrors.TokenMissing)
	s.Must(w.dashboard(testApp, "PUT", "/dashboard/enforcement", `{"enforce": true}`))
	s.Tell(!w.accepted(ctx, c, testApp), "Enforcement is on again, and the next one is refused.")
}

func tenFailures(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Ten failures in a row, and then no more until the next session")
	forger, err := issuer.GenerateKey(issuer.RS256) // which the dashboard does not have
	s.Must(err)
	minter, err := issuer.NewMinter(issuer.MinterConfig{Key: forger, Claims: map[string]any{"aud": testApp}, Now: w.clock.Now})
	s.Must(err)
	c, err := w.sdk(testApp, func(c *sdkConfig) { c.patience = 2 * time.Second })
	if s.Must(err); err != nil {
		return
	}
	var told, paused atomic.Int64
	var good atomic.Bool
	c.registerAuthenticationListener(func(c *sdk, e *jwterrors.Error) {
		told.Add(1)
		if e.Reason == jwterrors.Paused {
			paused.Add(1)
			return
		}
		token, err := minter.Mint(ctx, issuer.UserID(user))
		if good.Load() {
			token, err = w.fetch(ctx, testApp, user)
		}
		if err == nil {
			w.clock.Advance(time.Second) // or the next token would be the same
			_ = c.passAuthenticationDetails(ctx, token, user)
		}
	})
	bad, err := minter.Mint(ctx, issuer.UserID(user))
	s.Must(err)
	s.Must(c.login(ctx, user, bad))
	w.clock.Advance(time.Second)
	c.track()
	for n := 0; paused.Load() == 0 && n < 20; n++ {
		if err := c.sync(ctx); err == nil {
			s.Tell(false, "the report was refused")
			return
		}
	}
	s.Until(ctx, func() bool { return told.Load() == 10 && paused.Load() == 1 }, "The listener was told ten times, and at last of the pause.")
	requests := w.requests.Load()
	for range 5 {
		err = c.sync(ctx)
	}
	s.Tell(errors.Is(err, jwterrors.Paused) && w.requests.Load() == requests && told.Load() == 10, "From then on nothing is sent, and nobody is told: %s.", jwterrors.ReasonOf(err))

	good.Store(true)
	c.newSession()
	s.Tell(c.sync(ctx) == nil, "The next session tries again, and the listener is told again: with a good token the report is taken.")

	ok := true
	for range 12 {
		bad, err := minter.Mint(ctx, issuer.UserID(user))
		s.Must(err)
		s.Must(c.passAuthenticationDetails(ctx, bad, user))
		w.clock.Advance(time.Second)
		ok = ok && w.accepted(ctx, c, testApp)
	}
	s.Tell(ok && told.Load() > 20 && paused.Load() == 1, "Twelve more bad tokens, each with a success behind it, are no ten in a row.")
}

func loggedOut(ctx context.Context, s *story.Story, w *world) {
	s.Begin("After a logout, what fails for want of a token is deleted")
	c, err := w.sdk(testApp, nil)
	if s.Must(err); err != nil {
		return
	}
	s.Must(c.login(ctx, user, "")) // there is no token yet
	c.track()
	c.track()
	done := make(chan error, 1)
	go func() { done <- c.sync(ctx) }()
	select {
	case err := <-done:
		s.Must(err)
		s.Tell(false, "the report waits for a token")
	case <-time.After(50 * time.Millisecond):
	}
	s.Tell(true, "Two reports of %s wait for a token.", user)
	synced := w.accounts[testApp].synced.Load()
	s.Must(c.logout(ctx))
	s.Must(<-done)
	_, _, waiting := c.next()
	s.Tell(!waiting && w.accounts[testApp].synced.Load() == synced, "%s logs out: the one that waited and the one behind it were refused, and are gone.", user)
	s.Tell(w.accepted(ctx, c, testApp), "What is reported of nobody is taken as before.")
}
