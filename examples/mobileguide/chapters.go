package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/refresher"
)

func firstStart(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The first start: log in")
	err := w.app.session.Login(ctx, refresher.Credentials{Username: user, Password: "wrong"})
	s.Tell(errors.Is(err, jwterrors.CredentialsInvalid), "A wrong password is refused: %s.", jwterrors.ReasonOf(err))
	s.Must(w.app.session.Login(ctx, refresher.Credentials{Username: user, Password: password}))
	status, body, err := w.app.get(ctx, "/me")
	s.Must(err)
	tokens, _ := w.app.session.Tokens()
	s.Tell(status == 200 && w.server.lastToken() == "Bearer "+tokens.AccessToken, "The API answers %d %s to \"Authorization: Bearer ...\", which the app's code did not write.", status, body)
	access, refresh := tokens.Expiry.Sub(tokens.Received).Round(time.Second), tokens.RefreshExpiry.Sub(tokens.Received).Round(time.Second)
	s.Tell(access >= 15*time.Minute && access <= time.Hour && refresh >= 7*24*time.Hour, "The access token lives for %v, the refresh token for %v.", access, refresh)
	file, err := os.Stat(tokenFile(w.dir))
	s.Must(err)
	dir, err := os.Stat(filepath.Dir(tokenFile(w.dir)))
	if s.Must(err); s.Err() != nil {
		return
	}
	s.Tell(runtime.GOOS == "windows" || file.Mode().Perm() == 0o600 && dir.Mode().Perm() == 0o700, "They are in a file with the mode %04o in a directory with the mode %04o.", file.Mode().Perm(), dir.Mode().Perm())
}

func offline(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The next start, without a network")
	w.network.gone.Store(true)
	s.Must(w.restart(nil))
	shown, err := w.app.screen(ctx)
	s.Must(err)
	s.Tell(shown.Name == "Alice" && slices.Equal(shown.Roles, []string{"reader", "writer"}) && shown.Exp > 0, "The app shows the name %q and the roles %q from the token.", shown.Name, shown.Roles)
	s.Tell(true, "The server's public key has verified it: nobody was asked.")

	whole, err := os.ReadFile(tokenFile(w.dir))
	s.Must(err)
	tokens, _ := w.app.session.Tokens()
	at := strings.LastIndexByte(tokens.AccessToken, '.') + 1 // the signature begins there
	other := tokens.AccessToken[:at] + "A" + tokens.AccessToken[at+1:]
	if other == tokens.AccessToken {
		other = tokens.AccessToken[:at] + "B" + tokens.AccessToken[at+1:]
	}
	altered := strings.Replace(string(whole), tokens.AccessToken, other, 1)
	s.Must(os.WriteFile(tokenFile(w.dir), []byte(altered), 0o600))
	told := make(chan *jwterrors.Error, 16)
	s.Must(w.restart(func(c *refresher.Config) { c.OnFailure = func(e *jwterrors.Error) { told <- e } }))
	_, err = w.app.screen(ctx)
	s.Tell(errors.Is(err, jwterrors.LoggedOut), "What somebody has altered in the file is not shown.")
	s.Tell(next(ctx, told) == jwterrors.TokenSignatureInvalid, "The app is told why: %s.", jwterrors.TokenSignatureInvalid)
	s.Must(os.WriteFile(tokenFile(w.dir), whole, 0o600))

	for _, c := range []struct {
		what, server, audience string
		want                   jwterrors.Reason
	}{
		{"of another server", "https://another.example.com", audience, jwterrors.TokenIssuerInvalid},
		{"for another app", w.server.url, "another", jwterrors.TokenAudienceInvalid},
	} {
		another, err := start(w.dir, c.server, &w.network, w.server.key, func(config *refresher.Config) {
			config.Audience, config.OnFailure = c.audience, func(e *jwterrors.Error) { told <- e }
		})
		if s.Must(err); err != nil {
			return
		}
		_, err = another.screen(ctx)
		s.Tell(errors.Is(err, jwterrors.LoggedOut) && next(ctx, told) == c.want, "A token %s is not used: %s.", c.what, c.want)
	}
	_, err = start(w.dir, w.server.url, nil, refresher.PublicKey{Key: make([]byte, 32)}, func(*refresher.Config) {})
	s.Tell(err != nil, "A secret to verify with cannot be configured: who has it can sign.")
	s.Must(w.restart(nil))
	w.network.gone.Store(false)
}

// next returns the reason of the next error.
func next(ctx context.Context, told <-chan *jwterrors.Error) jwterrors.Reason {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	select {
	case e := <-told:
		return e.Reason
	case <-ctx.Done():
		return ""
	}
}

const five = 5

func atOnce(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Five calls at once, and five times 401")
	for range 2 {
		w.server.clock.Advance(time.Minute) // or the refresh token would be too young for another
		_, _, err := w.app.get(ctx, "/me")
		s.Must(err)
		old, _ := w.app.session.Tokens()
		s.Must(w.server.invalidate(ctx, w.app))
		refused, refreshes := w.server.refused.Load(), w.server.refreshes.Load()
		w.server.together(five)
		var all sync.WaitGroup
		var statuses [five]int
		var errs [five]error
		for n := range five {
			all.Go(func() { statuses[n], _, errs[n] = w.app.get(ctx, "/me") })
		}
		all.Wait()
		for n := range five {
			s.Must(errs[n])
		}
		s.Tell(w.server.refused.Load() == refused+five && statuses == [five]int{200, 200, 200, 200, 200}, "All five were refused, and all five are answered 200.")
		tokens, _ := w.app.session.Tokens()
		s.Tell(w.server.refreshes.Load() == refreshes+1 && tokens.RefreshToken != old.RefreshToken, "That was one refresh, and the refresh token is a new one, too.")
	}
	s.Tell(true, "It was the same the second time: nothing is left of the first.")
}

