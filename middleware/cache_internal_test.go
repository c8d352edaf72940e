package middleware

import (
	"runtime"
	"slices"
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
	for name, length := range map[string]int{"ordinary tokens": 470, "bound tokens": 471, "long tokens": 8000} {
		t.Run(name, func(t *testing.T) {
			const size = 4 << 20
			c := newCache(size)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			tail := strings.Repeat("x", length)
			for i := range 50_000 {
				r := recordOf(i, now.Add(time.Hour))
				if name == "bound tokens" {
					r.rare = &rare{confirmation: &confirmation{key: strings.Repeat("k", 43), certificate: strings.Repeat("c", 43)}}
				}
				c.put(&entry{hash: c.hash(tail + strconv.Itoa(i)), token: tail + strconv.Itoa(i), record: r}, now)
				require.LessOrEqual(t, c.used, c.most)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(size))
			held, sum := 0, 0
			for i := range c.made() {
				for j := range ways {
					if e := c.made()[i].slots[j].Load(); e != nil {
						held, sum = held+1, sum+e.size
					}
				}
			}
			assert.Equal(t, c.used, sum)
			assert.Greater(t, sum, c.most/2, "it is used, with %d tokens", held)
			assert.NotNil(t, c.get(c.hash(tail+"49999"), tail+"49999"), "the last one is there")
			runtime.KeepAlive(c)
		})
	}
}

func TestWhatTheCacheDoesNotKeep(t *testing.T) {
	now := time.Now()
	c := newCache(1 << 20)
	c.put(&entry{hash: c.hash("short"), token: "short", record: recordOf(1, now.Add(time.Hour))}, now)
	require.NotNil(t, c.get(c.hash("short"), "short"))
	c.put(&entry{hash: c.hash(strings.Repeat("x", c.most/16)), token: strings.Repeat("x", c.most/16), record: recordOf(2, now.Add(time.Hour))}, now)
	assert.Nil(t, c.get(c.hash(strings.Repeat("x", c.most/16)), strings.Repeat("x", c.most/16)), "too long for its share")
	c.drop(c.get(c.hash("short"), "short"))
	assert.Nil(t, c.get(c.hash("short"), "short"))
	assert.Zero(t, c.used)
	var none *cache
	assert.False(t, none.wants(none.hash("short")))
	assert.False(t, none.wants(none.hash("short")))
	assert.Nil(t, none.get(none.hash("short"), "short"))
	small := newCache(1)
	small.put(&entry{hash: small.hash("short"), token: "short", record: recordOf(1, now.Add(time.Hour))}, now)
	assert.Nil(t, small.get(small.hash("short"), "short"))
}

// The hash tells where to look, and the whole token whether it is there.
func TestTheWholeTokenIsCompared(t *testing.T) {
	now := time.Now()
	c := newCache(1 << 20)
	c.put(&entry{hash: c.hash("token-a"), token: "token-a", record: recordOf(1, now.Add(time.Hour))}, now)
	other := *c.get(c.hash("token-a"), "token-a")
	other.token = "token-b" // with the hash of token-a
	slots := &c.made()[other.hash&uint64(c.sets-1)].slots
	for i := range slots {
		if slots[i].Load() != nil {
			slots[i].Store(&other)
		}
	}
	assert.Nil(t, c.get(c.hash("token-a"), "token-a"))
}

// Where a set is full, what has expired goes first.
func TestExpiredTokensMakeRoom(t *testing.T) {
	now := time.Now()
	c := newCache(64 << 10)
	c.sets = 1
	for i := range 7 {
		c.put(&entry{hash: c.hash("valid-" + strconv.Itoa(i)), token: "valid-" + strconv.Itoa(i), record: recordOf(i, now.Add(time.Hour))}, now)
	}
	c.put(&entry{hash: c.hash("expired"), token: "expired", record: recordOf(9, now.Add(-maxLeeway))}, now)
	c.put(&entry{hash: c.hash("valid-7"), token: "valid-7", record: recordOf(7, now.Add(time.Hour))}, now)
	assert.Nil(t, c.get(c.hash("expired"), "expired"))
	for i := range 8 {
		assert.NotNil(t, c.get(c.hash("valid-"+strconv.Itoa(i)), "valid-"+strconv.Itoa(i)), i)
	}
	c.put(&entry{hash: c.hash("valid-7"), token: "valid-7", record: recordOf(7, now.Add(time.Hour))}, now)
	for i := range 8 {
		assert.NotNil(t, c.get(c.hash("valid-"+strconv.Itoa(i)), "valid-"+strconv.Itoa(i)), "a token takes one slot, %d", i)
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
				if e := c.get(c.hash(token), token); e == nil {
					c.put(&entry{hash: c.hash(token), token: token, record: recordOf(i%100, now.Add(time.Hour))}, now)
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

// Many tokens are used once. They do not push out the others.
func TestATokenIsRememberedAtItsSecondSight(t *testing.T) {
	c := newCache(1 << 20)
	assert.Nil(t, c.get(c.hash("token"), "token"), "before there is a table")
	assert.False(t, c.wants(c.hash("token")))
	assert.True(t, c.wants(c.hash("token")))
	again := 0
	for i := range 10_000 {
		if c.wants(c.hash(strconv.Itoa(i) + ".")) {
			again++
		}
	}
	assert.Less(t, again, 50, "mistaken for another")
}

// Whoever gets a copy may change it.
func TestACopyHasItsOwnLists(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5} {
		var list []string
		for i := range n {
			list = append(list, strconv.Itoa(i))
		}
		first := &record{Claims: Claims{Audience: list, Scopes: slices.Clone(list), AMR: slices.Clone(list)}}
		packed := first.packed(true)
		for _, c := range []*Claims{&packed.copy().Claims, &packed.copy().Claims, packed.seldom().shared} {
			lists := []*[]string{&c.Audience, &c.Scopes, &c.AMR}
			for _, own := range lists {
				require.Equal(t, list, *own, n)
			}
			for _, own := range lists {
				if n > 0 {
					(*own)[0] = "changed"
				}
				*own = append(*own, "more")
				(*own)[0] = "changed"
			}
			assert.Equal(t, 3, strings.Count(strings.Join(slices.Concat(c.Audience, c.Scopes, c.AMR), " "), "changed"))
		}
		assert.Equal(t, list, packed.Audience)
		assert.Equal(t, list, first.Audience)
	}
}

// The hash is that of a token's end. Tokens of which this is the same do not hide
// each other.
func TestTokensWithTheSameEnd(t *testing.T) {
	now, c, end := time.Now(), newCache(1<<20), strings.Repeat("x", 32)
	for i := range ways {
		token := strconv.Itoa(i) + end
		c.put(&entry{hash: c.hash(token), token: token, record: recordOf(i, now.Add(time.Hour))}, now)
	}
	for i := range ways {
		token := strconv.Itoa(i) + end
		require.NotNil(t, c.get(c.hash(token), token))
		assert.Equal(t, token, c.get(c.hash(token), token).token)
	}
	assert.Nil(t, c.get(c.hash("y"+end), "y"+end))
}
