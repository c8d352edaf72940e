package refresher_test

import (
	"context"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// waiters makes n requests at once, which all wait for the same refresh or do not
// wait, and returns how many allocations that took.
func waiters(t *testing.T, n int, wait bool) uint64 {
	var allocations uint64
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		tr := newTransport(t, refresher.Config{
			Origins: []string{"https://api.example.com"}, NoJitter: true,
			Base: tripFunc(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
			}),
			Source: sourceFunc(func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
				<-release
				return refresher.Tokens{AccessToken: "new", Expiry: time.Now().Add(time.Hour)}, nil
			}),
		})
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "old", RefreshToken: "r", Expiry: time.Now().Add(time.Hour)}))
		if wait {
			time.Sleep(2 * time.Hour)
		}
		ctx, cancel := context.WithCancel(t.Context()) // with which a request can leave
		defer cancel()
		requests := make([]*http.Request, n)
		for i := range requests {
			requests[i] = must(http.NewRequestWithContext(ctx, "GET", remote, nil))
		}
		var before, after runtime.MemStats
		var done sync.WaitGroup
		done.Add(len(requests))
		call := func(req *http.Request) {
			resp, err := tr.RoundTrip(req)
			if err != nil || resp.StatusCode != 200 {
				t.Error(err)
			}
			done.Done()
		}
		runtime.ReadMemStats(&before)
		for _, req := range requests {
			go call(req)
		}
		synctest.Wait() // all of them wait, or are through
		close(release)
		done.Wait()
		runtime.ReadMemStats(&after)
		allocations = after.Mallocs - before.Mallocs
	})
	return allocations
}

// 10,000 requests that wait for one refresh cost no more than one allocation each
// beyond what they cost without waiting. What the runtime needs for a goroutine
// that waits, two records here, it keeps for the next one until the garbage is
// collected; a first round makes them.
func TestWaitingCostsNoMoreThanOneAllocation(t *testing.T) {
	const n = 10_000
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	cold := waiters(t, n, true)
	without, with := waiters(t, n, false), waiters(t, n, true)
	t.Logf("allocations of a request: %.3f without waiting, %.3f with, %.3f the first time",
		float64(without)/n, float64(with)/n, float64(cold)/n)
	assert.Less(t, float64(with)-float64(without), float64(n))
}

// goroutines returns the stacks of the goroutines that the package has to do
// with.
func goroutines() []string {
	buffer := make([]byte, 16<<20)
	buffer = buffer[:runtime.Stack(buffer, true)]
	var ours []string
	for _, stack := range strings.Split(string(buffer), "\n\n") {
		if strings.Contains(stack, "tokenloop/refresher.") {
			ours = append(ours, stack)
		}
	}
	return ours
}

// A Transport at rest has no goroutine, whatever it did before: over real HTTP,
// with files, with failures that wait to be tried again by others.
func TestATransportAtRestHasNoGoroutineWhateverItDid(t *testing.T) {
	none := func() {
		t.Helper()
		assert.Eventually(t, func() bool { return len(goroutines()) == 0 }, 20*time.Second, time.Millisecond)
		for _, stack := range goroutines() {
			t.Log(stack)
		}
	}
	none()
	s := newService()
	server := s.start(t)
	c := config(server.URL)
	c.Store, c.Logouts = must(refresher.NewFileStore(filepath.Join(t.TempDir(), "a", "tokens"))), fileLogouts(t)
	c.OnFailure, c.OnRefresh = func(*jwterrors.Error) {}, func(refresher.Tokens) {}
	var down atomic.Bool
	base := c.Base
	c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
		if down.Load() && strings.Contains(r.URL.Path, "/auth/") {
			return nil, errUnplugged
		}
		return base.RoundTrip(r)
	})
	tr := newTransport(t, c)
	none()
	login(t, tr)
	none()
	s.expire()
	assert.EqualValues(t, 100, crowd(100, func(int) bool {
		status, err := get(t.Context(), tr.Client(), server.URL+"/api")
		return err == nil && status == 200
	}))
	none()
	down.Store(true)
	require.Error(t, tr.Refresh(t.Context()))
	none()
	require.Error(t, tr.Logout(t.Context()))
	none()
	for range 20 {
		_, err := get(t.Context(), tr.Client(), server.URL+"/api")
		require.ErrorIs(t, err, jwterrors.LoggedOut)
	}
	none()
	down.Store(false)
	require.NoError(t, tr.Flush(t.Context()))
	login(t, tr)
	none()
	require.NoError(t, tr.Close())
	none()
}
