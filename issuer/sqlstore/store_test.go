package sqlstore_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

// An engine opens databases of a test's own.
type engine struct {
	name    string
	dialect sqlstore.Dialect
	// create returns how a fresh database is opened, by this process or another.
	create func(t testing.TB) (driver, source string)
}

var (
	sqlite     = engine{"SQLite", sqlstore.SQLite, newSQLite}
	postgres   = engine{"PostgreSQL", sqlstore.PostgreSQL, func(t testing.TB) (string, string) { return newPostgres(t, "read committed") }}
	strict     = engine{"PostgreSQL, serializable", sqlstore.PostgreSQL, func(t testing.TB) (string, string) { return newPostgres(t, "serializable") }}
	mysql      = engine{"MySQL", sqlstore.MySQL, newMySQL}
	allEngines = []engine{sqlite, postgres, strict, mysql}
)

// each runs test on every engine that answers.
func each(t *testing.T, test func(t *testing.T, e engine)) {
	for _, e := range allEngines {
		t.Run(e.name, func(t *testing.T) { test(t, e) })
	}
}

func newSQLite(t testing.TB) (string, string) {
	return "sqlite", filepath.Join(t.TempDir(), "sessions ?%.db")
}

func open(driver, source string) (*sql.DB, error) {
	if driver == "sqlite" {
		return sqlstore.OpenSQLite(driver, source)
	}
	db, err := sql.Open(driver, source)
	if err == nil {
		sqlstore.SetPool(db, 8)
	}
	return db, err
}

func setting(name, otherwise string) string {
	if s := os.Getenv(name); s != "" {
		return s
	}
	return otherwise
}

// admin connects to a server, or skips the test when none answers.
func admin(t testing.TB, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	if err := db.PingContext(ctx); err != nil {
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatalf("no server answers: %v", err)
		}
		t.Skip("no server of this engine answers")
	}
	return db
}

func newName() string { return "tokenloop_" + strings.ToLower(rand.Text()) }

func newPostgres(t testing.TB, isolation string) (string, string) {
	source := setting("TOKENLOOP_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432/test?sslmode=disable")
	db, name := admin(t, "pgx", source), newName()
	_, err := db.Exec("CREATE SCHEMA " + name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec("DROP SCHEMA " + name + " CASCADE")
		require.NoError(t, err)
	})
	u, err := url.Parse(source)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", name)
	q.Set("application_name", name) // to tell the connections of a test from others
	q.Set("default_transaction_isolation", isolation)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return "pgx", u.String()
}

func newMySQL(t testing.TB) (string, string) {
	source := setting("TOKENLOOP_TEST_MYSQL", "root@tcp(127.0.0.1:3306)/test")
	db, name := admin(t, "mysql", source), newName()
	_, err := db.Exec("CREATE DATABASE " + name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec("DROP DATABASE " + name)
		require.NoError(t, err)
	})
	c, err := mysqldriver.ParseDSN(source)
	require.NoError(t, err)
	c.DBName = name
	return "mysql", c.FormatDSN()
}

// openStore opens what create has made.
func openStore(t testing.TB, e engine, driver, source string) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db, err := open(driver, source)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	st, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: e.dialect})
	require.NoError(t, err)
	require.NoError(t, st.Migrate(t.Context()))
	return st, db
}

func newStore(t testing.TB, e engine) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	driver, source := e.create(t)
	return openStore(t, e, driver, source)
}

func TestStore(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		storetest.Run(t, func(t *testing.T) issuer.Store {
			st, _ := newStore(t, e)
			return st
		})
	})
}
