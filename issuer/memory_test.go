package issuer_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
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

func TestAMemoryStoreForgetsWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := issuer.NewMemoryStore()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- store.Run(ctx) }()
		const sessions = 5000 // of 50 users, half of them for an hour and half for three
		end := time.Now().Add(time.Hour)
		for n := range sessions {
			require.NoError(t, store.Create(ctx, memorySession(fmt.Sprint("user", n%50), n, end.Add(time.Duration(n/50%2)*2*time.Hour))))
		}
		kept := func() (n int) {
			for i := range sessions {
				if _, err := store.Get(ctx, fmt.Sprintf("%022d", i)); err == nil {
					n++
				}
			}
			return n
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Equal(t, sessions, kept(), "for an hour a client still learns that its session expired")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, sessions/2, kept())
		listed := func() (n int) {
			for u := range 50 {
				n += len(must(store.List(ctx, fmt.Sprint("user", u), end.Add(-time.Minute))))
			}
			return n
		}
		assert.Equal(t, sessions/2, listed())
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Zero(t, kept())
		assert.Zero(t, listed())
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
	})
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
