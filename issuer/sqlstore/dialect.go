package sqlstore

import (
	"database/sql"
	"errors"
	"reflect"
	"strconv"
	"strings"
)

// A Dialect is the language of an engine.
type Dialect string

// The engines.
const (
	SQLite     Dialect = "sqlite"
	PostgreSQL Dialect = "postgres"
	MySQL      Dialect = "mysql" // and MariaDB
)

// A dialect is what one engine says in other words than the others.
type dialect struct {
	numbered  bool               // placeholders are $1, not ?
	isolation sql.IsolationLevel // of the transactions
	upsert    string             // marks a subject and locks its row
	forUpdate string
	purge     string // removes sessions that ended before ?, at most ?
	forget    string // removes subjects marked in [?, ?), at most ?
	deny      string // adds a denial by the statement %s, and wakes who listens
	expire    string // removes denials that ended before ?, with numbers below ?, at most ?
	lock      string // holds off other migrations; its row is 1; empty where a transaction does
	unlock    string
}

const (
	upsertConflict = `INSERT INTO tokenloop_subjects (subject, revoked_at) VALUES (?, ?) ON CONFLICT (subject) DO UPDATE
		SET revoked_at = CASE WHEN excluded.revoked_at > tokenloop_subjects.revoked_at
			THEN excluded.revoked_at ELSE tokenloop_subjects.revoked_at END`
	purgeIn = `DELETE FROM tokenloop_sessions WHERE ends_at < ? AND id IN
		(SELECT id FROM tokenloop_sessions WHERE ends_at < ? ORDER BY ends_at LIMIT ?)`
	forgetIn = `DELETE FROM tokenloop_subjects WHERE revoked_at < ? AND subject IN
		(SELECT subject FROM tokenloop_subjects WHERE revoked_at >= ? AND revoked_at < ? LIMIT ?)`
	expireIn = `DELETE FROM tokenloop_denials WHERE sequence IN
		(SELECT sequence FROM tokenloop_denials WHERE ends_at < ? AND sequence < ? ORDER BY ends_at LIMIT ?)`
)

var dialects = map[Dialect]*dialect{
	SQLite: {upsert: upsertConflict, purge: purgeIn, forget: forgetIn, deny: "%s", expire: expireIn},
	PostgreSQL: {
		// The row of the subject and the rows of its sessions are locked, which
		// is enough. At a level above, a transaction that meets a rotation
		// fails and begins again, and a revocation might never get through.
		numbered: true, isolation: sql.LevelReadCommitted, upsert: upsertConflict, forUpdate: " FOR UPDATE", purge: purgeIn, forget: forgetIn,
		deny:   `WITH w AS (%s RETURNING sequence) SELECT pg_notify('tokenloop_denials', '') FROM w`,
		expire: expireIn,
		lock:   `SELECT 1 FROM (SELECT pg_advisory_lock(7310868735955333473)) AS l`, unlock: `SELECT pg_advisory_unlock(7310868735955333473)`,
	},
	MySQL: {
		// At repeatable read its gap locks are deadlocks between logins.
		isolation: sql.LevelReadCommitted,
		upsert: `INSERT INTO tokenloop_subjects (subject, revoked_at) VALUES (?, ?)
			ON DUPLICATE KEY UPDATE revoked_at = GREATEST(revoked_at, VALUES(revoked_at))`,
		forUpdate: " FOR UPDATE",
		purge:     `DELETE FROM tokenloop_sessions WHERE ends_at < ? AND ends_at < ? ORDER BY ends_at LIMIT ?`,
		forget:    `DELETE FROM tokenloop_subjects WHERE revoked_at < ? AND revoked_at >= ? AND revoked_at < ? LIMIT ?`,
		deny:      "%s",
		expire:    `DELETE FROM tokenloop_denials WHERE ends_at < ? AND sequence < ? ORDER BY ends_at LIMIT ?`,
		lock:      `SELECT COALESCE(GET_LOCK(CONCAT('tokenloop.', MD5(DATABASE())), 60), 0)`,
		unlock:    `SELECT RELEASE_LOCK(CONCAT('tokenloop.', MD5(DATABASE())))`,
	},
}

// bind writes query with the placeholders of d.
func (d *dialect) bind(query string) string {
	if !d.numbered {
		return query
	}
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

// A verdict is what an engine's error means for the store.
type verdict int

const (
	failed  verdict = iota
	busy            // nothing was done; the same again may succeed
	taken           // the primary key exists
	missing         // a table or a column is not there
	present         // a column that is to be added is there
)

// errAgain makes busy of an error that is not by itself.
var errAgain = errors.New("another one was faster")

// judge knows errors by their shape, as it imports no driver: SQLState is what
// those of PostgreSQL have, Code that of modernc.org/sqlite, and Number is a
// field of MySQL's.
func judge(err error) verdict {
	if errors.Is(err, errAgain) {
		return busy
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		switch state.SQLState() {
		case "40001", "40P01": // serialization_failure, deadlock_detected
			return busy
		case "23505": // unique_violation
			return taken
		case "42P01", "42703": // undefined_table, undefined_column
			return missing
		}
		return failed
	}
	var code interface{ Code() int }
	if errors.As(err, &code) {
		switch c := code.Code(); {
		case c&0xff == 5, c&0xff == 6: // SQLITE_BUSY, SQLITE_LOCKED, and what extends them
			return busy
		case c == 1555, c == 2067: // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE
			return taken
		case c == 1 && (strings.Contains(err.Error(), "no such table") || strings.Contains(err.Error(), "no such column") ||
			strings.Contains(err.Error(), "has no column named")): // SQLITE_ERROR is all sorts of things
			return missing
		case c == 1 && strings.Contains(err.Error(), "duplicate column name"):
			return present
		}
		return failed
	}
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			continue
		}
		if n := v.FieldByName("Number"); n.IsValid() && n.CanUint() {
			switch n.Uint() {
			case 1213, 1205, 1020: // deadlock, lock wait timeout, record has changed
				return busy
			case 1062: // duplicate entry
				return taken
			case 1146, 1054: // no such table, no such column
				return missing
			case 1060: // duplicate column name
				return present
			}
		}
	}
	return failed
}
