package refresher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// AX-17: the refresh token, its retry key and the identity are in the secure
// store alone, and nothing in the other leads to them.
func TestWhatASplitStoreKeepsWhere(t *testing.T) {
	secure, access := &refresher.MemoryStore{}, &refresher.MemoryStore{}
	store := &refresher.SplitStore{Secure: secure, Access: access}
	require.NoError(t, store.Save(t.Context(), somebody))
	assert.Equal(t, somebody, must(store.Load(t.Context())))

	left := must(json.Marshal(must(access.Load(t.Context()))))
	for _, secret := range []string{somebody.RefreshToken, somebody.RetryKey, "alice"} {
		assert.NotContains(t, string(left), secret)
	}
	right := must(secure.Load(t.Context()))
	assert.Empty(t, right.AccessToken)
	assert.Equal(t, somebody.RefreshToken, right.RefreshToken)
	assert.Equal(t, somebody.RetryKey, right.RetryKey)
	assert.Equal(t, somebody.Owner, right.Owner)

	require.NoError(t, store.Save(t.Context(), refresher.Tokens{RefreshToken: "alone"}))
	assert.Zero(t, must(access.Load(t.Context())), "of a refresh token alone there is nothing")
	assert.Equal(t, "alone", must(store.Load(t.Context())).RefreshToken)

	require.NoError(t, store.Clear(t.Context()))
	assert.True(t, must(access.Load(t.Context())).IsZero())
	assert.True(t, must(secure.Load(t.Context())).IsZero())
}

// cutStore does not take what comes after a crash.
type cutStore struct {
	refresher.Store
	crashed *bool
}

func (c cutStore) Save(ctx context.Context, tokens refresher.Tokens) error {
	if *c.crashed {
		return errDisk
	}
	return c.Store.Save(ctx, tokens)
}

func (c cutStore) Clear(ctx context.Context) error {
	if *c.crashed {
		return errDisk
	}
	return c.Store.Clear(ctx)
}

// AX-17: a process that dies between the two writes loses nobody, and mixes
// nobody up. The tokens of the session before are in both stores, then one write
// happens and the other does not.
func TestACrashBetweenTheTwoSavesLosesNobody(t *testing.T) {
	alices := refresher.Tokens{AccessToken: "access-of-alice", RefreshToken: "refresh-of-alice", RetryKey: "k1"}
	next := refresher.Tokens{AccessToken: "next-of-alice", RefreshToken: "refresh-of-alice-2", RetryKey: "k2"}
	renewed := refresher.Tokens{AccessToken: "next-of-alice", RefreshToken: "refresh-of-alice", RetryKey: "k3"}
	bobs := refresher.Tokens{AccessToken: "access-of-bob", RefreshToken: "refresh-of-bob", RetryKey: "k4"}
	without := refresher.Tokens{AccessToken: "access-of-carol", RetryKey: "k5"}
	only := func(tokens refresher.Tokens) refresher.Tokens { tokens.AccessToken = ""; return tokens }
	for _, c := range []struct {
		name                string
		before, after, want refresher.Tokens
	}{
		{"a refresh", alices, next, only(next)},
		{"a refresh that keeps the refresh token", alices, renewed, only(renewed)},
		{"another user", alices, bobs, only(bobs)},
		{"a first login", refresher.Tokens{}, alices, only(alices)},
		{"a logout", alices, refresher.Tokens{}, refresher.Tokens{}},
		{"a session without a refresh token", alices, without, refresher.Tokens{}},
		{"a session with one after one without", without, alices, only(alices)},
		{"only a refresh token", alices, only(next), only(next)},
	} {
		t.Run(c.name, func(t *testing.T) {
			crashed := false
			secure, access := &refresher.MemoryStore{}, &refresher.MemoryStore{}
			store := &refresher.SplitStore{Secure: secure, Access: cutStore{access, &crashed}}
			write := func(tokens refresher.Tokens) error {
				if tokens.IsZero() {
					return store.Clear(t.Context())
				}
				return store.Save(t.Context(), tokens)
			}
			require.NoError(t, write(c.before))
			assert.Equal(t, c.before, must(store.Load(t.Context())))
			crashed = true
			require.ErrorIs(t, write(c.after), errDisk)
			later := &refresher.SplitStore{Secure: secure, Access: access}
			assert.Equal(t, c.want, must(later.Load(t.Context())))
			crashed = false
			require.NoError(t, write(c.after))
			assert.Equal(t, c.after, must(later.Load(t.Context())))
		})
	}
}

