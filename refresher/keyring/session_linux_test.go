package keyring_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/keyring"
	"github.com/tokenloop/tokenloop/refresher/storetest"
)

// envSession is set in the process that has a keychain of its own.
const envSession = "KEYRING_TEST_SESSION"

// bus configures a message bus that starts nothing by itself, least of all a
// second keyring.
const bus = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>`

// TestARealKeychain runs TestInASession with a message bus and a GNOME Keyring
// that live as long as it does and keep nothing.
func TestARealKeychain(t *testing.T) {
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
				t.Fatal(err)
			}
			t.Skipf("a real keychain is tested with %s (packages dbus and gnome-keyring)", program)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	home := t.TempDir()
	config := filepath.Join(home, "bus.conf")
	require.NoError(t, os.WriteFile(config, []byte(bus), 0o600))
	c := exec.CommandContext(ctx, "dbus-run-session", "--config-file="+config, "--", os.Args[0], "-test.v", "-test.run=^TestInASession$")
	c.Env = append(os.Environ(), envSession+"=1", "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_DATA_HOME="+home, "XDG_CACHE_HOME="+home)
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestInASession ")
}

// NV-02, AX-17: the same with a Secret Service that answers.
func TestInASession(t *testing.T) {
	if os.Getenv(envSession) == "" {
		t.Skip("TestARealKeychain runs it")
	}
	daemon := exec.CommandContext(t.Context(), "gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets")
	daemon.Stdin = strings.NewReader("a password of this test")
	require.NoError(t, daemon.Start())
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	})
	c := config(t)
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		_, err := keyring.Open(context.Background(), c)
		require.NoError(t, err)
	}, 20*time.Second, 50*time.Millisecond)

	t.Run("the suite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) (a, b refresher.Store) {
			c := config(t)
			return open(t, c), open(t, c)
		})
	})
	t.Run("the suite, split", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) (a, b refresher.Store) {
			c := config(t)
			access, err := refresher.NewFileStore(c.File + ".access")
			require.NoError(t, err)
			return &refresher.SplitStore{Secure: open(t, c), Access: access}, &refresher.SplitStore{Secure: open(t, c), Access: access}
		})
	})
	t.Run("the limit", func(t *testing.T) {
		s := open(t, config(t))
		require.NoError(t, s.Save(t.Context(), refresher.Tokens{RefreshToken: strings.Repeat("x", 2560-100)}))
		assert.Error(t, s.Save(t.Context(), refresher.Tokens{RefreshToken: strings.Repeat("x", 2560)}))
	})
	t.Run("the daemon does not answer", func(t *testing.T) { // as while it asks the user
		s := open(t, config(t))
		require.NoError(t, s.Save(t.Context(), tokens))
		require.NoError(t, daemon.Process.Signal(syscall.SIGSTOP))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		next := tokens
		next.RefreshToken = "the next"
		require.ErrorIs(t, s.Save(ctx, next), context.DeadlineExceeded)
		_, err := s.Load(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, daemon.Process.Signal(syscall.SIGCONT))
		assert.Equal(t, next, load(t, s), "it has happened, and before what was asked for later")
	})
	t.Run("the daemon is killed", func(t *testing.T) {
		c := config(t)
		c.FallbackToFile = true
		s := open(t, c)
		require.NoError(t, s.Save(t.Context(), tokens))
		require.NoError(t, daemon.Process.Kill())
		_ = daemon.Wait()
		_, err := s.Load(t.Context())
		require.Error(t, err, "that is no logout")
		require.Error(t, s.Save(t.Context(), tokens))
		assert.NoFileExists(t, c.File)
		later := open(t, c)
		require.Error(t, later.Fallback())
		t.Log(later.Fallback())
	})
}

// Without a message bus there is no Secret Service; nothing takes its place here.
func TestWithoutASession(t *testing.T) {
	const env = "KEYRING_TEST_NO_SESSION"
	if os.Getenv(env) == "" {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWithoutASession$")
		home := t.TempDir()
		c.Env = []string{env + "=1", "HOME=" + home, "DBUS_SESSION_BUS_ADDRESS=unix:path=" + filepath.Join(home, "none")}
		out, err := c.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	c := config(t)
	_, err := keyring.Open(t.Context(), c)
	require.ErrorIs(t, err, jwterrors.StoreUnavailable)
	c.FallbackToFile = true
	s := open(t, c)
	require.Error(t, s.Fallback())
	require.NoError(t, s.Save(t.Context(), tokens))
	assert.Equal(t, tokens, load(t, open(t, c)))
}
