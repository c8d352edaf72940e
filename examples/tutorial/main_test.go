package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type answer struct {
	status int
	body   string
}

// A client speaks with a service.
type client struct {
	t   *testing.T
	url string
}

func (c client) do(method, path, token, body string) answer {
	c.t.Helper()
	r, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{resp.StatusCode, strings.TrimSpace(string(data))}
}

func (c client) want(got answer, status int, body string) {
	c.t.Helper()
	if got != (answer{status, body}) {
		c.t.Errorf("got %d %s, want %d %s", got.status, got.body, status, body)
	}
}

func (c client) tokens(got answer, status int) (auth, refresh string) {
	c.t.Helper()
	var body struct {
		Success                 bool
		AuthToken, RefreshToken string
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != status || !body.Success || body.AuthToken == "" {
		c.t.Fatalf("got %d %s, %v", got.status, got.body, err)
	}
	return body.AuthToken, body.RefreshToken
}

// start serves in this process, and returns the database too.
func start(t *testing.T, o options) (client, *sql.DB) {
	t.Helper()
	db, dialect, clean, err := open(o.store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clean)
	server := httptest.NewUnstartedServer(nil)
	url := "http://" + server.Listener.Addr().String()
	s, err := newService(t.Context(), url, db, dialect, o)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = s.handler
	server.Start()
	ctx, cancel := context.WithCancel(context.Background())
	logged := make(chan error)
	go func() { logged <- s.activity.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		<-logged
	})
	return client{t, url}, db
}

// postgres returns the URL of a schema of this test alone.
func postgres(t *testing.T) string {
	t.Helper()
	where := os.Getenv("TOKENLOOP_TEST_POSTGRES")
	if where == "" {
		where = "postgres://postgres@127.0.0.1:5432/test?sslmode=disable"
	}
	u, err := url.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", where)
	if err != nil {
		t.Fatal(err)
	}
	schema := "tutorial_" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		db.Close()
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip("needs a PostgreSQL: see TOKENLOOP_TEST_POSTGRES in CONTRIBUTING.md")
	}
	t.Cleanup(func() {
		if _, err := db.Exec("DROP SCHEMA " + schema + " CASCADE"); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

const (
	credentials = `{"username":"alice","password":" an obviously fake one "}`
	trimmed     = `{"username":"alice","password":"an obviously fake one"}`
	incorrect   = `{"success":false,"message":"The username or the password is incorrect."}`
	invalid     = `{"success":false,"message":"Your access token is invalid.","code":"invalidToken"}`
	ended       = `{"success":false,"message":"Refresh token expired - session ended.","code":"refreshExpired"}`
)

func usual(store string) options {
	return options{store: store, accessTTL: time.Minute, refreshTTL: time.Hour}
}

// The app of the tutorial, from its first start to its logout: JG-02, JG-03, JG-08,
// JG-09, JG-10, JG-16, JG-17, JG-19, JG-22.
func TestTheAppOfTheTutorial(t *testing.T) {
	for name, store := range map[string]func(*testing.T) string{
		"SQLite": func(t *testing.T) string { return "" }, "PostgreSQL": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			c, db := start(t, usual(store(t)))
			playApp(c)
			wantActivities(t, db, "alice signup", "alice login", "alice login")
		})
	}
}

