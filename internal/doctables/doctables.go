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

// link is a link of a package comment to a name, or to one of a type's fields and
// methods, of its own package or of the one whose path stands before it.
var link = regexp.MustCompile(`\[((?:[\w.-]+/)+\w+\.)?([A-Z]\w*(?:\.\w+)?)\]`)

// CheckLinks fails t unless the comment in doc.go of the current folder has links,
// and what they lead to is there. Module is the path of the module, and root the
// folder that it is in.
func CheckLinks(t *testing.T, module, root string) {
	t.Helper()
	doc, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	links := link.FindAllStringSubmatch(doc.Doc.Text(), -1)
	if len(links) == 0 {
		t.Error("the package comment has no links")
	}
	for _, l := range links {
		folder := "."
		if l[1] != "" {
			folder = filepath.Join(root, strings.TrimPrefix(strings.TrimSuffix(l[1], "."), module))
		}
		if !exported(t, folder)[l[2]] {
			t.Errorf("the package comment links to %s, which is not there", l[0])
		}
	}
}

// exported returns what the package in folder declares: names, and the fields and
// methods of types as in "Config.Issuer".
func exported(t *testing.T, folder string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				prefix := ""
				if d.Recv != nil {
					of := d.Recv.List[0].Type
					if star, ok := of.(*ast.StarExpr); ok {
						of = star.X
					}
					if name, ok := of.(*ast.Ident); ok {
						prefix = name.Name + "."
					}
				}
				all[prefix+d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							all[name.Name] = true
						}
					case *ast.TypeSpec:
						all[spec.Name.Name] = true
						if fields, ok := spec.Type.(*ast.StructType); ok {
							for _, field := range fields.Fields.List {
								for _, name := range field.Names {
									all[spec.Name.Name+"."+name.Name] = true
								}
							}
						}
					}
				}
			}
		}
	}
	return all
}
