package redisstore_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
)

// typical is a session with an email address, two scopes, a small claim and the
// user agent of a browser.
func typical(n int) issuer.Session {
	s := newSession(fmt.Sprintf("user-%08d", n))
	s.ClientID, s.Scopes, s.Email = "mobile", []string{"orders:read", "orders:write"}, fmt.Sprintf("user-%08d@example.com", n)
	s.Claims, s.Address, s.Device = []byte(`{"plan":"gold"}`), "192.0.2.17", "phone"
	s.UserAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	s.ExpiresAt = s.CreatedAt.Add(30 * 24 * time.Hour)
	return s
}

// The package documentation says how large a session is.
func TestTheSizeOfASession(t *testing.T) {
	s := newServer(t)
	client := connect(t, s.url())
	st, ctx := newStore(t, client, ""), t.Context()
	before := memory(t, client)
	const some = 5000 // of fewer, what a connection takes would be a part
	var wg sync.WaitGroup
	ids := make([]string, some)
	for part := range 10 {
		wg.Go(func() {
			for n := part; n < some; n += 10 {
				v := typical(n)
				ids[n] = v.ID
				assert.NoError(t, st.Create(ctx, v))
				ok, err := st.Rotate(ctx, v.ID, 0, rotation(1))
				assert.NoError(t, err)
				assert.True(t, ok)
			}
		})
	}
	wg.Wait()
	each := (memory(t, client) - before) / some
	encoding := client.ObjectEncoding(ctx, "tokenloop:s:"+ids[0]).Val()
	t.Logf("%d bytes for a session and the index of its subject, %d of them the session, as a %s",
		each, client.MemoryUsage(ctx, "tokenloop:s:"+ids[0], 0).Val(), encoding)
	assert.Equal(t, "listpack", encoding)
	assert.Less(t, each, 1000)
}

func memory(t *testing.T, client *redis.Client) int {
	t.Helper()
	text, err := client.Info(context.Background(), "memory").Result()
	require.NoError(t, err)
	n, err := strconv.Atoi(regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(text)[1])
	require.NoError(t, err)
	return n
}
