package errors_test

import (
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/doctables"
)

// IT-45: the package comment says of every reason, in the order of the catalogue,
// who says it, what it means and what to look at. Who it says does so has it in
// the code.
func TestEveryReasonHasItsTroubleshooting(t *testing.T) {
	file, err := parser.ParseFile(gotoken.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	_, table, found := strings.Cut(file.Doc.Text(), "# Troubleshooting\n")
	require.True(t, found, "there is no heading")
	catalogue, err := os.ReadFile("reason.go")
	require.NoError(t, err)

	entry := regexp.MustCompile(`(?m)^\t([A-Z_]+) \(([a-z, ]+)\)\n(?:\t    [^ >].*\n)+\t    > .*\n?(?:\t      .*\n?)*`)
	var named []jwterrors.Reason
	for _, m := range entry.FindAllStringSubmatch(table, -1) {
		named = append(named, jwterrors.Reason(m[1]))
		name := regexp.MustCompile(`(\w+) +Reason = "` + m[1] + `"`).FindSubmatch(catalogue)
		require.NotNil(t, name, m[1])
		for _, room := range []string{"middleware", "issuer", "refresher"} {
			if strings.Contains(m[2], room) {
				assert.Contains(t, code(t, room), "jwterrors."+string(name[1]), "%s is said by the %s", m[1], room)
			} else if m[2] == "nobody yet" {
				assert.NotContains(t, code(t, room), "jwterrors."+string(name[1]), "%s is said by the %s", m[1], room)
			}
		}
	}
	assert.Equal(t, jwterrors.Reasons(), named)
}

// code returns the code of a room, without its tests.
func code(t *testing.T, room string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", room, "*.go"))
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			all.Write(data)
		}
	}
	return all.String()
}

func TestTheLinksOfThePackageCommentLeadSomewhere(t *testing.T) {
	doctables.CheckLinks(t, "github.com/tokenloop/tokenloop", "..")
}
