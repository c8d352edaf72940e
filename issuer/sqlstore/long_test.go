package sqlstore_test

import (
	"context"
	cryptorand "crypto/rand"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// long skips what takes minutes, and what is measured, unless it is asked for.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("TOKENLOOP_LONG") == "" {
		t.Skip("set TOKENLOOP_LONG=1 to run what takes minutes")
	}
}

// readAndRotate is what a refresh asks of the store. internal/bench holds it beside
// the bare statements.
func readAndRotate(ctx context.Context, st *sqlstore.Store, id string) error {
	s, err := st.Get(ctx, id)
	if err != nil {
		return err
	}
	ok, err := st.Rotate(ctx, id, s.Generation, issuer.Rotation{Generation: s.Generation + 1, KeyID: "k1", RotatedAt: time.Now()})
	if err == nil && !ok {
		err = fmt.Errorf("generation %d did not rotate", s.Generation)
	}
	return err
}

// bulk adds count sessions by SQL.
func bulk(t *testing.T, e engine, db *sql.DB, count int) {
	t.Helper()
	at := time.Now()
	created, ends, never := at.UnixMicro(), at.Add(720*time.Hour).UnixMicro(), time.Time{}.UnixMicro()
	series := fmt.Sprintf(`WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < %d)`, count)
	id, seed, analyze := `printf('s%021d', n)`, `randomblob(32)`, `ANALYZE`
	if e.dialect == sqlstore.PostgreSQL {
		series = fmt.Sprintf(`WITH series (n) AS (SELECT generate_series(1, %d))`, count)
		id, seed, analyze = `'s' || lpad(n::text, 21, '0')`, `decode(md5(n::text) || md5('x' || n::text), 'hex')`, `VACUUM ANALYZE`
	}
	for _, statement := range []string{
		`INSERT INTO tokenloop_sessions (id, seed, generation, key_id, rotated_at, subject, client_id, scopes, email, user_id, acr, device,
				address, user_agent, auth_time, created_at, expires_at, ends_at, idle_until, revoked_at) ` + series +
			` SELECT ` + id + `, ` + seed + fmt.Sprintf(`, 0, 'k1', %d, 'user ' || n, 'mobile', 'api:read api:write', 'someone@example.com', '', '',
				'', '192.0.2.1', 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', %d, %d, %d, %d, %d, %d FROM series`,
			created, created, created, ends, ends, never, never),
		`INSERT INTO tokenloop_subjects (subject, revoked_at) ` + series + fmt.Sprintf(` SELECT 'user ' || n, %d FROM series`, never),
		analyze,
	} {
		_, err := db.Exec(statement)
		require.NoError(t, err)
	}
}

// A refresh of one session among 5 million takes as long as of one among 10
// thousand. The two databases are asked in turns. TOKENLOOP_SESSIONS is another
// number than 5 million.
func TestARefreshTakesNoLongerAmongMillions(t *testing.T) {
	long(t)
	const few, refreshes = 10_000, 10_000
	many := 5_000_000
	if n, err := strconv.Atoi(os.Getenv("TOKENLOOP_SESSIONS")); err == nil {
		many = n
	}
	for _, e := range []engine{sqlite, postgres} {
		t.Run(e.name, func(t *testing.T) {
			var took [2][]time.Duration
			var stores [2]*sqlstore.Store
			counts := [2]int{few, many}
			for n, count := range counts {
				var db *sql.DB
				stores[n], db = newStore(t, e)
				begin := time.Now()
				bulk(t, e, db, count)
				t.Logf("%d sessions were added in %v", count, time.Since(begin).Round(time.Second))
			}
			for range refreshes {
				for n, st := range stores {
					id := fmt.Sprintf("s%021d", 1+rand.N(counts[n]))
					begin := time.Now()
					require.NoError(t, readAndRotate(t.Context(), st, id))
					took[n] = append(took[n], time.Since(begin))
				}
			}
			quantile := func(n int, q float64) time.Duration { return took[n][int(q*float64(refreshes))] }
			for n := range took {
				slices.Sort(took[n])
				t.Logf("among %d: p50 %v, p99 %v", counts[n], quantile(n, 0.5), quantile(n, 0.99))
			}
			assert.LessOrEqual(t, quantile(1, 0.99), 2*quantile(0, 0.99))
		})
	}
}

// A counter is a mirror that keeps nothing.
type counter struct {
	told   atomic.Int64
	synced chan struct{}
}

func (c *counter) DenySession(context.Context, string, time.Time) error { c.told.Add(1); return nil }
func (c *counter) DenyToken(context.Context, string, time.Time) error   { c.told.Add(1); return nil }
func (c *counter) DenySubject(context.Context, string, time.Time, time.Time) error {
	c.told.Add(1)
	return nil
}

func (c *counter) Synced(time.Time) {
	select {
	case c.synced <- struct{}{}:
	default:
	}
}

