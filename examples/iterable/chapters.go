package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// The users of the story. All their tokens are of the session "session of 1".
var (
	emailUser = refresher.Email("user@example.com")
	idUser    = refresher.UserID("user123")
)

func identify(ctx context.Context, s *story.Story, w *world) {
	s.Begin("setEmail: identify a user, and the authHandler is asked for a token")
	t, err := w.app.transport()
	if s.Must(err); err != nil {
		return
	}
	s.Must(t.Identify(ctx, emailUser))
	s.Tell(w.backend.asked.Load() == 1, "The app's own server was asked once, with the app's own session.")
	for range 3 {
		status, _, err := w.app.messages(ctx, t.Client(), emailUser)
		s.Must(err)
		s.Tell(status == 200, "The API answers %d.", status)
	}
	s.Until(ctx, func() bool { return w.accepted.Load() == 1 }, "successCallback was called once: the token was accepted.")
	s.Tell(w.backend.asked.Load() == 1, "A token that is good is not asked for again.")
	s.Must(t.Identify(ctx, emailUser))
	s.Tell(w.backend.asked.Load() == 2, "The same setEmail again is a new authentication.")

	w.app.session = "session of 2"
	s.Must(t.Identify(ctx, idUser))
	status, _, err := w.app.messages(ctx, t.Client(), idUser)
	s.Must(err)
	s.Tell(status == 200, "setUserId: the API answers %d to user123.", status)
	status, reason, err := w.app.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 401 && reason == jwterrors.TokenUserKeyInvalid, "And what is user@example.com's is refused to user123 from then on: %s.", reason)
	w.app.session = "session of 1"
}

func prefetched(ctx context.Context, s *story.Story, w *world) {
	s.Begin("setEmail with a token that was fetched before")
	token, err := w.app.fetch(ctx, emailUser)
	s.Must(err)
	t, err := w.app.transport()
	if s.Must(err); err != nil {
		return
	}
	before := w.backend.asked.Load()
	s.Must(t.Identify(ctx, emailUser, refresher.WithTokens(refresher.Tokens{AccessToken: token})))
	status, _, err := w.app.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 200 && w.backend.asked.Load() == before, "The API answers %d, and the authHandler was not called.", status)
	err = t.Identify(ctx, refresher.Email("another@example.com"), refresher.WithTokens(refresher.Tokens{AccessToken: token}))
	s.Tell(errors.Is(err, jwterrors.TokenUserKeyInvalid), "As the token of somebody else it is refused before it is sent: %s.", jwterrors.ReasonOf(err))
}

func refreshPeriod(ctx context.Context, s *story.Story, w *world) {
	s.Begin("expiringAuthTokenRefreshPeriod: 120 seconds before it expires, a token is renewed")
	w.clock.Advance(reuse) // so that the token of the story is new
	t, err := w.app.transport()
	if s.Must(err); err != nil {
		return
	}
	s.Must(t.Identify(ctx, emailUser))
	before := w.backend.asked.Load()
	first, _ := t.Tokens()
	w.clock.Advance(tokenTTL - 125*time.Second)
	status, _, err := w.app.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 200 && w.backend.asked.Load() == before, "125 seconds before, the API answers %d and nobody is asked.", status)
	w.clock.Advance(6 * time.Second)
	status, _, err = w.app.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 200, "119 seconds before, the API answers %d with the token that is still good.", status)
	s.Until(ctx, func() bool { now, _ := t.Tokens(); return now.AccessToken != first.AccessToken },
		"Meanwhile a new token has come.")
	s.Tell(w.backend.asked.Load() == before+1, "The app's own server was asked once.")
}

