package bench_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// An engine is what sessions are kept in.
type engine struct {
	name string
	open func(tb testing.TB) (issuer.Store, statements)
}

// statements are the least that a store must ask its engine for when a session is
// refreshed: to read it, and to write what the rotation changes if it is still as it
// was read, by the same driver.
type statements func(ctx context.Context, id string) error

// engines are those that there is a store for. An engine that does not answer is
// skipped.
func engines() []engine {
	return []engine{
		{"memory", func(testing.TB) (issuer.Store, statements) {
			return issuer.NewMemoryStore(), func(context.Context, string) error { return nil }
		}},
		{"SQLite", openSQLite},
		{"PostgreSQL", openPostgreSQL},
		{"MariaDB", openMariaDB},
		{"Redis", openRedis},
	}
}

// BenchmarkEngine holds what a refresh does on an engine beside the least that it
// can do there, in turns as BenchmarkBeside does, with eight sessions at once.
//
//   - rotate: the store reads a session and rotates it, beside the statements
//   - refresh: a whole request to our issuer with ES256 that rotates, beside the
//     statements and a bare signature
func BenchmarkEngine(b *testing.B) {
	const atOnce, each = 8, 8
	for _, e := range engines() {
		b.Run("engine="+e.name, func(b *testing.B) {
			store, bare := e.open(b)
			ids := make([]string, 2*atOnce)
			for i := range ids {
				s := sessionToRotate()
				require.NoError(b, store.Create(context.Background(), s))
				ids[i] = s.ID
			}
			together := func(one func(i int) error) func() {
				return func() {
					var all sync.WaitGroup
					for i := range atOnce {
						all.Go(func() {
							for range each {
								if err := one(i); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					all.Wait()
				}
			}
			ctx := context.Background()
			if e.name != "memory" {
				b.Run("work=rotate/impl=tokenloop", func(b *testing.B) {
					beside(b, "x-bare", atOnce*each,
						together(func(i int) error { return bare(ctx, ids[i]) }),
						together(func(i int) error { return rotate(ctx, store, ids[atOnce+i]) }), func(int) {})
				})
			}
			b.Run("work=refresh/impl=tokenloop", func(b *testing.B) {
				clients, tokens := refreshers(b, store, atOnce)
				var signatures [atOnce]func()
				for i := range signatures {
					signatures[i] = bareSignature(b, "ES256")
				}
				beside(b, "x-bare", atOnce*each,
					together(func(i int) error { signatures[i](); return bare(ctx, ids[i]) }),
					together(func(i int) error {
						if tokens[i] = refreshTokenIn(clients[i].refresh(tokens[i])); tokens[i] == "" {
							return fmt.Errorf("answered with %d", clients[i].w.status)
						}
						return nil
					}), func(int) {})
			})
		})
	}
}

// refreshers returns n callers of one issuer on store, each with a session of its
// own and the refresh token of it.
func refreshers(tb testing.TB, store issuer.Store, n int) (clients []*ownIssuer, tokens []string) {
	first := newOwnIssuerOf(tb, "ES256", func(c *issuer.Config) { c.Grace, c.Store = issuer.NoGrace, store })
	for range n {
		client := first.beside()
		clients, tokens = append(clients, client), append(tokens, refreshTokenIn(client.login()))
	}
	return clients, tokens
}

// sessionToRotate returns one that has in it what the session of a browser has.
func sessionToRotate() issuer.Session {
	at := time.Now()
	return issuer.Session{
		ID: rand.Text()[:22], Seed: make([]byte, 32), KeyID: "k1", RotatedAt: at, AuthTime: at,
		Subject: subject, ClientID: clientID, Scopes: strings.Fields(scope), Email: "someone@example.com", Claims: []byte(`{"plan":"gold"}`),
		Address: "192.0.2.17", Device: "phone", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}
}

func rotate(ctx context.Context, store issuer.Store, id string) error {
	s, err := store.Get(ctx, id)
	if err != nil {
		return err
	}
	ok, err := store.Rotate(ctx, id, s.Generation, issuer.Rotation{Generation: s.Generation + 1, KeyID: "k1", RotatedAt: time.Now()})
	if err == nil && !ok {
		err = fmt.Errorf("generation %d did not rotate", s.Generation)
	}
	return err
}

func openSQLite(tb testing.TB) (issuer.Store, statements) {
	db, err := sqlstore.OpenSQLite("sqlite", filepath.Join(tb.TempDir(), "sessions.db"))
	require.NoError(tb, err)
	return overSQL(tb, db, sqlstore.SQLite)
}

// openPostgreSQL makes a schema of its own.
func openPostgreSQL(tb testing.TB) (issuer.Store, statements) {
	source, name := setting("TOKENLOOP_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432/test?sslmode=disable"), newName()
	place(tb, "PostgreSQL", "pgx", source, "CREATE SCHEMA "+name, "DROP SCHEMA "+name+" CASCADE")
	u, err := url.Parse(source)
	require.NoError(tb, err)
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	db, err := sql.Open("pgx", u.String())
	require.NoError(tb, err)
	sqlstore.SetPool(db, 8)
	return overSQL(tb, db, sqlstore.PostgreSQL)
}

// openMariaDB makes a database of its own.
func openMariaDB(tb testing.TB) (issuer.Store, statements) {
	source, name := setting("TOKENLOOP_TEST_MYSQL", "root@tcp(127.0.0.1:3306)/test"), newName()
	place(tb, "MariaDB", "mysql", source, "CREATE DATABASE "+name, "DROP DATABASE "+name)
	c, err := mysql.ParseDSN(source)
	require.NoError(tb, err)
	c.DBName = name
	db, err := sql.Open("mysql", c.FormatDSN())
	require.NoError(tb, err)
	sqlstore.SetPool(db, 8)
	return overSQL(tb, db, sqlstore.MySQL)
}

// place asks a server for a place of the row's own, or skips the row when no server
// answers, and gives the place back in the end.
func place(tb testing.TB, engine, driver, source, create, drop string) {
	db, err := sql.Open(driver, source)
	require.NoError(tb, err)
	tb.Cleanup(func() { db.Close() })
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	if err := db.PingContext(ctx); err != nil {
		missing(tb, engine, err)
	}
	_, err = db.Exec(create)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		_, err := db.Exec(drop)
		assert.NoError(tb, err)
	})
}

// overSQL returns a store on db, and its statements, which are prepared once.
func overSQL(tb testing.TB, db *sql.DB, dialect sqlstore.Dialect) (issuer.Store, statements) {
	tb.Cleanup(func() { db.Close() })
	store, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: dialect})
	require.NoError(tb, err)
	require.NoError(tb, store.Migrate(context.Background()))
	read := `SELECT seed, generation, key_id, rotated_at, retry_hash, subject, client_id, scopes, expires_at, idle_until, revoked_at
		FROM tokenloop_sessions WHERE id = ?`
	update := `UPDATE tokenloop_sessions SET generation = ?, key_id = ?, rotated_at = ? WHERE id = ? AND generation = ?`
	if dialect == sqlstore.PostgreSQL {
		read = strings.Replace(read, "?", "$1", 1)
		for _, parameter := range []string{"$1", "$2", "$3", "$4", "$5"} {
			update = strings.Replace(update, "?", parameter, 1)
		}
	}
	reading, err := db.Prepare(read)
	require.NoError(tb, err)
	writing, err := db.Prepare(update)
	require.NoError(tb, err)
	return store, func(ctx context.Context, id string) error {
		var generation, rotated, expires, idle, revoked int64
		var seed, hash []byte
		var key, subject, client, scopes string
		err := reading.QueryRowContext(ctx, id).Scan(&seed, &generation, &key, &rotated, &hash, &subject, &client, &scopes, &expires, &idle, &revoked)
		if err != nil {
			return err
		}
		result, err := writing.ExecContext(ctx, generation+1, "k1", time.Now().UnixMicro(), id, generation)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return fmt.Errorf("%d rows changed: %w", n, err)
		}
		return nil
	}
}

