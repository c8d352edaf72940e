//go:build unix && !aix && !solaris

package refresher_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/refresher"
)

// NV-02: the modes are 0600 and 0700, whatever the umask says.
func TestTheModesOfAFileStore(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := tokenFile(t)
	store := fileStore(t, path)
	unlock := must(store.Lock(t.Context()))
	defer unlock()
	require.NoError(t, store.Save(t.Context(), somebody))
	for name, want := range map[string]os.FileMode{path: 0o600, path + ".lock": 0o600, filepath.Dir(path): 0o700} {
		assert.Equal(t, want, must(os.Stat(name)).Mode().Perm(), name)
	}
}

// NV-02: what others may use, or what leads elsewhere, is refused by every
// method, and is not changed.
func TestAFileStoreRefusesWhatIsNotItsOwn(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, path, elsewhere string)
		want   string
		lock   bool // whether Lock refuses it too
	}{
		{"a file that the group may read", func(t *testing.T, path, _ string) {
			require.NoError(t, os.Chmod(path, 0o640))
		}, "mode 0640", false},
		{"a file that all may write", func(t *testing.T, path, _ string) {
			require.NoError(t, os.Chmod(path, 0o602))
		}, "mode 0602", false},
		{"a directory that all may read", func(t *testing.T, path, _ string) {
			require.NoError(t, os.Chmod(filepath.Dir(path), 0o755))
		}, "mode 0755", true},
		{"a link in the place of the file", func(t *testing.T, path, elsewhere string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Symlink(filepath.Join(elsewhere, "file"), path))
		}, "symbolic link", false},
		{"a link to a file beside it", func(t *testing.T, path, _ string) {
			require.NoError(t, os.Rename(path, path+".real"))
			require.NoError(t, os.Symlink(filepath.Base(path)+".real", path))
		}, "symbolic link", false},
		{"a link to nothing", func(t *testing.T, path, elsewhere string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Symlink(filepath.Join(elsewhere, "nothing"), path))
		}, "symbolic link", false},
		{"a link in the place of the directory", func(t *testing.T, path, elsewhere string) {
			require.NoError(t, os.RemoveAll(filepath.Dir(path)))
			require.NoError(t, os.Symlink(elsewhere, filepath.Dir(path)))
		}, "symbolic link", true},
		{"a directory that is a link to nothing", func(t *testing.T, path, elsewhere string) {
			require.NoError(t, os.RemoveAll(filepath.Dir(path)))
			require.NoError(t, os.Symlink(filepath.Join(elsewhere, "nothing"), filepath.Dir(path)))
		}, "symbolic link", true},
		{"a pipe in the place of the file", func(t *testing.T, path, _ string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
		}, "no file", false},
		{"a directory in the place of the file", func(t *testing.T, path, _ string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		}, "no file", false},
		{"a file of another user", func(t *testing.T, path, _ string) { chown(t, path) }, "another user", false},
		{"a directory of another user", func(t *testing.T, path, _ string) { chown(t, filepath.Dir(path)) }, "another user", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, elsewhere := tokenFile(t), t.TempDir()
			require.NoError(t, os.Chmod(elsewhere, 0o700))
			inElsewhere := filepath.Join(elsewhere, "file")
			require.NoError(t, os.WriteFile(inElsewhere, must(refresher.EncodeTokens(somebody)), 0o600))
			store := fileStore(t, path)
			require.NoError(t, store.Save(t.Context(), somebody))
			c.change(t, path, elsewhere)
			_, err := store.Load(t.Context())
			assert.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, store.Save(t.Context(), refresher.Tokens{AccessToken: "new"}), c.want)
			unlock, err := store.Lock(t.Context())
			if c.lock {
				assert.ErrorContains(t, err, c.want)
			} else {
				require.NoError(t, err)
				unlock()
			}
			assert.Len(t, must(os.ReadDir(elsewhere)), 1, "nothing was made elsewhere")
			assert.Equal(t, must(refresher.EncodeTokens(somebody)), must(os.ReadFile(inElsewhere)), "nothing was written elsewhere")
			if c.want != "another user" && c.want != "mode 0755" {
				_ = store.Clear(t.Context())
				assert.FileExists(t, inElsewhere, "nothing was deleted elsewhere")
			}
		})
	}
	t.Run("a link in the place of the lock", func(t *testing.T) {
		path, elsewhere := tokenFile(t), t.TempDir()
		store := fileStore(t, path)
		require.NoError(t, store.Save(t.Context(), somebody))
		require.NoError(t, os.Symlink(filepath.Join(elsewhere, "lock"), path+".lock"))
		_, err := store.Lock(t.Context())
		assert.ErrorContains(t, err, "symbolic link")
		assert.Empty(t, must(os.ReadDir(elsewhere)))
	})
}

