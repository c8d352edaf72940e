package refresher_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/internal/doctables"
	"github.com/tokenloop/tokenloop/refresher"
)

// The package comment says what of RFC 9449 and of Alamofire's AuthenticationInterceptor
// holds and what differs, and names the tests that show it.
func TestTheTableNamesTestsThatExist(t *testing.T) {
	doctables.Check(t, 12, map[string][]string{
		"# Coming from Alamofire": {
			"adapt", "no credential", "requiresRefresh", "didRequest", "isRequest", "queue", "retry", "failure",
			"new credential", "excessive", "other hosts",
		},
		"# Proof of possession": {
			"4.2", "4.2 htu", "4.3 iat", "5", "5 key", "7.1", "7.2", "8", "8.1", "8.2", "9", "10", "11.1", "keys", "RFC 9470",
		},
	})
}

// A refresh that brings tokens nobody takes is not repeated for each request, within
// whatever window.
func TestExcessiveRefreshes(t *testing.T) {
	for name, c := range map[string]struct {
		refuse          func(token int) bool // by the API; nil: every token the second time
		life            time.Duration
		served          int   // of 60 requests, one in each second
		atLeast, atMost int64 // refreshes
	}{
		"every token is refused":              {func(int) bool { return true }, 10 * time.Minute, 0, 1, 1},
		"every token has expired on arrival":  {func(n int) bool { return n == 1 }, -time.Second, 0, 2, 12},
		"every token lives for two seconds":   {func(n int) bool { return n == 1 }, 2 * time.Second, 60, 20, 60},
		"every token is good for one request": {nil, 10 * time.Minute, 60, 59, 60},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				tr := offline(t, s, func(c *refresher.Config) { c.RetryInterval = 0 }) // 2 seconds
				login(t, tr)
				s.ttl = c.life
				last := 1 // the token that was served last
				s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
					n := number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
					refused := n == last
					if c.refuse != nil {
						refused = c.refuse(n)
					}
					if last = n; refused {
						w.WriteHeader(401)
					}
					return refused
				})
				served := 0
				client := &http.Client{Transport: tr}
				for start := time.Now(); time.Since(start) < time.Minute; {
					status, err := get(t.Context(), client, api)
					if err == nil && status == 200 {
						served++
					}
					time.Sleep(time.Second)
				}
				assert.Equal(t, c.served, served)
				assert.GreaterOrEqual(t, s.refreshes.Load(), c.atLeast)
				assert.LessOrEqual(t, s.refreshes.Load(), c.atMost)
				_, active := tr.Tokens()
				assert.True(t, active)
			})
		})
	}
}

// Tokens that the app hands in while requests wait for a refresh are what they go on
// with.
func TestTokensFromTheAppReleaseWhoWaits(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	s.expire()
	entered := make(chan struct{})
	s.hookRefresh(func(_ http.ResponseWriter, r *http.Request) bool {
		close(entered)
		<-r.Context().Done()
		return true
	})
	done := make(chan int64)
	go func() {
		client := &http.Client{Transport: tr}
		done <- crowd(50, func(int) bool {
			status, err := get(t.Context(), client, api)
			return err == nil && status == 200
		})
	}()
	<-entered
	s.mu.Lock()
	s.current++
	token := s.access(s.current)
	s.mu.Unlock()
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: token, RefreshToken: "another"}))
	assert.EqualValues(t, 50, <-done)
	assert.EqualValues(t, 1, s.refreshes.Load())
}
