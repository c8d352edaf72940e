package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/refresher"
)

// The story checks what it tells, over HTTP: how a client is identified with and
// without a token (IT-12, IT-16, IT-18, IT-25, IT-26, IT-27), the refresh period
// (IT-20, IT-28), a token that is invalidated and one that is refused for ever
// (IT-21, IT-22, IT-23, IT-24, IT-29), the eleven reasons (IT-13, IT-14, IT-31.01 to
// IT-31.11, IT-31, IT-33, IT-34), network failure (IT-35, IT-39, IT-43), the server that
// makes the tokens (IT-02, IT-04, IT-42), its secret, and the way there from plain
// API keys (IT-05). IT-44 is the program itself.
func TestStory(t *testing.T) {
	told := exampletest.Story(t, run, 9)
	for _, reason := range eleven {
		if !strings.Contains(told, "\n   "+string(reason)+" ") {
			t.Errorf("the reason %s was not provoked", reason)
		}
	}
}

var eleven = []jwterrors.Reason{
	jwterrors.TokenExpirationInvalid, jwterrors.TokenExpired, jwterrors.TokenFormatInvalid, jwterrors.TokenGenerationError,
	jwterrors.TokenGenericError, jwterrors.TokenInvalidated, jwterrors.TokenMissing, jwterrors.TokenNull,
	jwterrors.TokenPayloadInvalid, jwterrors.TokenSignatureInvalid, jwterrors.TokenUserKeyInvalid,
}

// newTestWorld returns a world that is gone after the test, with a story that
// fails it.
func newTestWorld(t *testing.T) (*world, *story.Story) {
	t.Helper()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	s := story.New(t.Output())
	t.Cleanup(func() {
		w.close()
		if err := s.Err(); err != nil {
			t.Error(err)
		}
	})
	return w, s
}

// IT-06, IT-07, IT-09, IT-10, IT-32: what a token has to look like, at its limits.
func TestTokensAtTheirLimits(t *testing.T) {
	w, s := newTestWorld(t)
	iat := time.Now().Unix()
	const year = 365 * 24 * 60 * 60
	hs256 := func(claims jwt.MapClaims) string { return sign(w.secret, jwt.SigningMethodHS256, claims) }
	good := hs256(jwt.MapClaims{"userId": "user123", "iat": iat, "exp": iat + 3600})
	header, rest, _ := strings.Cut(good, ".")
	for _, c := range []struct {
		name, token string
		want        jwterrors.Reason
	}{
		{"a good one", good, ""},
		{"one second less than a year", hs256(jwt.MapClaims{"userId": "user123", "iat": iat, "exp": iat + year - 1}), ""},
		{"a year", hs256(jwt.MapClaims{"userId": "user123", "iat": iat, "exp": iat + year}), jwterrors.TokenExpirationInvalid},
		{"the documented one, which is of 2021", hs256(jwt.MapClaims{"userId": "user123", "iat": 1640000000, "exp": 1640086400}), jwterrors.TokenExpired},
		{"no iat", hs256(jwt.MapClaims{"userId": "user123", "exp": iat + 3600}), jwterrors.TokenPayloadInvalid},
		{"no exp", hs256(jwt.MapClaims{"userId": "user123", "iat": iat}), jwterrors.TokenPayloadInvalid},
		{"a user id that is a number", hs256(jwt.MapClaims{"userId": 123, "iat": iat, "exp": iat + 3600}), jwterrors.TokenPayloadInvalid},
		{"an empty user id", hs256(jwt.MapClaims{"userId": "", "iat": iat, "exp": iat + 3600}), jwterrors.TokenUserKeyInvalid},
		{"four parts", good + ".x", jwterrors.TokenFormatInvalid},
		{"another alphabet", header + "+." + rest, jwterrors.TokenFormatInvalid},
		{"an altered payload", header + "." + "e30" + rest[strings.Index(rest, "."):], jwterrors.TokenSignatureInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, reason := w.bareFor(t.Context(), s, idUser, c.token)
			if reason != c.want || (c.want == "") != (status == http.StatusOK) {
				t.Errorf("got %d %s, want %q", status, reason, c.want)
			}
		})
	}
}

