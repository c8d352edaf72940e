package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// Rotation of the keys of a real endpoint, revocation and traffic at once, with
// the cache on. What the requests see is judged by what was true before they
// began: a token of the current keys passes, one of a key that left does not
// from the moment on that the set without it was seen to be in use, and one of a
// session does not after DenySession has returned. (MO-14, IT-31.06, IT-33)
func TestRotationAndRevocationUnderTraffic(t *testing.T) {
	const generations, sessions, workers, least = 8, 40, 6, 400
	keys := make([]named, generations+1)
	for i := range keys {
		keys[i] = newNamed(fmt.Sprint("generation-", i))
	}
	e := &endpoint{}
	server := httptest.NewTLSServer(e)
	defer server.Close()
	var offset atomic.Int64 // of the clock, which the test moves
	now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	denied := middleware.NewDenylist(middleware.DenylistOptions{Now: now})
	auth := newAuth(t, func(c *middleware.Config) {
		c.Keys = middleware.JWKS(server.URL, middleware.JWKSOptions{Client: server.Client(), MaxStale: 24 * time.Hour})
		c.MaxLifetime, c.Revocations, c.Now = 48*time.Hour, denied, now
	})
	handler := auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ask := func(token string) jwterrors.Reason {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request("Bearer "+token))
		if w.Code == http.StatusOK {
			return ""
		}
		return jwterrors.FromResponse(w.Result()).Reason
	}
	// Each key has a token for each session, signed beforehand.
	until := time.Now().Add(24 * time.Hour)
	tokens := make([][]string, len(keys))
	for g := range keys {
		for s := range sessions {
			tokens[g] = append(tokens[g], keys[g].sign(claims().with("exp", until.Unix()).with("sid", fmt.Sprint("session-", s))))
		}
	}

	var current atomic.Int64 // the newest key that signs
	var removed atomic.Int64 // the keys below it are not in the set that is in use
	var revoked atomic.Int64 // the sessions below it are denied
	var accepted, goneRefused, deniedRefused atomic.Int64
	publish := func(g int) { // the key that signs, and the next one
		e.publish(keys[g].jwk(), keys[g+1].jwk())
		offset.Add(int64(10 * time.Second)) // a fetch is allowed again
	}
	publish(0)
	require.Empty(t, ask(tokens[0][sessions-1]))

	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := worker; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				session := i % sessions
				out, wasRevoked := int(removed.Load()), session < int(revoked.Load())
				if out > 0 && i%3 == 0 {
					reason := ask(tokens[(i/3)%out][session])
					if !assert.Equal(t, jwterrors.TokenKeyUnknown, reason, "a key that left") {
						return
					}
					goneRefused.Add(1)
					continue
				}
				g := int(current.Load())
				reason := ask(tokens[g][session])
				switch {
				case reason == jwterrors.TokenKeyUnknown && g < int(current.Load()): // its key may have left meanwhile
				case wasRevoked:
					if !assert.Equal(t, jwterrors.TokenInvalidated, reason, "a session that was denied") {
						return
					}
					deniedRefused.Add(1)
				case reason == "":
					accepted.Add(1)
				case session < int(revoked.Load())+1: // denied meanwhile, or just now
				default:
					assert.Fail(t, "a good token was refused", "%s, key %d, session %d", reason, g, session)
					return
				}
			}
		})
	}
	// more waits until so many more requests have been answered in each way.
	deadline := time.Now().Add(time.Minute)
	more := func(counts ...*atomic.Int64) {
		for _, c := range counts {
			for limit := c.Load() + least/generations; c.Load() < limit && !t.Failed() && time.Now().Before(deadline); {
				runtime.Gosched()
			}
		}
	}
	for g := 1; g < generations; g++ {
		current.Store(int64(g)) // its key is published since the last round
		more(&accepted)
		publish(g)
		// A token of the new key passes: the set without the key g-1 is in use.
		if !assert.Empty(t, ask(tokens[g+1][sessions-1])) {
			break
		}
		removed.Store(int64(g))
		for range 3 {
			s := revoked.Load()
			require.NoError(t, denied.DenySession(t.Context(), fmt.Sprint("session-", s), until))
			revoked.Store(s + 1)
		}
		more(&accepted, &goneRefused, &deniedRefused)
	}
	close(stop)
	wg.Wait()
	assert.GreaterOrEqual(t, accepted.Load(), int64(least), "good tokens that passed")
	assert.GreaterOrEqual(t, goneRefused.Load(), int64(least/generations*(generations-1)), "tokens of keys that left")
	assert.GreaterOrEqual(t, deniedRefused.Load(), int64(least/generations*(generations-1)), "tokens of sessions that were denied")
	assert.LessOrEqual(t, e.fetches.Load(), int64(4*generations), "fetches")
	t.Logf("%d passed, %d of keys that left, %d of denied sessions, %d fetches", accepted.Load(), goneRefused.Load(), deniedRefused.Load(), e.fetches.Load())
}

// One token, two Middlewares, one of which it is not for, at once and often
// enough that both remember what they remember.
func TestTwoAudiencesUnderTraffic(t *testing.T) {
	keys, token := middleware.HS256(secret), good()
	orders := withKeys(t, keys)
	invoices := newAuth(t, func(c *middleware.Config) { c.Keys, c.Audience = keys, []string{"invoices"} })
	var passed, refused atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if assert.NoError(t, verify(orders, token)) {
					passed.Add(1)
				}
				if assert.ErrorIs(t, verify(invoices, token), jwterrors.TokenAudienceInvalid) {
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, [2]int64{2000, 2000}, [2]int64{passed.Load(), refused.Load()})
}