// chown gives a file to another user, where the test may.
func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	require.NoError(t, os.Chown(path, 12345, 12345))
}

// A link further up is nobody's trick: home directories and /tmp are such links
// on some systems.
func TestALinkAboveTheDirectoryIsFollowed(t *testing.T) {
	real, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(real, link))
	store := fileStore(t, filepath.Join(link, "app", "session.json"))
	require.NoError(t, store.Save(t.Context(), somebody))
	assert.Equal(t, somebody, must(store.Load(t.Context())))
	assert.FileExists(t, filepath.Join(real, "app", "session.json"))
}

// Whoever gets the lock of a file that was deleted in the same moment does not
// take it for the lock: the next would make another file and get that.
func TestALockFileThatIsDeletedAgainAndAgain(t *testing.T) {
	path := tokenFile(t)
	var holders atomic.Int32
	crowd(8, func(int) bool {
		store := fileStore(t, path)
		for range 100 {
			unlock := must(store.Lock(t.Context()))
			if holders.Add(1) != 1 {
				t.Error("two hold the lock")
			}
			time.Sleep(time.Microsecond) // somebody else may run
			holders.Add(-1)
			_ = os.Remove(path + ".lock")
			unlock()
		}
		return true
	})
}

// Whoever finds no lock file makes one, and so may others in the same moment: one of
// them has the lock then, and the others wait for it.
func TestALockFileThatAllMakeAtOnce(t *testing.T) {
	for range 200 {
		path := tokenFile(t)
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
		assert.EqualValues(t, 8, crowd(8, func(int) bool {
			unlock, err := fileStore(t, path).Lock(t.Context())
			if err == nil {
				unlock()
			}
			return err == nil
		}))
	}
}

// Where there is no working directory, a relative path leads nowhere.
func TestAFileStoreWithoutAWorkingDirectory(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	require.NoError(t, os.Mkdir(gone, 0o700))
	t.Chdir(gone)
	require.NoError(t, os.Remove(gone))
	_, err := refresher.NewFileStore("session.json")
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = refresher.NewFileLogouts("logouts")
	assert.ErrorContains(t, err, "the queue of logouts")
}

// withHandles calls f with no more than n file handles left to the process.
func withHandles(t *testing.T, n int, f func()) {
	t.Helper()
	var all []int
	for range 256 { // every gap is filled, and the last has the highest number
		all = append(all, must(syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)))
	}
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	fewer := old
	setLimit(&fewer.Cur, all[len(all)-1]+1)
	for i, handle := range all {
		if i >= len(all)-n {
			_ = syscall.Close(handle)
		} else {
			defer syscall.Close(handle)
		}
	}
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &fewer))
	defer func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)) }()
	f()
}

// setLimit is for a field that has not the same type on every system.
func setLimit[T int64 | uint64](field *T, to int) { *field = T(to) }

// A process that has no file handles left is told so, whatever it does, and has what
// it had.
func TestFilesWithoutHandles(t *testing.T) {
	other := pending("B", time.Unix(1700000000, 0))
	for name, do := range map[string]func(ctx context.Context, s *refresher.FileStore, q *refresher.FileLogouts) error{
		"Load": func(ctx context.Context, s *refresher.FileStore, _ *refresher.FileLogouts) error {
			_, err := s.Load(ctx)
			return err
		},
		"Save": func(ctx context.Context, s *refresher.FileStore, _ *refresher.FileLogouts) error {
			return s.Save(ctx, somebody)
		},
		"Clear": func(ctx context.Context, s *refresher.FileStore, _ *refresher.FileLogouts) error { return s.Clear(ctx) },
		"Lock": func(ctx context.Context, s *refresher.FileStore, _ *refresher.FileLogouts) error {
			unlock, err := s.Lock(ctx)
			if err == nil {
				unlock()
			}
			return err
		},
		"Put": func(ctx context.Context, _ *refresher.FileStore, q *refresher.FileLogouts) error {
			return q.Put(ctx, other)
		},
		"List": func(ctx context.Context, _ *refresher.FileStore, q *refresher.FileLogouts) error {
			_, err := q.List(ctx)
			return err
		},
		"Remove": func(ctx context.Context, _ *refresher.FileStore, q *refresher.FileLogouts) error {
			return q.Remove(ctx, "A")
		},
	} {
		for n := range 4 {
			t.Run(fmt.Sprintf("%s with %d", name, n), func(t *testing.T) {
				path := tokenFile(t)
				store, queue := fileStore(t, path), fileLogouts(t)
				require.NoError(t, store.Save(t.Context(), somebody))
				require.NoError(t, queue.Put(t.Context(), pending("A", time.Unix(1700000000, 0))))
				var err error
				withHandles(t, n, func() { err = do(t.Context(), store, queue) })
				need := 2 // the directory, and what is in it
				if name == "Remove" {
					need = 1
				}
				require.Equal(t, n >= need, err == nil, "%v", err)
				if err == nil {
					return
				}
				assert.ErrorIs(t, err, syscall.EMFILE)
				if name != "Clear" || n == 0 { // else the file is gone, and it is not certain that the disk knows
					assert.Equal(t, somebody, must(store.Load(t.Context())))
					assert.Len(t, must(queue.List(t.Context())), 1)
					for _, entry := range must(os.ReadDir(filepath.Dir(path))) {
						assert.NotContains(t, entry.Name(), ".tmp")
					}
				}
			})
		}
	}
}

