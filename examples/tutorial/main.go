// Command tutorial is the REST service of a well-known tutorial, in the wire format
// that mobile apps in the field still speak: POST /signup, /login and /refreshToken
// with {"success", "authToken", "refreshToken"}, GET /getAll, and refusals with
// {"success", "message", "code"}. All of it is configuration.
//
//	go run ./examples/tutorial -addr 127.0.0.1:8080
//	curl -H 'Content-Type: application/json' -d '{"username":"alice","password":"an obviously fake one"}' http://127.0.0.1:8080/signup
//
// It runs until it is interrupted. Users, sessions and a log of what the users do
// are in a SQLite file of this run, or where -store says.
//
// In one thing it is not the tutorial: an unknown user and a wrong password have
// one message, since two tell who has an account. -insecure-tell-accounts brings
// the original ones back.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// options are the flags.
type options struct {
	store                         string
	accessTTL, refreshTTL, leeway time.Duration
	tellAccounts                  bool
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	var o options
	flag.StringVar(&o.store, "store", "", "sqlite:FILE or postgres://... (default: a SQLite file of this run)")
	flag.DurationVar(&o.accessTTL, "access-ttl", time.Minute, "lifetime of an access token")
	flag.DurationVar(&o.refreshTTL, "refresh-ttl", 90*24*time.Hour, "lifetime of a refresh token")
	flag.DurationVar(&o.leeway, "leeway", 30*time.Second, "clock skew that verification tolerates")
	flag.BoolVar(&o.tellAccounts, "insecure-tell-accounts", false, "tell an unknown user from a wrong password")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, o); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, addr string, o options) error {
	db, dialect, clean, err := open(o.store)
	if err != nil {
		return fmt.Errorf("-store: %w", err)
	}
	defer clean()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w: -addr 127.0.0.1:0 takes a port that is free", err)
	}
	s, err := newService(ctx, "http://"+listener.Addr().String(), db, dialect, o)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 5 * time.Second}
	logged := make(chan error, 1)
	events, end := context.WithCancel(context.WithoutCancel(ctx))
	go func() { logged <- s.activity.Run(events) }()
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // what has not ended by then is cut off
	})
	fmt.Printf("listening on http://%s\nCtrl-C stops it\n", listener.Addr())
	err = server.Serve(listener)
	end() // the activities that still wait are written
	<-logged
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// open returns the database that where names, and what to call at the end.
func open(where string) (*sql.DB, sqlstore.Dialect, func(), error) {
	if strings.HasPrefix(where, "postgres://") {
		config, err := pgx.ParseConfig(where)
		if err != nil {
			return nil, "", nil, errors.New("this is no URL of a database") // the driver's text may hold its password
		}
		db := stdlib.OpenDB(*config)
		sqlstore.SetPool(db, 16)
		return db, sqlstore.PostgreSQL, func() { db.Close() }, nil
	}
	file, ok := strings.CutPrefix(where, "sqlite:")
	clean := func() {}
	if where == "" {
		folder, err := os.MkdirTemp("", "tutorial")
		if err != nil {
			return nil, "", nil, err
		}
		file, ok, clean = filepath.Join(folder, "tutorial.db"), true, func() { os.RemoveAll(folder) }
	}
	if !ok {
		return nil, "", nil, errors.New("want sqlite:FILE, postgres://... or nothing")
	}
	db, err := sqlstore.OpenSQLite("sqlite", file)
	if err != nil {
		clean()
		return nil, "", nil, err
	}
	return db, sqlstore.SQLite, func() { db.Close(); clean() }, nil
}
