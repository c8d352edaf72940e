package issuer_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The package comment names the tests that prove what it says. They are there,
// and every section has its line.
func TestTheTablesNameTestsThatExist(t *testing.T) {
	files := token.NewFileSet()
	exist := map[string]bool{}
	names, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, name := range names {
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				exist[f.Name.Name] = true
			}
		}
	}
	doc, err := parser.ParseFile(files, "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	comment := doc.Doc.Text()
	named := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w*`).FindAllString(comment, -1)
	assert.Greater(t, len(named), 30)
	for _, name := range named {
		assert.True(t, exist[name], "the package comment names %s, which is not there", name)
	}
	for heading, sections := range map[string][]string{
		"# RFC 6749 and RFC 7636, rule by rule": {"2.3.1", "3.2", "4.1.1", "4.1.2", "4.1.3", "4.4", "5.1", "5.2", "6"},
		"# RFC 7009, rule by rule":              {"2.1", "2.2", "2.2.1"},
		"# RFC 7662, rule by rule":              {"2.1", "2.2", "4"},
		"# RFC 8414, rule by rule":              {"2", "3", "3.1"},
		"# RFC 8707, rule by rule":              {"2"},
		"# RFC 9068, rule by rule":              {"2.1", "2.2", "2.2.1", "2.2.3", "3", "4", "5"},
		"# RFC 9700, rule by rule":              {"2.1", "2.1.1", "2.1.2", "2.2.2", "2.3", "2.4", "2.5", "2.6", "4.5", "4.14.2"},
	} {
		_, table, found := strings.Cut(comment, heading)
		require.True(t, found, heading)
		table, _, _ = strings.Cut(table, "\n# ")
		for _, section := range sections {
			line := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(section) + ` (.*)((\n\t .*)*)`).FindString(table)
			if assert.NotEmpty(t, line, "%s has no line for %s", heading, section) {
				assert.Regexp(t, `\b(Test|Fuzz)[A-Z]`, line, "%s names no test for %s", heading, section)
			}
		}
	}
}
