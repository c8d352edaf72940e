package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/refresher"
)

func login(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Log in and call the API")
	err := w.client.Login(ctx, refresher.Credentials{Username: user, Password: "wrong"})
	s.Tell(errors.Is(err, jwterrors.CredentialsInvalid), "A wrong password is refused: %s.", jwterrors.ReasonOf(err))
	s.Must(w.client.Login(ctx, refresher.Credentials{Username: user, Password: password}))
	tokens, _ := w.client.Tokens()
	w.stolen = tokens.RefreshToken
	s.Tell(tokens.AccessToken != "", "%s is logged in: an access token for %v and a refresh token.", user, accessTTL)
	status, err := w.get(ctx)
	s.Must(err)
	s.Tell(status == 200, "GET /api/me answers %d: the transport attached the token.", status)
}

const crowd = 200

func expiry(ctx context.Context, s *story.Story, w *world) {
	s.Begin("%d calls at once with an expired token", crowd)
	s.Must(w.sleepUntilExpiry(ctx, w.client))
	before := w.network.refreshes.Load()
	failed := w.crowd(ctx, w.http)
	spent := w.network.refreshes.Load() - before
	s.Tell(failed == 0, "All %d were answered 200.", crowd)
	s.Tell(spent == 1, "They cost %d refresh: the first caller started it, the others waited for it.", spent)
}

func stoppedClock(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The same, by a client whose clock has stopped")
	start := time.Now()
	stopped, err := w.newClient(func(c *refresher.Config) {
		c.Now = func() time.Time { return start }
	})
	if s.Must(err); err != nil {
		return
	}
	defer stopped.Close()
	s.Must(stopped.Login(ctx, refresher.Credentials{Username: user, Password: password}))
	s.Must(sleep(ctx, accessTTL+50*time.Millisecond))
	before, refused := w.network.refreshes.Load(), w.network.refused.Load()
	failed := w.crowd(ctx, stopped.Client())
	spent := w.network.refreshes.Load() - before
	s.Tell(w.network.refused.Load() > refused, "It sent the expired token and was answered 401 %d times.", w.network.refused.Load()-refused)
	s.Tell(failed == 0 && spent == 1, "It refreshed %d time, sent each call once more, and all %d were answered 200.", spent, crowd)
}

func lostAnswer(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The answer to a refresh is lost on the way")
	old, _ := w.client.Tokens()
	s.Must(w.sleepUntilExpiry(ctx, w.client))
	w.network.loseOne.Store(true)
	before := w.network.refreshes.Load()
	status, err := w.get(ctx)
	s.Must(err)
	tokens, _ := w.client.Tokens()
	s.Tell(!w.network.loseOne.Load() && w.network.refreshes.Load()-before == 2,
		"The server rotated the refresh token, and its answer never arrived. The client asked again with the old one and its retry key.")
	s.Tell(status == 200 && tokens.RefreshToken != old.RefreshToken,
		"It got the same successor, since this is no theft, and the call was answered %d.", status)
}

func stolenToken(ctx context.Context, s *story.Story, w *world) {
	s.Begin("A thief uses the refresh token of the first login")
	status, e, err := w.post(ctx, "/auth/refresh", `{"refresh_token":"`+w.stolen+`"}`)
	s.Must(err)
	s.Tell(status == 401 && errors.Is(e, jwterrors.RefreshTokenReused),
		"It was rotated long ago, so two people hold it: %d %s, and the session ends.", status, jwterrors.ReasonOf(e))
	status, err = w.get(ctx)
	s.Tell(err != nil || status == 401, "The owner's next call fails, too: %s.", describe(status, err))
	s.Until(ctx, func() bool { return w.expired.Load() == 1 }, "The owner's program was told once that the session is over (OnSessionExpired), and asks for a login.")
	s.Must(w.client.Login(ctx, refresher.Credentials{Username: user, Password: password}))
	status, err = w.get(ctx)
	s.Must(err)
	s.Tell(status == 200, "After a new login the call is answered %d.", status)
}

func describe(status int, err error) string {
	if err != nil {
		return jwterrors.ReasonOf(err).String()
	}
	return fmt.Sprint(status)
}

