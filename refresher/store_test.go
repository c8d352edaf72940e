package refresher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// brokenStore fails in the method that is named, or in everything.
type brokenStore struct {
	refresher.MemoryStore
	mu   sync.Mutex
	what string
}

var errDisk = errors.New("the disk is full")

func (b *brokenStore) breaks(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.what = what
}

func (b *brokenStore) check(what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.what == what || b.what == "everything" {
		return errDisk
	}
	return nil
}

func (b *brokenStore) Load(ctx context.Context) (refresher.Tokens, error) {
	if err := b.check("Load"); err != nil {
		return refresher.Tokens{}, err
	}
	return b.MemoryStore.Load(ctx)
}

func (b *brokenStore) Save(ctx context.Context, tokens refresher.Tokens) error {
	if err := b.check("Save"); err != nil {
		return err
	}
	return b.MemoryStore.Save(ctx, tokens)
}

func (b *brokenStore) Clear(ctx context.Context) error {
	if err := b.check("Clear"); err != nil {
		return err
	}
	return b.MemoryStore.Clear(ctx)
}

func (b *brokenStore) Lock(ctx context.Context) (func(), error) {
	if err := b.check("Lock"); err != nil {
		return nil, err
	}
	return b.MemoryStore.Lock(ctx)
}

// A store that does not work costs no session: the tokens in use are newer than
// what it holds, and are never replaced by that.
func TestABrokenStoreCostsNoSession(t *testing.T) {
	for _, what := range []string{"Load", "Save", "Lock"} {
		t.Run(what, func(t *testing.T) {
			s := newService()
			store := &brokenStore{}
			var told failures
			tr := offline(t, s, func(c *refresher.Config) { c.Store, c.OnFailure = store, told.add })
			login(t, tr)
			store.breaks(what)
			for range 3 {
				require.NoError(t, tr.Refresh(t.Context()))
				status, err := get(t.Context(), tr.Client(), api)
				require.NoError(t, err)
				require.Equal(t, 200, status)
			}
			assert.Eventually(t, func() bool { return contains(told.reasons(), string(jwterrors.StoreUnavailable)) }, 5*time.Second, time.Millisecond)
			store.breaks("")
			require.NoError(t, tr.Refresh(t.Context()))
			tokens, _ := tr.Tokens()
			stored := must(store.Load(t.Context()))
			assert.Equal(t, tokens.RefreshToken, stored.RefreshToken, "it is up to date again")
			used, _, _ := s.log()
			assert.Len(t, used, 4, "no refresh token was used twice")
		})
	}
}

type failures struct {
	mu  sync.Mutex
	all []string
}

func (f *failures) add(e *jwterrors.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, string(e.Reason))
}

func (f *failures) reasons() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.all...)
}

// Login and SetTokens report that they could not save, after the tokens have
// been put in use; Logout reports that the store still has them.
func TestAFailedSaveIsReported(t *testing.T) {
	s := newService()
	store := &brokenStore{}
	tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
	store.breaks("Save")
	err := tr.Login(t.Context(), alice)
	assert.ErrorIs(t, err, jwterrors.StoreUnavailable)
	assert.ErrorIs(t, err, errDisk)
	status, err := get(t.Context(), tr.Client(), api)
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	require.NoError(t, store.MemoryStore.Save(t.Context(), refresher.Tokens{AccessToken: "older", RefreshToken: "older"}))
	store.breaks("")
	require.NoError(t, tr.Refresh(t.Context()))
	used, _, _ := s.log()
	assert.Equal(t, []string{"refresh-token-number-1"}, used, "the older ones are not used")
	store.breaks("Clear")
	assert.ErrorIs(t, tr.Logout(t.Context()), errDisk)
	_, err = get(t.Context(), tr.Client(), api)
	assert.ErrorIs(t, err, jwterrors.LoggedOut)
}

