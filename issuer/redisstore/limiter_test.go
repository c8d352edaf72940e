package redisstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

func TestLimiter(t *testing.T) {
	storetest.RunLimiter(t, func(t *testing.T, now func() time.Time) issuer.Limiter {
		client, prefix := shared(t)
		l, err := redisstore.NewLimiter(redisstore.Config{Client: client, Prefix: prefix, Now: now})
		require.NoError(t, err)
		return l
	})
}

// By the clock of the server, two processes with a clock of their own share a
// budget, which leaves by itself when it is whole.
func TestALimiterByTheClockOfTheServer(t *testing.T) {
	client, prefix := shared(t)
	ctx, b := t.Context(), issuer.Budget{Attempts: 2, Every: 100 * time.Millisecond}
	var limiters []*redisstore.Limiter
	for range 2 {
		l, err := redisstore.NewLimiter(redisstore.Config{Client: client, Prefix: prefix})
		require.NoError(t, err)
		limiters = append(limiters, l)
		wait, err := l.Take(ctx, "a", b)
		require.NoError(t, err)
		require.Zero(t, wait)
	}
	wait, err := limiters[0].Take(ctx, "a", b)
	require.NoError(t, err)
	assert.Positive(t, wait)
	assert.LessOrEqual(t, wait, b.Every)
	until(t, "there is another attempt", func(ctx context.Context) bool {
		wait, err := limiters[1].Take(ctx, "a", b)
		return err == nil && wait == 0
	})
	until(t, "a budget that is whole is not kept", func(ctx context.Context) bool {
		keys, err := client.Keys(ctx, prefix+"*").Result()
		return err == nil && len(keys) == 0
	})
}

func TestALimiterThatCannotCountSaysSo(t *testing.T) {
	client := impatient(t, "redis://127.0.0.1:"+freePort(t))
	l, err := redisstore.NewLimiter(redisstore.Config{Client: client})
	require.NoError(t, err)
	b := issuer.Budget{Attempts: 1, Every: time.Second}
	_, err = l.Take(t.Context(), "a", b)
	require.ErrorContains(t, err, "redisstore: count an attempt")
	require.ErrorContains(t, l.Give(t.Context(), "a", 1, b), "redisstore: give an attempt back")
	_, err = redisstore.NewLimiter(redisstore.Config{})
	require.ErrorContains(t, err, "Config.Client is required")
}
