// Command mobileguide is a mobile app with its server, as guides to JWT in mobile
// apps describe them, in Go: where tokens are kept, what the app may read in them,
// how five calls at once cost one refresh, and a logout without a network that the
// server hears of later.
//
//   - app.go: the app.
//   - server.go: what it talks to, and the phone's network.
//
// The program plays what happens to them, checks what it tells, and ends within
// seconds. It keeps its files in a temporary directory.
//
//	go run ./examples/mobileguide
package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/refresher"
)

func main() { story.Main("mobileguide", run) }

// run tells the story to out. Its error is the first thing that did not happen.
func run(ctx context.Context, out io.Writer) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	return story.Play(ctx, out, w, "A mobile app, whose server is "+w.server.url,
		firstStart, offline, atOnce, beforehand, otherAnswers, noToken, logout)
}

// A world is a phone and a server.
type world struct {
	server  *server
	network network
	dir     string // the phone's disk
	app     *app
}

func newWorld() (*world, error) {
	w := &world{}
	var err error
	if w.server, err = newServer(); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "mobileguide"); err == nil {
		w.dir, err = filepath.EvalSymlinks(w.dir)
	}
	if err == nil {
		err = w.restart(nil)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// restart ends the app, as a phone does, and starts it again.
func (w *world) restart(change func(*refresher.Config)) error {
	a, err := start(w.dir, w.server.url, &w.network, w.server.key, func(c *refresher.Config) {
		c.Now = w.server.clock.Now
		if change != nil {
			change(c)
		}
	})
	if err != nil {
		return err
	}
	if w.app != nil {
		_ = w.app.session.Close()
	}
	w.app = a
	return nil
}

func (w *world) close() {
	if w.app != nil {
		_ = w.app.session.Close()
	}
	w.server.http.Close()
	_ = os.RemoveAll(w.dir)
}
