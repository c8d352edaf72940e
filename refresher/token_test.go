package refresher_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// Token waits and refreshes when a request does: at the same ages, and once for
// all who wait.
func TestATokenIsHadAsARequestHasIt(t *testing.T) {
	for _, c := range []struct {
		name      string
		age       time.Duration
		refreshes int64
		want      int
	}{
		{"new", 0, 0, 1},
		{"just before the window", 9*time.Minute - 1, 0, 1},
		{"in the window", 9 * time.Minute, 1, 1},
		{"just before it is not sent any more", 9*time.Minute + 30*time.Second - 1, 1, 1},
		{"not sent any more", 9*time.Minute + 30*time.Second, 1, 2},
		{"expired long ago", time.Hour, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				tr := offline(t, s, nil)
				login(t, tr)
				time.Sleep(c.age)
				first, err := tr.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, c.want, number(first.AccessToken))
				assert.EqualValues(t, 100, crowd(100, func(int) bool {
					tokens, err := tr.Token(t.Context())
					return err == nil && number(tokens.AccessToken) >= c.want
				}))
				synctest.Wait()
				assert.Equal(t, c.refreshes, s.refreshes.Load())
			})
		})
	}
}

func TestATokenThatCannotBeHad(t *testing.T) {
	unread := &badStore{}
	unread.set("Load", func() { panic("broken") })
	stored := &refresher.MemoryStore{}
	require.NoError(t, stored.Save(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice","n":7}`)}))
	for _, c := range []struct {
		name    string
		store   refresher.Store
		prepare func(t *testing.T, s *service, tr *refresher.Transport)
		want    jwterrors.Reason
	}{
		{"no session", nil, nil, jwterrors.LoggedOut},
		{"after a logout", nil, func(t *testing.T, _ *service, tr *refresher.Transport) {
			login(t, tr)
			require.NoError(t, tr.Logout(t.Context()))
		}, jwterrors.LoggedOut},
		{"a store that cannot be read", unread, nil, jwterrors.StoreUnavailable},
		{"an outage", nil, func(t *testing.T, s *service, tr *refresher.Transport) {
			login(t, tr)
			time.Sleep(time.Hour)
			s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
		}, jwterrors.RefreshUnavailable},
		{"tokens in the store", stored, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				tr := offline(t, s, func(config *refresher.Config) { config.Store = c.store })
				if c.prepare != nil {
					c.prepare(t, s, tr)
				}
				tokens, err := tr.Token(t.Context())
				assert.Equal(t, c.want, jwterrors.ReasonOf(err))
				assert.Equal(t, c.want == "", tokens.AccessToken != "")
			})
		})
	}
}

func TestWhoWaitsForATokenMayLeave(t *testing.T) {
	tr := handled(t, &app{}, ok, func(c *refresher.Config) { c.Source, c.Push = nil, true })
	require.NoError(t, tr.Identify(t.Context(), refresher.Email("alice@example.com")))
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	time.AfterFunc(time.Millisecond, func() { cancel(gone) })
	_, err := tr.Token(ctx)
	assert.Equal(t, gone, err)
}

// A server that is not asked through the Transport refuses a token: whoever
// says so first starts the one refresh, and late refusals start none.
func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	s := newService()
	var failures atomic.Int64
	tr := offline(t, s, func(c *refresher.Config) { c.OnFailure = func(*jwterrors.Error) { failures.Add(1) } })
	login(t, tr)
	first, err := tr.Token(t.Context())
	require.NoError(t, err)
	s.expire()
	assert.EqualValues(t, 500, crowd(500, func(i int) bool {
		var why error = jwterrors.TokenExpired
		if i%2 == 0 {
			why = errors.New("rpc error: code = Unauthenticated")
		}
		next, err := tr.Refused(t.Context(), first, why)
		return err == nil && number(next.AccessToken) == 3 && next.AccessToken != first.AccessToken
	}))
	assert.EqualValues(t, 1, s.refreshes.Load())
	second, err := tr.Token(t.Context())
	require.NoError(t, err)

	tr.Accepted(second)
	_, err = tr.Refused(t.Context(), second, jwterrors.TokenInvalidated)
	require.NoError(t, err)
	assert.EqualValues(t, 2, s.refreshes.Load(), "it was accepted before, so that another is worth a try")
	third, err := tr.Token(t.Context())
	require.NoError(t, err)
	for range 10 {
		_, err = tr.Refused(t.Context(), third, jwterrors.TokenInvalidated)
		assert.ErrorIs(t, err, jwterrors.TokenInvalidated)
	}
	assert.EqualValues(t, 2, s.refreshes.Load(), "it replaced a refused one and was never accepted")

	// What cannot be cured by a new token.
	for _, why := range []error{jwterrors.TokenAudienceInvalid, &jwterrors.Error{Reason: jwterrors.ScopeInsufficient}} {
		_, err = tr.Refused(t.Context(), third, why)
		assert.ErrorIs(t, err, jwterrors.ReasonOf(why))
	}
	_, err = tr.Refused(t.Context(), refresher.Tokens{AccessToken: third.AccessToken}, nil)
	assert.ErrorIs(t, err, jwterrors.RequestInvalid, "it is not from Token")
	tr.Accepted(refresher.Tokens{}) // nothing happens

	login(t, tr)
	_, err = tr.Refused(t.Context(), third, jwterrors.TokenExpired)
	assert.ErrorIs(t, err, jwterrors.LoggedOut, "the tokens of the new user are not for the old one's requests")
	assert.EqualValues(t, 2, s.refreshes.Load())
	assert.Eventually(t, func() bool { return failures.Load() == 3 }, 5*time.Second, time.Millisecond, "one for each generation")
}

