package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A meter has the time of each operation.
type meter struct {
	stop func()
	busy atomic.Int64 // logins that were put off

	mu       sync.Mutex
	times    map[string][]time.Duration
	violated string
}

func newMeter(stop func()) *meter {
	return &meter{stop: stop, times: map[string][]time.Duration{}}
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

// took is told how an operation ended, and returns whether it went well. Nothing may
// fail here: all runs as it should. What the end of the run breaks off does not count.
func (m *meter) took(ctx context.Context, what string, began time.Time, err error) bool {
	took := time.Since(began)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		m.violate(fmt.Sprintf("a %s fails: %v", what, err))
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times[what] = append(m.times[what], took)
	return true
}

func (m *meter) report(out io.Writer, length time.Duration) {
	fmt.Fprintf(out, "%-8s %9s %9s %10s %10s %10s %10s\n", "", "count", "1/s", "p50", "p99", "p999", "max")
	for _, what := range []string{login, refresh, call, revoke} {
		all := m.times[what]
		slices.Sort(all)
		fmt.Fprintf(out, "%-8s %9d %9.1f %10s %10s %10s %10s\n", what, len(all), float64(len(all))/length.Seconds(),
			quantile(all, 0.5), quantile(all, 0.99), quantile(all, 0.999), quantile(all, 1))
	}
	fmt.Fprintf(out, "%d logins were told to come back: so many passwords are not hashed at once.\n", m.busy.Load())
}

// quantile returns the smallest of sorted below or at which that part of them is.
func quantile(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := min(int(part*float64(len(sorted))), len(sorted)-1)
	return sorted[i].Round(10 * time.Microsecond)
}
