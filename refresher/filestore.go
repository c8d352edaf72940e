package refresher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A FileStore keeps tokens in a file, for the processes of one user on one
// machine. The file is not encrypted: who can read it has the session. A
// SplitStore and the module refresher/keyring keep the refresh token in the
// operating system's keychain instead.
//
// The file has the mode 0600 and lies in a directory of its own with the mode
// 0700, which Save and Lock make if it is not there. A file or a directory that
// others may use, that belongs to another user, or that is a symbolic link is
// refused; links further up are not the store's business. Windows knows no such
// modes: there the directory should lie in the user's profile, as
// os.UserConfigDir does, whose permissions it inherits.
//
// Save replaces the file as a whole and waits until the disk has it. Beside it
// lies a file with ".lock" added to its name, which is never deleted. The
// operating system holds the lock and releases it when a process dies, however
// that happens. File systems on which flock does not work, some network file
// systems among them, will not do.
//
// A file that cannot be read, because it was cut short, say, is an error and
// never counts as the end of the session. Login, SetTokens and Logout replace
// or delete it; so may a person, to whom a deleted file means that the session
// was ended.
//
// A FileStore has no state of its own: any number of them, in any number of
// processes, may be used for one file at the same time.
type FileStore struct{ dir, name string }

// NewFileStore returns a FileStore for the file at path, which it makes absolute at
// once. It touches no file. A path that names no file, such as "" or one that ends in
// a slash, is an error.
func NewFileStore(path string) (*FileStore, error) {
	absolute, err := filepath.Abs(path)
	switch {
	case path == "" || os.IsPathSeparator(path[len(path)-1]):
		return nil, fmt.Errorf("refresher: file store: %q does not name a file", path)
	case err != nil:
		return nil, fmt.Errorf("refresher: file store: %w", err)
	}
	dir, name := filepath.Split(absolute)
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("refresher: file store: %q does not name a file", path)
	}
	return &FileStore{filepath.Clean(dir), name}, nil
}

// Load returns the saved tokens, or zero Tokens when there is no file.
func (s *FileStore) Load(context.Context) (Tokens, error) {
	data, err := s.read()
	if err != nil || data == nil {
		return Tokens{}, err
	}
	tokens, err := DecodeTokens(data)
	if err != nil {
		return Tokens{}, fmt.Errorf("refresher: %q holds no tokens that can be used: delete it or log in again (%w)", s.path(), err)
	}
	return tokens, nil
}

// read returns what is in the file, up to maxEncoded and one byte more, or nil
// when there is no file.
func (s *FileStore) read() ([]byte, error) {
	dir, err := s.open()
	if err != nil || dir == nil {
		return nil, err
	}
	defer dir.Close()
	f, err := s.openFile(dir, s.name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEncoded+1)) // never nil
	if err != nil {
		return nil, s.failed("read", err)
	}
	return data, nil
}

// Save replaces the file. Once it has begun it does not stop for ctx: the tokens
// may be the only ones that the server still takes.
func (s *FileStore) Save(_ context.Context, tokens Tokens) error {
	data, err := EncodeTokens(tokens)
	if err != nil {
		return err
	}
	return s.replace(data)
}

// replace makes data what is in the file.
func (s *FileStore) replace(data []byte) error {
	dir, err := s.create()
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := s.check(dir, s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.sweep(dir)
	temp := s.name + "." + rand.Text() + tempSuffix
	if err := write(dir, temp, data); err != nil {
		_ = dir.Remove(temp)
		return s.failed("write", err)
	}
	if err := dir.Rename(temp, s.name); err != nil {
		_ = dir.Remove(temp)
		return s.failed("replace", err)
	}
	if err := syncDir(dir); err != nil {
		return s.failed("sync", err)
	}
	return nil
}

// Clear deletes the file, also one that cannot be read.
func (s *FileStore) Clear(context.Context) error {
	dir, err := s.open()
	if err != nil || dir == nil {
		return err
	}
	defer dir.Close()
	s.sweep(dir)
	if err := dir.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.failed("delete", err)
	}
	if err := syncDir(dir); err != nil {
		return s.failed("sync", err)
	}
	return nil
}

// The lock is asked for after a wait of lockPoll, then of twice as much each
// time, up to maxLockPoll.
const (
	lockPoll    = time.Millisecond
	maxLockPoll = 32 * time.Millisecond
)

