package refresher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

func TestTheLoopOverRealHTTP(t *testing.T) { // AX-06, AX-13, NV-10, NV-11, NV-21, DC-07
	s := newService()
	server := s.start(t)
	tr := newTransport(t, config(server.URL))
	client := tr.Client()

	status, err := get(t.Context(), client, server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 401, status, "before any session a request goes out without a token (AX-02)")
	assert.Zero(t, s.refreshes.Load())

	err = tr.Login(t.Context(), refresher.Credentials{Username: "alice", Password: "wrong"})
	assert.ErrorIs(t, err, jwterrors.CredentialsInvalid)
	login(t, tr)
	status, err = get(t.Context(), client, server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 200, status)

	before, _ := tr.Tokens()
	s.expire()
	req := must(http.NewRequest("POST", server.URL+"/api", strings.NewReader("a body")))
	req.Header.Set("X-Mine", "1")
	header := req.Header.Clone()
	resp, err := client.Do(req)
	require.NoError(t, err)
	body := must(io.ReadAll(resp.Body))
	resp.Body.Close()
	assert.Equal(t, "ok a body", string(body), "the body was sent again")
	assert.Equal(t, header, req.Header, "the caller's request is as it was")
	after, _ := tr.Tokens()
	assert.NotEqual(t, before.AccessToken, after.AccessToken)
	assert.NotEqual(t, before.RefreshToken, after.RefreshToken)
	assert.NotEqual(t, before.RetryKey, after.RetryKey)
	assert.EqualValues(t, 1, s.refreshes.Load())

	require.NoError(t, tr.Logout(t.Context()))
	_, _, revoked := s.log()
	assert.Equal(t, []string{after.RefreshToken}, revoked)
	_, err = get(t.Context(), client, server.URL+"/api")
	assert.ErrorIs(t, err, jwterrors.LoggedOut)
	assert.NoError(t, tr.Logout(t.Context()), "again")
	assert.Len(t, revoked, 1)
}

func TestOnlyRefusalsRefresh(t *testing.T) { // NV-12, AX-04, D1
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	for _, c := range []struct {
		name   string
		status int
		reason jwterrors.Reason
		want   int64
	}{
		{"200", 200, "", 0}, {"400", 400, "", 0}, {"403", 403, "", 0}, {"404", 404, "", 0}, {"429", 429, "", 0}, {"500", 500, "", 0}, {"503", 503, "", 0},
		{"a missing scope", 403, jwterrors.ScopeInsufficient, 0},
		{"401 for another audience, which no new token mends", 401, jwterrors.TokenAudienceInvalid, 0},
		{"401 for a stronger login", 401, jwterrors.AuthenticationInsufficient, 0},
		{"401 for a token that is not valid yet", 401, jwterrors.TokenNotYetValid, 0},
		{"401 for a revoked token", 401, jwterrors.TokenInvalidated, 1},
		{"401 without any code", 401, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.refreshes.Load()
			s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
				if s.refreshes.Load() > before {
					return false
				}
				if c.reason != "" {
					jwterrors.Responder{}.Respond(w, r, c.reason)
				} else {
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, "the body")
				}
				return true
			})
			resp, err := tr.Client().Get(api)
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, c.want, s.refreshes.Load()-before)
			if c.want == 0 {
				assert.Equal(t, c.status, resp.StatusCode)
				assert.NotEmpty(t, must(io.ReadAll(resp.Body)), "the body is the caller's")
			} else {
				assert.Equal(t, 200, resp.StatusCode)
			}
		})
	}
}

func TestRefusalsAreConfigurable(t *testing.T) { // IT-21, IT-22, D1, JG-10
	s := newService()
	tr := offline(t, s, func(c *refresher.Config) {
		c.Refusals = []refresher.Refusal{{Status: 401, Code: "InvalidJwtPayload"}, {Status: 403, Code: "invalidToken"}}
	})
	login(t, tr)
	for _, c := range []struct {
		status int
		body   string
		want   int64
	}{
		{401, `{}`, 0}, {401, `{"code":"Other"}`, 0}, {403, `{}`, 0}, {401, `{"code":"InvalidJwtPayload"}`, 1}, {403, `{"code":"invalidToken"}`, 1},
	} {
		before := s.refreshes.Load()
		s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
			if s.refreshes.Load() > before {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
			return true
		})
		_, err := get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, c.want, s.refreshes.Load()-before, "%d %s", c.status, c.body)
	}
}

