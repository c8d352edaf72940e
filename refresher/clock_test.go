package refresher_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/refresher"
)

// dated adds to the answers of next what a server says about the time.
type dated struct {
	next   http.RoundTripper
	took   time.Duration
	header func(h http.Header)
}

func (d dated) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(d.took / 2)
	resp, err := d.next.RoundTrip(r)
	if err == nil {
		resp.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
		if d.header != nil {
			d.header(resp.Header)
		}
	}
	time.Sleep(d.took / 2)
	return resp, err
}

// wrong returns a clock that is ahead by so much.
func wrong(ahead time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(ahead) }
}

// IT-20, IT-41, NV-05, AX-19: with a client's clock that is wrong, there is one
// refresh for each token that expires, no token is refused and no request lost,
// whether the issuer says how long a token is valid or only when it expires.
func TestAWrongClockCostsNothing(t *testing.T) {
	for _, names := range []struct {
		name    string
		answers refresher.AnswerNames
	}{
		{"with expires_in", refresher.AnswerNames{}},
		{"with exp alone", refresher.AnswerNames{ExpiresIn: "nothing"}},
	} {
		for name, ahead := range map[string]time.Duration{
			"right": 0, "an hour fast": time.Hour, "an hour slow": -time.Hour, "23 hours fast": 23 * time.Hour, "23 hours slow": -23 * time.Hour,
			"6 seconds fast": 6 * time.Second, "4 seconds slow": -4 * time.Second,
		} {
			t.Run(name+", "+names.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService()
					tr := offline(t, s, func(c *refresher.Config) {
						c.Now, c.Answers = wrong(ahead), names.answers
						c.Base = dated{next: handlerTransport{s}, took: 400 * time.Millisecond}
					})
					s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
						if !time.Now().Before(expiryOf(r.Header.Get("Authorization"))) {
							s.refused.Add(1)
							w.WriteHeader(401)
						}
						return true
					})
					login(t, tr)
					start := time.Now()
					for time.Since(start) < 3*time.Hour {
						status, err := get(t.Context(), tr.Client(), api)
						require.NoError(t, err)
						require.Equal(t, 200, status)
						synctest.Wait()
						time.Sleep(9 * time.Second)
					}
					assert.Zero(t, s.refused.Load(), "no token that has expired was sent")
					// A token of ten minutes is replaced after nine, give or take what
					// a request takes, and the seconds that clocks may differ.
					assert.InDelta(t, 20, s.refreshes.Load(), 1)
					used, _, _ := s.log()
					for i := range used[1:] {
						assert.NotEqual(t, used[i], used[i+1], "one refresh for each token")
					}
				})
			})
		}
	}
}

// expiryOf returns the "exp" of the token in the header.
func expiryOf(authorization string) time.Time {
	var claims struct{ Exp int64 }
	if parts := strings.Split(authorization, "."); len(parts) == 3 {
		data, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil || json.Unmarshal(data, &claims) != nil {
			return time.Time{}
		}
	}
	return time.Unix(claims.Exp, 0)
}

// RFC 9110, Section 6.6.1, and Section 5.1: what is learnt from a Date, and what
// is not.
func TestWhatADateSays(t *testing.T) {
	date := func(off time.Duration) func(http.Header) {
		return func(h http.Header) { h.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat)) }
	}
	for _, c := range []struct {
		name   string
		took   time.Duration
		header func(http.Header)
		want   time.Duration // by which the issuer's clock is taken to be ahead
	}{
		{"the same", 0, nil, 0},
		{"an hour ahead", 0, date(time.Hour), time.Hour},
		{"an hour behind", 0, date(-time.Hour), -time.Hour},
		{"four seconds", 0, date(4 * time.Second), 0},
		{"six seconds", 0, date(6 * time.Second), 6 * time.Second},
		{"six seconds, in an answer that took eight", 8 * time.Second, date(6 * time.Second), 0},
		{"an hour, in an answer that took eight seconds", 8 * time.Second, date(time.Hour), time.Hour},
		{"an hour, in an answer that took eleven seconds", 11 * time.Second, date(time.Hour), 0},
		{"a day, and less than that", 0, date(24*time.Hour - time.Second), 24*time.Hour - time.Second},
		{"more than a day", 0, date(24*time.Hour + time.Second), 0},
		{"a year", 0, date(-365 * 24 * time.Hour), 0},
		{"from a cache", 0, func(h http.Header) { date(time.Hour)(h); h.Set("Age", "0") }, 0},
		{"no Date", 0, func(h http.Header) { h.Del("Date") }, 0},
		{"no date", 0, func(h http.Header) { h.Set("Date", "yesterday") }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				s.ttl = 100 * 24 * time.Hour
				tr := offline(t, s, func(config *refresher.Config) {
					config.Answers.ExpiresIn = "nothing"
					config.Base = dated{handlerTransport{s}, c.took, c.header}
				})
				login(t, tr)
				tokens, _ := tr.Tokens()
				issued := time.Now().Add(-c.took / 2)
				assert.WithinDuration(t, issued.Add(s.ttl), tokens.Expiry.Add(c.want), time.Second)
			})
		})
	}
}

