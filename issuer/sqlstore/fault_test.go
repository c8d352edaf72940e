package sqlstore_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// newIssuer returns an issuer in strict mode: what is not repeated with its retry
// key is replay.
func newIssuer(t *testing.T, st issuer.Store) *issuer.Issuer {
	t.Helper()
	key, err := issuer.GenerateKey(issuer.EdDSA)
	require.NoError(t, err)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	require.NoError(t, err)
	iss, err := issuer.New(issuer.Config{
		Issuer: "https://id.example.com", Audience: []string{"sqlstore"}, Keys: ring, Grace: issuer.NoGrace, Store: st,
		MasterKeys: []issuer.MasterKey{{Secret: make([]byte, 32)}}, Logger: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			return issuer.User{ID: c.Username}, nil
		},
	})
	require.NoError(t, err)
	return iss
}

// A client refreshes, and repeats a refresh that was answered with 503 by the same
// token and the same retry key.
type client struct {
	handler    http.Handler
	token, key string
	refreshed  atomic.Int64 // how often that was
	refused    atomic.Int64 // how often the answer was 503
}

func (c *client) post(path, body string) (status int, answer struct {
	RefreshToken string `json:"refresh_token"`
	Reason       string `json:"reason"`
}) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

// refresh reports what is neither tokens nor a 503 of the store.
func (c *client) refresh() error {
	status, a := c.post("/auth/refresh", `{"refresh_token":"`+c.token+`"}`)
	switch {
	case status == http.StatusOK && a.RefreshToken != c.token:
		c.token, c.key = a.RefreshToken, rand.Text()
		c.refreshed.Add(1)
	case status == http.StatusServiceUnavailable && a.Reason == string(jwterrors.StoreUnavailable):
		c.refused.Add(1)
	default:
		return fmt.Errorf("%d %s after %d refreshes", status, a.Reason, c.refreshed.Load())
	}
	return nil
}

// underFaults lets clients refresh while the engine fails: strike takes it away and
// returns when it is there again. After each strike all clients must be served
// within 5 s.
func underFaults(t *testing.T, st *sqlstore.Store, strikes int, strike func()) {
	t.Helper()
	iss := newIssuer(t, st)
	var clients []*client
	for n := range 8 {
		c := &client{handler: iss}
		status, a := c.post("/auth/login", fmt.Sprintf(`{"username":"user %d","password":"x"}`, n))
		require.Equal(t, http.StatusOK, status)
		c.token, c.key = a.RefreshToken, rand.Text()
		clients = append(clients, c)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, c := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				before := c.refused.Load()
				if !assert.NoError(t, c.refresh()) {
					return
				}
				if c.refused.Load() > before { // as Retry-After would, but sooner
					select {
					case <-ctx.Done():
					case <-time.After(20 * time.Millisecond):
					}
				}
			}
		})
	}
	var longest time.Duration
	for range strikes {
		strike()
		begin := time.Now()
		for n, c := range clients {
			before := c.refreshed.Load()
			require.Eventually(t, func() bool { return c.refreshed.Load() > before }, 5*time.Second, time.Millisecond, "client %d is served again", n)
		}
		longest = max(longest, time.Since(begin))
	}
	stop()
	wg.Wait()
	refreshed, refused := int64(0), int64(0)
	for _, c := range clients {
		require.NoError(t, c.refresh())
		refreshed, refused = refreshed+c.refreshed.Load(), refused+c.refused.Load()
	}
	require.NotZero(t, refused, "the strikes were felt")
	t.Logf("%d strikes: %d refreshes and %d times 503; all clients were served again within %v", strikes, refreshed, refused, longest)
}

func fewer(n int) int {
	if testing.Short() {
		return 2
	}
	return n
}

func TestNoSessionIsLostWhenConnectionsAreCut(t *testing.T) {
	for _, e := range []engine{postgres, strict, mysql} {
		t.Run(e.name, func(t *testing.T) {
			driver, source := e.create(t)
			p, source := newCutter(t, driver, source)
			st, _ := openStore(t, e, driver, source)
			underFaults(t, st, fewer(8), func() { p.cut(true); p.cut(false) })
		})
	}
}

