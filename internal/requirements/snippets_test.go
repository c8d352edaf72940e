package requirements

import (
	"errors"
	"go/ast"
	"go/doc/comment"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/tokenloop/tokenloop/"

// packages are the paths of the packages that snippets name. One that is named like
// the package in whose comment it stands is that package.
var packages = map[string]string{
	"context": "context", "filepath": "path/filepath", "http": "net/http", "os": "os", "slog": "log/slog", "sql": "database/sql",
	"synctest": "testing/synctest", "testing": "testing", "time": "time",
	"oauth2": "golang.org/x/oauth2", "redis": "github.com/redis/go-redis/v9",
	"issuer": module + "issuer", "issuertest": module + "issuer/issuertest", "jwterrors": module + "errors", "keyring": module + "refresher/keyring",
	"middleware": module + "middleware", "oauth2x": module + "refresher/oauth2x", "password": module + "issuer/password",
	"redisstore": module + "issuer/redisstore", "refresher": module + "refresher", "sqlstore": module + "issuer/sqlstore",
}

// readers are the variables that a snippet leaves to its reader, with their types.
var readers = map[string]string{
	"admin": "http.Handler", "audit": "func(issuer.Event)", "code": "string", "config": "*oauth2.Config", "configDir": "string",
	"authenticate": "func(context.Context, issuer.Credentials) (issuer.User, error)",
	"ctx":          "context.Context", "db": "*sql.DB", "err": "error", "fake": "*issuertest.Fake",
	"lookup": "func(context.Context, issuer.Credentials) (password.Account, error)",
	"mux":    "*http.ServeMux", "newList": "func(*testing.T) storetest.NewFeed", "newStore": "func(*testing.T) issuer.Store",
	"open": "func(string) (issuer.Store, error)", "openStore": "func(string) refresher.Store", "orders": "http.Handler",
	"password": "string", "r": "*http.Request", "ring": "*issuer.KeyRing", "secret": "[]byte", "t": "*testing.T",
	"transport": "*refresher.Transport", "update": "func(ctx context.Context, id, old, next string) error", "verifier": "string",
}

// A snippet is Go code that readers copy from Markdown or from a comment.
type snippet struct {
	file string // where it stands
	code string
}

// Every snippet compiles. One that begins with a package clause is compiled as it is,
// others as declarations, or as the body of a function, in a file whose imports and
// variables are those of packages and readers. A line "..." stands for what a reader
// does in between. What is declared and not used there is the reader's to use.
func TestEverySnippetCompiles(t *testing.T) {
	found := snippets(t)
	assert.GreaterOrEqual(t, len(found), 20, "the snippets have gone")
	files := token.NewFileSet()
	parsed := make([]*ast.File, len(found))
	imports := map[string]bool{}
	for i, s := range found {
		file, err := parse(files, s)
		if !assert.NoError(t, err, "%s:\n%s", s.file, s.code) {
			continue
		}
		parsed[i] = file
		for _, spec := range file.Imports {
			imports[strings.Trim(spec.Path.Value, `"`)] = true
		}
	}
	compiled := exports(t, slices.Sorted(maps.Keys(imports)))
	for i, file := range parsed {
		if file == nil {
			continue
		}
		var mistakes []error
		config := types.Config{
			Importer: compiled(files),
			Error: func(err error) {
				// A soft error is about what is not used, or declared in several variants.
				if mistake := (types.Error{}); !errors.As(err, &mistake) || !mistake.Soft {
					mistakes = append(mistakes, err)
				}
			},
		}
		_, _ = config.Check("snippet", files, []*ast.File{file}, nil) // Error has had them all
		assert.NoError(t, errors.Join(mistakes...), "%s:\n%s", found[i].file, found[i].code)
	}
}

// What Markdown calls by the name of a package of ours, such as issuer.Config, is there.
// The changelog may name what has gone.
func TestTheNamesInMarkdownAreThere(t *testing.T) {
	name := regexp.MustCompile(`\b(\w+)\.([A-Z]\w*)`)
	named := map[string]map[string]string{} // the names by package, with a file that has them
	walk(t, func(file, text string) {
		if !strings.HasSuffix(file, ".md") || file == "CHANGELOG.md" {
			return
		}
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			if where := packages[m[1]]; strings.HasPrefix(where, module) {
				if named[where] == nil {
					named[where] = map[string]string{}
				}
				named[where][m[2]] = file
			}
		}
	})
	require.NotEmpty(t, named)
	paths := slices.Sorted(maps.Keys(named))
	compiled := exports(t, paths)(token.NewFileSet())
	for _, where := range paths {
		of, err := compiled.Import(where)
		require.NoError(t, err)
		for name, file := range named[where] {
			assert.NotNil(t, of.Scope().Lookup(name), "%s: %s has no %s", file, where, name)
		}
	}
}

