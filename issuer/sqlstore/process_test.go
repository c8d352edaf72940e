package sqlstore_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// What a process that a test starts is told to do.
const (
	envJob    = "SQLSTORE_JOB"
	envDriver = "SQLSTORE_DRIVER"
	envSource = "SQLSTORE_SOURCE"
	envEngine = "SQLSTORE_ENGINE"
	envID     = "SQLSTORE_ID"
	envRounds = "SQLSTORE_ROUNDS"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(envJob); job != "" {
		if err := work(context.Background(), job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	_ = mysqldriver.SetLogger(&mysqldriver.NopLogger{}) // it tells of each connection that is cut
	os.Exit(m.Run())
}

func work(ctx context.Context, job string) error {
	db, err := open(os.Getenv(envDriver), os.Getenv(envSource))
	if err != nil {
		return err
	}
	defer db.Close()
	st, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: sqlstore.Dialect(os.Getenv(envEngine))})
	if err != nil {
		return err
	}
	id := os.Getenv(envID)
	rounds, _ := strconv.ParseUint(os.Getenv(envRounds), 10, 64)
	switch job {
	case "migrate":
		return st.Migrate(ctx)
	case "rotate": // prints each generation that it has reached, for ever
		s, err := st.Get(ctx, id)
		for g := s.Generation; err == nil; g++ {
			var ok bool
			if ok, err = st.Rotate(ctx, id, g, rotation(g+1)); err == nil && !ok {
				err = fmt.Errorf("generation %d did not rotate", g)
			}
			if err == nil {
				fmt.Println(g + 1)
			}
		}
		return err
	case "race": // prints the generations that it has won
		var wg sync.WaitGroup
		var failed atomic.Pointer[error]
		for range 8 {
			wg.Go(func() {
				for g := range rounds {
					ok, err := st.Rotate(ctx, id, g, rotation(g+1))
					if err != nil {
						failed.Store(&err)
						return
					}
					if ok {
						fmt.Println(g + 1)
					}
				}
			})
		}
		wg.Wait()
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	}
	return fmt.Errorf("no such job: %s", job)
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

func process(t *testing.T, job string, e engine, driver, source, id string, rounds int) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), envJob+"="+job, envDriver+"="+driver, envSource+"="+source, envEngine+"="+string(e.dialect),
		envID+"="+id, envRounds+"="+strconv.Itoa(rounds))
	return c
}

func TestOneGenerationHasOneSuccessorAcrossProcesses(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		driver, source := e.create(t)
		st, _ := openStore(t, e, driver, source)
		s := newSession("alice")
		require.NoError(t, st.Create(t.Context(), s))
		rounds := 150
		if testing.Short() {
			rounds = 15
		}
		var mu sync.Mutex
		won := map[string]int{}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				out, err := process(t, "race", e, driver, source, s.ID, rounds).Output()
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				for _, g := range strings.Fields(string(out)) {
					won[g]++
				}
			})
		}
		wg.Wait()
		for g := range rounds {
			assert.Equal(t, 1, won[strconv.Itoa(g+1)], "winners of generation %d", g+1)
		}
	})
}

func TestAKilledProcessLosesNoSession(t *testing.T) {
	for _, e := range []engine{sqlite, postgres, mysql} {
		t.Run(e.name, func(t *testing.T) {
			driver, source := e.create(t)
			st, _ := openStore(t, e, driver, source)
			s := newSession("alice")
			require.NoError(t, st.Create(t.Context(), s))
			kills := 40
			if testing.Short() {
				kills = 4
			}
			for n := range kills {
				c := process(t, "rotate", e, driver, source, s.ID, 0)
				out, err := c.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, c.Start())
				last := uint64(0)
				for lines, seen := bufio.NewScanner(out), 0; lines.Scan(); seen++ {
					last, err = strconv.ParseUint(lines.Text(), 10, 64)
					require.NoError(t, err)
					if seen == n {
						require.NoError(t, c.Process.Kill())
					}
				}
				require.Error(t, c.Wait())
				require.NotZero(t, last)
				for range 2 { // a server may end what it was told before the kill
					got, err := st.Get(t.Context(), s.ID)
					require.NoError(t, err)
					require.GreaterOrEqual(t, got.Generation, last, "what was answered is kept")
					require.LessOrEqual(t, got.Generation, last+1)
					ok, err := st.Rotate(t.Context(), s.ID, got.Generation, rotation(got.Generation+1))
					require.NoError(t, err)
					if ok {
						last = 0
						break
					}
				}
				require.Zero(t, last, "the session goes on")
			}
		})
	}
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
