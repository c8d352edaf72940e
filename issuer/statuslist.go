package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// StatusListConfig describes a StatusList. The zero value is ready to use, for an
// issuer of one process.
type StatusListConfig struct {
	// Size is the number of entries: a power of two from 65,536 to 16,777,216.
	// Zero means 1,048,576. A change of it takes the tokens of before out of the
	// list, so that those which were revoked are refused no more. The package
	// documentation says what it costs and how often two tokens meet.
	Size int

	// TTL is for how long a verifier may use the list before it asks for a newer
	// one ("ttl"), in whole seconds, and so about the longest that a revoked token
	// is still accepted; a cache between them may add as much. Zero means 30 seconds.
	TTL time.Duration

	// Lifetime is for how long a list counts after it was signed ("exp"), in whole
	// seconds, twice TTL at least and a day at most: so long verifiers go on when
	// the issuer does not answer. Zero means 15 minutes.
	Lifetime time.Duration

	// MaxAge is for a list that a feed keeps in step and tells so with Synced. It is
	// how long ago the last time may be. Before the first time, and when it is longer
	// ago, the list is answered with StoreUnavailable, and verifiers keep the one
	// that they have. Zero means that the list knows all by itself.
	MaxAge time.Duration

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// A StatusList is a list of denied access tokens for verifiers elsewhere, which
// have no part in a Feed: a Token Status List (draft-ietf-oauth-status-list). It
// is the StatusList of a [Config], whose Issuer lets each access token name its
// entry, tells the list what it denies, and publishes the list. It keeps what it was
// told in memory, until five minutes after it is over.
//
// Where several processes issue tokens, or where a restart must not forget, the list
// is the Mirror of a Feed too, with a MaxAge.
//
// Entries are not allotted but derived, so that nothing is stored with a session: the
// hash of its ID (of a token's, where it has no session) names four of them. A token
// gets one of the four that nobody else has set, and a denial sets all four. See the
// package documentation. It is safe for concurrent use.
type StatusList struct {
	size          uint32
	ttl, lifetime time.Duration
	maxAge        time.Duration
	now           func() time.Time

	mu      sync.Mutex
	denied  map[uint32]int64 // entries, and until when each is set, in Unix seconds
	version uint64           // counts what was set
	synced  time.Time        // zero before the first time
	swept   time.Time        // when the last sweep was
	sweepAt int              // the number of entries that is worth another one
}

var _ Mirror = (*StatusList)(nil)

const (
	leastEntries   = 1 << 16
	mostEntries    = 1 << 24
	defaultEntries = 1 << 20
)

// fullAt is the part of the entries that can be set. A token of which all four are
// taken would be refused wherever its list is read.
const fullAt = 4

// NewStatusList returns an empty list, or all the mistakes in c at once.
func NewStatusList(c StatusListConfig) (*StatusList, error) {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("issuer: StatusListConfig."+format, args...))
	}
	c.Size = orDefault(c.Size, defaultEntries)
	c.TTL = orDefault(c.TTL, 30*time.Second)
	c.Lifetime = orDefault(c.Lifetime, 15*time.Minute)
	if c.Size < leastEntries || c.Size > mostEntries || c.Size&(c.Size-1) != 0 {
		wrong("Size is %d; it is a power of two from %d to %d", c.Size, leastEntries, mostEntries)
	}
	if c.TTL < time.Second || c.TTL%time.Second != 0 {
		wrong("TTL is %v; it is a whole number of seconds", c.TTL)
	}
	if c.Lifetime < 2*c.TTL || c.Lifetime > 24*time.Hour || c.Lifetime%time.Second != 0 {
		wrong("Lifetime is %v; it is whole seconds, twice TTL, %v, at least and a day at most", c.Lifetime, c.TTL)
	}
	if c.MaxAge < 0 {
		wrong("MaxAge is negative: %v", c.MaxAge)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return &StatusList{
		size: uint32(c.Size), ttl: c.TTL, lifetime: c.Lifetime, maxAge: c.MaxAge, now: c.Now, denied: map[uint32]int64{}, sweepAt: leastSweep,
	}, nil
}