// Nobody is asked for another token when the server has ended the session, however
// late the refusals of the old one come.
func TestALateRefusalAfterTheEndOfTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		tr := newTransport(t, refresher.Config{
			Origins: []string{"https://api.example.com"},
			Source: sourceFunc(func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
				if asked++; asked > 1 {
					return refresher.Tokens{AccessToken: "another"}, nil
				}
				return refresher.Tokens{}, jwterrors.SessionRevoked
			}),
		})
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
		tokens := must(tr.Token(t.Context()))
		for range 2 {
			_, err := tr.Refused(t.Context(), tokens, jwterrors.TokenExpired)
			assert.ErrorIs(t, err, jwterrors.SessionRevoked)
			time.Sleep(time.Hour)
		}
		assert.Equal(t, 1, asked)
		tr.Resume()
		_, err := tr.Token(t.Context())
		assert.ErrorIs(t, err, jwterrors.LoggedOut)
		assert.ErrorIs(t, err, jwterrors.SessionRevoked, "Resume forgets nothing of a session that has ended")
	})
}

// Tokens that were lent can be handed back in, and stored.
func TestLentTokensAreTokensLikeOthers(t *testing.T) {
	store := &refresher.MemoryStore{}
	tr := offline(t, newService(), func(c *refresher.Config) { c.Store = store })
	login(t, tr)
	lent, err := tr.Token(t.Context())
	require.NoError(t, err)
	held, _ := tr.Tokens()
	assert.NotEqual(t, held, lent, "they remember where they are from")
	require.NoError(t, tr.SetTokens(t.Context(), lent))
	again, _ := tr.Tokens()
	assert.Equal(t, held, again)
	assert.Equal(t, held, must(store.Load(t.Context())))
}

func TestATokenCostsNoAllocation(t *testing.T) {
	tr := offline(t, newService(), nil)
	login(t, tr)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = tr.Token(t.Context()) }))
}

func ExampleTransport_Token() {
	t, _ := exampleTransport(nil)
	defer t.Close()
	ctx := context.Background()
	_, err := t.Token(ctx)
	fmt.Println(jwterrors.ReasonOf(err))
	fmt.Println(t.Login(ctx, alice))
	tokens, err := t.Token(ctx)
	fmt.Println(tokens.AccessToken != "", err) // for the metadata of a gRPC call
	// Output:
	// AUTH_LOGGED_OUT
	// <nil>
	// true <nil>
}

func ExampleTransport_Refused() {
	t, service := exampleTransport(nil)
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	tokens, err := t.Token(ctx)
	fmt.Println(number(tokens.AccessToken), err)
	tokens, err = t.Refused(ctx, tokens, jwterrors.TokenInvalidated) // said a server
	fmt.Println(number(tokens.AccessToken), err)
	fmt.Println(service.refreshes.Load(), "refresh")
	// Output:
	// <nil>
	// 1 <nil>
	// 2 <nil>
	// 1 refresh
}

func ExampleTransport_Accepted() {
	t, _ := exampleTransport(nil)
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	tokens, err := t.Token(ctx)
	fmt.Println(err)
	t.Accepted(tokens) // after a call that the server has answered
	// Output:
	// <nil>
	// <nil>
}
