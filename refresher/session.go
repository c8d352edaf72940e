package refresher

import (
	"context"
	"errors"
	"fmt"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Login begins a session with the tokens that the issuer gives for c. It is not
// repeated when it fails. A session that is in use is replaced, not ended at
// the issuer: call Logout for that. The replaced one's waiting requests fail
// with AUTH_LOGGED_OUT.
//
// Without an AuthURL, and where c is not a Password with either a Username or an
// Email, the error has the reason AUTH_REQUEST_INVALID. When it fails nothing has
// changed, with one exception: an error with the reason AUTH_STORE_UNAVAILABLE says
// that the session has begun and could not be saved. Of several Login, SetTokens,
// Identify and Logout at the same time, the one called last decides; a Login that
// it overtook fails with AUTH_LOGGED_OUT, and what it brought is revoked.
func (t *Transport) Login(ctx context.Context, c Credentials) error {
	switch {
	case t.endpoint.login == "":
		return invalid("there is no AuthURL to log in at")
	case (c.Username == "") == (c.Email == "") || c.Password == "":
		return invalid("credentials are a password and either a user name or an email address")
	}
	sess := newSession(t.epochs.Add(1), Identity{})
	sess.revokes = true
	tokens, err := t.endpoint.logIn(ctx, c)
	if err != nil {
		return err
	}
	return t.begin(ctx, sess, tokens)
}

// SetTokens puts tokens in use that were got elsewhere. It releases the requests
// that wait for tokens, and may be called from OnFailure.
//
// Tokens of the user whose session is in use continue that session; all others
// begin a new one. Whose they are is said by Tokens.Identity or by the access
// token itself. Where neither says, they continue the session in push mode only.
// Tokens that cannot be used, or that are for another user than Identify has
// named, are refused with their reason, and nothing has changed. A store that
// cannot take them is an error after they have been put in use.
func (t *Transport) SetTokens(ctx context.Context, tokens Tokens) error {
	epoch := t.epochs.Add(1)
	for {
		cur := t.state.Load()
		next, goesOn, refused := t.continues(cur, tokens)
		switch {
		case refused != nil:
			return t.refuse(cur, refused)
		case !goesOn:
			return t.begin(ctx, newSession(epoch, tokens.Identity), tokens)
		}
		f := cur.gen.flight.Load()
		next.gen = &generation{number: cur.gen.number + 1, refusal: f != nil && f.refusal}
		if t.publish(cur, next) {
			return t.persist(ctx, next, nil, nil)
		}
	}
}

// continues reports whether tokens belong to the session of cur, and returns
// the snapshot that would use them there.
func (t *Transport) continues(cur *state, tokens Tokens) (next *state, goesOn bool, refused *jwterrors.Error) {
	named := cur.session.identity
	if cur.status != active || !tokens.Identity.isZero() && tokens.Identity != named {
		return nil, false, nil
	}
	next, refused = t.usable(tokens, cur.session)
	if refused != nil {
		return nil, false, refused
	}
	mine, theirs := cur.tokens.Owner, next.tokens.Owner
	known := mine != "" && theirs != ""
	return next, !named.isZero() || known && mine == theirs || !known && t.source == nil, nil
}

// usable receives tokens and makes sure that they can be used, now or after a
// refresh.
func (t *Transport) usable(tokens Tokens, sess *session) (*state, *jwterrors.Error) {
	now := t.now()
	st, refused := t.receive(tokens, sess, now)
	if refused == nil {
		refused = t.unbound(st)
	}
	if refused == nil && !(t.renewable(tokens) && !tokens.IsZero()) {
		refused = st.fresh(now)
	}
	return st, refused
}

// An IdentifyOption is an option of Identify.
type IdentifyOption func(*Tokens)

// WithTokens brings the tokens of the new user along, so that nobody is asked
// for them.
func WithTokens(tokens Tokens) IdentifyOption {
	return func(t *Tokens) { *t = tokens }
}

// Identify begins a session for the user id, also when that is the user already,
// and gets a token for it from the Source, with the patience of ctx. Until one
// has come, requests wait. In push mode they wait for SetTokens, and Identify
// does not. From then on a token that is for another user is refused with
// AUTH_TOKEN_USER_KEY_INVALID before it is used. The requests of the session
// before fail with AUTH_LOGGED_OUT. With Config.Unattended the zero Identity
// begins a session for nobody in particular. Where there is no Source but the AuthURL,
// the tokens must come along: else the error has the reason AUTH_REQUEST_INVALID.
func (t *Transport) Identify(ctx context.Context, id Identity, options ...IdentifyOption) error {
	if (id.Email == "") == (id.UserID == "") && !(id.isZero() && t.unattended) {
		return invalid("an identity is either an email address or a user id")
	}
	sess := newSession(t.epochs.Add(1), id)
	sess.revokes = true
	var tokens Tokens
	for _, option := range options {
		option(&tokens)
	}
	if !tokens.IsZero() {
		if !tokens.Identity.isZero() && tokens.Identity != id {
			return invalid("the tokens are said to be somebody else's")
		}
		return t.begin(ctx, sess, tokens)
	}
	if t.source == Source(t.endpoint) {
		return invalid("to identify a user takes WithTokens, a Source or Push")
	}
	next := &state{status: active, session: sess, tokens: Tokens{Identity: id}}
	if err := t.open(next); err != nil {
		return err
	}
	err := t.persist(ctx, next, nil, nil)
	f := t.join(next, false)
	if t.source != nil {
		if _, failed := t.await(ctx, f, next); failed != nil {
			err = errors.Join(failed, err)
		}
	}
	return err
}

// begin begins sess with tokens.
func (t *Transport) begin(ctx context.Context, sess *session, tokens Tokens) error {
	next, refused := t.usable(tokens, sess)
	if refused != nil {
		tokens.outcome.tell(&t.events, refused.Reason)
		return t.refuse(&state{session: sess}, refused)
	}
	if err := t.open(next); err != nil {
		if sess.revokes && tokens.RefreshToken != "" {
			err = errors.Join(err, t.hangUp(ctx, tokens)())
		}
		return err
	}
	t.look()
	return t.persist(ctx, next, nil, nil)
}

// open publishes the first snapshot of a session, unless one with a later epoch
// is there.
func (t *Transport) open(next *state) error {
	next.gen = &generation{number: 1}
	for {
		cur := t.state.Load()
		if cur.session.epoch > next.session.epoch {
			return &jwterrors.Error{Reason: jwterrors.LoggedOut, Err: errOvertaken}
		}
		if t.publish(cur, next) {
			return nil
		}
	}
}

// Tokens returns the tokens that are in use, and whether there are any. They are for
// inspection, and may have expired: to send one, ask Token. Before the first request
// or Restore, a store that has tokens was not read, and there are none.
func (t *Transport) Tokens() (Tokens, bool) {
	st := t.state.Load()
	tokens := st.tokens
	tokens.outcome = nil
	return tokens, st.status == active && !tokens.IsZero()
}

// Restore takes over the tokens that the store has, unless a session has begun
// or the store was read before. Without it the first request does that. An
// error says that the store could not be read.
func (t *Transport) Restore(ctx context.Context) error {
	if err := t.loaded(ctx); err != nil {
		return err
	}
	if st := t.state.Load(); st.status == unloaded && st.failure != nil {
		return st.failure.err
	}
	return nil
}

// loaded waits until the store was read, or could not be. Its error is the cause
// of ctx.
func (t *Transport) loaded(ctx context.Context) error {
	st := t.state.Load()
	if st.status != unloaded {
		return nil
	}
	select {
	case <-t.join(st, false).done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resume takes a session out of a pause: the next request that needs a token
// tries again, however often that has failed. It does not bring back a session
// that has ended.
func (t *Transport) Resume() {
	for {
		cur := t.state.Load()
		if cur.status != active {
			return
		}
		cur.session.failures.Store(0)
		cur.gen.latched.Store(false)
		cur.gen.reported.Store(false) // the app was told of a pause, and not that a token is wanted
		next := *cur
		next.failure = nil
		if t.publish(cur, &next) {
			return
		}
	}
}

// persist brings the store in line with next: it saves its tokens, or clears
// the store if there are none. It does nothing if next is past. If allowed is not
// nil, it is called first, with the lock held, and says whether to go on. instead
// is what the store has before, as far as the caller knows; it may be nil.
func (t *Transport) persist(ctx context.Context, next *state, instead *Tokens, allowed func() bool) (err error) {
	defer func() {
		if p := recover(); p != nil { // its value may hold a secret
			err = storeUnavailable("use the store", fmt.Errorf("%w (%T)", errPanicked, p))
		}
		if err != nil {
			t.mark(next, &unsaved{instead: instead})
			t.saveLater(true)
		}
	}()
	limited, cancel := context.WithTimeout(ctx, t.attemptTimeout)
	defer cancel()
	unlock, failed := t.store.Lock(limited)
	switch {
	case failed == nil:
		defer unlock()
	case limited.Err() != nil && ctx.Err() == nil && !next.tokens.IsZero():
		// Somebody has held it for long, and may be about to save what they
		// have got for the session before. Whoever comes after them wins.
		return storeUnavailable("lock the store", failed)
	default:
		t.report(next, storeUnavailable("lock the store", failed)) // and go on without
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.state.Load().gen != next.gen {
		return nil
	}
	if allowed != nil && !allowed() {
		return nil
	}
	if failed = t.write(ctx, next.tokens); failed == nil {
		return nil
	}
	// What is deleted later is what is there now. A save that failed may have
	// come to the store all the same, and then what follows there is newer.
	if stored, err := t.store.Load(ctx); err == nil && (next.tokens.IsZero() || stored.RetryKey == next.tokens.RetryKey) {
		instead = &stored
	}
	return storeUnavailable("write the store", failed)
}

// refuse reports e and returns it.
func (t *Transport) refuse(st *state, e *jwterrors.Error) error {
	t.report(st, e)
	return e
}

func invalid(what string) error {
	return &jwterrors.Error{Reason: jwterrors.RequestInvalid, Err: errors.New("refresher: " + what)}
}
