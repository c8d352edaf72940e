package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

// feedOn returns a feed that is quick and quiet.
func feedOn(t *testing.T, e engine, db *sql.DB, c sqlstore.FeedConfig) *sqlstore.Feed {
	t.Helper()
	c.DB, c.Dialect, c.Logger = db, e.dialect, slog.New(slog.DiscardHandler)
	if c.Interval == 0 {
		c.Interval = 5 * time.Millisecond
	}
	f, err := sqlstore.NewFeed(c)
	require.NoError(t, err)
	return f
}

func TestFeed(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		storetest.RunFeed(t, func(t *testing.T) storetest.NewFeed {
			driver, source := e.create(t)
			openStore(t, e, driver, source) // which makes the table
			return func(t *testing.T, m issuer.Mirror) (storetest.Feed, func(bool)) {
				source, cut := source, (func(bool))(nil)
				if e.dialect != sqlstore.SQLite { // has no server
					var p *cutter
					p, source = newCutter(t, driver, source)
					cut = p.cut
				}
				db, err := open(driver, source)
				require.NoError(t, err)
				t.Cleanup(func() { db.Close() })
				return feedOn(t, e, db, sqlstore.FeedConfig{Mirror: m}), cut
			}
		})
	})
}

// A list is a mirror that counts.
type list struct {
	mu     sync.Mutex
	told   map[string]time.Time
	calls  int
	synced time.Time
	times  int           // that it was told so
	first  int           // how many it held when it was first told so
	next   chan struct{} // closed by the next Synced
	full   error
}

func newList() *list { return &list{told: map[string]time.Time{}, next: make(chan struct{})} }

func (l *list) add(key string, until time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[key] = until
	l.calls++
	return l.full
}

func (l *list) DenySession(_ context.Context, sid string, until time.Time) error {
	return l.add("sid "+sid, until)
}

func (l *list) DenyToken(_ context.Context, jti string, until time.Time) error {
	return l.add("jti "+jti, until)
}

func (l *list) DenySubject(_ context.Context, subject string, _, until time.Time) error {
	return l.add("sub "+subject, until)
}

func (l *list) Synced(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced = at
	if l.times++; l.times == 1 {
		l.first = len(l.told)
	}
	close(l.next)
	l.next = make(chan struct{})
}

func (l *list) get() (told, calls int, synced time.Time, next <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.told), l.calls, l.synced, l.next
}

func (l *list) has(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.told[key]
	return ok
}

// inStep waits until the list has what was denied before the time given.
func (l *list) inStep(t *testing.T, at time.Time) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		_, _, synced, next := l.get()
		if synced.After(at) {
			return
		}
		select {
		case <-next:
		case <-limit:
			t.Fatal("the list is not in step after 20 s")
		}
	}
}

// runFeed runs f until the test ends or the function is called.
func runFeed(t *testing.T, f *sqlstore.Feed) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { assert.ErrorIs(t, f.Run(ctx), context.Canceled) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// eventually asks again until ok, as of an engine that tells nobody.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 20*time.Second, 20*time.Millisecond, what)
}

