package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/refresher"
)

func through(ctx context.Context, s *story.Story, w *world) {
	s.Begin("A call goes through, its token does not")
	s.Must(w.alice.Login(ctx, refresher.Credentials{Username: "alice", Password: password}))
	a, err := w.ask(ctx, w.client, "POST", "/orders", "a book", "X-User", "bob", "Cookie", "session=1")
	s.Must(err)
	s.Tell(a.status == 200 && a.body == "POST alice a book", "The upstream answers %q: it knows the user from the gateway, whatever the caller wrote.", a.body)
	tokens, _ := w.alice.Tokens()
	own, _ := w.own.Tokens()
	got, _ := w.last()
	s.Tell(got.token == "Bearer "+own.AccessToken && !strings.Contains(got.token, tokens.AccessToken) && got.cookie == "", "It was shown the gateway's own token, and not the one of alice, nor her cookies.")
	s.Tell(w.services.Load() == 1, "The gateway asked for that when the first call came.")
	a, err = w.ask(ctx, w.client, "GET", "/admin", "")
	s.Must(err)
	s.Tell(a.status == 403 && a.body == "alice is no administrator", "What the upstream says of alice comes back as it is: %d %s.", a.status, a.body)
	s.Tell(a.header.Get("WWW-Authenticate") == "", "But how to log in at the upstream is nothing that a caller needs to know.")
}

func refusedInFront(ctx context.Context, s *story.Story, w *world) {
	s.Begin("What is wrong with a caller's token is found in front")
	_, before := w.last()
	own, _ := w.own.Tokens()
	for _, c := range []struct {
		name, token string
		want        jwterrors.Reason
	}{
		{"no token", "", jwterrors.TokenMissing},
		{"what is no token", "Bearer x", jwterrors.TokenFormatInvalid},
		{"a token of the other issuer, which is for the upstream", "Bearer " + own.AccessToken, jwterrors.TokenKeyUnknown},
	} {
		a, err := w.ask(ctx, http.DefaultClient, "GET", "/orders", "", "Authorization", c.token)
		s.Must(err)
		s.Tell(a.status == 401 && a.reason == c.want && a.header.Get("WWW-Authenticate") != "", "%s: %d %s", c.name, a.status, a.reason)
	}
	_, after := w.last()
	s.Tell(after == before, "The upstream has seen none of them.")
}

func refusedBehind(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The upstream refuses the gateway's token")
	got, _ := w.last()
	before := w.services.Load()
	s.Must(w.denylist.DenyToken(ctx, got.jti, w.clock.Now().Add(accessTTL)))
	a, err := w.ask(ctx, w.client, "POST", "/orders", "a second book")
	s.Must(err)
	s.Tell(a.status == 200 && a.body == "POST alice a second book", "The gateway gets another one and sends the call again, with its body: %q.", a.body)
	s.Tell(w.services.Load() == before+1, "Alice has noticed nothing.")
}

const calls = 100

func crowd(ctx context.Context, s *story.Story, w *world) {
	s.Begin("%d calls at once when all tokens have expired", calls)
	before, renewals := w.services.Load(), w.renewals.Load()
	w.clock.Advance(accessTTL)
	var all sync.WaitGroup
	answers := make([]answer, calls)
	errs := make([]error, calls)
	for n := range calls {
		all.Go(func() { answers[n], errs[n] = w.ask(ctx, w.client, "POST", "/orders", fmt.Sprint(n)) })
	}
	all.Wait()
	good := 0
	for n := range calls {
		s.Must(errs[n])
		if answers[n].status == 200 && answers[n].body == fmt.Sprint("POST alice ", n) {
			good++
		}
	}
	s.Tell(good == calls, "All %d are answered, each with its own answer.", good)
	s.Tell(w.services.Load() == before+1 && w.renewals.Load() == renewals+1, "The gateway has asked for one token, and alice's client for one of its own.")
}

func outage(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The services' issuer is down when the gateway needs a token")
	w.down.Store(true)
	w.clock.Advance(accessTTL)
	renewals := w.renewals.Load()
	a, err := w.ask(ctx, w.client, "GET", "/orders", "")
	s.Must(err)
	s.Tell(a.status == 503 && a.reason == jwterrors.RefreshUnavailable && a.header.Get("Retry-After") != "", "The caller is told to come back: %d %s, Retry-After %s.", a.status, a.reason, a.header.Get("Retry-After"))
	s.Tell(a.header.Get("WWW-Authenticate") == "" && w.renewals.Load() == renewals+1, "Nobody doubts the caller's token, which was renewed before.")
	a, err = w.ask(ctx, w.client, "GET", "/orders", "")
	s.Must(err)
	s.Tell(a.status == 503 && w.renewals.Load() == renewals+1, "So the caller's client does not get another one: %d.", a.status)
	w.down.Store(false)
	w.clock.Advance(time.Minute)
	a, err = w.ask(ctx, w.client, "GET", "/orders", "")
	s.Must(err)
	s.Tell(a.status == 200, "It is back, and so is the answer: %d.", a.status)
}

func misconfigured(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The upstream refuses whatever the gateway shows")
	s.Must(w.denylist.DenySubject(ctx, "gateway", w.clock.Now().Add(time.Hour), w.clock.Now().Add(2*time.Hour)))
	before, renewals := w.services.Load(), w.renewals.Load()
	for range 3 {
		a, err := w.ask(ctx, w.client, "GET", "/orders", "")
		s.Must(err)
		s.Tell(a.status == 502 && a.reason == jwterrors.Paused && a.header.Get("WWW-Authenticate") == "", "The caller can do nothing about it, and is told so: %d %s.", a.status, a.reason)
	}
	s.Tell(w.services.Load() == before+1 && w.renewals.Load() == renewals, "Three calls have cost one new token of the gateway, and none of the caller.")
}
