package bench_test

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// BenchmarkTwoCores holds requests on all cores beside those on one, in the same
// way. The metric x-one is how many times as many there are.
func BenchmarkTwoCores(b *testing.B) {
	cores := runtime.GOMAXPROCS(0)
	for _, c := range []struct {
		alg, sight string
		n          int // requests of each goroutine in a turn, which take some milliseconds
	}{{"HS256", "first", ringSize("HS256") / cores}, {"RS256", "first", ringSize("RS256") / cores / 8}, {"HS256", "repeat", 20_000}} {
		again, names := c.sight == "repeat", floorAndOurs
		if again {
			names = nil
		}
		eachImplementation(b, "alg="+c.alg+"/sight="+c.sight, c.alg, again, func(b *testing.B, impl implementation) {
			ring, h := rings[c.alg](), warm(b, impl, c.alg)
			run := func(goroutines int) time.Duration {
				if impl.remembers && !again {
					h = warm(b, impl, c.alg)
				}
				var all sync.WaitGroup
				started := time.Now()
				for g := range goroutines {
					all.Go(func() {
						w, r := newSink(), request(ring[0])
						authorization := r.Header["Authorization"]
						for i := range c.n {
							if !again {
								authorization[0] = ring[g*c.n+i]
							}
							w.reset()
							if h.ServeHTTP(w, r); w.refused() {
								b.Errorf("refused with %d", w.status)
								return
							}
						}
					})
				}
				all.Wait()
				return time.Since(started)
			}
			var ratios, each []float64
			for b.Loop() {
				for began := time.Now(); time.Since(began) < besideFor; {
					one, all := run(1), run(cores)
					ratios = append(ratios, float64(cores)*float64(one)/float64(all))
					each = append(each, float64(all)/float64(cores*c.n))
				}
			}
			b.ReportMetric(middle(each), "ns/op")
			b.ReportMetric(middle(ratios), "x-one")
		}, names...)
	}
}