// A feed reads a million denials without ever having them in its memory. It also
// tells how much room they take in the database.
func TestAMillionDenialsAreReadInLittleMemory(t *testing.T) {
	long(t)
	const million, portion = 1_000_000, 5000
	for _, e := range []engine{sqlite, postgres, mysql} {
		t.Run(e.name, func(t *testing.T) {
			_, db := newStore(t, e)
			until := inAnHour().UnixMicro()
			for from := 0; from < million; from += portion {
				var rows []string
				for n := range portion {
					rows = append(rows, fmt.Sprintf("(%d, %d, 'sid', '%s', %d, %d)", from+n+1, rand.Int64(), cryptorand.Text()[:22], time.Time{}.UnixMicro(), until+int64(n)))
				}
				_, err := db.Exec(`INSERT INTO tokenloop_denials (sequence, nonce, kind, value, issued_before, ends_at) VALUES ` + strings.Join(rows, ", "))
				require.NoError(t, err)
			}
			size, before := `SELECT SUM(pgsize) FROM dbstat WHERE name LIKE '%tokenloop_denials%'`, ``
			switch e.dialect {
			case sqlstore.PostgreSQL:
				size = `SELECT pg_total_relation_size('tokenloop_denials')`
			case sqlstore.MySQL:
				before = `ANALYZE TABLE tokenloop_denials`
				size = `SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'tokenloop_denials'`
			}
			if before != "" {
				_, err := db.Exec(before)
				require.NoError(t, err)
			}
			var bytes int64
			require.NoError(t, db.QueryRow(size).Scan(&bytes))

			c := &counter{synced: make(chan struct{}, 1)}
			heap := func() uint64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			least, most, begin := heap(), uint64(0), time.Now()
			runFeed(t, feedOn(t, e, db, sqlstore.FeedConfig{Mirror: c}))
			for synced := false; !synced; {
				select {
				case <-c.synced:
					synced = true
				case <-time.After(20 * time.Millisecond):
				}
				most = max(most, heap())
			}
			t.Logf("%d denials were read in %v with %d KB; %d bytes each in the database", c.told.Load(), time.Since(begin).Round(10*time.Millisecond), (most-min(least, most))>>10, bytes/million)
			require.EqualValues(t, million, c.told.Load())
			assert.Less(t, most, least+8<<20)
		})
	}
}

// How long it takes from a denial to the refusal at another process: one Interval
// at most and the time of a query, and less with a connection that listens.
func TestADenialArrivesWithinAnInterval(t *testing.T) {
	long(t)
	const denials, interval = 150, 200 * time.Millisecond
	measure := func(t *testing.T, e engine, driver, source string, c sqlstore.FeedConfig) time.Duration {
		_, db := openStore(t, e, driver, source)
		_, other := openStore(t, e, driver, source)
		l := newList()
		c.Mirror = l
		runFeed(t, feedOn(t, e, other, c))
		l.inStep(t, time.Time{})
		writer := feedOn(t, e, db, sqlstore.FeedConfig{Mirror: newList()})
		var took []time.Duration
		for n := range denials {
			time.Sleep(rand.N(interval)) // at any moment of the interval
			key := strconv.Itoa(n)
			require.NoError(t, writer.DenySession(t.Context(), key, inAnHour()))
			begin := time.Now()
			for !l.has("sid " + key) {
				require.Less(t, time.Since(begin), 20*time.Second)
				time.Sleep(100 * time.Microsecond)
			}
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		t.Logf("p50 %v, p99 %v", took[denials/2], took[denials*99/100])
		return took[denials*99/100]
	}
	for _, e := range []engine{sqlite, postgres, mysql} {
		t.Run(e.name, func(t *testing.T) {
			driver, source := e.create(t)
			assert.Less(t, measure(t, e, driver, source, sqlstore.FeedConfig{Interval: interval}), 2*interval, "a busy machine adds something")
		})
	}
	t.Run("PostgreSQL, with a connection that listens", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		driver, source := postgres.create(t)
		ready, wake := make(chan struct{}), make(chan struct{}, 1)
		var wg sync.WaitGroup
		wg.Go(func() { assert.ErrorIs(t, listen(ctx, source, ready, wake), context.Canceled) })
		defer wg.Wait()
		defer cancel()
		<-ready
		assert.Less(t, measure(t, postgres, driver, source, sqlstore.FeedConfig{Interval: time.Hour, Wake: wake}), interval)
	})
}

// Ten seconds without the database, and a connection that goes silent without being
// closed: nobody has to start the process again.
func TestAFeedSurvivesALongCutAndASilentConnection(t *testing.T) {
	long(t)
	for _, e := range []engine{postgres, mysql} {
		t.Run(e.name, func(t *testing.T) {
			driver, source := e.create(t)
			_, db := openStore(t, e, driver, source)
			writer := feedOn(t, e, db, sqlstore.FeedConfig{Mirror: newList()})
			p, through := newCutter(t, driver, source)
			_, far := openStore(t, e, driver, through)
			l := newList()
			runFeed(t, feedOn(t, e, far, sqlstore.FeedConfig{Mirror: l}))
			l.inStep(t, time.Now())
			deny := func(prefix string) {
				for n := range 100 {
					require.NoError(t, writer.DenySession(t.Context(), prefix+strconv.Itoa(n), inAnHour()))
				}
			}
			p.cut(true)
			begin := time.Now()
			deny("cut ")
			time.Sleep(10*time.Second - time.Since(begin))
			_, _, synced, _ := l.get()
			assert.WithinDuration(t, begin, synced, time.Second, "it knows that it is behind")
			p.cut(false)
			begin = time.Now()
			l.inStep(t, begin)
			t.Logf("in step again after %v", time.Since(begin))
			assert.Less(t, time.Since(begin), 5*time.Second)

			p.silence()
			deny("silent ")
			begin = time.Now()
			l.inStep(t, begin)
			t.Logf("in step again after %v, with a connection that went silent", time.Since(begin))
			assert.Less(t, time.Since(begin), 10*time.Second)
			told, _, _, _ := l.get()
			assert.Equal(t, 200, told)
		})
	}
}
