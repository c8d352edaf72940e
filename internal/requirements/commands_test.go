package requirements

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What readers are told to run is there, with its flags. (What curl asks for is asked
// in the tests of the examples.)
func TestTheCommandsOfTheDocumentationAreThere(t *testing.T) {
	command := regexp.MustCompile("go (run|test) ([^`#\n]*)")
	program := regexp.MustCompile(`(?:^| )\./([\w/]+)`)
	flag := regexp.MustCompile(`(?:^| )-([a-z]+(?:-[a-z]+)*)`)
	pattern := regexp.MustCompile(`-(?:run|fuzz|bench)[= ]'?(\w+)`)
	var tests strings.Builder
	found := map[string]int{}
	told := map[string]string{} // what stands where readers look
	walk(t, func(file, text string) {
		switch {
		case strings.HasSuffix(file, "_test.go"):
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)`).FindAllStringSubmatch(text, -1) {
				tests.WriteString(m[1] + "\n")
			}
		case strings.HasSuffix(file, ".md"):
			told[file] = text
		default:
			parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ParseComments|parser.PackageClauseOnly)
			require.NoError(t, err)
			told[file] = parsed.Doc.Text()
		}
	})
	for file, text := range told {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			line := m[0]
			for _, name := range pattern.FindAllStringSubmatch(line, -1) {
				assert.True(t, strings.Contains(tests.String(), name[1]), "%s: no test is called so: %s", file, line)
			}
			folder := program.FindStringSubmatch(m[2])
			if folder == nil || path.Base(folder[1]) == "NAME" {
				continue
			}
			// It is run in the folder of the file, or in one above, such as that of its module.
			var sources []string
			for from := path.Dir(file); sources == nil; from = path.Dir(from) {
				var err error
				sources, err = filepath.Glob(filepath.Join(root, from, folder[1], "*.go"))
				require.NoError(t, err)
				if from == "." {
					break
				}
			}
			if !assert.NotEmpty(t, sources, "%s: %s", file, line) || m[1] == "test" {
				continue
			}
			found[folder[1]]++
			code := ""
			for _, source := range sources {
				data, err := os.ReadFile(source)
				require.NoError(t, err)
				code += string(data)
			}
			assert.True(t, strings.Contains(code, "package main\n"), "%s: no program: %s", file, line)
			for _, name := range flag.FindAllStringSubmatch(m[2], -1) {
				declared := regexp.MustCompile(`flags?\.\w+\([^"\n]*"` + regexp.QuoteMeta(name[1]) + `"`)
				assert.True(t, declared.MatchString(code), "%s: there is no -%s: %s", file, name[1], line)
			}
		}
	}
	programs, err := filepath.Glob(filepath.Join(root, "examples", "*", "main.go"))
	require.NoError(t, err)
	for _, main := range programs {
		if name := filepath.Base(filepath.Dir(main)); name != "hello" { // whose first line is that of the README
			assert.Positive(t, found["examples/"+name], "nothing says how to run %s", name)
		}
	}
	assert.True(t, slices.ContainsFunc(strings.Split(told["README.md"], "\n"), func(line string) bool { return strings.HasPrefix(line, "curl ") }))
}

// What Markdown links to and shows is there, and a picture is a small one.
func TestTheLinksOfTheDocumentationLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	pictures := 0
	walk(t, func(file, text string) {
		if !strings.HasSuffix(file, ".md") {
			return
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to := m[1] + m[2]
			if strings.Contains(to, "://") || strings.HasPrefix(to, "#") {
				continue
			}
			at, err := os.Stat(filepath.Join(root, path.Dir(file), to))
			if !assert.NoError(t, err, file) {
				continue
			}
			if ext := path.Ext(to); ext == ".png" || ext == ".svg" {
				pictures++
				assert.Less(t, at.Size(), int64(100_000), to)
			}
		}
	})
	assert.GreaterOrEqual(t, pictures, 3)
}
