// Package story is how the examples tell what they do: in numbered steps, each of
// which checks what it says.
package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"
)

// A Story prints steps, and stops at the first thing that is not as it says.
type Story struct {
	out  io.Writer
	step int
	err  error
}

// Main is the main function of a program that is the story told by run: half a minute
// is enough for it, and what did not happen ends it with status 1.
func Main(name string, run func(ctx context.Context, out io.Writer) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(name, ": ", err)
	}
}

// Play tells the chapters of a world to out, after the title. It returns the first
// thing that did not happen.
func Play[W any](ctx context.Context, out io.Writer, world W, title string, chapters ...func(context.Context, *Story, W)) error {
	fmt.Fprintln(out, title)
	s := New(out)
	for _, chapter := range chapters {
		if chapter(ctx, s, world); s.err != nil {
			return s.err
		}
	}
	fmt.Fprintln(out, "\nEverything happened as told.")
	return nil
}

// New returns a Story that is told to out.
func New(out io.Writer) *Story { return &Story{out: out} }

// Begin begins a step.
func (s *Story) Begin(format string, args ...any) {
	if s.err != nil {
		return
	}
	s.step++
	fmt.Fprintf(s.out, "\n%d. %s\n", s.step, fmt.Sprintf(format, args...))
}

// Tell prints what happened and why, when ok; else it ends the story with it.
func (s *Story) Tell(ok bool, format string, args ...any) {
	if s.err != nil {
		return
	}
	line := fmt.Sprintf(format, args...)
	if !ok {
		s.err = fmt.Errorf("step %d: this did not happen: %s", s.step, line)
		return
	}
	fmt.Fprintf(s.out, "   %s\n", line)
}

// Must ends the story with err, unless that is nil.
func (s *Story) Must(err error) {
	if s.err == nil && err != nil {
		s.err = fmt.Errorf("step %d: %w", s.step, err)
	}
}

// Err returns the first thing that did not happen, or nil.
func (s *Story) Err() error { return s.err }

// Until waits, for five seconds at the most, for something that happens on
// another goroutine.
func (s *Story) Until(ctx context.Context, happened func() bool, format string, args ...any) {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Second, errors.New("this did not happen within five seconds: "+fmt.Sprintf(format, args...)))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.err == nil && !happened() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.Must(context.Cause(ctx))
		}
	}
	s.Tell(true, format, args...)
}
