package middleware

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
)

// A Middleware verifies the tokens of requests. [New] makes one. It is safe for
// concurrent use. The zero Middleware, and a nil one, refuse every request with
// AUTH_TOKEN_GENERIC_ERROR.
type Middleware struct {
	issuers       []*issuer // the first is the one of Config.Issuer; none where resolve is set
	byName        map[string]*issuer
	resolve       func(context.Context, *http.Request, string) (Issuer, error)
	leeway        time.Duration
	maxLifetime   time.Duration
	maxTokenBytes int
	types         []string
	required      []string // names of claims
	cache         *cache   // nil for none
	share         bool     // Config.ShareClaims
	userKey       *UserKeyRule
	revocations   Revocations
	validate      func(context.Context, *Claims) error
	proofs        *dpop.Checker // nil where DPoP is off
	bound         bool          // DPoP.Required
	certificate   func(*http.Request) ([]byte, error)
	respond       func(http.ResponseWriter, *http.Request, error)
	logger        *slog.Logger
	observer      Observer // nil for none
	now           func() time.Time

	sources         []source // where tokens are
	skip            func(*http.Request) bool
	checkPreflights bool
}

// Check returns the claims of r's token, or the reason for which it is refused,
// as a *jwterrors.Error. It writes nothing, and changes nothing but the body of
// a form where [Config].TokenInForm is set, which can be read as before.
//
// The token is taken from the Authorization header (RFC 6750, Section 2.1, and RFC
// 9449, Section 7.1 where [Config].DPoP is set), and from where else Config allows.
// A request without a token is refused with AUTH_TOKEN_MISSING, one that could be read
// as having several with AUTH_REQUEST_INVALID. A proof of possession is used up; the
// nonce that a client needs for the next one is in the error's Nonce, and one that is
// about to end is not told.
func (m *Middleware) Check(r *http.Request) (*Claims, error) {
	if !m.made() {
		return nil, errZero()
	}
	found, err := m.checkAndTell(r)
	if err != nil {
		return nil, err
	}
	return found.record.out(), nil
}

// A finding is what check has found in a request.
type finding struct {
	record *record // nil where the token is refused
	source *source // where the token was; nil where there is none
	nonce  string  // for the client's next proof; "" for none
}

// check is Check.
func (m *Middleware) check(r *http.Request) (finding, error) {
	token, from, err := m.tokenOf(r)
	if err != nil {
		return finding{source: from}, explain(err, "", nil, m.now())
	}
	rec, nonce, err := m.verify(r.Context(), token, r, from)
	if err != nil && (from.name == inHeader || from.name == inDPoP) && len(token) <= m.maxTokenBytes && isList(token) {
		err = explain(errMalformed, "", nil, m.now())
	}
	return finding{rec, from, nonce}, err
}

// Handler returns a handler that calls next for requests that pass Check, with
// the claims in their context, and answers the others itself.
//
// CORS preflights pass without claims, through guards, too, since a browser
// sends them without a token: OPTIONS with Origin and
// Access-Control-Request-Method, and neither Authorization nor body. Of the
// answer only the status and the header are sent. So next sees requests of the
// method OPTIONS from anybody, must look at the method before it changes
// anything, and has no claims then. Where the CORS rules stand in front of
// Handler, or where there are none, [Config].CheckPreflights closes this.
func (m *Middleware) Handler(next http.Handler) http.Handler {
	return m.wrap(next, enforce)
}

// Optional is Handler for routes that anonymous requests may use, too: those
// without a token pass, and [FromContext] has no claims for them. Requests with
// a token that is refused are answered as by Handler.
func (m *Middleware) Optional(next http.Handler) http.Handler {
	return m.wrap(next, allowAnonymous)
}

// Observe is Handler with the enforcement off: all requests pass, those that
// Handler would answer without claims, and guards behind it let all pass, too.
// What would have been refused is told to [Config].Logger, with the text
// "middleware: request would be refused" and the level of a refusal, and to
// [Config].Observer. It is for finding out what Handler will do before it does
// it: without a Logger and without an Observer, Observe tells nobody.
func (m *Middleware) Observe(next http.Handler) http.Handler {
	return m.wrap(next, observe)
}

// A mode is what becomes of requests that do not pass Check.
type mode int

const (
	enforce        mode = iota // they are answered
	allowAnonymous             // they are, except those without a token
	observe                    // they pass, and are reported
)

func (m *Middleware) wrap(next http.Handler, mode mode) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.made() {
			m.answer(w, r, errZero())
			return
		}
		var c *authContext
		switch {
		case m.skip != nil && m.skip(r):
			c = new(authContext)
		case m.preflight(r):
			c = &authContext{preflight: true}
			w = &headersOnly{ResponseWriter: w}
		default:
			found, err := m.checkAndTell(r)
			if found.source != nil && found.source.name == inQuery {
				w.Header().Set("Cache-Control", "no-store, private")
			}
			if found.nonce != "" { // whoever answers (RFC 9449, Section 8.2)
				w.Header().Set(dpop.NonceHeader, found.nonce)
				w.Header().Set("Cache-Control", "no-store")
			}
			// The reason alone does not tell: it may be one of the caller's making.
			anonymous := found.source == nil && reasonOf(err) == jwterrors.TokenMissing
			switch {
			case err == nil:
				c = found.record.inContext()
			case mode == allowAnonymous && anonymous:
				c = new(authContext)
			case mode == observe:
				m.report(r, err, "would be refused")
				c = new(authContext)
			default:
				m.answer(w, r, err)
				return
			}
		}
		c.Context, c.by, c.observed = r.Context(), m, mode == observe
		next.ServeHTTP(w, r.WithContext(c))
	})
}

func (m *Middleware) made() bool { return m != nil && (len(m.issuers) > 0 || m.resolve != nil) }

func errZero() error {
	return &jwterrors.Error{Reason: jwterrors.TokenGenericError, Err: errors.New("middleware: the Middleware was not made by New")}
}

// answer answers a request that is refused. m may be nil.
func (m *Middleware) answer(w http.ResponseWriter, r *http.Request, err error) {
	if !m.made() {
		jwterrors.Responder{}.Respond(w, r, err)
		return
	}
	m.report(r, err, "refused")
	m.respond(w, r, err)
}

// report logs what became of a request.
func (m *Middleware) report(r *http.Request, err error, what string) {
	if m.logger == nil {
		return
	}
	level := slog.LevelInfo
	if jwterrors.ReasonOf(err).Status() >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	m.logger.Log(r.Context(), level, "middleware: request "+what, "error", err)
}