// openRedis has keys with a prefix of its own.
func openRedis(tb testing.TB) (issuer.Store, statements) {
	logging.Disable() // of each connection that it does not get
	options, err := redis.ParseURL(setting("TOKENLOOP_TEST_REDIS", "redis://127.0.0.1:6379"))
	require.NoError(tb, err)
	client := redis.NewClient(options)
	tb.Cleanup(func() { client.Close() })
	ctx := context.Background()
	if err := client.Ping(ctx).Err(); err != nil {
		missing(tb, "Redis", err)
	}
	prefix := newName() + ":"
	tb.Cleanup(func() {
		for keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator(); keys.Next(ctx); {
			client.Del(ctx, keys.Val())
		}
	})
	store, err := redisstore.New(redisstore.Config{Client: client, Prefix: prefix})
	require.NoError(tb, err)
	return store, func(ctx context.Context, id string) error {
		key := prefix + "s:" + id
		fields, err := client.HGetAll(ctx, key).Result()
		if err != nil {
			return err
		}
		generation, err := strconv.ParseUint(fields["g"], 10, 64)
		if err != nil {
			return err
		}
		ok, err := moveOn.Run(ctx, client, []string{key}, generation, generation+1, time.Now().UnixMicro(), "k1").Bool()
		if err == nil && !ok {
			err = fmt.Errorf("generation %d did not rotate", generation)
		}
		return err
	}
}

// moveOn is Redis' UPDATE with a WHERE.
var moveOn = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'g') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2], 'r', ARGV[3], 'k', ARGV[4])
return 1`)

func setting(name, otherwise string) string {
	if s := os.Getenv(name); s != "" {
		return s
	}
	return otherwise
}

func newName() string { return "tokenloop_" + strings.ToLower(rand.Text()) }

// missing leaves an engine out, and says so in a line that the report repeats.
func missing(tb testing.TB, engine string, err error) {
	if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
		tb.Fatalf("no %s answers: %v", engine, err)
	}
	fmt.Printf("No %s answers: its rows are left out.\n", engine)
	tb.SkipNow()
}

// What the rows of an engine do changes what they say it does.
func TestEveryEngineIsAskedForTheSame(t *testing.T) {
	for _, e := range engines() {
		t.Run(e.name, func(t *testing.T) {
			ctx := t.Context()
			store, bare := e.open(t)
			s := sessionToRotate()
			require.NoError(t, store.Create(ctx, s))
			for want := range uint64(3) {
				now, err := store.Get(ctx, s.ID)
				require.NoError(t, err)
				require.Equal(t, want, now.Generation)
				require.NoError(t, rotate(ctx, store, s.ID))
			}
			if e.name != "memory" {
				before, err := store.Get(ctx, s.ID)
				require.NoError(t, err)
				require.NoError(t, bare(ctx, s.ID))
				after, err := store.Get(ctx, s.ID)
				require.NoError(t, err)
				assert.Equal(t, before.Generation+1, after.Generation, "the statements write")
				assert.True(t, after.RotatedAt.After(before.RotatedAt))
				assert.Error(t, bare(ctx, "nobody"), "and read")
			}
			clients, tokens := refreshers(t, store, 2)
			for i, client := range clients {
				next := refreshTokenIn(client.refresh(tokens[i]))
				assert.NotEmpty(t, next)
				assert.NotEqual(t, tokens[i], next)
			}
		})
	}
}
