package middleware

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// DenylistOptions are the options of [NewDenylist]. The zero value is ready to
// use.
type DenylistOptions struct {
	// MaxEntries limits the number of entries. Zero means 1,000,000, which take
	// about 67 MB when all are used, and half as much again while the list grows.
	MaxEntries int

	// MaxAge is for a list that is a mirror of another one, which a feed keeps
	// in step and tells so with [Denylist.Synced]. It is how long ago the last
	// time may be. When that is longer ago, and before the first time, it is
	// not known who was denied elsewhere, and Revoked fails. Zero means that the
	// list is not a mirror, and less that no time is recent enough.
	MaxAge time.Duration

	// InsecurePassWhenStale makes a mirror beyond its MaxAge answer from what it
	// has: tokens that were denied elsewhere in the meantime are accepted.
	InsecurePassWhenStale bool

	// Now returns the time. Nil means time.Now.
	Now func() time.Time
}

const defaultMaxEntries = 1_000_000

// A Denylist is a set of Revocations in the memory of one process: what is
// denied here is not known elsewhere, and not after a restart. An entry lives
// until the last token that it concerns has expired, and five minutes more,
// which is the most that a Middleware's Leeway can be.
//
// With MaxAge it is a mirror: what is denied elsewhere comes in by a feed, which
// calls DenySession and the others and then Synced, and the requests ask nobody
// but the memory.
//
// The zero value is ready to use, and is not a mirror. A Denylist is safe for
// concurrent use.
type Denylist struct {
	options DenylistOptions

	sessions, tokens, subjects denials

	synced atomic.Pointer[time.Time] // nil before the first time
	mu     sync.Mutex                // one writer at a time
	swept  time.Time                 // when a full list was last searched for what has expired
}

// NewDenylist returns an empty Denylist.
func NewDenylist(options DenylistOptions) *Denylist {
	return &Denylist{options: options}
}

// DenySession denies all tokens of the session sid ("sid") until the given time,
// when the last of them will have expired. A list that is full says so with an
// error of the reason AUTH_STORE_UNAVAILABLE; nothing was denied then. An empty sid is
// an error, and a time more than 5 minutes ago denies nothing, since what it would
// concern has expired.
func (d *Denylist) DenySession(ctx context.Context, sid string, until time.Time) error {
	return d.deny(&d.sessions, sid, time.Time{}, until)
}

// DenyToken denies the token jti ("jti") until the given time, when it will have
// expired. Its errors are those of DenySession.
func (d *Denylist) DenyToken(ctx context.Context, jti string, until time.Time) error {
	return d.deny(&d.tokens, jti, time.Time{}, until)
}

// DenySubject denies all tokens of the subject ("sub") whose "iat" is before
// issuedBefore, until the given time, when the last of them will have expired.
// Since "iat" has whole seconds, a token that is issued in the same second as
// issuedBefore counts as issued before, unless issuedBefore is a whole second.
// Its errors are those of DenySession.
func (d *Denylist) DenySubject(ctx context.Context, subject string, issuedBefore, until time.Time) error {
	return d.deny(&d.subjects, subject, issuedBefore, until)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// maxLeeway is the longest time that a token can be accepted after its "exp".
const maxLeeway = 5 * time.Minute

func (d *Denylist) deny(kind *denials, id string, issuedBefore, until time.Time) error {
	if id == "" {
		return errors.New("middleware: deny: the identifier is empty")
	}
	now := d.now()
	if over(now, until) {
		return nil // what it would concern has expired
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	most := d.options.MaxEntries
	if most <= 0 {
		most = defaultMaxEntries
	}
	if d.size() >= most && now.Sub(d.swept) >= time.Second {
		d.swept = now
		for _, kind := range []*denials{&d.sessions, &d.tokens, &d.subjects} {
			kind.sweep(nanos(now))
		}
	}
	if n := d.size(); n >= most {
		return &jwterrors.Error{
			Reason: jwterrors.StoreUnavailable,
			Err:    fmt.Errorf("middleware: the denylist is full, with %d entries", n),
		}
	}
	kind.add(id, nanos(issuedBefore), nanos(until.Add(maxLeeway)), nanos(now))
	return nil
}

func (d *Denylist) now() time.Time {
	if d.options.Now != nil {
		return d.options.Now()
	}
	return time.Now()
}

// size returns the number of entries. The caller holds the lock.
func (d *Denylist) size() int { return d.sessions.size() + d.tokens.size() + d.subjects.size() }

func over(now, until time.Time) bool { return !now.Before(until.Add(maxLeeway)) }

// Synced tells that the list had everything at the given time that its origin
// had. A time before the last one changes nothing, and one that is yet to come
// counts as now.
func (d *Denylist) Synced(at time.Time) {
	if now := d.now(); at.After(now) {
		at = now // of a clock that is wrong
	}
	for {
		last := d.synced.Load()
		if last != nil && !at.After(*last) || d.synced.CompareAndSwap(last, &at) {
			return
		}
	}
}

// Age returns how long ago the list was in step with its origin, and whether it
// ever was.
func (d *Denylist) Age() (time.Duration, bool) {
	last := d.synced.Load()
	if last == nil {
		return 0, false
	}
	return max(0, d.now().Sub(*last)), true
}

// stale returns why the list cannot tell who was denied elsewhere.
func (d *Denylist) stale() error {
	age, ok := d.Age()
	switch {
	case !ok:
		return &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: errors.New("middleware: the denylist was never in step with its origin")}
	case age > d.options.MaxAge:
		return &jwterrors.Error{
			Reason: jwterrors.StoreUnavailable,
			Err:    fmt.Errorf("middleware: the denylist was in step with its origin %v ago, which is more than %v", age, d.options.MaxAge),
		}
	}
	return nil
}

// Revoked implements [Revocations]. It fails for a mirror beyond its MaxAge, with
// the reason AUTH_STORE_UNAVAILABLE, unless InsecurePassWhenStale is set, and
// never otherwise.
func (d *Denylist) Revoked(ctx context.Context, sid, jti, subject string, issuedAt time.Time) (bool, error) {
	if d.options.MaxAge != 0 && !d.options.InsecurePassWhenStale {
		if err := d.stale(); err != nil {
			return false, err
		}
	}
	session, token, user := d.sessions.of(sid), d.tokens.of(jti), d.subjects.of(subject)
	if session == nil && token == nil && user == nil {
		return false, nil
	}
	now := nanos(d.now())
	return session != nil && session.until.Load() > now ||
		token != nil && token.until.Load() > now ||
		user != nil && nanos(issuedAt) < user.issuedBefore.Load() && user.until.Load() > now, nil
}