func invalidToken(ctx context.Context, s *story.Story, w *world) {
	s.Begin("401 InvalidJwtPayload: a new token, and the request once more")
	w.clock.Advance(reuse)
	t, err := w.app.transport()
	if s.Must(err); err != nil {
		return
	}
	s.Must(t.Identify(ctx, emailUser))
	status, _, err := w.app.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 200, "The API answers %d.", status)
	w.clock.Advance(reuse) // or the app's own server would give the same token again
	w.project.invalidate(middleware.UserKey{Email: emailUser.Email}, w.clock.Now())
	w.clock.Advance(time.Second)
	before := w.backend.asked.Load()
	w.forget()
	refused := w.refused.Load()
	status, _, err = w.app.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 200 && w.backend.asked.Load() == before+1, "The token was invalidated; the app got another one and the caller a %d.", status)
	s.Until(ctx, func() bool { return w.failed(jwterrors.TokenInvalidated) != nil }, "onJwtError was told, for the monitoring:")
	if e := w.failed(jwterrors.TokenInvalidated); e != nil {
		s.Tell(e.Identity == emailUser.Email, "failureReason %s, userKey %s, failedAuthToken %s, failedRequestTime %d", e.Reason, e.Identity, e.Token, e.Time.Unix())
	}

	s.Tell(w.refused.Load() == refused, "failureCallback was not: that token had been accepted before.")

	w.setOnHold(emailUser, true)
	before = w.backend.asked.Load()
	w.clock.Advance(reuse)
	for range 3 {
		status, reason, err := w.app.messages(ctx, t.Client(), emailUser)
		s.Must(err)
		s.Tell(status == 401, "No token of the user is accepted any more: %d %s.", status, reason)
	}
	s.Tell(w.backend.asked.Load() == before+1, "That has cost one new token, and no more until setEmail is called.")
	s.Until(ctx, func() bool { return w.refused.Load() == refused+1 }, "failureCallback was called for that one.")
	w.setOnHold(emailUser, false)
	s.Must(t.Identify(ctx, emailUser))
	status, _, err = w.app.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 200, "setEmail was called, and the API answers %d.", status)

	before = w.backend.asked.Load()
	wrong := *w.app
	wrong.key = "no such key"
	if t, err = wrong.transport(); err != nil {
		s.Must(err)
		return
	}
	s.Must(t.Identify(ctx, emailUser))
	status, _, err = wrong.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 401 && w.backend.asked.Load() == before+1, "A 401 of a wrong API key is no matter of tokens, and asks for none.")
}

func (w *world) setOnHold(id refresher.Identity, on bool) {
	w.project.mu.Lock()
	defer w.project.mu.Unlock()
	w.project.onHold[middleware.UserKey{Email: id.Email, UserID: id.UserID}] = on
}

func networkFailure(ctx context.Context, s *story.Story, w *world) {
	s.Begin("retryPolicy: the app's own server is down")
	w.backend.down.Store(true)
	t, err := w.app.transport()
	if s.Must(err); err != nil {
		return
	}
	before := w.backend.asked.Load()
	err = t.Identify(ctx, emailUser)
	s.Tell(errors.Is(err, jwterrors.TokenGenerationError), "No token: %s.", jwterrors.ReasonOf(err))
	s.Tell(w.backend.asked.Load() == before+6, "It was asked once and then five times more, each time after a longer wait.")
	w.backend.down.Store(false)
	w.clock.Advance(time.Minute) // a failure is not repeated at once
	status, _, err := w.app.messages(ctx, t.Client(), emailUser)
	s.Must(err)
	s.Tell(status == 200, "It is back: the next request gets its token and a %d.", status)

	w.backend.broken.Store(true)
	w.clock.Advance(tokenTTL)
	before = w.backend.asked.Load()
	_, _, err = w.app.messages(ctx, t.Client(), emailUser)
	s.Tell(errors.Is(err, jwterrors.TokenFormatInvalid) && w.backend.asked.Load() == before+6, "What is no token is not sent: %s, after six tries.", jwterrors.ReasonOf(err))
	w.backend.broken.Store(false)
	w.clock.Advance(time.Hour)
}

func tooOften(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The app's own server wants its session, and not too often")
	stranger := *w.app
	stranger.session = "nobody's"
	_, err := stranger.fetch(ctx, emailUser)
	s.Tell(err != nil, "A stranger gets no token: %v.", err)
	_, err = w.app.fetch(ctx, idUser)
	s.Tell(err != nil, "And nobody one for somebody else: %v.", err)
	one, err := w.app.fetch(ctx, emailUser)
	s.Must(err)
	two, err := w.app.fetch(ctx, emailUser)
	s.Must(err)
	s.Tell(one == two, "Who asks twice within %v gets the same token: it is signed once.", reuse)
	for n := 0; n < budget.Attempts && err == nil; n++ {
		_, err = w.app.fetch(ctx, emailUser)
	}
	var limited *jwterrors.Error
	s.Tell(errors.As(err, &limited) && limited.Reason == jwterrors.RateLimited && limited.RetryAfter > 0, "Too many of them are refused: %s.", jwterrors.ReasonOf(err))
	w.clock.Advance(time.Duration(budget.Attempts) * budget.Every)
}

