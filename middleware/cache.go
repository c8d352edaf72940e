package middleware

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A cache remembers the tokens that one Middleware verified and found
// acceptable, so that the next request with one costs neither a signature nor
// JSON. It is a table of sets of a few slots each. Readers take no lock. It is
// bounded in bytes, and a forger cannot put anything in it.
//
// What it saves is what depends on the token, the configuration and the keySet
// alone. Time, user key, revocation and the caller's own check are looked at
// again on every hit.
type cache struct {
	most int // in bytes, without the table
	sets int // a power of two
	seed maphash.Seed

	table atomic.Pointer[[]slots] // made when the first token comes

	mu   sync.Mutex // one writer at a time
	used int        // in bytes
	turn int        // which slot of a full set goes next
	hand int        // where the search for something to drop goes on
}

// slots are those of one set.
type slots [8]atomic.Pointer[entry]

// An entry is one token. It is shared and never changes.
type entry struct {
	hash   uint64
	token  string
	keys   KeySource
	set    *keySet // the keys that it was verified with; with others it does not count
	record *record // for copies
	size   int     // an estimate in bytes, not below the truth
}

// The size of an entry of an ordinary token, and of what an entry holds beside
// its strings, in bytes.
const (
	ordinarySize = 2048
	fixedSize    = 768
)

// newCache returns a cache of so many bytes, with its table.
func newCache(size int) *cache {
	sets := max(1, size/ordinarySize*2/len(slots{}))
	sets = 1 << (bits.Len(uint(sets)) - 1)
	return &cache{most: max(0, size-sets*len(slots{})*8), sets: sets, seed: maphash.MakeSeed()}
}

// get returns the entry of token, or nil. The whole token is compared; the hash
// only tells where to look. A nil cache is empty.
func (c *cache) get(token string) *entry {
	if c == nil {
		return nil
	}
	table := c.table.Load()
	if table == nil {
		return nil
	}
	hash := maphash.String(c.seed, token)
	set := &(*table)[hash&uint64(c.sets-1)]
	for i := range set {
		if e := set[i].Load(); e != nil && e.hash == hash && e.token == token {
			return e
		}
	}
	return nil
}

// put remembers that token was verified with the keys of set, and a copy of what
// it says. One that takes more than a sixteenth of the cache is not remembered.
func (c *cache) put(token string, keys KeySource, set *keySet, r *record, now time.Time) {
	if c == nil {
		return
	}
	e := &entry{
		hash: maphash.String(c.seed, token), keys: keys, set: set,
		size: fixedSize + len(token) + 2*len(r.payload) + 16*(len(r.Audience)+len(r.Scopes)+len(r.AMR)),
	}
	if e.size > c.most/16 {
		return
	}
	e.token, e.record = strings.Clone(token), r.copy() // a header's value keeps its whole block in memory
	c.mu.Lock()
	defer c.mu.Unlock()
	table := c.table.Load()
	if table == nil {
		t := make([]slots, c.sets)
		table = &t
		c.table.Store(table)
	}
	c.store(c.slotFor(&(*table)[e.hash&uint64(c.sets-1)], e, now), e)
	for c.used > c.most {
		c.hand = (c.hand + 1) % (c.sets * len(slots{}))
		slot := &(*table)[c.hand/len(slots{})][c.hand%len(slots{})]
		if slot.Load() != e {
			c.store(slot, nil)
		}
	}
}

// slotFor returns the slot of the same token, or else one that is empty or has
// expired, or else the next in turn. The caller holds the lock.
func (c *cache) slotFor(set *slots, e *entry, now time.Time) *atomic.Pointer[entry] {
	var free *atomic.Pointer[entry]
	for i := range set {
		switch old := set[i].Load(); {
		case old == nil || over(now, old.record.ExpiresAt):
			free = &set[i]
		case old.hash == e.hash && old.token == e.token:
			return &set[i]
		}
	}
	if free == nil {
		c.turn++
		free = &set[c.turn%len(set)]
	}
	return free
}

// store replaces what slot holds. The caller holds the lock.
func (c *cache) store(slot *atomic.Pointer[entry], e *entry) {
	if old := slot.Load(); old != nil {
		c.used -= old.size
	}
	if e != nil {
		c.used += e.size
	}
	slot.Store(e)
}

// drop forgets e, which has expired.
func (c *cache) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := &(*c.table.Load())[e.hash&uint64(c.sets-1)]
	for i := range set {
		if set[i].Load() == e {
			c.store(&set[i], nil)
		}
	}
}

// copy returns claims for another request, with lists of their own.
func (r *record) copy() *record {
	c := *r
	c.used = 0
	for _, list := range []*[]string{&c.Audience, &c.Scopes, &c.AMR} {
		if *list != nil {
			*list = c.keep(append(c.room(), *list...))
		}
	}
	return &c
}