func refusals(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Bad tokens, and what the API says of them")
	tokens, _ := w.client.Tokens()
	parts := strings.Split(tokens.AccessToken, ".")
	for _, c := range []struct {
		what, token string
		want        jwterrors.Reason
	}{
		{"no token", "", jwterrors.TokenMissing},
		{"a token that is none", "hello", jwterrors.TokenFormatInvalid},
		{"a forged token", parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), jwterrors.TokenSignatureInvalid},
		{"an expired token", w.old, jwterrors.TokenExpired},
		{"a refresh token", tokens.RefreshToken, jwterrors.TokenFormatInvalid},
	} {
		status, e, err := w.plainGet(ctx, "/api/me", c.token)
		s.Must(err)
		s.Tell(status == 401 && errors.Is(e, c.want), "%-22s %d %s: %s", c.what, status, c.want, c.want.Action())
	}
	status, e, err := w.plainGet(ctx, "/api/admin", tokens.AccessToken)
	s.Must(err)
	s.Tell(status == 403 && errors.Is(e, jwterrors.ScopeInsufficient), "%-22s %d %s: %s", "a missing scope", status, jwterrors.ReasonOf(e), jwterrors.ReasonOf(e).Action())
}

func keyRotation(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The signing key is rotated under traffic")
	kids := map[string]bool{}
	var calls, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				calls.Add(1)
				if status, err := w.get(ctx); err != nil || status != 200 {
					failed.Add(1)
				}
			}
		})
	}
	for range 3 {
		s.Must(w.rotateKey())
		before, _ := w.client.Tokens()
		kids[kid(before.AccessToken)] = true
		s.Must(w.client.Refresh(ctx))
		after, _ := w.client.Tokens()
		kids[kid(after.AccessToken)] = true
		s.Must(sleep(ctx, 200*time.Millisecond))
	}
	close(stop)
	wg.Wait()
	s.Tell(len(kids) == 4, "Three rotations, tokens signed with %d keys.", len(kids))
	s.Tell(failed.Load() == 0, "%d calls meanwhile, %d failed: old keys stay published as long as a token of theirs can live.", calls.Load(), failed.Load())
}

func restart(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The server is restarted")
	before, _ := w.client.Tokens()
	spent := w.network.refreshes.Load()
	s.Must(w.restart(ctx))
	status, err := w.get(ctx)
	s.Must(err)
	after, _ := w.client.Tokens()
	spent = w.network.refreshes.Load() - spent
	s.Tell(kid(after.AccessToken) != kid(before.AccessToken) && spent == 1,
		"It came back with another signing key, so it refused the access token, and the client refreshed %d time.", spent)
	s.Tell(status == 200 && sid(after.AccessToken) != "" && sid(after.AccessToken) == sid(before.AccessToken),
		"Sessions are in a file and outlive it: the same one goes on, without a login, and the call was answered %d.", status)
}

func logout(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Log out")
	tokens, _ := w.client.Tokens()
	s.Must(w.client.Logout(ctx))
	_, err := w.get(ctx)
	s.Tell(errors.Is(err, jwterrors.LoggedOut), "The client forgot its tokens first: the next call fails at once with %s.", jwterrors.ReasonOf(err))
	status, e, err := w.plainGet(ctx, "/api/me", tokens.AccessToken)
	s.Must(err)
	s.Tell(status == 401 && errors.Is(e, jwterrors.TokenInvalidated), "The access token, not yet expired, is refused: %d %s.", status, jwterrors.ReasonOf(e))
	status, e, err = w.post(ctx, "/auth/refresh", `{"refresh_token":"`+tokens.RefreshToken+`"}`)
	s.Must(err)
	s.Tell(status == 401 && errors.Is(e, jwterrors.SessionRevoked), "So is the refresh token: %d %s.", status, jwterrors.ReasonOf(e))
}

// crowd calls the API many times at once and returns how many calls failed.
func (w *world) crowd(ctx context.Context, client *http.Client) int64 {
	var failed atomic.Int64
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			if status, err := w.getBy(ctx, client); err != nil || status != 200 {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	return failed.Load()
}
