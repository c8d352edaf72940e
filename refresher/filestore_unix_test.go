//go:build unix && !aix && !solaris

package refresher_test

import (
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
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Symlink("stranger", link)
			_ = os.Rename(link, path)
			_ = os.Link(real, link)
			_ = os.Rename(link, path)
		}
	}()
	for range 1500 {
		tokens, err := store.Load(t.Context())
		if err == nil && tokens != somebody {
			t.Errorf("the link was followed: %v", tokens)
			break
		}
	}
	close(stop)
	<-stopped
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

// A relative path leads nowhere when the working directory is gone.
func TestAWorkingDirectoryThatIsGone(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	require.NoError(t, os.Mkdir(gone, 0o700))
	t.Chdir(gone)
	require.NoError(t, os.Remove(gone))
	_, err := refresher.NewFileStore("session.json")
	assert.Error(t, err)
	_, err = refresher.NewFileLogouts("logouts")
	assert.Error(t, err)
}