// A denial that is committed late must not be passed by one that began later: the
// reader would never see it.
func TestADenialThatIsCommittedLateIsNotMissed(t *testing.T) {
	for _, c := range []struct {
		e                              engine
		trigger, hold, release, locked string
	}{
		{
			postgres,
			`CREATE FUNCTION tokenloop_wait() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN IF NEW.value = 'slow' THEN PERFORM pg_advisory_xact_lock(hashtext(current_schema())); END IF; RETURN NULL; END $$;
			CREATE TRIGGER tokenloop_wait AFTER INSERT ON tokenloop_denials FOR EACH ROW EXECUTE FUNCTION tokenloop_wait()`,
			`SELECT pg_advisory_lock(hashtext(current_schema()))`, `SELECT pg_advisory_unlock(hashtext(current_schema()))`,
			`SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = current_schema() AND wait_event_type = 'Lock'`,
		},
		{
			mysql,
			`CREATE TRIGGER tokenloop_wait AFTER INSERT ON tokenloop_denials FOR EACH ROW
				BEGIN IF NEW.value = 'slow' THEN SET @got = GET_LOCK(DATABASE(), 60); END IF; END`,
			`SELECT GET_LOCK(DATABASE(), 60)`, `SELECT RELEASE_LOCK(DATABASE())`,
			`SELECT COUNT(*) FROM information_schema.processlist
				WHERE db = DATABASE() AND (state = 'User lock' OR info LIKE 'INSERT INTO tokenloop_denials%' AND time >= 1)`,
		},
	} {
		t.Run(c.e.name, func(t *testing.T) {
			ctx := t.Context()
			_, db := newStore(t, c.e)
			_, err := db.Exec(c.trigger)
			require.NoError(t, err)
			writer, reader := feedOn(t, c.e, db, sqlstore.FeedConfig{Mirror: newList()}), newList()
			runFeed(t, feedOn(t, c.e, db, sqlstore.FeedConfig{Mirror: reader}))
			require.NoError(t, writer.DenySession(ctx, "first", inAnHour()))

			holder, err := db.Conn(ctx)
			require.NoError(t, err)
			defer holder.Close()
			_, err = holder.ExecContext(ctx, c.hold)
			require.NoError(t, err)
			waiting := func() (n int) {
				require.NoError(t, db.QueryRow(c.locked).Scan(&n))
				return n
			}
			var wg sync.WaitGroup
			var quick atomic.Bool
			wg.Go(func() { assert.NoError(t, writer.DenySession(ctx, "slow", inAnHour())) })
			eventually(t, "the first denial waits for its commit", func() bool { return waiting() == 1 })
			wg.Go(func() {
				assert.NoError(t, writer.DenySession(ctx, "quick", inAnHour()))
				quick.Store(true)
			})
			eventually(t, "the second denial waits too, or has passed it", func() bool { return quick.Load() || waiting() == 2 })
			reader.inStep(t, time.Now())
			_, err = holder.ExecContext(ctx, c.release)
			require.NoError(t, err)
			wg.Wait()
			reader.inStep(t, time.Now())
			assert.True(t, reader.has("sid slow"), "what was committed late")
			assert.True(t, reader.has("sid quick"))
		})
	}
}

// A server that takes over without the last commits gives their numbers to other
// denials.
func TestADatabaseThatHasLostDenialsIsReadAgain(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		ctx := t.Context()
		_, db := newStore(t, e)
		writer, reader := feedOn(t, e, db, sqlstore.FeedConfig{Mirror: newList()}), newList()
		deny := func(ids ...string) {
			t.Helper()
			for _, id := range ids {
				require.NoError(t, writer.DenySession(ctx, id, inAnHour()))
			}
		}
		lose := func(from int) {
			t.Helper()
			_, err := db.Exec(`DELETE FROM tokenloop_denials WHERE sequence >= ` + strconv.Itoa(from))
			require.NoError(t, err)
		}
		wake := make(chan struct{})
		runFeed(t, feedOn(t, e, db, sqlstore.FeedConfig{Mirror: reader, Interval: time.Hour, Wake: wake}))
		look := func() {
			t.Helper()
			at := time.Now()
			wake <- struct{}{}
			reader.inStep(t, at)
		}
		deny("a", "b", "c")
		look()
		_, before, _, _ := reader.get()
		look()
		_, after, _, _ := reader.get()
		assert.Equal(t, before, after, "what was read is not read again")

		lose(2)
		deny("d", "e", "f") // of which two have the numbers of b and c
		look()
		for _, id := range []string{"d", "e", "f"} {
			assert.True(t, reader.has("sid "+id), id)
		}
		lose(3)
		deny("g")
		look()
		assert.True(t, reader.has("sid g"), "a number below the last one")
		lose(0)
		look()
		deny("h")
		look()
		assert.True(t, reader.has("sid h"), "after all was lost")
	})
}