func rotation(ctx context.Context, s *story.Story, w *world) {
	s.Begin("A new secret for the API key")
	newer := newSecret()
	t, err := w.app.transport()
	if s.Must(err); err != nil {
		return
	}
	s.Must(t.Identify(ctx, emailUser))
	old, _ := t.Tokens()
	ask := func() (int, jwterrors.Reason) {
		status, reason, err := w.app.messages(ctx, t.Client(), emailUser)
		s.Must(err)
		return status, reason
	}
	w.project.setSecrets(newer, w.secret)
	status, _ := ask()
	s.Tell(status == 200, "The API knows both: a token of the old one is answered %d.", status)
	s.Must(w.backend.setSecrets(newer))
	w.project.setSecrets(newer)
	status, reason := w.bare(ctx, s, old.AccessToken)
	s.Tell(status == 401 && reason == jwterrors.TokenSignatureInvalid, "The old one is gone: its token is refused with %s.", reason)
	status, _ = ask()
	s.Tell(status == 200, "The app gets a new token for that, and its caller a %d.", status)
	w.secret = newer
}

// bare sends the API a token, or none, without a refresher.
func (w *world) bare(ctx context.Context, s *story.Story, token string) (int, jwterrors.Reason) {
	return w.bareFor(ctx, s, emailUser, token)
}

func (w *world) bareFor(ctx context.Context, s *story.Story, id refresher.Identity, token string) (int, jwterrors.Reason) {
	status, reason, err := w.app.messages(ctx, &http.Client{Transport: withAPIKey{w.app.key, withToken(token)}}, id)
	s.Must(err)
	return status, reason
}

type withToken string

func (token withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+string(token)) // of the clone that withAPIKey made
	}
	return http.DefaultTransport.RoundTrip(r)
}

func migration(ctx context.Context, s *story.Story, w *world) {
	s.Begin("A project with plain API keys moves to tokens")
	w.legacy.setSecrets(w.secret)
	old := *w.app // the app that is in the field
	old.key = plainKey
	ask := func(client *http.Client) (int, jwterrors.Reason) {
		status, reason, err := old.messages(ctx, client, emailUser)
		s.Must(err)
		return status, reason
	}
	without := &http.Client{Transport: withAPIKey{plainKey, http.DefaultTransport}}
	status, _ := ask(without)
	s.Tell(status == 200, "Today the API key is enough: %d.", status)

	w.legacy.setStage(observed)
	missing := w.decisions.of(jwterrors.TokenMissing)
	status, _ = ask(without)
	s.Tell(status == 200 && w.decisions.of(jwterrors.TokenMissing) == missing+1,
		"Observed: the old app is answered %d, and %s is counted.", status, jwterrors.TokenMissing)
	t, err := old.transport()
	if s.Must(err); err != nil {
		return
	}
	s.Must(t.Identify(ctx, emailUser))
	passed := w.decisions.of("")
	status, _ = ask(t.Client())
	s.Tell(status == 200 && w.decisions.of("") == passed+1, "The new app, which has an authHandler, is answered %d and counted as good.", status)

	w.legacy.setStage(enforced)
	status, reason := ask(without)
	s.Tell(status == 401 && reason == jwterrors.TokenMissing, "When the count of refusals stands still it is enforced: without a token %d %s.", status, reason)
	status, _ = ask(t.Client())
	s.Tell(status == 200, "And with one %d.", status)
}

// sign makes the tokens that no Minter makes.
func sign(secret []byte, method *jwt.SigningMethodHMAC, claims jwt.MapClaims) string {
	token, err := jwt.NewWithClaims(method, claims).SignedString(secret)
	if err != nil {
		panic(err) // a map of strings and numbers and a secret can be signed
	}
	return token
}

