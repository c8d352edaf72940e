package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// shared are the flags of servers that are one issuer.
func shared(t *testing.T, store string) []string {
	t.Helper()
	dir := t.TempDir()
	master, secret := filepath.Join(dir, "master"), filepath.Join(dir, "secret")
	for _, file := range []string{master, secret} {
		if err := os.WriteFile(file, bytes.Repeat([]byte(filepath.Base(file)), 16), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"-store", store, "-alg", "HS256", "-secret-file", secret, "-master-key-file", master, "-issuer", "https://id.example.com"}
}

func refreshBody(token string) string { return `{"refresh_token":"` + token + `"}` }

// refresh moves a session on and returns its next refresh token.
func (p *process) refresh(token string) string {
	p.t.Helper()
	r := p.do("POST", "/auth/refresh", "", refreshBody(token))
	p.want(r, 200, "")
	next := r.str("refresh_token")
	if len(next) < 22 {
		p.t.Fatalf("there is no refresh token in the answer: %d %s", r.status, r.reason)
	}
	p.secrets = append(p.secrets, next[21:], r.str("access_token")[21:])
	return next
}

func TestServersOnOneStoreAreOneIssuer(t *testing.T) { // NV-18, AX-16
	each(t, engines, func(t *testing.T, store string) {
		flags := append(shared(t, store), "-grace", "0s")
		a, b := start(t, flags...), start(t, flags...)

		access, first := a.login()
		b.want(b.do("GET", "/api/me", access, ""), 200, "")
		second := b.refresh(first)
		third := a.refresh(second)
		b.want(b.do("POST", "/auth/refresh", "", refreshBody(first)), 401, jwterrors.RefreshTokenReused)
		a.want(a.do("POST", "/auth/refresh", "", refreshBody(third)), 401, jwterrors.SessionRevoked)

		live, other := a.login()
		b.want(b.do("POST", "/auth/logout", "", refreshBody(other)), 204, "")
		a.want(a.do("POST", "/auth/refresh", "", refreshBody(other)), 401, jwterrors.SessionRevoked)

		const carol = `{"username":"carol","password":"carol's long password"}`
		a.want(a.do("POST", "/auth/signup", "", carol), 201, "")
		b.want(b.do("POST", "/auth/signup", "", carol), 409, jwterrors.UserExists)
		b.want(b.do("POST", "/auth/login", "", carol), 200, "")

		own := a.form("/auth/token", true, url.Values{"grant_type": {"client_credentials"}}).str("access_token")
		a.secrets = append(a.secrets, own[21:], appSecret)
		b.want(b.do("GET", "/api/me", own, ""), 200, "")
		a.want(a.form("/auth/revoke", true, url.Values{"token": {own}}), 200, "")
		b.want(b.do("GET", "/api/me", live, ""), 401, jwterrors.TokenInvalidated) // it was asked itself
		a.wantSoon("GET", "/api/me", access, 401, jwterrors.TokenInvalidated)
		a.wantSoon("GET", "/api/me", live, 401, jwterrors.TokenInvalidated)
		b.wantSoon("GET", "/api/me", own, 401, jwterrors.TokenInvalidated)

		// A server that starts later knows it before it answers.
		late := start(t, flags...)
		for _, token := range []string{access, live, own} {
			late.want(late.do("GET", "/api/me", token, ""), 401, jwterrors.TokenInvalidated)
		}
	})
}

// Servers that start together make the tables once.
func TestServersStartTogether(t *testing.T) {
	each(t, engines, func(t *testing.T, store string) {
		flags := shared(t, store)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				cmd := exec.Command(binary, append([]string{"-addr", "127.0.0.1:0"}, flags...)...)
				var log bytes.Buffer
				cmd.Stderr = &log
				out, err := cmd.StdoutPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err != nil {
					t.Error(err)
					return
				}
				line, _ := bufio.NewReader(out).ReadString('\n') // until it is ready, or has ended
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if !strings.HasPrefix(line, "listening on") {
					t.Errorf("a server did not start: %s", log.String())
				}
			})
		}
		all.Wait()
	})
}

// With a file alone, sessions and users outlive a server that is killed.
func TestASQLiteFileKeepsSessions(t *testing.T) { // JG-04
	file := filepath.Join(t.TempDir(), "sessions.db")
	p := start(t, "-store", "sqlite:"+file)
	_, refresh := p.login()
	p.want(p.do("POST", "/auth/signup", "", `{"username":"carol","password":"carol's long password"}`), 201, "")
	p.kill()
	for _, name := range []string{file, file + ".master-key"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", filepath.Base(name), info.Mode())
		}
	}

	p = start(t, "-store", "sqlite:"+file)
	p.refresh(refresh)
	p.want(p.do("POST", "/auth/login", "", `{"username":"carol","password":"carol's long password"}`), 200, "")
}

