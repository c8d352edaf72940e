package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// defaultInterval is the default of FeedConfig.Interval.
const defaultInterval = time.Second

// FeedConfig is what NewFeed needs.
type FeedConfig struct {
	DB      *sql.DB // required; the primary, since a replica may lag behind what was denied
	Dialect Dialect // required

	// Mirror is kept in step by Run, and is told at once of what this process
	// denies. It is required, and the Denylist of the package middleware is one.
	Mirror issuer.Mirror

	// Interval is how long Run waits before it asks again what was denied. It
	// is what passes at most, and the time of a query, until another process
	// refuses a token that was denied here. Zero means one second.
	Interval time.Duration

	// Wake cuts an Interval short with each value that it receives. On
	// PostgreSQL each denial comes with a NOTIFY of the channel tokenloop_denials,
	// which a connection of the caller's own can LISTEN to: see the example.
	// Nil means that only the Interval counts.
	Wake <-chan struct{}

	// Logger gets a record when Run loses the database and when it is back.
	// Nil means slog.Default.
	Logger *slog.Logger

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// A Feed keeps a list of denied tokens in a database, for any number of issuers
// that deny and of services that verify. As the Denylist of an issuer.Config it
// writes; its Run keeps the mirror of a process in step, whoever has written. It
// is safe for concurrent use.
type Feed struct {
	database
	mirror   issuer.Mirror
	interval time.Duration
	wake     <-chan struct{}
	logger   *slog.Logger
	now      func() time.Time
}

var (
	_ issuer.Denier       = (*Feed)(nil)
	_ issuer.DenialReader = (*Feed)(nil)
)

// NewFeed returns a feed of the list in c.DB. It asks the database nothing, and
// starts nothing: see Store.Migrate, which makes the table, and Run.
func NewFeed(c FeedConfig) (*Feed, error) {
	db, mistakes := newDatabase("FeedConfig", c.DB, c.Dialect)
	if c.Mirror == nil {
		mistakes = append(mistakes, errors.New("sqlstore: FeedConfig.Mirror is required"))
	}
	if c.Interval < 0 {
		mistakes = append(mistakes, fmt.Errorf("sqlstore: FeedConfig.Interval is %v; it cannot be negative", c.Interval))
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Feed{database: db, mirror: c.Mirror, interval: c.Interval, wake: c.Wake, logger: c.Logger, now: c.Now}, nil
}

// The kinds of denials, by the claim that they are about.
const (
	kindSession = "sid"
	kindToken   = "jti"
	kindSubject = "sub"
)

// DenySession denies all access tokens of a session until then: in the mirror at
// once, elsewhere within their Interval. It returns nil when the database has
// committed it. After an error that may or may not be so, and it can be called
// again.
func (f *Feed) DenySession(ctx context.Context, sid string, until time.Time) error {
	return f.deny(ctx, f.mirror.DenySession(ctx, sid, until), kindSession, sid, never, until)
}

// DenyToken denies the access token with the id jti, as DenySession does.
func (f *Feed) DenyToken(ctx context.Context, jti string, until time.Time) error {
	return f.deny(ctx, f.mirror.DenyToken(ctx, jti, until), kindToken, jti, never, until)
}

// DenySubject denies the access tokens of subject that were issued before
// issuedBefore, as DenySession does.
func (f *Feed) DenySubject(ctx context.Context, subject string, issuedBefore, until time.Time) error {
	return f.deny(ctx, f.mirror.DenySubject(ctx, subject, issuedBefore, until), kindSubject, subject, microsUp(issuedBefore), until)
}

// Revoked asks the mirror, which must be an issuer.DenialReader, as the Denylist
// of the package middleware is.
func (f *Feed) Revoked(ctx context.Context, sid, jti, subject string, issuedAt time.Time) (bool, error) {
	if m, ok := f.mirror.(issuer.DenialReader); ok {
		return m.Revoked(ctx, sid, jti, subject, issuedAt)
	}
	return false, fmt.Errorf("sqlstore: a mirror that is a %T cannot be asked", f.mirror)
}

// microsUp rounds up, since a denial may concern more but not less than it says.
func microsUp(t time.Time) int64 { return t.Add(time.Microsecond - 1).UnixMicro() }

// keepDenied is how long a denial is kept when it is over: five minutes for the
// leeway of verifiers, and as much for their clocks.
const keepDenied = 10 * time.Minute

// write adds a denial. The next number is free once the last one has been
// committed and not before: whoever reads a number has all below it before
// their eyes, and needs no lock for it. The number taken by two is refused to one
// of them, who tries again. A denial that the list has already is not written, so
// that a revoked refresh token that is sent over and over adds nothing.
const write = `INSERT INTO tokenloop_denials (sequence, nonce, kind, value, issued_before, ends_at)
	SELECT n.free, ?, ?, ?, ?, ? FROM (SELECT COALESCE(MAX(sequence), 0) + 1 AS free FROM tokenloop_denials) AS n
	WHERE NOT EXISTS (SELECT 1 FROM tokenloop_denials AS d WHERE d.value = ? AND d.kind = ? AND d.issued_before >= ? AND d.ends_at >= ?)`

// deny writes a denial whether or not the mirror, which has answered told, took it.
func (f *Feed) deny(ctx context.Context, told error, kind, value string, issuedBefore int64, until time.Time) error {
	switch {
	case value == "":
		return errors.Join(told, errors.New("sqlstore: deny: the identifier is empty"))
	case len(value) > maxSubject:
		return errors.Join(told, errors.New("sqlstore: deny: the identifier is longer than its column"))
	}
	ends := microsUp(until)
	query := f.dialect.bind(fmt.Sprintf(f.dialect.deny, write))
	err := f.retry(ctx, "deny", func() error {
		_, err := f.db.ExecContext(ctx, query, rand.Int64(), kind, value, issuedBefore, ends, value, kind, issuedBefore, ends)
		if err != nil && judge(err) == taken {
			err = fmt.Errorf("%w: %w", errAgain, err)
		}
		return err
	})
	return errors.Join(told, err)
}

// over reports whether a denial concerns nobody any more.
func (f *Feed) over(until time.Time) bool { return !f.now().Before(until.Add(keepDenied)) }

const (
	pageRows    = 1000
	pageTime    = 5 * time.Second // for a page; a connection that is dead and does not say so is given up
	firstPause  = 50 * time.Millisecond
	longPause   = 2 * time.Second
	expireEvery = time.Minute
)

// Run keeps the mirror in step until ctx is done, and then returns ctx.Err(). It
// first reads all that is denied, a thousand at a time. When the database does
// not answer, it tries again after a pause of up to two seconds, and has missed
// nothing when it is back. Each minute it removes a few hundred denials that are
// over, and more while there are more: by its own clock, and ten minutes late. Where a
// process has a clock that is wrong by more than that, those that start after it has
// removed a denial do not hear of it.
func (f *Feed) Run(ctx context.Context) error {
	r, wake, failures := reader{Feed: f}, f.wake, 0
	for {
		wait := f.interval
		switch err := r.catchUp(ctx); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if failures++; failures == 1 {
				f.logger.Warn("sqlstore: the feed of denials is cut off", "err", err)
			}
			wait = min(firstPause<<min(failures, 10), longPause)
			wait = wait/2 + rand.N(wait/2)
		default:
			if failures > 0 {
				f.logger.Info("sqlstore: the feed of denials is in step again", "failures", failures)
			}
			failures = 0
			r.expire(ctx)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case _, ok := <-wake:
			if !ok {
				wake = nil
			}
		}
		timer.Stop()
	}
}

// A reader is how far a Run has come.
type reader struct {
	*Feed
	last, nonce int64     // the last denial that was read; 0 for none
	expired     time.Time // when what is over was last removed
}

// catchUp tells the mirror of all that it does not know yet. It reads the last
// denial again. When that is gone, or is another one of that number, the database
// has lost denials, as in a fail-over, and all must be read again.
func (r *reader) catchUp(ctx context.Context) error {
	for {
		at := r.now() // what was denied by now is seen by the query
		n, err := r.page(ctx)
		switch {
		case errors.Is(err, errLost):
			r.last = 0
		case err != nil:
			if judge(err) == missing {
				err = fmt.Errorf("%w: %w", ErrNoSchema, err)
			}
			return fmt.Errorf("sqlstore: read what was denied: %w", err)
		case n < pageRows:
			r.mirror.Synced(at)
			return nil
		}
	}
}

var errLost = errors.New("the last denial is gone")

// page reads up to pageRows denials from r.last on, and returns how many it read.
func (r *reader) page(ctx context.Context) (n int, err error) {
	ctx, stop := context.WithTimeout(ctx, pageTime)
	defer stop()
	const query = `SELECT sequence, nonce, kind, value, issued_before, ends_at FROM tokenloop_denials
		WHERE sequence >= ? ORDER BY sequence LIMIT ?`
	rows, err := r.db.QueryContext(ctx, r.dialect.bind(query), r.last, pageRows)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var sequence, nonce, issuedBefore, ends int64
		var kind, value string
		if err := rows.Scan(&sequence, &nonce, &kind, &value, &issuedBefore, &ends); err != nil {
			return n, err
		}
		if n == 0 && r.last != 0 {
			if sequence != r.last || nonce != r.nonce {
				return n, errLost
			}
			continue
		}
		if err := r.tell(ctx, kind, value, micros(issuedBefore), micros(ends)); err != nil {
			return n, err
		}
		r.last, r.nonce = sequence, nonce
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return n, err
	}
	if n == 0 && r.last != 0 {
		return n, errLost
	}
	return n, nil
}

func (r *reader) tell(ctx context.Context, kind, value string, issuedBefore, until time.Time) error {
	switch {
	case r.over(until):
		return nil
	case kind == kindSession:
		return r.mirror.DenySession(ctx, value, until)
	case kind == kindToken:
		return r.mirror.DenyToken(ctx, value, until)
	case kind == kindSubject:
		return r.mirror.DenySubject(ctx, value, issuedBefore, until)
	}
	return fmt.Errorf("a denial is of the kind %q, which this version does not know", kind)
}

// expire removes a portion of what is over, but not the last denial, which tells
// every reader that none was lost. When it fails, as where the database is
// read-only for this process, another process or the next time will do it.
func (r *reader) expire(ctx context.Context) {
	if now := r.now(); now.Sub(r.expired) < expireEvery {
		return
	}
	ctx, stop := context.WithTimeout(ctx, pageTime)
	defer stop()
	end := r.now().Add(-keepDenied).UnixMicro()
	n, err := r.exec(ctx, "remove denials that are over", r.dialect.expire, end, r.last, portion)
	if err != nil {
		r.logger.Debug("sqlstore: denials that are over were not removed", "err", err)
	}
	if n < portion {
		r.expired = r.now()
	}
}
