package refresher_test

import (
	"context"
	"fmt"
	"net/http"
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

// IT-29, MO-05, MO-06, MO-07: what a listener is told of a refusal: why, whose
// token it was, the token that failed and not the one in use by now, and when.
func TestWhatAListenerIsToldOfARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []*jwterrors.Error
		old, current := "first-opaque-access-token-of-alice", "second-opaque-access-token-of-alice"
		arrived, release := make(chan struct{}), make(chan struct{})
		base := tripFunc(func(r *http.Request) (*http.Response, error) {
			w := &http.Response{StatusCode: 200, Body: http.NoBody, Request: r, Header: http.Header{}}
			if r.Header.Get("Authorization") == "Bearer "+old {
				close(arrived)
				<-release
				w.StatusCode = 401
				w.Header.Set("WWW-Authenticate", `Bearer error="invalid_token", reason="AUTH_TOKEN_INVALIDATED"`)
			}
			return w, nil
		})
		tr := newTransport(t, refresher.Config{
			Origins: []string{"https://api.example.com"}, Push: true, Base: base,
			OnFailure: func(e *jwterrors.Error) { told = append(told, e) },
		})
		mine := refresher.UserID("alice")
		set := func(token string) {
			t.Helper() // who says whose opaque tokens are is the caller
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: token}))
		}
		set(old)
		status := make(chan int)
		go func() { s, _ := get(t.Context(), tr.Client(), remote); status <- s }()
		<-arrived
		set(current)
		time.Sleep(10 * time.Second)
		close(release)
		assert.Equal(t, 200, <-status, "the newer token is simply used")
		synctest.Wait()
		require.Len(t, told, 1)
		var e *jwterrors.Error
		require.ErrorAs(t, error(told[0]), &e, "it can be recovered by type")
		assert.Equal(t, jwterrors.TokenInvalidated, e.Reason)
		assert.Equal(t, old[:17]+"...", e.Token, "the one that failed, and no more of it")
		assert.Equal(t, time.Now().Unix(), e.Time.Unix(), "when it failed")
		assert.Equal(t, 401, e.Status)
		assert.Contains(t, e.String(), "No identifier")

		require.NoError(t, tr.Identify(t.Context(), mine))
		synctest.Wait()
		require.Len(t, told, 2)
		assert.Equal(t, "alice", told[1].Identity)
		assert.Contains(t, told[1].String(), "No token")
		assert.Equal(t, jwterrors.TokenExpired, told[1].Reason, "a token is wanted")
	})
}

// IT-29: a token is shown by its first 20 characters (MO-07).
func TestOfATokenAListenerHasTwentyCharacters(t *testing.T) {
	told := make(chan *jwterrors.Error, 1)
	s := newService()
	tr := offline(t, s, func(c *refresher.Config) { c.OnFailure = func(e *jwterrors.Error) { told <- e } })
	login(t, tr)
	tokens, _ := tr.Tokens()
	s.expire()
	_, err := get(t.Context(), tr.Client(), api)
	require.NoError(t, err)
	e := <-told
	assert.Equal(t, tokens.AccessToken[:20]+"...", e.Token)
	assert.Equal(t, "alice", e.Identity, "the subject of the token")
}

// MO-08: listeners can come and go at any time; one that stays is told everything
// for as long as the Transport lives.
func TestListenersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries })
		var order []string
		listen := func(name string) func() {
			return tr.Listen(refresher.Listeners{
				OnFailure:        func(e *jwterrors.Error) { order = append(order, name+" failure"); e.Reason = "CHANGED" },
				OnSessionExpired: func(e *jwterrors.Error) { order = append(order, name+" "+string(e.Reason)) },
				OnRefresh:        func(refresher.Tokens) { order = append(order, name+" refresh") },
			})
		}
		login(t, tr)
		listen("a")
		removeB := listen("b")
		tr.Listen(refresher.Listeners{}) // hears nothing
		require.NoError(t, tr.Refresh(t.Context()))
		assert.Equal(t, []string{"a refresh", "b refresh"}, order, "before Refresh returns")

		order = nil
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
		assert.Error(t, tr.Refresh(t.Context()))
		synctest.Wait()
		assert.Equal(t, []string{"a failure", "b failure"}, order)

		order = nil
		removeB()
		removeB()
		login(t, tr)
		s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
			jwterrors.Responder{}.Respond(w, r, jwterrors.SessionRevoked)
			return true
		})
		assert.Error(t, tr.Refresh(t.Context()))
		synctest.Wait()
		assert.Equal(t, []string{"a failure", "a AUTH_SESSION_REVOKED"}, order, "what one does to its error changes nothing for others")
	})
}

