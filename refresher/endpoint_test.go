package refresher_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// Every answer to a refresh belongs to one of three kinds: it is tried again, a
// person must mend it, or the session is over. AX-10, AX-11, AX-21.
func TestWhatAnAnswerToARefreshMeans(t *testing.T) {
	const (
		again  = "again"
		mend   = "mend"
		theEnd = "the end"
	)
	for _, c := range []struct {
		name   string
		status int
		header string // Content-Type
		body   string
		want   string
		reason jwterrors.Reason
	}{
		{"500", 500, "", "", again, jwterrors.RefreshUnavailable},
		{"503", 503, "", "", again, jwterrors.RefreshUnavailable},
		{"503 with a reason", 503, "application/problem+json", `{"reason":"AUTH_STORE_UNAVAILABLE"}`, again, jwterrors.StoreUnavailable},
		{"500 that blames the session", 500, "application/json", `{"error":"invalid_grant"}`, again, jwterrors.RefreshUnavailable},
		{"502 that blames the session", 502, "application/json", `{"reason":"AUTH_SESSION_REVOKED"}`, again, jwterrors.RefreshUnavailable},
		{"429", 429, "", "", again, jwterrors.RateLimited},
		{"408", 408, "", "", again, jwterrors.RefreshUnavailable},
		{"302", 302, "", "", again, jwterrors.RefreshUnavailable},
		{"304", 304, "", "", again, jwterrors.RefreshUnavailable},
		{"200 with HTML", 200, "text/html", "<html>", again, jwterrors.RefreshUnavailable},
		{"200 with nothing", 200, "application/json", "", again, jwterrors.RefreshUnavailable},
		{"204", 204, "", "", again, jwterrors.RefreshUnavailable},
		{"200 with null", 200, "application/json", "null", again, jwterrors.RefreshUnavailable},
		{"200 without an access token", 200, "application/json", `{"refresh_token":"x"}`, again, jwterrors.RefreshUnavailable},
		{"200 with a token that is a number", 200, "application/json", `{"access_token":7}`, again, jwterrors.RefreshUnavailable},
		{"200 cut in two", 200, "application/json", `{"access_token":"x","expi`, again, jwterrors.RefreshUnavailable},
		{"200 with a lifetime that is none", 200, "application/json", `{"access_token":"x","expires_in":"soon"}`, again, jwterrors.RefreshUnavailable},
		{"200 with an expired token", 200, "application/json", `{"access_token":"x","expires_in":-5}`, again, jwterrors.TokenExpired},
		{"200 with a token that no header can have", 200, "application/json", `{"access_token":"x\ny","expires_in":60}`, again, jwterrors.TokenFormatInvalid},
		{"200 with another type of token", 200, "application/json", `{"access_token":"x","token_type":"DPoP"}`, mend, jwterrors.TokenTypeInvalid},
		{"404", 404, "", "", mend, jwterrors.Paused},
		{"405", 405, "", "", mend, jwterrors.Paused},
		{"a bare 400", 400, "", "", mend, jwterrors.Paused},
		{"a bare 401", 401, "", "", mend, jwterrors.Paused},
		{"a bare 403", 403, "", "", mend, jwterrors.Paused},
		{"401 about an access token", 401, "application/json", `{"error":"invalid_token"}`, mend, jwterrors.Paused},
		{"invalid_client", 401, "application/json", `{"error":"invalid_client"}`, mend, jwterrors.ClientInvalid},
		{"unsupported_grant_type", 400, "application/json", `{"error":"unsupported_grant_type"}`, mend, jwterrors.GrantUnsupported},
		{"invalid_request", 400, "application/json", `{"error":"invalid_request"}`, mend, jwterrors.RequestInvalid},
		{"invalid_grant", 400, "application/json", `{"error":"invalid_grant"}`, theEnd, jwterrors.RefreshTokenInvalid},
		{"JG-07: refreshExpired", 403, "application/json", `{"success":false,"code":"refreshExpired"}`, theEnd, jwterrors.RefreshTokenExpired},
		{"expired", 401, "application/problem+json", `{"reason":"AUTH_REFRESH_TOKEN_EXPIRED"}`, theEnd, jwterrors.RefreshTokenExpired},
		{"reused", 401, "application/problem+json", `{"reason":"AUTH_REFRESH_TOKEN_REUSED"}`, theEnd, jwterrors.RefreshTokenReused},
		{"revoked", 401, "application/problem+json", `{"reason":"AUTH_SESSION_REVOKED"}`, theEnd, jwterrors.SessionRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				ended := 0
				tr := offline(t, s, func(config *refresher.Config) {
					config.RetryInterval = 2 * time.Second
					config.Codes = map[string]jwterrors.Reason{"refreshExpired": jwterrors.RefreshTokenExpired}
					config.OnSessionExpired = func(*jwterrors.Error) { ended++ }
				})
				login(t, tr)
				before, _ := tr.Tokens()
				s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
					if c.header != "" {
						w.Header().Set("Content-Type", c.header)
					}
					w.Header().Set("Location", "http://elsewhere.test/")
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
					return true
				})
				err := tr.Refresh(t.Context())
				assert.Equal(t, c.reason, jwterrors.ReasonOf(err))
				assert.Equal(t, c.status == 404 || c.status == 405, strings.Contains(err.Error(), "/auth/refresh: status "+strconv.Itoa(c.status)+": is the URL right, and is the issuer mounted there?"), err)
				calls := map[string]int64{again: 6, mend: 1, theEnd: 1}[c.want]
				assert.Equal(t, calls, s.refreshes.Load())
				after, active := tr.Tokens()
				synctest.Wait()
				if c.want == theEnd {
					assert.False(t, active)
					assert.Equal(t, 1, ended)
					return
				}
				assert.True(t, active)
				assert.Zero(t, ended)
				assert.Equal(t, before.AccessToken, after.AccessToken)
				assert.Equal(t, before.RefreshToken, after.RefreshToken)

				// NV-15: a failure does not stick.
				s.hookRefresh(nil)
				time.Sleep(2 * time.Minute)
				assert.NoError(t, tr.Refresh(t.Context()))
			})
		})
	}
}

