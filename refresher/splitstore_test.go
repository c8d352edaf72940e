package refresher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

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

// The refresh token alone does not say whose it is. When another user has logged in
// with another process, the session here is over, and the one there goes on.
func TestAnotherUserLogsInWithASharedSecureStore(t *testing.T) {
	s, secure := newService(), &refresher.MemoryStore{}
	a := offline(t, s, func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: secure} })
	b := offline(t, s, func(c *refresher.Config) { c.Store = &refresher.SplitStore{Secure: secure} })
	login(t, a)
	s.subject = "bob"
	login(t, b)
	require.ErrorIs(t, a.Refresh(t.Context()), jwterrors.LoggedOut)
	require.NoError(t, b.Refresh(t.Context()))
	used, _, _ := s.log()
	assert.Equal(t, []string{"refresh-token-number-2", "refresh-token-number-3"}, used)
}
