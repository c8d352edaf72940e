package middleware

import (
	"math"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

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
