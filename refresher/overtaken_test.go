package refresher_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// The call that came last decides, not the answer that came last.
func TestALoginThatWasOvertakenChangesNothing(t *testing.T) {
	for name, later := range map[string]func(t *testing.T, tr *refresher.Transport){
		"by a logout": func(t *testing.T, tr *refresher.Transport) { require.NoError(t, tr.Logout(t.Context())) },
		"by tokens from elsewhere": func(t *testing.T, tr *refresher.Transport) {
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"bob"}`)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			entered, release := make(chan struct{}), make(chan struct{})
			tr := offline(t, s, func(c *refresher.Config) {
				c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
					resp, err := handlerTransport{s}.RoundTrip(r)
					if strings.HasSuffix(r.URL.Path, "/login") {
						close(entered)
						<-release
					}
					return resp, err
				})
			})
			failed := make(chan error)
			go func() { failed <- tr.Login(t.Context(), refresher.Credentials{Username: "alice", Password: "right"}) }()
			<-entered
			later(t, tr)
			before, was := tr.Tokens()
			close(release)
			assert.ErrorIs(t, <-failed, jwterrors.LoggedOut)
			after, is := tr.Tokens()
			assert.Equal(t, was, is)
			assert.Equal(t, before.AccessToken, after.AccessToken)
			_, _, revoked := s.log()
			assert.Equal(t, []string{"refresh-token-number-1"}, revoked, "what it brought is revoked")
		})
	}
}

// once returns a function that calls f the first time, and nothing the next.
func once(f func()) func() {
	var called atomic.Bool
	return func() {
		if called.CompareAndSwap(false, true) {
			f()
		}
	}
}

// A refresh that has waited for the lock, while the user has logged in anew, does not
// use up the tokens of the login.
func TestARefreshThatWasOvertakenAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &badStore{}
		tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
		login(t, tr)
		entered, release, failed := make(chan struct{}), make(chan struct{}), make(chan error)
		store.set("Lock", once(func() { close(entered); <-release }))
		go func() { failed <- tr.Refresh(t.Context()) }()
		<-entered
		login(t, tr)
		close(release)
		assert.ErrorIs(t, <-failed, jwterrors.LoggedOut)
		synctest.Wait()
		assert.Zero(t, s.refreshes.Load())
		assert.Equal(t, "refresh-token-number-2", refreshToken(t, store))
	})
}

// readStore calls a function when it has read, before it says what.
type readStore struct {
	refresher.Store
	read func()
}

func (r *readStore) Load(ctx context.Context) (refresher.Tokens, error) {
	tokens, err := r.Store.Load(ctx)
	if r.read != nil {
		r.read()
	}
	return tokens, err
}

// Nor what may be another user's, which it was about to try.
func TestARefreshThatWasOvertakenTriesNobodyElsesToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &readStore{Store: ownerless{&refresher.MemoryStore{}}}
		share := func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: store} }
		a, b := offline(t, s, share), offline(t, s, share)
		login(t, a)
		s.subject = "bob"
		login(t, b)
		s.subject = "carol"
		store.read = once(func() { login(t, a) })
		assert.ErrorIs(t, a.Refresh(t.Context()), jwterrors.LoggedOut)
		synctest.Wait()
		used, _, _ := s.log()
		assert.Empty(t, used)
	})
}

// A listener that logs out, when it is told of new tokens, has logged out: they are
// not used, and they are revoked.
func TestALogoutWhileNewTokensAreAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &refresher.MemoryStore{}
		var tr *refresher.Transport
		tr = offline(t, s, func(c *refresher.Config) {
			c.Store = store
			c.OnRefresh = func(refresher.Tokens) { assert.NoError(t, tr.Logout(t.Context())) }
		})
		login(t, tr)
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.LoggedOut)
		synctest.Wait()
		_, active := tr.Tokens()
		assert.False(t, active)
		assert.True(t, must(store.Load(t.Context())).IsZero())
		assert.Contains(t, revoked(s), "refresh-token-number-2")
	})
}

// What comes late is revoked where the session was ended here, by a login, a logout or
// another name, and not where tokens were set: the server may know the session by any
// of them.
func TestWhatComesLateIsNotRevokedAfterTokensWereSet(t *testing.T) {
	for _, user := range []string{"alice", "bob"} {
		t.Run(user, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				tr := offline(t, s, nil)
				login(t, tr)
				release, done := make(chan struct{}), make(chan error)
				s.hookRefresh(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
				go func() { done <- tr.Refresh(t.Context()) }()
				synctest.Wait()
				require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"` + user + `"}`), RefreshToken: "set"}))
				<-done
				close(release)
				synctest.Wait()
				assert.EqualValues(t, 1, s.refreshes.Load())
				assert.Empty(t, revoked(s))
				assert.Equal(t, "set", must(tr.Token(t.Context())).RefreshToken)
			})
		})
	}
}

