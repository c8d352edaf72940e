package refresher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A Transport is an http.RoundTripper that gives requests the access token of
// one session, and renews it. New makes one. It is safe for concurrent use.
type Transport struct {
	base        http.RoundTripper
	store       Store
	source      Source  // nil in push mode
	prover      *prover // for Origins; nil without a key
	allowBearer bool
	unattended  bool
	endpoint    *endpoint
	origins     origins
	onlyOrigins bool
	refusals    refusals
	codes       jwterrors.Codes

	window, skew                          time.Duration
	maxRetries                            int
	backoff                               Backoff
	retryInterval, maxRetryInterval       time.Duration
	noJitter                              bool
	attemptTimeout, refreshTimeout, pause time.Duration
	expectContinue                        bool
	maxFailures                           int32
	maxLifetime                           time.Duration
	issuer, audience                      string
	verifier                              verifier
	logger                                *slog.Logger
	now                                   func() time.Time

	state  atomic.Pointer[state]
	epochs atomic.Uint64 // the epoch that was drawn last
	group  singleflight.Group
	events events
	outbox *outbox

	listeners listeners
	stepUp    func(context.Context, *jwterrors.Error) error // nil: that is for the caller
	logins    logins

	saving    atomic.Bool // whether a goroutine is saving tokens that are unsaved
	writing   sync.Mutex  // held while the caller's own changes are written to the store
	closeOnce sync.Once
	closed    chan struct{}
}

// clientTimeout is the timeout of Client.
const clientTimeout = 60 * time.Second

// Client returns a new http.Client that sends its requests through t. Its
// Timeout, which covers waiting for a refresh and reading the body, is 60
// seconds; set another, or zero for none, before it is used.
func (t *Transport) Client() *http.Client {
	return &http.Client{Transport: t, Timeout: clientTimeout}
}

// RoundTrip sends req with the access token, as the package documentation says.
// It does not change req, and the Request of the response is req, without the
// token. An error is a *jwterrors.Error, the error of the base transport, or
// the cause of req's context.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.origins.take(req) {
		if t.onlyOrigins {
			closeBody(req)
			return nil, &jwterrors.Error{Reason: jwterrors.HostNotAllowed, Err: errOtherOrigin}
		}
		return t.base.RoundTrip(req)
	}
	st := t.state.Load()
	if now := t.now(); !now.Before(st.lookAt) {
		if len(req.Header["Authorization"]) > 0 {
			return t.base.RoundTrip(req)
		}
		var err error
		if st, err = t.ready(req.Context(), st, now); err != nil {
			closeBody(req)
			return nil, err
		}
		if st.header == nil {
			return t.base.RoundTrip(req)
		}
	}
	out := outgoing{req: req}
	with, ok := out.attach(out.hold(t.expectContinue), st)
	if !ok {
		return t.base.RoundTrip(req)
	}
	if out.held != nil {
		defer out.done()
	}
	resp, err := t.send(with, st, &out)
	if err != nil || resp == nil {
		return resp, err
	}
	said, refused := t.judge(resp, st)
	switch {
	case refused:
		return t.again(&out, resp, st)
	case said != nil:
		return t.elevate(&out, resp, st, said)
	}
	return resp, nil
}

// send sends with, which out has made with the token of st.
func (t *Transport) send(with *http.Request, st *state, out *outgoing) (resp *http.Response, err error) {
	if st.tokenHash == "" {
		resp, err = t.base.RoundTrip(with)
	} else {
		resp, err = t.prover.send(with, st.tokenHash, out.more)
	}
	if resp != nil {
		resp.Request = out.req
	}
	return resp, err
}

var errOtherOrigin = errors.New("refresher: the request is for an origin that is not among Origins")

// ready returns a snapshot that a request can be sent with at now, and waits
// for it if it must. One without a header means that there is no session.
func (t *Transport) ready(ctx context.Context, st *state, now time.Time) (*state, error) {
	for {
		switch {
		case st.status == unloaded:
			if err := t.loaded(ctx); err != nil {
				return nil, err
			}
			if st = t.state.Load(); st.status == unloaded {
				return st, nil // a store that cannot be read counts as one without tokens
			}
		case st.status == anonymous:
			t.kick()
			return st, nil
		case st.status != active:
			t.kick()
			return nil, st.over()
		case st.usable(now):
			if st.unsaved.at(now) {
				t.mark(st, &unsaved{instead: st.unsaved.instead})
				t.saveLater(false)
			}
			if !now.Before(st.refreshAt) && t.renewable(st.tokens) && st.blocked(now, t.maxFailures) == nil {
				t.join(st, false)
			}
			return st, nil
		default:
			next, err := t.await(ctx, t.join(st, false), st)
			if err != nil {
				return nil, err
			}
			st = next
		}
		now = t.now()
	}
}

