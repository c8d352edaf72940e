package refresher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

func pending(id string, since time.Time) refresher.PendingLogout {
	return refresher.PendingLogout{
		ID: id, URL: "https://id.example.com/auth/logout", Since: since.UTC(),
		Tokens: refresher.Tokens{AccessToken: "access", Expiry: since.Add(time.Minute).UTC(), RefreshToken: "refresh-" + id, RefreshExpiry: since.Add(time.Hour).UTC()},
	}
}

// NV-20, NV-02: what is put into the queue is there for whoever opens it next,
// and for nobody else.
func TestFileLogouts(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1700000000, 0)
	dir := filepath.Join(t.TempDir(), "a", "logouts")
	queue := must(refresher.NewFileLogouts(dir))
	a, b := pending("A", now), pending("B2", now.Add(time.Second))
	require.NoError(t, queue.Put(ctx, a))
	require.NoError(t, queue.Put(ctx, b))
	again := must(refresher.NewFileLogouts(dir))
	assert.ElementsMatch(t, []refresher.PendingLogout{a, b}, must(again.List(ctx)), "nothing is lost on the way")
	require.NoError(t, again.Remove(ctx, "A"))
	require.NoError(t, queue.Remove(ctx, "A"), "it is gone already")
	assert.Equal(t, []refresher.PendingLogout{b}, must(queue.List(ctx)))
	if runtime.GOOS != "windows" {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			info := must(d.Info())
			assert.Zero(t, info.Mode().Perm()&0o077, path)
			return err
		}))
	}
	require.NoError(t, os.RemoveAll(dir))
	assert.Empty(t, must(queue.List(ctx)), "to have no directory is to have no logouts")
	require.NoError(t, queue.Remove(ctx, "B2"))
	assert.NoDirExists(t, dir)
	require.NoError(t, queue.Put(ctx, b))
	for _, id := range []string{"", "a", "../A", "A/B", "A.B", "Ä", strings.Repeat("A", 65)} {
		p := pending(id, now)
		assert.Error(t, queue.Put(ctx, p), "%q", id)
		assert.NoError(t, queue.Remove(ctx, id))
	}
	assert.ErrorContains(t, queue.Put(ctx, pending("C", time.Date(10000, 1, 2, 0, 0, 0, 0, time.UTC))), "JSON", "a time that it cannot express")
	assert.Len(t, must(os.ReadDir(dir)), 1)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "D.logout", "not empty"), 0o700))
	assert.ErrorContains(t, queue.Remove(ctx, "D"), "delete a logout")
}

// A queue is bounded: the oldest gives way, which is the one that expires first.
func TestAQueueOfLogoutsIsBounded(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1700000000, 0)
	queue := fileLogouts(t)
	for i := range 260 {
		require.NoError(t, queue.Put(ctx, pending(fmt.Sprintf("N%d", i), now.Add(time.Duration(i)*time.Second))))
	}
	all := must(queue.List(ctx))
	assert.Len(t, all, 256)
	for _, p := range all {
		assert.False(t, p.Since.Before(now.Add(4*time.Second)), p.ID)
	}
	s := newService()
	tr, l := onLine(t, s, nil) // that of the memory, too
	l.breaks("/logout", unplugged)
	for range 260 {
		login(t, tr)
		require.Error(t, tr.Logout(ctx))
	}
	l.mend()
	require.NoError(t, tr.Flush(ctx))
	assert.Len(t, revoked(s), 256)
	assert.NotContains(t, revoked(s), "refresh-token-number-4")
}

// A file that is no logout is an error, stays where it is, and hides no other.
func TestFilesThatAreNoLogouts(t *testing.T) {
	good := must(json.Marshal(pending("BAD", time.Unix(1700000000, 0))))
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		unix bool
	}{
		"nothing":    {func(t *testing.T, path string) { write(t, path, "") }, false},
		"half":       {func(t *testing.T, path string) { write(t, path, string(good[:len(good)/2])) }, false},
		"two":        {func(t *testing.T, path string) { write(t, path, string(good)+string(good)) }, false},
		"another ID": {func(t *testing.T, path string) { write(t, path, strings.Replace(string(good), "BAD", "OTHER", 1)) }, false},
		"a member twice": {func(t *testing.T, path string) {
			write(t, path, strings.Replace(string(good), `"refresh_token"`, `"refresh_token":"x","refresh_token"`, 1))
		}, false},
		"no tokens":     {func(t *testing.T, path string) { write(t, path, `{"id":"BAD","url":"https://x/"}`) }, false},
		"a member more": {func(t *testing.T, path string) { write(t, path, `{"x":1,`+string(good[1:])) }, false},
		"without end":   {func(t *testing.T, path string) { write(t, path, string(good)+strings.Repeat(" ", 256<<10)) }, false},
		"a directory":   {func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }, false},
		"one that others can read": {func(t *testing.T, path string) {
			write(t, path, string(good))
			require.NoError(t, os.Chmod(path, 0o644))
		}, true},
		"a symbolic link": {func(t *testing.T, path string) {
			target := filepath.Join(t.TempDir(), "x")
			write(t, target, string(good))
			require.NoError(t, os.Symlink(target, path))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.unix && runtime.GOOS == "windows" {
				t.Skip("modes and links as on Unix")
			}
			dir := filepath.Join(t.TempDir(), "logouts")
			queue := must(refresher.NewFileLogouts(dir))
			fine := pending("FINE", time.Unix(1700000000, 0))
			require.NoError(t, queue.Put(t.Context(), fine))
			path := filepath.Join(dir, "BAD.logout")
			c.make(t, path)
			all, err := queue.List(t.Context())
			assert.ErrorContains(t, err, "BAD.logout")
			assert.NotContains(t, err.Error(), "refresh-")
			assert.Equal(t, []refresher.PendingLogout{fine}, all)
			_, err = os.Lstat(path)
			assert.NoError(t, err)
		})
	}
}

