package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/refresher"
)

// The story checks what it tells, over HTTP and on a disk: the header (NV-01), the
// files (NV-02), what the app reads in a token (NV-03) and what it cannot verify
// with (NV-04), the 30 seconds (NV-05), the issuer and the audience (NV-06, NV-07),
// the public key (NV-08), the lifetimes (NV-09), business code that knows nothing of
// tokens (NV-10), refreshing before and after (NV-11), other answers than 401
// (NV-12), a 401 and no new token (NV-13), five at once (NV-14), twice (NV-15), the
// three steps of a logout (NV-17, NV-18, NV-19), and its delivery after a restart
// (NV-20).
func TestStory(t *testing.T) {
	exampletest.Story(t, run, 7)
}

// newTestWorld returns a world in which alice is logged in.
func newTestWorld(t *testing.T) *world {
	t.Helper()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	login(t, w)
	return w
}

func login(t *testing.T, w *world) {
	t.Helper()
	if err := w.app.session.Login(t.Context(), refresher.Credentials{Username: user, Password: password}); err != nil {
		t.Fatal(err)
	}
}

// NV-21, storage (NV-02): the tokens outlive a restart, are for nobody else, and are
// gone after a logout. A file that others may read is refused.
func TestStorage(t *testing.T) {
	w := newTestWorld(t)
	before, _ := w.app.session.Tokens()
	if err := w.restart(nil); err != nil {
		t.Fatal(err)
	}
	if err := w.app.session.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, _ := w.app.session.Tokens(); after.AccessToken != before.AccessToken || after.RefreshToken != before.RefreshToken {
		t.Error("the tokens after a restart are others")
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(tokenFile(w.dir), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := w.restart(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.app.screen(t.Context()); !errors.Is(err, jwterrors.StoreUnavailable) {
			t.Errorf("a file that others may read: %v", err)
		}
		if err := os.Chmod(tokenFile(w.dir), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.restart(nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.app.session.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tokenFile(w.dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a logout the file is still there: %v", err)
	}
}

// NV-21, attaching and refreshing (NV-05, NV-11): at which second a token is sent
// as it is, sent and renewed, or not sent.
func TestAttachAndRefresh(t *testing.T) {
	for _, c := range []struct {
		name          string
		left          time.Duration
		sent, renewed bool
	}{
		{"before the window", 61 * time.Second, true, false},
		{"in the window", 45 * time.Second, true, true},
		{"one second before the margin", 31 * time.Second, true, true},
		{"in the margin", 29 * time.Second, false, true},
		{"expired", -time.Second, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTestWorld(t)
			old, _ := w.app.session.Tokens()
			w.server.clock.Advance(old.Expiry.Sub(w.server.clock.Now()) - c.left)
			status, _, err := w.app.get(t.Context(), "/me")
			if err != nil || status != 200 {
				t.Fatalf("got %d %v", status, err)
			}
			if sent := w.server.lastToken() == "Bearer "+old.AccessToken; sent != c.sent {
				t.Errorf("the old token was sent: %t", sent)
			}
			if c.renewed {
				s := story.New(t.Output())
				s.Until(t.Context(), func() bool { now, _ := w.app.session.Tokens(); return now.AccessToken != old.AccessToken }, "a new token has come")
				if s.Err() != nil {
					t.Error(s.Err())
				}
			}
			want := int64(0)
			if c.renewed {
				want = 1
			}
			if n := w.server.refreshes.Load(); n != want || w.server.refused.Load() != 0 {
				t.Errorf("%d refreshes, want %d, and %d answers of 401", n, want, w.server.refused.Load())
			}
		})
	}
}

// NV-13, NV-15: a call whose refresh brings nothing gets its answer, and the
// next one starts a refresh of its own.
func TestAFailureIsNotSticky(t *testing.T) {
	w := newTestWorld(t)
	if err := w.server.invalidate(t.Context(), w.app); err != nil {
		t.Fatal(err)
	}
	w.server.broken.Store(true)
	status, reason, err := w.app.get(t.Context(), "/me")
	if err != nil || status != 401 || reason != string(jwterrors.TokenInvalidated) {
		t.Errorf("got %d %s %v", status, reason, err)
	}
	if n := w.server.refreshes.Load(); n != 3 { // MaxRetries is 2
		t.Errorf("%d calls of /auth/refresh", n)
	}
	w.server.broken.Store(false)
	w.server.clock.Advance(time.Minute)
	if status, _, err = w.app.get(t.Context(), "/me"); err != nil || status != 200 || w.server.refreshes.Load() != 4 {
		t.Errorf("then got %d %v after %d calls", status, err, w.server.refreshes.Load())
	}
}

// NV-16: short lifetimes and rotation. A refresh token that was copied, and is used
// after the app has used it, ends the session: for the thief and for the app.
func TestACopiedRefreshToken(t *testing.T) {
	w := newTestWorld(t)
	ended := make(chan *jwterrors.Error, 1)
	w.app.session.Listen(refresher.Listeners{OnSessionExpired: func(e *jwterrors.Error) { ended <- e }})
	copied, _ := w.app.session.Tokens()
	w.server.clock.Advance(15 * time.Minute)
	if status, _, err := w.app.get(t.Context(), "/me"); err != nil || status != 200 {
		t.Fatalf("got %d %v", status, err)
	}
	w.server.clock.Advance(time.Minute) // beyond the grace of a lost answer
	s := story.New(t.Output())
	status, reason := w.thiefRefreshes(t.Context(), s, copied.RefreshToken)
	if s.Err() != nil || status != 401 || reason != jwterrors.RefreshTokenReused {
		t.Errorf("the thief got %d %s %v", status, reason, s.Err())
	}
	status, text, err := w.app.get(t.Context(), "/me")
	if err != nil || status != 401 {
		t.Errorf("the app got %d %s %v", status, text, err)
	}
	if reason := next(t.Context(), ended); reason.Action() != jwterrors.ActionLogin {
		t.Errorf("the session ended with %q", reason)
	}
	login(t, w)
	if status, _, err := w.app.get(t.Context(), "/me"); err != nil || status != 200 {
		t.Errorf("after a login got %d %v", status, err)
	}
}

// NV-21, logout (NV-20): one without a network waits on the disk, through two
// restarts and a login, and does not end the later session.
func TestALogoutThatWaits(t *testing.T) {
	w := newTestWorld(t)
	first, _ := w.app.session.Tokens()
	w.network.gone.Store(true)
	if err := w.app.session.Logout(t.Context()); err == nil {
		t.Error("the server was told without a network")
	}
	for range 2 {
		if err := w.restart(nil); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(filepath.Join(w.dir, "logouts"))
		if err != nil || len(left) != 1 {
			t.Fatalf("%d logouts wait, %v", len(left), err)
		}
	}
	w.network.gone.Store(false)
	login(t, w)
	if err := w.app.session.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := story.New(t.Output())
	if status, reason := w.thief(t.Context(), s, first.AccessToken); status != 401 || reason != jwterrors.TokenInvalidated {
		t.Errorf("the token of the first session is answered %d %s %v", status, reason, s.Err())
	}
	if status, text, err := w.app.get(t.Context(), "/me"); err != nil || status != 200 {
		t.Errorf("the second session is answered %d %s %v", status, text, err)
	}
	if n := w.server.refreshes.Load(); n != 0 {
		t.Errorf("the second session was refreshed %d times", n)
	}
}
