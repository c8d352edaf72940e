package refresher

import (
	"net/http"
	"sync/atomic"
	"time"
)

const (
	minOffset    = 5 * time.Second  // clocks that differ by less count as equal: Date has whole seconds
	maxOffset    = 24 * time.Hour   // what a clock that is only wrong is off by
	maxRoundTrip = 10 * time.Second // an answer that took longer says little
)

// A clock knows how far the issuer's clock is ahead of ours, from the Date of
// its answers (RFC 9110, Section 6.6.1). "exp" claims are by the issuer's clock,
// and everything else is by ours.
type clock struct{ ahead atomic.Int64 } // in nanoseconds

// learn takes note of an answer with that header, which was asked for at sent and
// began to arrive at received, by the wall clock. What offset cannot tell changes
// nothing.
func (c *clock) learn(header http.Header, sent, received time.Time) {
	switch ahead, took, ok := offset(header, sent, received); {
	case !ok:
	case ahead.Abs() < minOffset+took/2:
		c.ahead.Store(0)
	default:
		c.ahead.Store(int64(ahead))
	}
}

// offset returns how far ahead of ours the clock is of who answered with that
// header, and how long the answer took. What was in a cache (it has an Age) or was
// under way for long tells nothing, and neither does a Date that is more than a day
// off.
func offset(header http.Header, sent, received time.Time) (ahead, took time.Duration, ok bool) {
	sent, received = sent.Round(0), received.Round(0)
	took = received.Sub(sent)
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || header.Get("Age") != "" || took < 0 || took > maxRoundTrip {
		return 0, 0, false
	}
	// On average the Date was half a second and half the way ago.
	ahead = date.Add(time.Second / 2).Sub(sent.Add(took / 2))
	return ahead, took, ahead.Abs() <= maxOffset
}

// local returns by our clock what at is by the issuer's.
func (c *clock) local(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(-time.Duration(c.ahead.Load()))
}