// A Login that waits for the store does not write to it after a Logout.
func TestAnOvertakenLoginIsNotSaved(t *testing.T) {
	s := newService()
	store := &queueStore{entered: make(chan struct{}), release: make(chan struct{})}
	tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
	require.NoError(t, tr.Restore(t.Context()))
	done := make(chan error)
	go func() { done <- tr.Login(t.Context(), alice) }()
	<-store.entered
	require.NoError(t, tr.Logout(t.Context()))
	close(store.release)
	require.NoError(t, <-done)
	assert.True(t, must(store.Load(t.Context())).IsZero())
}

// queueStore lets the first who wants its lock wait.
type queueStore struct {
	refresher.MemoryStore
	first            sync.Once
	entered, release chan struct{}
}

func (q *queueStore) Lock(ctx context.Context) (func(), error) {
	first := false
	q.first.Do(func() { first = true })
	if first {
		close(q.entered)
		<-q.release
	}
	return q.MemoryStore.Lock(ctx)
}

// AX-17: a store that cannot be read counts as one without tokens, until it can.
func TestAStoreThatCannotBeReadAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		store := &brokenStore{}
		first := offline(t, s, func(c *refresher.Config) { c.Store = store })
		login(t, first)
		store.breaks("Load")
		tr := offline(t, s, func(c *refresher.Config) { c.Store, c.RetryInterval = store, 2*time.Second })
		assert.ErrorIs(t, tr.Restore(t.Context()), errDisk)
		status, err := get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, 401, status, "without a token")
		assert.Zero(t, s.refreshes.Load())
		store.breaks("")
		time.Sleep(2 * time.Second)
		status, err = get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
	})
}

// MO-04, AX-19: a later launch finds the tokens, and renews them before the first
// request if they have expired.
func TestALaterLaunch(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration
		want int64
	}{"soon": {time.Minute, 0}, "the next day": {24 * time.Hour, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				s.opaque = true
				store := &refresher.MemoryStore{}
				login(t, offline(t, s, func(c *refresher.Config) { c.Store = store }))
				time.Sleep(c.age)
				tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
				assert.EqualValues(t, 100, crowd(100, func(int) bool {
					status, err := get(t.Context(), tr.Client(), api)
					return err == nil && status == 200
				}))
				assert.Equal(t, c.want, s.refreshes.Load())
				assert.Zero(t, s.refused.Load(), "no expired token was sent")
			})
		})
	}
}

// What is stored for somebody else, or for another issuer, is not taken.
func TestStoredTokensAreChecked(t *testing.T) {
	for name, stored := range map[string]refresher.Tokens{
		"another issuer": {AccessToken: jwtOf(`{"iss":"https://evil.example.com"}`), RefreshToken: "r"},
		"another user":   {AccessToken: jwtOf(`{"iss":"https://id.example.com","sub":"bob"}`), Identity: refresher.UserID("alice")},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := newService(), &refresher.MemoryStore{}
			require.NoError(t, store.Save(t.Context(), stored))
			tr := offline(t, s, func(c *refresher.Config) { c.Store, c.Issuer = store, "https://id.example.com" })
			require.NoError(t, tr.Restore(t.Context()))
			_, ok := tr.Tokens()
			assert.False(t, ok)
		})
	}
}

