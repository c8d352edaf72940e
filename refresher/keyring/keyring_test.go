package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	gokeyring "github.com/zalando/go-keyring"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/keyring"
	"github.com/tokenloop/tokenloop/refresher/storetest"
)

// In this file a keychain in memory takes the place of the operating system's.
// What a real one does is in session_linux_test.go.

func config(t testing.TB) keyring.Config {
	return keyring.Config{Service: "tokenloop-test", User: t.Name(), File: filepath.Join(t.TempDir(), "app", "session")}
}

func open(t testing.TB, c keyring.Config) *keyring.Store {
	t.Helper()
	s, err := keyring.Open(t.Context(), c)
	require.NoError(t, err)
	return s
}

var tokens = refresher.Tokens{RefreshToken: "a-refresh-token", RetryKey: "a-retry-key", Identity: refresher.UserID("alice")}

func load(t testing.TB, s refresher.Store) refresher.Tokens {
	t.Helper()
	got, err := s.Load(t.Context())
	require.NoError(t, err)
	return got
}

// NV-02, AX-17: the promises of every store, with an entry of a keychain, with
// the file, and split.
func TestStore(t *testing.T) {
	pairs := map[string]func(t *testing.T) (a, b refresher.Store){
		"in the keychain": func(t *testing.T) (a, b refresher.Store) {
			s := open(t, config(t)) // one: the keychain in memory is not for concurrent use
			return s, s
		},
		"in the file": func(t *testing.T) (a, b refresher.Store) {
			gokeyring.MockInitWithError(errNone)
			t.Cleanup(gokeyring.MockInit)
			c := config(t)
			c.FallbackToFile = true
			return open(t, c), open(t, c)
		},
		"split": func(t *testing.T) (a, b refresher.Store) {
			s := &refresher.SplitStore{Secure: open(t, config(t))}
			return s, s
		},
	}
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			gokeyring.MockInit()
			storetest.Run(t, pair)
		})
	}
}

var errNone = errors.New("there is no keychain")

func TestOpenNamesEveryMistake(t *testing.T) {
	_, err := keyring.Open(t.Context(), keyring.Config{})
	for _, want := range []string{"Service", "User", "File"} {
		assert.ErrorContains(t, err, want)
	}
}

// NV-02: where no keychain answers, nothing is written anywhere else unless the
// caller has said so, and then it says so too.
func TestNoFallbackUnlessAskedFor(t *testing.T) {
	gokeyring.MockInitWithError(errNone)
	t.Cleanup(gokeyring.MockInit)
	c := config(t)
	_, err := keyring.Open(t.Context(), c)
	assert.ErrorIs(t, err, jwterrors.StoreUnavailable)
	assert.ErrorIs(t, err, errNone)
	assert.NoDirExists(t, filepath.Dir(c.File))

	c.FallbackToFile = true
	s := open(t, c)
	assert.ErrorIs(t, s.Fallback(), errNone)
	assert.True(t, load(t, s).IsZero())
	require.NoError(t, s.Save(t.Context(), tokens))
	assert.Equal(t, tokens, load(t, s))
	assert.FileExists(t, c.File)
	require.NoError(t, s.Clear(t.Context()))
	assert.NoFileExists(t, c.File)
}

// A keychain that stops answering after it was opened is an error, and not an
// empty one: the session would be over. Nor is the file used then.
func TestAKeychainThatStopsAnswering(t *testing.T) {
	gokeyring.MockInit()
	t.Cleanup(gokeyring.MockInit)
	c := config(t)
	c.FallbackToFile = true
	s := open(t, c)
	require.NoError(t, s.Fallback())
	require.NoError(t, s.Save(t.Context(), tokens))
	gokeyring.MockInitWithError(errNone)
	_, err := s.Load(t.Context())
	assert.ErrorIs(t, err, errNone)
	assert.ErrorIs(t, s.Save(t.Context(), tokens), errNone)
	assert.ErrorIs(t, s.Clear(t.Context()), errNone)
	assert.NoFileExists(t, c.File)
}

// One process finds no keychain and logs in; another does find one. Both have
// the newest tokens, and neither takes the session from the other.
func TestTheFileStaysInUse(t *testing.T) {
	c := config(t)
	c.FallbackToFile = true
	gokeyring.MockInit()
	t.Cleanup(gokeyring.MockInit)
	require.NoError(t, open(t, c).Save(t.Context(), refresher.Tokens{RefreshToken: "older, in the keychain"}))

	gokeyring.MockInitWithError(errNone)
	over := open(t, c) // over SSH, say
	require.NoError(t, over.Save(t.Context(), tokens))

	gokeyring.MockInit() // and empty: the older ones do not matter
	desktop := open(t, c)
	assert.ErrorContains(t, desktop.Fallback(), "kept there")
	assert.Equal(t, tokens, load(t, desktop))
	next := tokens
	next.RefreshToken = "the next"
	require.NoError(t, desktop.Save(t.Context(), next))
	assert.Equal(t, next, load(t, over))
	assert.FileExists(t, c.File)

	require.NoError(t, desktop.Clear(t.Context()))
	assert.True(t, load(t, over).IsZero())
	require.NoError(t, desktop.Save(t.Context(), tokens), "from now on it is the keychain")
	assert.NoFileExists(t, c.File)
	assert.Equal(t, tokens, load(t, desktop))
}

