package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The page in a real browser: a login, reloads, two tabs that refresh at once,
// devices and logouts, at two widths, in light and dark, with the keyboard.
//
// TOKENLOOP_TEST_SCREENSHOTS is a folder to keep the screenshots in, by its absolute path.
func TestThePage(t *testing.T) {
	chromium, drive := tools(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	url := "http://localhost:" + port
	handler, err := newHandler(t.Context(), url, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(listener) // until Close
	defer server.Close()

	screenshots := os.Getenv("TOKENLOOP_TEST_SCREENSHOTS")
	if screenshots == "" {
		screenshots = t.ArtifactDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "drive.mjs", url, chromium, screenshots)
	cmd.Dir = drive
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "login\ncookie\nsilent\ntwo tabs\nrevoke\nrevoke this one\nlogout\neverywhere\nkeyboard\n"
	if string(out) != want {
		t.Errorf("it printed %q, want %q", out, want)
	}
}

// tools returns the path of Chromium, and a folder with the driver installed.
func tools(t *testing.T) (chromium, drive string) {
	t.Helper()
	missing := func(what string, err error) {
		t.Helper()
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatalf("%s: %v", what, err)
		}
		t.Skipf("needs Chromium, Node and its packages: %s: %v", what, err)
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		missing("chromium", exec.ErrNotFound)
	}
	drive = t.TempDir()
	if err := os.CopyFS(drive, os.DirFS("drive")); err != nil {
		t.Fatal(err)
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = drive
	if out, err := npm.CombinedOutput(); err != nil {
		missing("npm ci: "+string(out), err)
	}
	return chromium, drive
}

// A script of another origin would have the access token.
func TestThePageTakesNoScriptsFromElsewhere(t *testing.T) {
	handler, err := newHandler(t.Context(), "http://localhost:8080", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/app.js"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != 200 || !strings.Contains(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %d, %q", path, w.Code, policy)
		}
	}
}
