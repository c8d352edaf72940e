package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// printed is the mirror of these examples. A service has a Denylist of the package
// middleware, with a MaxAge of some Intervals.
type printed struct{ synced chan time.Time }

func (p printed) DenySession(_ context.Context, sid string, _ time.Time) error {
	fmt.Println("refuse the session", sid)
	return nil
}

func (p printed) DenyToken(_ context.Context, jti string, _ time.Time) error {
	fmt.Println("refuse the token", jti)
	return nil
}

func (p printed) DenySubject(_ context.Context, subject string, _, _ time.Time) error {
	fmt.Println("refuse the tokens of", subject)
	return nil
}

func (p printed) Synced(at time.Time) {
	select {
	case p.synced <- at:
	default:
	}
}

// The feed of an issuer writes, and that of another process reads.
func ExampleFeed_Run() {
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
	ctx, cancel := context.WithCancel(context.Background())
	if err := store.Migrate(ctx); err != nil {
		panic(err)
	}

	// In the process of the issuer this is the Denylist of its Config.
	writer, err := sqlstore.NewFeed(sqlstore.FeedConfig{DB: db, Dialect: sqlstore.SQLite, Mirror: printed{}})
	if err != nil {
		panic(err)
	}
	fmt.Println("the issuer:")
	if err := writer.DenySession(ctx, "c2Vzc2lvbiBvZiBhbGljZQ", time.Now().Add(time.Hour)); err != nil {
		panic(err)
	}

	// In the process of a service the mirror belongs to its Middleware.
	mirror := printed{synced: make(chan time.Time, 1)}
	reader, err := sqlstore.NewFeed(sqlstore.FeedConfig{DB: db, Dialect: sqlstore.SQLite, Mirror: mirror})
	if err != nil {
		panic(err)
	}
	fmt.Println("the service:")
	ended := make(chan error)
	go func() { ended <- reader.Run(ctx) }()
	<-mirror.synced
	cancel()
	fmt.Println(<-ended)
	// Output:
	// the issuer:
	// refuse the session c2Vzc2lvbiBvZiBhbGljZQ
	// the service:
	// refuse the session c2Vzc2lvbiBvZiBhbGljZQ
	// context canceled
}

// On PostgreSQL a connection that listens makes the feed as quick as the network.
// When it is lost, the Interval is what remains.
func ExampleNewFeed() {
	ctx, source := context.Background(), "postgres://user@host/db?sslmode=verify-full"
	db, err := sql.Open("pgx", source)
	if err != nil {
		panic(err)
	}
	wake := make(chan struct{}, 1)
	feed, err := sqlstore.NewFeed(sqlstore.FeedConfig{DB: db, Dialect: sqlstore.PostgreSQL, Mirror: printed{}, Wake: wake})
	if err != nil {
		panic(err)
	}
	listen := func() error {
		conn, err := pgx.Connect(ctx, source)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "LISTEN tokenloop_denials"); err != nil {
			return err
		}
		for {
			if _, err := conn.WaitForNotification(ctx); err != nil {
				return err
			}
			select {
			case wake <- struct{}{}:
			default: // one is waiting
			}
		}
	}
	go func() {
		for ctx.Err() == nil {
			log.Print(listen())
			time.Sleep(time.Second)
		}
	}()
	log.Print(feed.Run(ctx))
}
