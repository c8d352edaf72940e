package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A meter has the time of each operation.
type meter struct {
	stop func()

	mu       sync.Mutex
	times    map[string][]time.Duration
	busy     map[string]int // how many were put off
	violated string
}

func newMeter(stop func()) *meter {
	return &meter{stop: stop, times: map[string][]time.Duration{}, busy: map[string]int{}}
}

// violate says what happened that must not, if that is anything, and ends the run.
func (m *meter) violate(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if what != "" && m.violated == "" {
		m.violated = what
		m.stop()
	}
}

// took is told how an operation ended, and returns whether it went well. It may be put
// off, by a server whose store or processors are busy and that says so with a 503;
// otherwise nothing may fail. What the end of the run breaks off does not count.
func (m *meter) took(ctx context.Context, what string, began time.Time, err error) bool {
	took := time.Since(began)
	if ctx.Err() != nil {
		return false
	}
	busy := jwterrors.ReasonOf(err) == jwterrors.StoreUnavailable
	if err != nil && !busy {
		m.violate(fmt.Sprintf("a %s fails: %v", what, err))
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if busy {
		m.busy[what]++
		return false
	}
	m.times[what] = append(m.times[what], took)
	return true
}

func (m *meter) report(out io.Writer, length time.Duration) {
	fmt.Fprintf(out, "%-8s %9s %9s %9s %10s %10s %10s %10s\n", "", "count", "1/s", "put off", "p50", "p99", "p999", "max")
	for _, what := range []string{login, refresh, call, revoke} {
		all := m.times[what]
		slices.Sort(all)
		fmt.Fprintf(out, "%-8s %9d %9.1f %9d %10s %10s %10s %10s\n", what, len(all), float64(len(all))/length.Seconds(), m.busy[what],
			quantile(all, 0.5), quantile(all, 0.99), quantile(all, 0.999), quantile(all, 1))
	}
}

// quantile returns the smallest of sorted below or at which that part of them is.
func quantile(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := min(int(part*float64(len(sorted))), len(sorted)-1)
	return sorted[i].Round(10 * time.Microsecond)
}
