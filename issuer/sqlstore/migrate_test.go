package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// newest is the version of the schema.
const newest = 3

// migrateTo makes the schema of a version as that version made it: by its files,
// and by the table of its account.
func migrateTo(t *testing.T, e engine, db *sql.DB, version int) {
	t.Helper()
	files, err := fs.Glob(sqlstore.Migrations, "migrations/"+string(e.dialect)+"/*.sql")
	require.NoError(t, err)
	require.Len(t, files, newest)
	_, err = db.Exec(`CREATE TABLE tokenloop_migrations (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)`)
	require.NoError(t, err)
	for n, file := range files[:version] {
		text, err := fs.ReadFile(sqlstore.Migrations, file)
		require.NoError(t, err)
		up, _, _ := strings.Cut(string(text), "-- +goose Down")
		for statement := range strings.SplitSeq(up, ";") {
			if strings.TrimSpace(strings.ReplaceAll(statement, "-- +goose Up", "")) != "" {
				_, err := db.Exec(statement)
				require.NoError(t, err)
			}
		}
		_, err = db.Exec(fmt.Sprintf(`INSERT INTO tokenloop_migrations (version, applied_at) VALUES (%d, 7)`, n+1))
		require.NoError(t, err)
	}
}

// asVersion1 adds a session with the statement that the first version has for it.
func asVersion1(t *testing.T, e engine, db *sql.DB, s issuer.Session) {
	t.Helper()
	values := []any{
		s.ID, s.Seed, int64(s.Generation), s.KeyID, s.RotatedAt.UnixMicro(), s.RetryHash, s.Subject, s.ClientID, strings.Join(s.Scopes, " "),
		s.Email, s.UserID, []byte(s.Claims), s.ACR, s.AuthTime.UnixMicro(), s.Device, s.Address, s.UserAgent, s.CreatedAt.UnixMicro(),
		s.ExpiresAt.UnixMicro(), s.IdleUntil.UnixMicro(), s.RevokedAt.UnixMicro(), s.ExpiresAt.UnixMicro(),
	}
	var places []string
	for n := range values {
		places = append(places, map[bool]string{true: fmt.Sprint("$", n+1), false: "?"}[e.dialect == sqlstore.PostgreSQL])
	}
	_, err := db.Exec(`INSERT INTO tokenloop_sessions (id, seed, generation, key_id, rotated_at, retry_hash, subject, client_id, scopes, email,
		user_id, claims, acr, auth_time, device, address, user_agent, created_at, expires_at, idle_until, revoked_at, ends_at)
		VALUES (`+strings.Join(places, ", ")+`)`, values...)
	require.NoError(t, err)
}

// fill adds what a database of the first version can hold, as a process of that
// version does, and returns a function that looks whether it is all there.
func fill(t *testing.T, e engine, db *sql.DB) (intact func()) {
	t.Helper()
	st, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: e.dialect})
	require.NoError(t, err)
	ctx := context.Background()
	at := time.Now().UTC().Truncate(time.Microsecond)
	var want []issuer.Session
	for n := range 20 {
		s := newSession(fmt.Sprint("user ", n))
		s.Scopes, s.Claims, s.Email = []string{"a", "b"}, []byte(`{"é": "\u00e9"}`), "ünï@example.com"
		s.RotatedAt, s.AuthTime, s.CreatedAt, s.ExpiresAt, s.IdleUntil, s.RevokedAt = at, at, at, at.Add(time.Hour), s.IdleUntil.UTC(), s.RevokedAt.UTC()
		if n%2 == 0 {
			s.Generation, s.RetryHash = 7, make([]byte, 32)
		}
		if n%3 == 0 {
			s.RevokedAt = at
		}
		asVersion1(t, e, db, s)
		want = append(want, s)
	}
	_, err = st.RevokeSubject(ctx, "marked", "", at)
	require.NoError(t, err)
	return func() {
		t.Helper()
		for _, s := range want {
			got, err := st.Get(ctx, s.ID)
			require.NoError(t, err)
			require.Equal(t, s, got)
		}
		s := newSession("marked")
		s.AuthTime = at
		require.ErrorIs(t, st.Create(ctx, s), issuer.ErrSubjectRevoked)
	}
}