func TestARequestIsRetriedOnceAndThenNoMore(t *testing.T) { // AX-05, IT-23, IT-24, IT-39
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		jwterrors.Responder{}.Respond(w, r, jwterrors.TokenSignatureInvalid)
		return true
	})
	client := tr.Client()
	status, err := get(t.Context(), client, api)
	require.NoError(t, err)
	assert.Equal(t, 401, status, "the second 401 is the caller's")
	assert.EqualValues(t, 2, s.calls.Load())
	assert.EqualValues(t, 1, s.refreshes.Load())
	for range 10 {
		status, err = get(t.Context(), client, api)
		require.NoError(t, err)
		assert.Equal(t, 401, status)
	}
	assert.EqualValues(t, 1, s.refreshes.Load(), "a newer token does not help, so none is asked for")
	login(t, tr)
	_, _ = get(t.Context(), client, api)
	assert.EqualValues(t, 2, s.refreshes.Load(), "a new session begins again")
}

func TestWhichBodiesAreSentAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   func() io.Reader
		status int
		want   string
	}{
		{"none", func() io.Reader { return nil }, 200, "ok "},
		{"NoBody", func() io.Reader { return http.NoBody }, 200, "ok "},
		{"one that can be read again", func() io.Reader { return strings.NewReader("x") }, 200, "ok x"},
		{"a stream", func() io.Reader { return io.MultiReader(strings.NewReader("x")) }, 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService()
			server := s.start(t)
			tr := newTransport(t, config(server.URL))
			login(t, tr)
			s.expire()
			req := must(http.NewRequest("POST", server.URL+"/api", c.body()))
			resp, err := tr.Client().Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, c.status, resp.StatusCode)
			body := string(must(io.ReadAll(resp.Body)))
			if c.want != "" {
				assert.Equal(t, c.want, body)
			} else {
				assert.Contains(t, body, "AUTH_TOKEN_EXPIRED", "the refusal is whole")
				assert.Eventually(t, func() bool { return s.refreshes.Load() == 1 }, 5*time.Second, time.Millisecond, "the refresh starts all the same")
			}
		})
	}
}

// closeCounter counts how often it is closed.
type closeCounter struct {
	io.Reader
	closed *atomic.Int64
}

func (c closeCounter) Close() error { c.closed.Add(1); return nil }

func TestTheBodyIsClosedOnErrorsToo(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	require.NoError(t, tr.Logout(t.Context()))
	var closed atomic.Int64
	req := must(http.NewRequest("POST", api, nil))
	req.Body = closeCounter{strings.NewReader("x"), &closed}
	_, err := tr.RoundTrip(req)
	assert.ErrorIs(t, err, jwterrors.LoggedOut)
	assert.EqualValues(t, 1, closed.Load())
}

func TestAPoolOfOneConnectionDoesNotDeadlock(t *testing.T) {
	s := newService()
	server := s.start(t)
	c := config(server.URL)
	c.Base = &http.Transport{MaxConnsPerHost: 1}
	tr := newTransport(t, c)
	login(t, tr)
	s.expire()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := tr.Client()
	assert.EqualValues(t, 100, crowd(100, func(int) bool {
		status, err := get(ctx, client, server.URL+"/api")
		return err == nil && status == 200
	}))
	assert.EqualValues(t, 1, s.refreshes.Load())
}

func TestACallersOwnAuthorizationIsLeftAlone(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	var seen string
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		seen = r.Header.Get("Authorization")
		w.WriteHeader(401)
		return true
	})
	req := must(http.NewRequest("GET", api, nil))
	req.Header.Set("Authorization", "Basic YTpi")
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "Basic YTpi", seen)
	assert.Zero(t, s.refreshes.Load())
}

