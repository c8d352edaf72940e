package refresher

import (
	"errors"
	"math/rand/v2"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Backoff is how the waits between the attempts of one refresh grow.
type Backoff string

// With an interval i, Exponential waits i, 2i, 4i, 8i, 16i, and Linear waits
// i, 2i, 3i, 4i, 5i.
const (
	Exponential Backoff = "EXPONENTIAL"
	Linear      Backoff = "LINEAR"
)

// step returns the wait after attempt n, counted from 0.
func (t *Transport) step(n int) time.Duration {
	wait := t.retryInterval
	for i := 0; i < n && wait < t.maxRetryInterval; i++ {
		if t.backoff == Linear {
			wait += t.retryInterval
		} else {
			wait *= 2
		}
	}
	return min(wait, t.maxRetryInterval)
}

// wait returns how long to wait after attempt n, which failed with e: the step
// of the backoff, or what the server asked for if that is longer, within the
// limit. Jitter makes it longer by up to a quarter and never shorter.
func (t *Transport) wait(n int, e *jwterrors.Error) time.Duration {
	wait := max(t.step(n), min(e.RetryAfter, t.maxRetryInterval))
	if !t.noJitter {
		wait += t.random(wait / 4)
	}
	return wait
}

// random returns a duration from 0 to limit.
func (t *Transport) random(limit time.Duration) time.Duration {
	return rand.N(limit + 1)
}

// A class says what a failed refresh means for the session.
type class int

const (
	transient class = iota // try again: the session is as it was
	operator               // a person must mend something: the session is as it was, and refreshing pauses
	verdict                // the server ended the session
)

// A failure is a refresh that brought no token.
type failure struct {
	class class
	err   *jwterrors.Error
	pause delay // no other refresh of this generation starts before it is over
}

// A delay lasts for a time, by the wall clock: the monotonic one stands still
// while a machine sleeps. When the clock was set back, it is over.
type delay struct {
	since time.Time
	wait  time.Duration
}

// left returns how much of d is left at now.
func (d delay) left(now time.Time) time.Duration {
	passed := now.Round(0).Sub(d.since)
	if passed < 0 {
		return 0
	}
	return max(d.wait-passed, 0)
}

// pauseAfter returns the delay after attempt n, counted from 0, that failed with
// e.
func (t *Transport) pauseAfter(n int, e *jwterrors.Error) delay {
	wait := t.wait(n, e)
	if classOf(e) == operator {
		wait = max(wait, t.pause)
	}
	return delay{t.now(), wait}
}

var (
	errTooManyFailures = errors.New("refresher: too many token sets in a row were refused")
	errClosed          = errors.New("refresher: the Transport is closed")
	errPanicked        = errors.New("refresher: a panic or Goexit in the token source or the store")
	errOvertaken       = errors.New("refresher: overtaken by a later login or logout")
	errForeignStore    = errors.New("refresher: the store holds the tokens of another user")
	errStoreEmptied    = errors.New("refresher: the tokens are gone from the store: the session was ended elsewhere")
)

// classOf lets the catalogue decide: what a login cures ends the session, what
// nothing cures is for the operator, and the rest is tried again.
func classOf(e *jwterrors.Error) class {
	switch {
	case e.Reason == jwterrors.TokenNull: // the source may do better next time
		return transient
	case e.Reason.Action() == jwterrors.ActionLogin:
		return verdict
	case e.Reason.Action() == jwterrors.ActionNone:
		return operator
	}
	return transient
}

// counts reports whether f says that the tokens are no good, rather than that
// none could be had: an outage, however long, does not end a session.
func (f *failure) counts() bool {
	return f.class == operator || f.class == transient && f.err.Reason.Action() != jwterrors.ActionRetry
}

// refuse returns the error of a request that comes during the pause.
func (f *failure) refuse(now time.Time) *jwterrors.Error {
	e := &jwterrors.Error{
		Reason: jwterrors.RefreshUnavailable, Err: f.err,
		Identity: f.err.Identity, Time: now, RetryAfter: f.pause.left(now),
	}
	if f.class == operator {
		e.Reason = jwterrors.Paused
	}
	return e
}
