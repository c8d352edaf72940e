package bench_test

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkBeside holds whole implementations beside the bare operation on the
// signature, a few milliseconds of one and then of the other, many times over. Rows
// that run one after the other tell the difference of a few percent only when the
// machine is as fast for the one as for the other, and those in clouds are not. The
// metric x-bare is the median of the ratios.
func BenchmarkBeside(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		for _, impl := range implementations() {
			if impl.name != "floor" && impl.name != "tokenloop" {
				continue
			}
			b.Run("work=verify/alg="+alg+"/impl="+impl.name, func(b *testing.B) {
				one, renew := strangers(b, impl, alg)
				beside(b, bareVerification(b, alg), one, renew)
			})
		}
		for _, s := range signers() {
			b.Run("work=issue/alg="+alg+"/impl="+s.name, func(b *testing.B) {
				sign, serial := s.build(alg), 0
				beside(b, bareSignature(b, alg), func() { serial++; sign(serial) }, func(int) {})
			})
		}
	}
}

// strangers returns what serves the next token that the handler has not seen, and
// what makes room for n of them.
func strangers(b *testing.B, impl implementation, alg string) (one func(), renew func(n int)) {
	ring := rings[alg]()
	h, w, r := warm(b, impl, alg), newSink(), request("")
	authorization := r.Header["Authorization"]
	i := 0
	one = func() {
		authorization[0] = ring[i]
		w.reset()
		h.ServeHTTP(w, r)
		if w.refused() {
			b.Fatalf("refused with %d", w.status)
		}
		i++
	}
	return one, func(n int) {
		if i+n <= len(ring) {
			return
		}
		i = 0
		if impl.remembers {
			h = warm(b, impl, alg)
		}
	}
}

// beside runs bare and whole in turns. A turn takes about two milliseconds, and the
// one that is first changes.
func beside(b *testing.B, bare, whole func(), renew func(n int)) {
	took := func(f func(), n int) time.Duration {
		started := time.Now()
		for range n {
			f()
		}
		return time.Since(started)
	}
	n := max(int(2*time.Millisecond/(took(bare, 8)/8)), 1)
	var ratios []float64
	for b.Loop() {
		renew(n)
		var without, with time.Duration
		if len(ratios)%2 == 0 {
			without, with = took(bare, n), took(whole, n)
		} else {
			with, without = took(whole, n), took(bare, n)
		}
		ratios = append(ratios, float64(with)/float64(without))
	}
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratios[len(ratios)/2], "x-bare")
}

// BenchmarkTwoCores holds requests with one token on all cores beside those on one,
// in the same way. The metric x-one is how many times as many there are.
func BenchmarkTwoCores(b *testing.B) {
	for _, impl := range implementations() {
		if !strings.HasPrefix(impl.name, "tokenloop") && impl.name != "floor-seen" {
			continue
		}
		b.Run("impl="+impl.name, func(b *testing.B) {
			const n = 20_000 // some milliseconds
			h := warm(b, impl, "HS256")
			cores := runtime.GOMAXPROCS(0)
			run := func(goroutines int) time.Duration {
				var all sync.WaitGroup
				started := time.Now()
				for range goroutines {
					all.Go(func() {
						w, r := newSink(), request(rings["HS256"]()[0])
						for range n {
							w.reset()
							h.ServeHTTP(w, r)
						}
						if w.refused() {
							b.Errorf("refused with %d", w.status)
						}
					})
				}
				all.Wait()
				return time.Since(started)
			}
			var ratios []float64
			for b.Loop() {
				one, each := run(1), run(cores)
				ratios = append(ratios, float64(cores)*float64(one)/float64(each))
			}
			slices.Sort(ratios)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ratios[len(ratios)/2], "x-one")
		})
	}
}
