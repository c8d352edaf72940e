// Command server is the reference server of tokenloop: an issuer, a protected
// API and their keys in one process, on loopback by default. Every black-box
// test talks to it.
//
//	go run ./examples/server -addr 127.0.0.1:8080
//	curl -s localhost:8080/auth/login -H 'Content-Type: application/json' \
//		-d '{"username":"alice","password":"correct horse battery staple"}'
//	curl -s localhost:8080/auth/token -u app:app-secret-app-secret-app-secret \
//		-d grant_type=client_credentials
//
// It prints "listening on http://HOST:PORT" when it is ready. SIGHUP rotates
// the signing key: to the one that is in -key-file by then, or without that flag to
// a new one. SIGINT and SIGTERM let running requests end and stop it. With
// -inspect there is a page, /inspect, that explains tokens to developers, and with
// -debug what the process takes, at /debug/runtime; with
// -browser refresh tokens are in a cookie. There is one user to begin with, and
// POST /auth/signup adds others. The page /authorize asks users for consent to
// the code of a client (RFC 6749, Section 4.1). GET /api/transfer asks for a login
// that is not older than -transfer-age (RFC 9470).
//
// Who sends proofs of a key with a login gets tokens that are of no use without it
// (RFC 9449); -dpop required has everybody do so. Proofs name the host of -issuer:
// the one that the server prints, unless it has another name for clients.
//
// # Stores
//
// Sessions and users live where -store says:
//
//	-store sqlite:FILE                           a file, made when it is not there
//	-store postgres://user:password@host/db      PostgreSQL, with the driver's parameters
//	-store mysql://user:password@host/db         MySQL or MariaDB, with the driver's parameters: ?tls=true
//	-store redis://:password@host:6379/0         Redis or Valkey, with the client's parameters, and ?prefix= for its keys
//	-store memory:                               the memory of the process
//
// Without -store it is a SQLite file in the folder for temporary files, which the
// log names and the end removes: the first run is on a real database, and leaves
// nothing behind.
//
// Refresh tokens are derived from a master key, without which the sessions are
// worth nothing. A SQLite file has its key beside it, in FILE.master-key, unless
// -master-key-file is given. Servers that share a store are one issuer when they
// share -issuer, -master-key-file, and -key-file or -secret-file. Their key rotates
// when the file has another one and each of them has got a SIGHUP. What one of
// them denies, such as the access tokens of a session that was logged out, the
// others know within a second or so, on Redis at once. There they also count
// logins together, and take a proof once: on the others each of them would.
//
// While a database does not answer, requests that need it are answered with 503
// and Retry-After, after ten seconds at the most.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return fmt.Errorf("listen: %w: -addr 127.0.0.1:0 takes a port that is free", err)
	}
	defer listener.Close()
	self := "http://" + listener.Addr().String()
	if o.issuer == "" {
		o.issuer = self
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a, err := newApp(ctx, o, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if a.store.brief {
		log.Info("sessions end with this server; -store sqlite:FILE keeps them", "store", a.store.name)
	}
	defer inBackground(a.background)()
	if err := a.inStep(ctx); err != nil {
		return err
	}
	defer inBackground(a.tell)() // the last of all: requests tell of themselves
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	go rotateOnHangup(ctx, hangup, a, log)

	server := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Printf("listening on %s\nCtrl-C stops it\n", self)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(drain)
}

// inBackground runs f and returns the function that stops it and waits for its end.
func inBackground(f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// rotateOnHangup rotates the signing key at every SIGHUP.
func rotateOnHangup(ctx context.Context, hangup <-chan os.Signal, a *app, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if err := a.rotate(); err != nil {
				log.Error("rotate the signing key", "err", err)
			}
		}
	}
}
