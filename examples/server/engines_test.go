package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
)

// An engine makes stores of a test's own.
type engine struct {
	name string
	make func(*testing.T) string
}

var (
	files   = []engine{{"SQLite", newSQLite}}
	servers = []engine{{"PostgreSQL", newPostgres}, {"MySQL", newMySQL}, {"Redis", newRedis}}
	engines = append(files, servers...)
)

// each runs a test on a store of every engine that answers.
func each(t *testing.T, engines []engine, test func(t *testing.T, store string)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { test(t, e.make(t)) })
	}
}

func newSQLite(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "sessions.db") }

func setting(name, otherwise string) string {
	if s := os.Getenv(name); s != "" {
		return s
	}
	return otherwise
}

// admin runs a statement at a server, or skips the test when none answers.
func admin(t *testing.T, driver, source, statement string) {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Ping(); err != nil {
		missing(t, err)
	}
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// newName names a schema or a database.
func newName() string { return "tokenloop_" + strings.ToLower(rand.Text()) }

// newPostgres makes a schema, and returns its -store.
func newPostgres(t *testing.T) string {
	source, name := setting("TOKENLOOP_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432/test?sslmode=disable"), newName()
	admin(t, "pgx", source, "CREATE SCHEMA "+name)
	t.Cleanup(func() { admin(t, "pgx", source, "DROP SCHEMA "+name+" CASCADE") })
	u, err := url.Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}

// newMySQL makes a database, and returns its -store.
func newMySQL(t *testing.T) string {
	source, name := setting("TOKENLOOP_TEST_MYSQL", "root@tcp(127.0.0.1:3306)/test"), newName()
	admin(t, "mysql", source, "CREATE DATABASE "+name)
	t.Cleanup(func() { admin(t, "mysql", source, "DROP DATABASE "+name) })
	c, err := mysql.ParseDSN(source)
	if err != nil {
		t.Fatal(err)
	}
	return (&url.URL{Scheme: "mysql", User: url.UserPassword(c.User, c.Passwd), Host: c.Addr, Path: "/" + name}).String()
}

// newRedis returns the -store of a prefix.
func newRedis(t *testing.T) string {
	u, err := url.Parse(setting("TOKENLOOP_TEST_REDIS", "redis://127.0.0.1:6379"))
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(u.String())
	if err != nil {
		t.Fatal(err)
	}
	client, prefix := redis.NewClient(options), newName()+":"
	if err := client.Ping(t.Context()).Err(); err != nil {
		missing(t, err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		for keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator(); keys.Next(ctx); {
			client.Del(ctx, keys.Val())
		}
		client.Close()
	})
	q := u.Query()
	q.Set("prefix", prefix)
	u.RawQuery = q.Encode()
	return u.String()
}

// missing skips a test for want of a server, or fails it where none may be missing.
func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
		t.Fatalf("no server answers: %v", err)
	}
	t.Skip("no server of this engine answers")
}

// A cable connects a server to its database, until it is pulled.
type cable struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	pulled bool
	open   map[net.Conn]bool
}

// newCable returns a store's URL with a cable in between.
func newCable(t *testing.T, store string) (*cable, string) {
	t.Helper()
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: u.Host, open: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.carry(from) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.set(true)
		all.Wait()
	})
	u.Host = l.Addr().String()
	return c, u.String()
}

// set pulls the cable out, and cuts what it carries, or puts it back in.
func (c *cable) set(pulled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = pulled
	for conn := range c.open {
		conn.Close()
	}
}

// keep reports whether conn may be used, until the returned function is called.
func (c *cable) keep(conn net.Conn) (done func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pulled {
		return nil, false
	}
	c.open[conn] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, conn)
	}, true
}

func (c *cable) carry(from net.Conn) {
	defer from.Close()
	done, ok := c.keep(from)
	if !ok {
		return
	}
	defer done()
	to, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(to, from)
		to.Close()
	}()
	_, _ = io.Copy(from, to)
}
