// Command dpop shows what somebody can do with stolen tokens that are bound to a key
// of their owner (RFC 9449): nothing.
//
//   - server.go: an issuer and an API that take such tokens, by one line in each
//     configuration.
//   - chapters.go: the client, which is another line, and the thief, who has
//     everything but the key.
//
// The program plays what happens to them, checks what it tells, and ends within a
// second.
//
//	go run ./examples/dpop
package main

import (
	"context"
	"errors"
	"io"

	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/refresher"
)

func main() { story.Main("dpop", run) }

// run tells the story to out. Its error is the first thing that did not happen.
func run(ctx context.Context, out io.Writer) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	return story.Play(ctx, out, w, "Stolen tokens, at "+w.server.url,
		login, accessToken, request, refreshToken, owner)
}

// A world is a server and its user.
type world struct {
	server *server
	key    *refresher.DPoPKey
	owner  *refresher.Transport
}

func newWorld() (*world, error) {
	w := &world{key: refresher.GenerateDPoPKey()}
	var err error
	if w.server, err = newServer(); err != nil {
		return nil, err
	}
	w.owner, err = refresher.New(refresher.Config{
		AuthURL: w.server.url + "/auth", Origins: []string{w.server.url}, InsecureAllowHTTP: true, // on loopback
		DPoP: w.key,
	})
	if err != nil {
		return nil, errors.Join(err, w.server.http.Close())
	}
	return w, nil
}

func (w *world) close() {
	_ = w.owner.Close()
	_ = w.server.http.Close()
}
