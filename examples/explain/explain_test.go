package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

var program, server string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "explain")
	if err != nil {
		panic(err)
	}
	program, server = filepath.Join(dir, "explain"), filepath.Join(dir, "server")
	for binary, from := range map[string]string{program: ".", server: "../server"} {
		if out, err := exec.Command("go", "build", "-o", binary, from).CombinedOutput(); err != nil {
			panic(string(out))
		}
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// start runs the reference server and returns its URL.
func start(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(server, append([]string{"-addr", "127.0.0.1:0", "-store", "memory:"}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended already
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("the server printed %q, %v", line, err)
	}
	return url
}

// login returns an access token of the server at url.
func login(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Post(url+"/auth/login", "application/json", strings.NewReader(`{"username":"alice","password":"correct horse battery staple"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&tokens); err != nil || tokens.AccessToken == "" {
		t.Fatalf("the login was answered with %d, %v", resp.StatusCode, err)
	}
	return tokens.AccessToken
}

// explain runs the program and returns its exit status and what it printed.
func explain(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// want checks the exit status, the reason and the rows of checks that failed.
func want(t *testing.T, status int, stdout string, reason jwterrors.Reason, failed ...string) {
	t.Helper()
	first, _, _ := strings.Cut(stdout, "\n")
	switch {
	case reason == "" && (status != accepted || first != "accepted"):
		t.Errorf("status %d, %q", status, first)
	case reason != "" && (status != refused || !strings.HasPrefix(first, "refused: "+string(reason)+": ")):
		t.Errorf("status %d, %q, want %s", status, first, reason)
	}
	var got []string
	for line := range strings.Lines(stdout) {
		if name, _, ok := strings.Cut(line, "  failed  "); ok {
			got = append(got, strings.TrimSpace(name))
		}
	}
	if strings.Join(got, ",") != strings.Join(failed, ",") {
		t.Errorf("%q failed, want %q:\n%s", got, failed, stdout)
	}
}

func TestTokensOfTheServer(t *testing.T) {
	url := start(t)
	past := start(t, "-clock-offset", "-1h", "-issuer", url) // its keys are others
	pastURL := start(t, "-clock-offset", "-1h")
	good := login(t, url)
	forged := good[:len(good)-8] + "AAAAAAAA"
	for _, c := range []struct {
		name, token, issuer, audience string
		reason                        jwterrors.Reason
		failed                        []string
	}{
		{"good", good, url, "api", "", nil},
		{"expired", login(t, pastURL), pastURL, "api", jwterrors.TokenExpired, []string{"expiry"}},
		{"forged", forged, url, "api", jwterrors.TokenSignatureInvalid, []string{"signature"}},
		{"forged, for another audience", forged, url, "invoices", jwterrors.TokenSignatureInvalid, []string{"signature", "audience"}},
		{"of another key, expired", login(t, past), url, "api", jwterrors.TokenKeyUnknown, []string{"key", "expiry"}},
		{"for another audience", good, url, "invoices", jwterrors.TokenAudienceInvalid, []string{"audience"}},
		{"garbage", "gar.ba.ge", url, "api", jwterrors.TokenFormatInvalid, []string{"format"}},
		{"nothing", "", url, "api", jwterrors.TokenFormatInvalid, []string{"format"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			flags := []string{"-issuer", c.issuer, "-audience", c.audience}
			status, stdout, stderr := explain(t, "", append(flags, c.token)...)
			want(t, status, stdout, c.reason, c.failed...)
			if stderr != "" {
				t.Errorf("stderr: %s", stderr)
			}
			status, again, _ := explain(t, c.token+"\n", append(flags, "-")...)
			want(t, status, again, c.reason, c.failed...)
			if i := strings.LastIndexByte(c.token, '.'); i > 0 && strings.Contains(stdout+stderr+again, c.token[i:]) {
				t.Error("the signature was printed")
			}
		})
	}
	t.Run("with the URL of the keys", func(t *testing.T) {
		status, stdout, _ := explain(t, "", "-issuer", url, "-jwks", url+"/.well-known/jwks.json", good)
		want(t, status, stdout, "")
	})
	t.Run("no clock skew tolerated", func(t *testing.T) {
		_, stdout, _ := explain(t, "", "-issuer", url, "-leeway", "0s", good)
		if !strings.Contains(stdout, "skew tolerated  0s\n") {
			t.Error(stdout)
		}
	})
	t.Run("longer than what is read", func(t *testing.T) {
		status, stdout, _ := explain(t, strings.Repeat("x", 3<<20), "-issuer", url, "-")
		want(t, status, stdout, jwterrors.TokenFormatInvalid, "length")
		if !strings.Contains(stdout, " 1048577 bytes\n") {
			t.Error(stdout)
		}
	})
}

func TestASecretOfTheServer(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, bytes.Repeat([]byte("fake"), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	url := start(t, "-alg", "HS256", "-secret-file", secret)
	status, stdout, stderr := explain(t, "", "-issuer", url, "-secret-file", secret, login(t, url))
	want(t, status, stdout, "")
	if strings.Contains(stdout+stderr, "fakefake") {
		t.Error("the secret was printed")
	}
}

// What does not depend on keys is shown without them.
func TestAnIssuerThatCannotBeReached(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	listener.Close()
	token := login(t, start(t, "-clock-offset", "-1h"))
	status, stdout, stderr := explain(t, "", "-issuer", nobody, "-audience", "invoices", token)
	want(t, status, stdout, jwterrors.KeysUnavailable, "key", "expiry", "issuer", "audience")
	if !strings.Contains(stderr, "connection refused") && !strings.Contains(stderr, "refused it") {
		t.Errorf("stderr: %s", stderr)
	}
}

// The keys of an issuer with TLS are where its metadata say.
func TestAnIssuerWithMetadata(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only there SSL_CERT_FILE names who is trusted")
	}
	var keys, url string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_, _ = io.WriteString(w, `{"issuer":"`+url+`","jwks_uri":"`+url+`/keys"}`)
		case "/keys":
			resp, err := http.Get(keys)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			_, _ = io.Copy(w, resp.Body)
		}
	}))
	defer s.Close()
	trusted := filepath.Join(t.TempDir(), "trusted.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", trusted)
	url = s.URL
	behind := start(t, "-issuer", url)
	keys = behind + "/.well-known/jwks.json"
	status, stdout, stderr := explain(t, "", "-issuer", url, login(t, behind))
	want(t, status, stdout, "")
	if stderr != "" {
		t.Errorf("stderr: %s", stderr)
	}
}

func TestFlagsThatCannotWork(t *testing.T) {
	dir := t.TempDir()
	short, long := filepath.Join(dir, "short"), filepath.Join(dir, "long")
	for name, secret := range map[string]string{short: "fake", long: strings.Repeat("fake", 10)} {
		if err := os.WriteFile(name, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{}, {"a", "b"}, {"-none", "x"}, {"-h"}, {"-leeway", "x", "x"}, {"-leeway", "-1m", "x"}, {"-audience", "", "x"},
		{"-issuer", "http://id.example.com", "x"}, {"-issuer", "http://127.0.0.1.example.com", "x"}, {"-issuer", "", "x"}, {"-issuer", "ftp://127.0.0.1", "x"},
		{"-jwks", "http://id.example.com/jwks.json", "x"}, {"-jwks", "x", "x"},
		{"-jwks", "http://127.0.0.1/jwks.json", "-secret-file", long, "x"}, {"-secret-file", short, "x"}, {"-secret-file", "/does/not/exist", "x"},
	} {
		status, stdout, stderr := explain(t, "", args...)
		if status != misused || stdout != "" || stderr == "" || strings.Contains(stderr, "panic") {
			t.Errorf("%q: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
}