func beforehand(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Shortly before the token expires")
	tokens, _ := w.app.session.Tokens()
	left := func() time.Duration { return tokens.Expiry.Sub(w.server.clock.Now()) }
	refreshes, refused := w.server.refreshes.Load(), w.server.refused.Load()
	w.server.clock.Advance(left() - 65*time.Second)
	status, _, err := w.app.get(ctx, "/me")
	s.Must(err)
	s.Tell(status == 200 && w.server.refreshes.Load() == refreshes, "65 seconds before, the API answers %d and nothing else happens.", status)
	w.network.gone.Store(true)
	w.server.clock.Advance(left() - 25*time.Second)
	_, _, err = w.app.get(ctx, "/me")
	w.network.gone.Store(false)
	s.Tell(err != nil, "25 seconds before, the token is not sent any more, and there is no network to get another one: %s.", jwterrors.ReasonOf(err))
	w.server.clock.Advance(10 * time.Second)
	status, _, err = w.app.get(ctx, "/me")
	s.Must(err)
	s.Tell(status == 200 && w.server.refreshes.Load() == refreshes+1, "With a network the call waits for a refresh: %d.", status)
	s.Tell(w.server.lastToken() != "Bearer "+tokens.AccessToken && w.server.refused.Load() == refused, "The API has seen no 401.")
}

func otherAnswers(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Only a 401 is a matter of tokens")
	refreshes := w.server.refreshes.Load()
	for _, c := range []struct {
		path string
		want int
	}{{"/admin", 403}, {"/nowhere", 404}, {"/broken", 500}} {
		status, _, err := w.app.get(ctx, c.path)
		s.Must(err)
		s.Tell(status == c.want && w.server.refreshes.Load() == refreshes, "%d is the caller's, and causes no refresh.", status)
	}
}

func noToken(ctx context.Context, s *story.Story, w *world) {
	s.Begin("A 401, and no new token to be had")
	s.Must(w.server.invalidate(ctx, w.app))
	w.server.broken.Store(true)
	status, reason, err := w.app.get(ctx, "/me")
	s.Must(err)
	s.Tell(status == 401 && reason == string(jwterrors.TokenInvalidated), "The caller gets the answer that there was, with its body: %d %s.", status, reason)
	_, ok := w.app.session.Tokens()
	s.Tell(ok, "The server has not ended the session, and so it is kept.")
	w.server.broken.Store(false)
	w.server.clock.Advance(time.Minute)
	status, _, err = w.app.get(ctx, "/me")
	s.Must(err)
	s.Tell(status == 200, "The issuer works again: %d.", status)
}

func logout(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Log out without a network")
	tokens, _ := w.app.session.Tokens()
	w.network.gone.Store(true)
	sent := w.network.sent.Load()
	err := w.app.session.Logout(ctx)
	s.Tell(err != nil && w.network.sent.Load() == sent, "The server cannot be told yet.")
	_, statErr := os.Stat(tokenFile(w.dir))
	_, ok := w.app.session.Tokens()
	s.Tell(!ok && errors.Is(statErr, fs.ErrNotExist), "The phone has forgotten the tokens, in memory and on its disk.")
	_, _, err = w.app.get(ctx, "/me")
	s.Tell(errors.Is(err, jwterrors.LoggedOut), "A call ends at once: %s.", jwterrors.ReasonOf(err))

	s.Must(w.restart(nil))
	w.network.gone.Store(false)
	status, _ := w.thief(ctx, s, tokens.AccessToken)
	s.Tell(status == 200, "The app is started again, and there is a network. Who has copied the tokens before can still use them: %d.", status)
	s.Must(w.app.session.Flush(ctx))
	status, reason := w.thief(ctx, s, tokens.AccessToken)
	s.Tell(status == 401 && reason == jwterrors.TokenInvalidated, "Now the server hears of the logout. The access token is dead at once: %d %s.", status, reason)
	status, reason = w.thiefRefreshes(ctx, s, tokens.RefreshToken)
	s.Tell(status == 401 && reason.Action() == jwterrors.ActionLogin, "And so is the refresh token: %d %s.", status, reason)
	left, err := os.ReadDir(filepath.Join(w.dir, "logouts"))
	s.Must(err)
	s.Tell(len(left) == 0, "Nothing of it is left on the phone.")
}

// thief calls the API with a token, from another phone.
func (w *world) thief(ctx context.Context, s *story.Story, token string) (int, jwterrors.Reason) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.url+"/me", nil)
	if err != nil {
		s.Must(err)
		return 0, ""
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return send(s, req)
}

func (w *world) thiefRefreshes(ctx context.Context, s *story.Story, token string) (int, jwterrors.Reason) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.url+"/auth/refresh", strings.NewReader(`{"refresh_token":"`+token+`"}`))
	if err != nil {
		s.Must(err)
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/json")
	return send(s, req)
}

func send(s *story.Story, req *http.Request) (status int, reason jwterrors.Reason) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Must(err)
		return 0, ""
	}
	defer resp.Body.Close()
	if e := jwterrors.FromResponse(resp); e != nil {
		reason = e.Reason
	}
	return resp.StatusCode, reason
}
