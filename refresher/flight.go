package refresher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A flight is one refresh, from its first attempt to its last: it belongs to
// the generation that it replaces, and everybody who needs the next one waits
// for it to be done. It runs on a goroutine and a context of its own, so that
// nobody who leaves takes it with them: the server may have rotated already.
//
// In push mode there is no goroutine; the flight is done when SetTokens has
// brought new tokens.
type flight struct {
	refusal bool // started because the generation was refused

	done chan struct{}
	once sync.Once
	err  *jwterrors.Error // why it failed; read it after done

	mu        sync.Mutex // held while the store is written
	unlock    func()     // gives the store's lock back; nil while it is not held
	abandoned bool       // what it brings is not wanted any more
	keeps     bool       // abandon leaves the lock to the flight's own end

	had *Tokens // what the store has, as far as the flight knows; for unsaved.instead
}

// finish releases everybody who waits.
func (f *flight) finish(err *jwterrors.Error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

func (f *flight) isDone() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// hold keeps the store's lock until letGo or abandon.
func (f *flight) hold(unlock func()) {
	f.mu.Lock()
	abandoned := f.abandoned
	if !abandoned {
		f.unlock = unlock
	}
	f.mu.Unlock()
	if abandoned {
		release(unlock)
	}
}

func (f *flight) letGo() {
	f.mu.Lock()
	unlock := f.unlock
	f.unlock, f.keeps = nil, false
	f.mu.Unlock()
	if unlock != nil {
		release(unlock)
	}
}

// release gives the store's lock back, and survives a panic in that.
func release(unlock func()) {
	defer func() { _ = recover() }() // its value may hold a secret
	unlock()
}

// keep makes abandon leave the lock to the flight: what is exchanged may be
// another user's, and then nobody is to take it before its successor is saved. It
// reports false when the flight was abandoned before.
func (f *flight) keep() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keeps = true
	return !f.abandoned
}

// abandon makes sure that the flight writes nothing to the store from now on,
// unless it is another user's, and gives its lock to those who will.
func (f *flight) abandon() {
	f.mu.Lock()
	f.abandoned = true
	keeps := f.keeps
	f.mu.Unlock()
	if !keeps {
		f.letGo()
	}
}

// write calls fn, which writes to the store, unless the flight was abandoned.
func (f *flight) write(fn func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.abandoned {
		return false
	}
	fn()
	return true
}

// join returns the flight that replaces the generation of st, and starts it if
// there is none. The flight is done already when the generation was replaced in
// the meantime, and when none may start now. refusal says that a server has
// refused the generation.
func (t *Transport) join(st *state, refusal bool) *flight {
	if f := st.gen.flight.Load(); f != nil && !f.isDone() {
		return f
	}
	now := t.now()
	v, _, _ := t.group.Do(st.key(), func() (any, error) {
		if f := st.gen.flight.Load(); f != nil && !f.isDone() {
			return f, nil
		}
		f := &flight{refusal: refusal, done: make(chan struct{})}
		cur := t.state.Load() // a flight may have ended since st was read
		if cur.gen != st.gen {
			f.finish(nil)
		} else if err := cur.blocked(now, t.maxFailures); err != nil {
			f.finish(err)
		} else {
			st.gen.flight.Store(f)
			if t.state.Load().gen == st.gen { // or publish did not see f
				t.start(f, cur)
			} else {
				f.finish(nil)
			}
		}
		return f, nil
	})
	return v.(*flight)
}

// start sends f on its way.
func (t *Transport) start(f *flight, st *state) {
	switch {
	case st.status == unloaded:
		go t.load(f, st)
	case t.source != nil:
		go t.fly(f, st)
	default:
		if !f.refusal { // a refusal was reported with its own reason
			t.report(st, &jwterrors.Error{Reason: jwterrors.TokenExpired, Err: errors.New("refresher: a new token is needed")})
		}
	}
}

