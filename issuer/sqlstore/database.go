package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// A database is an engine and how it is spoken to.
type database struct {
	db      *sql.DB
	dialect *dialect
	name    Dialect
}

// newDatabase returns the mistakes in two fields of the configuration of that name.
func newDatabase(config string, db *sql.DB, name Dialect) (d database, mistakes []error) {
	if db == nil {
		mistakes = append(mistakes, fmt.Errorf("sqlstore: %s.DB is required", config))
	}
	known := dialects[name]
	if known == nil {
		mistakes = append(mistakes, fmt.Errorf("sqlstore: %s.Dialect is %q, want %q, %q or %q", config, name, SQLite, PostgreSQL, MySQL))
	}
	return database{db: db, dialect: known, name: name}, mistakes
}

const (
	attempts  = 40
	firstWait = time.Millisecond
	longest   = 100 * time.Millisecond
)

// retry calls f until it is done or has failed for another reason than that
// others were in its way.
func (d *database) retry(ctx context.Context, doing string, f func() error) error {
	wait := firstWait
	for n := 1; ; n++ {
		err := f()
		switch {
		case err == nil, errors.Is(err, issuer.ErrNoSession), errors.Is(err, issuer.ErrSessionExists), errors.Is(err, issuer.ErrSubjectRevoked):
			return err
		case judge(err) != busy || n == attempts:
			return fmt.Errorf("sqlstore: %s: %w", doing, err)
		}
		timer := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("sqlstore: %s: %w", doing, errors.Join(ctx.Err(), err))
		case <-timer.C:
		}
		wait = min(2*wait, longest)
	}
}

// transaction calls f in a transaction, again when it must be.
func (d *database) transaction(ctx context.Context, doing string, f func(*sql.Tx) error) error {
	return d.retry(ctx, doing, func() error {
		tx, err := d.db.BeginTx(ctx, &sql.TxOptions{Isolation: d.dialect.isolation})
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := f(tx); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// exec runs one statement and returns how many rows it changed.
func (d *database) exec(ctx context.Context, doing, query string, args ...any) (n int64, err error) {
	query = d.dialect.bind(query)
	err = d.retry(ctx, doing, func() error {
		result, err := d.db.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}