// Who was about to refresh while others have, and have heard that the session is over,
// hears that too.
func TestARefreshOfASessionThatIsOverMeanwhile(t *testing.T) {
	s := newService()
	var now atomic.Pointer[func()]
	tr := offline(t, s, func(c *refresher.Config) {
		c.Now = func() time.Time {
			if f := now.Load(); f != nil {
				(*f)()
			}
			return time.Now()
		}
	})
	login(t, tr)
	others := once(func() {
		assert.NoError(t, tr.Refresh(t.Context()))
		s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
			jwterrors.Responder{}.Respond(w, r, jwterrors.SessionRevoked)
			return true
		})
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.SessionRevoked)
	})
	now.Store(&others)
	assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.LoggedOut)
	_, active := tr.Tokens()
	assert.False(t, active)
}

// Two who find the same generation expired at the same moment start one refresh, also
// where no lock keeps a second one waiting.
func TestTwoWhoBeginAtOnceStartOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &brokenStore{}
		var now atomic.Pointer[func()]
		tr := offline(t, s, func(c *refresher.Config) {
			c.Store = store
			c.Now = func() time.Time {
				if f := now.Load(); f != nil {
					(*f)()
				}
				return time.Now()
			}
		})
		login(t, tr)
		store.breaks("Lock")
		slow, answer := make(chan struct{}), make(chan struct{})
		s.hookRefresh(func(http.ResponseWriter, *http.Request) bool { <-answer; return false })
		wait := once(func() { <-slow })
		now.Store(&wait)
		done := make(chan error, 2)
		for range 2 { // the first has seen that there is no refresh when the second starts one
			go func() { done <- tr.Refresh(t.Context()) }()
			synctest.Wait()
		}
		close(slow)
		synctest.Wait()
		close(answer)
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		assert.EqualValues(t, 1, s.refreshes.Load())
	})
}

// Of a logout that comes while tokens are being set, or a user is being named, the
// caller hears.
func TestALogoutInBetweenIsNotTakenBack(t *testing.T) {
	for name, set := range map[string]func(t *testing.T, tr *refresher.Transport, logout func()) error{
		"by SetTokens": func(t *testing.T, tr *refresher.Transport, _ func()) error {
			return tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice","n":2}`)})
		},
		"by Identify": func(t *testing.T, tr *refresher.Transport, logout func()) error {
			return tr.Identify(t.Context(), refresher.UserID("alice"), func(*refresher.Tokens) { logout() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := &refresher.MemoryStore{}
			var logout func()
			tr := newTransport(t, refresher.Config{
				Origins: []string{"https://api.example.com"}, Push: true, Store: store,
				Now: func() time.Time {
					if logout != nil {
						logout()
					}
					return time.Now()
				},
			})
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice"}`)}))
			logout = once(func() { assert.NoError(t, tr.Logout(t.Context())) })
			assert.ErrorIs(t, set(t, tr, logout), jwterrors.LoggedOut)
			_, active := tr.Tokens()
			assert.False(t, active)
			assert.True(t, must(store.Load(t.Context())).IsZero())
		})
	}
}

// A login that comes while a logout waits for the store is the later one: it goes on,
// here and at the server.
func TestALoginDuringALogoutWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &badStore{}
		tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
		release, ended := make(chan struct{}), make(chan error)
		store.set("Load", once(func() { <-release }))
		go func() { ended <- tr.Logout(t.Context()) }()
		synctest.Wait()
		login(t, tr)
		assert.NoError(t, <-ended)
		close(release)
		synctest.Wait()
		call(t, tr)
		assert.Empty(t, revoked(s))
		assert.NotEmpty(t, refreshToken(t, store))
	})
}

// A token that is refused after its session has ended has no successor, and nobody is
// asked for one.
func TestATokenIsRefusedAfterItsSession(t *testing.T) {
	for name, renewed := range map[string]bool{"the last one": false, "one before": true} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			tr := offline(t, s, nil)
			login(t, tr)
			old := must(tr.Token(t.Context()))
			if renewed {
				require.NoError(t, tr.Refresh(t.Context()))
			}
			s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
				jwterrors.Responder{}.Respond(w, r, jwterrors.SessionRevoked)
				return true
			})
			require.Error(t, tr.Refresh(t.Context()))
			asked := s.refreshes.Load()
			_, err := tr.Refused(t.Context(), old, jwterrors.TokenExpired)
			assert.ErrorIs(t, err, jwterrors.LoggedOut)
			assert.ErrorIs(t, err, jwterrors.SessionRevoked, "the cause is told")
			assert.Equal(t, asked, s.refreshes.Load())
		})
	}
}

// Whoever is named while another session begins is too late.
func TestAnIdentifyThatWasOvertaken(t *testing.T) {
	tr := (&pushed{}).transport(t, nil)
	bob := refresher.Email("bob@example.com")
	later := func(*refresher.Tokens) {
		assert.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: of(bob.Email, 1), Identity: bob}))
	}
	assert.ErrorIs(t, tr.Identify(t.Context(), refresher.Email("alice@example.com"), later), jwterrors.LoggedOut)
	tokens, active := tr.Tokens()
	assert.True(t, active)
	assert.Equal(t, bob, tokens.Identity)
}
