package redisstore_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

// The commands in the package documentation are enough.
func TestTheCommandsThatAUserOfTheServerNeeds(t *testing.T) {
	s := newServer(t, "--appendonly", "yes")
	admin, ctx := connect(t, s.url()), t.Context()
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	rules := []any{"ACL", "SETUSER", "tokenloop", "on", ">a password", "~test:*", "&*", "-@all"}
	for line := range strings.Lines(string(doc)) {
		if commands, ok := strings.CutPrefix(line, "//\t+"); ok {
			for _, command := range strings.Fields("+" + commands) {
				rules = append(rules, command)
			}
		}
	}
	require.Greater(t, len(rules), 30)
	require.NoError(t, admin.Do(ctx, rules...).Err())
	client := redis.NewClient(&redis.Options{Addr: s.address(), Username: "tokenloop", Password: "a password"})
	t.Cleanup(func() { client.Close() })
	require.NoError(t, redisstore.Check(ctx, client))
	t.Run("the store", func(t *testing.T) {
		st := newStore(t, client, "test:")
		v := newSession("alice")
		require.NoError(t, st.Create(ctx, v))
		require.NoError(t, admin.HSet(ctx, "test:s:"+v.ID, "p", "a login that was cut off").Err())
		_, err := st.Get(ctx, v.ID)
		require.NoError(t, err)
		update := issuer.Rotation{Generation: 1, RotatedAt: time.Now(), RetryHash: []byte("hash"), IdleUntil: time.Now().Add(time.Minute)}
		for _, update.Generation = range []uint64{1, 2} {
			_, err = st.Rotate(ctx, v.ID, update.Generation-1, update)
			require.NoError(t, err)
			update.RetryHash, update.IdleUntil = nil, time.Time{}
		}
		require.NoError(t, st.Revoke(ctx, v.ID, time.Now()))
		_, err = st.Replace(ctx, newSession("alice"))
		require.NoError(t, err)
		require.NoError(t, admin.Del(ctx, "test:s:"+v.ID).Err())
		for range 2 { // the index and the mark are there, and repaired
			_, err = st.RevokeSubject(ctx, "alice", "", time.Now())
			require.NoError(t, err)
		}
		require.ErrorIs(t, st.Create(ctx, newSessionAt("alice", time.Now().Add(-time.Minute))), issuer.ErrSubjectRevoked)
		_, err = st.List(ctx, "alice", time.Now())
		require.NoError(t, err)
		_, err = st.DeleteExpired(ctx, time.Now().Add(2*time.Hour), 10)
		require.NoError(t, err)
	})
	t.Run("the limiter", func(t *testing.T) {
		storetest.RunLimiter(t, func(t *testing.T, now func() time.Time) issuer.Limiter {
			l, err := redisstore.NewLimiter(redisstore.Config{Client: client, Prefix: "test:" + t.Name() + ":", Now: now})
			require.NoError(t, err)
			return l
		})
	})
	t.Run("the proofs", func(t *testing.T) {
		r := newReplays(t, client, "test:")
		for _, first := range []bool{true, false} {
			ok, err := r.Use(ctx, "a proof", time.Now().Add(time.Minute))
			require.NoError(t, err)
			assert.Equal(t, first, ok)
		}
		rules := []any{"ACL", "SETUSER", "verifier", "on", ">a password", "~test:*", "-@all"}
		for _, command := range strings.Split("+set, +get, +ping, +hello, +client, +info", ", ") {
			rules = append(rules, command)
		}
		require.NoError(t, admin.Do(ctx, rules...).Err())
		verifier := redis.NewClient(&redis.Options{Addr: s.address(), Username: "verifier", Password: "a password"})
		t.Cleanup(func() { verifier.Close() })
		r = newReplays(t, verifier, "test:")
		require.NoError(t, redisstore.Check(ctx, verifier))
		ok, err := r.Use(ctx, "a proof", time.Now().Add(time.Minute))
		require.NoError(t, err)
		assert.False(t, ok)
	})
	t.Run("the feed", func(t *testing.T) {
		storetest.RunFeed(t, func(t *testing.T) storetest.NewFeed {
			prefix := "test:" + t.Name() + ":"
			return func(t *testing.T, m issuer.Mirror) (storetest.Feed, func(bool)) {
				return newFeed(t, client, prefix, m), nil
			}
		})
	})
	log, err := admin.ACLLog(ctx, 10).Result()
	require.NoError(t, err)
	for _, entry := range log {
		assert.Fail(t, "refused", "%s %s", entry.Object, entry.Reason)
	}
	require.ErrorContains(t, newStore(t, client, "other:").Create(ctx, newSession("alice")), "NOPERM")
}