func write(t *testing.T, path, data string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
}

// What a process that was killed left half written is removed in time, and
// nothing that belongs to others ever is.
func TestHalfWrittenLogoutsAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logouts")
	queue := must(refresher.NewFileLogouts(dir))
	old := time.Now().Add(-2 * time.Hour)
	for _, name := range []string{"A.logout.X.tmp", "B.logout.Y.tmp", "C.txt"} {
		write(t, filepath.Join(dir, name), "x")
		if name != "B.logout.Y.tmp" {
			require.NoError(t, os.Chtimes(filepath.Join(dir, name), old, old))
		}
	}
	assert.Empty(t, must(queue.List(t.Context())))
	var names []string
	for _, entry := range must(os.ReadDir(dir)) {
		names = append(names, entry.Name())
	}
	assert.Equal(t, []string{"B.logout.Y.tmp", "C.txt"}, names)
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "x")
	for name, dir := range map[string]string{"none": "", "a file": file, "below a file": filepath.Join(file, "x")} {
		_, err := refresher.NewFileLogouts(dir)
		assert.Error(t, err, name)
	}
	if runtime.GOOS == "windows" {
		return
	}
	dir := filepath.Join(t.TempDir(), "logouts")
	queue := must(refresher.NewFileLogouts(dir))
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err := refresher.NewFileLogouts(dir)
	assert.ErrorContains(t, err, "others")
	assert.ErrorContains(t, queue.Put(t.Context(), pending("A", time.Unix(1700000000, 0))), "others")
	assert.ErrorContains(t, queue.Remove(t.Context(), "A"), "others")
	_, err = queue.List(t.Context())
	assert.ErrorContains(t, err, "others")
	require.NoError(t, os.Chmod(dir, 0o700))
	t.Chdir(dir)
	_, err = refresher.NewFileLogouts("")
	assert.Error(t, err, "none, where the working directory would do")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	_, err = refresher.NewFileLogouts(link)
	assert.Error(t, err)
}