func reasons(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The eleven reasons")
	iat := w.clock.Now().Unix()
	const year = 365 * 24 * 60 * 60
	good := jwt.MapClaims{"email": emailUser.Email, "iat": iat, "exp": iat + 3600}
	hs256 := jwt.SigningMethodHS256
	for _, c := range []struct {
		want  jwterrors.Reason
		why   string
		user  refresher.Identity // of the request
		token string
	}{
		{jwterrors.TokenExpirationInvalid, "it is good for a year", emailUser, sign(w.secret, hs256, jwt.MapClaims{"email": emailUser.Email, "iat": iat, "exp": iat + year})},
		{jwterrors.TokenExpired, "it is of December 2021", emailUser, sign(w.secret, hs256, jwt.MapClaims{"email": emailUser.Email, "iat": 1640000000, "exp": 1640086400})},
		{jwterrors.TokenFormatInvalid, "it has two parts", emailUser, "abc.def"},
		{jwterrors.TokenGenericError, "its user is on hold", refresher.UserID("on hold"), sign(w.secret, hs256, jwt.MapClaims{"userId": "on hold", "iat": iat, "exp": iat + 3600})},
		{jwterrors.TokenInvalidated, "it was issued before the tokens of its user were invalidated", emailUser, sign(w.secret, hs256, jwt.MapClaims{"email": emailUser.Email, "iat": iat - 3600, "exp": iat + 3600})},
		{jwterrors.TokenMissing, "there is none", emailUser, ""},
		{jwterrors.TokenPayloadInvalid, `"exp" is a word`, emailUser, sign(w.secret, hs256, jwt.MapClaims{"email": emailUser.Email, "iat": iat, "exp": "soon"})},
		{jwterrors.TokenPayloadInvalid, `it has both "email" and "userId"`, emailUser, sign(w.secret, hs256, jwt.MapClaims{"email": emailUser.Email, "userId": "user123", "iat": iat, "exp": iat + 3600})},
		{jwterrors.TokenSignatureInvalid, "it is of another secret", emailUser, sign(newSecret(), hs256, good)},
		{jwterrors.TokenSignatureInvalid, "it is of HS512", emailUser, sign(w.secret, jwt.SigningMethodHS512, good)},
		{jwterrors.TokenUserKeyInvalid, "its user is not the one of the request", idUser, sign(w.secret, hs256, good)},
		{jwterrors.TokenUserKeyInvalid, "there is no such user", refresher.UserID("nobody"), sign(w.secret, hs256, jwt.MapClaims{"userId": "nobody", "iat": iat, "exp": iat + 3600})},
		{jwterrors.TokenUserKeyInvalid, "it names nobody", emailUser, sign(w.secret, hs256, jwt.MapClaims{"iat": iat, "exp": iat + 3600})},
	} {
		if c.want == jwterrors.TokenInvalidated {
			w.project.invalidate(middleware.UserKey{Email: emailUser.Email}, time.Unix(iat, 0))
		}
		status, reason := w.bareFor(ctx, s, c.user, c.token)
		s.Tell(status == 401 && reason == c.want, "%-29s %s", c.want, c.why)
	}
	status, _ := w.bare(ctx, s, sign(w.secret, hs256, good))
	s.Tell(status == 200, "%-29s nothing is wrong with it", "(none)")
	w.clock.Advance(reuse) // until then the app's own server gives a token that was invalidated

	// Two reasons are those of the app, which has no token to send.
	for _, c := range []struct {
		want    jwterrors.Reason
		why     string
		user    refresher.Identity
		session string
	}{
		{jwterrors.TokenGenerationError, "the authHandler failed: its session is nobody's", idUser, "nobody's"},
		{jwterrors.TokenNull, "the app's own server answered null", refresher.UserID("unconfirmed"), "session of 3"},
	} {
		other := *w.app
		other.session = c.session
		t, err := other.transport()
		if s.Must(err); err != nil {
			return
		}
		w.forget()
		err = t.Identify(ctx, c.user)
		s.Until(ctx, func() bool { return jwterrors.ReasonOf(err) == c.want && w.failed(c.want) != nil }, "%-29s %s", c.want, c.why)
	}
}
