package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// newGateway returns a reverse proxy for the upstream. Callers need a token of
// their own, which auth verifies and which ends here; the upstream gets a token of
// the gateway's, which own has, and the name of the caller.
func newGateway(auth *middleware.Middleware, own *refresher.Transport, upstream *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(upstream)
			p.SetXForwarded()
			// own adds its token to a request that has none.
			p.Out.Header.Del("Authorization")
			p.Out.Header.Del("Cookie")
			p.Out.Header.Del("X-User") // whatever the caller wrote there
			if claims, ok := middleware.FromContext(p.In.Context()); ok {
				p.Out.Header.Set("X-User", claims.Subject)
			}
			rewindable(p.Out)
		},
		Transport:      own,
		ModifyResponse: notTheCallers,
		ErrorHandler:   respond,
	}
	return auth.Handler(proxy)
}

// maxRewind is how long a body may be that is sent a second time, in bytes.
const maxRewind = 64 << 10

// rewindable keeps a short body, so that the request can be sent again if the
// upstream refuses the gateway's token. A long one is sent once.
func rewindable(r *http.Request) {
	if r.Body == nil || r.ContentLength < 0 || r.ContentLength > maxRewind {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRewind))
	if err != nil {
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failed{err})) // for the transport to find
		return
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// notTheCallers keeps answers from the caller that are about the gateway's token.
// The caller's own token is good, and a 401 would make it get another one.
func notTheCallers(resp *http.Response) error {
	e := jwterrors.FromResponse(resp)
	resp.Header.Del("WWW-Authenticate")
	switch sent := resp.Request; {
	case resp.StatusCode == http.StatusUnauthorized && sent.Body != nil && sent.GetBody == nil: // and was not sent again
		return &jwterrors.Error{Reason: jwterrors.RefreshUnavailable, Err: e}
	case resp.StatusCode == http.StatusUnauthorized:
		return &jwterrors.Error{Reason: jwterrors.Paused, Err: e}
	case resp.StatusCode == http.StatusForbidden && e != nil:
		return &jwterrors.Error{Reason: jwterrors.Paused, Err: e}
	}
	return nil
}

// respond answers when there is no answer of the upstream to pass on: with 503 if
// it may help to try again later, and with 502 or 504 otherwise.
func respond(w http.ResponseWriter, r *http.Request, err error) {
	var e *jwterrors.Error
	switch {
	case errors.As(err, &e) && (e.Reason.Action() == jwterrors.ActionRetry || e.Reason.Action() == jwterrors.ActionRefresh):
		jwterrors.Responder{}.Respond(w, r, &jwterrors.Error{Reason: jwterrors.RefreshUnavailable, RetryAfter: e.RetryAfter, Err: err})
	case e != nil:
		jwterrors.Responder{}.Respond(w, r, &jwterrors.Error{Reason: jwterrors.Paused, Err: err})
	case errors.Is(err, context.DeadlineExceeded):
		w.WriteHeader(http.StatusGatewayTimeout)
	default:
		w.WriteHeader(http.StatusBadGateway)
	}
}
