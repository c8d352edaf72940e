package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// perCPU is how many goroutines refresh for each processor.
const perCPU = 4

// A refresher returns a function that reads a session and rotates it.
type refresher func(b testing.TB, st *sqlstore.Store, db *sql.DB, id string) func() error

func throughTheStore(_ testing.TB, st *sqlstore.Store, _ *sql.DB, id string) func() error {
	ctx := context.Background()
	return func() error {
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
}

// bare is what any store must ask an engine for at least, in statements that are
// prepared once.
func bare(dialect sqlstore.Dialect) refresher {
	read := `SELECT seed, generation, key_id, rotated_at, retry_hash, subject, client_id, scopes, expires_at, idle_until, revoked_at
		FROM tokenloop_sessions WHERE id = ?`
	update := `UPDATE tokenloop_sessions SET generation = ?, key_id = ?, rotated_at = ? WHERE id = ? AND generation = ?`
	if dialect == sqlstore.PostgreSQL {
		read = `SELECT seed, generation, key_id, rotated_at, retry_hash, subject, client_id, scopes, expires_at, idle_until, revoked_at
			FROM tokenloop_sessions WHERE id = $1`
		update = `UPDATE tokenloop_sessions SET generation = $1, key_id = $2, rotated_at = $3 WHERE id = $4 AND generation = $5`
	}
	return func(b testing.TB, _ *sqlstore.Store, db *sql.DB, id string) func() error {
		reading, err := db.Prepare(read)
		require.NoError(b, err)
		b.Cleanup(func() { reading.Close() })
		writing, err := db.Prepare(update)
		require.NoError(b, err)
		b.Cleanup(func() { writing.Close() })
		ctx := context.Background()
		return func() error {
			var generation, rotated, expires, idle, revoked int64
			var seed, hash []byte
			var key, subject, client, scopes string
			err := reading.QueryRowContext(ctx, id).Scan(&seed, &generation, &key, &rotated, &hash, &subject, &client, &scopes, &expires, &idle, &revoked)
			if err != nil {
				return err
			}
			result, err := writing.ExecContext(ctx, generation+1, "k1", time.Now().UnixMicro(), id, generation)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil || n != 1 {
				return fmt.Errorf("%d rows changed, %w", n, err)
			}
			return nil
		}
	}
}

// BenchmarkRefresh reads and rotates, each goroutine a session of its own: through
// the store, and by the bare statements.
func BenchmarkRefresh(b *testing.B) {
	for _, e := range []engine{sqlite, postgres, mysql} {
		b.Run(e.name, func(b *testing.B) {
			st, db := newStore(b, e)
			for _, c := range []struct {
				name string
				make refresher
			}{{"store", throughTheStore}, {"bare", bare(e.dialect)}} {
				b.Run(c.name, func(b *testing.B) {
					b.ReportAllocs()
					b.SetParallelism(perCPU)
					var n atomic.Int64
					b.RunParallel(func(pb *testing.PB) {
						s := newSession(fmt.Sprint("user ", n.Add(1)))
						require.NoError(b, st.Create(context.Background(), s))
						refresh := c.make(b, st, db, s.ID)
						for pb.Next() {
							if err := refresh(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				})
			}
		})
	}
}
