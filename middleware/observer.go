package middleware

import (
	"context"
	"net/http"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// An Observer is told what a [Middleware] decided, for metrics. It must be quick,
// since the request waits for it, and safe for concurrent use. What it panics
// with, the caller of the Middleware gets.
type Observer interface {
	// Checked is called once for each decision, with the context of the request
	// or of Verify, before the request is answered or passed on.
	Checked(ctx context.Context, outcome Outcome)
}

// An Outcome is one decision: of Check, Verify, Handler, Optional or Observe
// about a request or a token, whether it is then enforced or not, or the refusal
// of a guard behind them.
//
// There is one Outcome for each request, and one more where a guard refuses it
// (or, behind Observe, would). A guard that lets a request pass tells nothing.
// Nor is there an Outcome for what nobody decides about: routes that
// [Config].Skip names, and CORS preflights that pass.
type Outcome struct {
	// Reason is why the token was refused. It is "" when it was accepted, and
	// AUTH_TOKEN_MISSING for the anonymous requests that Optional lets pass.
	Reason jwterrors.Reason

	// Duration is how long the decision took, by the monotonic clock of the
	// process and not by [Config].Now: with the waiting for keys and with the
	// caller's own checks. It is zero for the refusal of a guard.
	Duration time.Duration

	// Cached tells of an accepted token that it was in the cache.
	Cached bool
}

// checkAndTell is check, and tells the Observer.
func (m *Middleware) checkAndTell(r *http.Request) (finding, error) {
	if m.observer == nil {
		return m.check(r)
	}
	began := time.Now()
	f, err := m.check(r)
	m.tell(r.Context(), began, f.record, err)
	return f, err
}

// verifyAndTell is verify without a request, and tells the Observer.
func (m *Middleware) verifyAndTell(ctx context.Context, token string) (*record, error) {
	if m.observer == nil {
		r, _, err := m.verify(ctx, token, nil, nil)
		return r, err
	}
	began := time.Now()
	r, _, err := m.verify(ctx, token, nil, nil)
	m.tell(ctx, began, r, err)
	return r, err
}

// tell tells the Observer of a decision that began at that time.
func (m *Middleware) tell(ctx context.Context, began time.Time, r *record, err error) {
	m.observer.Checked(ctx, Outcome{
		Reason: jwterrors.ReasonOf(err), Duration: time.Since(began), Cached: err == nil && r.remembered,
	})
}

// tellGuard tells the Observer of the refusal of a guard. m may be nil.
func (m *Middleware) tellGuard(ctx context.Context, err error) {
	if m != nil && m.observer != nil {
		m.observer.Checked(ctx, Outcome{Reason: jwterrors.ReasonOf(err)})
	}
}
