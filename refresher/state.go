package refresher

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

type status int

const (
	unloaded  status = iota // the store was not read yet
	anonymous               // there never was a session
	active
	loggedOut // by Logout
	expired   // the server ended the session
)

// A state is one immutable snapshot of everything that a request needs to know.
// It is replaced as a whole; who holds one may read it without a lock.
type state struct {
	status  status
	session *session
	gen     *generation
	tokens  Tokens
	header  []string // the ready-made value of Authorization; nil without an access token

	tokenHash string // for proofs; empty unless the access token is bound to the key

	refreshAt time.Time // from then on the token is refreshed; zero without one
	expiresAt time.Time // from then on it is not sent; never before refreshAt

	lookAt time.Time // from then on a request does more than send the token; set by publish

	failure *failure // of the last flight; nil once tokens have come
	unsaved *unsaved // the store could not take these tokens; nil if it has them
}

// A session lasts from one login to the next, or to a logout. Its epoch grows
// with each.
type session struct {
	epoch    uint64
	identity Identity // as the caller named it; may be zero

	// revokes: whatever the session before this one still receives is revoked
	// at the server.
	revokes bool

	failures atomic.Int32 // consecutive generations that failed
}

func newSession(epoch uint64, id Identity) *session {
	return &session{epoch: epoch, identity: id}
}

// blank returns the snapshot of a session that nobody has begun: there is none,
// unless the source needs nobody for it.
func (t *Transport) blank(sess *session) *state {
	st := &state{status: anonymous, session: sess, gen: &generation{number: 1}} // 0 is that of a store that was not read
	if t.unattended {
		st.status = active
	}
	return st
}

// A generation is one set of tokens of a session, and what became of it.
type generation struct {
	number  uint64
	refusal bool // it was got because its predecessor had been refused

	flight   atomic.Pointer[flight] // the refresh that will replace it; nil before there was one
	reported atomic.Bool            // its refusal was reported
	proved   atomic.Bool            // an answer came that was no refusal
	latched  atomic.Bool            // a refusal of it does not start a refresh any more
}

// futile reports whether the generation was refused although it is as new as
// can be: its predecessor had been refused, and it was never accepted. From then
// on no refusal of it starts a refresh, until it has expired or a new session
// has begun: a server that refuses everything costs one refresh, not one for
// each request.
func (g *generation) futile() bool {
	if g.refusal && !g.proved.Load() {
		g.latched.Store(true)
	}
	return g.latched.Load()
}

// whose returns the user of the session, as far as it is known, for events.
func (s *state) whose() string {
	if !s.session.identity.isZero() {
		return s.session.identity.String()
	}
	_, owner, _ := strings.Cut(s.tokens.Owner, ":")
	return owner
}

// key names the generation for singleflight.
func (s *state) key() string {
	return strconv.FormatUint(s.session.epoch, 10) + "/" + strconv.FormatUint(s.gen.number, 10)
}

// usable reports whether there is an access token that has not expired.
func (s *state) usable(now time.Time) bool {
	return s.status == active && s.header != nil && now.Before(s.expiresAt)
}

// blocked returns why no refresh may start at now, or nil.
func (s *state) blocked(now time.Time, maxFailures int32) *jwterrors.Error {
	switch {
	case s.status == loggedOut || s.status == expired:
		return s.over()
	case s.status == active && s.session.failures.Load() >= maxFailures:
		e := &jwterrors.Error{Reason: jwterrors.Paused, Err: errTooManyFailures, Time: now}
		if s.failure != nil {
			e.Err = s.failure.err
		}
		return e
	case s.failure != nil && s.failure.pause.left(now) > 0:
		return s.failure.refuse(now)
	}
	return nil
}

// over returns the error of a request after the end of the session.
func (s *state) over() *jwterrors.Error {
	e := &jwterrors.Error{Reason: jwterrors.LoggedOut}
	if s.failure != nil {
		e.Err = s.failure.err
	}
	return e
}

// never is later than every token expires.
var never = time.Unix(1<<40, 0)

// times returns when a token that was received at from and expires at expiry
// is refreshed, and when it is no longer sent. Both come before expiry, by no
// more than a half and a quarter of its lifetime, so that short-lived tokens
// are used at all.
func (t *Transport) times(from, expiry time.Time) (refreshAt, expiresAt time.Time) {
	if expiry.IsZero() {
		return never, never
	}
	life := max(expiry.Sub(from), 0)
	window := min(t.window, life/2)
	if !t.noJitter {
		window -= t.random(window / 10)
	}
	expiresAt = expiry.Add(-min(t.skew, life/4))
	refreshAt = expiry.Add(-window)
	if refreshAt.After(expiresAt) {
		refreshAt = expiresAt
	}
	return refreshAt, expiresAt
}

// publish puts next in the place of old and reports whether old was still
// there. Whoever waits for the generation to be replaced is released.
func (t *Transport) publish(old, next *state) bool {
	next.lookAt = next.refreshAt
	if u := next.unsaved; u != nil && !u.next.IsZero() && u.next.Before(next.lookAt) {
		next.lookAt = u.next
	}
	if !t.state.CompareAndSwap(old, next) {
		return false
	}
	if old.gen != next.gen {
		if out := old.tokens.outcome; out != nil { // whoever still wants to know does not learn more
			if old.session != next.session {
				out.tell(&t.events, jwterrors.LoggedOut)
			} else if !old.usable(t.now()) {
				out.tell(&t.events, jwterrors.TokenExpired)
			}
		}
		if f := old.gen.flight.Load(); f != nil {
			f.finish(nil)
			f.abandon()
		}
	}
	return true
}
