package middleware

import (
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recordOf returns claims of about the size of an ordinary token's.
func recordOf(i int, expires time.Time) *record {
	payload := `{"jti":"` + strconv.Itoa(i) + `"}` + strings.Repeat(" ", 280)
	return &record{Claims: Claims{ID: payload[8:12], ExpiresAt: expires, Audience: []string{"a", "b"}, payload: payload}}
}

// What the cache holds is bounded in bytes, whatever passes through it.
func TestTheCacheIsBounded(t *testing.T) {
	now := time.Now()
	for name, length := range map[string]int{"ordinary tokens": 470, "long tokens": 8000} {
		t.Run(name, func(t *testing.T) {
			const size = 4 << 20
			c := newCache(size)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			tail := strings.Repeat("x", length)
			for i := range 50_000 {
				c.put(strconv.Itoa(i)+tail, nil, nil, recordOf(i, now.Add(time.Hour)), now)
				require.LessOrEqual(t, c.used, c.most)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(size))
			held, sum := 0, 0
			for i := range *c.table.Load() {
				for j := range (*c.table.Load())[i] {
					if e := (*c.table.Load())[i][j].Load(); e != nil {
						held, sum = held+1, sum+e.size
					}
				}
			}
			assert.Equal(t, c.used, sum)
			assert.Greater(t, sum, c.most/2, "it is used, with %d tokens", held)
			assert.NotNil(t, c.get("49999"+tail), "the last one is there")
			runtime.KeepAlive(c)
		})
	}
}

func TestWhatTheCacheDoesNotKeep(t *testing.T) {
	now := time.Now()
	c := newCache(1 << 20)
	c.put("short", nil, nil, recordOf(1, now.Add(time.Hour)), now)
	require.NotNil(t, c.get("short"))
	c.put(strings.Repeat("x", c.most/16), nil, nil, recordOf(2, now.Add(time.Hour)), now)
	assert.Nil(t, c.get(strings.Repeat("x", c.most/16)), "too long for its share")
	c.drop(c.get("short"))
	assert.Nil(t, c.get("short"))
	assert.Zero(t, c.used)
	var none *cache
	none.put("short", nil, nil, recordOf(1, now), now)
	assert.Nil(t, none.get("short"))
	small := newCache(1)
	small.put("short", nil, nil, recordOf(1, now.Add(time.Hour)), now)
	assert.Nil(t, small.get("short"))
}

// The hash tells where to look, and the whole token whether it is there.
func TestTheWholeTokenIsCompared(t *testing.T) {
	now := time.Now()
	c := newCache(1 << 20)
	c.put("token-a", nil, nil, recordOf(1, now.Add(time.Hour)), now)
	other := *c.get("token-a")
	other.token = "token-b" // with the hash of token-a
	set := &(*c.table.Load())[other.hash&uint64(c.sets-1)]
	for i := range set {
		if set[i].Load() != nil {
			set[i].Store(&other)
		}
	}
	assert.Nil(t, c.get("token-a"))
}

// Where a set is full, what has expired goes first.
func TestExpiredTokensMakeRoom(t *testing.T) {
	now := time.Now()
	c := newCache(64 << 10)
	c.sets = 1
	for i := range 7 {
		c.put("valid-"+strconv.Itoa(i), nil, nil, recordOf(i, now.Add(time.Hour)), now)
	}
	c.put("expired", nil, nil, recordOf(9, now.Add(-maxLeeway)), now)
	c.put("valid-7", nil, nil, recordOf(7, now.Add(time.Hour)), now)
	assert.Nil(t, c.get("expired"))
	for i := range 8 {
		assert.NotNil(t, c.get("valid-"+strconv.Itoa(i)), i)
	}
	c.put("valid-7", nil, nil, recordOf(7, now.Add(time.Hour)), now)
	for i := range 8 {
		assert.NotNil(t, c.get("valid-"+strconv.Itoa(i)), "a token takes one slot, %d", i)
	}
}

func TestTheCacheWhileInUse(t *testing.T) {
	now := time.Now()
	c := newCache(64 << 10)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				token := strconv.Itoa(i % 100)
				if e := c.get(token); e == nil {
					c.put(token, nil, nil, recordOf(i%100, now.Add(time.Hour)), now)
				} else if !assert.Equal(t, token, e.token) {
					return
				} else if i%7 == 0 {
					c.drop(e)
				}
			}
		})
	}
	wg.Wait()
}