// Lock takes the lock, or returns the cause of ctx. It asks for the lock again
// and again rather than wait in the operating system, which ctx could not end.
func (s *FileStore) Lock(ctx context.Context) (unlock func(), err error) {
	for wait := lockPoll; ; wait = min(2*wait, maxLockPoll) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		f, err := s.tryLock()
		if err != nil {
			return nil, err
		}
		if f != nil {
			return sync.OnceFunc(func() {
				_ = unlockFile(f)
				_ = f.Close()
			}), nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// tryLock returns the lock file, locked, or nil when somebody else holds it.
func (s *FileStore) tryLock() (*os.File, error) {
	dir, err := s.create()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := s.name + lockSuffix
	f, err := s.openFile(dir, name, os.O_RDWR|os.O_CREATE)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it has just been made by another process, or deleted
	}
	if err != nil {
		return nil, err
	}
	locked, err := tryLockFile(f)
	if err == nil && locked {
		// A lock on a file that was deleted meanwhile keeps nobody out.
		var held, there fs.FileInfo
		if held, err = f.Stat(); err == nil {
			if there, err = os.Lstat(filepath.Join(s.dir, name)); err == nil && os.SameFile(held, there) {
				return f, nil
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("refresher: lock %q: %w", filepath.Join(s.dir, name), err)
	}
	return nil, nil
}

const (
	lockSuffix = ".lock"
	tempSuffix = ".tmp"
)

func (s *FileStore) path() string { return filepath.Join(s.dir, s.name) }

func (s *FileStore) failed(what string, err error) error {
	return fmt.Errorf("refresher: %s %q: %w", what, s.path(), err)
}

// open returns the directory, or nil when there is none. What is done in it
// goes on in that directory, whatever takes its name in the meantime.
func (s *FileStore) open() (*os.Root, error) {
	named, err := os.Lstat(s.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("refresher: open the directory %q: %w", s.dir, err)
	case !named.IsDir():
		return nil, fmt.Errorf("refresher: %q is a symbolic link or no directory", s.dir)
	}
	if err := private(s.dir, named, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, fmt.Errorf("refresher: open the directory %q: %w", s.dir, err)
	}
	if opened, err := dir.Stat("."); err != nil || !os.SameFile(named, opened) {
		_ = dir.Close()
		return nil, fmt.Errorf("refresher: the directory %q was replaced while it was opened", s.dir)
	}
	return dir, nil
}

// create returns the directory, which it makes if there is none.
func (s *FileStore) create() (*os.Root, error) {
	dir, err := s.open()
	if dir != nil || err != nil {
		return dir, err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("refresher: make the directory %q: %w", s.dir, err)
	}
	if dir, err = s.open(); dir == nil && err == nil {
		err = fmt.Errorf("refresher: the directory %q was deleted as soon as it was made", s.dir)
	}
	return dir, err
}

// check returns what the name stands for: a regular file that nobody else may
// use, or an error.
func (s *FileStore) check(dir *os.Root, name string) (fs.FileInfo, error) {
	path := filepath.Join(s.dir, name)
	named, err := dir.Lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("refresher: open %q: %w", path, err)
	case !named.Mode().IsRegular():
		return nil, fmt.Errorf("refresher: %q is a symbolic link or no file", path)
	}
	return named, private(path, named, 0o600)
}

// openFile opens a file of the directory, and no link. With O_CREATE it makes
// the file if there is none.
func (s *FileStore) openFile(dir *os.Root, name string, flag int) (*os.File, error) {
	path := filepath.Join(s.dir, name)
	for range maxReplaced {
		named, err := s.check(dir, name)
		with := flag &^ os.O_CREATE
		if errors.Is(err, fs.ErrNotExist) && flag != with {
			with, err = flag|os.O_EXCL, nil
		}
		if err != nil {
			return nil, err
		}
		f, err := dir.OpenFile(name, with, 0o600)
		if err != nil {
			return nil, fmt.Errorf("refresher: open %q: %w", path, err)
		}
		if opened, err := f.Stat(); err == nil && (named == nil || os.SameFile(named, opened)) {
			return f, nil
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("refresher: %q was replaced whenever it was opened", path)
}

// maxReplaced is how often a file is opened again that another process has
// replaced since it was looked at.
const maxReplaced = 10

// sweep deletes what processes have left that were killed while they saved. Who
// calls it holds the lock: nobody else is saving.
func (s *FileStore) sweep(dir *os.Root) {
	list, err := dir.Open(".")
	if err != nil {
		return // who saves next may sweep
	}
	defer list.Close()
	names, _ := list.Readdirnames(-1)
	for _, name := range names {
		rest, ours := strings.CutPrefix(name, s.name+".")
		random, temporary := strings.CutSuffix(rest, tempSuffix)
		if ours && temporary && !strings.Contains(random, ".") {
			_ = dir.Remove(name)
		}
	}
}

// write makes a new file that holds data, and waits until the disk has it.
func write(dir *os.Root, name string, data []byte) error {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
