package middleware

import (
	"math"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An identifier is found by both halves of its hash, of which one alone is that of
// somebody else now and then.
func TestHalfAHashIsSomebodyElses(t *testing.T) {
	var d denials
	d.add("a", 0, math.MaxInt64, 0)
	s := d.of("a")
	require.NotNil(t, s)
	more := s.more.Load()
	s.more.Store(more + 1)
	assert.Nil(t, d.of("a"))
	s.more.Store(more)
	s.hash.Store(s.hash.Load() + 2) // in the same place of the table
	assert.Nil(t, d.of("a"))
}

// A sweep leaves behind what has expired, and counts what is left.
func TestWhatASweepLeaves(t *testing.T) {
	var d denials
	for i := range 30 {
		d.add(strconv.Itoa(i), 0, int64(i), 0)
	}
	d.sweep(9)
	left := 0
	for i := range d.table.Load().slots {
		if d.table.Load().slots[i].hash.Load() != 0 {
			left++
		}
	}
	assert.Equal(t, 20, left)
	assert.Equal(t, 20, d.size())
	assert.Nil(t, d.of("9"))
	assert.NotNil(t, d.of("10"))
}

// A reader that finds an empty slot, which then becomes that of somebody else, has
// found nothing. Each round fills a table up to where it grows.
func TestNobodyIsTakenForWhoIsDeniedJustNow(t *testing.T) {
	for range 30_000 {
		var d denials
		d.add("first", 0, math.MaxInt64, 0)
		var wg sync.WaitGroup
		done := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if !assert.Nil(t, d.of("somebody else")) {
					return
				}
			}
		})
		for i := range leastSlots/2 - 1 {
			d.add(strconv.Itoa(i), 0, math.MaxInt64, 0)
		}
		close(done)
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}
