package middleware

import (
	"hash/maphash"
	"math"
	"sync/atomic"
	"time"
)

// denials are the entries of one kind, found by a hash of 128 bits of their
// identifiers: with a million of them, among a billion others none is mistaken for
// one with a probability that is worth a thought. There are no pointers in them,
// so that the collector passes over a long list. Readers take no lock. There is
// one writer at a time. The zero value is empty.
type denials struct {
	table atomic.Pointer[denialTable] // nil for none
}

// A denialTable is never emptied: what has expired is left behind when its entries
// move to another one.
type denialTable struct {
	first, second maphash.Seed
	slots         []denial // a power of two, of which half is used at most
	used          int      // for writers
}

// A denial is a slot. Its hash is written last and never changes, and its times
// only grow.
type denial struct {
	hash, more          atomic.Uint64 // hash is 0 where the slot is empty
	until, issuedBefore atomic.Int64  // in nanoseconds since 1970, see nanos
}

// leastSlots is the size of the smallest table.
const leastSlots = 64

// of returns the entry of id, or nil.
func (d *denials) of(id string) *denial {
	t := d.table.Load()
	if t == nil || id == "" {
		return nil
	}
	if s, found := t.find(id); found {
		return s
	}
	return nil
}

// size returns the number of entries, for writers.
func (d *denials) size() int {
	if t := d.table.Load(); t != nil {
		return t.used
	}
	return 0
}

// find returns the slot of id, or the one in its place that was empty. A reader must
// not look at that again: by then it may be somebody else's.
func (t *denialTable) find(id string) (s *denial, found bool) {
	hash := maphash.String(t.first, id) | 1
	for i := hash >> 32; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		switch h := s.hash.Load(); {
		case h == 0:
			return s, false
		case h == hash && s.more.Load() == maphash.String(t.second, id):
			return s, true
		}
	}
}

// add denies id until then, and longer if it was denied for longer. It is for
// writers.
func (d *denials) add(id string, issuedBefore, until, now int64) {
	t := d.table.Load()
	if t == nil {
		t = &denialTable{first: maphash.MakeSeed(), second: maphash.MakeSeed(), slots: make([]denial, leastSlots)}
		d.table.Store(t)
	}
	s, found := t.find(id)
	if found {
		s.until.Store(max(until, s.until.Load()))
		s.issuedBefore.Store(max(issuedBefore, s.issuedBefore.Load()))
		return
	}
	if 2*(t.used+1) > len(t.slots) {
		d.sweep(now)
		t = d.table.Load()
		s, _ = t.find(id)
	}
	s.fill(maphash.String(t.first, id)|1, maphash.String(t.second, id), issuedBefore, until)
	t.used++
}

func (s *denial) fill(hash, more uint64, issuedBefore, until int64) {
	s.more.Store(more)
	s.until.Store(until)
	s.issuedBefore.Store(issuedBefore)
	s.hash.Store(hash)
}

// sweep moves what has not expired to a table that it fills to a third or less. It
// is for writers.
func (d *denials) sweep(now int64) {
	old := d.table.Load()
	if old == nil {
		return
	}
	live := 0
	for i := range old.slots {
		if s := &old.slots[i]; s.hash.Load() != 0 && s.until.Load() > now {
			live++
		}
	}
	size := leastSlots
	for size < 3*(live+1) {
		size *= 2
	}
	next := &denialTable{first: old.first, second: old.second, slots: make([]denial, size), used: live}
	for i := range old.slots {
		if s := &old.slots[i]; s.hash.Load() != 0 && s.until.Load() > now {
			hash := s.hash.Load()
			j := hash >> 32
			for next.slots[j&uint64(size-1)].hash.Load() != 0 {
				j++
			}
			next.slots[j&uint64(size-1)].fill(hash, s.more.Load(), s.issuedBefore.Load(), s.until.Load())
		}
	}
	d.table.Store(next)
}

// nanos returns t in nanoseconds since 1970, or the closest that there is.
func nanos(t time.Time) int64 {
	switch year := t.Year(); {
	case year > 2261:
		return math.MaxInt64
	case year < 1679:
		return math.MinInt64
	default:
		return t.UnixNano()
	}
}