// MO-08: from a listener, too, and one that was removed is not told of what
// waits.
func TestAListenerCanAddAndRemoveListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTransport(t, refresher.Config{Origins: []string{"https://api.example.com"}, Push: true})
		var told []string
		var removeSecond func()
		tr.Listen(refresher.Listeners{OnFailure: func(*jwterrors.Error) {
			told = append(told, "first")
			removeSecond()
			if len(told) == 1 {
				tr.Listen(refresher.Listeners{OnFailure: func(*jwterrors.Error) { told = append(told, "third") }})
			}
		}})
		removeSecond = tr.Listen(refresher.Listeners{OnFailure: func(*jwterrors.Error) { told = append(told, "second") }})
		for range 2 {
			assert.Error(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "a token with spaces"}))
			synctest.Wait()
		}
		assert.Equal(t, []string{"first", "first", "third"}, told)
	})
}

// MO-08: registration is safe while everything else goes on. With -race.
func TestListenersAreSafeForConcurrentUse(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	var stayed, refreshes atomic.Int64
	tr.Listen(refresher.Listeners{OnRefresh: func(refresher.Tokens) { stayed.Add(1) }})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			remove := tr.Listen(refresher.Listeners{
				OnRefresh: func(refresher.Tokens) {}, OnFailure: func(*jwterrors.Error) {}, OnSessionExpired: func(*jwterrors.Error) {},
			})
			defer remove()
			if tr.Refresh(t.Context()) == nil {
				refreshes.Add(1)
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 50, refreshes.Load())
	assert.Equal(t, s.refreshes.Load(), stayed.Load(), "told of each, once")
}

// IT-30: a listener that takes for ever holds nobody up and loses no event that
// happens once. Of failures the last ones are dropped.
func TestASlowListenerHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		var failures, ended atomic.Int64
		tr := offline(t, s, func(c *refresher.Config) {
			c.OnFailure = func(*jwterrors.Error) {
				if failures.Add(1) == 1 {
					time.Sleep(24 * time.Hour)
				}
			}
			c.OnSessionExpired = func(*jwterrors.Error) { ended.Add(1) }
		})
		login(t, tr)
		start := time.Now()
		for range 1000 {
			assert.ErrorIs(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "a token with spaces"}), jwterrors.TokenFormatInvalid)
			synctest.Wait()
		}
		s.expire()
		status, err := get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		s.mu.Lock()
		s.rotation = 99 // so that the session is over
		s.mu.Unlock()
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.RefreshTokenReused)
		assert.Zero(t, time.Since(start), "and nothing has waited")
		assert.Zero(t, ended.Load())
		time.Sleep(25 * time.Hour)
		assert.EqualValues(t, 257, failures.Load(), "the first, and as many as may wait")
		assert.EqualValues(t, 1, ended.Load())
	})
}

// AX-10, AX-25: the end of a session is told once, whoever finds out; the next
// session's end is another.
func TestTheEndOfEachSessionIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		var ended []jwterrors.Error
		tr := offline(t, s, func(c *refresher.Config) {
			c.OnSessionExpired = func(e *jwterrors.Error) { ended = append(ended, *e) }
		})
		for n := 1; n <= 3; n++ {
			s.hookRefresh(nil)
			login(t, tr)
			s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
				jwterrors.Responder{}.Respond(w, r, jwterrors.RefreshTokenExpired)
				return true
			})
			time.Sleep(time.Hour)
			crowd(100, func(int) bool { _, err := get(t.Context(), &http.Client{Transport: tr}, api); return err == nil })
			synctest.Wait()
			require.Len(t, ended, n)
			assert.Equal(t, jwterrors.RefreshTokenExpired, ended[n-1].Reason)
			assert.Equal(t, "alice", ended[n-1].Identity)
			assert.Equal(t, time.Now(), ended[n-1].Time)
		}
		login(t, tr)
		require.NoError(t, tr.Logout(t.Context()))
		synctest.Wait()
		assert.Len(t, ended, 3, "a logout is not told of")
	})
}

// AX-24: without a refresh token the issuer is not asked, and the session is over.
func TestWithoutARefreshTokenNobodyIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		ended := 0
		store := &refresher.MemoryStore{}
		tr := offline(t, s, func(c *refresher.Config) {
			c.Store = store
			c.OnSessionExpired = func(e *jwterrors.Error) {
				ended++
				assert.Equal(t, jwterrors.RefreshTokenMissing, e.Reason)
			}
		})
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: s.access(0)}))
		time.Sleep(time.Hour)
		for range 10 {
			_, err := get(t.Context(), tr.Client(), api)
			assert.Equal(t, jwterrors.ActionLogin, jwterrors.ReasonOf(err).Action())
		}
		synctest.Wait()
		assert.Zero(t, s.refreshes.Load())
		assert.Zero(t, s.calls.Load())
		assert.Equal(t, 1, ended)
		assert.True(t, must(store.Load(t.Context())).IsZero())
	})
}

func ExampleTransport_Listen() {
	t, service := exampleTransport(nil)
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	remove := t.Listen(refresher.Listeners{ // in a part of the program that came later
		OnRefresh: func(tokens refresher.Tokens) { fmt.Println("a new token, number", number(tokens.AccessToken)) },
	})
	fmt.Println(t.Refresh(ctx))
	remove()
	fmt.Println(t.Refresh(ctx), service.refreshes.Load())
	// Output:
	// <nil>
	// a new token, number 2
	// <nil>
	// <nil> 2
}
