package refresher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// tokenFile is where a test keeps its tokens: a directory that is not there yet.
func tokenFile(t testing.TB) string { return filepath.Join(t.TempDir(), "app", "session.json") }

func fileStore(t testing.TB, path string) *refresher.FileStore {
	t.Helper()
	s, err := refresher.NewFileStore(path)
	require.NoError(t, err)
	return s
}

var somebody = refresher.Tokens{
	AccessToken: "an-access-token", RefreshToken: "a-refresh-token", RetryKey: "a-retry-key", Identity: refresher.UserID("alice"),
	Owner: "sub:alice", Expiry: time.Unix(1900000000, 0).UTC(), Received: time.Unix(1890000000, 0).UTC(),
}

func TestAFileStoreNeedsAFile(t *testing.T) {
	for _, path := range []string{"", "/", "dir/", "/.", "/.."} {
		_, err := refresher.NewFileStore(path)
		assert.Error(t, err, path)
	}
	s, err := refresher.NewFileStore(t.TempDir())
	require.NoError(t, err)
	assert.Error(t, s.Save(t.Context(), somebody), "a directory is no file")
}

// A FileStore goes on with its file when the working directory changes.
func TestAFileStoreOfARelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	s := fileStore(t, filepath.Join("app", "session.json"))
	require.NoError(t, s.Save(t.Context(), somebody))
	t.Chdir(t.TempDir())
	assert.Equal(t, somebody, must(s.Load(t.Context())))
}

// What a file may hold that is no set of tokens. Each is an error that says what
// to do and shows nothing, and Login mends it.
var unreadable = map[string]string{
	"nothing":                   "",
	"one that was cut short":    `{"version":1,"tokens":{"access_token":"an-access-to`,
	"zeros":                     "\x00\x00\x00\x00",
	"something after it":        `{"version":1,"tokens":{"access_token":"a"}}{}`,
	"no version":                `{"tokens":{"access_token":"a"}}`,
	"version 0":                 `{"version":0,"tokens":{"access_token":"a"}}`,
	"a version that is text":    `{"version":"1","tokens":{"access_token":"a"}}`,
	"a newer version":           `{"version":2,"tokens":{"access_token":"a"}}`,
	"no tokens":                 `{"version":1}`,
	"null":                      `{"version":1,"tokens":null}`,
	"tokens without a token":    `{"version":1,"tokens":{}}`,
	"an unknown member":         `{"version":1,"tokens":{"access_token":"a","id_token":"b"}}`,
	"an unknown member outside": `{"version":1,"tokens":{"access_token":"a"},"more":1}`,
	"a repeated member":         `{"version":1,"tokens":{"access_token":"a","access_token":"b"}}`,
	"a member in two cases":     `{"version":1,"tokens":{"access_token":"a","ACCESS_TOKEN":"b"}}`,
	"a number for a token":      `{"version":1,"tokens":{"access_token":7}}`,
	"a time that is none":       `{"version":1,"tokens":{"access_token":"a","expiry":"soon"}}`,
	"invalid UTF-8":             "{\"version\":1,\"tokens\":{\"access_token\":\"\xff\"}}",
	"an array":                  `[1,{"access_token":"a"}]`,
	"too much":                  `{"version":1,"tokens":{"access_token":"` + strings.Repeat("a", 256<<10) + `"}}`,
}

