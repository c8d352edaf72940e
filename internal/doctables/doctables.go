// Package doctables checks the tables in package comments that say, rule by rule,
// which test proves what. It is for tests.
package doctables

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Check fails t unless every test that the comment in doc.go of the current folder
// names is there, and every section that sections lists under a heading has a line
// that names one. The comment names more than least tests.
func Check(t *testing.T, least int, sections map[string][]string) {
	t.Helper()
	files := token.NewFileSet()
	exist := map[string]bool{}
	names, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				exist[f.Name.Name] = true
			}
		}
	}
	doc, err := parser.ParseFile(files, "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	comment := doc.Doc.Text()
	named := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w*`).FindAllString(comment, -1)
	if len(named) <= least {
		t.Errorf("the package comment names %d tests, not more than %d", len(named), least)
	}
	for _, name := range named {
		if !exist[name] {
			t.Errorf("the package comment names %s, which is not there", name)
		}
	}
	for heading, all := range sections {
		_, table, found := strings.Cut(comment, heading)
		if !found {
			t.Fatalf("there is no heading %q", heading)
		}
		table, _, _ = strings.Cut(table, "\n# ")
		for _, section := range all {
			line := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(section) + ` (.*)((\n\t .*)*)`).FindString(table)
			if line == "" {
				t.Errorf("%s has no line for %s", heading, section)
			} else if !regexp.MustCompile(`\b(Test|Fuzz)[A-Z]`).MatchString(line) {
				t.Errorf("%s names no test for %s", heading, section)
			}
		}
	}
}
