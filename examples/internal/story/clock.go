package story

import (
	"sync/atomic"
	"time"
)

// A Clock is that of everybody in a story, so that an hour passes at once. The
// zero Clock shows the time.
type Clock struct{ ahead atomic.Int64 }

// Now returns the time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Advance lets d pass.
func (c *Clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }
