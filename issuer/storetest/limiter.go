package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// RunLimiter holds the limiter that newLimiter makes to the contract of
// issuer.Limiter. Each call of newLimiter returns one that has counted nothing,
// and whose clock is now, which the suite moves; clean-up is for t.Cleanup.
func RunLimiter(t *testing.T, newLimiter func(t *testing.T, now func() time.Time) issuer.Limiter) {
	for _, c := range []struct {
		name string
		test func(*limited)
	}{
		{"a budget is spent, and comes back one by one", limiterSpends},
		{"what was given back can be taken", limiterGives},
		{"a budget is never more than whole", limiterNeverMore},
		{"keys do not share", limiterKeys},
		{"a clock that is set back locks nobody out", limiterClock},
		{"the largest budgets", limiterLarge},
		{"a budget that is none", limiterBadBudget},
		{"race: as many as there are", limiterRace},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &limited{t: t}
			l.at.Store(now().UnixMicro())
			l.Limiter = newLimiter(t, func() time.Time { return time.UnixMicro(l.at.Load()) })
			c.test(l)
		})
	}
}

// limited is a limiter with its clock in hand.
type limited struct {
	issuer.Limiter
	t  *testing.T
	at atomic.Int64 // microseconds
}

func (l *limited) pass(d time.Duration) { l.at.Add(d.Microseconds()) }

// take wants to wait for so long.
func (l *limited) take(key string, b issuer.Budget, want time.Duration) {
	l.t.Helper()
	if wait, err := l.Take(l.t.Context(), key, b); wait != want || err != nil {
		l.t.Fatalf("Take = %v, %v, want %v", wait, err, want)
	}
}

func (l *limited) give(key string, n int, b issuer.Budget) {
	l.t.Helper()
	if err := l.Give(l.t.Context(), key, n, b); err != nil {
		l.t.Fatalf("Give: %v", err)
	}
}

var threeAMinute = issuer.Budget{Attempts: 3, Every: 20 * time.Second}

func limiterSpends(l *limited) {
	b := threeAMinute
	for range 3 {
		l.take("a", b, 0)
	}
	for range 5 { // what is refused costs nothing
		l.take("a", b, 20*time.Second)
	}
	l.pass(20*time.Second - time.Microsecond)
	l.take("a", b, time.Microsecond)
	l.pass(time.Microsecond)
	l.take("a", b, 0)
	l.take("a", b, 20*time.Second)
	l.pass(40 * time.Second)
	l.take("a", b, 0)
	l.take("a", b, 0)
	l.take("a", b, 20*time.Second)
	l.pass(time.Hour)
	for range 3 {
		l.take("a", b, 0)
	}
	l.take("a", b, 20*time.Second)
}

func limiterGives(l *limited) {
	b := threeAMinute
	for range 3 {
		l.take("a", b, 0)
	}
	l.give("a", 2, b)
	l.take("a", b, 0)
	l.take("a", b, 0)
	l.take("a", b, 20*time.Second)
	for n, none := range []int{0, -1, -1 << 40} {
		key := string(rune('b' + n))
		l.take(key, b, 0)
		l.give(key, none, b)
		l.take(key, b, 0)
		l.take(key, b, 0)
		l.take(key, b, 20*time.Second)
	}
}

func limiterNeverMore(l *limited) {
	b := threeAMinute
	l.give("a", 100, b) // nothing was taken
	l.take("a", b, 0)
	l.give("a", 100, b)
	for range 3 {
		l.take("a", b, 0)
	}
	l.take("a", b, 20*time.Second)
	l.pass(50 * time.Second) // half an attempt is missing
	l.give("a", 2, b)
	for range 3 {
		l.take("a", b, 0)
	}
	l.take("a", b, 20*time.Second)
}

func limiterKeys(l *limited) {
	b := issuer.Budget{Attempts: 1, Every: time.Minute}
	for _, key := range []string{"a", "b", "A", "login-address:2001:db8::/64", "login-address:192.0.2.1/32", "a:"} {
		l.take(key, b, 0)
		l.take(key, b, time.Minute)
	}
	l.give("b", 1, b)
	l.take("b", b, 0)
	l.take("a", b, time.Minute)
}

func limiterClock(l *limited) {
	b := threeAMinute
	for range 3 {
		l.take("a", b, 0)
	}
	l.pass(-time.Hour)
	l.take("a", b, 20*time.Second)
	l.pass(20 * time.Second)
	l.take("a", b, 0)
	l.take("a", b, 20*time.Second)
}

func limiterLarge(l *limited) {
	for key, b := range map[string]issuer.Budget{
		"long": {Attempts: 1, Every: issuer.MaxBudget},
		"many": {Attempts: int(issuer.MaxBudget / time.Millisecond), Every: time.Millisecond},
	} {
		l.take(key, b, 0)
		l.give(key, b.Attempts, b)
		l.take(key, b, 0)
		if key == "long" {
			l.take(key, b, issuer.MaxBudget)
		}
	}
}

func limiterBadBudget(l *limited) {
	for _, b := range []issuer.Budget{
		{}, {Attempts: 1}, {Every: time.Second}, {Attempts: -1, Every: time.Second}, {Attempts: 1, Every: time.Millisecond - 1},
		{Attempts: 1, Every: issuer.MaxBudget + 1}, {Attempts: 1 << 40, Every: time.Hour},
	} {
		if _, err := l.Take(l.t.Context(), "a", b); err == nil {
			l.t.Errorf("Take of %+v returns no error", b)
		}
		if err := l.Give(l.t.Context(), "a", 1, b); err == nil {
			l.t.Errorf("Give of %+v returns no error", b)
		}
	}
}

// limiterRace lets 32 goroutines take 3 attempts each from a budget of 50, and give
// half of what they got back.
func limiterRace(l *limited) {
	b := issuer.Budget{Attempts: 50, Every: time.Hour}
	var taken, given atomic.Int32
	var wg sync.WaitGroup
	for n := range 32 {
		wg.Go(func() {
			for range 3 {
				wait, err := l.Take(context.WithoutCancel(l.t.Context()), "a", b)
				if err != nil {
					l.t.Errorf("Take: %v", err)
				}
				if wait > 0 || err != nil {
					continue
				}
				taken.Add(1)
				if n%2 == 0 {
					if err := l.Give(l.t.Context(), "a", 1, b); err != nil {
						l.t.Errorf("Give: %v", err)
					}
					given.Add(1)
				}
			}
		})
	}
	wg.Wait()
	left := 50 - int(taken.Load()) + int(given.Load())
	if left < 0 {
		l.t.Fatalf("%d were taken and %d given back, of 50", taken.Load(), given.Load())
	}
	for range left {
		l.take("a", b, 0)
	}
	l.take("a", b, time.Hour)
}
