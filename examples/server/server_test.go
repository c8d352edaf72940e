package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// A process is the server as its users run it.
type process struct {
	t       *testing.T
	url     string
	cmd     *exec.Cmd
	stderr  *bytes.Buffer // to be read when the process has ended
	secrets []string      // what no log may hold
}

// start runs the server with the arguments, on the memory unless they say otherwise.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startIn(t, t.TempDir(), append([]string{"-store", "memory:"}, args...)...)
}

// startIn runs the server with its temporary files in a folder.
func startIn(t *testing.T, folder string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Env = inFolder(folder)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, stderr: &stderr, secrets: []string{userPassword}}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended already
		_ = cmd.Wait()
		for _, secret := range p.secrets {
			if strings.Contains(stderr.String(), secret) {
				t.Error("the log holds a password or a token beyond its beginning")
			}
		}
		if strings.Contains(stderr.String(), "DATA RACE") {
			t.Error(stderr.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("the server printed %q, %v: %s", line, err, stderr.String())
	}
	p.url = url
	return p
}

// inFolder is the environment of a process that keeps its temporary files in folder.
func inFolder(folder string) []string {
	return append(os.Environ(), "TMPDIR="+folder, "TMP="+folder, "TEMP="+folder)
}

// The server processes are this test binary, with envServer set: so it has all of
// the server in it, and a change to that is a change to the tests.
const envServer = "TOKENLOOP_SERVER_OF_TESTS"

var binary string

func TestMain(m *testing.M) {
	if os.Getenv(envServer) != "" {
		main()
		os.Exit(0)
	}
	var err error
	if binary, err = os.Executable(); err != nil {
		panic(err)
	}
	os.Setenv(envServer, "1") // for the processes that are started
	os.Exit(m.Run())
}

type reply struct {
	status     int
	reason     jwterrors.Reason
	retryAfter string
	body       map[string]any
}

// read returns what a response says.
func read(resp *http.Response) (reply, error) {
	r := reply{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	if e := jwterrors.FromResponse(resp); e != nil {
		r.reason = e.Reason
	}
	data, err := io.ReadAll(resp.Body)
	_ = json.Unmarshal(data, &r.body) // an answer may have none
	return r, err
}

func (r reply) str(name string) string { s, _ := r.body[name].(string); return s }

func (p *process) do(method, path, token, body string) reply {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	r, err := read(resp)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *process) want(r reply, status int, reason jwterrors.Reason) {
	p.t.Helper()
	if r.status != status || r.reason != reason {
		p.t.Errorf("got %d %s, want %d %s", r.status, r.reason, status, reason)
	}
}

const credentials = `{"username":"` + userName + `","password":"` + userPassword + `"}`

func (p *process) login() (access, refresh string) {
	p.t.Helper()
	r := p.do("POST", "/auth/login", "", credentials)
	p.want(r, 200, "")
	access, refresh = r.str("access_token"), r.str("refresh_token")
	p.secrets = append(p.secrets, access[21:], refresh[21:])
	return access, refresh
}

func TestTheLoopAgainstTheServer(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "HS256"} {
		t.Run(alg, func(t *testing.T) {
			p := start(t, "-alg", alg)
			p.want(p.do("GET", "/healthz", "", ""), 200, "")
			p.want(p.do("GET", "/api/me", "", ""), 401, jwterrors.TokenMissing)
			p.want(p.do("POST", "/auth/login", "", `{"username":"alice","password":"x"}`), 401, jwterrors.CredentialsInvalid)
			access, refresh := p.login()
			me := p.do("GET", "/api/me", access, "")
			p.want(me, 200, "")
			if me.str("sub") != "alice" || me.str("iss") != p.url || me.str("client_id") != "mobile" {
				t.Errorf("claims are %v", me.body)
			}
			p.want(p.do("GET", "/api/read", access, ""), 200, "")
			p.want(p.do("GET", "/api/admin", access, ""), 403, jwterrors.ScopeInsufficient)
			p.want(p.do("POST", "/api/echo", access, `{"a":1}`), 200, "")
			p.want(p.do("GET", "/api/me", access[:len(access)-8]+"AAAAAAAA", ""), 401, jwterrors.TokenSignatureInvalid)
			p.want(p.do("GET", "/api/me", refresh, ""), 401, jwterrors.TokenFormatInvalid)
			p.want(p.do("POST", "/auth/refresh", "", `{"refresh_token":"`+refresh+`"}`), 200, "")
			p.want(p.do("POST", "/auth/logout", "", `{"refresh_token":"`+refresh+`"}`), 204, "")
			p.want(p.do("GET", "/api/me", access, ""), 401, jwterrors.TokenInvalidated)
			p.want(p.do("POST", "/auth/refresh", "", `{"refresh_token":"`+refresh+`"}`), 401, jwterrors.SessionRevoked)
		})
	}
}

