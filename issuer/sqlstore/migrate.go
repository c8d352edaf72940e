package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// Migrations holds the schema, a folder of numbered files for each Dialect, as
// goose reads them, for those who migrate with a tool of their own.
//
//go:embed migrations
var Migrations embed.FS

// ErrNoSchema: Migrate was not called for this database, or for another schema of
// it, or by an older version alone. A connection may be in the wrong one.
var ErrNoSchema = errors.New("sqlstore: the tables are not there, or are those of an older version: call Migrate")

// ErrNewerSchema: a later version of this package has migrated the database.
var ErrNewerSchema = errors.New("sqlstore: the schema is newer than this version of the package")

const versions = `CREATE TABLE IF NOT EXISTS tokenloop_migrations (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)`

// Migrate brings the schema up to date. Any number of processes may call it at
// once: one migrates and the others wait for it, a minute at most on MySQL.
func (s *Store) Migrate(ctx context.Context) error {
	if s.dialect.lock == "" { // a transaction that meets another one is begun again
		return s.transaction(ctx, "migrate", func(tx *sql.Tx) error { return s.apply(ctx, tx) })
	}
	return s.retry(ctx, "migrate", func() error { return s.migrate(ctx) })
}

func (s *Store) migrate(ctx context.Context) (err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var got int
	if err := conn.QueryRowContext(ctx, s.dialect.lock).Scan(&got); err != nil {
		return err
	}
	if got != 1 {
		return errors.New("another migration holds the lock")
	}
	defer func() {
		// Unlocking must not be prevented by a context that is done.
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer stop()
		if _, e := conn.ExecContext(last, s.dialect.unlock); e != nil {
			err = errors.Join(err, e)
		}
	}()
	return s.apply(ctx, conn)
}

// A session is a connection, or a transaction on one.
type session interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// apply makes the migrations that are missing, one process at a time. Each can be
// made again, should the process end before its number is written.
func (s *Store) apply(ctx context.Context, conn session) error {
	if _, err := conn.ExecContext(ctx, versions); err != nil {
		return err
	}
	var version int64
	if err := conn.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM tokenloop_migrations`).Scan(&version); err != nil {
		return err
	}
	folder := path.Join("migrations", string(s.name))
	files, err := fs.ReadDir(Migrations, folder) // in order of their numbers
	if err != nil {
		return err
	}
	var newest int64
	for _, file := range files {
		number, _, _ := strings.Cut(file.Name(), "_")
		if newest, err = strconv.ParseInt(number, 10, 64); err != nil {
			return err
		}
		if newest <= version {
			continue
		}
		text, err := fs.ReadFile(Migrations, path.Join(folder, file.Name()))
		if err != nil {
			return err
		}
		up, _, _ := strings.Cut(string(text), "-- +goose Down")
		for statement := range strings.SplitSeq(strings.TrimPrefix(up, "-- +goose Up"), ";") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := conn.ExecContext(ctx, statement); err != nil && judge(err) != present {
				return fmt.Errorf("%s: %w", file.Name(), err)
			}
		}
		if _, err := conn.ExecContext(ctx, s.dialect.bind(`INSERT INTO tokenloop_migrations (version, applied_at) VALUES (?, ?)`), newest, s.now().UnixMicro()); err != nil {
			return err
		}
	}
	if version > newest {
		return fmt.Errorf("%w: %d, not %d", ErrNewerSchema, version, newest)
	}
	return nil
}
