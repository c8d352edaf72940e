package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// CHECKS.md is from a run that takes an hour. That it is about the checks that there
// are now is seen at once.
func TestTheListIsOfTheChecksThatThereAre(t *testing.T) {
	var all []*check
	places := map[string]bool{}
	for _, target := range targets {
		for _, file := range target.files {
			found, err := checksOf("../..", file)
			require.NoError(t, err)
			for _, c := range found {
				assert.False(t, places[c.place()], "%s is there twice", c.place())
				places[c.place()] = true
				c.caught = "a test"
			}
			all = append(all, found...)
		}
	}
	require.Greater(t, len(all), 500)
	written, err := os.ReadFile("CHECKS.md")
	require.NoError(t, err)
	assert.Equal(t, checksIn(list(all)), checksIn(written), "go run ./internal/mutation -write")
	for place, why := range accepted {
		assert.True(t, places[place], "there is no %s", place)
		assert.NotEmpty(t, why)
	}
}

// checksIn returns the lines of a list, without the tests.
func checksIn(list []byte) (lines []string) {
	for line := range strings.Lines(string(list)) {
		if i := strings.LastIndex(line, "` | "); i >= 0 {
			line = line[:i]
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}
