package issuer_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) issuer.Store { return issuer.NewMemoryStore() })
}

func TestAZeroMemoryStoreIsReady(t *testing.T) {
	storetest.Run(t, func(*testing.T) issuer.Store { return &issuer.MemoryStore{} })
}

// memorySession is the session n of a subject, as an issuer makes them.
func memorySession(subject string, n int, end time.Time) issuer.Session {
	at := end.Add(-time.Hour)
	return issuer.Session{
		ID: fmt.Sprintf("%022d", n), Seed: bytes.Repeat([]byte{byte(n)}, 32), KeyID: "k1",
		RotatedAt: at, Subject: subject, ClientID: "mobile", Scopes: []string{"api:read", "api:write"},
		AuthTime: at, Device: "phone", Address: "192.0.2.1", UserAgent: "app/1.0", CreatedAt: at, ExpiresAt: end,
	}
}

func TestASessionInMemoryTakesLittle(t *testing.T) {
	const sessions, most = 20_000, 384 // bytes, beside the text
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for name, long := range map[string]string{"with short text": "phone", "with all that a client may send": strings.Repeat("x", 256)} {
		t.Run(name, func(t *testing.T) {
			text := 0
			before := heap()
			store := issuer.NewMemoryStore()
			for n := range sessions {
				s := memorySession(fmt.Sprint("user", n), n, time.Now().Add(time.Hour))
				s.Device, s.UserAgent = long, long
				text += len(s.ID) + len(s.Subject) + len(s.ClientID) + len(s.Device) + len(s.Address) + len(s.UserAgent) + len("api:read api:write")
				require.NoError(t, store.Create(t.Context(), s))
				ok, err := store.Rotate(t.Context(), s.ID, 0, issuer.Rotation{Generation: 1, KeyID: "k1", RotatedAt: s.RotatedAt, RetryHash: s.Seed})
				require.True(t, ok && err == nil)
			}
			each := int(heap()-before) / sessions
			t.Logf("%d bytes a session, %d of them text", each, text/sessions)
			assert.Less(t, each, most+text/sessions)
			runtime.KeepAlive(store)
		})
	}
}

// Nobody has to remove what has ended: new sessions take its place.
func TestAMemoryStoreForgetsWhatHasEnded(t *testing.T) {
	store, now := issuer.NewMemoryStore(), time.Now()
	created := 0
	create := func(n int, at time.Time) {
		for range n {
			s := memorySession(fmt.Sprint("user", created%50), created, at.Add(time.Hour))
			s.CreatedAt = at
			require.NoError(t, store.Create(t.Context(), s))
			created++
		}
	}
	kept := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if _, err := store.Get(t.Context(), fmt.Sprintf("%022d", i)); err == nil {
				n++
			}
		}
		return n
	}
	create(1000, now)
	create(1000, now.Add(2*time.Hour-time.Second))
	assert.Equal(t, 2000, kept(0, created), "for an hour a client still learns that its session expired")
	create(1000, now.Add(2*time.Hour))
	assert.Zero(t, kept(0, 1000), "those of the first thousand")
	assert.Equal(t, 2000, kept(1000, created), "and no others")
	for hour := range 30 { // a day of a service
		create(200, now.Add(time.Duration(4+hour)*time.Hour))
	}
	assert.Equal(t, 400, kept(created-400, created), "the last two hours")
	assert.Less(t, kept(0, created), 700, "an hour of sessions that have ended, and few besides")
	for u := range 50 {
		listed := must(store.List(t.Context(), fmt.Sprint("user", u), now.Add(33*time.Hour)))
		assert.Len(t, listed, 4, "user %d", u)
	}
}

// The memory of revoked users does not grow for ever either: it matters to logins
// that were in flight.
func TestAMemoryStoreForgetsOldRevocations(t *testing.T) {
	store, now := issuer.NewMemoryStore(), time.Now()
	revoke := func(user string, at time.Time) { must(store.RevokeSubject(t.Context(), user, "", at)) }
	login := memorySession("alice", 1, now.Add(time.Hour)) // at now
	revoke("alice", now)
	revoke("bob", now.Add(2*issuer.MaxLoginTime+59*time.Minute))
	require.ErrorIs(t, store.Create(t.Context(), login), issuer.ErrSubjectRevoked)
	revoke("carol", now.Add(2*issuer.MaxLoginTime+3*time.Hour))
	require.NoError(t, store.Create(t.Context(), login))
}

// A session that had ended when it came leaves again, and takes nothing along.
func TestAMemoryStoreWithNothingLeft(t *testing.T) {
	store := issuer.NewMemoryStore()
	for n := range 3 {
		s := memorySession("alice", n, time.Now().Add(-2*time.Hour))
		s.CreatedAt = time.Now()
		require.NoError(t, store.Create(t.Context(), s))
		_, err := store.Get(t.Context(), s.ID)
		assert.ErrorIs(t, err, issuer.ErrNoSession)
	}
}

func TestDeletingStopsWithItsContext(t *testing.T) {
	store := issuer.NewMemoryStore()
	require.NoError(t, store.Create(t.Context(), memorySession("alice", 1, time.Now().Add(-time.Hour))))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err := store.DeleteExpired(ctx, time.Now(), 10)
	assert.Zero(t, n)
	assert.ErrorIs(t, err, context.Canceled)
}
