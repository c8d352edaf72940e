package main

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/refresher"
)

func password(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Alice logs in with her password")
	s.Must(w.session.Login(ctx, refresher.Credentials{Username: user, Password: secret}))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.url+"/balance", nil)
	if err != nil {
		s.Must(err)
		return
	}
	resp, err := w.session.Client().Do(r)
	if err != nil {
		s.Must(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	s.Must(err)
	s.Tell(resp.StatusCode == 200 && strings.HasSuffix(string(body), byPassword), "That is enough to read: %s.", body)

	tokens, _ := w.session.Tokens()
	plain, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.url+"/transfers", strings.NewReader("1 to bob"))
	if err != nil {
		s.Must(err)
		return
	}
	plain.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
	refused, err := http.DefaultClient.Do(plain)
	if err != nil {
		s.Must(err)
		return
	}
	defer refused.Body.Close()
	e := jwterrors.FromResponse(refused)
	s.Tell(e != nil && e.Reason == jwterrors.AuthenticationInsufficient && slices.Equal(e.ACRValues, []string{byTwoFactors}) && e.MaxAge == recentTransfer,
		"A transfer needs more, and a client without StepUp is told what:")
	s.Tell(true, "%s", refused.Header.Get("WWW-Authenticate"))
}

func transfer(ctx context.Context, s *story.Story, w *world) {
	s.Begin("A transfer, with StepUp")
	asked := w.server.asked.Load()
	s.Tell(w.transfer(ctx, "1 to bob") == "201 Created", "The caller of the client gets 201 Created, and knows of nothing else.")
	s.Tell(w.prompts == 1 && w.server.asked.Load()-asked == 2, "The bank has refused it, alice was asked for her one-time code, and the same call was made again.")
	s.Tell(slices.Equal(w.server.transfers(), []string{"1 to bob"}), "The transfer is made, once: %q.", "1 to bob")
}

const ten = 10

func atOnce(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Ten transfers at once, after the next start of the app")
	w.clock.Advance(time.Minute) // for another one-time code
	s.Must(w.session.Login(ctx, refresher.Credentials{Username: user, Password: secret}))
	made, prompts := len(w.server.transfers()), w.prompts
	var created atomic.Int32
	var all sync.WaitGroup
	for n := range ten {
		all.Go(func() {
			if w.transfer(ctx, strconv.Itoa(n)+" to carol") == "201 Created" {
				created.Add(1)
			}
		})
	}
	all.Wait()
	s.Tell(created.Load() == ten && len(w.server.transfers())-made == ten, "All ten are made, each of them once.")
	s.Tell(w.prompts-prompts == 1, "Alice was asked once.")
}

func later(ctx context.Context, s *story.Story, w *world) {
	s.Begin("A transfer six minutes later")
	w.clock.Advance(recentTransfer + time.Minute)
	s.Must(w.session.Refresh(ctx))
	prompts := w.prompts
	s.Tell(w.transfer(ctx, "3 to dave") == "201 Created" && w.prompts-prompts == 1, "The login with two factors is %v ago, and a refresh is no login: alice was asked again.", recentTransfer+time.Minute)
	s.Tell(w.transfer(ctx, "4 to dave") == "201 Created" && w.prompts-prompts == 1, "And not for the next one.")
}

func cancelled(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Alice closes the prompt")
	w.clock.Advance(recentTransfer + time.Minute)
	w.declines = true
	s.Tell(w.transfer(ctx, "5 to erin") == string(jwterrors.AuthenticationInsufficient), "The caller gets the 401, and reads why: %s.", jwterrors.AuthenticationInsufficient)
	_, ok := w.session.Tokens()
	s.Tell(ok, "Her session goes on with what it can do.")
}

// transfer makes one, and returns the status, or the reason of a refusal.
func (w *world) transfer(ctx context.Context, what string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.url+"/transfers", strings.NewReader(what))
	if err != nil {
		return err.Error()
	}
	resp, err := w.session.Client().Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	if e := jwterrors.FromResponse(resp); e != nil {
		return string(e.Reason)
	}
	return resp.Status
}