// overAndOver calls f on a goroutine until stop is called, which waits for that.
func overAndOver(f func()) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
				f()
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// A directory that is looked at is the one that is used, also where a link further up
// leads to another one in the next moment, which others may use.
func TestADirectoryThatComesAndGoes(t *testing.T) {
	top := t.TempDir()
	for name, tokens := range map[string]refresher.Tokens{"mine": somebody, "open": {AccessToken: "a stranger's"}} {
		require.NoError(t, fileStore(t, filepath.Join(top, name, "app", "session.json")).Save(t.Context(), tokens))
	}
	require.NoError(t, os.Chmod(filepath.Join(top, "open", "app"), 0o755))
	here, next := filepath.Join(top, "here"), filepath.Join(top, "next")
	require.NoError(t, os.Symlink("mine", here))
	store := fileStore(t, filepath.Join(here, "app", "session.json"))
	stop := overAndOver(func() {
		for _, to := range []string{"open", "mine"} {
			_ = os.Symlink(to, next)
			_ = os.Rename(next, here)
		}
	})
	for n, noticed := 0, false; n < 500_000 && !noticed; n++ {
		tokens, err := store.Load(t.Context())
		noticed = err != nil && strings.Contains(err.Error(), "was replaced")
		if err == nil && tokens != somebody {
			t.Errorf("the other directory was read: %v", tokens)
			break
		}
	}
	stop()
}

// A link that takes the place of the file between two looks at it is not
// followed either.
func TestALinkThatComesAndGoes(t *testing.T) {
	path := tokenFile(t)
	store := fileStore(t, path)
	require.NoError(t, store.Save(t.Context(), somebody))
	stranger := filepath.Join(filepath.Dir(path), "stranger")
	require.NoError(t, os.WriteFile(stranger, must(refresher.EncodeTokens(refresher.Tokens{AccessToken: "a stranger's"})), 0o600))
	real, link := path+".real", path+".link"
	require.NoError(t, os.Link(path, real))
	stop := overAndOver(func() {
		_ = os.Symlink("stranger", link)
		_ = os.Rename(link, path)
		_ = os.Link(real, link)
		_ = os.Rename(link, path)
	})
	for range 1500 {
		tokens, err := store.Load(t.Context())
		if err == nil && tokens != somebody {
			t.Errorf("the link was followed: %v", tokens)
			break
		}
	}
	stop()
}

// A save that fails leaves the tokens of before, and nothing half written. The limit
// that stands for a full disk is one of the process, and so this takes another one.
func TestAFullDisk(t *testing.T) {
	if path := os.Getenv("TOKENLOOP_FULL_DISK"); path != "" {
		store := fileStore(t, path)
		var before syscall.Rlimit
		require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
		full := before
		full.Cur = 64 // bytes that a file may have
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full))
		err := store.Save(t.Context(), refresher.Tokens{AccessToken: strings.Repeat("x", 1000)})
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
		require.ErrorIs(t, err, syscall.EFBIG)
		return
	}
	path := tokenFile(t)
	store := fileStore(t, path)
	require.NoError(t, store.Save(t.Context(), somebody))
	cmd := exec.Command(os.Args[0], "-test.run=^TestAFullDisk$")
	cmd.Env = append(os.Environ(), "TOKENLOOP_FULL_DISK="+path)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, somebody, must(store.Load(t.Context())))
	assert.Len(t, must(os.ReadDir(filepath.Dir(path))), 1)
}

// The name of a file can be so long that there is none for a file beside it.
func TestANameThatCannotGrow(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 250))
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o700))
	assert.ErrorIs(t, fileStore(t, path).Save(t.Context(), somebody), syscall.ENAMETOOLONG)
	assert.Empty(t, must(os.ReadDir(filepath.Dir(path))))
}
