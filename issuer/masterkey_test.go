package issuer_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func TestEachRotationMovesASessionToTheNewestMasterKey(t *testing.T) {
	older := issuer.MasterKey{ID: "m1", Secret: masterSecret}
	newer := issuer.MasterKey{Secret: []byte("another obviously fake master key, 32+")} // named by its hash
	f := newFixture(t, nil)
	counts := func() map[string]int { return must(f.store.CountKeys(t.Context(), f.now())) }
	used, idle := f.login(), f.login()
	assert.Equal(t, map[string]int{"m1": 2}, counts())

	both := newFixture(t, func(c *issuer.Config) {
		c.Store, c.Keys, c.MasterKeys, c.Now = f.store, f.ring, []issuer.MasterKey{newer, older}, f.now
	})
	rotated := both.refresh(used.str("refresh_token"))
	require.Equal(t, 200, rotated.status)
	assert.Contains(t, rotated.str("refresh_token"), "rt1."+newer.KeyID()+".")
	assert.Equal(t, map[string]int{"m1": 1, newer.KeyID(): 1}, counts())
	again := both.refresh(used.str("refresh_token"))
	assert.Equal(t, rotated.str("refresh_token"), again.str("refresh_token"), "a repeated refresh has the one successor")
	both.login()
	assert.Equal(t, map[string]int{"m1": 1, newer.KeyID(): 2}, counts())

	require.Equal(t, 200, both.refresh(idle.str("refresh_token")).status)
	assert.Equal(t, map[string]int{newer.KeyID(): 3}, counts(), "no live session uses the old key")

	f.pass(issuer.DefaultGrace + time.Second)
	alone := newFixture(t, func(c *issuer.Config) {
		c.Store, c.Keys, c.MasterKeys, c.Now = f.store, f.ring, []issuer.MasterKey{newer}, f.now
	})
	assert.Equal(t, 200, alone.refresh(rotated.str("refresh_token")).status, "and it can be dropped")
	assert.Equal(t, jwterrors.RefreshTokenInvalid, alone.refresh(used.str("refresh_token")).reason)
}

func TestCountKeysEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := issuer.NewMemoryStore().CountKeys(ctx, time.Now())
	assert.ErrorIs(t, err, context.Canceled)
}

func ExampleMemoryStore_CountKeys() {
	config := exampleConfig()
	store := issuer.NewMemoryStore()
	older := issuer.MasterKey{ID: "2025", Secret: bytes.Repeat([]byte("fake"), 8)}
	newer := issuer.MasterKey{ID: "2026", Secret: bytes.Repeat([]byte("sham"), 8)}
	config.Store, config.MasterKeys = store, []issuer.MasterKey{newer, older}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	post(iss, "/auth/login", exampleLogin)
	counts, err := store.CountKeys(context.Background(), time.Now())
	fmt.Println(counts[older.KeyID()], counts[newer.KeyID()], err)
	// Output: 0 1 <nil>
}

func ExampleMasterKey_KeyID() {
	fmt.Println(issuer.MasterKey{ID: "2026"}.KeyID())
	fmt.Println(len(issuer.MasterKey{Secret: bytes.Repeat([]byte("fake"), 8)}.KeyID()))
	// Output:
	// 2026
	// 8
}