// NV-02: a file that cannot be read is never taken for the end of the session.
func TestAFileThatCannotBeReadEndsNoSession(t *testing.T) {
	for name, text := range unreadable {
		t.Run(name, func(t *testing.T) {
			path := tokenFile(t)
			store := fileStore(t, path)
			s := newService()
			expired := 0
			share := func(c *refresher.Config) {
				c.Store, c.OnSessionExpired = store, func(*jwterrors.Error) { expired++ }
			}
			running := offline(t, s, share)
			login(t, running)
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))

			_, err := store.Load(t.Context())
			require.Error(t, err)
			assert.Contains(t, err.Error(), path)
			assert.Contains(t, err.Error(), "log in again")
			assert.NotContains(t, err.Error(), "an-access-to")
			assert.Less(t, len(err.Error()), 500)

			next := offline(t, s, share) // a later launch
			assert.ErrorIs(t, next.Restore(t.Context()), jwterrors.StoreUnavailable)
			login(t, next)
			tokens, _ := next.Tokens()
			assert.Equal(t, tokens.RefreshToken, must(store.Load(t.Context())).RefreshToken, "a login replaces it")

			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			require.NoError(t, next.Refresh(t.Context()), "a session in use goes on")
			tokens, _ = next.Tokens()
			assert.Equal(t, tokens.RefreshToken, must(store.Load(t.Context())).RefreshToken, "and mends the file")

			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			require.NoError(t, next.Logout(t.Context()))
			assert.NoFileExists(t, path)
			require.NoError(t, next.Close())
			assert.Zero(t, expired)
		})
	}
}

// What somebody who was killed while saving has left is no danger to anybody,
// and does not stay.
func TestWhatAKilledSaveHasLeft(t *testing.T) {
	path := tokenFile(t)
	store := fileStore(t, path)
	require.NoError(t, store.Save(t.Context(), somebody))
	left, other := path+".HALFWRITTEN.tmp", path+".other.HALFWRITTEN.tmp" // that of a store for session.json.other
	for _, change := range []func() error{
		func() error { return store.Save(t.Context(), somebody) },
		func() error { return store.Clear(t.Context()) },
	} {
		require.NoError(t, os.WriteFile(left, []byte(`{"version":1,"tok`), 0o600))
		require.NoError(t, os.WriteFile(other, nil, 0o600))
		_, err := store.Load(t.Context())
		require.NoError(t, err)
		require.NoError(t, change())
		assert.NoFileExists(t, left)
		assert.FileExists(t, other, "what belongs to others stays")
	}
}

func TestTheFileOfAFileStore(t *testing.T) {
	path := tokenFile(t)
	store := fileStore(t, path)
	_, err := store.Load(t.Context())
	require.NoError(t, err)
	require.NoError(t, store.Clear(t.Context()))
	assert.NoDirExists(t, filepath.Dir(path), "who only looks makes nothing")
	require.NoError(t, store.Save(t.Context(), somebody))
	must(store.Lock(t.Context()))()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	assert.Equal(t, []string{"session.json", "session.json.lock"}, names)
	var form struct {
		Version int
		Tokens  struct {
			RetryKey string `json:"retry_key"`
		}
	}
	require.NoError(t, json.Unmarshal(must(os.ReadFile(path)), &form))
	assert.Equal(t, 1, form.Version)
	assert.Equal(t, "a-retry-key", form.Tokens.RetryKey, "every process sends the same one")
	assert.Error(t, store.Save(t.Context(), refresher.Tokens{RefreshToken: strings.Repeat("x", 256<<10)}), "more than can be read again")
	assert.Error(t, store.Save(t.Context(), refresher.Tokens{RefreshToken: "\xff"}), "what JSON would change")
	assert.Error(t, store.Save(t.Context(), refresher.Tokens{AccessToken: "x", Expiry: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}), "a time that JSON cannot express")
	assert.Error(t, store.Save(t.Context(), refresher.Tokens{}))
	assert.Equal(t, somebody, must(store.Load(t.Context())), "a save that failed changes nothing")
}

// A file of any length is not read further than tokens can be long.
func TestAFileThatIsFarTooLong(t *testing.T) {
	path := tokenFile(t)
	store := fileStore(t, path)
	require.NoError(t, store.Save(t.Context(), somebody))
	require.NoError(t, os.Truncate(path, 1<<40)) // with a hole in it
	_, err := store.Load(t.Context())
	assert.ErrorContains(t, err, "too long")
}

