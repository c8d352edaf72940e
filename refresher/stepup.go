package refresher

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// elevate answers said, which asks for a stronger or more recent login than the token
// of st comes from (RFC 9470, Section 3): it has the user log in, and sends the
// request once more. Before that, a token that has come in the meantime is tried: the
// one of a refresh, or of the login that another request has asked for. The caller
// gets resp, or a later answer, if that is not possible.
func (t *Transport) elevate(out *outgoing, resp *http.Response, st *state, said *jwterrors.Error) (*http.Response, error) {
	ctx := out.req.Context()
	for tries, asked := 0, false; t.wantsLogin(ctx, said) && !asked; tries++ {
		if !out.can() {
			return resp, nil
		}
		var err error
		if asked, err = t.logins.ask(ctx, t, st, said, tries < maxNewer); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return resp, nil
		}
		next, err := t.ready(ctx, t.state.Load(), t.now())
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil || next.header == nil || anotherOwner(st, next): // what one user began is not another's
			return resp, nil
		}
		body, err := out.again()
		if err != nil {
			return resp, nil
		}
		with, _ := out.attach(body, next)
		if resp, err = t.send(with, next, out); err != nil || resp == nil {
			return resp, err
		}
		st = next
		said, _ = t.judge(resp, st)
	}
	return resp, nil
}

// maxNewer is how often a request tries a newer token, before it asks for a login of
// its own whatever has come since.
const maxNewer = 10

// wantsLogin reports whether said is a matter for Config.StepUp.
func (t *Transport) wantsLogin(ctx context.Context, said *jwterrors.Error) bool {
	return t.stepUp != nil && said != nil && said.Reason == jwterrors.AuthenticationInsufficient && ctx.Value(inStepUp{}) != t
}

// inStepUp is the key of a context in which Config.StepUp is under way.
type inStepUp struct{}

// logins are those that requests ask Config.StepUp for, one at a time.
type logins struct {
	mu  sync.Mutex
	now *login // nil when there is none
}

// A login is one call of Config.StepUp, for all who need the same.
type login struct {
	need string
	done chan struct{}
	err  error // read it after done
}

// ask waits for the login that said requires: for the one that is under way, or its
// own, which begins after those of others. Where newer is set, it returns false once the
// token of st was replaced, for the new one to be tried first.
func (l *logins) ask(ctx context.Context, t *Transport, st *state, said *jwterrors.Error, newer bool) (asked bool, err error) {
	need := fmt.Sprintf("%q within %v", strings.Join(said.ACRValues, " "), said.MaxAge)
	for {
		l.mu.Lock()
		if newer && t.state.Load().gen != st.gen {
			l.mu.Unlock()
			return false, nil
		}
		one := l.now
		if one == nil {
			one = &login{need: need, done: make(chan struct{})}
			l.now = one
			go l.run(ctx, t, one, said)
		}
		l.mu.Unlock()
		select {
		case <-one.done:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		if one.need == need {
			return true, one.err
		}
	}
}

// run calls Config.StepUp. Nobody who leaves ends it: the user may be at it.
func (l *logins) run(ctx context.Context, t *Transport, one *login, said *jwterrors.Error) {
	ctx, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), inStepUp{}, t))
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-t.closed:
			cancel()
		case <-stop:
		}
	}()
	if one.err = guard(func() error { return t.stepUp(ctx, said) }); one.err != nil {
		t.logger.Warn("refresher: no stronger login", "error", one.err)
	}
	l.mu.Lock()
	l.now = nil
	l.mu.Unlock()
	close(one.done)
}
