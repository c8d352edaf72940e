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

// A pushed API takes one token at a time; the app hands tokens in.
type pushed struct {
	mu    sync.Mutex
	valid string
	seen  []string
}

func (p *pushed) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := r.Header.Get("Authorization")
	p.seen = append(p.seen, got)
	status := 200
	if got != "Bearer "+p.valid {
		status = 401
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Request: r, Header: http.Header{}}, nil
}

func (p *pushed) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seen)
}

func (p *pushed) transport(t testing.TB, change func(*refresher.Config)) *refresher.Transport {
	c := refresher.Config{Origins: []string{"https://api.example.com"}, Push: true, Base: p}
	if change != nil {
		change(&c)
	}
	return newTransport(t, c)
}

func of(user string, n int) string { return jwtOf(fmt.Sprintf(`{"email":%q,"n":%d}`, user, n)) }

// MO-01: tokens are sent where the configuration says so, and nowhere before an
// app has handed one in: no header, nobody is told, and nobody waits.
func TestNothingHappensBeforeItIsSwitchedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pushed{valid: "x"}
		told := 0
		tell := func(*jwterrors.Error) { told++ }
		tr := p.transport(t, func(c *refresher.Config) {
			c.OnFailure, c.OnSessionExpired, c.OnRefresh = tell, tell, func(refresher.Tokens) { told++ }
		})
		start := time.Now()
		for range 3 {
			status, err := get(t.Context(), tr.Client(), remote)
			require.NoError(t, err)
			assert.Equal(t, 401, status, "the API's own answer")
		}
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "x"}))
		status, err := get(t.Context(), tr.Client(), "https://elsewhere.example.com/")
		require.NoError(t, err)
		assert.Equal(t, 401, status)
		synctest.Wait()
		assert.Equal(t, []string{"", "", "", ""}, p.seen)
		assert.Zero(t, told)
		assert.Zero(t, time.Since(start))
	})
}

// MO-02, AX-18: two instances in one process, for test and live or for two APIs,
// know nothing of one another.
func TestInstancesAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		test, live := newService(), newService()
		told := map[string]int{}
		instance := func(name string, s *service) *refresher.Transport {
			return offline(t, s, func(c *refresher.Config) {
				c.OnFailure = func(*jwterrors.Error) { told[name]++ }
				c.OnSessionExpired = func(*jwterrors.Error) { told[name]++ }
			})
		}
		a, b := instance("test", test), instance("live", live)
		login(t, a)
		live.subject = "bob"
		login(t, b)
		before, _ := b.Tokens()
		test.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
			jwterrors.Responder{}.Respond(w, r, jwterrors.SessionRevoked)
			return true
		})
		assert.Error(t, a.Refresh(t.Context()))
		_, err := get(t.Context(), a.Client(), api)
		assert.ErrorIs(t, err, jwterrors.LoggedOut)
		status, err := get(t.Context(), b.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		after, _ := b.Tokens()
		assert.Equal(t, before, after)
		synctest.Wait()
		assert.Equal(t, map[string]int{"test": 2}, told)
		assert.Equal(t, 60_000*time.Millisecond, a.Client().Timeout)
		assert.NotSame(t, a.Client(), a.Client(), "each can have a timeout of its own")
	})
}

// MO-03: a token and whose it is travel together, and are taken or refused
// together.
func TestATokenAndItsUserTravelTogether(t *testing.T) {
	p := &pushed{}
	tr := p.transport(t, nil)
	alice, bob := refresher.Email("alice@example.com"), refresher.Email("bob@example.com")
	hand := func(token string, id refresher.Identity) error {
		return tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: token, Identity: id})
	}
	require.NoError(t, hand(of(alice.Email, 1), alice))
	assert.ErrorIs(t, hand(of(bob.Email, 1), alice), jwterrors.TokenUserKeyInvalid)
	got, _ := tr.Tokens()
	assert.Equal(t, alice, got.Identity)
	assert.Equal(t, of(alice.Email, 1), got.AccessToken)
	require.NoError(t, hand(of(bob.Email, 2), bob))
	got, _ = tr.Tokens()
	assert.Equal(t, bob, got.Identity)
	assert.Equal(t, of(bob.Email, 2), got.AccessToken)
	require.NoError(t, hand(of(bob.Email, 3), refresher.Identity{}))
	got, _ = tr.Tokens()
	assert.Equal(t, bob, got.Identity, "the user is the same until somebody else is named")
}

