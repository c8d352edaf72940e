package bench_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkVerify is a request that a whole middleware lets pass, with a token
// that it sees for the first time, or the same token each time. To those that
// remember nothing the second is as the first, and they are left out of it.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range algorithms {
		name := "alg=" + alg + "/sight="
		b.Run(name+"first/mode=serial/impl=bare", func(b *testing.B) { benchmarkBare(b, alg) })
		eachImplementation(b, name+"first/mode=serial", alg, false, func(b *testing.B, impl implementation) {
			firstSight(b, impl, alg)
		})
		eachImplementation(b, name+"first/mode=parallel", alg, false, func(b *testing.B, impl implementation) {
			firstSightParallel(b, impl, alg)
		})
		eachImplementation(b, name+"repeat/mode=serial", alg, true, func(b *testing.B, impl implementation) {
			repeat(b, warm(b, impl, alg), rings[alg]()[0], true)
		})
		eachImplementation(b, name+"repeat/mode=parallel", alg, true, func(b *testing.B, impl implementation) {
			repeatParallel(b, warm(b, impl, alg), rings[alg]()[0])
		})
	}
}

// BenchmarkRefuse is a request that a whole middleware refuses, with its own
// answer, written to nowhere. The middleware has accepted another one before.
func BenchmarkRefuse(b *testing.B) {
	for _, c := range refusals {
		authorization := bad(c.alg)[c.name]
		eachImplementation(b, "alg="+c.alg+"/case="+c.name+"/mode=serial", c.alg, false, func(b *testing.B, impl implementation) {
			repeat(b, warm(b, impl, c.alg), authorization, false)
		})
	}
}

// refusals are those of bad that are measured. What is no token is none whatever the
// algorithm, and secrets have no key ids.
var refusals = []struct{ alg, name string }{
	{"HS256", "expired"}, {"HS256", "forged"}, {"HS256", "garbage"}, {"HS256", "dots"}, {"HS256", "deep"}, {"HS256", "huge"},
	{"RS256", "expired"}, {"RS256", "forged"}, {"RS256", "unknown-kid"},
}

// eachImplementation runs a row of the group for all that can do alg: with tokens
// that are seen again for those alone that remember some. If there are names, it
// leaves out the others.
func eachImplementation(b *testing.B, group, alg string, again bool, run func(*testing.B, implementation), names ...string) {
	for _, impl := range implementations() {
		if !impl.can(alg) || len(names) > 0 && !slices.Contains(names, impl.name) {
			continue
		}
		if again && impl.remembers || again == impl.repeatOnly {
			b.Run(group+"/impl="+impl.name, func(b *testing.B) { run(b, impl) })
		}
	}
}

func ignore(string) {}

// benchmarkBare is the operation on a signature and, where the operation takes
// one, on a finished digest. The signatures are those of the ring: with the same
// one each time, the processor would learn by heart what the operation decides.
func benchmarkBare(b *testing.B, alg string) {
	verify := bareVerification(b, alg)
	b.ReportAllocs()
	for b.Loop() {
		verify()
	}
}

// bareVerification verifies the next signature of the ring.
func bareVerification(b *testing.B, alg string) func() {
	type signed struct{ input, digest, signature []byte }
	verify, ring := bareVerifications(alg), rings[alg]()
	all := make([]signed, len(ring))
	for i, authorization := range ring {
		token := strings.TrimPrefix(authorization, "Bearer ")
		dot := strings.LastIndexByte(token, '.')
		digest := sha256.Sum256([]byte(token[:dot]))
		all[i] = signed{[]byte(token[:dot]), digest[:], must(strict.DecodeString(token[dot+1:]))}
	}
	i := 0
	return func() {
		if one := &all[i]; !verify(one.input, one.digest, one.signature) {
			b.Fatal("the signature is refused")
		}
		if i++; i == len(all) {
			i = 0
		}
	}
}

