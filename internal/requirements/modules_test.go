package requirements

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// DC-02: what the root module requires for its tests, its users need not have.
func TestTheRoomsNeedNoTestLibrary(t *testing.T) {
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.Module.Path}}{{end}}", "./...")
	command.Dir = root
	out, err := command.Output()
	require.NoError(t, err)
	needed := strings.Fields(string(out))
	assert.Contains(t, needed, "github.com/golang-jwt/jwt/v5")
	assert.NotContains(t, needed, "github.com/stretchr/testify", "a file that is no test imports it")
}

// DC-02: each module for users is one of the workspace, is called by its folder,
// and takes the root from the folders above it.
func TestTheModules(t *testing.T) {
	const module = "github.com/tokenloop/tokenloop"
	work, err := os.ReadFile(filepath.Join(root, "go.work"))
	require.NoError(t, err)
	found := 0
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if err != nil || entry.Name() != "go.mod" {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		folder := filepath.ToSlash(rel)
		if err != nil || folder == "." || strings.HasPrefix(folder, "internal/") {
			return err
		}
		found++
		assert.Contains(t, string(work), "\t./"+folder+"\n")
		data, err := os.ReadFile(file)
		assert.Contains(t, string(data), "module "+path.Join(module, folder)+"\n")
		above := strings.Repeat("../", strings.Count(folder, "/")) + ".."
		assert.Regexp(t, module+" => "+regexp.QuoteMeta(above)+"/?\n", string(data))
		return err
	}))
	assert.GreaterOrEqual(t, found, 3)
}
