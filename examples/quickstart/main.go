// Command quickstart plays the whole life of a token against servers that it
// starts itself on loopback, with their sessions in a SQLite file, says at each
// step what happened and why, checks everything that it says, and ends by itself
// within seconds, leaving nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tokenloop/tokenloop/examples/internal/story"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run tells the story to out. Its error is the first thing that did not happen.
func run(ctx context.Context, out io.Writer) (err error) {
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	return story.Play(ctx, out, w, "tokenloop: one life of a token, on "+w.url+" with its sessions in a SQLite file",
		login, expiry, stoppedClock, lostAnswer, stolenToken, refusals, keyRotation, restart, logout)
}
