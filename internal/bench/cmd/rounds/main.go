// Command rounds runs the benchmarks of the package above it in rounds, and
// prints what they show as Markdown: ratios first, then medians, then which of
// the project's targets are met.
//
//	go run ./cmd/rounds
//	go run ./cmd/rounds -bench 'Verify/alg=HS256' -rounds 3 -raw new.txt
//
// A row that is repeated on the spot is measured while the machine is as fast,
// or as slow, as it happens to be. So each round runs every row once, in a
// process of its own, and a ratio is the median over the rounds of the ratio
// within a round, in which the two rows are close in time.
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
	"time"
)

const benchmarks = "github.com/tokenloop/tokenloop/internal/bench"

func main() {
	rounds := flag.Int("rounds", 6, "how often every row is run, 1 to 100")
	benchtime := flag.String("benchtime", "100ms", "how long a row runs in a round, as go test takes it")
	bench := flag.String("bench", ".", "which rows, as go test takes it")
	raw := flag.String("raw", "", "a file for the output of all rounds, as benchstat reads it")
	limit := flag.Duration("limit", 30*time.Minute, "how long it may take altogether")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *limit, errors.New("the time is up"))
	defer cancel()
	if err := run(ctx, os.Stdout, *rounds, *benchtime, *bench, *raw); err != nil {
		fmt.Fprintln(os.Stderr, "rounds:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, rounds int, benchtime, bench, raw string) error {
	if rounds < 1 || rounds > 100 {
		return fmt.Errorf("%d rounds are not 1 to 100", rounds)
	}
	scratch, err := os.MkdirTemp("", "rounds")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	binary := filepath.Join(scratch, "bench.test")
	if _, err := command(ctx, "", "go", "test", "-c", "-o", binary, benchmarks); err != nil {
		return err
	}
	var all bytes.Buffer
	res := newResults()
	for round := range rounds {
		began := time.Now()
		output, err := command(ctx, scratch, binary, "-test.run=^$", "-test.bench="+bench,
			"-test.benchtime="+benchtime)
		if err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		all.Write(output)
		n, err := res.add(bufio.NewScanner(bytes.NewReader(output)))
		if err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		if n == 0 {
			return fmt.Errorf("no row is called %q", bench)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d: %d rows in %v\n", round+1, rounds, n, time.Since(began).Round(time.Second))
	}
	if raw != "" {
		if err := os.WriteFile(raw, all.Bytes(), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s, %s/%s, %s, %d cores used; %d rounds of %s a row.\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH,
		res.cpu, res.procs, rounds, benchtime)
	writeTargets(out, res)
	writeTables(out, res)
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
