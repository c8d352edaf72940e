// Package storetest is the suite that every refresher.Store must pass, ours and
// others':
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) (a, b refresher.Store) {
//			name := t.Name()
//			return openStore(name), openStore(name)
//		})
//	}
package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/refresher"
)

// Run checks the Stores that open returns. Each call of open returns two Stores
// that share one empty place for tokens, as two processes do; for a Store in
// memory they are one and the same.
func Run(t *testing.T, open func(t *testing.T) (a, b refresher.Store)) {
	t.Helper()
	for _, c := range []struct {
		name  string
		check func(t *testing.T, a, b refresher.Store)
	}{
		{"an empty store has no tokens and no error", empty},
		{"tokens come back as they were saved", roundTrip},
		{"a later save leaves nothing of the one before", replace},
		{"cleared tokens are gone for both", cleared},
		{"the lock has one holder at a time", exclusive},
		{"who waits for the lock leaves when the context ends", impatient},
		{"the other methods do not wait for the lock", lockFree},
		{"a save is seen as a whole, without its access token, or not at all", whole},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := open(t)
			c.check(t, a, b)
		})
	}
}

// set returns the n-th of many tokens that differ in every field.
func set(n int) refresher.Tokens {
	s := strconv.Itoa(n)
	at := time.Date(2030, 1, 2, 3, 4, 5, n, time.UTC)
	return refresher.Tokens{
		AccessToken: "access-" + s, RefreshToken: "refresh-" + s, TokenType: "Bearer", Scope: "a b " + s,
		Expiry: at, RefreshExpiry: at.Add(time.Hour), Received: at.Add(-time.Hour),
		RetryKey: "retry-" + s, Identity: refresher.UserID("user-" + s), Owner: "sub:user-" + s,
	}
}

func load(t *testing.T, s refresher.Store) refresher.Tokens {
	t.Helper()
	tokens, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return tokens
}

func save(t *testing.T, s refresher.Store, tokens refresher.Tokens) {
	t.Helper()
	if err := s.Save(t.Context(), tokens); err != nil {
		t.Fatalf("Save: %v", err)
	}
}

func clearAll(t *testing.T, s refresher.Store) {
	t.Helper()
	if err := s.Clear(t.Context()); err != nil {
		t.Fatalf("Clear: %v", err)
	}
}

func lock(t *testing.T, s refresher.Store) (unlock func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	unlock, err := s.Lock(ctx)
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	return unlock
}

func empty(t *testing.T, a, b refresher.Store) {
	for range 2 {
		if tokens := load(t, a); !tokens.IsZero() {
			t.Errorf("Load of an empty store returned %v", tokens)
		}
		clearAll(t, b)
	}
}

func roundTrip(t *testing.T, a, b refresher.Store) {
	first := set(1)
	onlyRefresh := refresher.Tokens{RefreshToken: "refresh", RetryKey: "retry"}
	onlyAccess := refresher.Tokens{AccessToken: "access", RetryKey: "retry", Identity: refresher.Email("alice@example.com")}
	for _, want := range []refresher.Tokens{first, onlyRefresh, onlyAccess} {
		save(t, a, want)
		for _, s := range []refresher.Store{a, b} {
			if got := load(t, s); !same(got, want) {
				t.Errorf("Load returned something else than was saved: %v, and not %v", got, want)
			}
		}
	}
}

// same compares every field. Times are the same instant to the microsecond.
func same(a, b refresher.Tokens) bool {
	for _, times := range []struct{ a, b *time.Time }{
		{&a.Expiry, &b.Expiry}, {&a.RefreshExpiry, &b.RefreshExpiry}, {&a.Received, &b.Received},
	} {
		if times.a.IsZero() != times.b.IsZero() || times.a.Sub(*times.b).Abs() > time.Microsecond {
			return false
		}
		*times.a = *times.b
	}
	return a == b
}

func replace(t *testing.T, a, b refresher.Store) {
	save(t, a, set(1))
	want := refresher.Tokens{AccessToken: "access-2", RefreshToken: "refresh-2"}
	save(t, b, want)
	if got := load(t, a); !same(got, want) {
		t.Errorf("Load returned %v after %v had been saved", got, want)
	}
}

func cleared(t *testing.T, a, b refresher.Store) {
	save(t, a, set(1))
	clearAll(t, b)
	for _, s := range []refresher.Store{a, b} {
		if tokens := load(t, s); !tokens.IsZero() {
			t.Errorf("Load after Clear returned %v", tokens)
		}
	}
	save(t, b, set(2))
	if got := load(t, a); !same(got, set(2)) {
		t.Errorf("Load returned %v", got)
	}
}

func exclusive(t *testing.T, a, b refresher.Store) {
	const each, rounds = 4, 10
	var wg sync.WaitGroup
	var holders, held atomic.Int32
	for _, s := range []refresher.Store{a, b} {
		for range each {
			wg.Go(func() {
				for range rounds {
					unlock, err := s.Lock(t.Context())
					if err != nil {
						t.Errorf("Lock: %v", err)
						return
					}
					if holders.Add(1) != 1 {
						t.Error("two held the lock")
					}
					held.Add(1)
					time.Sleep(time.Microsecond) // somebody else may run
					holders.Add(-1)
					unlock()
				}
			})
		}
	}
	wg.Wait()
	if n := held.Load(); n != 2*each*rounds {
		t.Errorf("the lock was held %d times and not %d", n, 2*each*rounds)
	}
}

func impatient(t *testing.T, a, b refresher.Store) {
	unlock := lock(t, a)
	cause := errors.New("tired of waiting")
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := b.Lock(ctx)
		failed <- err
	}()
	select {
	case err := <-failed:
		t.Fatalf("Lock returned %v while the lock was held", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel(cause)
	select {
	case err := <-failed:
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			t.Errorf("Lock returned %v, and not the cause of its context", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Lock went on waiting after its context had ended")
	}
	unlock()
	unlock() // changes nothing
	second := lock(t, b)
	ended, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer end()
	if other, err := a.Lock(ended); err == nil {
		other()
		t.Error("the second call of unlock has freed a lock that somebody else held")
	}
	second()
}

func lockFree(t *testing.T, a, b refresher.Store) {
	defer lock(t, a)()
	for _, s := range []refresher.Store{a, b} {
		save(t, s, set(1))
		load(t, s)
		clearAll(t, s)
	}
}

func whole(t *testing.T, a, b refresher.Store) {
	const sets = 50
	save(t, a, set(0))
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for n := range sets {
			if err := a.Save(t.Context(), set(n)); err != nil {
				t.Errorf("Save: %v", err)
				return
			}
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		tokens, err := b.Load(t.Context())
		if err != nil {
			t.Errorf("Load during a Save: %v", err)
			break
		}
		n, err := strconv.Atoi(tokens.RetryKey[min(len("retry-"), len(tokens.RetryKey)):])
		want := set(n)
		if tokens.AccessToken == "" {
			want.AccessToken, want.TokenType, want.Expiry = "", "", time.Time{}
		}
		if err != nil || !same(tokens, want) {
			t.Errorf("Load during a Save returned parts of several sets: %v", tokens)
			break
		}
	}
	wg.Wait()
}