// await waits until f is done or ctx is. It returns the snapshot that came after
// st, in the same session.
func (t *Transport) await(ctx context.Context, f *flight, st *state) (*state, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	cur := t.state.Load()
	switch {
	case cur.session != st.session:
		return nil, sessionEnded()
	case cur.gen == st.gen && f.err != nil:
		return nil, f.err
	case cur.status != active:
		return nil, cur.over()
	case cur.gen == st.gen:
		return nil, &jwterrors.Error{Reason: jwterrors.RefreshUnavailable, Err: errors.New("refresher: no token came")}
	}
	return cur, nil
}

func sessionEnded() *jwterrors.Error {
	return &jwterrors.Error{Reason: jwterrors.LoggedOut, Err: errors.New("refresher: the session of the request has ended")}
}

// detach returns a context that only time and Close end.
func (t *Transport) detach(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	go func() {
		select {
		case <-t.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// fly replaces the generation of st.
func (t *Transport) fly(f *flight, st *state) {
	ctx, cancel := t.detach(t.refreshTimeout)
	defer cancel()
	var failed *failure
	ended := false
	defer func() {
		if !ended { // runtime.Goexit in the source or the store
			failed = t.failed(0, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: errPanicked})
			t.report(st, failed.err)
		}
		t.land(f, st, failed)
	}()
	for n := 0; ; n++ {
		e := t.attempt(ctx, f, st)
		if e == nil {
			ended, failed = true, nil
			return
		}
		failed = t.failed(n, e)
		t.report(st, e)
		if failed.class != transient || n == t.maxRetries || !t.sleep(ctx, failed.pause.left(t.now()), f) {
			ended = true
			return
		}
	}
}

// failed returns attempt n, which ended with e, as the failure of its flight.
func (t *Transport) failed(n int, e *jwterrors.Error) *failure {
	return &failure{class: classOf(e), err: e, pause: t.pauseAfter(n, e)}
}

// sleep waits and reports whether the flight should go on.
func (t *Transport) sleep(ctx context.Context, wait time.Duration, f *flight) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.done:
	case <-ctx.Done():
	}
	return false
}

// land publishes how the flight ended and releases those who wait.
func (t *Transport) land(f *flight, st *state, failed *failure) {
	defer f.letGo()
	if failed == nil {
		f.finish(nil)
		return
	}
	select {
	case <-t.closed: // not the session's fault
		f.finish(&jwterrors.Error{Reason: jwterrors.RefreshUnavailable, Err: errClosed})
		return
	default:
	}
	for {
		cur := t.state.Load()
		if cur.gen != st.gen {
			f.finish(nil)
			return
		}
		next := *cur
		next.failure = failed
		if failed.class == verdict {
			next = state{status: expired, session: cur.session, gen: cur.gen, failure: failed}
		}
		if !t.publish(cur, &next) {
			continue
		}
		if failed.counts() {
			cur.session.failures.Add(1)
		}
		if failed.class == verdict {
			cur.tokens.outcome.tell(&t.events, failed.err.Reason)
			t.expire(cur, failed.err)
		}
		f.finish(failed.err)
		return
	}
}

// attempt tries once to replace the generation of st, with the store's lock
// held. It returns nil when it did, and when somebody else has.
func (t *Transport) attempt(ctx context.Context, f *flight, st *state) (refused *jwterrors.Error) {
	defer f.letGo()
	defer func() {
		if p := recover(); p != nil { // its value may hold a secret
			refused = &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("%w (%T)", errPanicked, p), Time: t.now()}
		}
	}()
	if err := t.lock(ctx, f, st); err != nil {
		return err
	}
	for again := false; ; again = true {
		cur := t.state.Load()
		if cur.gen != st.gen {
			return nil
		}
		tokens, newer, err := t.reread(ctx, f, cur)
		if err != nil {
			return err
		}
		if newer != nil {
			t.adopt(f, st, newer)
			return nil
		}
		if doubtful(cur, tokens) && !f.keep() {
			return nil
		}
		got, err := t.exchange(ctx, tokens)
		if err == nil {
			return t.accept(ctx, f, cur, tokens, got)
		}
		if classOf(err) == verdict {
			if !again && t.moved(ctx, cur, tokens) {
				continue
			}
			f.write(func() { err = t.clear(ctx, tokens, err) })
		}
		return err
	}
}

