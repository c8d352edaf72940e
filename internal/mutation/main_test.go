package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
	tests := testsOf(t)
	for row, by := range noticedIn(written) {
		assert.True(t, rows[row], "there is no %s", row)
		assert.NotEqual(t, notRun, by, row)
		if name, _, _ := strings.Cut(by, "/"); !strings.HasPrefix(by, isAccepted) {
			assert.True(t, tests[name], "%s: there is no test %s", row, by)
		}
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

// testsOf returns the names of the tests that are to notice.
func testsOf(t *testing.T) map[string]bool {
	names := map[string]bool{}
	for _, target := range targets {
		for _, p := range target.packages {
			files, err := filepath.Glob("../../" + p + "/*_test.go")
			require.NoError(t, err)
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Example|Fuzz|Benchmark)\w*)\(`).FindAllSubmatch(text, -1) {
					names[string(m[1])] = true
				}
			}
		}
	}
	return names
}