// The login, too: nothing but a token response begins a session.
func TestALoginThatFailsChangesNothing(t *testing.T) {
	s := newService()
	base := handlerTransport{s}
	var broken error
	tr := offline(t, s, func(c *refresher.Config) {
		c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
			if broken != nil {
				return nil, broken
			}
			return base.RoundTrip(r)
		})
	})
	login(t, tr)
	before, _ := tr.Tokens()
	for _, c := range []struct {
		name string
		c    refresher.Credentials
		want jwterrors.Reason
	}{
		{"a wrong password", refresher.Credentials{Username: "alice", Password: "wrong"}, jwterrors.CredentialsInvalid},
		{"no password", refresher.Credentials{Username: "alice"}, jwterrors.RequestInvalid},
		{"nobody", refresher.Credentials{Password: "right"}, jwterrors.RequestInvalid},
		{"two names", refresher.Credentials{Username: "a", Email: "a@example.com", Password: "right"}, jwterrors.RequestInvalid},
	} {
		assert.Equal(t, c.want, jwterrors.ReasonOf(tr.Login(t.Context(), c.c)), c.name)
	}
	broken = errors.New("no route to host")
	err := tr.Login(t.Context(), alice)
	assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
	assert.ErrorIs(t, err, broken)
	after, _ := tr.Tokens()
	assert.Equal(t, before.AccessToken, after.AccessToken)

	nowhere := offline(t, s, func(c *refresher.Config) { c.LoginPath = "/%zz" })
	assert.ErrorContains(t, nowhere.Login(t.Context(), alice), "invalid URL escape")

	push := newTransport(t, refresher.Config{Origins: []string{"https://api.example.com"}, Push: true})
	assert.ErrorIs(t, push.Login(t.Context(), alice), jwterrors.RequestInvalid, "without an AuthURL")
}

// AX-09: the issuer's own calls are plain requests: POST, JSON, no token of
// ours, whatever the credentials hold.
func TestWhatTheIssuerIsSent(t *testing.T) {
	s := newService()
	type call struct {
		path, authorization, contentType string
		body                             map[string]string
	}
	var calls []call
	base := handlerTransport{s}
	record := func(c *refresher.Config) {
		c.LoginPath = "/sign-in"
		c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
			data := must(io.ReadAll(r.Body))
			got := call{r.Method + " " + r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), nil}
			if err := json.Unmarshal(data, &got.body); err != nil {
				return nil, err
			}
			calls = append(calls, got)
			r = r.Clone(r.Context())
			r.Body = io.NopCloser(strings.NewReader(string(data)))
			r.URL.Path = strings.Replace(r.URL.Path, "sign-in", "login", 1)
			return base.RoundTrip(r)
		})
	}
	tr := offline(t, s, record)
	require.NoError(t, tr.Login(t.Context(), refresher.Credentials{
		Email: "alice@example.com", Password: "right", Device: "phone", Scopes: []string{"a", "b"},
	}))
	tokens, _ := tr.Tokens()
	require.NoError(t, tr.Refresh(t.Context()))
	next, _ := tr.Tokens()
	require.NoError(t, tr.Logout(t.Context()))
	assert.Equal(t, []call{
		{"POST /auth/sign-in", "", "application/json", map[string]string{"email": "alice@example.com", "password": "right", "device": "phone", "scope": "a b"}},
		{"POST /auth/refresh", "", "application/json", map[string]string{"refresh_token": tokens.RefreshToken}},
		// The issuer is among the origins here, so it may deny the access token, too (NV-19).
		{"POST /auth/logout", "Bearer " + next.AccessToken, "application/json", map[string]string{"refresh_token": next.RefreshToken}},
	}, calls)

	calls = nil
	apart := offline(t, s, func(c *refresher.Config) {
		record(c)
		c.Origins = []string{"https://api.example.com"}
	})
	require.NoError(t, apart.Login(t.Context(), alice))
	require.NoError(t, apart.Logout(t.Context()))
	for _, c := range calls {
		assert.Empty(t, c.authorization, "an issuer that is not among the origins gets no access token")
	}
}