func TestLifetimesAndStrictMode(t *testing.T) {
	p := start(t, "-access-ttl", "1s", "-refresh-ttl", "1h", "-leeway", "0s", "-grace", "0s")
	access, refresh := p.login()
	p.want(p.do("POST", "/auth/refresh", "", `{"refreshToken":"`+refresh+`"}`), 200, "")
	p.want(p.do("POST", "/auth/refresh", "", `{"refreshToken":"`+refresh+`"}`), 401, jwterrors.RefreshTokenReused)
	p.want(p.do("GET", "/api/me", access, ""), 401, jwterrors.TokenInvalidated)
	access, _ = p.login()
	for range 50 { // the token lives for a second at the most
		if r := p.do("GET", "/api/me", access, ""); r.status == 401 {
			p.want(r, 401, jwterrors.TokenExpired)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the token does not expire")
}

func TestServersTrustOneAnother(t *testing.T) {
	foreign := start(t, "-alg", "RS256", "-audience", "theirs")
	ahead := start(t, "-clock-offset", "1h")
	p := start(t, "-trust", "issuer="+foreign.url+",jwks="+foreign.url+"/.well-known/jwks.json,audience=theirs,alg=RS256",
		"-trust", "issuer="+ahead.url+",jwks="+ahead.url+"/.well-known/jwks.json,audience=api,alg=ES256")
	access, _ := foreign.login()
	p.want(p.do("GET", "/api/me", access, ""), 200, "")
	p.want(foreign.do("GET", "/api/me", access, ""), 200, "")
	own, _ := p.login()
	p.want(p.do("GET", "/api/me", own, ""), 200, "")
	foreign.want(foreign.do("GET", "/api/me", own, ""), 401, jwterrors.TokenKeyUnknown)
	early, _ := ahead.login()
	p.want(p.do("GET", "/api/me", early, ""), 401, jwterrors.TokenNotYetValid)
}

func TestServersShareKeysThroughFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := file("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	master := file("master", bytes.Repeat([]byte("fake"), 8))
	secret := file("secret", bytes.Repeat([]byte("fake"), 10))
	for _, args := range [][]string{
		{"-alg", "EdDSA", "-key-file", key, "-master-key-file", master, "-issuer", "https://id.example.com"},
		{"-alg", "HS256", "-secret-file", secret, "-master-key-file", master, "-issuer", "https://id.example.com"},
	} {
		a, b := start(t, args...), start(t, args...)
		access, _ := a.login()
		b.want(b.do("GET", "/api/me", access, ""), 200, "")
	}
}

func TestFlagsThatCannotWork(t *testing.T) {
	for _, args := range [][]string{
		{"-alg", "none"}, {"-store", "nowhere://"}, {"-trust", "issuer=x"}, {"-trust", "x"}, {"extra"}, {"-access-ttl", "2h", "-refresh-ttl", "1h"},
		{"-secret-file", "x"}, {"-alg", "HS256", "-key-file", "x"}, {"-key-file", "/does/not/exist"}, {"-master-key-file", "/does/not/exist"},
		{"-issuer", "http://id.example.com"}, {"-dpop", "sometimes"}, {"-dpop", "off", "-dpop-nonce"}, {"-transfer-age", "0s"}, {"-origin", "*"}, {"-origin", "null"}, {"-origin", "http://app.example.com"},
	} {
		out, err := exec.Command(binary, append([]string{"-addr", "127.0.0.1:0"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "server:") && !strings.Contains(string(out), "flag") {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
}

// Servers that share a key file rotate to the same key, one after the other.
func TestTheKeyFileIsReadAgain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGHUP")
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, path)
	master := filepath.Join(t.TempDir(), "master")
	if err := os.WriteFile(master, bytes.Repeat([]byte("fake"), 8), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-key-file", path, "-master-key-file", master, "-issuer", "https://id.example.com"}
	a, b := start(t, args...), start(t, args...)
	writeKey(t, path)
	for _, p := range []*process{a, b} {
		p.hangup(2)
	}
	access, _ := a.login()
	b.want(b.do("GET", "/api/me", access, ""), 200, "")
}

// writeKey makes a key file, or replaces it.
func writeKey(t *testing.T, path string) {
	t.Helper()
	data, err := issuer.GenerateKeyPEM(issuer.ES256)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// hangup sends SIGHUP and waits until so many keys are published.
func (p *process) hangup(want int) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for range 200 {
		list, _ := p.do("GET", "/.well-known/jwks.json", "", "").body["keys"].([]any)
		if n = len(list); n == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("after SIGHUP %d keys are published, and not %d", n, want)
}

func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGHUP")
	}
	p := start(t)
	access, _ := p.login()
	p.hangup(2)
	p.want(p.do("GET", "/api/me", access, ""), 200, "")
	newer, _ := p.login()
	p.want(p.do("GET", "/api/me", newer, ""), 200, "")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM the server ends with %v", err)
	}
}