func playApp(c client) {
	do, want, tokens, t := c.do, c.want, c.tokens, c.t
	want(do("GET", "/profile", "", ""), 403, invalid) // protected, and what follows is not (JG-19)
	want(do("POST", "/login", "", trimmed), 400, incorrect)
	want(do("POST", "/signup", "", `{"username":"alice"}`), 400, `{"success":false,"message":"You must send all details."}`)
	want(do("POST", "/signup", "", `{"username":"alice","password":"short"}`), 400,
		`{"success":false,"message":"The password needs 8 characters at least, and 72 bytes at most."}`)
	auth, refresh := tokens(do("POST", "/signup", "", credentials), 201)
	if refresh == "" {
		t.Error("a signup answers no refresh token")
	}
	want(do("GET", "/profile", auth, ""), 200, `{"success":true,"username":"alice"}`)
	want(do("POST", "/signup", "", credentials), 400, `{"success":false,"message":"A user with that username already exists."}`)
	want(do("POST", "/login", "", `{"username":"alice","password":"another one"}`), 400, incorrect)
	want(do("POST", "/login", "", `{}`), 400, `{"success":false,"message":"You must send the username and the password."}`)

	_, refresh = tokens(do("POST", "/login", "", trimmed), 200)
	body := `{"refreshToken":"` + refresh + `"}`
	for range 3 { // the app keeps its refresh token
		next, none := tokens(do("POST", "/refreshToken", "", body), 200)
		if none != "" {
			t.Error("a refresh answers a refresh token")
		}
		want(do("GET", "/profile", next, ""), 200, `{"success":true,"username":"alice"}`)
	}
	want(do("GET", "/profile", refresh, ""), 403, invalid)
	want(do("GET", "/getAll", "", ""), 403, invalid)
	want(do("GET", "/getAll", auth, ""), 200, `{"success":true,"users":[{"username":"alice"}]}`) // JG-15: nothing of a password
	want(do("POST", "/refreshToken", "", `{}`), 400, `{"success":false,"message":"There is no refresh token to check."}`)
	want(do("POST", "/refreshToken", "", `{"refreshToken":"x"}`), 403, ended)
	want(do("POST", "/logout", "", body), 204, "")
	want(do("POST", "/refreshToken", "", body), 403, ended)
}

// wantActivities waits for the log, which is written beside the requests.
func wantActivities(t *testing.T, db *sql.DB, want ...string) {
	t.Helper()
	var got []string
	for range 200 {
		got = nil
		rows, err := db.Query(`SELECT username || ' ' || action FROM tutorial_activities ORDER BY at`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			got = append(got, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		rows.Close()
		if len(got) >= len(want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log of activities is %q, want %q", got, want)
	}
}

// The messages of the original tell who has an account, and are there for those who
// ask for them (JG-16).
func TestTheOriginalMessages(t *testing.T) {
	o := usual("")
	o.tellAccounts = true
	c, _ := start(t, o)
	c.want(c.do("POST", "/login", "", trimmed), 400, `{"success":false,"message":"No matching user."}`)
	c.tokens(c.do("POST", "/signup", "", credentials), 201)
	c.want(c.do("POST", "/login", "", `{"username":"alice","password":"another one"}`), 400, `{"success":false,"message":"Your password is incorrect."}`)
	c.tokens(c.do("POST", "/login", "", trimmed), 200)
}

// The command as its users run it, with lifetimes of seconds (JG-18), over a
// restart: users and sessions are in the file.
func TestTheCommand(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "tutorial.exe")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	store := "sqlite:" + filepath.Join(t.TempDir(), "tutorial.db")
	run := func() (client, func()) {
		cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-store", store, "-access-ttl", "1s", "-refresh-ttl", "3s", "-leeway", "0s")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(stdout).ReadString('\n')
		url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
		if err != nil || !ok {
			t.Fatalf("the server printed %q, %v", line, err)
		}
		end := func() {
			_ = cmd.Process.Signal(os.Interrupt) // may have ended already
			_ = cmd.Wait()
		}
		t.Cleanup(end)
		return client{t, url}, end
	}
	// until asks again until the answer has the status.
	until := func(status int, ask func() answer) answer {
		for range 500 {
			if got := ask(); got.status == status {
				return got
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("there was no answer with status %d", status)
		return answer{}
	}

	c, end := run()
	auth, refresh := c.tokens(c.do("POST", "/signup", "", credentials), 201)
	c.want(until(403, func() answer { return c.do("GET", "/getAll", auth, "") }), 403, invalid)
	body := `{"refreshToken":"` + refresh + `"}`
	auth, _ = c.tokens(c.do("POST", "/refreshToken", "", body), 200)
	c.want(c.do("GET", "/getAll", auth, ""), 200, `{"success":true,"users":[{"username":"alice"}]}`)
	c.want(until(403, func() answer { return c.do("POST", "/refreshToken", "", body) }), 403, ended)
	end()

	c, _ = run()
	c.tokens(c.do("POST", "/login", "", trimmed), 200)
}

func TestStoresThatCannotBe(t *testing.T) {
	for _, where := range []string{"memory:", "sqlite", "mysql://x", "postgres://user:an-obviously-fake-one@[::1"} {
		_, _, _, err := open(where)
		if err == nil || strings.Contains(err.Error(), "fake") {
			t.Errorf("%s: %v", where, err)
		}
	}
}
