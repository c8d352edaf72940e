package bench_test

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/middleware"
)

// BenchmarkKeys is a request with a token that is seen for the first time, of an
// issuer with so many keys, all of which are used in turn.
func BenchmarkKeys(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("alg=ES256/keys=%d/mode=serial/impl=tokenloop", n), func(b *testing.B) {
			h, ring := ownWithKeys(b, n)
			inTurn(b, h, ring)
		})
	}
}

// ownWithKeys returns our middleware with n keys and without a cache, and 128
// values of Authorization at least, as many of each key as of the others.
func ownWithKeys(tb testing.TB, n int) (http.Handler, []string) {
	var listed []middleware.PublicKey
	var all []*key
	for i := range n {
		k := newKey("ES256")
		k.kid = "bench-" + strconv.Itoa(i)
		listed = append(listed, middleware.PublicKey{ID: k.kid, Key: k.public.(*ecdsa.PublicKey)})
		all = append(all, k)
	}
	var ring []string
	for i := range (127/n + 1) * n {
		ring = append(ring, "Bearer "+all[i%n].token(goodClaims().payload(i)))
	}
	return ownWith(tb, middleware.PublicKeys(listed...), nil, middleware.NoCache), ring
}

// BenchmarkDenylist is a request beside so many entries of a denylist, half of
// them sessions and half of them tokens, of which none is the request's.
func BenchmarkDenylist(b *testing.B) {
	for _, sight := range []string{"first", "repeat"} {
		for _, n := range []int{0, 1000, 1_000_000} {
			b.Run(fmt.Sprintf("alg=HS256/sight=%s/entries=%d/mode=serial/impl=tokenloop", sight, n), func(b *testing.B) {
				h, ring := ownWithDenylist(b, sight, n)
				inTurn(b, h, ring)
			})
		}
	}
}

// ownWithDenylist returns our middleware with n entries in its denylist, and the
// values of Authorization. The list is made anew: the rows that follow are to
// find the heap as small as it was.
func ownWithDenylist(tb testing.TB, sight string, n int) (http.Handler, []string) {
	list := middleware.NewDenylist(middleware.DenylistOptions{})
	until := time.Now().Add(time.Hour)
	for i := range n {
		deny := list.DenySession
		if i%2 == 1 {
			deny = list.DenyToken
		}
		require.NoError(tb, deny(context.Background(), "denied-"+strconv.Itoa(i), until))
	}
	keys, ring := middleware.HS256(keys["HS256"]().public.([]byte)), rings["HS256"]()
	if sight == "first" {
		return ownWith(tb, keys, list, middleware.NoCache), ring
	}
	ring = ring[:512]
	h, w := ownWith(tb, keys, list, 0), newSink()
	for range 3 { // until all are remembered
		for _, authorization := range ring {
			h.ServeHTTP(w, request(authorization))
		}
	}
	return h, ring
}

// ownWith returns our middleware with these. A list that is nil is none.
func ownWith(tb testing.TB, keys middleware.KeySource, list *middleware.Denylist, cacheBytes int) http.Handler {
	c := middleware.Config{Keys: keys, Issuer: issuerName, Audience: []string{audience}, CacheBytes: cacheBytes}
	if list != nil {
		c.Revocations = list
	}
	m, err := middleware.New(c)
	require.NoError(tb, err)
	return m.Handler(behind(ignore, func(ctx context.Context) string {
		c, _ := middleware.FromContext(ctx)
		return c.Subject
	}))
}

// inTurn serves the good tokens of ring one after the other.
func inTurn(b *testing.B, h http.Handler, ring []string) {
	w, r := newSink(), request("")
	authorization := r.Header["Authorization"]
	runtime.GC() // what was made for the row is not to be marked on its clock
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		authorization[0] = ring[i]
		w.reset()
		if h.ServeHTTP(w, r); w.refused() {
			b.Fatalf("refused with %d", w.status)
		}
		if i++; i == len(ring) {
			i = 0
		}
	}
}

// What the rows serve passes, and what they deny would not.
func TestTheRowsOfScaling(t *testing.T) {
	for _, n := range []int{1, 10, 100} {
		h, ring := ownWithKeys(t, n)
		require.GreaterOrEqual(t, len(ring), 128)
		for _, authorization := range ring[:n] {
			w := newSink()
			h.ServeHTTP(w, request(authorization))
			require.False(t, w.refused())
		}
	}
	for _, sight := range []string{"first", "repeat"} {
		h, ring := ownWithDenylist(t, sight, 1000)
		denied := keys["HS256"]().token([]byte(fmt.Sprintf(`{"iss":%q,"aud":%q,"exp":%d,"iat":%d,"sid":"denied-998"}`,
			issuerName, audience, time.Now().Unix()+60, time.Now().Unix())))
		for authorization, refused := range map[string]bool{ring[0]: false, "Bearer " + denied: true} {
			w := newSink()
			h.ServeHTTP(w, request(authorization))
			require.Equal(t, refused, w.refused())
		}
	}
}