// snippets returns those of all Markdown and of all comments outside of tests.
func snippets(t *testing.T) []snippet {
	t.Helper()
	var all []snippet
	fence := regexp.MustCompile("(?ms)^```go$(.*?)^```$")
	walk(t, func(file, text string) {
		switch {
		case strings.HasSuffix(file, ".md"):
			for _, m := range fence.FindAllStringSubmatch(text, -1) {
				all = append(all, snippet{file, m[1]})
			}
		case strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go"):
			parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ParseComments|parser.SkipObjectResolution)
			require.NoError(t, err)
			for _, group := range parsed.Comments {
				for _, block := range new(comment.Parser).Parse(group.Text()).Content {
					if code, ok := block.(*comment.Code); ok && isGo(code.Text) {
						all = append(all, snippet{file, code.Text})
					}
				}
			}
		}
	})
	return all
}

// walk calls do with the text of every file of Markdown and Go, by its path in the
// repository.
func walk(t *testing.T, do func(file, text string)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".md") && !strings.HasSuffix(file, ".go") {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		do(filepath.ToSlash(rel), string(text))
		return err
	}))
}

// isGo tells Go from tables, commands and other languages: it declares something, or
// can be parsed and asks a package for something.
func isGo(code string) bool {
	if regexp.MustCompile(`:=|(?m)^(func|import|package|switch|type|var) `).MatchString(code) {
		return true
	}
	file, err := parse(token.NewFileSet(), snippet{"", code})
	return err == nil && len(file.Imports) > 0
}

// parse returns the file that a snippet is compiled as.
func parse(files *token.FileSet, s snippet) (*ast.File, error) {
	code := regexp.MustCompile(`(?m)^\s*\.\.\.$`).ReplaceAllString(s.code, "")
	if strings.HasPrefix(strings.TrimSpace(code), "package ") {
		return parser.ParseFile(files, s.file, code, parser.SkipObjectResolution)
	}
	if regexp.MustCompile(`(?m)\A(func|import|type|var) `).MatchString(code) {
		code = "\n" + code
	} else {
		code = "\nfunc _() {\n" + code + "}\n"
	}
	file, err := parser.ParseFile(files, s.file, "package snippet"+code, parser.SkipObjectResolution)
	if err != nil || len(file.Imports) > 0 {
		return file, err
	}
	variables := ""
	asks := names(file)
	for name, isPackage := range asks {
		if of, ok := readers[name]; ok && !isPackage {
			variables += "var " + name + " " + of + "\n"
		}
	}
	of, err := parser.ParseFile(files, "", "package snippet\n"+variables, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	head := "package snippet\n"
	maps.Copy(asks, names(of))
	for name, isPackage := range asks {
		where := packages[name]
		if path.Base(path.Dir(s.file)) == name {
			where = module + path.Dir(s.file)
		}
		if isPackage && where != "" {
			head += "import " + name + ` "` + where + "\"\n"
		}
	}
	return parser.ParseFile(files, s.file, head+variables+code, parser.SkipObjectResolution)
}

// names returns the names that file uses, and whether it asks them for something
// exported, as it does packages.
func names(file *ast.File) map[string]bool {
	all := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if name, ok := n.X.(*ast.Ident); ok {
				all[name.Name] = n.Sel.IsExported() && (packages[name.Name] != "" || readers[name.Name] == "")
				return false
			}
		case *ast.Ident:
			if _, ok := all[n.Name]; !ok {
				all[n.Name] = false
			}
		}
		return true
	})
	return all
}

// exports returns what imports the packages, which it has the go command compile in
// the workspace of the repository.
func exports(t *testing.T, imports []string) func(*token.FileSet) types.Importer {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}, imports...)...)
	command.Dir = root
	workspace, err := filepath.Abs(filepath.Join(root, "go.work"))
	require.NoError(t, err)
	command.Env = append(os.Environ(), "GOWORK="+workspace)
	command.Stderr = os.Stderr
	out, err := command.Output()
	require.NoError(t, err)
	compiled := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		compiled[name] = file
	}
	return func(files *token.FileSet) types.Importer {
		return importer.ForCompiler(files, "gc", func(name string) (io.ReadCloser, error) {
			return os.Open(compiled[name])
		})
	}
}
