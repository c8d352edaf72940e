package bench_test

import (
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/middleware"
)

// What TestTenMillionTokens allows: the cache of verified tokens, as its default
// says, and as much again as half of it for what else a Middleware holds.
const (
	longTokens   = 10_000_000
	longLimit    = 4 * time.Minute
	cacheBytes   = 16 << 20
	besideBytes  = 8 << 20
	repeatEvery  = 16 // tokens, of which one comes often enough to be remembered
	samplesInRun = 40
)

// TestTenMillionTokens passes ten million different tokens through one
// Middleware with the default cache, on all cores, and looks at the heap in use
// all the while. It takes a minute or two: TOKENLOOP_LONG=1 runs it.
func TestTenMillionTokens(t *testing.T) {
	if os.Getenv("TOKENLOOP_LONG") == "" {
		t.Skip("TOKENLOOP_LONG=1 runs it")
	}
	k := keys["HS256"]()
	m, err := middleware.New(middleware.Config{
		Keys: middleware.HS256(k.public.([]byte)), Issuer: issuerName, Audience: []string{audience}, Revocations: ownDenylist(),
	})
	require.NoError(t, err)
	h := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	good := goodClaims()

	// live returns the heap in use, while nobody works.
	var working sync.RWMutex
	live := func() int64 {
		working.Lock()
		defer working.Unlock()
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	base := live()
	began := time.Now()
	var next, done, refused atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			w, r := newSink(), request("")
			authorization := r.Header["Authorization"]
			const batch = 1000
			for time.Since(began) < longLimit {
				from := next.Add(batch) - batch
				if from >= longTokens {
					return
				}
				working.RLock()
				for i := from; i < from+batch; i++ {
					authorization[0] = "Bearer " + k.token(good.payload(int(i)))
					times := 1
					if i%repeatEvery == 0 {
						times = 3
					}
					for range times {
						w.reset()
						if h.ServeHTTP(w, r); w.refused() {
							refused.Add(1)
						}
					}
				}
				working.RUnlock()
				done.Add(batch)
			}
		})
	}
	var most, last int64
	for sample := int64(1); sample <= samplesInRun && time.Since(began) < longLimit; {
		if done.Load() < sample*longTokens/samplesInRun {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		last = live() - base
		most = max(most, last)
		if sample%10 == 0 {
			t.Logf("%s tokens in %v: %d bytes more than before", strconv.FormatInt(done.Load(), 10), time.Since(began).Round(time.Second), last)
		}
		sample++
	}
	wg.Wait()
	runtime.KeepAlive(h)
	assert.Equal(t, int64(longTokens), done.Load(), "tokens in %v", longLimit)
	assert.Zero(t, refused.Load(), "refused")
	assert.LessOrEqual(t, most, int64(cacheBytes+besideBytes), "bytes in use, at most")
	assert.Greater(t, last, int64(cacheBytes/4), "bytes in use at the end: the cache has something in it")
	t.Logf("%d tokens in %v on %d cores: %d bytes at most, %d at the end", done.Load(), time.Since(began).Round(time.Second), runtime.GOMAXPROCS(0), most, last)
}