// Two processes share a store. What one does to the session, the other finds out
// when it refreshes.
func TestWhatAnotherProcessDidToTheSession(t *testing.T) {
	for _, c := range []struct {
		name     string
		did      func(t *testing.T, s *service, store *refresher.MemoryStore, other *refresher.Transport)
		want     jwterrors.Reason
		calls    int64 // of /refresh, by this process
		expiries int
	}{
		{"it refreshed", func(t *testing.T, _ *service, _ *refresher.MemoryStore, other *refresher.Transport) {
			require.NoError(t, other.Refresh(t.Context()))
		}, "", 0, 0},
		{"it refreshed, long ago", func(t *testing.T, _ *service, _ *refresher.MemoryStore, other *refresher.Transport) {
			require.NoError(t, other.Refresh(t.Context()))
			time.Sleep(time.Hour)
		}, "", 1, 0},
		{"it logged out", func(t *testing.T, _ *service, _ *refresher.MemoryStore, other *refresher.Transport) {
			require.NoError(t, other.Logout(t.Context()))
		}, jwterrors.LoggedOut, 0, 1},
		{"it logged somebody else in", func(t *testing.T, s *service, _ *refresher.MemoryStore, other *refresher.Transport) {
			s.subject = "bob"
			login(t, other)
		}, jwterrors.LoggedOut, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newService(), &refresher.MemoryStore{}
				expiries := 0
				share := func(config *refresher.Config) {
					config.Store = store
					config.OnSessionExpired = func(*jwterrors.Error) { expiries++ }
				}
				a, b := offline(t, s, share), offline(t, s, share)
				login(t, a)
				require.NoError(t, b.Restore(t.Context()))
				c.did(t, s, store, b)
				kept := must(store.Load(t.Context()))
				before := s.refreshes.Load()
				assert.Equal(t, c.want, jwterrors.ReasonOf(a.Refresh(t.Context())))
				assert.Equal(t, c.calls, s.refreshes.Load()-before)
				synctest.Wait()
				assert.Equal(t, c.expiries, expiries)
				if c.want != "" {
					stored := must(store.Load(t.Context()))
					assert.Equal(t, kept.RefreshToken, stored.RefreshToken, "what belongs to others is left to them")
				}
			})
		})
	}
}

// Who does not get the lock asks nobody: another process may be about to use up the
// same refresh token.
func TestALockThatIsHeldTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &refresher.MemoryStore{}
		tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
		login(t, tr)
		unlock := must(store.Lock(t.Context()))
		defer unlock()
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.StoreUnavailable)
		assert.Zero(t, s.refreshes.Load())
		_, active := tr.Tokens()
		assert.True(t, active, "the session is as it was")
	})
}

// NV-17: a logout deletes the tokens of its session, also those that another
// process has refreshed, and not those of another user who has logged in there.
func TestALogoutDeletesTheTokensOfItsUser(t *testing.T) {
	for _, c := range []struct {
		name, subject string
		left          bool
	}{{"the same user", "alice", false}, {"another user", "bob", true}} {
		t.Run(c.name, func(t *testing.T) {
			s, store := newService(), &refresher.MemoryStore{}
			share := func(config *refresher.Config) { config.Store = store }
			a, b := offline(t, s, share), offline(t, s, share)
			login(t, a)
			s.subject = c.subject
			login(t, b)
			require.NoError(t, a.Logout(t.Context()))
			assert.Equal(t, c.left, !must(store.Load(t.Context())).IsZero())
			_, _, revoked := s.log()
			assert.Equal(t, c.left, !slices.Contains(revoked, "refresh-token-number-2"))
			_, err := get(t.Context(), a.Client(), api)
			assert.ErrorIs(t, err, jwterrors.LoggedOut)
		})
	}
}

// The server says that the session is over, but the store has moved on since: it
// is asked about the newer tokens before anybody is logged out.
func TestAVerdictOnOldTokensIsNoVerdict(t *testing.T) {
	s, store := newService(), &brokenStore{}
	tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
	login(t, tr)
	s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
		if s.refreshes.Load() > 1 {
			return false
		}
		// Another process, without a lock that works, has been faster.
		s.mu.Lock()
		s.rotation++
		newer := fmt.Sprintf("refresh-token-number-%d", s.rotation)
		s.mu.Unlock()
		if err := store.MemoryStore.Save(r.Context(), refresher.Tokens{AccessToken: s.access(0), RefreshToken: newer, Expiry: time.Unix(1, 0)}); err != nil {
			t.Error(err)
		}
		jwterrors.Responder{}.Respond(w, r, jwterrors.RefreshTokenReused)
		return true
	})
	require.NoError(t, tr.Refresh(t.Context()))
	status, err := get(t.Context(), tr.Client(), api)
	require.NoError(t, err)
	assert.Equal(t, 200, status)
}

