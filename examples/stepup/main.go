// Command stepup shows how a call that needs a stronger login than its token comes
// from gets one (RFC 9470): the API says what it needs, the client has its user log
// in, and the same call is made again.
//
//   - server.go: an issuer that says how a user has logged in, and an API with a
//     route that asks for a second factor, and for it to be recent.
//   - totp.go: the second factor.
//   - chapters.go: the client, whose user is asked by Config.StepUp.
//
// The program plays what happens to them, checks what it tells, and ends within a
// second.
//
//	go run ./examples/stepup
package main

import (
	"context"
	"errors"
	"io"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/refresher"
)

func main() { story.Main("stepup", run) }

// run tells the story to out. Its error is the first thing that did not happen.
func run(ctx context.Context, out io.Writer) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	return story.Play(ctx, out, w, "A login that is not enough, at "+w.server.url,
		password, transfer, atOnce, later, cancelled)
}

// A world is a server and its user.
type world struct {
	clock   story.Clock
	server  *server
	session *refresher.Transport

	prompts  int  // how often the user was asked
	declines bool // the user closes the prompt
}

func newWorld() (*world, error) {
	w := &world{}
	var err error
	if w.server, err = newServer(w.clock.Now); err != nil {
		return nil, err
	}
	w.session, err = refresher.New(refresher.Config{
		AuthURL: w.server.url + "/auth", Origins: []string{w.server.url}, InsecureAllowHTTP: true, // on loopback
		StepUp: w.prompt, Now: w.clock.Now,
	})
	if err != nil {
		return nil, errors.Join(err, w.server.http.Close())
	}
	return w, nil
}

// prompt asks the user for what the API requires. StepUp calls it once, for however
// many requests wait, and never twice at the same time.
func (w *world) prompt(ctx context.Context, required *jwterrors.Error) error {
	w.prompts++
	if w.declines {
		return errors.New("the user has closed the prompt")
	}
	// A real app shows a form, and asks for what is in required.ACRValues.
	return w.session.Login(ctx, refresher.Credentials{Username: user, Password: secret + " " + code(factor, w.clock.Now())})
}

func (w *world) close() {
	_ = w.session.Close()
	_ = w.server.http.Close()
}
