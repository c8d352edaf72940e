package requirements

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// root is the folder of the repository.
const root = "../.."

// numbers are how many requirements each source has, counted from 1.
var numbers = map[string]int{"IT": 45, "MO": 16, "NV": 21, "JG": 23, "AX": 26, "DC": 7}

// Every requirement stands beside a test, by its number or within a range.
func TestEveryRequirementHasATest(t *testing.T) {
	named := map[string]bool{}
	pattern := regexp.MustCompile(`\b([A-Z]{2})-(\d\d)(?: to [A-Z]{2}-(\d\d))?\b`)
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		data, err := os.ReadFile(path)
		for _, m := range pattern.FindAllStringSubmatch(string(data), -1) {
			first, _ := strconv.Atoi(m[2])  // two digits
			last, err := strconv.Atoi(m[3]) // two digits, or none
			if err != nil {
				last = first
			}
			for n := first; n <= last; n++ {
				named[fmt.Sprintf("%s-%02d", m[1], n)] = true
			}
		}
		return err
	}))
	for source, count := range numbers {
		for n := 1; n <= count; n++ {
			assert.True(t, named[fmt.Sprintf("%s-%02d", source, n)], "no test names %s-%02d", source, n)
		}
	}
}

// DC-01: what a reader finds at the top.
func TestTheTopLevelIsSmall(t *testing.T) {
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	expected := []string{
		"middleware", "issuer", "refresher", "errors", "examples", "internal", "go.mod", "go.sum", "go.work", "go.work.sum",
		"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md",
	}
	var found []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			found = append(found, entry.Name())
		}
	}
	assert.ElementsMatch(t, expected, found)
}

// The programs that the README sends readers to can be run, and it leaves out none.
func TestTheProgramsOfTheREADMEAreThere(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	_, after, found := strings.Cut(string(readme), "Programs to read and run, with `go run ./examples/NAME`:\n\n")
	require.True(t, found)
	table, _, _ := strings.Cut(after, "\n\n")
	var listed, programs []string
	for _, m := range regexp.MustCompile(`\]\(examples/(\w+)\)`).FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	mains, err := filepath.Glob(filepath.Join(root, "examples", "*", "main.go"))
	require.NoError(t, err)
	for _, main := range mains {
		if name := filepath.Base(filepath.Dir(main)); name != "server" { // which has a section of its own
			programs = append(programs, name)
		}
	}
	assert.ElementsMatch(t, programs, listed)
}

// DC-02: a client library or a driver is required by a module of its own.
func TestTheRootRequiresWhatItShould(t *testing.T) {
	command := exec.Command("go", "mod", "edit", "-json")
	command.Dir = root
	out, err := command.Output()
	require.NoError(t, err)
	var module struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	require.NoError(t, json.Unmarshal(out, &module))
	var direct []string
	for _, r := range module.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	assert.ElementsMatch(t, []string{
		"github.com/MicahParks/keyfunc/v3", "github.com/golang-jwt/jwt/v5", "github.com/stretchr/testify",
		"golang.org/x/crypto", "golang.org/x/sync",
	}, direct)
}

// DC-06: each of the three rooms gives its reasons from the package errors, and
// none has a catalogue of its own.
func TestTheRoomsShareOneCatalogue(t *testing.T) {
	const module = "github.com/tokenloop/tokenloop/"
	for _, room := range []string{"middleware", "issuer", "refresher"} {
		command := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, "./"+room)
		command.Dir = root
		out, err := command.Output()
		require.NoError(t, err)
		imports := strings.Fields(string(out))
		assert.Contains(t, imports, module+"errors", room)
		for _, other := range []string{"middleware", "issuer", "refresher"} {
			assert.False(t, slices.Contains(imports, module+other), "%s imports %s", room, other)
		}

		// A code of the wire stands in the catalogue alone.
		files, err := filepath.Glob(filepath.Join(root, room, "*.go"))
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Empty(t, regexp.MustCompile(`"AUTH_[A-Z_]+"`).FindAllString(string(data), -1), file)
		}
	}
}