// lock takes the store's lock for f. A lock that somebody else holds too long is
// an error; for one that does not work at all, the session does not wait.
func (t *Transport) lock(ctx context.Context, f *flight, st *state) *jwterrors.Error {
	unlock, err := t.store.Lock(ctx)
	if err == nil {
		f.hold(unlock)
		return nil
	}
	e := storeUnavailable("lock the store", err)
	if ctx.Err() != nil {
		return e
	}
	t.report(st, e)
	return nil
}

// reread looks at what the store has now. It returns the tokens to exchange, or
// the snapshot of newer ones that somebody else has saved.
func (t *Transport) reread(ctx context.Context, f *flight, cur *state) (tokens Tokens, newer *state, refused *jwterrors.Error) {
	f.had = cur.stored()
	stored, err := t.store.Load(ctx)
	switch {
	case err != nil:
		t.report(cur, storeUnavailable("read the store", err))
		return cur.tokens, nil, nil
	case stored.same(cur.tokens), cur.unsaved != nil && !cur.unsaved.surpassed(stored, cur.tokens):
		return cur.tokens, nil, nil
	case stored.IsZero() && t.unattended:
		return cur.tokens, nil, nil
	case stored.IsZero():
		return Tokens{}, nil, &jwterrors.Error{Reason: jwterrors.LoggedOut, Err: errStoreEmptied}
	}
	f.had = &stored
	now := t.now()
	next, refused := t.receive(stored, cur.session, now)
	switch {
	case refused != nil && refused.Reason == jwterrors.TokenUserKeyInvalid, refused == nil && anotherOwner(cur, next):
		return Tokens{}, nil, &jwterrors.Error{Reason: jwterrors.LoggedOut, Err: errForeignStore}
	case refused == nil && next.usable(now) && stored.AccessToken != cur.tokens.AccessToken:
		return Tokens{}, next, nil
	}
	return stored, nil, nil
}

// anotherOwner reports whether the tokens of next are for another user than
// those of cur, as far as both say.
func anotherOwner(cur, next *state) bool {
	a, b := cur.tokens, next.tokens
	if a.Owner != "" && b.Owner != "" {
		return a.Owner != b.Owner
	}
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	return differ(a.Identity.Email, b.Identity.Email) || differ(a.Identity.UserID, b.Identity.UserID)
}

// doubtful reports whether tokens, which the store has in the place of those of
// cur, may be another user's: the answer to their refresh token will tell.
func doubtful(cur *state, tokens Tokens) bool {
	unknown := tokens.Owner == "" || cur.tokens.Owner == ""
	return tokens.AccessToken == "" && !tokens.same(cur.tokens) && unknown
}

// exchange asks the source for the tokens that follow.
func (t *Transport) exchange(ctx context.Context, tokens Tokens) (Tokens, *jwterrors.Error) {
	ctx, cancel := context.WithTimeout(ctx, t.attemptTimeout)
	defer cancel()
	got, err := t.source.Refresh(ctx, tokens)
	switch {
	case err != nil:
		return Tokens{}, asError(err)
	case got.AccessToken == "":
		return Tokens{}, &jwterrors.Error{Reason: jwterrors.TokenNull, Err: errors.New("refresher: the source returned no token"), Time: t.now()}
	}
	return got, nil
}

// moved reports whether the store has other tokens than those that were refused.
func (t *Transport) moved(ctx context.Context, cur *state, refused Tokens) bool {
	stored, err := t.store.Load(ctx)
	behind := cur.unsaved != nil && !cur.unsaved.surpassed(stored, cur.tokens)
	return err == nil && !behind && !stored.IsZero() && !stored.same(refused)
}