// AX-17: a Transport that died between the two saves costs one refresh, with the
// newest refresh token and its key.
func TestASessionGoesOnAfterACrashBetweenTheTwoSaves(t *testing.T) {
	s := newService()
	crashed := false
	secure, access := &refresher.MemoryStore{}, &refresher.MemoryStore{}
	first := offline(t, s, func(c *refresher.Config) {
		c.Store = &refresher.SplitStore{Secure: secure, Access: cutStore{access, &crashed}}
	})
	login(t, first)
	crashed = true
	require.NoError(t, first.Refresh(t.Context()))
	key := must(secure.Load(t.Context())).RetryKey

	later := offline(t, s, func(c *refresher.Config) {
		c.Store = &refresher.SplitStore{Secure: secure, Access: access}
	})
	status, err := get(t.Context(), later.Client(), api)
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	used, keys, _ := s.log()
	assert.Equal(t, []string{"refresh-token-number-1", "refresh-token-number-2"}, used)
	assert.Equal(t, key, keys[1])
	assert.Zero(t, s.refused.Load(), "the older access token was not sent")
}

// AX-17: where the access token is in memory only, each process gets its own, one
// after the other, and nobody uses a refresh token twice.
func TestProcessesThatShareTheSecureStoreAlone(t *testing.T) {
	s, secure := newService(), &refresher.MemoryStore{}
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool { return r.Header.Get("Authorization") != "" })
	process := func() *refresher.Transport {
		return offline(t, s, func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: secure} })
	}
	login(t, process())
	for range 3 {
		tr := process()
		assert.EqualValues(t, 100, crowd(100, func(int) bool {
			status, err := get(t.Context(), tr.Client(), api)
			return err == nil && status == 200
		}))
	}
	used, _, _ := s.log()
	assert.Equal(t, []string{"refresh-token-number-1", "refresh-token-number-2", "refresh-token-number-3"}, used)
}

// AX-17: a secure store that cannot be read is an error, another one is not.
func TestASplitStoreOfWhichOneCannotBeRead(t *testing.T) {
	secure, access := &brokenStore{}, &brokenStore{}
	store := &refresher.SplitStore{Secure: secure, Access: access}
	access.breaks("Load")
	_, err := store.Load(t.Context())
	assert.ErrorIs(t, err, errDisk, "there may be a session without a refresh token")
	access.breaks("")
	require.NoError(t, store.Save(t.Context(), somebody))
	access.breaks("Load")
	tokens, err := store.Load(t.Context())
	require.NoError(t, err)
	assert.Equal(t, somebody.RefreshToken, tokens.RefreshToken)
	assert.Empty(t, tokens.AccessToken)
	access.breaks("")
	secure.breaks("Load")
	_, err = store.Load(t.Context())
	assert.ErrorIs(t, err, errDisk)
	secure.breaks("Save")
	assert.ErrorIs(t, store.Save(t.Context(), refresher.Tokens{AccessToken: "newer", RefreshToken: "newer"}), errDisk)
	secure.breaks("")
	assert.Equal(t, somebody, must(store.Load(t.Context())), "the pair before is still one")
	secure.breaks("Clear")
	assert.ErrorIs(t, store.Clear(t.Context()), errDisk)
	assert.ErrorIs(t, store.Save(t.Context(), refresher.Tokens{AccessToken: "no refresh token"}), errDisk)
	assert.True(t, must(access.MemoryStore.Load(t.Context())).IsZero(), "what can be deleted is")
}

func TestASplitStoreWithoutASecureStore(t *testing.T) {
	var store refresher.SplitStore
	_, err := store.Load(t.Context())
	assert.Error(t, err)
	assert.Error(t, store.Save(t.Context(), somebody))
	assert.Error(t, store.Clear(t.Context()))
	_, err = store.Lock(t.Context())
	assert.Error(t, err)
	tr := must(refresher.New(refresher.Config{AuthURL: "https://a.example", Origins: []string{"https://a.example"}, Store: &store}))
	assert.ErrorIs(t, tr.Restore(t.Context()), jwterrors.StoreUnavailable)
}

func ExampleSplitStore() {
	keychain := &refresher.MemoryStore{} // see the module refresher/keyring
	t, _ := exampleTransport(func(c *refresher.Config) {
		c.Store = &refresher.SplitStore{Secure: keychain}
	})
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	tokens, err := keychain.Load(ctx)
	fmt.Println(tokens.AccessToken == "", tokens.RefreshToken != "", err)
	// Output:
	// <nil>
	// true true <nil>
}

// NV-17: a process that is killed in the middle of a logout has logged out.
func TestALogoutThatIsKilledHalfway(t *testing.T) {
	secure := &refresher.MemoryStore{}
	store := &refresher.SplitStore{Secure: secure, Access: killedStore{}}
	require.NoError(t, secure.Save(t.Context(), somebody))
	assert.Panics(t, func() { _ = store.Clear(t.Context()) })
	assert.True(t, must(secure.Load(t.Context())).IsZero())
}

// killedStore does not come back from Clear.
type killedStore struct{ refresher.Store }

