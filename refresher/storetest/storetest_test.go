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

func open(t *testing.T, path string) refresher.Store {
	t.Helper()
	s, err := refresher.NewFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