// The token goes to the origins listed and to no other, whatever a redirect
// says: another host, port or scheme never has it, and the way back does.
func TestRedirectsNeverCarryTheTokenElsewhere(t *testing.T) { // IT-03, AX-20
	tokens := map[string]string{} // by URL
	base := tripFunc(func(r *http.Request) (*http.Response, error) {
		tokens[r.URL.String()] = r.Header.Get("Authorization")
		w := httptest.NewRecorder()
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
		resp := w.Result()
		resp.Request = r
		return resp, nil
	})
	tr := newTransport(t, refresher.Config{
		AuthURL: "https://id.example.com/auth", Origins: []string{"https://api.example.com", "https://other.example.com:8443"}, Base: base,
	})
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice"}`)}))
	const home = "https://api.example.com/"
	for _, c := range []struct {
		target string
		want   bool
	}{
		{"https://api.example.com/x", true},
		{"https://API.EXAMPLE.COM/x", true},
		{"https://api.example.com:443/x", true},
		{"https://other.example.com:8443/x", true},
		{"http://api.example.com/x", false},
		{"http://api.example.com:443/x", false},
		{"https://api.example.com:8443/x", false},
		{"https://other.example.com/x", false},
		{"https://example.com/x", false},
		{"https://evil.api.example.com/x", false},
		{"https://api.example.com.evil.example/x", false},
		{"https://api.example.com@evil.example/x", false},
		{"https://id.example.com/x", false},
		{"https://127.0.0.1/x", false},
		{"https://xn--pi-qja.example.com/x", false},
	} {
		t.Run(c.target, func(t *testing.T) {
			clear(tokens)
			resp, err := tr.Client().Get(home + "?to=" + c.target)
			require.NoError(t, err)
			resp.Body.Close()
			assert.NotEmpty(t, tokens[home+"?to="+c.target], "the first hop has it")
			got := resp.Request.URL.String()
			assert.Equal(t, c.want, strings.HasPrefix(tokens[got], "Bearer "), "%s", got)

			clear(tokens)
			resp, err = tr.Client().Get(c.target) // without a redirect, too
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, c.want, strings.HasPrefix(tokens[resp.Request.URL.String()], "Bearer "))

			clear(tokens)
			back := c.target + "?to=" + home + "back"
			resp, err = tr.Client().Get(back)
			require.NoError(t, err)
			resp.Body.Close()
			assert.NotEmpty(t, tokens[home+"back"], "a redirect back has it again")
		})
	}
}

type tripFunc func(*http.Request) (*http.Response, error)

func (f tripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheRetryGoesToTheSameOriginAlone(t *testing.T) {
	s := newService()
	server := s.start(t)
	var leaked atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Add(1)
		}
		w.WriteHeader(401)
	}))
	defer thief.Close()
	tr := newTransport(t, config(server.URL))
	login(t, tr)
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, thief.URL, http.StatusFound)
		return true
	})
	status, err := get(t.Context(), tr.Client(), server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 401, status, "a stranger's 401 is no refusal")
	assert.Zero(t, leaked.Load())
	assert.Zero(t, s.refreshes.Load())
}

func TestATokenIsRenewedBeforeItExpires(t *testing.T) { // IT-20, IT-28, AX-19, D7, NV-05
	for _, c := range []struct {
		name                        string
		ttl                         time.Duration
		change                      func(*refresher.Config)
		attachOnly, inWindow, waits time.Duration // ages at which a call is made
	}{
		{"ten minutes", 10 * time.Minute, nil, 9*time.Minute - 1, 9 * time.Minute, 9*time.Minute + 30*time.Second},
		{"a longer window (IT-41)", 10 * time.Minute, func(c *refresher.Config) { c.RefreshWindow = 2 * time.Minute }, 8*time.Minute - 1, 8 * time.Minute, 9*time.Minute + 30*time.Second},
		{"20 seconds: no more than half", 20 * time.Second, nil, 10*time.Second - 1, 10 * time.Second, 15 * time.Second},
		{"no skew", 10 * time.Minute, func(c *refresher.Config) { c.Skew = refresher.NoSkew }, 9*time.Minute - 1, 9 * time.Minute, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			for age, want := range map[time.Duration]struct {
				refreshes int64
				sent      int // the number of the token that the call carried
			}{c.attachOnly: {0, 1}, c.inWindow: {1, 1}, c.waits - 1: {1, 1}, c.waits: {1, 2}} {
				synctest.Test(t, func(t *testing.T) {
					s := newService()
					s.ttl, s.opaque = c.ttl, true
					tr := offline(t, s, c.change)
					defer tr.Close()
					login(t, tr)
					var sent int
					s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
						sent = number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
						return true
					})
					time.Sleep(age)
					_, err := get(t.Context(), tr.Client(), api)
					require.NoError(t, err)
					synctest.Wait()
					assert.Equal(t, want.refreshes, s.refreshes.Load(), "at %v", age)
					assert.Equal(t, want.sent, sent, "at %v", age)
				})
			}
		})
	}
}