func TestDenialsThatAreOverAreRemovedAFewAtATime(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		ctx := t.Context()
		_, db := newStore(t, e)
		var ahead atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		writer := feedOn(t, e, db, sqlstore.FeedConfig{Mirror: newList()})
		until := time.Now().Add(time.Hour)
		require.NoError(t, writer.DenySession(ctx, "first", until))
		var values []string
		for n := 2; n <= 1200; n++ {
			values = append(values, fmt.Sprintf("(%d, 0, 'jti', 't%d', 0, %d)", n, n, until.UnixMicro()))
		}
		_, err := db.Exec(`INSERT INTO tokenloop_denials (sequence, nonce, kind, value, issued_before, ends_at) VALUES ` + strings.Join(values, ", "))
		require.NoError(t, err)
		require.NoError(t, writer.DenySession(ctx, "later", until.Add(time.Hour)))
		require.NoError(t, writer.DenySession(ctx, "last", until))

		reader, wake := newList(), make(chan struct{})
		runFeed(t, feedOn(t, e, db, sqlstore.FeedConfig{Mirror: reader, Interval: time.Hour, Wake: wake, Now: now}))
		look := func() (left int) { // waits until the removal before has been done, too
			wake <- struct{}{}
			wake <- struct{}{}
			require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM tokenloop_denials`).Scan(&left))
			return left
		}
		assert.Equal(t, 1202, look(), "nothing is over")
		assert.Equal(t, 1202, reader.first, "more than it reads at once")

		ahead.Store(int64(time.Until(until) + 9*time.Minute))
		assert.Equal(t, 1202, look(), "verifiers may have a leeway and clocks that are behind")
		ahead.Store(int64(time.Until(until) + 11*time.Minute))
		wake <- struct{}{} // removes 500, since a minute has passed
		eventually(t, "what is over is removed", func() bool { return look() == 2 })
		require.NoError(t, writer.DenySession(ctx, "new", inAnHour()), "the last one keeps its number, and numbers grow")
		var n int
		require.NoError(t, db.QueryRow(`SELECT MAX(sequence) FROM tokenloop_denials`).Scan(&n))
		assert.Equal(t, 1203, n)

		late := newList()
		f := feedOn(t, e, db, sqlstore.FeedConfig{Mirror: late, Now: now})
		runFeed(t, f)
		late.inStep(t, now())
		assert.False(t, late.has("sid last"), "what is over by this clock is not told")
		assert.True(t, late.has("sid later"))
	})
}

// A client that sends a revoked refresh token over and over has its session denied
// each time.
func TestADenialThatIsThereIsNotWrittenAgain(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		ctx, until := t.Context(), inAnHour()
		_, db := newStore(t, e)
		f := feedOn(t, e, db, sqlstore.FeedConfig{Mirror: newList()})
		rows := func() (n int) {
			require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM tokenloop_denials`).Scan(&n))
			return n
		}
		for range 5 {
			require.NoError(t, f.DenySession(ctx, "s", until))
			require.NoError(t, f.DenySession(ctx, "s", until.Add(-time.Minute)))
			require.NoError(t, f.DenySubject(ctx, "s", until, until))
		}
		require.Equal(t, 2, rows())
		require.NoError(t, f.DenyToken(ctx, "s", until))
		require.NoError(t, f.DenySession(ctx, "s", until.Add(time.Second)))
		require.NoError(t, f.DenySubject(ctx, "s", until.Add(time.Second), until))
		require.Equal(t, 5, rows())
		require.Error(t, f.DenySession(ctx, strings.Repeat("x", 2049), until))
		require.Equal(t, 5, rows())
	})
}

// A later version may deny what this one does not understand.
func TestAKindOfDenialThatIsNotKnownIsNotPassedOver(t *testing.T) {
	_, db := newStore(t, sqlite)
	f := feedOn(t, sqlite, db, sqlstore.FeedConfig{Mirror: newList()})
	require.NoError(t, f.DenySession(t.Context(), "a", inAnHour()))
	_, err := db.Exec(`UPDATE tokenloop_denials SET kind = 'new'`)
	require.NoError(t, err)
	log := make(chan string, 1)
	l := newList()
	f, err = sqlstore.NewFeed(sqlstore.FeedConfig{
		DB: db, Dialect: sqlstore.SQLite, Mirror: l, Interval: time.Millisecond, Logger: slog.New(slog.NewTextHandler(lines(log), nil)),
	})
	require.NoError(t, err)
	runFeed(t, f)
	assert.Contains(t, <-log, "does not know")
	_, err = db.Exec(`UPDATE tokenloop_denials SET kind = 'jti'`)
	require.NoError(t, err)
	assert.Contains(t, <-log, "in step again")
	l.inStep(t, time.Now())
	assert.True(t, l.has("jti a"))
}