// renewable reports whether the source can be asked for the successor of
// tokens.
func (t *Transport) renewable(tokens Tokens) bool {
	if t.source == Source(t.endpoint) {
		return tokens.RefreshToken != ""
	}
	return t.source != nil
}

// again sends the request once more after resp has refused the token of st. The
// caller gets resp if that is not possible.
func (t *Transport) again(out *outgoing, resp *http.Response, st *state) (*http.Response, error) {
	if t.futile(st) {
		return resp, nil
	}
	if !out.can() {
		t.join(st, true) // for the requests to come
		return resp, nil
	}
	ctx := out.req.Context()
	next, err := t.successor(ctx, st)
	switch {
	case err == nil:
	case t.state.Load().session != st.session:
		return nil, sessionEnded()
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return resp, nil
	}
	body, err := out.again()
	if err != nil {
		return resp, nil
	}
	with, _ := out.attach(body, next)
	second, err := t.send(with, next, out)
	if err != nil || second == nil {
		return second, err
	}
	said, refused := t.judge(second, next)
	switch {
	case refused && t.source != nil:
		next.gen.latched.Store(true) // a newer token did not help
	case !refused && said != nil:
		return t.elevate(out, second, next, said)
	}
	return second, nil
}

// futile reports whether no newer token is asked for after that of st was
// refused.
func (t *Transport) futile(st *state) bool {
	return t.state.Load().gen == st.gen && t.source != nil && st.gen.futile()
}

// successor returns the snapshot to use after the token of st was refused, and
// waits for it.
func (t *Transport) successor(ctx context.Context, st *state) (*state, error) {
	next, err := t.await(ctx, t.join(st, true), st)
	if err != nil {
		return nil, err
	}
	return t.ready(ctx, next, t.now())
}

// judge returns what resp says if it may refuse the token of st, and whether it does,
// and notes what that says about the token's generation. The body of what may be a
// refusal is read and closed, and can still be read by the caller.
func (t *Transport) judge(resp *http.Response, st *state) (said *jwterrors.Error, refused bool) {
	if !t.refusals.hasStatus(resp.StatusCode) && (t.stepUp == nil || resp.StatusCode != http.StatusUnauthorized) {
		if resp.StatusCode < 400 {
			t.accepted(st)
		}
		return nil, false
	}
	keep(resp)
	e := t.codes.FromResponse(resp)
	if k, ok := resp.Body.(*kept); ok {
		k.rewind()
	}
	if !t.refusals.has(resp.StatusCode, e) {
		return e, false
	}
	if e == nil {
		e = &jwterrors.Error{Reason: jwterrors.TokenGenericError, Status: resp.StatusCode}
	}
	t.refused(st, e)
	return e, true
}

// refused notes that a server has refused the token of st, once for each
// generation.
func (t *Transport) refused(st *state, e *jwterrors.Error) {
	if !st.gen.reported.CompareAndSwap(false, true) {
		return
	}
	st.tokens.outcome.tell(&t.events, e.Reason)
	switch n := st.session.failures.Add(1); {
	case n == t.maxFailures:
		t.report(st, &jwterrors.Error{Reason: jwterrors.Paused, Err: fmt.Errorf("%w: %w", errTooManyFailures, e)})
	case n < t.maxFailures:
		t.report(st, e)
	}
}

// accepted notes that a server has taken the token of st.
func (t *Transport) accepted(st *state) {
	if !st.gen.proved.Load() {
		st.gen.proved.Store(true)
		st.tokens.outcome.tell(&t.events, "")
	}
	if st.session.failures.Load() != 0 {
		st.session.failures.Store(0)
	}
}

// Refresh gets new tokens now, or waits for the refresh that is under way, as
// long as ctx allows. A refresh that was begun goes on when ctx ends. In push
// mode it waits for SetTokens. Without a session the error has the reason
// AUTH_LOGGED_OUT.
func (t *Transport) Refresh(ctx context.Context) error {
	if err := t.Restore(ctx); err != nil {
		return err
	}
	st := t.state.Load()
	if st.status != active {
		return st.over()
	}
	_, err := t.await(ctx, t.join(st, false), st)
	return err
}

// Close ends the refreshes that are under way; what they were about to receive
// may be lost. Requests that need a new token fail from then on, others still
// pass. The error is always nil.
func (t *Transport) Close() error {
	t.closeOnce.Do(func() { close(t.closed) })
	return nil
}

func (t *Transport) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

// CloseIdleConnections closes the idle connections of the base transport, as
// http.Client.CloseIdleConnections asks.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// retryKey draws the key that tells a repeated refresh from a replay.
func retryKey() string { return rand.Text() }
