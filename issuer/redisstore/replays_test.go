package redisstore_test

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

func newReplays(t *testing.T, client redis.UniversalClient, prefix string) *redisstore.Replays {
	t.Helper()
	r, err := redisstore.NewReplays(redisstore.Config{Client: client, Prefix: prefix})
	require.NoError(t, err)
	return r
}

// Of 200 requests with one proof, at two processes, one is the first.
func TestOneOfManyUsesIsTheFirst(t *testing.T) {
	client, prefix := shared(t)
	processes := []*redisstore.Replays{newReplays(t, client, prefix), newReplays(t, client, prefix)}
	var first atomic.Int32
	var wg sync.WaitGroup
	for n := range 200 {
		wg.Go(func() {
			ok, err := processes[n%2].Use(t.Context(), "one proof", time.Now().Add(time.Minute))
			assert.NoError(t, err)
			if ok {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, first.Load())
	ok, err := processes[0].Use(t.Context(), "another proof", time.Now().Add(time.Minute))
	require.NoError(t, err)
	assert.True(t, ok)
}

// A proof leaves by itself, not before its end and not long after it, by the clock
// of the process. The server does not get to know it.
func TestWhatTheServerHasOfAProof(t *testing.T) {
	client, prefix := shared(t)
	now := time.Now().Add(time.Hour) // by the clock of this process
	r, err := redisstore.NewReplays(redisstore.Config{Client: client, Prefix: prefix, Now: func() time.Time { return now }})
	require.NoError(t, err)
	for _, c := range []struct {
		name            string
		left            time.Duration
		atLeast, atMost time.Duration
	}{
		{"a proof with a minute left", time.Minute, 59 * time.Second, time.Minute + time.Millisecond},
		{"a proof that is over", -time.Hour, time.Millisecond, time.Second + time.Millisecond},
	} {
		ok, err := r.Use(t.Context(), c.name, now.Add(c.left))
		require.NoError(t, err, c.name)
		assert.True(t, ok, c.name)
		keys, err := client.Keys(t.Context(), prefix+"*").Result()
		require.NoError(t, err)
		require.Len(t, keys, 1, c.name)
		assert.NotContains(t, keys[0], "proof")
		left, err := client.PTTL(t.Context(), keys[0]).Result()
		require.NoError(t, err)
		assert.GreaterOrEqual(t, left, c.atLeast, c.name)
		assert.LessOrEqual(t, left, c.atMost, c.name)
		require.NoError(t, client.Del(t.Context(), keys[0]).Err())
	}
	ok, err := r.Use(t.Context(), "", now.Add(50*time.Millisecond))
	require.NoError(t, err)
	require.True(t, ok)
	until(t, "the proof is forgotten", func(ctx context.Context) bool {
		keys, err := client.Keys(ctx, prefix+"*").Result()
		return err == nil && len(keys) == 0
	})
}

// When the answer to the first use is lost, the client sends it again, and it is
// still the first.
func TestAUseWhoseAnswerWasLost(t *testing.T) {
	s := newServer(t)
	p := newProxy(t, s.address())
	r := newReplays(t, connect(t, "redis://"+p.address), "")
	ctx, end := t.Context(), time.Now().Add(time.Minute)
	ok, err := r.Use(ctx, "before", end) // the connection is there
	require.NoError(t, err)
	require.True(t, ok)
	p.loseAnswer.Store(1)
	ok, err = r.Use(ctx, "a proof", end)
	require.NoError(t, err)
	assert.True(t, ok, "sent again")
	assert.LessOrEqual(t, p.loseAnswer.Load(), int64(0), "an answer was lost")
	ok, err = r.Use(ctx, "a proof", end)
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestReplaysOnACluster(t *testing.T) {
	cluster := newCluster(t)
	r := newReplays(t, cluster, "")
	for n := range 50 {
		for _, first := range []bool{true, false} {
			ok, err := r.Use(t.Context(), strconv.Itoa(n), time.Now().Add(time.Minute))
			require.NoError(t, err)
			assert.Equal(t, first, ok)
		}
	}
	require.ErrorIs(t, redisstore.Check(t.Context(), cluster), redisstore.ErrNotDurable)
}

// A server that does not answer is no first use, and takes no more than its time.
func TestAUseThatIsNotKnown(t *testing.T) {
	s := newServer(t)
	p := newProxy(t, s.address())
	r := newReplays(t, connect(t, "redis://"+p.address), "")
	_, err := r.Use(t.Context(), "before", time.Now().Add(time.Minute))
	require.NoError(t, err)
	p.silent.Store(true)
	began, secret := time.Now(), rand.Text()
	ok, err := r.Use(t.Context(), secret, time.Now().Add(time.Minute))
	assert.False(t, ok)
	require.ErrorContains(t, err, "redisstore: remember a proof")
	assert.NotContains(t, err.Error(), secret)
	assert.Less(t, time.Since(began), 10*time.Second)

	r = newReplays(t, impatient(t, "redis://127.0.0.1:"+freePort(t)), "")
	_, err = r.Use(t.Context(), "a proof", time.Now().Add(time.Minute))
	require.ErrorContains(t, err, "redisstore: remember a proof")
	_, err = redisstore.NewReplays(redisstore.Config{})
	require.ErrorContains(t, err, "Config.Client is required")
}

// The package documentation says how large a proof is.
func TestTheSizeOfAProof(t *testing.T) {
	s := newServer(t)
	client := connect(t, s.url())
	const some = 5000 // fewer would be about the connections of the client
	r, before := newReplays(t, client, ""), memory(t, client)
	var wg sync.WaitGroup
	for part := range 10 {
		wg.Go(func() {
			for n := part; n < some; n += 10 {
				_, err := r.Use(t.Context(), strconv.Itoa(n), time.Now().Add(time.Hour))
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	each := (memory(t, client) - before) / some
	t.Logf("%d bytes for a proof", each)
	assert.Less(t, each, 300)
}
