package refresher_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// attempts lets one refresh fail and returns when its attempts were made, in
// seconds after the first, and when it ended.
func attempts(t *testing.T, change func(*refresher.Config), answer func(w http.ResponseWriter)) (times []float64, end float64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) {
			c.RetryInterval = 0
			if change != nil {
				change(c)
			}
		})
		login(t, tr)
		start := time.Now()
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
			times = append(times, time.Since(start).Seconds())
			answer(w)
			return true
		})
		assert.Error(t, tr.Refresh(t.Context()))
		end = time.Since(start).Seconds()
	})
	return times, end
}

func down(w http.ResponseWriter) { w.WriteHeader(503) }

// IT-35, IT-36, IT-37, IT-38, D6: five retries, EXPONENTIAL, two seconds; each of
// the three is a default by itself.
func TestThePolicyOfRetries(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*refresher.Config)
		want   []float64 // the waits
	}{
		{"defaults", nil, []float64{2, 4, 8, 16, 32}},
		{"LINEAR alone", func(c *refresher.Config) { c.RetryBackoff = refresher.Linear }, []float64{2, 4, 6, 8, 10}},
		{"the interval alone", func(c *refresher.Config) { c.RetryInterval = time.Second }, []float64{1, 2, 4, 8, 16}},
		{"the number alone", func(c *refresher.Config) { c.MaxRetries = 2 }, []float64{2, 4}},
		{"LINEAR and the interval", func(c *refresher.Config) { c.RetryBackoff, c.RetryInterval = refresher.Linear, time.Second }, []float64{1, 2, 3, 4, 5}},
		{"LINEAR and the number", func(c *refresher.Config) { c.RetryBackoff, c.MaxRetries = refresher.Linear, 1 }, []float64{2}},
		{"all three", func(c *refresher.Config) {
			c.RetryBackoff, c.MaxRetries, c.RetryInterval = refresher.Linear, 3, 500*time.Millisecond
		}, []float64{0.5, 1, 1.5}},
		{"none", func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries }, nil},
		{"waits of a minute at the most, and two minutes in all", func(c *refresher.Config) { c.RetryInterval = 40 * time.Second }, []float64{40, 60}},
		{"another limit of a wait", func(c *refresher.Config) { c.MaxRetryInterval = 5 * time.Second }, []float64{2, 4, 5, 5, 5}},
		{"another limit in all", func(c *refresher.Config) { c.RefreshTimeout = 14 * time.Second }, []float64{2, 4}},
		{"a limit in all that the last wait just keeps", func(c *refresher.Config) { c.RefreshTimeout = 14*time.Second + 1 }, []float64{2, 4, 8}},
		{"hundreds of retries", func(c *refresher.Config) {
			c.MaxRetries, c.RetryInterval, c.MaxRetryInterval, c.RefreshTimeout = 300, time.Second, 2*time.Second, time.Hour
		}, append([]float64{1}, slices.Repeat([]float64{2}, 299)...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			times, end := attempts(t, c.change, down)
			at, want := 0.0, []float64{0}
			for _, wait := range c.want {
				at += wait
				want = append(want, at)
			}
			assert.InDeltaSlice(t, want, times, 1e-6)
			assert.InDelta(t, at, end, 1e-6, "after the last attempt nobody waits")
		})
	}
}

// IT-38: jitter, on by default, makes a wait longer by up to a quarter, and never
// shorter.
func TestJitterMakesWaitsLonger(t *testing.T) {
	differ := false
	for range 20 {
		times, _ := attempts(t, func(c *refresher.Config) { c.NoJitter = false }, down)
		require.Len(t, times, 6)
		for i, step := range []float64{2, 4, 8, 16, 32} {
			wait := times[i+1] - times[i]
			assert.GreaterOrEqual(t, wait, step)
			assert.LessOrEqual(t, wait, step*1.25)
			differ = differ || wait > step*1.01
		}
	}
	assert.True(t, differ)
}

