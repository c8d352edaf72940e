package bench_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
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
//
//   - verify: a request with a token that is seen for the first time, beside the
//     verification of a signature alone
//   - issue: an access token, beside a signature alone
//   - call: a request to a server over loopback through a transport that attaches a
//     token, beside the same with a header that is ready
func BenchmarkBeside(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		for _, impl := range implementations() {
			if impl.repeatOnly || !impl.can(alg) {
				continue
			}
			b.Run("work=verify/alg="+alg+"/impl="+impl.name, func(b *testing.B) {
				one, renew := strangers(b, impl, alg)
				beside(b, 1, bareVerification(b, alg), one, renew)
			})
		}
		for _, s := range signers() {
			b.Run("work=issue/alg="+alg+"/impl="+s.name, func(b *testing.B) {
				sign, serial := s.build(alg), 0
				beside(b, 1, bareSignature(b, alg), func() { serial++; sign(serial) }, nil)
			})
		}
	}
	for _, a := range attachers() {
		if a.name == "azcore-pipeline" { // it attaches nothing
			continue
		}
		b.Run("work=call/impl="+a.name, func(b *testing.B) {
			token, base := accessToken(), overLoopback(b)
			with := outgoing()
			with.Header.Set("Authorization", "Bearer "+token)
			send, r := a.build(b, token, base), outgoing()
			beside(b, 1, func() { call(b, base.RoundTrip, with) }, func() { call(b, send, r) }, nil)
		})
	}
}

// overLoopback returns what sends every request to a server of this process, over
// one connection of its own.
func overLoopback(tb testing.TB) http.RoundTripper {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	tb.Cleanup(server.Close)
	transport := &http.Transport{}
	tb.Cleanup(transport.CloseIdleConnections)
	target := must(url.Parse(server.URL))
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		there := new(*r)
		there.URL = target
		return transport.RoundTrip(there)
	})
}

func call(tb testing.TB, send roundTrip, r *http.Request) {
	response, err := send(r)
	if err != nil {
		tb.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		tb.Fatalf("answered with %d", response.StatusCode)
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

// beside runs bare and whole in turns, for half a second. A turn takes about two
// milliseconds, and the one that is first changes. Each call of the two does so
// many operations, and renew, if there is one, makes room for n calls of whole.
func beside(b *testing.B, operations int, bare, whole func(), renew func(n int)) {
	took := func(f func(), n int) time.Duration {
		started := time.Now()
		for range n {
			f()
		}
		return time.Since(started)
	}
	n := max(int(2*time.Millisecond/(took(bare, 8)/8+1)), 1)
	var ratios, each []float64
	for b.Loop() {
		for began := time.Now(); time.Since(began) < 500*time.Millisecond; {
			if renew != nil {
				renew(n)
			}
			var without, with time.Duration
			if len(ratios)%2 == 0 {
				without, with = took(bare, n), took(whole, n)
			} else {
				with, without = took(whole, n), took(bare, n)
			}
			ratios = append(ratios, float64(with)/float64(without))
			each = append(each, float64(with)/float64(n*operations))
		}
	}
	b.ReportMetric(middle(each), "ns/op")
	b.ReportMetric(middle(ratios), "x-bare")
}

// middle returns the median of values.
func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
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
			var ratios, each []float64
			for b.Loop() {
				for began := time.Now(); time.Since(began) < 500*time.Millisecond; {
					one, all := run(1), run(cores)
					ratios = append(ratios, float64(cores)*float64(one)/float64(all))
					each = append(each, float64(all)/float64(cores*n))
				}
			}
			b.ReportMetric(middle(each), "ns/op")
			b.ReportMetric(middle(ratios), "x-one")
		})
	}
}
