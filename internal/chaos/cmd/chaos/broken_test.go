package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/internal/chaos"
)

// replace is a change to the source.
type replace struct{ file, old, new string }

// A run can fail: builds in which one check is missing are found out, each by what it
// breaks. The sources are not touched; go build gets other ones in their place. It
// takes some minutes, and TOKENLOOP_LONG=1 runs it.
func TestBrokenBuildsAreFound(t *testing.T) {
	if os.Getenv("TOKENLOOP_LONG") == "" {
		t.Skip("TOKENLOOP_LONG=1 runs it")
	}
	for _, c := range []struct {
		name    string
		changes []replace
		found   string // what the line has that says so
	}{
		{
			"the grace has no end",
			[]replace{{"issuer/decide.go", "grace > 0 && age <= grace:", "grace > 0:"}},
			"a replay outside the window was not found",
		},
		{
			"read, then write",
			[]replace{
				{"issuer/sqlstore/store.go", "WHERE id = ? AND generation = ? AND revoked_at", "WHERE id = ? AND generation >= ? AND revoked_at"},
				{"issuer/sqlstore/store.go", "\tn, err := s.execHot(ctx, \"rotate a session\"", `	var current int64
	read := s.dialect.bind("SELECT generation FROM tokenloop_sessions WHERE id = ?")
	if err := s.db.QueryRowContext(ctx, read, id).Scan(&current); err != nil || current != int64(from) {
		return false, err
	}
	n, err := s.execHot(ctx, "rotate a session"`},
			},
			"two successors",
		},
		{
			"verified tokens outlive their key",
			[]replace{{"middleware/verify.go", "keys.snapshot(now) != e.set {", "keys.snapshot(now) == nil {"}},
			"after its key was removed",
		},
		{
			"a denial stays where it was made",
			[]replace{{"issuer/sqlstore/feed.go", "\terr := f.retry(ctx, \"deny\", func() error {", `	err := f.retry(ctx, "deny", func() error {
		query = "SELECT " + strings.Repeat("?, ", 8) + "?"`}, {"issuer/sqlstore/feed.go", "\t\"math/rand/v2\"", "\t\"math/rand/v2\"\n\t\"strings\""}},
			"after its session has ended",
		},
		{
			"the retry key does not count",
			[]replace{{"issuer/decide.go", "len(retry) > 0 &&", "len(retry) > 99 &&"}},
			"has a valid session",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			overlay := write(t, folder, c.changes)
			server, err := chaos.Build(t.Context(), folder, "-overlay", overlay)
			if err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(folder, "chaos")
			build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, ".")
			build.Env = append(os.Environ(), "GOWORK=off")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			began := time.Now()
			command := exec.CommandContext(t.Context(), program, "-server", server, "-duration", "1m")
			command.Env = append(os.Environ(), "TMPDIR="+folder)
			out, err := command.CombinedOutput()
			t.Logf("%v: %s", time.Since(began).Round(time.Second), out)
			_, line, _ := strings.Cut(string(out), "VIOLATION: ")
			line, _, _ = strings.Cut(line, "\n")
			if err == nil || !strings.Contains(line, c.found) {
				t.Errorf("it ends with %v and says %q, and not %q", err, line, c.found)
			}
		})
	}
}

// write writes the changed files into folder, and returns what go build needs to take
// them in place of the others.
func write(t *testing.T, folder string, changes []replace) string {
	t.Helper()
	root, err := chaos.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	instead := map[string]string{}
	for _, c := range changes {
		original := filepath.Join(root, filepath.FromSlash(c.file))
		from := original
		if instead[original] != "" {
			from = instead[original]
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(data), c.old); n != 1 {
			t.Fatalf("%s has %q %d times: what is to be broken has changed", c.file, c.old, n)
		}
		instead[original] = filepath.Join(folder, strings.ReplaceAll(c.file, "/", "-"))
		if err := os.WriteFile(instead[original], []byte(strings.Replace(string(data), c.old, c.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": instead})
	overlay := filepath.Join(folder, "overlay.json")
	if err == nil {
		err = os.WriteFile(overlay, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return overlay
}