// A Retry-After is kept to within the limit of a wait, in each form that HTTP has
// for it (RFC 9110, Section 10.2.3), and so is that of the last attempt: the next
// refresh does not come earlier.
func TestARetryAfterIsKeptWithinLimits(t *testing.T) {
	for name, c := range map[string]struct {
		after string
		want  []float64 // when attempts are made
	}{
		"seconds":        {"5", []float64{0, 5, 10, 18, 34, 66}}, // the longer one of it and 2, 4, 8, 16, 32
		"ten years":      {"315360000", []float64{0, 60}},        // a minute each, two minutes in all
		"a date":         {"Sat, 01 Jan 2000 00:00:05 GMT", []float64{0, 5, 9, 17, 33, 65}},
		"a date gone by": {"Sat, 01 Jan 1999 00:00:00 GMT", []float64{0, 2, 6, 14, 30, 62}},
		"nonsense":       {"soon", []float64{0, 2, 6, 14, 30, 62}},
	} {
		t.Run(name, func(t *testing.T) {
			times, _ := attempts(t, nil, func(w http.ResponseWriter) {
				w.Header().Set("Retry-After", c.after)
				w.WriteHeader(429)
			})
			assert.InDeltaSlice(t, c.want, times, 0.1)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries })
		login(t, tr)
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(429)
			return true
		})
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.RateLimited)
		time.Sleep(30*time.Second - 1)
		err := tr.Refresh(t.Context())
		assert.EqualValues(t, 1, s.refreshes.Load())
		var e *jwterrors.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, jwterrors.RefreshUnavailable, e.Reason)
		assert.Equal(t, time.Duration(1), e.RetryAfter, "when to come again")
		time.Sleep(time.Nanosecond)
		s.hookRefresh(nil)
		assert.NoError(t, tr.Refresh(t.Context()))
	})
}

// D9: a refresh has two minutes in all, whatever its attempts take.
func TestARefreshHasATimeOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) {
			c.RetryInterval, c.MaxRetries = time.Second, 100
			c.AttemptTimeout, c.RefreshTimeout = time.Hour, 90*time.Second
			c.Source = sourceFunc(func(ctx context.Context, _ refresher.Tokens) (refresher.Tokens, error) {
				<-ctx.Done()
				return refresher.Tokens{}, context.Cause(ctx)
			})
		})
		login(t, tr)
		start := time.Now()
		assert.ErrorIs(t, tr.Refresh(t.Context()), context.DeadlineExceeded)
		assert.Equal(t, 90*time.Second, time.Since(start))
	})
}

