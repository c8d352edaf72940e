package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/refresher"
)

func TestTheStoryIsTrue(t *testing.T) { // AX-04, AX-07, AX-10, AX-11, AX-25
	var out strings.Builder
	require.NoError(t, play(t.Context(), out.WriteString))
	assert.Equal(t, `alice logs in and reads her profile: 200 the profile of alice
an hour later, 200 requests at once: 200 answers, and 1 refresh
what alice may not see: 403, and no refresh, which would not help
the server is down when the token has expired: AUTH_REFRESH_UNAVAILABLE, and alice stays logged in
a minute later it is back: 10 requests, 10 answers
the operator ends her sessions: 20 requests fail, and the app is told 1 time to show its login
`, out.String())
}

// AX-18: a client for each API, each with its own tokens, base URL and a timeout
// of 60,000 ms.
func TestEachAPIHasAClientOfItsOwn(t *testing.T) {
	var tokens [2]atomic.Value
	var apis [2]*api
	for i, name := range []string{"first", "second"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tokens[i].Store(r.Header.Get("Authorization"))
			io.WriteString(w, name)
		}))
		t.Cleanup(server.Close)
		a, err := newAPI(server.URL, func(*refresher.Config) {})
		require.NoError(t, err)
		t.Cleanup(func() { a.session.Close() })
		require.NoError(t, a.session.SetTokens(t.Context(), refresher.Tokens{
			AccessToken: "token-of-" + name, RefreshToken: "unused", Expiry: time.Now().Add(time.Hour),
		}))
		assert.Equal(t, 60_000*time.Millisecond, a.client.Timeout)
		apis[i] = a
	}
	for i, name := range []string{"first", "second"} {
		status, body, err := apis[i].get(t.Context(), "/")
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Equal(t, name, body)
		assert.Equal(t, "Bearer token-of-"+name, tokens[i].Load())
	}

	// The client of one API has no token for the other.
	_, err := apis[0].client.Get(apis[1].baseURL)
	require.NoError(t, err)
	assert.Empty(t, tokens[1].Load())
}

// AX-26: the flow of the guide in JavaScript, with axios, against the server.
func TestAxiosAgainstTheServer(t *testing.T) { // AX-02, AX-04 to AX-08, AX-10, AX-11, AX-13, AX-14, AX-16, AX-23, AX-25
	client := install(t)
	server := start(t)
	var refreshes atomic.Int32
	counting := httputil.NewSingleHostReverseProxy(server)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth/refresh" {
			refreshes.Add(1)
		}
		counting.ServeHTTP(w, r)
	}))
	defer proxy.Close()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "flow.mjs", proxy.URL)
	cmd.Dir = client
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())

	seen := map[string]map[string]any{}
	for line := range strings.Lines(string(out)) {
		var step map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &step), line)
		seen[step["step"].(string)] = step
	}
	assert.Equal(t, map[string]map[string]any{
		"login":     {"step": "login", "status": 200.0, "subject": "alice"},
		"storm":     {"step": "storm", "answered": 200.0},
		"forbidden": {"step": "forbidden", "status": 403.0, "reason": "AUTH_SCOPE_INSUFFICIENT"},
		"logout":    {"step": "logout", "status": 401.0, "reason": "AUTH_SESSION_REVOKED"},
		"anonymous": {"step": "anonymous", "status": 401.0, "reason": "AUTH_TOKEN_MISSING"},
		"ended":     {"step": "ended", "expired": 1.0, "refused": 20.0, "kept": false},
		"outage":    {"step": "outage", "expired": 1.0, "kept": true},
	}, seen)
	assert.EqualValues(t, 3, refreshes.Load(), "one for the 200, one of the session that was logged out, one of that which had ended")
}

// install returns a folder with the client and axios.
func install(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS("client")))
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatalf("npm ci: %v: %s", err, out)
		}
		t.Skipf("needs Node and the package axios: npm ci: %v", err)
	}
	return folder
}

// start runs examples/server and returns its URL.
func start(t *testing.T) *url.URL {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "server.exe")
	out, err := exec.Command("go", "build", "-o", binary, "../server").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-store", "memory:", "-access-ttl", "2s", "-leeway", "0s")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended already
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	text, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, ok, line)
	u, err := url.Parse(text)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	conn.Close()
	return u
}