// clear empties the store after a verdict on tokens, unless it has others by
// now. A store that cannot be emptied is reported with the verdict.
func (t *Transport) clear(ctx context.Context, tokens Tokens, said *jwterrors.Error) *jwterrors.Error {
	stored, err := t.store.Load(ctx)
	if err == nil && !stored.IsZero() && stored.same(tokens) {
		err = t.store.Clear(ctx)
	}
	if err != nil {
		with := *said
		with.Err = errors.Join(said.Err, fmt.Errorf("refresher: clear the store: %w", err))
		return &with
	}
	return said
}

// accept takes what the source returned for tokens: it is checked, saved and
// published, in this order.
func (t *Transport) accept(ctx context.Context, f *flight, cur *state, tokens, got Tokens) *jwterrors.Error {
	if got.RefreshToken == "" {
		got.RefreshToken, got.RefreshExpiry = tokens.RefreshToken, tokens.RefreshExpiry
	}
	if got.Scope == "" {
		got.Scope = tokens.Scope // as before (RFC 6749, Section 5.1)
	}
	if got.Owner == "" {
		got.Owner = tokens.Owner // unless the new token says otherwise
	}
	got.Identity = cur.session.identity
	now := t.now()
	next, refused := t.receive(got, cur.session, now)
	if refused == nil {
		refused = cmp.Or(t.unbound(next), next.fresh(now))
	}
	if refused == nil && anotherOwner(cur, next) {
		refused = &jwterrors.Error{
			Reason: jwterrors.TokenUserKeyInvalid, Err: errors.New("refresher: the new token is for another user"), Time: now,
			Token: jwterrors.Redact(got.AccessToken), Identity: cur.session.identity.String(),
		}
	}
	if refused != nil {
		got.outcome.tell(&t.events, refused.Reason)
		if refused.Reason == jwterrors.TokenUserKeyInvalid && doubtful(cur, tokens) {
			t.giveBack(ctx, tokens, got)
			return &jwterrors.Error{Reason: jwterrors.LoggedOut, Err: errForeignStore}
		}
		if refused.Reason != jwterrors.TokenUserKeyInvalid {
			t.keepRefreshToken(ctx, f, cur, got)
		}
		return refused
	}
	if !f.write(func() { t.save(ctx, f, next) }) || !t.adopt(f, cur, next) {
		t.discard(ctx, cur, got)
	}
	return nil
}

// adopt publishes next in place of the generation of st. It reports false when
// somebody else replaced that first.
func (t *Transport) adopt(f *flight, st, next *state) bool {
	f.letGo()
	next.gen = &generation{number: st.gen.number + 1, refusal: f.refusal}
	t.announce(next)
	for {
		cur := t.state.Load()
		if cur.gen != st.gen {
			return false
		}
		if t.publish(cur, next) {
			if next.unsaved != nil {
				t.saveLater(true)
			}
			t.look() // the network is there
			t.logger.Debug("refresher: new tokens", "epoch", next.session.epoch, "generation", next.gen.number, "expiry", next.tokens.Expiry)
			return true
		}
	}
}

// keepRefreshToken keeps the refresh token of an answer whose access token is of
// no use: the server has rotated, and the old refresh token would be a replay.
func (t *Transport) keepRefreshToken(ctx context.Context, f *flight, cur *state, got Tokens) {
	if got.RefreshToken == cur.tokens.RefreshToken {
		return
	}
	next := *cur
	next.tokens.RefreshToken, next.tokens.RefreshExpiry = got.RefreshToken, got.RefreshExpiry
	next.tokens.RetryKey = retryKey()
	f.write(func() {
		t.save(ctx, f, &next)
		for now := cur; now.gen == cur.gen; now = t.state.Load() {
			changed := *now
			changed.tokens, changed.unsaved = next.tokens, next.unsaved
			if t.publish(now, &changed) {
				break
			}
		}
		if next.unsaved != nil {
			t.saveLater(true)
		}
	})
}