// IT-08: the user is named in one way, in what the app's own server makes and in
// what the API takes.
func TestEmailOrUserID(t *testing.T) {
	w, s := newTestWorld(t)
	for _, c := range []struct {
		session string
		user    refresher.Identity
	}{{"session of 1", emailUser}, {"session of 2", idUser}} {
		w.app.session = c.session
		token, err := w.app.fetch(t.Context(), c.user)
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.MapClaims
		if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
			t.Fatal(err)
		}
		if len(claims) != 3 || claims["email"] != nil && claims["userId"] != nil {
			t.Errorf("the token of %s says %v", c.user, claims)
		}
		if status, reason := w.bareFor(t.Context(), s, c.user, token); status != http.StatusOK {
			t.Errorf("the token of %s is answered %d %s", c.user, status, reason)
		}
	}
}

// IT-12, IT-15, IT-16: the authHandler in both forms, with its callbacks and with
// the token alone, and the Fetcher, which is one without code (IT-17). Exactly one of
// the callbacks is called, and that once.
func TestBothFormsOfTheAuthHandler(t *testing.T) {
	for _, c := range []struct {
		name              string
		callbacks, onHold bool
		status            int
		accepted, refused int64
	}{
		{"a token and nothing else", false, false, 200, 0, 0},
		{"callbacks of a token that is accepted", true, false, 200, 1, 0},
		{"a token and nothing else, which is refused", false, true, 401, 0, 0},
		{"callbacks of two tokens that are refused", true, true, 401, 0, 2}, // the second is that of the retry
	} {
		test := func(t *testing.T, source func(*app) refresher.Source) {
			w, s := newTestWorld(t)
			if !c.callbacks {
				w.app.onSuccess, w.app.onFailure = nil, nil
			}
			w.setOnHold(emailUser, c.onHold)
			client, err := w.app.transportWith(source(w.app))
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Identify(t.Context(), emailUser); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				status, _, err := w.app.messages(t.Context(), client.Client(), emailUser)
				if err != nil || status != c.status {
					t.Fatalf("got %d %v, want %d", status, err, c.status)
				}
			}
			s.Until(t.Context(), func() bool { return w.accepted.Load() == c.accepted && w.refused.Load() == c.refused },
				"%d times accepted, %d times refused", c.accepted, c.refused)
		}
		t.Run(c.name, func(t *testing.T) {
			test(t, func(a *app) refresher.Source { return refresher.AuthHandler(a.authHandler) })
		})
		t.Run(c.name+", of a Fetcher", func(t *testing.T) { test(t, (*app).fetcher) })
	}
}

// IT-19: updateEmail is Identify. The token of the address before is not sent any
// more, not even while there is none of the new one.
func TestUpdateEmail(t *testing.T) {
	w, _ := newTestWorld(t)
	client, err := w.app.transport()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Identify(t.Context(), emailUser); err != nil {
		t.Fatal(err)
	}
	before := w.backend.asked.Load()
	w.backend.down.Store(true)
	if err := client.Identify(t.Context(), refresher.Email("new@example.com")); err == nil {
		t.Fatal("Identify had a token, and nobody made one")
	}
	_, _, err = w.app.messages(t.Context(), client.Client(), emailUser)
	if err == nil || w.decisions.of("") != 0 {
		t.Errorf("a request was sent after updateEmail without a token for the new address: %v", err)
	}
	if w.backend.asked.Load() == before {
		t.Error("nobody was asked for a token of the new address")
	}
}

