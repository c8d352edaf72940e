// Command chaos runs two servers on one store with many clients, lets everything
// fail that can, and watches that the promises hold. README.md says which.
//
//	GOWORK=off go run ./cmd/chaos
//	GOWORK=off go run ./cmd/chaos -seed 7 -duration 2m -store redis: -v
//
// It prints what happened. Where a promise does not hold it says so in a line that
// begins with "VIOLATION", keeps the logs and ends with the status 1. The same seed
// means the same faults at the same times; what requests they strike differs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokenloop/tokenloop/internal/chaos"
)

func main() {
	err := run(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	seed     uint64
	duration time.Duration
	clients  int
	store    string
	server   string
	verbose  bool
}

// errViolated is a promise that does not hold.
var errViolated = errors.New("a promise does not hold")

func run(args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.Uint64Var(&o.seed, "seed", 1, "the schedule of faults")
	flags.DurationVar(&o.duration, "duration", 90*time.Second, "how long things fail")
	flags.IntVar(&o.clients, "clients", 50, "how many clients there are, thieves and racers among them")
	flags.StringVar(&o.store, "store", "sqlite:", "sqlite: or redis:, of this run; or the URL of a server, such as postgres://root@127.0.0.1:5432/chaos?sslmode=disable, which is cut off and not killed")
	flags.StringVar(&o.server, "server", "", "a program that is examples/server (default: it is built)")
	flags.BoolVar(&o.verbose, "v", false, "print each fault")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.clients < 10 || o.duration <= 0 || flags.NArg() > 0 {
		return errors.New("want a -duration, 10 -clients or more, and no arguments")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	folder, err := os.MkdirTemp("", "tokenloop-chaos-")
	if err != nil {
		return err
	}
	if o.server == "" {
		o.server, err = chaos.Build(ctx, folder)
	}
	if err == nil {
		err = play(ctx, o, folder, out)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(out, "the logs are in", folder)
		return err
	}
	return errors.Join(err, os.RemoveAll(folder))
}

// play is a run, from the start of the servers to the report.
func play(ctx context.Context, o options, folder string, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := newWitness(stop)
	world, err := newWorld(o.server, o.store, folder, w)
	if err != nil {
		return err
	}
	faults := schedule(o.seed, o.duration, slices.Concat(everywhere, world.store.kinds))
	began := time.Now()
	err = world.endure(ctx, o, faults, out)
	length := time.Since(began)
	logged, closing := world.close()
	scheme, _, _ := strings.Cut(o.store, ":") // a URL may hold a password
	fmt.Fprintf(out, "chaos: seed %d, store %s, %d clients, %.1f s, of which %v with %d faults; %d KiB of logs\n",
		o.seed, scheme, o.clients, length.Seconds(), o.duration, len(faults), logged>>10)
	report(out, w)
	if v := w.violation(); v != "" {
		fmt.Fprintln(out, "VIOLATION:", v)
		err = errors.Join(errViolated, err)
	} else if err = errors.Join(err, context.Cause(ctx)); err == nil {
		fmt.Fprintln(out, "no violation")
	}
	return errors.Join(err, closing)
}

// endure lets clients work and everything fail, and returns when the faults are over
// and the clients have shown that they can go on, or at the first violation.
func (o *world) endure(ctx context.Context, opt options, faults []fault, out io.Writer) error {
	working, rest := context.WithCancel(ctx) // of the clients
	defer rest()
	watching, end := context.WithCancel(ctx)
	defer end()
	failed := make(chan error, len(faults)+opt.clients+1)
	fail := func(err error) {
		if err != nil && ctx.Err() == nil {
			failed <- err
			o.stop()
		}
	}
	var clients, watchers, failing sync.WaitGroup
	by := person{&http.Client{Transport: o.client}}
	watchers.Go(func() { o.watch(watching) })
	watchers.Go(func() { o.watchRevoked(watching, by) })
	watchers.Go(func() { fail(o.watchKeys(watching)) })
	for n := range opt.clients {
		rng := rand.New(rand.NewPCG(opt.seed, uint64(n)+1))
		p := &holder{world: o, person: by, rng: rng}
		switch n % 10 {
		case 8:
			clients.Go(func() { p.steal(working) })
		case 9:
			clients.Go(func() { p.race(working) })
		default:
			clients.Go(func() { fail(o.use(watching, working, n, rng)) })
		}
	}

	began := time.Now()
	for _, f := range faults {
		if !wait(ctx, time.Until(began.Add(f.at))) {
			break
		}
		if opt.verbose {
			fmt.Fprintln(out, f)
		}
		o.count("fault: " + string(f.kind))
		failing.Go(func() { fail(o.befall(ctx, f)) })
	}
	wait(ctx, time.Until(began.Add(opt.duration)))
	failing.Wait()
	o.front.back()
	rest()
	defer time.AfterFunc(2*patience, func() { o.violate("not all clients have come to an end %v after the last fault", 2*patience) }).Stop()
	clients.Wait()
	end()
	watchers.Wait()
	close(failed)
	return <-failed
}

// report prints what was counted.
func report(out io.Writer, w *witness) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(w.counts)) {
		fmt.Fprintf(out, "%8d  %s\n", w.counts[what], what)
	}
	for _, what := range slices.Sorted(maps.Keys(w.most)) {
		fmt.Fprintf(out, "%8s  the longest that %s\n", w.most[what].Round(time.Millisecond), what)
	}
}