func TestNoSessionIsLostWhenBackendsAreTerminated(t *testing.T) {
	for _, e := range []engine{postgres, strict} {
		t.Run(e.name, func(t *testing.T) {
			driver, source := e.create(t)
			st, _ := openStore(t, e, driver, source)
			db, err := open(driver, source)
			require.NoError(t, err)
			defer db.Close()
			underFaults(t, st, fewer(8), func() {
				_, err := db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
					WHERE application_name = current_schema() AND pid <> pg_backend_pid()`)
				assert.NoError(t, err)
			})
		})
	}
}

// A mariadb is a server of the test's own.
type mariadb struct {
	t      *testing.T
	folder string
	port   string
	cmd    *exec.Cmd
}

func newMariadb(t *testing.T) *mariadb {
	install, err := exec.LookPath("mariadb-install-db")
	if err == nil {
		_, err = exec.LookPath("mariadbd")
	}
	if err != nil {
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatalf("no MariaDB is installed that the test could start: %v", err)
		}
		t.Skip("no MariaDB is installed that the test could start")
	}
	m := &mariadb{t: t, folder: t.TempDir()}
	out, err := exec.Command(install, "--no-defaults", "--datadir="+filepath.Join(m.folder, "data"), "--skip-test-db",
		"--auth-root-authentication-method=normal", "--user=root").CombinedOutput()
	require.NoError(t, err, string(out))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, m.port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mariadb) start() {
	m.cmd = exec.Command("mariadbd", "--no-defaults", "--datadir="+filepath.Join(m.folder, "data"), "--port="+m.port, "--bind-address=127.0.0.1",
		"--socket="+filepath.Join(m.folder, "s"), "--pid-file="+filepath.Join(m.folder, "pid"), "--innodb-buffer-pool-size=16M", "--user=root")
	require.NoError(m.t, m.cmd.Start())
	require.Eventually(m.t, func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+m.port)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, time.Minute, 20*time.Millisecond, "MariaDB listens")
}

func (m *mariadb) kill() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}

func TestNoSessionIsLostWhenMariaDBIsKilled(t *testing.T) {
	m := newMariadb(t)
	c := mysqldriver.NewConfig()
	c.Net, c.Addr, c.User = "tcp", "127.0.0.1:"+m.port, "root"
	db, err := open("mysql", c.FormatDSN())
	require.NoError(t, err)
	defer db.Close()
	eventually(t, "MariaDB answers", func() bool { return db.Ping() == nil })
	_, err = db.Exec("CREATE DATABASE tokenloop")
	require.NoError(t, err)
	c.DBName = "tokenloop"
	st, _ := openStore(t, mysql, "mysql", c.FormatDSN())
	underFaults(t, st, fewer(3), func() { m.kill(); m.start() })
}

func TestBadInputIsAClearError(t *testing.T) {
	broken := func(t *testing.T, name string) (string, string) {
		file := filepath.Join(t.TempDir(), "x.db")
		if name == "no database" {
			require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("no database at all ", 100)), 0o600))
		}
		if name == "no folder" {
			file = filepath.Join(t.TempDir(), "none", "x.db")
		}
		return "sqlite", file
	}
	for _, c := range []struct {
		name   string
		e      engine
		source func(t *testing.T) (driver, source string)
		want   string // in the error
	}{
		{"SQLite, a file that is no database", sqlite, func(t *testing.T) (string, string) { return broken(t, "no database") }, "not a database"},
		{"SQLite, a folder that is not there", sqlite, func(t *testing.T) (string, string) { return broken(t, "no folder") }, "no such file or directory"},
		{"PostgreSQL, nobody listens", postgres, func(*testing.T) (string, string) { return "pgx", "postgres://x@127.0.0.1:1/test" }, "connection refused"},
		{"PostgreSQL, no such database", postgres, func(t *testing.T) (string, string) {
			driver, source := postgres.create(t)
			u, err := url.Parse(source)
			require.NoError(t, err)
			u.Path = "/tokenloop_none"
			return driver, u.String()
		}, "does not exist"},
		{"PostgreSQL, no such user", postgres, func(t *testing.T) (string, string) {
			driver, source := postgres.create(t)
			u, err := url.Parse(source)
			require.NoError(t, err)
			u.User = url.UserPassword("tokenloop_nobody", "hunter2-hunter2")
			return driver, u.String()
		}, "tokenloop_nobody"},
		{"MySQL, nobody listens", mysql, func(*testing.T) (string, string) { return "mysql", "root@tcp(127.0.0.1:1)/test" }, "connection refused"},
		{"MySQL, no such database", mysql, func(t *testing.T) (string, string) {
			driver, source := mysql.create(t)
			c, err := mysqldriver.ParseDSN(source)
			require.NoError(t, err)
			c.DBName = "tokenloop_none"
			return driver, c.FormatDSN()
		}, "Unknown database"},
		{"MySQL, a wrong password", mysql, func(t *testing.T) (string, string) {
			driver, source := mysql.create(t)
			c, err := mysqldriver.ParseDSN(source)
			require.NoError(t, err)
			c.Passwd = "hunter2-hunter2"
			return driver, c.FormatDSN()
		}, "Access denied"},
		{"no migration, SQLite", sqlite, sqlite.createIn, "call Migrate"},
		{"no migration, PostgreSQL", postgres, postgres.createIn, "call Migrate"},
		{"no migration, MySQL", mysql, mysql.createIn, "call Migrate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			driver, source := c.source(t)
			db, err := open(driver, source)
			if err != nil {
				require.ErrorContains(t, err, c.want)
				return
			}
			defer db.Close()
			st, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: c.e.dialect})
			require.NoError(t, err)
			ctx := t.Context()
			_, get := st.Get(ctx, "x")
			_, rotate := st.Rotate(ctx, "x", 0, rotation(1))
			_, list := st.List(ctx, "x", time.Now())
			_, replace := st.Replace(ctx, newSession("alice"))
			_, subject := st.RevokeSubject(ctx, "alice", "", time.Now())
			_, purge := st.DeleteExpired(ctx, time.Now(), 1)
			_, count := st.CountKeys(ctx, time.Now())
			for name, err := range map[string]error{
				"Get": get, "Rotate": rotate, "List": list, "Replace": replace, "RevokeSubject": subject, "DeleteExpired": purge, "CountKeys": count,
				"Create": st.Create(ctx, newSession("alice")), "Revoke": st.Revoke(ctx, "x", time.Now()),
				"DenySession": feedOn(t, c.e, db, sqlstore.FeedConfig{Mirror: newList()}).DenySession(ctx, "x", inAnHour()),
			} {
				require.ErrorContains(t, err, c.want, name)
				require.ErrorContains(t, err, "sqlstore: ", name)
				assert.NotContains(t, err.Error(), "hunter2", name)
				assert.NotErrorIs(t, err, issuer.ErrNoSession, name)
				assert.Equal(t, c.want == "call Migrate", strings.Contains(err.Error(), sqlstore.ErrNoSchema.Error()), name)
			}
			err = newIssuer(t, st).RevokeSession(ctx, "x")
			require.ErrorIs(t, err, jwterrors.StoreUnavailable, "what the issuer makes of it")
		})
	}
}

func (e engine) createIn(t *testing.T) (string, string) { return e.create(t) }

// A full disk, and a database that may only be read: what is there stays as it is,
// and can be used again when there is room.
func TestWhatCannotBeWrittenLosesNothing(t *testing.T) {
	for _, c := range []struct {
		name        string
		e           engine
		close, open []string // statements
		want        string
	}{
		{"SQLite, a full disk", sqlite, []string{`PRAGMA max_page_count = 1`}, []string{`PRAGMA max_page_count = 1000000`}, "full"},
		{"SQLite, read-only", sqlite, []string{`PRAGMA query_only = 1`}, []string{`PRAGMA query_only = 0`}, "readonly"},
		{"PostgreSQL, read-only", postgres, []string{`SET default_transaction_read_only = on`}, []string{`SET default_transaction_read_only = off`}, "read-only"},
		{"MySQL, read-only", mysql, []string{`SET SESSION TRANSACTION READ ONLY`}, []string{`SET SESSION TRANSACTION READ WRITE`}, "READ ONLY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, db := newStore(t, c.e)
			db.SetMaxOpenConns(1) // the statements are about a connection
			run := func(statements []string) {
				t.Helper()
				for _, s := range statements {
					_, err := db.Exec(s)
					require.NoError(t, err)
				}
			}
			ctx := t.Context()
			s := newSession("alice")
			require.NoError(t, st.Create(ctx, s))
			s, err := st.Get(ctx, s.ID)
			require.NoError(t, err)
			run(c.close)
			for n := range 200 { // until there is no room on the last page
				big := newSession(fmt.Sprint("bob ", n))
				big.UserAgent = strings.Repeat("x", 4096)
				if err = st.Create(ctx, big); err != nil {
					break
				}
			}
			require.ErrorContains(t, err, c.want)
			got, err := st.Get(ctx, s.ID)
			require.NoError(t, err)
			require.Equal(t, s, got)
			run(c.open)
			ok, err := st.Rotate(ctx, s.ID, 0, rotation(1))
			require.NoError(t, err)
			require.True(t, ok)
			require.NoError(t, st.Create(ctx, newSession("carol")))
		})
	}
}

// A file that this process may not write is opened all the same, to be looked at.
func TestAReadOnlyFileCanBeLookedAt(t *testing.T) {
	driver, file := newSQLite(t)
	st, db := openStore(t, sqlite, driver, file)
	s := newSession("alice")
	require.NoError(t, st.Create(t.Context(), s))
	require.NoError(t, db.Close())
	require.NoError(t, os.Chmod(file, 0o400))
	db, err := open(driver, file)
	require.NoError(t, err)
	defer db.Close()
	st, err = sqlstore.New(sqlstore.Config{DB: db, Dialect: sqlstore.SQLite})
	require.NoError(t, err)
	_, err = st.Get(t.Context(), s.ID)
	require.NoError(t, err)
}

// A machine vanishes in the middle of a login, and its connection stays. With what the
// package documentation says the server ends the transaction, and the next login of the
// subject goes through. Without it the test fails.
func TestAMachineThatVanishes(t *testing.T) {
	for _, c := range []struct {
		engine
		name, value string
	}{
		{postgres, "idle_in_transaction_session_timeout", "100ms"},
		{mysql, "idle_write_transaction_timeout", "1"},
	} {
		t.Run(c.engine.name, func(t *testing.T) {
			driver, source := c.create(t)
			st, db := openStore(t, c.engine, driver, source)
			if c.dialect == sqlstore.MySQL {
				var version string
				require.NoError(t, db.QueryRow("SELECT VERSION()").Scan(&version))
				if !strings.Contains(version, "MariaDB") {
					t.Skip("MySQL has no such variable")
				}
			}
			vanished, err := open(driver, with(t, driver, source, c.name, c.value))
			require.NoError(t, err)
			t.Cleanup(func() { vanished.Close() })
			tx, err := vanished.Begin()
			require.NoError(t, err)
			t.Cleanup(func() { _ = tx.Rollback() }) // the server was faster
			_, err = tx.Exec("INSERT INTO tokenloop_subjects (subject, revoked_at) VALUES ('alice', 0)")
			require.NoError(t, err)

			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			require.NoError(t, st.Create(ctx, newSession("alice")))
		})
	}
}

// with adds a parameter to a source.
func with(t *testing.T, driver, source, name, value string) string {
	t.Helper()
	if driver == "mysql" {
		c, err := mysqldriver.ParseDSN(source)
		require.NoError(t, err)
		if c.Params == nil {
			c.Params = map[string]string{}
		}
		c.Params[name] = value
		return c.FormatDSN()
	}
	u, err := url.Parse(source)
	require.NoError(t, err)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String()
}
