package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
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

// A hot is a statement of each refresh, which the engine need not read anew each
// time.
type hot struct {
	query string
	stmt  atomic.Pointer[sql.Stmt]
}

// prepare returns h prepared. It returns nil for PostgreSQL, whose driver keeps the
// statements of a connection itself, as it is set to: behind some poolers it must
// not.
func (d *database) prepare(ctx context.Context, h *hot) (*sql.Stmt, error) {
	if stmt := h.stmt.Load(); stmt != nil || d.name == PostgreSQL {
		return stmt, nil
	}
	stmt, err := d.db.PrepareContext(ctx, h.query)
	if err != nil {
		return nil, err
	}
	if !h.stmt.CompareAndSwap(nil, stmt) {
		stmt.Close() // another one was faster
	}
	return h.stmt.Load(), nil
}

func (d *database) queryHot(ctx context.Context, h *hot, args ...any) (*sql.Rows, error) {
	stmt, err := d.prepare(ctx, h)
	switch {
	case err != nil:
		return nil, err
	case stmt == nil:
		return d.db.QueryContext(ctx, h.query, args...)
	}
	return stmt.QueryContext(ctx, args...)
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
		case judge(err) == missing:
			return fmt.Errorf("sqlstore: %s: %w: %w", doing, ErrNoSchema, err)
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
	return d.change(ctx, doing, func() (sql.Result, error) { return d.db.ExecContext(ctx, query, args...) })
}

func (d *database) execHot(ctx context.Context, doing string, h *hot, args ...any) (int64, error) {
	return d.change(ctx, doing, func() (sql.Result, error) {
		stmt, err := d.prepare(ctx, h)
		switch {
		case err != nil:
			return nil, err
		case stmt == nil:
			return d.db.ExecContext(ctx, h.query, args...)
		}
		return stmt.ExecContext(ctx, args...)
	})
}

func (d *database) change(ctx context.Context, doing string, f func() (sql.Result, error)) (n int64, err error) {
	err = d.retry(ctx, doing, func() error {
		result, err := f()
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}