// IT-22: which answers call for another token is configuration: statuses and
// codes, in the challenge and in the body, a code of the server's own or a reason.
func TestWhichRefusalsCountIsConfigurable(t *testing.T) {
	for _, c := range []struct {
		name      string
		refusals  []refresher.Refusal
		codes     map[string]jwterrors.Reason
		status    int
		challenge string
		body      string
		want      bool
	}{
		{"a bare 401", nil, nil, 401, "", "", true},
		{"a 401 with a code that nobody knows", nil, nil, 401, "", `{"code":"Other"}`, true},
		{"a 401 that is about something else", nil, map[string]jwterrors.Reason{"Other": jwterrors.ScopeInsufficient}, 401, "", `{"code":"Other"}`, false},
		{"a bare 401, where a code must be there", []refresher.Refusal{{401, "InvalidJwtPayload"}}, nil, 401, "", "", false},
		{"another code, where one must be there", []refresher.Refusal{{401, "InvalidJwtPayload"}}, nil, 401, "", `{"code":"Other"}`, false},
		{"the code", []refresher.Refusal{{401, "InvalidJwtPayload"}}, nil, 401, "", `{"code":"InvalidJwtPayload"}`, true},
		{"the code in a challenge", []refresher.Refusal{{401, "InvalidJwtPayload"}}, nil, 401, `Bearer error="InvalidJwtPayload"`, "", true},
		{"the code with another status", []refresher.Refusal{{401, "InvalidJwtPayload"}}, nil, 403, "", `{"code":"InvalidJwtPayload"}`, false},
		{"a reason of ours as the code", []refresher.Refusal{{401, "AUTH_TOKEN_EXPIRED"}}, nil, 401, "", `{"reason":"AUTH_TOKEN_EXPIRED"}`, true},
		{"another reason of ours", []refresher.Refusal{{401, "AUTH_TOKEN_EXPIRED"}}, nil, 401, "", `{"reason":"AUTH_TOKEN_INVALIDATED"}`, false},
		{"each 419", []refresher.Refusal{{Status: 419}}, nil, 419, "", "", true},
		{"a 401, where only 419 counts", []refresher.Refusal{{Status: 419}}, nil, 401, "", "", false},
		{"a code that stands for a reason", []refresher.Refusal{{Status: 403}}, map[string]jwterrors.Reason{"invalidToken": jwterrors.TokenExpired}, 403, "", `{"code":"invalidToken"}`, true},
		{"one of two", []refresher.Refusal{{401, "a"}, {403, "b"}}, nil, 403, "", `{"error":"b"}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService()
			tr := offline(t, s, func(config *refresher.Config) { config.Refusals, config.Codes = c.refusals, c.codes })
			login(t, tr)
			s.hookCall(func(w http.ResponseWriter, _ *http.Request) bool {
				if s.refreshes.Load() > 0 {
					return false
				}
				if c.challenge != "" {
					w.Header().Set("WWW-Authenticate", c.challenge)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
				return true
			})
			status, err := get(t.Context(), tr.Client(), api)
			require.NoError(t, err)
			if c.want {
				assert.Equal(t, 200, status)
			} else {
				assert.Equal(t, c.status, status)
			}
			assert.Equal(t, c.want, s.refreshes.Load() == 1)
		})
	}
	_, err := refresher.New(refresher.Config{
		Origins: []string{"https://api.example.com"}, Push: true, Refusals: []refresher.Refusal{{Status: 200}, {Status: 500}},
	})
	assert.ErrorContains(t, err, "200")
	assert.ErrorContains(t, err, "500", "an outage is no refusal")
}

// IT-24, IT-39: a source whose tokens are all refused is not asked again for each
// request, until a user is named again (IT-18) or its token has expired.
func TestASourceWhoseTokensAreAllRefusedIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{}
		sent := 0
		tr := handled(t, a, func(*http.Request) int { sent++; return 401 }, nil)
		me := refresher.Email("alice@example.com")
		asked := func() int { list, _ := a.log(); return len(list) }
		require.NoError(t, tr.Identify(t.Context(), me))
		for range 100 {
			status, err := get(t.Context(), tr.Client(), remote)
			require.NoError(t, err)
			assert.Equal(t, 401, status)
		}
		assert.Equal(t, 2, asked(), "one for the user, one after the first refusal")
		assert.Equal(t, 101, sent, "and one request was sent twice")
		require.NoError(t, tr.Identify(t.Context(), me))
		assert.Equal(t, 3, asked())
		for range 100 {
			_, _ = get(t.Context(), tr.Client(), remote)
		}
		assert.Equal(t, 4, asked(), "it was armed again")
		time.Sleep(time.Hour)
		for range 100 {
			_, _ = get(t.Context(), tr.Client(), remote)
		}
		assert.LessOrEqual(t, asked(), 6, "for the expired token, and once for its successor")
	})
}

// MO-10, MO-11, MO-12: after ten generations in a row that were refused nobody is
// asked any more, until something was accepted or a session begins.
func TestTheBreaker(t *testing.T) {
	const limit = 10
	open := func(t *testing.T) (*service, *refresher.Transport) {
		s := newService()
		tr := offline(t, s, nil)
		login(t, tr)
		s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
			jwterrors.Responder{}.RespondOAuth(w, r, jwterrors.ClientInvalid)
			return true
		})
		for n := range 2 * limit {
			assert.Error(t, tr.Refresh(t.Context()))
			assert.EqualValues(t, min(n+1, limit), s.refreshes.Load())
			time.Sleep(2 * time.Minute)
		}
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.Paused)
		s.hookRefresh(nil)
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.Paused, "although it would work")
		assert.EqualValues(t, limit, s.refreshes.Load())
		return s, tr
	}
	for name, arm := range map[string]func(t *testing.T, s *service, tr *refresher.Transport){
		"an accepted request": func(t *testing.T, s *service, tr *refresher.Transport) {
			s.hookCall(func(http.ResponseWriter, *http.Request) bool { return true })
			fresh := s.access(1)
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: fresh, RefreshToken: "refresh-token-number-1"}))
			status, err := get(t.Context(), tr.Client(), api)
			require.NoError(t, err)
			require.Equal(t, 200, status)
		},
		"a login":  func(t *testing.T, _ *service, tr *refresher.Transport) { login(t, tr) },
		"a resume": func(_ *testing.T, _ *service, tr *refresher.Transport) { tr.Resume() },
		"tokens of another user": func(t *testing.T, s *service, tr *refresher.Transport) {
			s.subject = "bob"
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: s.access(1), RefreshToken: "refresh-token-number-1"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, tr := open(t)
				arm(t, s, tr)
				assert.NoError(t, tr.Refresh(t.Context()))
			})
		})
	}
}

// Outages do not count for the breaker, however long they last.
func TestAnOutageDoesNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, nil)
		login(t, tr)
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
		for range 50 {
			assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.RefreshUnavailable)
			time.Sleep(5 * time.Minute)
		}
		s.hookRefresh(nil)
		assert.NoError(t, tr.Refresh(t.Context()))
	})
}