// giveBack saves what has come for a refresh token of the store that turned out
// to be another user's, who goes on with it: that token may be used up. It does so
// for a flight that was abandoned, too, unless somebody has replaced that token.
func (t *Transport) giveBack(ctx context.Context, tokens, got Tokens) {
	got.Identity = tokens.Identity
	theirs, refused := t.receive(got, newSession(0, tokens.Identity), t.now())
	if refused != nil {
		return
	}
	err := guard(func() error {
		if stored, err := t.store.Load(ctx); err == nil && !stored.same(tokens) {
			return nil
		}
		return t.store.Save(ctx, theirs.tokens)
	})
	if err != nil {
		t.report(theirs, storeUnavailable("write the store", err))
	}
}

// save writes the tokens of next to the store, or marks them as unsaved.
func (t *Transport) save(ctx context.Context, f *flight, next *state) {
	next.unsaved = nil
	if err := guard(func() error { return t.store.Save(ctx, next.tokens) }); err != nil {
		next.unsaved = &unsaved{instead: f.had}
		t.report(next, storeUnavailable("write the store", err))
	}
}

// guard calls fn and returns its error, or errPanicked when it panics or exits
// its goroutine. It is for what must not take the caller along: tokens that the
// server has just given out.
func guard(fn func() error) error {
	err := errPanicked
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }() // its value may hold a secret
		err = fn()
	}()
	<-done
	return err
}

// discard revokes tokens that came after their session had been replaced.
func (t *Transport) discard(ctx context.Context, st *state, got Tokens) {
	got.outcome.tell(&t.events, jwterrors.LoggedOut)
	cur := t.state.Load()
	if cur.session == st.session || !cur.session.revokes || got.RefreshToken == "" {
		return
	}
	_ = t.hangUp(ctx, got)() // the log has it, and the queue
}

// load reads the store for the first time.
func (t *Transport) load(f *flight, st *state) {
	ctx, cancel := t.detach(t.attemptTimeout)
	defer cancel()
	next := &state{status: unloaded, session: st.session, gen: st.gen}
	next.failure = &failure{err: storeUnavailable("read the store", errPanicked), pause: delay{t.now(), t.retryInterval}}
	defer t.look()
	defer func() {
		_ = recover() // next says that the load failed, unless it came to its end
		t.publish(st, next)
		if next.failure == nil {
			f.finish(nil)
			return
		}
		t.report(st, next.failure.err)
		f.finish(next.failure.err)
	}()
	stored, err := t.store.Load(ctx)
	if err != nil {
		next.failure.err = storeUnavailable("read the store", err)
		if t.unattended {
			t.report(st, next.failure.err)
			next = t.blank(st.session)
		}
		return
	}
	if stored.IsZero() {
		next = t.blank(st.session)
		return
	}
	if t.outbox.holds(ctx, stored) { // a Logout was killed before it came to the store
		_ = t.clear(ctx, stored, sessionEnded())
		next = &state{status: loggedOut, session: st.session, gen: &generation{}}
		return
	}
	now := t.now()
	sess := newSession(st.session.epoch, stored.Identity)
	restored, refused := t.receive(stored, sess, now)
	if refused != nil && outlived(stored, refused, now) {
		stored.AccessToken, stored.TokenType, stored.Expiry = "", "", time.Time{}
		restored, refused = t.receive(stored, sess, now)
	}
	if refused != nil {
		t.report(st, refused)
		next = t.blank(st.session)
		return
	}
	restored.gen = &generation{number: st.gen.number + 1}
	next = restored
}

// outlived reports whether stored, which was refused, has an access token that has
// expired, of a key that is not among the public keys any more: the session may be
// good, as the answer to its refresh token will tell.
func outlived(stored Tokens, refused *jwterrors.Error, now time.Time) bool {
	unverified := refused.Reason == jwterrors.TokenKeyUnknown || refused.Reason == jwterrors.TokenSignatureInvalid
	return unverified && stored.RefreshToken != "" && !stored.Expiry.IsZero() && !now.Before(stored.Expiry)
}

func storeUnavailable(what string, cause error) *jwterrors.Error {
	return &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: fmt.Errorf("refresher: %s: %w", what, cause)}
}
