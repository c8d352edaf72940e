package issuer_test

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tokenloop/tokenloop/issuer"
)

// FuzzTrustedProxies: whatever a field holds, the client is the peer or an address
// that a trusted proxy wrote, and never what stands before an address that is not
// trusted.
func FuzzTrustedProxies(f *testing.F) {
	from := must(issuer.TrustedProxies("X-Forwarded-For", netip.MustParsePrefix("10.0.0.0/8")))
	f.Add("10.0.0.1:80", "203.0.113.9, 198.51.100.1")
	f.Add("10.0.0.1:80", "[2001:db8::5%eth0]:4711,")
	f.Add("192.0.2.1:1", "10.0.0.1")
	f.Add("@", ",,,")
	f.Add("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.2, \"unknown\"")
	f.Fuzz(func(t *testing.T, remote, field string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {field}}}
		client := from(r)
		peer := from(&http.Request{RemoteAddr: remote})
		if client == peer {
			return
		}
		if !netip.MustParsePrefix("10.0.0.0/8").Contains(peer) {
			t.Errorf("%q is no proxy, and its field %q gives %v", remote, field, client)
		}
		// The same with a claim of the client in front, when the chain ends at it.
		if !netip.MustParsePrefix("10.0.0.0/8").Contains(client) && strings.Count(field, ",") < 16 {
			r.Header["X-Forwarded-For"] = []string{"203.0.113.77, " + field}
			if again := from(r); again != client {
				t.Errorf("a claim in front of %q makes %v of %v", field, again, client)
			}
		}
	})
}

func TestALimiterTakesNoMoreMemoryThanAtFirst(t *testing.T) {
	m := must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{}))
	keys := make([]string, 100_000)
	for n := range keys {
		keys[n] = "key-" + strconv.Itoa(n)
	}
	ctx, next := t.Context(), 0
	assert.Zero(t, testing.AllocsPerRun(len(keys)-1, func() {
		_, _ = m.Take(ctx, keys[next], issuer.Budget{Attempts: 5, Every: time.Minute}) // what it says is tested elsewhere
		next++
	}))
}