// MO-04, MO-09: a later launch finds an expired token in the store: the app is
// asked for another, and the first request waits for it.
func TestALaterLaunchInPushMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pushed{valid: of("alice@example.com", 2)}
		store := &refresher.MemoryStore{}
		id := refresher.Email("alice@example.com")
		require.NoError(t, store.Save(t.Context(), refresher.Tokens{
			AccessToken: of(id.Email, 1), Expiry: time.Now().Add(-time.Minute), Received: time.Now().Add(-time.Hour), Identity: id,
		}))
		var tr *refresher.Transport
		tr = p.transport(t, func(c *refresher.Config) {
			c.Store = store
			c.OnFailure = func(e *jwterrors.Error) {
				assert.Equal(t, jwterrors.TokenExpired, e.Reason)
				assert.Equal(t, id.Email, e.Identity)
				time.Sleep(5 * time.Second)
				assert.NoError(t, tr.SetTokens(context.Background(), refresher.Tokens{AccessToken: of(id.Email, 2)}))
			}
		})
		start := time.Now()
		assert.EqualValues(t, 20, crowd(20, func(int) bool {
			status, err := get(t.Context(), tr.Client(), remote)
			return err == nil && status == 200
		}))
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.Equal(t, 20, p.requests(), "none with the expired token")
	})
}

// MO-09: after a refusal a request waits, without being sent again, until a token
// comes or its own context is over. A token that is refused here releases nobody.
func TestAPausedRequestWaitsForANewTokenAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pushed{valid: "second"}
		tr := p.transport(t, nil)
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "first"}))
		client := &http.Client{Transport: tr} // without the timeout of Client
		patient := make(chan int, 10)
		for range 10 {
			go func() { status, _ := get(t.Context(), client, remote); patient <- status }()
		}
		hasty, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		left := make(chan error)
		go func() { _, err := get(hasty, client, remote); left <- err }()
		synctest.Wait()
		assert.Equal(t, 11, p.requests())
		assert.ErrorIs(t, <-left, context.DeadlineExceeded)
		time.Sleep(24 * time.Hour)
		assert.ErrorIs(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "not sendable"}), jwterrors.TokenFormatInvalid)
		synctest.Wait()
		assert.Empty(t, patient)
		assert.Equal(t, 11, p.requests(), "nothing is sent meanwhile")
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "second"}))
		at := time.Now()
		for range 10 {
			assert.Equal(t, 200, <-patient)
		}
		assert.Zero(t, time.Since(at))
		assert.Equal(t, 21, p.requests())
	})
}

// MO-12: in push mode, too, a new session may try again after ten refusals.
func TestANewSessionTriesAgainInPushMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pushed{valid: "none of them"}
		given := 0
		var tr *refresher.Transport
		tr = p.transport(t, func(c *refresher.Config) {
			c.OnFailure = func(e *jwterrors.Error) {
				if e.Reason != jwterrors.Paused {
					given++
					assert.NoError(t, tr.SetTokens(context.Background(), refresher.Tokens{AccessToken: of("alice@example.com", given)}))
				}
			}
		})
		call := func() {
			for range 30 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_, _ = get(ctx, &http.Client{Transport: tr}, remote)
				cancel()
			}
			synctest.Wait()
		}
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: of("alice@example.com", 0)}))
		call()
		assert.Equal(t, 9, given, "the tenth refusal is a pause")
		for name, again := range map[string]func(){
			"the same user": func() {
				require.NoError(t, tr.Identify(t.Context(), refresher.Email("alice@example.com"), refresher.WithTokens(refresher.Tokens{AccessToken: of("alice@example.com", 100)})))
			},
			"Resume": tr.Resume,
		} {
			given = 0
			again()
			call()
			assert.Positive(t, given, name)
			assert.LessOrEqual(t, given, 10, name)
		}
	})
}

