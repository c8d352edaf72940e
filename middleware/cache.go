package middleware

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A cache remembers the tokens that one Middleware verified and found
// acceptable, so that the next request with one costs neither a signature nor
// JSON. It takes a token at its second sight, since many are used only once. It
// is a table of sets of a few slots each. Readers take no lock. It is bounded in
// bytes, and a forger cannot put anything in it.
//
// What it saves is what depends on the token, the configuration and the keySet
// alone. Time, possession, user key, revocation and the caller's own check are looked
// at again on every hit.
type cache struct {
	most int // in bytes, without the table
	sets int // a power of two
	seed maphash.Seed

	making sync.Once
	table  atomic.Pointer[[]set] // made when the first token comes

	mu   sync.Mutex // one writer at a time
	used int        // in bytes
	turn int        // which slot of a full set goes next
	hand int        // where the search for something to drop goes on
}

// ways is the number of slots in a set.
const ways = 8

// A set holds entries whose hashes end alike. A tag is one byte of a slot's hash,
// so that a look at a set touches no entry but the right one. Where a tag and its
// slot do not fit, a reader that comes between two writes finds nothing.
type set struct {
	tags  atomic.Uint64
	once  atomic.Uint64 // 16 bits each of the last four hashes that were seen once
	slots [ways]atomic.Pointer[entry]
}

// An entry is one token. It is shared and never changes.
type entry struct {
	hash        uint64
	token       string
	keys        KeySource
	set         *keySet     // the keys that it was verified with; with others it does not count
	record      *record     // packed
	statusList  *StatusList // of the issuer; with another one it does not count
	from, until time.Time   // between these, judgeTime accepts it
	size        int         // an estimate in bytes, not below the truth
}

// The size of an entry of an ordinary token, of what an entry holds beside its
// strings, of the claims for all handlers, and of a slot with its part of the
// table, in bytes.
const (
	ordinarySize = 2048
	fixedSize    = 768
	sharedSize   = 512
	slotSize     = 8 + 16/ways
)

// newCache returns a cache of so many bytes, with its table.
func newCache(size int) *cache {
	sets := max(1, size/ordinarySize*2/ways)
	sets = 1 << (bits.Len(uint(sets)) - 1)
	return &cache{most: max(0, size-sets*ways*slotSize), sets: sets, seed: maphash.MakeSeed()}
}

// tag returns the byte of a hash that is its tag, in all eight places of a word.
func tag(hash uint64) uint64 { return (hash >> 56) * 0x0101010101010101 }

// hash returns the hash of token: of its end, where the signature is, which is as
// good as random. A nil cache has none.
func (c *cache) hash(token string) uint64 {
	if c == nil {
		return 0
	}
	return maphash.String(c.seed, token[max(0, len(token)-32):])
}

// get returns the entry of token, or nil. The whole token is compared; the hash
// only tells where to look. A nil cache is empty.
func (c *cache) get(hash uint64, token string) *entry {
	if c == nil {
		return nil
	}
	t := c.table.Load()
	if t == nil {
		return nil
	}
	s := &(*t)[hash&uint64(c.sets-1)]
	// A byte of differ is 0 where the tag is ours. The lowest bit that is set in
	// zeros is that of the first such byte, and further ones may be false alarms.
	differ := s.tags.Load() ^ tag(hash)
	zeros := (differ - 0x0101010101010101) &^ differ & 0x8080808080808080
	for ; zeros != 0; zeros &= zeros - 1 {
		if e := s.slots[bits.TrailingZeros64(zeros)/8].Load(); e != nil && e.hash == hash && e.token == token {
			return e
		}
	}
	return nil
}

// wants reports whether a token of this hash was seen before, and remembers that
// it was now. It is mistaken now and then, which costs a little time.
func (c *cache) wants(hash uint64) bool {
	if c == nil {
		return false
	}
	s := &c.made()[hash&uint64(c.sets-1)]
	once, part := s.once.Load(), hash>>48
	for w := once; w != 0; w >>= 16 {
		if w&0xffff == part {
			return true
		}
	}
	s.once.Store(once<<16 | part)
	return false
}

// made returns the table.
func (c *cache) made() []set {
	c.making.Do(func() {
		t := make([]set, c.sets)
		c.table.Store(&t)
	})
	return *c.table.Load()
}

// put remembers e, of which the size is set here, and the token is copied. One that
// takes more than a sixteenth of the cache is not remembered.
func (c *cache) put(e *entry, now time.Time) {
	r := e.record
	e.size = fixedSize + len(e.token) + 2*len(r.payload) + 16*(len(r.Audience)+len(r.Scopes)+len(r.AMR))
	if r.seldom().shared != nil {
		e.size += sharedSize
	}
	if e.size > c.most/16 {
		return
	}
	e.token = strings.Clone(e.token) // a header's value keeps its whole block in memory
	t := c.made()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &t[e.hash&uint64(c.sets-1)]
	c.store(s, c.slotFor(s, e, now), e)
	for c.used > c.most {
		c.hand = (c.hand + 1) % (c.sets * ways)
		if s, i := &t[c.hand/ways], c.hand%ways; s.slots[i].Load() != e {
			c.store(s, i, nil)
		}
	}
}

// slotFor returns the slot of the same token, or else one that is empty or has
// expired, or else the next in turn. The caller holds the lock.
func (c *cache) slotFor(s *set, e *entry, now time.Time) int {
	free := -1
	for i := range s.slots {
		switch old := s.slots[i].Load(); {
		case old == nil || over(now, old.record.ExpiresAt):
			free = i
		case old.hash == e.hash && old.token == e.token:
			return i
		}
	}
	if free < 0 {
		c.turn++
		free = c.turn % ways
	}
	return free
}

// store replaces what slot i of s holds. The caller holds the lock.
func (c *cache) store(s *set, i int, e *entry) {
	if old := s.slots[i].Load(); old != nil {
		c.used -= old.size
	}
	if e != nil {
		c.used += e.size
		place := uint64(0xff) << (8 * i)
		s.tags.Store(s.tags.Load()&^place | tag(e.hash)&place)
	}
	s.slots[i].Store(e)
}

// drop forgets e, which has expired.
func (c *cache) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.made()[e.hash&uint64(c.sets-1)]
	for i := range s.slots {
		if s.slots[i].Load() == e {
			c.store(s, i, nil)
		}
	}
}

// packed returns a copy of r for the cache, with its lists in the order in which
// copy finds them, and with claims for all handlers where they share them.
func (r *record) packed(share bool) *record {
	p := *r
	p.context, p.remembered = authContext{}, true
	all := slices.Concat(r.Audience, r.Scopes, r.AMR)
	copy(p.lists[:], all)
	p.used = int32(len(all))
	kept := p.copy()
	if share {
		seldom := *r.seldom()
		seldom.shared = &p.copy().Claims
		kept.rare = &seldom
	}
	return kept
}

// copy returns claims for another request, with lists of their own. r is packed.
func (r *record) copy() *record {
	c := *r
	if int(r.used) > len(r.lists) {
		c.Audience, c.Scopes, c.AMR = slices.Clone(r.Audience), slices.Clone(r.Scopes), slices.Clone(r.AMR)
		return &c
	}
	i := len(r.Audience)
	j := i + len(r.Scopes)
	if i > 0 {
		c.Audience = c.lists[:i:i]
	}
	if j > i {
		c.Scopes = c.lists[i:j:j]
	}
	if n := int(r.used); n > j {
		c.AMR = c.lists[j:n:n]
	}
	return &c
}
