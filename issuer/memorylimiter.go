package issuer

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

// defaultLimiterEntries is the number of keys that a MemoryLimiter remembers.
const defaultLimiterEntries = 1 << 16

// Every bucket has so many places, and so many mutexes share the buckets.
const (
	places  = 8
	mutexes = 64
)

// A MemoryLimiterConfig describes a MemoryLimiter.
type MemoryLimiterConfig struct {
	// Entries is how many keys are remembered, of 16 bytes each: 1024 to
	// 16777216, and rounded up to a power of two. Zero means 65536, 1 MiB.
	Entries int

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// A MemoryLimiter is a Limiter in the memory of one process. It keeps one
// timestamp for each key: when its budget will be whole again (the generic cell
// rate algorithm, GCRA). It is safe for concurrent use; make one with
// NewMemoryLimiter.
//
// Its memory is a table of fixed size. A key has one of 8 places, in a bucket that
// nobody can foresee. When all 8 are taken by budgets that are not whole, the one
// that is nearest to being whole is forgotten, and is whole from then on. So who
// wants his own budget forgotten must spend those of 8 other keys as far, in a
// bucket that he does not know, each by attempts that are limited in turn; and a
// flood of fresh keys pushes out fresh keys.
type MemoryLimiter struct {
	now     func() time.Time
	seed    maphash.Seed
	buckets []bucket
	mu      [mutexes]sync.Mutex // mu[n%mutexes] is for buckets[n]
}

// A place holds a key by its hash, and when its budget is whole, in nanoseconds
// since 1970. A place whose time has come is free.
type place struct {
	hash  uint64
	whole int64
}

type bucket [places]place

// NewMemoryLimiter checks c and returns its limiter, or what is wrong with c.
func NewMemoryLimiter(c MemoryLimiterConfig) (*MemoryLimiter, error) {
	c.Entries = orDefault(c.Entries, defaultLimiterEntries)
	if c.Entries < 1024 || c.Entries > 1<<24 {
		return nil, fmt.Errorf("issuer: a limiter of %d entries; it has 1024 to %d", c.Entries, 1<<24)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	n := 1024 / places
	for n*places < c.Entries {
		n *= 2
	}
	return &MemoryLimiter{now: c.Now, seed: maphash.MakeSeed(), buckets: make([]bucket, n)}, nil
}

// Take implements Limiter. Its only error is that of a Budget that is none.
func (m *MemoryLimiter) Take(_ context.Context, key string, b Budget) (time.Duration, error) {
	if err := b.check(); err != nil {
		return 0, fmt.Errorf("issuer: %w", err)
	}
	hash := maphash.String(m.seed, key)
	all := int64(b.Attempts) * int64(b.Every)
	mu := &m.mu[hash%mutexes]
	mu.Lock()
	defer mu.Unlock()
	now := m.now().UnixNano()
	at := m.bucket(hash).find(hash, now)
	// A clock that was set back must not lock anybody for longer than all.
	whole := min(at.whole, now+all)
	if at.hash != hash {
		whole = now
	}
	whole = max(whole, now) + int64(b.Every)
	if wait := whole - now - all; wait > 0 { // so the place is the key's
		at.whole = min(at.whole, now+all)
		return time.Duration(wait), nil
	}
	at.hash, at.whole = hash, whole
	return 0, nil
}

// Give implements Limiter. Its only error is that of a Budget that is none.
func (m *MemoryLimiter) Give(_ context.Context, key string, n int, b Budget) error {
	if err := b.check(); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	hash := maphash.String(m.seed, key)
	mu := &m.mu[hash%mutexes]
	mu.Lock()
	defer mu.Unlock()
	now := m.now().UnixNano()
	if at := m.bucket(hash).find(hash, now); at.hash == hash && at.whole > now {
		at.whole -= int64(max(min(n, b.Attempts), 0)) * int64(b.Every)
	}
	return nil
}

func (m *MemoryLimiter) bucket(hash uint64) *bucket {
	return &m.buckets[hash&uint64(len(m.buckets)-1)]
}

// find returns the place of hash, or else the one to put it in: a free one, or the
// one that is free the soonest.
func (b *bucket) find(hash uint64, now int64) *place {
	best := &b[0]
	for n := range b {
		switch at := &b[n]; {
		case at.hash == hash && at.whole > now:
			return at
		case at.whole < best.whole:
			best = at
		}
	}
	return best
}
