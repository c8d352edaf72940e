package refresher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/internal/jws"
)

const (
	logoutSuffix = ".logout"

	// maxTempAge is how long a file may be in the making.
	maxTempAge = time.Hour
)

// FileLogouts is a LogoutQueue in a directory of its own, one file for each
// logout. It outlives restarts and crashes, and any number of processes may share
// it. The files are as those of a FileStore: not encrypted, for their owner
// alone, and written as a whole.
type FileLogouts struct{ dir string }

// NewFileLogouts returns the queue in the directory dir, which it makes if it is
// not there. One that others may use, or that is a symbolic link, is refused.
func NewFileLogouts(dir string) (*FileLogouts, error) {
	if dir == "" {
		return nil, errors.New("refresher: the queue of logouts has no directory")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("refresher: the queue of logouts: %w", err)
	}
	q := &FileLogouts{dir}
	root, err := q.file("").create()
	if err != nil {
		return nil, err
	}
	return q, root.Close()
}

// file returns what reads and writes the file of that logout.
func (q *FileLogouts) file(id string) *FileStore { return &FileStore{q.dir, id + logoutSuffix} }

// Put writes logout to a file. When there are 256, the oldest gives way, if it can be
// deleted.
func (q *FileLogouts) Put(ctx context.Context, logout PendingLogout) error {
	if !validID(logout.ID) {
		return errors.New("refresher: the ID of a logout is made of capital letters and digits")
	}
	q.makeRoom(ctx)
	data, err := json.Marshal(logout)
	if err != nil {
		return errors.New("refresher: the logout cannot be written as JSON")
	}
	return q.file(logout.ID).replace(data)
}

// makeRoom removes the oldest logouts until there is room for one more. Where that
// cannot be done, a new one is not lost for it.
func (q *FileLogouts) makeRoom(ctx context.Context) {
	if names, _ := q.names(); len(names) < maxLogouts {
		return
	}
	all, _ := q.List(ctx)
	slices.SortFunc(all, func(a, b PendingLogout) int { return a.Since.Compare(b.Since) })
	for ; len(all) >= maxLogouts; all = all[1:] {
		_ = q.Remove(ctx, all[0].ID)
	}
}

// names returns the names in the directory, and none when there is none.
func (q *FileLogouts) names() ([]string, error) {
	root, err := q.file("").open()
	if root == nil {
		return nil, err
	}
	defer root.Close()
	var names []string
	dir, err := root.Open(".")
	if err == nil {
		defer dir.Close()
		names, err = dir.Readdirnames(-1)
	}
	if err != nil {
		return nil, fmt.Errorf("refresher: read the directory %q: %w", q.dir, err)
	}
	for _, name := range names {
		if info, err := root.Lstat(name); err == nil && strings.HasSuffix(name, tempSuffix) && time.Since(info.ModTime()) > maxTempAge {
			_ = root.Remove(name) // of a process that was killed
		}
	}
	return names, nil
}

// List reads the files. One that is not a logout is left where it is.
func (q *FileLogouts) List(context.Context) (all []PendingLogout, err error) {
	names, err := q.names()
	if err != nil {
		return nil, err
	}
	var mistakes []error
	for _, name := range names {
		id, ok := strings.CutSuffix(name, logoutSuffix)
		if !ok {
			continue
		}
		data, err := q.file(id).read()
		if err == nil && data == nil { // somebody else has just removed it
			continue
		}
		var logout PendingLogout
		if err == nil {
			logout, err = parseLogout(data, id)
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("refresher: the logout %q: %w", filepath.Join(q.dir, name), err))
			continue
		}
		all = append(all, logout)
	}
	return all, errors.Join(mistakes...)
}

// Remove deletes the file with that ID.
func (q *FileLogouts) Remove(_ context.Context, id string) error {
	if !validID(id) {
		return nil
	}
	root, err := q.file(id).open()
	if root == nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(id + logoutSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("refresher: delete a logout: %w", err)
	}
	return nil
}

// parseLogout reads the JSON form of the logout with that ID, and nothing else.
// Its errors quote nothing.
func parseLogout(data []byte, id string) (PendingLogout, error) {
	members, err := jws.Members(data)
	if err == nil {
		_, err = jws.Members(members["tokens"])
	}
	var logout PendingLogout
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	switch {
	case err != nil, len(data) > maxEncoded, decoder.Decode(&logout) != nil, logout.URL == "", logout.Tokens.IsZero():
		return PendingLogout{}, errors.New("it was cut short, or is no logout: delete it")
	case !validID(id) || logout.ID != id:
		return PendingLogout{}, errors.New("it has the name of another")
	}
	return logout, nil
}

// validID reports whether id can be the name of a file on every system.
func validID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'A' || 'Z' < c) && (c < '0' || '9' < c) {
			return false
		}
	}
	return true
}