// lines is where a test reads what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestAFeedWithoutATableWaitsForIt(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		driver, source := e.create(t)
		db, err := open(driver, source)
		require.NoError(t, err)
		t.Cleanup(func() { db.Close() })
		log, l := make(chan string, 1), newList()
		f, err := sqlstore.NewFeed(sqlstore.FeedConfig{
			DB: db, Dialect: e.dialect, Mirror: l, Interval: time.Millisecond, Logger: slog.New(slog.NewTextHandler(lines(log), nil)),
		})
		require.NoError(t, err)
		runFeed(t, f)
		assert.Contains(t, <-log, "cut off")
		require.Error(t, f.DenySession(t.Context(), "s", inAnHour()))
		assert.True(t, l.has("sid s"), "the process itself refuses the token nevertheless")
		_, _, synced, _ := l.get()
		assert.Zero(t, synced)
		openStore(t, e, driver, source)
		assert.Contains(t, <-log, "in step again")
	})
}

func TestNewFeedReportsEveryMistake(t *testing.T) {
	_, err := sqlstore.NewFeed(sqlstore.FeedConfig{Interval: -1})
	for _, part := range []string{"FeedConfig.DB", "FeedConfig.Dialect", "FeedConfig.Mirror", "FeedConfig.Interval"} {
		assert.ErrorContains(t, err, part)
	}
}

func TestAMirrorThatCannotBeAskedIsAnError(t *testing.T) {
	_, db := newStore(t, sqlite)
	f := feedOn(t, sqlite, db, sqlstore.FeedConfig{Mirror: newList()})
	_, err := f.Revoked(t.Context(), "s", "", "", time.Now())
	require.ErrorContains(t, err, "cannot be asked")
}

// listen sends on wake for each denial, until the connection is lost.
func listen(ctx context.Context, source string, ready chan<- struct{}, wake chan<- struct{}) error {
	conn, err := pgx.Connect(ctx, source)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN tokenloop_denials"); err != nil {
		return err
	}
	close(ready)
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

func TestANotificationCutsTheIntervalShort(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	driver, source := postgres.create(t)
	_, db := openStore(t, postgres, driver, source)
	ready, wake := make(chan struct{}), make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { assert.ErrorIs(t, listen(ctx, source, ready, wake), context.Canceled) })
	defer wg.Wait()
	defer cancel()
	<-ready
	l := newList()
	runFeed(t, feedOn(t, postgres, db, sqlstore.FeedConfig{Mirror: l, Interval: time.Hour, Wake: wake}))
	l.inStep(t, time.Time{})
	writer := feedOn(t, postgres, db, sqlstore.FeedConfig{Mirror: newList()})
	for n := range 20 {
		require.NoError(t, writer.DenyToken(ctx, strconv.Itoa(n), inAnHour()))
		eventually(t, "the notification arrives", func() bool { return l.has("jti " + strconv.Itoa(n)) })
	}
}

func TestAWakeThatIsClosedIsHeardOnce(t *testing.T) {
	_, db := newStore(t, sqlite)
	wake := make(chan struct{})
	close(wake)
	l := newList()
	runFeed(t, feedOn(t, sqlite, db, sqlstore.FeedConfig{Mirror: l, Interval: time.Hour, Wake: wake}))
	times := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.times
	}
	eventually(t, "it looks twice", func() bool { return times() == 2 })
	for n := range 50 { // each waits for the one connection, behind a Run that would not stop
		require.NoError(t, feedOn(t, sqlite, db, sqlstore.FeedConfig{Mirror: newList()}).DenyToken(t.Context(), strconv.Itoa(n), inAnHour()))
	}
	assert.Equal(t, 2, times())
}

func TestAFullMirrorIsAnErrorThoughOthersAreTold(t *testing.T) {
	ctx, full := t.Context(), errors.New("full")
	_, db := newStore(t, sqlite)
	l, other := newList(), newList()
	l.full = full
	f := feedOn(t, sqlite, db, sqlstore.FeedConfig{Mirror: l})
	require.ErrorIs(t, f.DenySession(ctx, "s", inAnHour()), full)
	require.ErrorIs(t, f.DenyToken(ctx, "t", inAnHour()), full)
	require.ErrorIs(t, f.DenySubject(ctx, "u", inAnHour(), inAnHour()), full)
	runFeed(t, feedOn(t, sqlite, db, sqlstore.FeedConfig{Mirror: other}))
	other.inStep(t, time.Now())
	told, _, _, _ := other.get()
	assert.Equal(t, 3, told)
}
