package middleware

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The names that were not found are bounded, however many are made up.
func TestTheNamesThatAreAbsent(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := &jwks{absent: map[string]time.Time{}}
	s.options.MissInterval = time.Second
	for n := range maxAbsent - 1 {
		s.remember(strconv.Itoa(n), now)
	}
	now = now.Add(3 * time.Second)
	s.remember("late", now)
	assert.Len(t, s.absent, maxAbsent)
	now = now.Add(time.Second)
	s.remember("later", now)
	assert.Len(t, s.absent, 2, "what has ended makes room")
	for n := range maxAbsent - 1 {
		s.remember(strconv.Itoa(n), now)
	}
	assert.Less(t, len(s.absent), maxAbsent, "and where nothing has, all go")
}