func (killedStore) Clear(context.Context) error { panic("killed") }

// ownerless is a store that does not keep whose the tokens are.
type ownerless struct{ refresher.Store }

func (o ownerless) Save(ctx context.Context, tokens refresher.Tokens) error {
	tokens.Owner, tokens.Identity = "", refresher.Identity{}
	return o.Store.Save(ctx, tokens)
}

// NV-18: when another user has logged in with another process, the session here is
// over, and the one there goes on. What is stored says whose it is, so that nothing
// is sent; where it does not, the answer to its refresh token tells, and is saved.
func TestAnotherUserLogsInWithASharedSecureStore(t *testing.T) {
	for _, c := range []struct {
		name   string
		secure refresher.Store
		used   []string
	}{
		{"that keeps the owner", &refresher.MemoryStore{}, []string{"refresh-token-number-2"}},
		{"that does not", ownerless{&refresher.MemoryStore{}}, []string{"refresh-token-number-2", "refresh-token-number-3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService()
			a := offline(t, s, func(config *refresher.Config) { config.Store = &refresher.SplitStore{Secure: c.secure} })
			b := offline(t, s, func(config *refresher.Config) { config.Store = &refresher.SplitStore{Secure: c.secure} })
			login(t, a)
			s.subject = "bob"
			login(t, b)
			require.ErrorIs(t, a.Refresh(t.Context()), jwterrors.LoggedOut)
			require.NoError(t, b.Refresh(t.Context()))
			used, _, _ := s.log()
			assert.Equal(t, c.used, used)
		})
	}
}

// NV-17, NV-18: a logout ends the session of its user, also where another process
// has refreshed it, and not that of another user who has logged in there: the
// refresh token that is shared says whose it is.
func TestALogoutWithASharedSecureStore(t *testing.T) {
	bob := refresher.UserID("bob")
	for _, c := range []struct {
		name    string
		then    func(t *testing.T, s *service, b *refresher.Transport)
		revoked []string
	}{
		{"after a refresh", func(t *testing.T, _ *service, b *refresher.Transport) {
			require.NoError(t, b.Refresh(t.Context()))
		}, []string{"refresh-token-number-1", "refresh-token-number-2"}},
		{"after the login of another user", func(t *testing.T, s *service, b *refresher.Transport) {
			s.subject = "bob"
			login(t, b)
		}, []string{"refresh-token-number-1"}},
		{"after another user was named", func(t *testing.T, s *service, b *refresher.Transport) {
			tokens := refresher.Tokens{AccessToken: jwtOf(`{"userId":"bob"}`), RefreshToken: "bob's"}
			require.NoError(t, b.Identify(t.Context(), bob, refresher.WithTokens(tokens)))
		}, []string{"refresh-token-number-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, secure := newService(), &refresher.MemoryStore{}
			process := func() *refresher.Transport {
				return offline(t, s, func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: secure} })
			}
			a := process()
			login(t, a)
			later, b := process(), process() // a later one knows the owner from the store alone
			for _, tr := range []*refresher.Transport{later, b} {
				require.NoError(t, tr.Restore(t.Context()))
			}
			c.then(t, s, b)
			left := len(c.revoked) == 1
			require.NoError(t, a.Logout(t.Context()))
			assert.ElementsMatch(t, c.revoked, revoked(s))
			assert.Equal(t, left, !must(secure.Load(t.Context())).IsZero())
			if left {
				require.NoError(t, later.Logout(t.Context()))
				assert.NotContains(t, revoked(s), must(secure.Load(t.Context())).RefreshToken)
				assert.False(t, must(secure.Load(t.Context())).IsZero())
			}
		})
	}
}

// NV-18: two who were named, and have no token yet that says more.
func TestALogoutOfANamedUserWithASharedSecureStore(t *testing.T) {
	for name, c := range map[string]struct {
		id   refresher.Identity
		left bool
	}{
		"the same user":                 {refresher.UserID("alice"), false},
		"another user":                  {refresher.UserID("bob"), true},
		"a user who is named otherwise": {refresher.Email("alice@example.com"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s, secure := newService(), &refresher.MemoryStore{}
			a := offline(t, s, func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: secure} })
			only := refresher.WithTokens(refresher.Tokens{RefreshToken: "first"})
			require.NoError(t, a.Identify(t.Context(), refresher.UserID("alice"), only))
			require.NoError(t, secure.Save(t.Context(), refresher.Tokens{RefreshToken: "second", Identity: c.id}))
			require.NoError(t, a.Logout(t.Context()))
			assert.Equal(t, c.left, !must(secure.Load(t.Context())).IsZero())
			assert.Equal(t, !c.left, slices.Contains(revoked(s), "second"))
		})
	}
}