// Without a window a token is renewed when it is not sent any more, and not before.
func TestATokenIsRenewedWithoutAWindow(t *testing.T) {
	for age, want := range map[time.Duration]int64{9*time.Minute + 30*time.Second - 1: 0, 9*time.Minute + 30*time.Second: 1} {
		synctest.Test(t, func(t *testing.T) {
			s := newService()
			s.opaque = true
			tr := offline(t, s, func(c *refresher.Config) { c.RefreshWindow = refresher.NoRefreshWindow })
			login(t, tr)
			time.Sleep(age)
			call(t, tr)
			synctest.Wait()
			assert.Equal(t, want, s.refreshes.Load(), "at %v", age)
		})
	}
}

func TestTheServersVerdictEndsTheSession(t *testing.T) { // AX-10, AX-25, JG-07
	for name, refuse := range map[string]func(w http.ResponseWriter, r *http.Request){
		"reused": func(w http.ResponseWriter, r *http.Request) {
			jwterrors.Responder{}.Respond(w, r, jwterrors.RefreshTokenReused)
		},
		"expired": func(w http.ResponseWriter, r *http.Request) {
			jwterrors.Responder{}.Respond(w, r, jwterrors.RefreshTokenExpired)
		},
		"revoked": func(w http.ResponseWriter, r *http.Request) {
			jwterrors.Responder{}.Respond(w, r, jwterrors.SessionRevoked)
		},
		"OAuth's invalid_grant": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			store := &refresher.MemoryStore{}
			var told atomic.Int64
			ended := make(chan *jwterrors.Error, 10)
			tr := offline(t, s, func(c *refresher.Config) {
				c.Store = store
				c.OnSessionExpired = func(e *jwterrors.Error) { told.Add(1); ended <- e }
			})
			login(t, tr)
			s.expire()
			s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool { refuse(w, r); return true })
			client := tr.Client()
			crowd(50, func(int) bool { _, err := get(t.Context(), client, api); return err == nil })
			e := <-ended
			assert.Equal(t, jwterrors.ActionLogin, e.Reason.Action())
			_, err := get(t.Context(), client, api)
			assert.ErrorIs(t, err, jwterrors.LoggedOut)
			assert.ErrorIs(t, err, e.Reason, "and says why")
			assert.EqualValues(t, 1, told.Load())
			assert.EqualValues(t, 1, s.refreshes.Load())
			assert.True(t, must(store.Load(t.Context())).IsZero())
			_, active := tr.Tokens()
			assert.False(t, active)
			s.hookRefresh(nil)
			login(t, tr)
			status, err := get(t.Context(), client, api)
			assert.NoError(t, err)
			assert.Equal(t, 200, status)
		})
	}
}

func TestWhatAPersonMustMendPausesRefreshing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		var ended atomic.Int64
		tr := offline(t, s, func(c *refresher.Config) { c.OnSessionExpired = func(*jwterrors.Error) { ended.Add(1) } })
		defer tr.Close()
		login(t, tr)
		s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
			jwterrors.Responder{}.RespondOAuth(w, r, jwterrors.ClientInvalid)
			return true
		})
		time.Sleep(time.Hour)
		for range 20 {
			_, err := get(t.Context(), tr.Client(), api)
			assert.Error(t, err)
		}
		assert.EqualValues(t, 1, s.refreshes.Load(), "nobody hammers")
		_, active := tr.Tokens()
		assert.True(t, active, "the session is kept")
		assert.Zero(t, ended.Load())
		s.hookRefresh(nil)
		time.Sleep(time.Minute)
		status, err := get(t.Context(), tr.Client(), api)
		assert.NoError(t, err)
		assert.Equal(t, 200, status)
	})
}

func TestTenFailedGenerationsInARowAreEnough(t *testing.T) { // MO-10, MO-11, MO-12, D4
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) { c.MaxFailures = 3 })
		defer tr.Close()
		login(t, tr)
		s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
			jwterrors.Responder{}.RespondOAuth(w, r, jwterrors.ClientInvalid)
			return true
		})
		time.Sleep(time.Hour)
		for range 20 {
			_, _ = get(t.Context(), tr.Client(), api)
			time.Sleep(2 * time.Minute)
		}
		assert.EqualValues(t, 3, s.refreshes.Load())
		_, err := get(t.Context(), tr.Client(), api)
		assert.ErrorIs(t, err, jwterrors.Paused)
		s.hookRefresh(nil)
		tr.Resume()
		status, err := get(t.Context(), tr.Client(), api)
		assert.NoError(t, err)
		assert.Equal(t, 200, status)
	})
}