// IT-35, IT-36, IT-37, IT-38: five repetitions after the first try, EXPONENTIAL
// from two seconds on unless told otherwise, and each default stands alone.
func TestRetryPolicy(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name   string
		change func(*refresher.Config)
		want   []time.Duration
	}{
		{"the defaults", func(*refresher.Config) {}, []time.Duration{2 * second, 4 * second, 8 * second, 16 * second, 32 * second}},
		{"LINEAR", func(c *refresher.Config) { c.RetryBackoff = refresher.Linear }, []time.Duration{2 * second, 4 * second, 6 * second, 8 * second, 10 * second}},
		{"another interval", func(c *refresher.Config) { c.RetryInterval = second }, []time.Duration{second, 2 * second, 4 * second, 8 * second, 16 * second}},
		{"two retries", func(c *refresher.Config) { c.MaxRetries = 2 }, []time.Duration{2 * second, 4 * second}},
		{"no retries", func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls []time.Time
				config := refresher.Config{
					Origins: []string{"https://api.example.com"}, NoJitter: true,
					Source: refresher.AuthHandler(func(context.Context, refresher.Identity) (refresher.AuthResponse, error) {
						calls = append(calls, time.Now())
						return refresher.AuthResponse{}, errors.New("no network")
					}),
				}
				c.change(&config)
				client, err := refresher.New(config)
				if err != nil {
					t.Fatal(err)
				}
				err = client.Identify(t.Context(), emailUser)
				if !errors.Is(err, jwterrors.TokenGenerationError) {
					t.Errorf("Identify: %v", err)
				}
				var waits []time.Duration
				for i := 1; i < len(calls); i++ {
					waits = append(waits, calls[i].Sub(calls[i-1]))
				}
				if !slices.Equal(waits, c.want) {
					t.Errorf("waited %v, want %v", waits, c.want)
				}
			})
		})
	}
}

// IT-42: who asks often gets one token, until Reuse has passed; another user gets
// another one.
func TestTheBackendDoesNotSignEachTime(t *testing.T) {
	w, _ := newTestWorld(t)
	fetch := func() string {
		t.Helper()
		token, err := w.app.fetch(t.Context(), emailUser)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := fetch()
	w.clock.Advance(reuse - time.Second)
	if fetch() != first {
		t.Error("a token was signed anew before its time")
	}
	w.clock.Advance(2 * time.Second)
	if fetch() == first {
		t.Error("a token was given for longer than its time")
	}
}

// IT-04: a new Minter is refused a secret that is too short, and the route wants
// the app's own session, in the right form.
func TestTheBackendRefuses(t *testing.T) {
	w, _ := newTestWorld(t)
	if err := w.backend.setSecrets([]byte("short")); err == nil {
		t.Error("a short secret was taken")
	}
	for _, c := range []struct {
		name, session, kind, body string
		status                    int
	}{
		{"its own user", "session of 1", "application/json", `{"email":"user@example.com"}`, 200},
		{"no session", "", "application/json", `{"email":"user@example.com"}`, 401},
		{"another user", "session of 1", "application/json", `{"userId":"user123"}`, 403},
		{"nobody", "session of 1", "application/json", `{}`, 403},
		{"a form", "session of 1", "application/x-www-form-urlencoded", `email=user@example.com`, 400},
		{"no JSON", "session of 1", "application/json", `{`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.app.backend+"/jwt", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", c.kind)
			if c.session != "" {
				req.Header.Set("Authorization", "Bearer "+c.session)
			}
			status, _, err := say(http.DefaultClient, req)
			if err != nil || status != c.status {
				t.Errorf("got %d %v, want %d", status, err, c.status)
			}
		})
	}
	if _, err := issuer.NewMinter(issuer.MinterConfig{Secrets: [][]byte{newSecret()}, TTL: 365 * 24 * time.Hour}); err == nil {
		t.Error("a Minter makes tokens for a year")
	}
}

// IT-45: the README says how to move here from plain API keys, step by step, and
// has one entry for each reason.
func TestTheReadme(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(data)
	for _, reason := range eleven {
		if strings.Count(readme, "\n- `"+string(reason)+"`: ") != 1 {
			t.Errorf("the README has no entry for %s, or several", reason)
		}
	}
	if strings.Count(readme, "\n- `AUTH_") != len(eleven) {
		t.Error("the README has an entry for a reason that does not exist")
	}
	at := -1
	for _, step := range []string{"1. **Add the issuer.**", "2. **Add the handler.**", "3. **Try it in a sandbox.**", "4. **Swap.**"} {
		next := strings.Index(readme, step)
		if next <= at {
			t.Errorf("the step %q is missing, or out of order", step)
		}
		at = next
	}
}
