package refresher_test

import (
	"context"
	"net/http"
	"strings"
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

// A flight that waits for the lock of the store while somebody brings tokens has
// nothing left to do: it gives the lock back, and asks for nothing.
func TestALockThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &badStore{}
		tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
		login(t, tr)
		free, done := make(chan struct{}), make(chan error)
		store.set("Lock", func() { <-free })
		go func() { done <- tr.Refresh(t.Context()) }()
		synctest.Wait()
		store.set("", nil)
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: s.access(7), RefreshToken: "theirs"}))
		require.NoError(t, <-done, "there is a newer token")
		close(free)
		synctest.Wait()
		assert.Zero(t, s.refreshes.Load())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		unlock, err := store.Lock(ctx)
		require.NoError(t, err, "nobody has the lock")
		unlock()
	})
}

// A lock that somebody else holds for longer than a refresh may take is an error, and
// nothing is refreshed beside them.
func TestALockThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &refresher.MemoryStore{}
		tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
		login(t, tr)
		defer must(store.Lock(t.Context()))()
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.StoreUnavailable)
		assert.Zero(t, s.refreshes.Load())
	})
}

// readStore calls a function once, behind what it has read.
type readStore struct {
	refresher.MemoryStore
	then func()
}

func (r *readStore) Load(ctx context.Context) (refresher.Tokens, error) {
	tokens, err := r.MemoryStore.Load(ctx)
	if then := r.then; then != nil {
		r.then = nil
		then()
	}
	return tokens, err
}

// What may be another user's refresh token is not used up by a flight that is not
// wanted any more.
func TestARefreshTokenOfAnotherUserIsNotUsedInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &readStore{}
		tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
		login(t, tr)
		require.NoError(t, store.Save(t.Context(), refresher.Tokens{RefreshToken: "theirs"}))
		store.then = func() {
			assert.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: s.access(7), RefreshToken: "mine"}))
		}
		require.NoError(t, tr.Refresh(t.Context()))
		synctest.Wait()
		assert.Zero(t, s.refreshes.Load())
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

// A logout that waits for the store ends no session that has begun since.
func TestALogoutThatWasOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &badStore{}
		tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
		require.NoError(t, store.MemoryStore.Save(t.Context(), somebody))
		read, done := make(chan struct{}), make(chan error)
		store.set("Load", func() { <-read })
		go func() { done <- tr.Logout(t.Context()) }()
		synctest.Wait()
		store.set("", nil)
		login(t, tr)
		close(read)
		require.NoError(t, <-done)
		assert.Empty(t, revoked(s))
		call(t, tr)
	})
}