// MO-05, IT-30: whatever a listener calls returns, and the requests go on.
func TestAListenerMayCallEverything(t *testing.T) {
	calls := map[string]func(ctx context.Context, s *service, tr *refresher.Transport){
		"SetTokens": func(ctx context.Context, s *service, tr *refresher.Transport) {
			_ = tr.SetTokens(ctx, refresher.Tokens{AccessToken: s.access(1), RefreshToken: "refresh-token-number-1"})
		},
		"Login":   func(ctx context.Context, _ *service, tr *refresher.Transport) { _ = tr.Login(ctx, alice) },
		"Logout":  func(ctx context.Context, _ *service, tr *refresher.Transport) { _ = tr.Logout(ctx) },
		"Refresh": func(ctx context.Context, _ *service, tr *refresher.Transport) { _ = tr.Refresh(ctx) },
		"Token":   func(ctx context.Context, _ *service, tr *refresher.Transport) { _, _ = tr.Token(ctx) },
		"Restore": func(ctx context.Context, _ *service, tr *refresher.Transport) { _ = tr.Restore(ctx) },
		"Tokens":  func(_ context.Context, _ *service, tr *refresher.Transport) { tr.Tokens() },
		"Resume":  func(_ context.Context, _ *service, tr *refresher.Transport) { tr.Resume() },
		"Close":   func(_ context.Context, _ *service, tr *refresher.Transport) { _ = tr.Close() },
		"Listen":  func(_ context.Context, _ *service, tr *refresher.Transport) { tr.Listen(refresher.Listeners{})() },
		"Identify": func(ctx context.Context, s *service, tr *refresher.Transport) {
			_ = tr.Identify(ctx, refresher.UserID("alice"), refresher.WithTokens(refresher.Tokens{AccessToken: s.access(1)}))
		},
		"a request": func(ctx context.Context, _ *service, tr *refresher.Transport) {
			_, _ = get(ctx, &http.Client{Transport: tr}, api)
		},
	}
	for name, call := range calls {
		for _, where := range []string{"OnFailure", "OnRefresh", "OnSessionExpired"} {
			t.Run(name+" from "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService()
					var tr *refresher.Transport
					var called atomic.Int64
					act := func(here string) {
						if here == where && called.Add(1) == 1 {
							call(t.Context(), s, tr)
							called.Add(1000)
						}
					}
					tr = offline(t, s, func(c *refresher.Config) {
						c.MaxRetries = 1
						c.OnFailure = func(*jwterrors.Error) { act("OnFailure") }
						c.OnRefresh = func(refresher.Tokens) { act("OnRefresh") }
						c.OnSessionExpired = func(*jwterrors.Error) { act("OnSessionExpired") }
					})
					login(t, tr)
					start := time.Now()
					s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
						switch {
						case where == "OnSessionExpired":
							jwterrors.Responder{}.Respond(w, r, jwterrors.SessionRevoked)
							return true
						case where == "OnFailure" && s.refreshes.Load() == 1:
							w.WriteHeader(503)
							return true
						}
						return false
					})
					s.expire()
					crowd(10, func(int) bool { _, err := get(t.Context(), &http.Client{Transport: tr}, api); return err == nil })
					synctest.Wait()
					time.Sleep(10 * time.Second)
					synctest.Wait()
					assert.GreaterOrEqual(t, called.Load(), int64(1001), "the call has returned")
					assert.LessOrEqual(t, time.Since(start), 20*time.Second)
				})
			})
		}
	}
}
