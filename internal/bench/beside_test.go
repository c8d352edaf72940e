package bench_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"
)

// BenchmarkBeside holds what differs little side by side: about a millisecond of one
// and then of the other, many times over. Rows that run one after the other tell the
// difference of a few percent only when the machine is as fast for the one as for
// the other, and those in clouds are not. The metric is the median of the ratios.
//
//   - verify: a request with a token that is seen for the first time, beside the
//     verification of a signature alone
//   - seen: one with a token that was seen before, beside the floor's
//   - refuse: one that our middleware refuses, beside one that it accepts at first
//     sight
//   - issue: an access token, beside a signature alone
//   - call: a request to a server over loopback through a transport that attaches a
//     token, beside the same with a header that is ready
func BenchmarkBeside(b *testing.B) {
	for _, alg := range algorithms {
		var names []string // all
		if alg == "ES256" || alg == "EdDSA" {
			names = floorAndOurs
		}
		eachImplementation(b, "work=verify/alg="+alg, alg, false, func(b *testing.B, impl implementation) {
			one, renew := strangers(b, impl, alg)
			beside(b, "x-bare", 1, bareVerification(b, alg), one, renew)
		}, names...)
	}
	eachImplementation(b, "work=seen/alg=HS256", "HS256", true, func(b *testing.B, impl implementation) {
		again := func(h http.Handler) func() {
			w, r := newSink(), request(rings["HS256"]()[0])
			return func() { serve(b, h, w, r, true) }
		}
		floor := again(seenFloor(b, "HS256", ignore))
		beside(b, "x-floor", 1, floor, again(warm(b, impl, "HS256")), func(int) {})
	})
	ours := implementation{name: "tokenloop", build: tokenloop, remembers: true}
	for _, c := range refusals {
		b.Run("work=refuse/alg="+c.alg+"/case="+c.name+"/impl="+ours.name, func(b *testing.B) {
			accepted, renew := strangers(b, ours, c.alg)
			h, w, r := warm(b, ours, c.alg), newSink(), request(bad(c.alg)[c.name])
			beside(b, "x-accepted", 1, accepted, func() { serve(b, h, w, r, false) }, renew)
		})
	}
	for _, alg := range algorithms {
		for _, s := range signers() {
			b.Run("work=issue/alg="+alg+"/impl="+s.name, func(b *testing.B) {
				sign, serial := s.build(alg), 0
				beside(b, "x-bare", 1, bareSignature(b, alg), func() { serial++; sign(serial) }, func(int) {})
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
			beside(b, "x-bare", 1, func() { call(b, base.RoundTrip, with) }, func() { call(b, send, r) }, func(int) {})
		})
	}
}

// floorAndOurs are alone where nothing is said of the peers but what their rows in
// BenchmarkVerify say.
var floorAndOurs = []string{"floor", "tokenloop"}

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
		serve(b, h, w, r, true)
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

// serve serves r, which is to be accepted or refused.
func serve(b *testing.B, h http.Handler, w *sink, r *http.Request, accept bool) {
	w.reset()
	h.ServeHTTP(w, r)
	if w.refused() == accept {
		b.Fatalf("answered with %d", w.status)
	}
}

// besideFor is how long a round of two that take turns is.
const besideFor = 400 * time.Millisecond

// beside runs bare and whole in turns. A turn of both takes about
// two milliseconds, in which nobody else gets the core most of the time, and the one
// that is first changes. Each call of the two does so
// many operations, and renew makes room for n calls.
func beside(b *testing.B, unit string, operations int, bare, whole func(), renew func(n int)) {
	took := func(f func(), n int) time.Duration {
		started := time.Now()
		for range n {
			f()
		}
		return time.Since(started)
	}
	const trial = 8
	renew(trial)
	n := min(max(int(2*trial*time.Millisecond/(took(bare, trial)+took(whole, trial))), 1), 2000)
	var ratios, each []float64
	for b.Loop() {
		for began := time.Now(); time.Since(began) < besideFor; {
			renew(n)
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
	b.ReportMetric(middle(ratios), unit)
}

// middle returns the median of values.
func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