// What an entry is derived from.
const (
	bySession = "sid"
	byToken   = "jti"
)

// each is how many entries an ID can have.
const each = 4

// entries returns the entries that an ID can have.
func (l *StatusList) entries(kind, id string) (all [each]uint32) {
	sum := sha256.Sum256([]byte(kind + "\x00" + id))
	for n := range all {
		all[n] = binary.BigEndian.Uint32(sum[4*n:]) & (l.size - 1)
	}
	return all
}

// entry returns the entry for a new token: the first of the four that is not set, by
// any list that may still count somewhere.
func (l *StatusList) entry(kind, id string) uint32 {
	all, now := l.entries(kind, id), l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range all {
		if !l.remembers(l.denied[n], now) {
			return n
		}
	}
	return all[0]
}

// remembers reports whether a list that was signed before an entry ended, at the
// time given, may still count.
func (l *StatusList) remembers(until int64, now time.Time) bool {
	return now.Unix() <= until+int64(l.lifetime/time.Second)
}

// DenySession sets the entries of a session until then. A list of which a quarter
// is set is full: it says so with an error of the reason StoreUnavailable, and
// nothing was set then.
func (l *StatusList) DenySession(_ context.Context, sid string, until time.Time) error {
	return l.deny(bySession, sid, until)
}

// DenyToken sets the entries of a token that has no session until then, as
// DenySession does. A token of a session has the entry of its session: denied by
// its own ID it stays accepted by those who read the list.
func (l *StatusList) DenyToken(_ context.Context, jti string, until time.Time) error {
	return l.deny(byToken, jti, until)
}

// DenySubject sets nothing, since no entry is derived from a subject. What
// [Issuer.RevokeSubject] denies is in the list nevertheless: it denies each session
// of the user.
func (l *StatusList) DenySubject(context.Context, string, time.Time, time.Time) error { return nil }

func (l *StatusList) deny(kind, id string, until time.Time) error {
	if id == "" {
		return errors.New("issuer: deny in the status list: the identifier is empty")
	}
	now := l.now()
	end := until.Add(leewayOfVerifiers)
	if !now.Before(end) {
		return nil
	}
	all := l.entries(kind, id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.denied) >= l.sweepAt && now.Sub(l.swept) >= time.Second {
		l.sweep(now)
	}
	if n := len(l.denied); n+each > int(l.size/fullAt) {
		return &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: fmt.Errorf("issuer: the status list is full, with %d entries set", n)}
	}
	for _, n := range all {
		before := l.denied[n]
		l.denied[n] = max(before, end.Unix()+1)
		if before <= now.Unix() {
			l.version++
		}
	}
	return nil
}

// sweep forgets the entries that no list has any more. The caller holds the lock.
func (l *StatusList) sweep(now time.Time) {
	for n, until := range l.denied {
		if !l.remembers(until, now) {
			delete(l.denied, n)
		}
	}
	l.swept, l.sweepAt = now, min(2*len(l.denied)+leastSweep, int(l.size/fullAt)-each)
}

// leastSweep is the number of entries below which it is not worth to look for those
// that are over.
const leastSweep = 4096

// Synced tells that the list had everything at the given time that its origin had.
// A time before the last one changes nothing, and one that is yet to come counts as
// now.
func (l *StatusList) Synced(at time.Time) {
	if now := l.now(); at.After(now) {
		at = now // of a clock that is wrong
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.synced) {
		l.synced = at
	}
}

// inStep returns why the list cannot tell who was denied elsewhere.
func (l *StatusList) inStep(now time.Time) error {
	if l.maxAge == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.synced) > l.maxAge {
		return storeFailed("publish the status list", errors.New("it is not in step with its origin"))
	}
	return nil
}

// bits returns the entries as the list has them now, a bit each (Section 4.1 of the
// draft), and their version.
func (l *StatusList) bits(now time.Time) (bits []byte, version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bits = make([]byte, l.size/8)
	for n, until := range l.denied {
		if now.Unix() < until {
			bits[n/8] |= 1 << (n % 8)
		}
	}
	return bits, l.version
}

// changes returns the version of the entries.
func (l *StatusList) changes() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.version
}