// An access token that is of no use may come with a refresh token that is: the
// server has rotated, so the old one would be a replay.
func TestTheRefreshTokenOfAUselessAnswerIsKept(t *testing.T) {
	for name, change := range map[string]struct {
		payload string
		next    string
		want    jwterrors.Reason
		kept    bool
	}{
		"another audience": {`{"aud":"other","sub":"alice"}`, "the-next", jwterrors.TokenAudienceInvalid, true},
		"expired":          {`{"aud":"api","sub":"alice","exp":1}`, "the-next", jwterrors.TokenExpired, true},
		"another user":     {`{"aud":"api","sub":"bob"}`, "the-next", jwterrors.TokenUserKeyInvalid, false},
		"not rotated":      {`{"aud":"other","sub":"alice"}`, "refresh-token-number-1", jwterrors.TokenAudienceInvalid, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := newService(), &refresher.MemoryStore{}
			tr := offline(t, s, func(c *refresher.Config) { c.Audience, c.Store, c.MaxRetries = "api", store, refresher.NoRetries })
			login(t, tr)
			before, _ := tr.Tokens()
			s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
				_ = json.NewEncoder(w).Encode(map[string]string{"access_token": jwtOf(change.payload), "refresh_token": change.next})
				return true
			})
			assert.Equal(t, change.want, jwterrors.ReasonOf(tr.Refresh(t.Context())))
			after, _ := tr.Tokens()
			assert.Equal(t, before.AccessToken, after.AccessToken)
			stored := must(store.Load(t.Context()))
			if change.kept {
				assert.Equal(t, "the-next", after.RefreshToken)
				assert.Equal(t, "the-next", stored.RefreshToken)
				assert.NotEqual(t, before.RetryKey, after.RetryKey)
			} else {
				assert.Equal(t, before.RefreshToken, after.RefreshToken)
				assert.Equal(t, before.RefreshToken, stored.RefreshToken)
				assert.Equal(t, before.RetryKey, after.RetryKey)
			}
		})
	}
}

// The JSON form is for stores and loses nothing; no other form shows anything.
func TestTheFormsOfTokens(t *testing.T) {
	tokens := refresher.Tokens{
		AccessToken: "access-" + strings.Repeat("x", 40), RefreshToken: "the-refresh-token", TokenType: "Bearer", Scope: "a b",
		Expiry: time.Unix(1700000000, 0).UTC(), RefreshExpiry: time.Unix(1800000000, 0).UTC(), Received: time.Unix(1690000000, 0).UTC(),
		RetryKey: "the-retry-key", Identity: refresher.Email("alice@example.com"), Owner: "sub:1",
	}
	var back refresher.Tokens
	require.NoError(t, json.Unmarshal(must(json.Marshal(tokens)), &back))
	assert.Equal(t, tokens, back)

	c := refresher.Credentials{Email: "alice@example.com", Password: "the-password"}
	var logged strings.Builder
	logger := slog.New(slog.NewJSONHandler(&logged, nil))
	logger.Info("", "tokens", tokens, "credentials", c, "list", []refresher.Credentials{c})
	for _, v := range []any{tokens, &tokens, c, &c, []refresher.Tokens{tokens}, map[string]refresher.Credentials{"c": c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%z"} {
			fmt.Fprintf(&logged, verb+"\n", v)
		}
	}
	for _, secret := range []string{"the-refresh-token", "the-retry-key", "the-password", strings.Repeat("x", 20), fmt.Sprintf("%x", "the-password")} {
		assert.NotContains(t, logged.String(), secret)
	}
	assert.Contains(t, logged.String(), "alice@example.com")
}

// Two who want the lock get it one after the other, and who is tired of waiting
// leaves.
func TestTheLockOfAMemoryStore(t *testing.T) {
	var store refresher.MemoryStore
	unlock := must(store.Lock(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Lock(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	unlock()
	unlock() // a second time changes nothing
	second := must(store.Lock(t.Context()))
	_, err = store.Lock(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	second()
	n := 0
	crowd(100, func(int) bool {
		unlock := must(store.Lock(t.Context()))
		defer unlock()
		n++
		return true
	})
	assert.Equal(t, 100, n)
}
