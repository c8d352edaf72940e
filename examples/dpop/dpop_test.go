package main

import (
	"testing"

	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
)

// The story checks what it tells, over HTTP.
func TestStory(t *testing.T) {
	exampletest.Story(t, run, 5)
}
