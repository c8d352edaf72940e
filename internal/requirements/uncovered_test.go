package requirements

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A place is a line of a function, without the spaces around it.
type place struct{ file, function, line string }

// What UNCOVERED.md lists is in the code.
func TestTheUncoveredLinesAreThere(t *testing.T) {
	for p := range uncovered(t) {
		found := false
		for _, at := range places(t, p.file) {
			found = found || at == p
		}
		assert.True(t, found, "%s: %s has no line %s", p.file, p.function, p.line)
	}
}

// TOKENLOOP_TEST_COVERAGE is a profile, of which UNCOVERED.md lists what was not run,
// and nothing that was, but for what is met now and then.
func TestTheUncoveredLinesAreAll(t *testing.T) {
	profile := os.Getenv("TOKENLOOP_TEST_COVERAGE")
	if profile == "" {
		t.Skip("there is no profile")
	}
	data, err := os.ReadFile(profile)
	require.NoError(t, err)
	listed := uncovered(t)
	missed := maps.Clone(listed)
	blocks := regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(module)+`(.+):(\d+)\.\d+,\d+\.\d+ [1-9]\d* (\d+)$`).FindAllStringSubmatch(string(data), -1)
	require.NotEmpty(t, blocks)
	for _, m := range blocks {
		if m[3] != "0" {
			continue
		}
		n, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		all := places(t, m[1])
		at := all[n]
		if at.line == "if err != nil {" || at.line == "} else {" {
			at = all[n+1] // which says more
		}
		_, ok := listed[at]
		assert.True(t, ok, "%s:%d: no test runs what begins with %s", m[1], n, at.line)
		delete(missed, at)
	}
	for at, reason := range missed {
		assert.Contains(t, reason, "now and then", "%s: the tests run %s of %s", at.file, at.line, at.function)
	}
}

// uncovered returns what UNCOVERED.md lists, and why.
func uncovered(t *testing.T) map[place]string {
	t.Helper()
	data, err := os.ReadFile("UNCOVERED.md")
	require.NoError(t, err)
	all := map[place]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| (\\S+\\.go) \\| (\\w+) \\| `(.+)` \\| (.+) \\|$").FindAllStringSubmatch(string(data), -1) {
		all[place{m[1], m[2], strings.ReplaceAll(m[3], `\|`, "|")}] = m[4]
	}
	require.Len(t, all, strings.Count(string(data), ".go | "), "each row is read, and is there once")
	return all
}

// places returns the lines of the functions of a file, by their number.
func places(t *testing.T, file string) map[int]place {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, text, parser.SkipObjectResolution)
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	all := map[int]place{}
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			for n := files.Position(f.Pos()).Line; n <= files.Position(f.End()).Line; n++ {
				all[n] = place{file, f.Name.Name, strings.TrimSpace(lines[n-1])}
			}
		}
	}
	return all
}