// D3: what the issuer does not hear is reported, and the tokens are gone all the
// same.
func TestALogoutThatTheIssuerDoesNotHear(t *testing.T) {
	s := newService()
	base := handlerTransport{s}
	store := &refresher.MemoryStore{}
	tr := offline(t, s, func(c *refresher.Config) {
		c.Store = store
		c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/logout") {
				return nil, errors.New("no route to host")
			}
			return base.RoundTrip(r)
		})
	})
	login(t, tr)
	require.ErrorIs(t, tr.Logout(t.Context()), jwterrors.RefreshUnavailable)
	_, ok := tr.Tokens()
	assert.False(t, ok)
	assert.True(t, must(store.Load(t.Context())).IsZero())
	_, err := get(t.Context(), tr.Client(), api)
	assert.ErrorIs(t, err, jwterrors.LoggedOut)
}

// A Logout whose context is over forgets the tokens, too.
func TestALogoutWithoutTimeForgetsTheTokens(t *testing.T) {
	tr := offline(t, newService(), nil)
	login(t, tr)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Error(t, tr.Logout(ctx))
	_, ok := tr.Tokens()
	assert.False(t, ok)
}

// A Login that a Logout overtakes does not bring a session back, and its tokens
// are revoked.
func TestTheCallThatCameLastDecides(t *testing.T) {
	s := newService()
	base := handlerTransport{s}
	entered, release := make(chan struct{}), make(chan struct{})
	tr := offline(t, s, func(c *refresher.Config) {
		c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/login") {
				close(entered)
				<-release
			}
			return base.RoundTrip(r)
		})
	})
	failed := make(chan error)
	go func() { failed <- tr.Login(t.Context(), alice) }()
	<-entered
	require.NoError(t, tr.Logout(t.Context()))
	close(release)
	require.ErrorIs(t, <-failed, jwterrors.LoggedOut)
	_, ok := tr.Tokens()
	assert.False(t, ok)
	_, _, revoked := s.log()
	assert.Equal(t, []string{"refresh-token-number-1"}, revoked)
}

// 429 with a Retry-After: it is kept to, within a limit.
func TestRetryAfter(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		want   time.Duration
	}{
		"longer than the step":  {"7", 7 * time.Second},
		"shorter than the step": {"1", 2 * time.Second},
		"absurd":                {"99999999999999999999", 2 * time.Second}, // no number
		"a year":                {"31536000", time.Minute},
		"negative":              {"-5", 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				tr := offline(t, s, func(config *refresher.Config) { config.RetryInterval = 2 * time.Second })
				login(t, tr)
				start, second := time.Now(), time.Duration(0)
				s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
					if s.refreshes.Load() == 2 {
						second = time.Since(start)
						return false
					}
					w.Header().Set("Retry-After", c.header)
					w.WriteHeader(429)
					return true
				})
				require.NoError(t, tr.Refresh(t.Context()))
				assert.Equal(t, c.want, second)
			})
		})
	}
}

// An issuer that does not answer costs one attempt's time, and a refresh has a
// time of its own in all (D9).
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) { c.RetryInterval = 2 * time.Second })
		login(t, tr)
		var times []time.Duration
		start := time.Now()
		s.hookRefresh(func(_ http.ResponseWriter, r *http.Request) bool {
			times = append(times, time.Since(start))
			<-r.Context().Done()
			return true
		})
		err := tr.Refresh(t.Context())
		assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []time.Duration{0, 17 * time.Second, 36 * time.Second, 59 * time.Second, 90 * time.Second}, times)
		assert.Equal(t, 105*time.Second, time.Since(start), "the next wait would go beyond the two minutes")
	})
}

// net/http repeats some requests by itself when a connection that was used
// before breaks. Not these: how often the issuer is called is for the backoff to
// say.
func TestABrokenConnectionIsOneCall(t *testing.T) {
	s := newService()
	server := s.start(t)
	c := config(server.URL)
	c.MaxRetries = refresher.NoRetries
	tr := newTransport(t, c)
	login(t, tr) // its connection is kept
	s.hookRefresh(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.RefreshUnavailable)
	assert.EqualValues(t, 1, s.refreshes.Load())
}

// An answer of more than a MiB is no token response.
func TestAnAnswerWithoutEnd(t *testing.T) {
	s := newService()
	tr := offline(t, s, func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries })
	login(t, tr)
	s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
		_ = json.NewEncoder(w).Encode(map[string]string{"access_token": "x", "scope": strings.Repeat("x", 1<<20)})
		return true
	})
	assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.RefreshUnavailable)
}
