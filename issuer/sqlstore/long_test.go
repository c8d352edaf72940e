package sqlstore_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// long skips what takes minutes, and what is measured, unless it is asked for.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("TOKENLOOP_LONG") == "" {
		t.Skip("set TOKENLOOP_LONG=1 to run what takes minutes")
	}
}

// load lets as many goroutines as BenchmarkRefresh has refresh for so long, and
// returns how many refreshes a second that were.
func load(t *testing.T, refreshes []func() error, duration time.Duration) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for _, refresh := range refreshes {
		wg.Go(func() {
			for time.Since(begin) < duration {
				if !assert.NoError(t, refresh()) {
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(begin).Seconds()
}

// The store against the bare statements, in turns, since a machine is slow for
// seconds at a time.
func TestARefreshCostsLittleMoreThanItsStatements(t *testing.T) {
	long(t)
	for _, e := range []engine{sqlite, postgres, mysql} {
		t.Run(e.name, func(t *testing.T) {
			st, db := newStore(t, e)
			make8 := func(name string, make refresher) (all []func() error) {
				for n := range 8 {
					s := newSession(fmt.Sprint(name, " ", n))
					require.NoError(t, st.Create(t.Context(), s))
					all = append(all, make(t, st, db, s.ID))
				}
				return all
			}
			store, bare := make8("store", throughTheStore), make8("bare", bare(e.dialect))
			var ratios, stores, bares []float64
			for range 40 {
				a, b := load(t, store, 150*time.Millisecond), load(t, bare, 150*time.Millisecond)
				ratios, stores, bares = append(ratios, a/b), append(stores, a), append(bares, b)
			}
			for _, all := range [][]float64{ratios, stores, bares} {
				slices.Sort(all)
			}
			t.Logf("%.0f refreshes a second, bare %.0f; the median of %d ratios is %.2f", stores[20], bares[20], len(ratios), ratios[20])
			assert.GreaterOrEqual(t, ratios[20], 0.8)
		})
	}
}
