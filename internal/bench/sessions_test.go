package bench_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
)

// What a session may take in memory, beside what the caller's Authenticate said
// of the user, and how much more of it when there are a thousand times as many.
const (
	sessionBytes = 512
	sessionFlat  = 1.25
)

// TestTheMemoryOfSessions logs in a thousand times and a million times, refreshes
// each session once, and looks at the heap in use. TOKENLOOP_LONG=1 runs the
// second, which takes about half a minute.
func TestTheMemoryOfSessions(t *testing.T) {
	few := bytesOfSession(t, 1000)
	t.Logf("a thousand sessions: %.0f bytes each", few)
	own := float64(len(subject) + len(scope))
	assert.LessOrEqual(t, few, sessionBytes+own)
	assert.Greater(t, few, 100.0, "the sessions are there")
	if os.Getenv("TOKENLOOP_LONG") == "" {
		return
	}
	many := bytesOfSession(t, 1_000_000)
	t.Logf("a million sessions: %.0f bytes each", many)
	assert.LessOrEqual(t, many, sessionBytes+own)
	assert.LessOrEqual(t, many/few, sessionFlat)
}

// bytesOfSession returns how many bytes each of n sessions takes. Each has a user
// of its own, as most have.
func bytesOfSession(t *testing.T, n int) float64 {
	t.Helper()
	serial := 0
	is := newOwnIssuerOf(t, "HS256", func(c *issuer.Config) { c.Grace = issuer.NoGrace; c.Authenticate = users(&serial) })
	is.login() // what an issuer makes once
	before := inUse()
	for range n {
		token := refreshTokenIn(is.refresh(refreshTokenIn(is.login())))
		require.NotEmpty(t, token)
	}
	after := inUse()
	runtime.KeepAlive(is)
	return float64(after-before) / float64(n)
}

// users is an Authenticate for which nobody comes twice.
func users(serial *int) func(context.Context, issuer.Credentials) (issuer.User, error) {
	return func(context.Context, issuer.Credentials) (issuer.User, error) {
		*serial++
		return issuer.User{ID: fmt.Sprintf("%0*d", len(subject), *serial), Scopes: strings.Fields(scope)}, nil
	}
}

// inUse returns the bytes of the heap that are in use.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // what the first has finalized
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
