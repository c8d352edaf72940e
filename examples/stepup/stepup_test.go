package main

import (
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
)

// The story checks what it tells, over HTTP.
func TestStory(t *testing.T) {
	exampletest.Story(t, run, 5)
}

// RFC 6238, Appendix B, whose codes have eight digits: these are the last six.
func TestCodes(t *testing.T) {
	for at, want := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		if got := code([]byte("12345678901234567890"), time.Unix(at, 0)); got != want {
			t.Errorf("at %d it is %s, and not %s", at, got, want)
		}
	}
}
