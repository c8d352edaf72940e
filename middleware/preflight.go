package middleware

import (
	"net/http"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// preflight reports whether r is what a browser sends before a cross-origin
// request, to ask whether it may: OPTIONS with Origin and
// Access-Control-Request-Method, without credentials and without a body (Fetch
// Standard, "CORS-preflight fetch"). It cannot carry a token, so it cannot be
// refused for having none.
func (m *Middleware) preflight(r *http.Request) bool {
	if r.Method != http.MethodOptions || m.checkPreflights ||
		len(r.Header["Origin"]) != 1 || r.Header["Origin"][0] == "" ||
		len(r.Header["Access-Control-Request-Method"]) != 1 || r.Header["Access-Control-Request-Method"][0] == "" ||
		len(r.Header["Authorization"]) != 0 || r.ContentLength != 0 {
		return false
	}
	_, _, err := m.tokenOf(r)
	return reasonOf(err) == jwterrors.TokenMissing
}

// A headersOnly is the ResponseWriter of a preflight. No browser shows a script
// the body of the answer, so none is sent: a handler that does not look at the
// method tells nobody anything.
type headersOnly struct {
	http.ResponseWriter
	wrote bool
}

func (w *headersOnly) WriteHeader(status int) {
	w.wrote = w.wrote || status >= 200
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

func (w *headersOnly) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return len(p), nil
}