// The owner stays with the session where a later access token does not say.
func TestTheOwnerStaysWithARefreshToken(t *testing.T) {
	s, store := newService(), &refresher.MemoryStore{}
	tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
	login(t, tr)
	s.opaque = true
	require.NoError(t, tr.Refresh(t.Context()))
	stored := must(store.Load(t.Context()))
	assert.Equal(t, "refresh-token-number-2", stored.RefreshToken)
	assert.Equal(t, "sub:alice", stored.Owner)
}

// NV-17, NV-18: a logout while the answer is awaited that tells whose the refresh
// token is. It waits for that answer: the session of another user goes on, and one
// of the same user has ended.
func TestALogoutDuringARefreshThatTellsTheOwner(t *testing.T) {
	for _, c := range []struct {
		name, subject string
		left          bool
		revoked       []string
	}{
		{"another user", "bob", true, []string{"refresh-token-number-1"}},
		{"the same user", "alice", false, []string{"refresh-token-number-1", "refresh-token-number-2", "refresh-token-number-3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, secure := newService(), ownerless{&refresher.MemoryStore{}}
				share := func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: secure} }
				a, l := onLine(t, s, share)
				b := offline(t, s, share)
				login(t, a)
				s.subject = c.subject
				login(t, b)
				release, failed, ended := make(chan struct{}), make(chan error), make(chan error)
				l.breaks("/refresh", func(r *http.Request) (*http.Response, error) {
					resp, err := handlerTransport{s}.RoundTrip(r)
					<-release
					return resp, err
				})
				go func() { failed <- a.Refresh(t.Context()) }()
				synctest.Wait()
				go func() { ended <- a.Logout(t.Context()) }()
				synctest.Wait()
				assert.ErrorIs(t, <-failed, jwterrors.LoggedOut, "at once")
				close(release)
				require.NoError(t, <-ended)
				synctest.Wait()
				assert.ElementsMatch(t, c.revoked, revoked(s))
				assert.Equal(t, c.left, !must(secure.Load(t.Context())).IsZero())
				if c.left {
					require.NoError(t, b.Refresh(t.Context()))
				}
			})
		})
	}
}

// What is given back to another user does not overwrite a login that came after,
// where no lock keeps the two apart.
func TestWhatIsGivenBackOverwritesNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, broken := newService(), &brokenStore{}
		secure := ownerless{broken}
		share := func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: secure} }
		a, l := onLine(t, s, share)
		b := offline(t, s, share)
		login(t, a)
		s.subject = "bob"
		login(t, b)
		broken.breaks("Lock")
		release, failed := make(chan struct{}), make(chan error)
		l.breaks("/refresh", func(r *http.Request) (*http.Response, error) {
			resp, err := handlerTransport{s}.RoundTrip(r)
			<-release
			return resp, err
		})
		go func() { failed <- a.Refresh(t.Context()) }()
		synctest.Wait()
		s.subject = "carol"
		login(t, a)
		assert.ErrorIs(t, <-failed, jwterrors.LoggedOut)
		close(release)
		synctest.Wait()
		tokens, _ := a.Tokens()
		assert.Equal(t, tokens.RefreshToken, refreshToken(t, broken))
	})
}

// What cannot be given back to another user is reported, and what is not theirs is not
// given to them.
func TestWhatCannotBeGivenBack(t *testing.T) {
	t.Run("the store does not take it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, broken := newService(), &brokenStore{}
			share := func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: ownerless{broken}} }
			var told failures
			a := offline(t, s, func(c *refresher.Config) { share(c); c.OnFailure = told.add })
			login(t, a)
			s.subject = "bob"
			login(t, offline(t, s, share))
			broken.breaks("Save")
			require.ErrorIs(t, a.Refresh(t.Context()), jwterrors.LoggedOut)
			synctest.Wait()
			assert.Contains(t, told.reasons(), string(jwterrors.StoreUnavailable))
		})
	})
	t.Run("it is for a third user", func(t *testing.T) {
		s, store := newService(), &refresher.MemoryStore{}
		a := offline(t, s, func(c *refresher.Config) { c.Store = store })
		only := refresher.WithTokens(refresher.Tokens{AccessToken: of("alice@example.com", 1), RefreshToken: "alice's"})
		require.NoError(t, a.Identify(t.Context(), refresher.Email("alice@example.com"), only))
		theirs := refresher.Tokens{RefreshToken: "bob's", Identity: refresher.UserID("bob")}
		require.NoError(t, store.Save(t.Context(), theirs))
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
			_ = json.NewEncoder(w).Encode(map[string]string{"access_token": of("carol@example.com", 1), "refresh_token": "carol's"})
			return true
		})
		require.ErrorIs(t, a.Refresh(t.Context()), jwterrors.LoggedOut)
		assert.EqualValues(t, 1, s.refreshes.Load())
		assert.Equal(t, theirs, must(store.Load(t.Context())))
	})
}
