package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coder/websocket"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A watcher follows a feed.
type watcher struct {
	client *http.Client // whose Transport is a session; without a Timeout
	url    string
	pause  time.Duration // before it dials again
}

// watch calls each for every message. The session gives the handshake its token,
// which is a good one, and does what there is to do when it is refused all the same.
// When the server has closed the connection because of the token, watch dials again,
// with another one. It returns what nothing of that mends: errors have the reason
// that the server or the session gave.
func (w watcher) watch(ctx context.Context, each func(message string)) error {
	for {
		conn, resp, err := websocket.Dial(ctx, w.url, &websocket.DialOptions{HTTPClient: w.client})
		if err != nil {
			if refused := jwterrors.FromResponse(resp); refused != nil {
				return refused
			}
			return err
		}
		err = read(ctx, conn, each)
		switch reasonOf(err).Action() {
		case jwterrors.ActionRefresh, jwterrors.ActionRetry:
		default:
			return err
		}
		select {
		case <-time.After(w.pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func read(ctx context.Context, conn *websocket.Conn, each func(message string)) error {
	defer conn.CloseNow()
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		each(string(data))
	}
}

// reasonOf returns the reason that the server has closed with. It is "" for any
// other error.
func reasonOf(err error) jwterrors.Reason {
	var closed websocket.CloseError
	if errors.As(err, &closed) && jwterrors.Reason(closed.Reason).Known() {
		return jwterrors.Reason(closed.Reason)
	}
	return ""
}
