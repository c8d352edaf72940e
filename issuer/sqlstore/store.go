package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// Config is what New needs.
type Config struct {
	DB      *sql.DB // required
	Dialect Dialect // required

	// CleanUp is how many sessions at most are removed along with every
	// sixteenth login, those that ended an hour ago or more. Zero means 64.
	// NoCleanUp leaves it to the caller of DeleteExpired.
	CleanUp int

	// Now is the clock of the clean-up. Nil means time.Now.
	Now func() time.Time
}

// NoCleanUp is a Config.CleanUp: a login removes nothing.
const NoCleanUp = -1

const (
	cleanUpEvery = 16
	cleanUpRows  = 64
	keepEnded    = time.Hour // so that a client learns that its session expired
)

// A Store keeps sessions in a database.
type Store struct {
	database
	cleanUp int
	now     func() time.Time
	logins  atomic.Uint64

	get, rotate hot
}

var (
	_ issuer.Store      = (*Store)(nil)
	_ issuer.KeyCounter = (*Store)(nil)
)

// New returns a store on c.DB. It asks the database nothing: see Migrate.
func New(c Config) (*Store, error) {
	db, mistakes := newDatabase("Config", c.DB, c.Dialect)
	if c.CleanUp < NoCleanUp {
		mistakes = append(mistakes, fmt.Errorf("sqlstore: Config.CleanUp is %d, want a number of sessions, zero or NoCleanUp", c.CleanUp))
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	if c.CleanUp == 0 {
		c.CleanUp = cleanUpRows
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Store{database: db, cleanUp: c.CleanUp, now: c.Now}
	s.get.query, s.rotate.query = db.dialect.bind(get), db.dialect.bind(rotate)
	return s, nil
}

// never is the zero time.
var never = time.Time{}.UnixMicro()

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

const columns = `id, seed, generation, key_id, rotated_at, retry_hash, subject, client_id, scopes, email, user_id, claims, acr,
	auth_time, device, address, user_agent, created_at, expires_at, idle_until, revoked_at, confirmation`

const insert = `INSERT INTO tokenloop_sessions (` + columns + `, ends_at)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// The columns of MySQL are the narrowest. There a server that is not strict
// would cut off what is longer, so that two users became one.
const (
	maxID      = 64
	maxSubject = 2048
	maxText    = math.MaxUint16
	maxClaims  = 1<<24 - 1
)

func check(v issuer.Session) error {
	text := max(len(v.KeyID), len(v.ClientID), len(strings.Join(v.Scopes, " ")), len(v.Email), len(v.UserID), len(v.ACR),
		len(v.Device), len(v.Address), len(v.UserAgent))
	if max(len(v.ID), len(v.Seed), len(v.RetryHash), len(v.Confirmation)) > maxID || len(v.Subject) > maxSubject || text > maxText || len(v.Claims) > maxClaims {
		return errors.New("sqlstore: a value of the session is longer than its column")
	}
	if v.Generation > math.MaxInt64 {
		return errors.New("sqlstore: the generation of the session is above 1<<63 - 1")
	}
	return nil
}

// add marks the subject's row, which no other login of it and no revocation
// passes until tx ends, and inserts the session.
func (s *Store) add(ctx context.Context, tx *sql.Tx, v issuer.Session) error {
	at, err := s.mark(ctx, tx, v.Subject, never)
	if err != nil {
		return err
	}
	if at != never && v.AuthTime.UnixMicro() <= at {
		return issuer.ErrSubjectRevoked
	}
	ends := v.ExpiresAt
	if !v.IdleUntil.IsZero() && v.IdleUntil.Before(ends) {
		ends = v.IdleUntil
	}
	_, err = tx.ExecContext(ctx, s.dialect.bind(insert),
		v.ID, v.Seed, int64(v.Generation), v.KeyID, v.RotatedAt.UnixMicro(), v.RetryHash, v.Subject, v.ClientID, strings.Join(v.Scopes, " "),
		v.Email, v.UserID, []byte(v.Claims), v.ACR, v.AuthTime.UnixMicro(), v.Device, v.Address, v.UserAgent, v.CreatedAt.UnixMicro(),
		v.ExpiresAt.UnixMicro(), v.IdleUntil.UnixMicro(), v.RevokedAt.UnixMicro(), v.Confirmation, ends.UnixMicro())
	if err != nil && judge(err) == taken {
		return issuer.ErrSessionExists
	}
	return err
}

// mark marks subject at the time given unless a later mark is there, and returns
// the mark that is there then.
func (s *Store) mark(ctx context.Context, tx *sql.Tx, subject string, at int64) (int64, error) {
	if _, err := tx.ExecContext(ctx, s.dialect.bind(s.dialect.upsert), subject, at); err != nil {
		return 0, err
	}
	const read = `SELECT revoked_at FROM tokenloop_subjects WHERE subject = ?`
	err := tx.QueryRowContext(ctx, s.dialect.bind(read), subject).Scan(&at)
	return at, err
}

// Create adds a session.
func (s *Store) Create(ctx context.Context, v issuer.Session) error {
	if err := check(v); err != nil {
		return err
	}
	err := s.transaction(ctx, "create a session", func(tx *sql.Tx) error { return s.add(ctx, tx, v) })
	if err == nil {
		s.clean(ctx)
	}
	return err
}

// Replace adds a session and revokes the others of its subject.
func (s *Store) Replace(ctx context.Context, v issuer.Session) (ids []string, err error) {
	if err := check(v); err != nil {
		return nil, err
	}
	err = s.transaction(ctx, "replace the sessions of a subject", func(tx *sql.Tx) error {
		if err := s.add(ctx, tx, v); err != nil {
			return err
		}
		ids, err = s.revokeAll(ctx, tx, v.Subject, v.ID, v.CreatedAt)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.clean(ctx)
	return ids, nil
}

// clean removes a few sessions with every sixteenth login. The login has
// succeeded whether it can or not, and the next one tries again.
func (s *Store) clean(ctx context.Context) {
	if s.cleanUp > 0 && s.logins.Add(1)%cleanUpEvery == 0 {
		_, _ = s.DeleteExpired(ctx, s.now().Add(-keepEnded), s.cleanUp)
	}
}

func scan(row interface{ Scan(...any) error }) (v issuer.Session, err error) {
	var (
		generation                                       int64
		scopes                                           string
		claims                                           []byte
		rotated, auth, created, expires, idle, revokedAt int64
	)
	err = row.Scan(&v.ID, &v.Seed, &generation, &v.KeyID, &rotated, &v.RetryHash, &v.Subject, &v.ClientID, &scopes, &v.Email, &v.UserID,
		&claims, &v.ACR, &auth, &v.Device, &v.Address, &v.UserAgent, &created, &expires, &idle, &revokedAt, &v.Confirmation)
	if err != nil {
		return issuer.Session{}, err
	}
	v.Generation, v.Scopes = uint64(generation), strings.Fields(scopes)
	if len(claims) > 0 {
		v.Claims = json.RawMessage(claims)
	}
	v.RotatedAt, v.AuthTime, v.CreatedAt = micros(rotated), micros(auth), micros(created)
	v.ExpiresAt, v.IdleUntil, v.RevokedAt = micros(expires), micros(idle), micros(revokedAt)
	return v, nil
}

const get = `SELECT ` + columns + ` FROM tokenloop_sessions WHERE id = ?`

// Get returns a session.
func (s *Store) Get(ctx context.Context, id string) (v issuer.Session, err error) {
	err = s.retry(ctx, "read a session", func() error {
		rows, err := s.queryHot(ctx, &s.get, id)
		if err != nil {
			return err
		}
		defer rows.Close()
		if !rows.Next() {
			return cmp.Or(rows.Err(), issuer.ErrNoSession)
		}
		if v, err = scan(rows); err != nil {
			return err
		}
		return rows.Close()
	})
	return v, err
}

// The generation grows in every row that this changes, so the number of rows is
// the same where an engine counts those that it found and where it counts those
// that are different now.
const rotate = `UPDATE tokenloop_sessions SET generation = ?, key_id = ?, rotated_at = ?, retry_hash = ?, idle_until = ?,
	ends_at = CASE WHEN expires_at < ? THEN expires_at ELSE ? END
	WHERE id = ? AND generation = ? AND revoked_at = ? AND ends_at > ?`

// Rotate moves a session on, if it is at the generation from.
func (s *Store) Rotate(ctx context.Context, id string, from uint64, update issuer.Rotation) (bool, error) {
	if update.Generation <= from {
		return false, nil
	}
	if err := check(issuer.Session{Generation: update.Generation, KeyID: update.KeyID, RetryHash: update.RetryHash}); err != nil {
		return false, err
	}
	at, idle := update.RotatedAt.UnixMicro(), update.IdleUntil.UnixMicro()
	ends := idle
	if idle == never {
		ends = math.MaxInt64
	}
	n, err := s.execHot(ctx, "rotate a session", &s.rotate,
		int64(update.Generation), update.KeyID, at, update.RetryHash, idle, ends, ends, id, int64(from), never, at)
	return err == nil && n == 1, err
}

// Revoke marks a session as revoked.
func (s *Store) Revoke(ctx context.Context, id string, at time.Time) error {
	const (
		revoke = `UPDATE tokenloop_sessions SET revoked_at = ? WHERE id = ? AND revoked_at = ?`
		read   = `SELECT revoked_at FROM tokenloop_sessions WHERE id = ?`
	)
	return s.transaction(ctx, "revoke a session", func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, s.dialect.bind(revoke), at.UnixMicro(), id, never)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			return err
		}
		var was int64
		switch err := tx.QueryRowContext(ctx, s.dialect.bind(read), id).Scan(&was); {
		case errors.Is(err, sql.ErrNoRows):
			return issuer.ErrNoSession
		case err != nil:
			return err
		case was == never:
			return errors.New("the session is there and did not change")
		}
		return nil
	})
}

// RevokeSubject revokes the sessions of subject and marks it.
func (s *Store) RevokeSubject(ctx context.Context, subject, except string, at time.Time) (ids []string, err error) {
	if err := check(issuer.Session{Subject: subject}); err != nil {
		return nil, err
	}
	err = s.transaction(ctx, "revoke a subject", func(tx *sql.Tx) error {
		if _, err := s.mark(ctx, tx, subject, at.UnixMicro()); err != nil {
			return err
		}
		ids, err = s.revokeAll(ctx, tx, subject, except, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// revokeAll wants the subject's row to be locked.
func (s *Store) revokeAll(ctx context.Context, tx *sql.Tx, subject, except string, at time.Time) ([]string, error) {
	const others = ` subject = ? AND revoked_at = ? AND id <> ?`
	rows, err := tx.QueryContext(ctx, s.dialect.bind(`SELECT id FROM tokenloop_sessions WHERE`+others+s.dialect.forUpdate), subject, never, except)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, nil
	}
	_, err = tx.ExecContext(ctx, s.dialect.bind(`UPDATE tokenloop_sessions SET revoked_at = ? WHERE`+others), at.UnixMicro(), subject, never, except)
	return ids, err
}

// List returns the sessions of subject that have not ended at the time given.
func (s *Store) List(ctx context.Context, subject string, at time.Time) (all []issuer.Session, err error) {
	query := s.dialect.bind(`SELECT ` + columns + ` FROM tokenloop_sessions
		WHERE subject = ? AND (revoked_at = ? OR revoked_at > ?) AND ends_at > ? ORDER BY created_at DESC, id`)
	err = s.retry(ctx, "list the sessions of a subject", func() error {
		all = nil
		rows, err := s.db.QueryContext(ctx, query, subject, never, at.UnixMicro(), at.UnixMicro())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		return errors.Join(rows.Err(), rows.Close())
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// CountKeys counts the live sessions by master key. It looks at every session.
func (s *Store) CountKeys(ctx context.Context, at time.Time) (counts map[string]int, err error) {
	query := s.dialect.bind(`SELECT key_id, COUNT(*) FROM tokenloop_sessions
		WHERE (revoked_at = ? OR revoked_at > ?) AND ends_at > ? GROUP BY key_id`)
	err = s.retry(ctx, "count the sessions by master key", func() error {
		counts = map[string]int{}
		rows, err := s.db.QueryContext(ctx, query, never, at.UnixMicro(), at.UnixMicro())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			var n int
			if err := rows.Scan(&key, &n); err != nil {
				return err
			}
			counts[key] = n
		}
		return errors.Join(rows.Err(), rows.Close())
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

// portion is how many rows one statement removes.
const portion = 500

// DeleteExpired removes sessions that ended before the time given, and old marks.
func (s *Store) DeleteExpired(ctx context.Context, before time.Time, limit int) (int, error) {
	end, removed := before.UnixMicro(), 0
	for removed < limit {
		size := min(portion, limit-removed)
		n, err := s.exec(ctx, "remove expired sessions", s.dialect.purge, end, end, size)
		removed += int(n)
		if err != nil {
			return removed, err
		}
		if n < int64(size) {
			break
		}
	}
	// Rows without a mark are but locks: they are removed as sessions are.
	old := before.Add(-2 * issuer.MaxLoginTime).UnixMicro()
	for {
		n, err := s.exec(ctx, "forget old marks", s.dialect.forget, old, never+1, old, portion)
		if err != nil {
			return removed, err
		}
		if n < portion {
			break
		}
	}
	_, err := s.exec(ctx, "forget subjects without a mark", s.dialect.forget, never+1, never, never+1, max(min(limit, portion), 0))
	return removed, err
}
