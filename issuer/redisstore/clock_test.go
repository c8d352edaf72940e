package redisstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

// The clock of the server says nothing about when a session or a denial ends.
func TestTheClockOfTheServerNeedNotBeThatOfTheIssuers(t *testing.T) {
	ctx := t.Context()
	for _, off := range []time.Duration{-10 * 365 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		client, prefix := shared(t)
		now := func() time.Time { return time.Now().Add(off) }
		st, err := redisstore.New(redisstore.Config{Client: client, Prefix: prefix, Now: now})
		require.NoError(t, err)
		s := newSessionAt("alice", now())
		s.IdleUntil = now().Add(10 * time.Minute)
		require.NoError(t, st.Create(ctx, s))
		left := func(key string, want time.Duration) {
			t.Helper()
			assert.InDelta(t, want.Seconds(), client.PTTL(ctx, prefix+key).Val().Seconds(), 30, "%s", key)
		}
		left("s:"+s.ID, time.Hour+10*time.Minute)
		for _, c := range []struct{ idle, want time.Duration }{{20 * time.Minute, 80 * time.Minute}, {5 * time.Hour, 2 * time.Hour}, {0, 2 * time.Hour}} {
			v, err := st.Get(ctx, s.ID)
			require.NoError(t, err)
			update := issuer.Rotation{Generation: v.Generation + 1, RotatedAt: now()}
			if c.idle > 0 {
				update.IdleUntil = now().Add(c.idle)
			}
			ok, err := st.Rotate(ctx, s.ID, v.Generation, update)
			require.NoError(t, err)
			require.True(t, ok)
			left("s:"+s.ID, c.want)
		}
		ids, err := st.RevokeSubject(ctx, "alice", "", now())
		require.NoError(t, err)
		require.Equal(t, []string{s.ID}, ids)
		require.ErrorIs(t, st.Create(ctx, newSessionAt("alice", now().Add(-time.Second))), issuer.ErrSubjectRevoked)
		require.NoError(t, st.Create(ctx, newSessionAt("alice", now().Add(time.Second))))

		there := &mirror{}
		config := redisstore.FeedConfig{Client: client, Prefix: prefix, Mirror: there, Interval: 20 * time.Millisecond, Now: now}
		reader, err := redisstore.NewFeed(config)
		require.NoError(t, err)
		config.Mirror = &mirror{}
		writer, err := redisstore.NewFeed(config)
		require.NoError(t, err)
		for _, sid := range []string{"first", "second"} { // neither removes the other
			require.NoError(t, writer.DenySession(ctx, sid, now().Add(time.Hour)))
		}
		run(t, reader)
		for _, sid := range []string{"first", "second"} {
			until(t, sid+" is denied", func(context.Context) bool { _, ok := there.at(sid); return ok })
		}
		left("{denied}:list", 70*time.Minute)
	}
}
