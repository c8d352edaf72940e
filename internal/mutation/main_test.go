package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// CHECKS.md is from a run that takes an hour. That it is about the checks that there
// are now is seen at once.
func TestTheListIsOfTheChecksThatThereAre(t *testing.T) {
	all, err := everyCheck("../..")
	require.NoError(t, err)
	require.Greater(t, len(all), 500)
	places, rows := map[string]bool{}, map[string]bool{}
	for _, c := range all {
		assert.False(t, places[c.place()], "%s is there twice", c.place())
		places[c.place()], rows[c.row()] = true, true
	}
	written, err := os.ReadFile("CHECKS.md")
	require.NoError(t, err)
	for row, by := range noticedIn(written) {
		assert.True(t, rows[row], "there is no %s", row)
		assert.NotEqual(t, notRun, by, row)
		delete(rows, row)
	}
	for row := range rows {
		t.Errorf("CHECKS.md has no %s: go run ./internal/mutation -write -only ...", row)
	}
	for place, why := range accepted {
		assert.True(t, places[place], "there is no %s", place)
		assert.NotEmpty(t, why)
	}
}
