package sqlstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

// envMigrate is where a process that a test starts is to migrate a database.
const envMigrate = "SQLSTORE_MIGRATE"

func TestMain(m *testing.M) {
	if where := os.Getenv(envMigrate); where != "" {
		st, err := openWhere(where)
		if err == nil {
			err = st.Migrate(context.Background())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	storetest.Work(func(where string) (issuer.Store, error) { return openWhere(where) })
	_ = mysqldriver.SetLogger(&mysqldriver.NopLogger{}) // it tells of each connection that is cut
	os.Exit(m.Run())
}

// where names a database to another process.
func where(e engine, driver, source string) string {
	return strings.Join([]string{string(e.dialect), driver, source}, "\n")
}

func openWhere(where string) (*sqlstore.Store, error) {
	parts := strings.SplitN(where, "\n", 3)
	db, err := open(parts[1], parts[2])
	if err != nil {
		return nil, err
	}
	return sqlstore.New(sqlstore.Config{DB: db, Dialect: sqlstore.Dialect(parts[0])})
}

func rotation(g uint64) issuer.Rotation {
	return issuer.Rotation{Generation: g, KeyID: "k1", RotatedAt: time.Now()}
}

func newSession(subject string) issuer.Session {
	at := time.Now()
	return issuer.Session{
		ID: rand.Text()[:22], Seed: make([]byte, 32), KeyID: "k1", RotatedAt: at, Subject: subject, AuthTime: at,
		CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}
}

func TestProcesses(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		driver, source := e.create(t)
		st, _ := openStore(t, e, driver, source)
		storetest.RunProcesses(t, where(e, driver, source), st)
	})
}

func TestALostConnectionIsAnErrorAndNothingIsHalfDone(t *testing.T) {
	for _, e := range []engine{postgres, mysql} {
		t.Run(e.name, func(t *testing.T) {
			driver, source := e.create(t)
			p, source := newCutter(t, driver, source)
			st, db := openStore(t, e, driver, source)
			f := feedOn(t, e, db, sqlstore.FeedConfig{Mirror: newList()})
			ctx := t.Context()
			for range 20 {
				s := newSession("alice")
				require.NoError(t, st.Create(ctx, s))
				p.armed.Store(true)
				ok, err := st.Rotate(ctx, s.ID, 0, rotation(1))
				p.armed.Store(false)
				require.Error(t, err)
				require.False(t, ok)
				got, err := st.Get(ctx, s.ID)
				require.NoError(t, err, "the store recovers by itself")
				require.LessOrEqual(t, got.Generation, uint64(1))

				p.armed.Store(true)
				require.Error(t, st.Revoke(ctx, s.ID, time.Now()), "a revocation that nobody confirmed")
				_, err = st.RevokeSubject(ctx, "alice", "", time.Now())
				require.Error(t, err)
				next := newSession("alice")
				_, err = st.Replace(ctx, next)
				require.Error(t, err)
				require.Error(t, f.DenySession(ctx, s.ID, s.ExpiresAt), "a denial that nobody confirmed")
				p.armed.Store(false)
				require.NoError(t, f.DenySession(ctx, s.ID, s.ExpiresAt))
				require.NoError(t, st.Revoke(ctx, s.ID, time.Now()))
				got, err = st.Get(ctx, s.ID)
				require.NoError(t, err)
				require.False(t, got.RevokedAt.IsZero())
			}
		})
	}
}

func TestLoginsRemoveAFewExpiredSessions(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		_, db := newStore(t, e)
		for _, c := range []struct{ cleanUp, left int }{{3, 17}, {sqlstore.NoCleanUp, 20}} {
			_, err := db.Exec(`DELETE FROM tokenloop_sessions`)
			require.NoError(t, err)
			st, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: e.dialect, CleanUp: c.cleanUp})
			require.NoError(t, err)
			for n := range 20 {
				s := newSession("alice " + strconv.Itoa(n))
				s.ExpiresAt = time.Now().Add(-2 * time.Hour)
				require.NoError(t, st.Create(t.Context(), s))
			}
			var left int
			require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM tokenloop_sessions`).Scan(&left))
			assert.Equal(t, c.left, left)
		}
	})
}

func TestNewReportsEveryMistake(t *testing.T) {
	_, err := sqlstore.New(sqlstore.Config{Dialect: "oracle", CleanUp: -2})
	for _, part := range []string{"Config.DB", `"oracle"`, "Config.CleanUp is -2"} {
		assert.ErrorContains(t, err, part)
	}
}

func TestAFileOfSQLiteIsItsOwnersAlone(t *testing.T) {
	driver, file := newSQLite(t)
	openStore(t, sqlite, driver, file)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	assert.NotZero(t, info.Size()+size(file+"-wal"), "the database is in the file of that name")
}

func size(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

func TestTextThatIsTooLongIsRefusedBeforeItIsCutOff(t *testing.T) {
	st, _ := newStore(t, sqlite)
	err := st.Create(t.Context(), newSession(strings.Repeat("x", 2049)))
	require.ErrorContains(t, err, "longer than its column")
	assert.NotContains(t, err.Error(), "xxx")
}
