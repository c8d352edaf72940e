package storetest_test

import (
	"path/filepath"
	"testing"

	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) (a, b refresher.Store) {
		s := &refresher.MemoryStore{}
		return s, s
	})
}

func TestFileStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (a, b refresher.Store) {
		path := filepath.Join(t.TempDir(), "app", "session.json")
		return open(t, path), open(t, path)
	})
}

func TestSplitStore(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (a, b refresher.Store){
		"two files": func(t *testing.T) (a, b refresher.Store) {
			secure, access := filepath.Join(t.TempDir(), "a", "secure"), filepath.Join(t.TempDir(), "b", "access")
			return &refresher.SplitStore{Secure: open(t, secure), Access: open(t, access)},
				&refresher.SplitStore{Secure: open(t, secure), Access: open(t, access)}
		},
		"two files in one directory": func(t *testing.T) (a, b refresher.Store) {
			dir := filepath.Join(t.TempDir(), "app")
			s := &refresher.SplitStore{Secure: open(t, filepath.Join(dir, "secure")), Access: open(t, filepath.Join(dir, "secure.access"))}
			return s, s
		},
		"memory": func(*testing.T) (a, b refresher.Store) {
			s := &refresher.SplitStore{Secure: &refresher.MemoryStore{}}
			return s, s
		},
	} {
		t.Run(name, func(t *testing.T) { storetest.Run(t, open) })
	}
}

func open(t *testing.T, path string) refresher.Store {
	t.Helper()
	s, err := refresher.NewFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