func bareVerifications(alg string) func(input, digest, signature []byte) bool {
	switch public := keys[alg]().public.(type) {
	case []byte:
		mac := hmac.New(sha256.New, public)
		var sum [sha256.Size]byte
		return func(input, _, signature []byte) bool {
			mac.Reset()
			mac.Write(input)
			return hmac.Equal(mac.Sum(sum[:0]), signature)
		}
	case *rsa.PublicKey:
		return func(_, digest, signature []byte) bool {
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest, signature) == nil
		}
	case *ecdsa.PublicKey:
		r, s := new(big.Int), new(big.Int)
		return func(_, digest, signature []byte) bool {
			return ecdsa.Verify(public, digest, r.SetBytes(signature[:32]), s.SetBytes(signature[32:]))
		}
	case ed25519.PublicKey:
		return func(input, _, signature []byte) bool { return ed25519.Verify(public, input, signature) }
	}
	panic("no key for " + alg)
}

// firstSight serves tokens of which no handler has seen one before: at the end
// of the ring, a handler that remembers is replaced by a new one, off the clock.
func firstSight(b *testing.B, impl implementation, alg string) {
	ring := rings[alg]()
	h, w, r := warm(b, impl, alg), newSink(), request("")
	authorization := r.Header["Authorization"]
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		authorization[0] = ring[i]
		w.reset()
		h.ServeHTTP(w, r)
		if w.refused() {
			b.Fatalf("refused with %d", w.status)
		}
		if i++; i == len(ring) {
			i = 0
			if impl.remembers {
				b.StopTimer()
				h = warm(b, impl, alg)
				b.StartTimer()
			}
		}
	}
}

// warm returns a handler that has what does not depend on the token: its keys
// are fetched, its connections open.
func warm(b *testing.B, impl implementation, alg string) http.Handler {
	h, w := impl.build(b, alg, ignore), newSink()
	h.ServeHTTP(w, request(warmup(alg)))
	if w.refused() {
		b.Fatalf("%s refuses with %d", impl.name, w.status)
	}
	return h
}

// warmup returns a good token that is in no ring.
func warmup(alg string) string { return "Bearer " + keys[alg]().token(goodClaims().payload(-1)) }

// firstSightParallel does the same on all cores: each goroutine has a part of
// the ring to itself, and replaces the handler of all when it begins again.
// That is on the clock, but rare.
func firstSightParallel(b *testing.B, impl implementation, alg string) {
	ring := rings[alg]()
	part := len(ring) / runtime.GOMAXPROCS(0)
	first := warm(b, impl, alg)
	var handler atomic.Pointer[http.Handler]
	handler.Store(&first)
	var goroutines atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		own := ring[part*int(goroutines.Add(1)-1):][:part]
		w, r := newSink(), request("")
		authorization := r.Header["Authorization"]
		for i := 0; pb.Next(); {
			authorization[0] = own[i]
			w.reset()
			(*handler.Load()).ServeHTTP(w, r)
			if w.refused() {
				b.Errorf("refused with %d", w.status)
				return
			}
			if i++; i == part {
				i = 0
				if impl.remembers {
					fresh := impl.build(b, alg, ignore)
					handler.Store(&fresh)
				}
			}
		}
	})
}

// repeat serves the same request again and again, which is to be accepted or
// refused each time.
func repeat(b *testing.B, h http.Handler, authorization string, accept bool) {
	w, r := newSink(), request(authorization)
	h.ServeHTTP(w, r)
	b.ReportAllocs()
	for b.Loop() {
		w.reset()
		h.ServeHTTP(w, r)
		if w.refused() == accept {
			b.Fatalf("answered with %d", w.status)
		}
	}
}

func repeatParallel(b *testing.B, h http.Handler, authorization string) {
	h.ServeHTTP(newSink(), request(authorization))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		w, r := newSink(), request(authorization)
		for pb.Next() {
			w.reset()
			h.ServeHTTP(w, r)
			if w.refused() {
				b.Errorf("refused with %d", w.status)
				return
			}
		}
	})
}