func TestARefreshWithoutANewRefreshTokenKeepsTheOld(t *testing.T) { // JG-03
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	before, _ := tr.Tokens()
	s.expire()
	s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.current++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"`+s.access(s.current)+`"}`)
		return true
	})
	status, err := get(t.Context(), tr.Client(), api)
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	after, _ := tr.Tokens()
	assert.Equal(t, before.RefreshToken, after.RefreshToken)
	assert.NotEqual(t, before.AccessToken, after.AccessToken)
}

func TestPushModeWaitsForSetTokens(t *testing.T) { // MO-03, MO-05, MO-09, D2
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		var tr *refresher.Transport
		var asked atomic.Int64
		tr = offline(t, s, func(c *refresher.Config) {
			c.AuthURL, c.Push = "", true
			c.OnFailure = func(e *jwterrors.Error) {
				if asked.Add(1) == 1 {
					time.Sleep(3 * time.Second) // the app asks its own server
					s.mu.Lock()
					s.current = 2
					token := s.access(2)
					s.mu.Unlock()
					if err := tr.SetTokens(context.Background(), refresher.Tokens{AccessToken: token}); err != nil {
						t.Error(err)
					}
				}
			}
		})
		defer tr.Close()
		s.current = 1
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: s.access(1)}))
		client := tr.Client()
		status, err := get(t.Context(), client, api)
		require.NoError(t, err)
		require.Equal(t, 200, status)
		s.current = 2
		start := time.Now()
		assert.EqualValues(t, 50, crowd(50, func(int) bool {
			status, err := get(t.Context(), client, api)
			return err == nil && status == 200
		}))
		assert.Equal(t, 3*time.Second, time.Since(start), "released at once by the new token, from inside the callback")
		synctest.Wait()
		assert.EqualValues(t, 1, asked.Load())
	})
}

func TestTokensAreCheckedOnReceipt(t *testing.T) { // IT-09, IT-27, IT-32, IT-40, NV-06, NV-07, IT-31.01
	now := time.Now().Unix()
	for _, c := range []struct {
		name   string
		tokens refresher.Tokens
		change func(*refresher.Config)
		want   jwterrors.Reason
	}{
		{"a good one", refresher.Tokens{AccessToken: jwtOf(fmt.Sprintf(`{"exp":%d}`, now+60))}, nil, ""},
		{"opaque", refresher.Tokens{AccessToken: "opaque"}, nil, ""},
		{"expired without a refresh token", refresher.Tokens{AccessToken: jwtOf(fmt.Sprintf(`{"exp":%d}`, now-60))}, nil, jwterrors.TokenExpired},
		{"nothing", refresher.Tokens{}, nil, jwterrors.TokenNull},
		{"a line break", refresher.Tokens{AccessToken: "a\r\nX: y"}, nil, jwterrors.TokenFormatInvalid},
		{"a second less than a year", refresher.Tokens{AccessToken: jwtOf(fmt.Sprintf(`{"iat":%d,"exp":%d}`, now, now+31536000-1))}, nil, ""},
		{"a year without an iat", refresher.Tokens{AccessToken: jwtOf(fmt.Sprintf(`{"exp":%d}`, now+31536000+5))}, nil, jwterrors.TokenExpirationInvalid},
		{"a year, where any lifetime will do", refresher.Tokens{AccessToken: jwtOf(fmt.Sprintf(`{"iat":%d,"exp":%d}`, now, now+31536000))},
			func(c *refresher.Config) { c.MaxLifetime = refresher.NoMaxLifetime }, ""},
		{"an hour and a second, where it is one hour", refresher.Tokens{AccessToken: jwtOf(fmt.Sprintf(`{"iat":%d,"exp":%d}`, now, now+3601))},
			func(c *refresher.Config) { c.MaxLifetime = time.Hour }, jwterrors.TokenExpirationInvalid},
		{"the right issuer and one of two audiences", refresher.Tokens{AccessToken: jwtOf(`{"iss":"a","aud":["b","c"]}`)},
			func(c *refresher.Config) { c.Issuer, c.Audience = "a", "c" }, ""},
		{"no issuer where one is expected", refresher.Tokens{AccessToken: jwtOf(`{}`)}, func(c *refresher.Config) { c.Issuer = "a" }, jwterrors.TokenIssuerInvalid},
		{"no audience where one is expected", refresher.Tokens{AccessToken: jwtOf(`{}`)}, func(c *refresher.Config) { c.Audience = "a" }, jwterrors.TokenAudienceInvalid},
		{"an opaque token where an issuer is expected", refresher.Tokens{AccessToken: "opaque"}, func(c *refresher.Config) { c.Issuer = "a" }, jwterrors.TokenFormatInvalid},
		{"a year", refresher.Tokens{AccessToken: jwtOf(fmt.Sprintf(`{"iat":%d,"exp":%d}`, now, now+31536000))}, nil, jwterrors.TokenExpirationInvalid},
		{"an exp that is a string", refresher.Tokens{AccessToken: jwtOf(`{"exp":"soon"}`)}, nil, jwterrors.TokenPayloadInvalid},
		{"a proof token", refresher.Tokens{AccessToken: "x", TokenType: "DPoP"}, nil, jwterrors.TokenTypeInvalid},
		{"another issuer", refresher.Tokens{AccessToken: jwtOf(`{"iss":"b"}`)}, func(c *refresher.Config) { c.Issuer = "a" }, jwterrors.TokenIssuerInvalid},
		{"another audience", refresher.Tokens{AccessToken: jwtOf(`{"aud":["b"]}`)}, func(c *refresher.Config) { c.Audience = "a" }, jwterrors.TokenAudienceInvalid},
		{"another email", refresher.Tokens{AccessToken: jwtOf(`{"email":"b@example.com"}`), Identity: refresher.Email("a@example.com")}, nil, jwterrors.TokenUserKeyInvalid},
		{"the right email", refresher.Tokens{AccessToken: jwtOf(`{"email":"a@example.com"}`), Identity: refresher.Email("a@example.com")}, nil, ""},
		{"another user id", refresher.Tokens{AccessToken: jwtOf(`{"userId":"b"}`), Identity: refresher.UserID("a")}, nil, jwterrors.TokenUserKeyInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := offline(t, newService(), c.change)
			err := tr.SetTokens(t.Context(), c.tokens)
			assert.Equal(t, c.want, jwterrors.ReasonOf(err))
			_, active := tr.Tokens()
			assert.Equal(t, c.want == "", active)
		})
	}
}

func TestASecondProcessTakesOverWhatTheFirstSaved(t *testing.T) {
	s := newService()
	store := &refresher.MemoryStore{}
	share := func(c *refresher.Config) { c.Store = store }
	a, b := offline(t, s, share), offline(t, s, share)
	login(t, a)
	for _, tr := range []*refresher.Transport{a, b, offline(t, s, share)} {
		status, err := get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
	}
	s.expire()
	assert.EqualValues(t, 200, crowd(200, func(i int) bool {
		status, err := get(t.Context(), []*refresher.Transport{a, b}[i%2].Client(), api)
		return err == nil && status == 200
	}))
	assert.EqualValues(t, 1, s.refreshes.Load(), "one refresh for all who share the store")
}

func TestAConfigThatCannotWorkIsRefused(t *testing.T) { // IT-03, AX-20
	for _, c := range []struct {
		name   string
		change func(*refresher.Config)
		want   string
	}{
		{"no origins", func(c *refresher.Config) { c.Origins = nil }, "Origins is empty"},
		{"a plain http origin", func(c *refresher.Config) { c.Origins = []string{"http://api.example.com"} }, "InsecureAllowHTTP"},
		{"a wildcard", func(c *refresher.Config) { c.Origins = []string{"https://*.example.com"} }, "wildcards"},
		{"an origin that is no URL", func(c *refresher.Config) { c.Origins = []string{"https://[::1"} }, "not a URL"},
		{"an origin without a host", func(c *refresher.Config) { c.Origins = []string{"https://:8443"} }, "no host"},
		{"an origin with a query", func(c *refresher.Config) { c.Origins = []string{"https://api.example.com?"} }, "a query"},
		{"an origin that is not in ASCII", func(c *refresher.Config) { c.Origins = []string{"https://b\u00fccher.example"} }, "ASCII"},
		{"an origin with a path", func(c *refresher.Config) { c.Origins = []string{"https://api.example.com/v1"} }, "no path"},
		{"a plain http issuer", func(c *refresher.Config) { c.AuthURL = "http://id.example.com/auth" }, "InsecureAllowHTTP"},
		{"an issuer with a password", func(c *refresher.Config) { c.AuthURL = "https://user:hunter2@id.example.com" }, "user name"},
		{"nowhere to get tokens", func(c *refresher.Config) { c.AuthURL = "" }, "is needed"},
		{"push and pull", func(c *refresher.Config) { c.Push, c.Source = true, sourceFunc(nil) }, "exclude"},
		{"a negative window", func(c *refresher.Config) { c.RefreshWindow = -2 }, "RefreshWindow is negative"},
		{"a path without a slash", func(c *refresher.Config) { c.RefreshPath = "refresh" }, "slash"},
		{"a path with a query", func(c *refresher.Config) { c.LoginPath = "/login?x=y" }, "more than a path"},
		{"an unknown backoff", func(c *refresher.Config) { c.RetryBackoff = "QUADRATIC" }, "RetryBackoff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := refresher.Config{AuthURL: "https://id.example.com/auth", Origins: []string{"https://api.example.com"}}
			c.change(&cfg)
			_, err := refresher.New(cfg)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
	for name, change := range map[string]func(*refresher.Config){
		"MaxLifetime":      func(c *refresher.Config) { c.MaxLifetime = -2 },
		"MaxRetries":       func(c *refresher.Config) { c.MaxRetries = -2 },
		"RetryInterval":    func(c *refresher.Config) { c.RetryInterval = -1 },
		"MaxRetryInterval": func(c *refresher.Config) { c.MaxRetryInterval = -1 },
		"AttemptTimeout":   func(c *refresher.Config) { c.AttemptTimeout = -1 },
		"RefreshTimeout":   func(c *refresher.Config) { c.RefreshTimeout = -1 },
		"Pause":            func(c *refresher.Config) { c.Pause = -1 },
		"MaxFailures":      func(c *refresher.Config) { c.MaxFailures = -1 },
	} {
		cfg := refresher.Config{AuthURL: "https://id.example.com/auth", Origins: []string{"https://api.example.com"}}
		change(&cfg)
		_, err := refresher.New(cfg)
		assert.ErrorContains(t, err, "refresher: "+name+" is negative")
	}
	_, err := refresher.New(refresher.Config{Skew: -5})
	for _, mistake := range []string{"Origins", "AuthURL", "Skew"} {
		assert.ErrorContains(t, err, mistake, "all mistakes come at once")
	}
}

func TestNoExportedNameTakesASigningKey(t *testing.T) { // IT-01, NV-04
	for _, v := range []any{
		refresher.Config{}, refresher.Tokens{}, refresher.Credentials{}, refresher.AuthResponse{}, refresher.PublicKey{}, refresher.Fetcher{},
	} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			f := typ.Field(i)
			assert.NotEqual(t, reflect.TypeFor[[]byte](), f.Type, "%s.%s", typ, f.Name)
			assert.NotContains(t, strings.ToLower(f.Name), "secret", "%s.%s", typ, f.Name)
			assert.NotContains(t, strings.ToLower(f.Name), "signingkey", "%s.%s", typ, f.Name)
		}
	}
}

func TestNoSecretIsLoggedOrTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		var mu sync.Mutex
		var told []string
		tell := func(lines ...string) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, lines...)
		}
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
			c.OnFailure = func(e *jwterrors.Error) {
				tell(e.Error(), e.String())
				panic(e.Token + "refresh-token-number")
			}
			c.OnRefresh = func(tokens refresher.Tokens) {
				tell(fmt.Sprintf("%v %+v %#v %s", tokens, tokens, tokens, tokens))
			}
		})
		defer tr.Close()
		c := refresher.Credentials{Username: "alice", Password: "wrong-password"}
		tell(fmt.Sprint(tr.Login(t.Context(), c)), fmt.Sprintf("%v %+v %#v", c, c, c))
		login(t, tr)
		tokens, _ := tr.Tokens()
		s.expire()
		s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(500)
			_, _ = io.Copy(w, r.Body)
			return true
		})
		_, err := get(t.Context(), tr.Client(), api)
		tell(fmt.Sprint(err))
		s.hookRefresh(nil)
		time.Sleep(time.Hour)
		_, err = get(t.Context(), tr.Client(), api)
		tell(fmt.Sprint(err))
		s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool { return false })
		s.mu.Lock()
		s.rotation = 99
		s.mu.Unlock()
		time.Sleep(time.Hour)
		_, err = get(t.Context(), tr.Client(), api)
		tell(fmt.Sprint(err))
		synctest.Wait()
		require.NotEmpty(t, logs.String())
		everything := logs.String() + strings.Join(told, "\n")
		for _, secret := range []string{"refresh-token-number", tokens.AccessToken[21:], tokens.RetryKey, "wrong-password", "right"} {
			assert.NotContains(t, everything, secret)
		}
	})
}

func TestACloseEndsARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, nil)
		login(t, tr)
		s.expire()
		entered := make(chan struct{})
		s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
			close(entered)
			<-r.Context().Done()
			return true
		})
		start := time.Now()
		status := make(chan int)
		go func() { st, _ := get(t.Context(), tr.Client(), api); status <- st }()
		<-entered
		require.NoError(t, tr.Close())
		require.NoError(t, tr.Close())
		assert.Equal(t, 401, <-status, "the caller gets the answer that it had")
		err := tr.Refresh(t.Context())
		assert.Error(t, err)
		assert.False(t, errors.Is(err, jwterrors.LoggedOut), "the session is not over")
		assert.Zero(t, time.Since(start), "nobody waits for a timeout")
	})
}

// NV-01: a token travels as a bearer token (RFC 6750, Section 2.1), once, with the
// scheme spelt like that.
func TestATokenTravelsAsABearerToken(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	tokens, _ := tr.Tokens()
	var sent []string
	s.hookCall(func(_ http.ResponseWriter, r *http.Request) bool {
		sent = append(sent, r.Header["Authorization"]...)
		assert.NotContains(t, r.URL.String(), tokens.AccessToken)
		return true
	})
	_, err := get(t.Context(), tr.Client(), api)
	require.NoError(t, err)
	assert.Equal(t, []string{"Bearer " + tokens.AccessToken}, sent)
}

// NV-13: when a refresh yields nothing, whatever the reason, the caller has the
// original answer, whole, and its request was sent once.
func TestARefreshThatYieldsNothingHandsBackTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		source func(context.Context, refresher.Tokens) (refresher.Tokens, error)
		ends   bool
	}{
		"nothing": {func(context.Context, refresher.Tokens) (refresher.Tokens, error) { return refresher.Tokens{}, nil }, false},
		"an error": {func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
			return refresher.Tokens{}, errors.New("boom")
		}, false},
		"a panic": {func(context.Context, refresher.Tokens) (refresher.Tokens, error) { panic("boom") }, false},
		"what is no token": {func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
			return refresher.Tokens{AccessToken: "a b"}, nil
		}, false},
		"the end of a session": {func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
			return refresher.Tokens{}, jwterrors.SessionRevoked
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			tr := offline(t, s, func(config *refresher.Config) {
				config.Source, config.MaxRetries = sourceFunc(c.source), refresher.NoRetries
			})
			login(t, tr)
			s.expire()
			resp, err := tr.Client().Post(api, "text/plain", strings.NewReader("a body"))
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, 401, resp.StatusCode)
			assert.Contains(t, resp.Header.Get("WWW-Authenticate"), "AUTH_TOKEN_EXPIRED")
			assert.Contains(t, string(must(io.ReadAll(resp.Body))), "AUTH_TOKEN_EXPIRED")
			assert.EqualValues(t, 1, s.calls.Load())
			_, active := tr.Tokens()
			assert.Equal(t, c.ends, !active)
		})
	}
}

// NV-15: when a refresh has ended, well or not, the place is free for the next.
func TestARefreshThatHasEndedMakesRoomForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries })
		login(t, tr)
		for n := 1; n <= 10; n++ {
			fails := n%2 == 1
			s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
				if fails {
					w.WriteHeader(503)
				}
				return fails
			})
			s.expire()
			crowd(20, func(int) bool { _, err := get(t.Context(), tr.Client(), api); return err == nil })
			assert.EqualValues(t, n, s.refreshes.Load(), "one each")
			time.Sleep(time.Minute)
		}
	})
}

func TestRefreshByHand(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.LoggedOut)
	login(t, tr)
	assert.NoError(t, tr.Refresh(t.Context()))
	assert.EqualValues(t, 1, s.refreshes.Load())
}

func TestATransportAtRestHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble would not end
		s := newService()
		tr := offline(t, s, nil)
		login(t, tr)
		s.expire()
		_, err := get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
	})
}