func TestTenProcessesMigrateOnce(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		for from := range newest {
			t.Run(fmt.Sprint("from version ", from), func(t *testing.T) {
				driver, source := e.create(t)
				intact := func() {}
				if from > 0 {
					db, err := open(driver, source)
					require.NoError(t, err)
					defer db.Close()
					migrateTo(t, e, db, from)
					intact = fill(t, e, db)
				}
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						out, err := migrating(t, e, driver, source).CombinedOutput()
						assert.NoError(t, err, string(out))
					})
				}
				wg.Wait()
				_, db := openStore(t, e, driver, source)
				var n, sum, old int
				require.NoError(t, db.QueryRow(`SELECT COUNT(*), SUM(version) FROM tokenloop_migrations`).Scan(&n, &sum))
				assert.Equal(t, newest, n)
				assert.Equal(t, newest*(newest+1)/2, sum, "each version is there once")
				require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM tokenloop_migrations WHERE applied_at = 7`).Scan(&old))
				assert.Equal(t, from, old, "what was there was not done again")
				intact()
				l := newList()
				f := feedOn(t, e, db, sqlstore.FeedConfig{Mirror: l})
				require.NoError(t, f.DenySession(t.Context(), "s", inAnHour()))
				runFeed(t, f)
				l.inStep(t, time.Now())
			})
		}
	})
}

// A process that dies has made the tables and not said so, where the engine commits
// each statement that makes one.
func TestAMigrationThatWasCutOffIsDoneAgain(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		st, db := newStore(t, e)
		intact := fill(t, e, db)
		for _, forget := range []string{"version = 3", "version > 1", "version > 0"} {
			_, err := db.Exec(`DELETE FROM tokenloop_migrations WHERE ` + forget)
			require.NoError(t, err)
			require.NoError(t, st.Migrate(t.Context()))
			intact()
		}
	})
}

// While a new version is rolled out, processes of the old one go on with the new
// schema: they read and write the columns that they know.
func TestAnOldProcessGoesOnWithTheNewSchema(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		st, db := newStore(t, e)
		old, bound := newSession("alice"), newSession("alice")
		asVersion1(t, e, db, old)
		got, err := st.Get(t.Context(), old.ID)
		require.NoError(t, err)
		assert.Empty(t, got.Confirmation)
		bound.Confirmation = "jkt:" + strings.Repeat("x", 43)
		require.NoError(t, st.Create(t.Context(), bound))
		result, err := db.Exec(`UPDATE tokenloop_sessions SET generation = 1 WHERE id = '` + bound.ID + `' AND generation = 0`)
		require.NoError(t, err)
		n, err := result.RowsAffected()
		require.NoError(t, err)
		assert.EqualValues(t, 1, n)
		got, err = st.Get(t.Context(), bound.ID)
		require.NoError(t, err)
		assert.Equal(t, bound.Confirmation, got.Confirmation, "what it does not know it leaves alone")
	})
}

func TestAnOlderSchemaIsToldApart(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		driver, source := e.create(t)
		db, err := open(driver, source)
		require.NoError(t, err)
		defer db.Close()
		migrateTo(t, e, db, 2)
		st, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: e.dialect})
		require.NoError(t, err)
		_, err = st.Get(t.Context(), "x")
		require.ErrorIs(t, err, sqlstore.ErrNoSchema)
		require.ErrorIs(t, st.Create(t.Context(), newSession("alice")), sqlstore.ErrNoSchema)
		require.NoError(t, st.Migrate(t.Context()))
		require.NoError(t, st.Create(t.Context(), newSession("alice")))
	})
}

func TestANewerSchemaIsRefused(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		st, db := newStore(t, e)
		require.NoError(t, st.Migrate(t.Context()), "again")
		_, err := db.Exec(`INSERT INTO tokenloop_migrations (version, applied_at) VALUES (99, 0)`)
		require.NoError(t, err)
		require.ErrorIs(t, st.Migrate(t.Context()), sqlstore.ErrNewerSchema)
	})
}

// migrating is a process that migrates a database.
func migrating(t *testing.T, e engine, driver, source string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), envMigrate+"="+where(e, driver, source))
	return c
}