// wantSoon is want, of what p hears from another server within a few seconds.
func (p *process) wantSoon(method, path, token string, status int, reason jwterrors.Reason) {
	p.t.Helper()
	r := p.do(method, path, token, "")
	for begun := time.Now(); r.status != status && time.Since(begun) < 5*time.Second; r = p.do(method, path, token, "") {
		time.Sleep(20 * time.Millisecond)
	}
	p.want(r, status, reason)
}

func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

// Without -store there is a SQLite file, and nothing is left of it.
func TestTheStoreOfARunIsRemoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM")
	}
	folder := t.TempDir()
	find := func() []string {
		found, err := filepath.Glob(filepath.Join(folder, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	p := startIn(t, folder)
	p.login()
	if found := find(); len(found) < 2 || filepath.Base(found[0]) != "sessions.db" {
		t.Errorf("there is no database, only %q", found)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if found := find(); len(found) > 0 {
		t.Errorf("%q are left", found)
	}
	if !strings.Contains(p.stderr.String(), folder) {
		t.Error("the log does not say where the file is")
	}
}

// Servers are killed (SIGKILL) while clients refresh, and others go on. A client
// repeats a refresh that failed with its retry key, as the refresher does.
func TestAServerThatIsKilledLosesNoSession(t *testing.T) { // AX-14
	each(t, engines, func(t *testing.T, store string) {
		flags := append(shared(t, store), "-grace", "0s")
		const clients, kills = 4, 3
		p := start(t, flags...)
		type client struct {
			token, key string
			done       int
		}
		all := make([]*client, clients)
		for n := range all {
			_, token := p.login()
			all[n] = &client{token: token, key: fmt.Sprint("first ", n)}
		}
		var cut, done int
		for round := range kills {
			var running sync.WaitGroup
			var mu sync.Mutex
			for n, c := range all {
				running.Go(func() {
					for {
						next, err := p.tryRefresh(c.token, c.key)
						mu.Lock()
						switch {
						case errors.Is(err, errAnswered):
							t.Errorf("round %d, client %d, refresh %d: %v", round, n, c.done, err)
						case err == nil:
							c.token, c.key = next, fmt.Sprint("key ", round, c.done)
							c.done++
							done++
						default:
							cut++
						}
						mu.Unlock()
						if err != nil {
							return
						}
					}
				})
			}
			time.Sleep(time.Duration(100+37*round) * time.Millisecond) // of real work, before the kill
			p.kill()
			running.Wait()
			p = start(t, flags...)
		}
		for _, c := range all {
			if _, err := p.tryRefresh(c.token, c.key); err != nil {
				t.Errorf("a session is lost: %v", err)
			}
		}
		t.Logf("%d refreshes, %d of them cut", done, cut)
		if cut != clients*kills || done < clients*kills {
			t.Errorf("%d refreshes, %d of them cut by %d kills", done, cut, kills)
		}
	})
}

var errAnswered = errors.New("the server refused")

// tryRefresh is for servers that may end at any time.
func (p *process) tryRefresh(token, key string) (string, error) {
	req, err := http.NewRequest("POST", p.url+"/auth/refresh", strings.NewReader(refreshBody(token)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	r, err := read(resp)
	if err == nil && r.status != 200 {
		err = fmt.Errorf("%w: %d %s", errAnswered, r.status, r.reason)
	}
	return r.str("refresh_token"), err
}

// While its database is gone a server answers 503, and then it works by itself.
func TestADatabaseThatIsGone(t *testing.T) {
	each(t, servers, func(t *testing.T, store string) {
		c, store := newCable(t, store)
		p := start(t, shared(t, store)...)
		access, refresh := p.login()
		b := newBrowser(p)
		form := b.form(asking())
		c.set(true)
		for _, path := range []string{"/auth/refresh", "/auth/login", "/auth/logout", "/auth/signup"} {
			body := refreshBody(refresh)
			if path == "/auth/login" || path == "/auth/signup" {
				body = `{"username":"carol","password":"carol's long password"}`
			}
			r := p.do("POST", path, "", body)
			p.want(r, 503, jwterrors.StoreUnavailable)
			if r.retryAfter == "" {
				t.Errorf("%s: there is no Retry-After", path)
			}
		}
		if resp, _ := b.send("POST", "", form); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("the authorization page: %d", resp.StatusCode)
		}
		p.want(p.do("GET", "/api/me", access, ""), 200, "")
		c.set(false)
		for range 100 {
			if r := p.do("POST", "/auth/refresh", "", refreshBody(refresh)); r.status != 503 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		p.refresh(refresh)
	})
}

func TestStoresThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, bytes.Repeat([]byte("this is no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, store, says string }{
		{"an unknown scheme", "nowhere://me:secret-word@host/db", "want memory:"},
		{"a path alone", "sessions.db", "want memory:"},
		{"SQLite without a file", "sqlite:", "want memory:"},
		{"SQLite with a host", "sqlite://host/sessions.db", "want memory:"},
		{"a folder that is not there", "sqlite:" + filepath.Join(dir, "none", "sessions.db"), "no such file"},
		{"a folder", "sqlite:" + folder, "is a directory"},
		{"a file that is no database", "sqlite:" + text, "not a database"},
		{"PostgreSQL that is not there", "postgres://me:secret-word@127.0.0.1:1/db", "refused"},
		{"MySQL that is not there", "mysql://me:secret-word@127.0.0.1:1/db", "refused"},
		{"a URL that is none", "postgres://me:secret-word%zz@127.0.0.1/db", "%XX"},
		{"a password with a slash", "postgres://me:secret-word/x@127.0.0.1/db", ""},
		{"a port that is none", "mysql://me@127.0.0.1:secret-word/db", "%XX"},
		{"Redis that is not there", "redis://me:secret-word@127.0.0.1:1/0", "refused"},
		{"Redis with a database that is none", "redis://me:secret-word@127.0.0.1:1/zero", "database"},
		{"Redis with a wrong setting", "redis://me:secret-word@127.0.0.1:1/0?pool_size=many", "pool_size"},
		{"PostgreSQL with a wrong setting", "postgres://me:secret-word@127.0.0.1:1/db?sslmode=never", "sslmode"},
		{"MySQL without a database", "mysql://me:secret-word@127.0.0.1:1", "names no database"},
		{"MySQL with a wrong setting", "mysql://me:secret-word@127.0.0.1:1/db?tls=nothing", "parameters of the URL"},
		{"a password in the query", "postgres://127.0.0.1:1/db?user=me&password=secret-word&sslmode=never", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-store", c.store)
			cmd.Env = inFolder(t.TempDir())
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("the server ends with %v", err)
			}
			if bytes.Count(out, []byte("\n")) != 1 || !bytes.HasPrefix(out, []byte("server: -store: ")) || !bytes.Contains(out, []byte(c.says)) {
				t.Errorf("want one line about -store with %q, got\n%s", c.says, out)
			}
			if bytes.Contains(out, []byte("secret-word")) {
				t.Errorf("the password is told: %s", out)
			}
		})
	}
}

// The driver gets the password, and the other parts, as a person meant them.
func TestMySQLByURL(t *testing.T) {
	store := newMySQL(t)
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	const password = "p/a:s@s?w#o%r'd &"
	name := strings.ToLower(rand.Text())[:16]
	source := setting("TOKENLOOP_TEST_MYSQL", "root@tcp(127.0.0.1:3306)/test")
	admin(t, "mysql", source, "CREATE USER "+name+"@'%' IDENTIFIED BY '"+strings.ReplaceAll(password, "'", "''")+"'")
	t.Cleanup(func() { admin(t, "mysql", source, "DROP USER "+name+"@'%'") })
	admin(t, "mysql", source, "GRANT ALL ON "+strings.TrimPrefix(u.Path, "/")+".* TO "+name+"@'%'")

	u.User, u.RawQuery = url.UserPassword(name, password), "readTimeout=7s&tls=preferred&loc=Europe/Berlin"
	p := start(t, "-store", u.String())
	p.secrets = append(p.secrets, password, u.User.String())
	_, refresh := p.login()
	p.refresh(refresh)

	u.User = url.UserPassword(name, "wrong-"+password)
	out, err := exec.Command(binary, "-addr", "127.0.0.1:0", "-store", u.String()).CombinedOutput()
	if err == nil || bytes.Contains(out, []byte("wrong-")) || !bytes.Contains(out, []byte("Access denied")) {
		t.Errorf("with a wrong password: %v, %s", err, out)
	}
}

// Of servers that make the key of a file at once, all have the same.
func TestTheKeyOfAFileIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	keys := make([][]byte, 50)
	var all sync.WaitGroup
	for n := range keys {
		all.Go(func() {
			var err error
			if keys[n], err = keptKey(file); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		if len(key) != 32 || !bytes.Equal(key, keys[0]) {
			t.Fatal("there are several keys")
		}
	}
	if left, err := filepath.Glob(file + "*"); err != nil || len(left) != 1 {
		t.Errorf("%q are left, %v", left, err)
	}
}
