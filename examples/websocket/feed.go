package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// A feed sends the orders of whoever has the token of the handshake. It is behind
// the Handler of auth.
type feed struct {
	auth  *middleware.Middleware
	every time.Duration
}

// ServeHTTP sends until the client leaves or the token is refused. What was true in
// the handshake is not true for ever: auth is asked again before each order, which
// costs little for a token that it has seen before. It finds that the token has
// expired, or that it was revoked.
func (f feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	gone := conn.CloseRead(context.WithoutCancel(r.Context())) // a client that leaves is noticed
	for n := 1; gone.Err() == nil; n++ {
		claims, err := f.auth.Check(r)
		if err != nil {
			_ = conn.Close(closeCode(err), string(jwterrors.ReasonOf(err))) // it may have left
			return
		}
		if conn.Write(gone, websocket.MessageText, fmt.Appendf(nil, "order %d of %s", n, claims.Subject)) != nil {
			return
		}
		select {
		case <-time.After(f.every):
		case <-gone.Done():
		}
	}
}

// closeCode is the close code for a token that is not accepted any more (RFC 6455,
// Section 7.4). The reason beside it is what the client goes by.
func closeCode(err error) websocket.StatusCode {
	if jwterrors.ReasonOf(err).Status() >= 500 { // our trouble: the token may be good
		return websocket.StatusTryAgainLater
	}
	return websocket.StatusPolicyViolation
}
