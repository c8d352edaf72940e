// Command rounds runs the benchmarks of the package above it in rounds, and
// prints what they show as Markdown: which of the project's targets are met, then
// ratios and medians of all rows.
//
//	go run ./cmd/rounds
//	go run ./cmd/rounds -bench 'Verify/alg=HS256' -rounds 3 -raw new.txt
//	go run ./cmd/rounds -publish
//
// A row that is repeated on the spot is measured while the machine is as fast,
// or as slow, as it happens to be. So each round runs every row once, in a
// process of its own, and a ratio is the median over the rounds of the ratio
// within a round, in which the two rows are close in time.
//
// With -publish the samples are kept in results.txt, and the chart and the table
// of the repository's README are made of them. With -from they are not measured
// again.
//
// It needs the go command and the module's dependencies, and nothing else.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const benchmarks = "github.com/tokenloop/tokenloop/internal/bench"

// options are what the flags say.
type options struct {
	rounds           int
	benchtime, bench string
	raw, from        string
	publish          bool
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 6, "how often every row is run, 1 to 100")
	flag.StringVar(&o.benchtime, "benchtime", "100ms", "how long a row runs in a round, as go test takes it")
	flag.StringVar(&o.bench, "bench", ".", "which rows, as go test takes it")
	flag.StringVar(&o.raw, "raw", "", "a file for the output of all rounds, as benchstat reads it")
	flag.StringVar(&o.from, "from", "", "a file that -raw has written: nothing is run")
	flag.BoolVar(&o.publish, "publish", false, "write results.txt, chart.svg and the table of the README")
	short := flag.Bool("short", false, "one round of 10 ms a row, in about a minute: for trying out, not for reading")
	limit := flag.Duration("limit", 30*time.Minute, "how long it may take altogether")
	flag.Parse()
	if *short {
		o.rounds, o.benchtime = 1, "10ms"
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *limit, errors.New("the time is up"))
	defer cancel()
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "rounds:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, o options) error {
	if o.publish && o.bench != "." {
		return errors.New("what is published is of all rows")
	}
	samples, err := o.samples(ctx)
	if err != nil {
		return err
	}
	res := newResults()
	if n, err := res.add(bufio.NewScanner(bytes.NewReader(samples))); err != nil {
		return err
	} else if n == 0 {
		return errors.New("there are no rows")
	}
	if o.raw != "" {
		if err := os.WriteFile(o.raw, samples, 0o644); err != nil {
			return err
		}
	}
	if o.publish {
		if err := publish(ctx, samples, res); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s.\n\n", res.machine())
	writeTargets(out, res)
	writeTables(out, res)
	return nil
}

// samples returns what all rounds print, or have printed.
func (o options) samples(ctx context.Context) ([]byte, error) {
	if o.from != "" {
		return os.ReadFile(o.from)
	}
	if o.rounds < 1 || o.rounds > 100 {
		return nil, fmt.Errorf("%d rounds are not 1 to 100", o.rounds)
	}
	scratch, err := os.MkdirTemp("", "rounds")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	binary := filepath.Join(scratch, "bench.test")
	if _, err := command(ctx, "", "go", "test", "-c", "-o", binary, benchmarks); err != nil {
		return nil, err
	}
	all := []byte(head(runtime.Version(), o.benchtime))
	for round := range o.rounds {
		began := time.Now()
		output, err := command(ctx, scratch, binary, "-test.run=^$", "-test.bench="+o.bench, "-test.benchtime="+o.benchtime)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", round+1, err)
		}
		all = append(all, output...)
		fmt.Fprintf(os.Stderr, "round %d of %d took %v\n", round+1, o.rounds, time.Since(began).Round(time.Second))
	}
	return all, nil
}

// publish writes what the repository shows of the samples.
func publish(ctx context.Context, samples []byte, res *results) error {
	where, err := command(ctx, "", "go", "list", "-f", "{{.Dir}}", benchmarks)
	if err != nil {
		return err
	}
	dir := strings.TrimSpace(string(where))
	name := filepath.Join(dir, "..", "..", "README.md")
	document, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	readme, err := within(string(document), table(res))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for name, content := range map[string]string{
		filepath.Join(dir, "results.txt"): string(samples),
		filepath.Join(dir, "chart.svg"):   chart(res),
		name:                              readme,
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// command runs a program until it ends or ctx does, and returns what it wrote.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	// Memory that a row gives back would be paid for by the next one.
	cmd.Env = append(os.Environ(), "GODEBUG=madvdontneed=0")
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, tail(output, 4096))
	}
	return output, nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
