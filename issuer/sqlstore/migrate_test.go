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
const newest = 2

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

// fill adds what a database of the first version can hold, and returns a function
// that looks whether it is all there.
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
		require.NoError(t, st.Create(ctx, s))
		if n%2 == 0 {
			_, err := st.Rotate(ctx, s.ID, 0, rotation(7))
			require.NoError(t, err)
		}
		if n%3 == 0 {
			require.NoError(t, st.Revoke(ctx, s.ID, at))
		}
		s, err := st.Get(ctx, s.ID)
		require.NoError(t, err)
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
		for _, forget := range []string{"version = 2", "version > 0"} {
			_, err := db.Exec(`DELETE FROM tokenloop_migrations WHERE ` + forget)
			require.NoError(t, err)
			require.NoError(t, st.Migrate(t.Context()))
			intact()
		}
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