// A file that cannot be read is no reason to take older tokens from the keychain.
func TestAFallbackFileThatCannotBeRead(t *testing.T) {
	gokeyring.MockInit()
	c := config(t)
	c.FallbackToFile = true
	s := open(t, c)
	require.NoError(t, s.Save(t.Context(), tokens))
	require.NoError(t, os.MkdirAll(filepath.Dir(c.File), 0o700))
	require.NoError(t, os.WriteFile(c.File, []byte(`{"version":1,"tok`), 0o600))
	_, err := s.Load(t.Context())
	assert.ErrorContains(t, err, "log in again")
	assert.ErrorContains(t, open(t, c).Fallback(), "log in again")
	require.NoError(t, s.Save(t.Context(), tokens))
	assert.Equal(t, tokens, load(t, s))
}

// What is too much is refused with the way out, at the limit and one step above.
func TestWhatFits(t *testing.T) {
	gokeyring.MockInit()
	s := open(t, config(t))
	empty, err := refresher.EncodeTokens(refresher.Tokens{RefreshToken: "x"})
	require.NoError(t, err)
	fits := refresher.Tokens{RefreshToken: strings.Repeat("x", 2560-len(empty)+1)}
	require.NoError(t, s.Save(t.Context(), fits))
	fits.RefreshToken += "x"
	err = s.Save(t.Context(), fits)
	assert.ErrorContains(t, err, "2561 bytes")
	assert.ErrorContains(t, err, "SplitStore")
	assert.NotContains(t, err.Error(), "xxx")
	assert.Len(t, load(t, s).RefreshToken, len(fits.RefreshToken)-1)
	assert.Error(t, s.Save(t.Context(), refresher.Tokens{}))
}

func TestAnEntryThatIsNotOurs(t *testing.T) {
	gokeyring.MockInit()
	c := config(t)
	require.NoError(t, gokeyring.Set(c.Service, c.User, "a password"))
	s := open(t, c)
	_, err := s.Load(t.Context())
	assert.ErrorContains(t, err, "log in again")
	assert.NotContains(t, err.Error(), "a password")
	require.NoError(t, s.Save(t.Context(), tokens))
	assert.Equal(t, tokens, load(t, s))
}

// Who has no patience with a keychain leaves; the keychain is not asked then.
func TestAContextThatHasEnded(t *testing.T) {
	gokeyring.MockInit()
	s := open(t, config(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var err error
	for range 100 { // it may be answered all the same, but comes back
		if _, err = s.Load(ctx); err != nil {
			break
		}
	}
	assert.ErrorIs(t, err, context.Canceled)
	assert.True(t, load(t, s).IsZero())
}

func Example() {
	gokeyring.MockInit() // in the place of the operating system's keychain
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir) // a program takes os.UserConfigDir, and keeps it
	ctx := context.Background()
	keychain, err := keyring.Open(ctx, keyring.Config{
		Service:        "my-program",
		User:           "alice@example.com",
		File:           filepath.Join(dir, "my-program", "session"),
		FallbackToFile: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := keychain.Fallback(); err != nil {
		fmt.Println("the refresh token is kept in a file:", err)
	}
	store := &refresher.SplitStore{Secure: keychain} // for Config.Store of a Transport
	fmt.Println(store.Save(ctx, refresher.Tokens{AccessToken: "in memory", RefreshToken: "in the keychain"}))
	fmt.Println(keychain.Load(ctx))
	fmt.Println(keychain.Clear(ctx))
	// Output:
	// <nil>
	// Tokens{access none, refresh (hidden)} <nil>
	// <nil>
}

func ExampleOpen_incorrect() {
	_, err := keyring.Open(context.Background(), keyring.Config{Service: "my-program", File: "session"})
	fmt.Println(err)
	// Output: keyring: User is empty
}

func ExampleStore_Fallback() {
	gokeyring.MockInitWithError(errNone) // no keychain answers
	defer gokeyring.MockInit()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	c := keyring.Config{Service: "my-program", User: "alice", File: filepath.Join(dir, "my-program", "session")}
	_, err = keyring.Open(context.Background(), c)
	fmt.Println(errors.Is(err, jwterrors.StoreUnavailable))
	c.FallbackToFile = true
	store, err := keyring.Open(context.Background(), c)
	fmt.Println(store.Fallback(), err)
	// Output:
	// true
	// keyring: read the keychain: there is no keychain <nil>
}