// What was learnt is forgotten when the clocks agree again, and an answer that is
// no success teaches nothing.
func TestWhatWasLearntOfAClockIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		ahead := time.Hour
		tr := offline(t, s, func(c *refresher.Config) {
			c.Answers.ExpiresIn, c.MaxRetries, c.Now = "nothing", refresher.NoRetries, func() time.Time { return time.Now().Add(ahead) }
			c.Base = dated{next: handlerTransport{s}}
		})
		expiry := func() time.Duration {
			tokens, _ := tr.Tokens()
			return tokens.Expiry.Sub(time.Now().Add(ahead)).Round(time.Minute)
		}
		login(t, tr)
		assert.Equal(t, 10*time.Minute, expiry())
		ahead = 0
		assert.Equal(t, 70*time.Minute, expiry(), "somebody has set the clock: the token will be refused")
		require.NoError(t, tr.Refresh(t.Context()))
		assert.Equal(t, 10*time.Minute, expiry())
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
		ahead = 12 * time.Hour
		require.Error(t, tr.Refresh(t.Context()))
		ahead = 0
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: s.access(1), RefreshToken: "r"}))
		assert.Equal(t, 10*time.Minute, expiry())
	})
}

// A machine that sleeps stops the monotonic clock, not the wall clock: nothing
// that is kept may have a reading of the former.
func TestTimesAreThoseOfTheWallClock(t *testing.T) {
	s := newService()
	s.opaque = true
	tr := offline(t, s, nil)
	check := func() {
		t.Helper()
		tokens, _ := tr.Tokens()
		for _, at := range []time.Time{tokens.Expiry, tokens.RefreshExpiry, tokens.Received} {
			assert.NotContains(t, at.String(), "m=")
			assert.False(t, at.IsZero())
		}
	}
	login(t, tr)
	check()
	require.NoError(t, tr.Refresh(t.Context()))
	check()
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"a"}`)}))
	tokens, _ := tr.Tokens()
	assert.NotContains(t, tokens.Received.String(), "m=")
}

// The pause after a failure is over when the clock says so, and when the clock
// was set back: it does not grow.
func TestAPauseEndsWhateverHappensToTheClock(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forth": 3 * time.Hour, "back": -3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				var ahead time.Duration
				tr := offline(t, s, func(c *refresher.Config) {
					c.MaxRetries, c.RetryInterval = refresher.NoRetries, 30*time.Second
					c.Now = func() time.Time { return time.Now().Add(ahead) }
				})
				login(t, tr)
				s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
				require.Error(t, tr.Refresh(t.Context()))
				s.hookRefresh(nil)
				err := tr.Refresh(t.Context())
				require.Error(t, err)
				require.True(t, strings.Contains(err.Error(), "503"))
				require.EqualValues(t, 1, s.refreshes.Load())
				ahead = jump
				assert.NoError(t, tr.Refresh(t.Context()))
			})
		})
	}
}

// A token that never expires does so by no clock.
func TestATokenWithoutAnExpiryAndAWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) {
			c.Now, c.Base = wrong(time.Hour), dated{next: handlerTransport{s}, took: 400 * time.Millisecond}
		})
		login(t, tr)
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice"}`), RefreshToken: "r"}))
		tokens, _ := tr.Tokens()
		assert.Zero(t, tokens.Expiry)
	})
}