// Any bytes in a file are a logout that can be put back, or an error.
func FuzzFileLogouts(f *testing.F) {
	good := must(json.Marshal(pending("X", time.Unix(1700000000, 0))))
	for _, seed := range [][]byte{good, good[:20], {}, []byte("null"), []byte(`{"id":"X","url":"u","tokens":{"access_token":"x"}}`), []byte("[]")} {
		f.Add(seed)
	}
	dir := filepath.Join(f.TempDir(), "logouts")
	queue := must(refresher.NewFileLogouts(dir))
	f.Fuzz(func(t *testing.T, data []byte) {
		ctx := t.Context()
		if err := os.WriteFile(filepath.Join(dir, "X.logout"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := queue.List(ctx)
		if (err == nil) != (len(all) == 1) {
			t.Fatalf("%d logouts and %v", len(all), err)
		}
		if err != nil {
			return
		}
		if all[0].ID != "X" || all[0].Tokens.IsZero() {
			t.Fatalf("%v", all[0])
		}
		if err := queue.Put(ctx, all[0]); err != nil {
			return // a time that JSON cannot express
		}
		again, err := queue.List(ctx)
		if err != nil || len(again) != 1 || again[0].Tokens.RefreshToken != all[0].Tokens.RefreshToken {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

// oneFile is a store in one file, as simple as can be. Its Clear can take
// forever.
type oneFile struct {
	refresher.MemoryStore // its Lock
	path                  string
	stuck                 bool
}

func (f *oneFile) Load(context.Context) (tokens refresher.Tokens, err error) {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return tokens, nil
	}
	return tokens, errors.Join(err, json.Unmarshal(data, &tokens))
}

func (f *oneFile) Save(_ context.Context, tokens refresher.Tokens) error {
	return os.WriteFile(f.path, must(json.Marshal(tokens)), 0o600)
}

func (f *oneFile) Clear(context.Context) error {
	if f.stuck {
		fmt.Println("about to clear the store")
		select {}
	}
	return os.Remove(f.path)
}

// NV-20, NV-17: a process logs out without a network and ends, or is killed at
// the worst of moments. The next one tells the issuer, and does not go on with
// the session.
func TestALogoutSurvivesTheProcess(t *testing.T) {
	if os.Getenv("TOKENLOOP_LOGOUT_DIR") != "" {
		logOutOffline()
	}
	for name, c := range map[string]struct {
		kill  bool
		later func(t *testing.T, tr *refresher.Transport, url string)
	}{
		"it ended, and the next makes a request":             {false, request},
		"it ended, and the next has nothing to do but Flush": {false, func(t *testing.T, tr *refresher.Transport, _ string) { require.NoError(t, tr.Flush(t.Context())) }},
		"it was killed before it cleared the store":          {true, request},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			server := s.start(t)
			dir := t.TempDir()
			store := &oneFile{path: filepath.Join(dir, "tokens")}
			first := config(server.URL)
			first.Store = store
			login(t, newTransport(t, first))

			cmd := exec.Command(os.Args[0], "-test.run=^TestALogoutSurvivesTheProcess$")
			cmd.Env = append(os.Environ(), "TOKENLOOP_LOGOUT_DIR="+dir, "TOKENLOOP_LOGOUT_URL="+server.URL)
			if c.kill {
				cmd.Env = append(cmd.Env, "TOKENLOOP_LOGOUT_STUCK=1")
			}
			out := &watched{want: "about to clear the store", seen: make(chan struct{})}
			cmd.Stdout, cmd.Stderr = out, out
			require.NoError(t, cmd.Start())
			if c.kill {
				select {
				case <-out.seen:
				case <-time.After(30 * time.Second):
					t.Error("it did not come that far")
				}
				require.NoError(t, cmd.Process.Kill())
				_ = cmd.Wait()
			} else {
				require.NoError(t, cmd.Wait(), "%s", &out.all)
			}
			assert.Empty(t, revoked(s))
			left := must(store.Load(t.Context()))
			assert.Equal(t, c.kill, !left.IsZero())

			queue := must(refresher.NewFileLogouts(filepath.Join(dir, "logouts")))
			require.Len(t, must(queue.List(t.Context())), 1)
			next := config(server.URL)
			next.Store, next.Logouts = store, queue
			tr := newTransport(t, next)
			c.later(t, tr, server.URL)
			assert.Eventually(t, func() bool { return len(revoked(s)) == 1 && len(must(queue.List(t.Context()))) == 0 },
				10*time.Second, time.Millisecond)
			assert.Equal(t, []string{"refresh-token-number-1"}, revoked(s))
			_, active := tr.Tokens()
			assert.False(t, active)
			assert.True(t, must(store.Load(t.Context())).IsZero())
			login(t, tr)
			request(t, tr, server.URL)
			assert.Len(t, revoked(s), 1)
		})
	}
}

// request makes a request that goes out with a token or without one, and that
// nobody refuses before it does.
func request(t *testing.T, tr *refresher.Transport, url string) {
	t.Helper()
	_, loggedIn := tr.Tokens()
	status, err := get(t.Context(), tr.Client(), url+"/api")
	if err == nil {
		assert.Equal(t, loggedIn, status == 200, "%d", status)
	} else {
		assert.ErrorIs(t, err, jwterrors.LoggedOut)
	}
}

// watched closes seen when want was written.
type watched struct {
	all  bytes.Buffer
	want string
	seen chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	before := strings.Contains(w.all.String(), w.want)
	n, err := w.all.Write(p)
	if !before && strings.Contains(w.all.String(), w.want) {
		close(w.seen)
	}
	return n, err
}

// logOutOffline is what the other process does.
func logOutOffline() {
	dir := os.Getenv("TOKENLOOP_LOGOUT_DIR")
	c := config(os.Getenv("TOKENLOOP_LOGOUT_URL"))
	c.Base = tripFunc(func(*http.Request) (*http.Response, error) { return nil, errUnplugged })
	c.Store = &oneFile{path: filepath.Join(dir, "tokens"), stuck: os.Getenv("TOKENLOOP_LOGOUT_STUCK") != ""}
	c.Logouts = must(refresher.NewFileLogouts(filepath.Join(dir, "logouts")))
	tr := must(refresher.New(c))
	if err := tr.Logout(context.Background()); !errors.Is(err, errUnplugged) {
		fmt.Println("Logout returned", err)
		os.Exit(1)
	}
	os.Exit(0)
}