// The lock of a file that was deleted is worth nothing: whoever comes next makes
// another. The holder of either keeps all others out that come after.
func TestALockFileThatWasDeleted(t *testing.T) {
	path := tokenFile(t)
	store := fileStore(t, path)
	must(store.Lock(t.Context()))()
	require.NoError(t, os.RemoveAll(filepath.Dir(path)))
	unlock := must(store.Lock(t.Context()))
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := store.Lock(ctx)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestTheErrorsOfAFileStoreCanBeAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file", "session.json")
	require.NoError(t, os.WriteFile(filepath.Dir(path), nil, 0o600))
	store := fileStore(t, path)
	_, err := store.Load(t.Context())
	assert.ErrorContains(t, err, "no directory")
	assert.Error(t, store.Save(t.Context(), somebody))
	assert.Error(t, store.Clear(t.Context()))
	_, err = store.Lock(t.Context())
	assert.ErrorContains(t, err, "no directory")
	deep := fileStore(t, filepath.Join(path, "more", "session.json"))
	err = deep.Save(t.Context(), somebody)
	var failed *fs.PathError
	assert.True(t, errors.As(err, &failed), "%v", err)
	inTheWay := tokenFile(t)
	require.NoError(t, os.MkdirAll(filepath.Join(inTheWay, "not empty"), 0o700))
	assert.ErrorAs(t, fileStore(t, inTheWay).Clear(t.Context()), &failed, "a directory is in the place of the file")
}

func FuzzDecodeTokens(f *testing.F) {
	for _, text := range unreadable {
		f.Add([]byte(text))
	}
	f.Add(must(refresher.EncodeTokens(somebody)))
	f.Add([]byte(`{"version":1,"tokens":{"refresh_token":"<&>\u2028","expiry":"2030-01-02T03:04:05.678+01:00","identity":{"email":"a@b"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tokens, err := refresher.DecodeTokens(data)
		if err != nil {
			if !tokens.IsZero() {
				t.Error("an error came with tokens")
			}
			if len(err.Error()) > 200 {
				t.Errorf("the error quotes the file: %v", err)
			}
			return
		}
		if tokens.IsZero() {
			t.Error("no tokens and no error: that would be a logout")
		}
		again, err := refresher.EncodeTokens(tokens)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := refresher.DecodeTokens(again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if third := must(refresher.EncodeTokens(back)); !bytes.Equal(again, third) {
			t.Errorf("%s became %s", again, third)
		}
	})
}

func ExampleNewFileStore() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir) // a program takes os.UserConfigDir, and keeps it
	store, err := refresher.NewFileStore(filepath.Join(dir, "my-program", "session.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	t, service := exampleTransport(func(c *refresher.Config) { c.Store = store })
	defer t.Close()
	fmt.Println(t.Login(context.Background(), alice))

	later, _ := refresher.New(refresher.Config{ // the program, started again
		AuthURL: "https://service.test/auth", Origins: []string{"https://service.test"}, Base: handlerTransport{service},
		Store: store,
	})
	defer later.Close()
	show(later.Client().Get("https://service.test/api"))
	// Output:
	// <nil>
	// 200 ok
}

func ExampleNewFileStore_incorrect() {
	_, err := refresher.NewFileStore("")
	fmt.Println(err)
	// Output: refresher: file store: "" does not name a file
}

func ExampleFileStore() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := refresher.NewFileStore(filepath.Join(dir, "my-program", "session.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	unlock, err := store.Lock(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(store.Save(ctx, refresher.Tokens{RefreshToken: "kept in full, never shown"}))
	unlock()
	fmt.Println(store.Load(ctx))
	fmt.Println(store.Clear(ctx))
	fmt.Println(store.Load(ctx))
	// Output:
	// <nil>
	// Tokens{access none, refresh (hidden)} <nil>
	// <nil>
	// Tokens{access none} <nil>
}

func ExampleEncodeTokens() {
	data, err := refresher.EncodeTokens(refresher.Tokens{AccessToken: "abc", RefreshToken: "def"})
	fmt.Println(string(data), err)
	fmt.Println(refresher.DecodeTokens(data))
	// Output:
	// {"version":1,"tokens":{"access_token":"abc","refresh_token":"def"}} <nil>
	// Tokens{access a..., refresh (hidden)} <nil>
}

func ExampleDecodeTokens() {
	_, err := refresher.DecodeTokens([]byte(`{"version":1,"tokens":{"access_tok`))
	fmt.Println(err)
	// Output: refresher: decode tokens: they are cut short, or are no tokens
}
