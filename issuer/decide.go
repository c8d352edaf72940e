package issuer

import (
	"crypto/hmac"
	"time"
)

// A verdict is what a genuine refresh token means for a live session.
type verdict string

const (
	young      verdict = "young"      // the current token, of a moment ago: answer it again
	rotate     verdict = "rotate"     // the current token: move on
	stay       verdict = "stay"       // the current token, where none is rotated: answer it again
	concurrent verdict = "concurrent" // the last token, of a moment ago: answer with the current one
	late       verdict = "late"       // the last token with the key of its rotation: the same
	replay     verdict = "replay"     // an old token: two parties hold it
	ahead      verdict = "ahead"      // a token that the store does not remember making
)

// A BoundRotation is how refresh tokens rotate that a thief could not use: see
// Config.BoundSessions.
type BoundRotation string

const (
	// NoRotation answers the refresh token that came. IdleTTL cannot be had
	// with it.
	NoRotation BoundRotation = "no_rotation"

	// AnyRetry answers the last refresh token but one at any time, with or
	// without the retry key, so that a client whose answer got lost may repeat
	// its request as late as it likes.
	AnyRetry BoundRotation = "any_retry"
)

// decide compares the generation g of a presented token with the session. retry
// is the hash of the Idempotency-Key that came with it, or nil. A negative age,
// between two clocks, counts as young.
func decide(s *Session, g uint64, retry []byte, now time.Time, grace time.Duration, how BoundRotation) verdict {
	age := now.Sub(s.RotatedAt)
	c := s.Generation
	switch {
	case g > c:
		return ahead
	case g == c && c > 0 && age < grace:
		return young
	case g == c && how == NoRotation:
		return stay
	case g == c:
		return rotate
	case g == c-1 && grace > 0 && age <= grace:
		return concurrent
	case g == c-1 && (how == AnyRetry || len(retry) > 0 && hmac.Equal(retry, s.RetryHash)):
		return late
	}
	return replay
}
