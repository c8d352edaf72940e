package sqlstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

func ExampleNew() {
	folder, err := os.MkdirTemp("", "sqlstore")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)

	db, err := sqlstore.OpenSQLite("sqlite", filepath.Join(folder, "sessions.db"))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	store, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: sqlstore.SQLite})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if err := store.Migrate(ctx); err != nil {
		panic(err)
	}

	// The store is the Store of an issuer.Config, which calls it like this.
	now := time.Now()
	err = store.Create(ctx, issuer.Session{
		ID: "c2Vzc2lvbiBvZiBhbGljZQ", Seed: make([]byte, 32), Subject: "alice", RotatedAt: now,
		AuthTime: now, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		panic(err)
	}
	sessions, err := store.List(ctx, "alice", now)
	fmt.Println(len(sessions), err)
	// Output: 1 <nil>
}
