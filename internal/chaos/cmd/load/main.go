// Command load puts examples/server under load with the refresher as its clients,
// and says how long each operation takes and what the server needs for it.
//
//	GOWORK=off go run ./cmd/load                  # 30 seconds
//	GOWORK=off go run ./cmd/load -duration 15m    # a soak
//
// Each client logs in, calls the API, refreshes and logs out again and again. What a
// client must never see ends with "VIOLATION" and the status 1: a session that is
// lost, and an access token that is accepted after its session was ended. So does
// memory or a number of goroutines that has grown from the second third of the run to
// the last.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/tokenloop/tokenloop/internal/chaos"
)

func main() {
	err := run(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	duration, pause time.Duration
	clients         int
	store, server   string
}

func run(args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.DurationVar(&o.duration, "duration", 30*time.Second, "how long")
	flags.DurationVar(&o.pause, "pause", 40*time.Millisecond, "what a client waits between two operations, on average")
	flags.IntVar(&o.clients, "clients", 50, "how many clients there are")
	flags.StringVar(&o.store, "store", "", "as that of the server (default: a SQLite file of this run)")
	flags.StringVar(&o.server, "server", "", "a program that is examples/server (default: it is built)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.duration <= 0 || o.pause <= 0 || o.clients < 1 || flags.NArg() > 0 {
		return errors.New("want a -duration, a -pause, -clients and no arguments")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	folder, err := os.MkdirTemp("", "tokenloop-load-")
	if err != nil {
		return err
	}
	if o.server == "" {
		o.server, err = chaos.Build(ctx, folder)
	}
	if o.store == "" {
		o.store = "sqlite:" + filepath.Join(folder, "sessions.db")
	}
	if err == nil {
		err = play(ctx, o, filepath.Join(folder, "server.log"), out)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(out, "the log is in", folder)
		return err
	}
	return errors.Join(err, os.RemoveAll(folder))
}

// accessTTL is how long access tokens live: so short that they come and go many
// times while the server is watched.
func (o options) accessTTL() time.Duration {
	return max(2*time.Second, (o.duration / 30).Truncate(time.Second))
}

// play is a run, from the start of the server to the report.
func play(ctx context.Context, o options, logFile string, out io.Writer) error {
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	server, err := chaos.Start(o.server, log, "-store", o.store, "-access-ttl", o.accessTTL().String(), "-grace", "1s", "-insecure-no-limits", "-debug")
	if err != nil {
		return err
	}
	defer server.Stop()

	ctx, stop := context.WithTimeout(ctx, o.duration)
	defer stop()
	m := newMeter(stop)
	watched := newWatch(server)
	var all sync.WaitGroup
	began := time.Now()
	for n := range o.clients {
		c, err := newClient(m, server.URL, n, o.pause)
		if err != nil {
			return err
		}
		all.Go(func() { c.run(ctx) })
	}
	err = watched.run(ctx, o.duration)
	stop()
	all.Wait()
	length := time.Since(began)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "load: %d clients for %.0f s, access tokens for %v\n\n", o.clients, length.Seconds(), o.accessTTL())
	m.report(out, length)
	fmt.Fprintln(out)
	m.violate(watched.report(out, length))
	if m.violated != "" {
		fmt.Fprintln(out, "\nVIOLATION:", m.violated)
		return errors.New("a promise does not hold")
	}
	fmt.Fprintln(out, "\nno violation")
	return nil
}
