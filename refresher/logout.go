package refresher

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

const (
	// maxLogoutAge is how long a logout is tried whose refresh token does not
	// say when it expires.
	maxLogoutAge = 90 * 24 * time.Hour

	// expiredFor is how long a refresh token must have expired before its
	// logout is given up. The clock may be wrong.
	expiredFor = 24 * time.Hour
)

// An outbox sends logouts to the issuer, and keeps those that it could not send
// until they can be.
type outbox struct {
	queue  LogoutQueue
	spare  memoryLogouts // for what queue could not take
	shared bool          // others may add to queue

	turn    chan struct{} // has one place, taken while a pass is under way
	added   chan struct{} // has one place, taken when Logout has left one for Run
	waiting atomic.Bool   // there may be something to send

	mu      sync.Mutex
	changes int             // how often there was more to send than before
	own     map[string]bool // those that Logout sends itself, by ID: true while it does, then false
	tries   map[string]int  // how often a logout has failed, by ID
	failed  int             // consecutive failures
	pause   delay           // after the last failure
}

func newOutbox(queue LogoutQueue) *outbox {
	o := &outbox{
		queue: queue, shared: queue != nil, turn: make(chan struct{}, 1), added: make(chan struct{}, 1),
		own: make(map[string]bool), tries: make(map[string]int),
	}
	if queue == nil {
		o.queue = &o.spare
	}
	o.waiting.Store(o.shared)
	return o
}

// more notes that there is more to send. The caller has the mutex.
func (o *outbox) more() {
	o.changes++
	o.waiting.Store(true)
}

// put adds p, which its caller is about to send.
func (o *outbox) put(ctx context.Context, p PendingLogout) error {
	o.mu.Lock()
	o.own[p.ID] = true
	o.more()
	o.mu.Unlock()
	err := guard(func() error { return o.queue.Put(ctx, p) })
	if err != nil {
		_ = o.spare.Put(ctx, p)
	}
	return err
}

// list returns the logouts that are for url and that nobody else is sending:
// those first that have failed least often, and of these the oldest.
func (o *outbox) list(ctx context.Context, url string) (list []PendingLogout, err error) {
	o.mu.Lock()
	maps.DeleteFunc(o.own, func(_ string, sending bool) bool { return !sending })
	o.mu.Unlock()
	err = guard(func() (err error) { list, err = o.queue.List(ctx); return err })
	if o.shared {
		spare, _ := o.spare.List(ctx)
		list = append(list, spare...)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.tries, func(id string, _ int) bool { // those that have given way to others
		return !slices.ContainsFunc(list, func(p PendingLogout) bool { return p.ID == id })
	})
	list = slices.DeleteFunc(list, func(p PendingLogout) bool {
		_, own := o.own[p.ID]
		return own || p.URL != url
	})
	slices.SortStableFunc(list, func(a, b PendingLogout) int {
		return cmp.Or(cmp.Compare(o.tries[a.ID], o.tries[b.ID]), a.Since.Compare(b.Since))
	})
	return list, err
}

// holds reports whether the session of tokens is to be ended.
func (o *outbox) holds(ctx context.Context, tokens Tokens) bool {
	list, _ := o.queue.List(ctx)
	return slices.ContainsFunc(list, func(p PendingLogout) bool {
		if p.Tokens.RefreshToken != "" {
			return p.Tokens.RefreshToken == tokens.RefreshToken
		}
		return p.Tokens.AccessToken == tokens.AccessToken
	})
}

// remove removes a logout that was sent, or is not sent any more.
func (o *outbox) remove(ctx context.Context, id string) error {
	o.mu.Lock()
	delete(o.tries, id)
	o.mu.Unlock()
	_ = o.spare.Remove(ctx, id)
	return guard(func() error { return o.queue.Remove(ctx, id) })
}

// Logout forgets the tokens here, at once and whatever happens then, and ends
// the session at the issuer. Requests that wait fail with AUTH_LOGGED_OUT, and
// so do later ones until a new session begins.
//
// An error says that the store still has the tokens, or that the issuer has not
// been told yet: then the logout waits in Config.Logouts and is sent later. See
// Flush. Without an AuthURL and an OAuth.RevokeURL there is nobody to tell. The store
// is cleared later, too, where it still has what the Transport had in use; one that
// could not be read from the start needs another Logout.
func (t *Transport) Logout(ctx context.Context) error {
	sess := newSession(t.epochs.Add(1), Identity{})
	sess.revokes = true
	_ = t.loaded(ctx) // there may be a session that was never used
	old := t.state.Load()
	next := &state{status: loggedOut, session: sess, gen: &generation{}}
	for ; old.session.epoch < sess.epoch && !t.publish(old, next); old = t.state.Load() {
	}
	if old.session.epoch > sess.epoch {
		return nil // a later login has replaced the session
	}
	// First the queue, then the store: who is killed in between has the tokens
	// in both, and not in none.
	send := t.hangUp(ctx, old.tokens)
	also := func() error { return nil }
	err := t.persist(ctx, next, old.stored(), func() bool {
		stored, theirs := t.insteadOf(ctx, old)
		if !stored.IsZero() && !theirs {
			also = t.hangUp(ctx, stored)
		}
		return !theirs
	})
	return errors.Join(err, send(), also())
}

// insteadOf returns the tokens that another process has put into the store in the
// place of those of old: an issuer may know the session by them alone. They are
// theirs if they say that they are another user's, who has logged in there.
func (t *Transport) insteadOf(ctx context.Context, old *state) (stored Tokens, theirs bool) {
	stored, err := t.store.Load(ctx)
	if err != nil || stored.RefreshToken == "" || stored.RefreshToken == old.tokens.RefreshToken {
		return Tokens{}, false
	}
	st, refused := t.receive(stored, newSession(0, stored.Identity), t.now())
	if refused != nil {
		return Tokens{}, false
	}
	return stored, anotherOwner(old, st)
}

// hangUp puts the end of the session of tokens in the queue, and returns the
// function that tells the issuer. Its error says that the issuer does not know
// yet.
func (t *Transport) hangUp(ctx context.Context, tokens Tokens) (send func() error) {
	p := PendingLogout{
		ID: rand.Text(), URL: t.endpoint.logout, Since: t.now().Round(0),
		Tokens: Tokens{RefreshToken: tokens.RefreshToken, RefreshExpiry: tokens.RefreshExpiry},
	}
	if t.endpoint.revoker != nil || t.origins.hasString(p.URL) {
		p.Tokens.AccessToken, p.Tokens.TokenType, p.Tokens.Expiry = tokens.AccessToken, tokens.TokenType, tokens.Expiry
	}
	if p.URL == "" || p.Tokens.IsZero() {
		return func() error { return nil }
	}
	// A logout is not taken back because its caller has no time left.
	local, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.attemptTimeout)
	defer cancel()
	o := t.outbox
	unsaved := o.put(local, p)
	return func() error {
		err := t.tell(ctx, p)
		o.mu.Lock()
		if o.own[p.ID] = false; err != nil {
			delete(o.own, p.ID)
			o.more()
		}
		o.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case o.added <- struct{}{}:
		default:
		}
		if unsaved != nil {
			return errors.Join(err, storeUnavailable("queue the logout", unsaved))
		}
		return err
	}
}

// tell tells the issuer of p, once. When it returns nil, p is not in the queue
// any more.
func (t *Transport) tell(ctx context.Context, p PendingLogout) error {
	o := t.outbox
	var authorization []string
	if p.withAccess(t.now()) {
		authorization = []string{schemeOf(p.Tokens) + " " + p.Tokens.AccessToken}
	}
	// Nobody is there to recover from a base transport that panics.
	if err := guard(func() error { return t.endpoint.revoke(ctx, p.Tokens.RefreshToken, authorization) }); err != nil {
		e := asError(err)
		if classOf(e) != verdict { // else the issuer knows of no such session
			o.mu.Lock()
			o.tries[p.ID]++
			o.pause = t.pauseAfter(o.failed, e)
			o.failed++
			o.mu.Unlock()
			t.logger.Warn("refresher: a logout was not sent", "error", e)
			return e
		}
	}
	o.mu.Lock()
	o.failed, o.pause = 0, delay{}
	o.mu.Unlock()
	local, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.attemptTimeout)
	defer cancel()
	if err := o.remove(local, p.ID); err != nil {
		t.logger.Warn("refresher: a logout was sent and is still in the queue", "error", err)
	}
	return nil
}

// withAccess reports whether the access token is sent beside the refresh token. One
// that has expired might be all that the issuer looks at.
func (p PendingLogout) withAccess(now time.Time) bool {
	expiry := p.Tokens.Expiry
	if expiry.IsZero() {
		expiry = p.Since.Add(time.Hour)
	}
	return p.Tokens.AccessToken != "" && (p.Tokens.RefreshToken == "" || now.Before(expiry))
}

// lapsed reports whether p is not worth sending any more.
func (p PendingLogout) lapsed(now time.Time) bool {
	if expiry := p.Tokens.RefreshExpiry; !expiry.IsZero() {
		return now.After(expiry.Add(expiredFor))
	}
	return now.After(p.Since.Add(maxLogoutAge))
}

// pass sends the logouts that wait, up to the first that fails, and reports
// whether there is one left that could be sent later. The caller has the turn.
func (t *Transport) pass(ctx context.Context) (left bool, err error) {
	o := t.outbox
	o.mu.Lock()
	changes := o.changes
	o.mu.Unlock()
	list, err := o.list(ctx, t.endpoint.logout)
	if err != nil {
		err = storeUnavailable("read the queue of logouts", err)
	}
	for _, p := range list {
		if !p.lapsed(t.now()) {
			if failed := t.tell(ctx, p); failed != nil {
				return true, errors.Join(err, failed)
			}
			continue
		}
		t.report(&state{session: newSession(0, Identity{})}, &jwterrors.Error{Reason: jwterrors.RefreshUnavailable, Err: errGivenUp})
		if failed := o.remove(ctx, p.ID); failed != nil {
			err = errors.Join(err, storeUnavailable("write the queue of logouts", failed))
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil: // look again, but not at once
		o.pause = delay{t.now(), t.maxRetryInterval}
		t.logger.Warn("refresher: the queue of logouts", "error", err)
	case o.changes == changes && !slices.Contains(slices.Collect(maps.Values(o.own)), true):
		o.waiting.Store(false)
	}
	return false, err
}

var errGivenUp = errors.New("refresher: a logout was given up: its refresh token has expired, and the issuer was never told")

// look makes kick look into a queue to which others may have added.
func (t *Transport) look() {
	if t.outbox.shared {
		t.outbox.waiting.Store(true)
	}
	t.kick()
}

// kick sends the logouts that wait, on a goroutine of its own, if there are any
// and the issuer may be asked again.
func (t *Transport) kick() {
	o := t.outbox
	if !o.waiting.Load() || t.endpoint.logout == "" {
		return
	}
	select {
	case o.turn <- struct{}{}:
	default:
		return
	}
	o.mu.Lock()
	due := o.pause.left(t.now()) == 0
	o.mu.Unlock()
	if !due || t.isClosed() {
		<-o.turn
		return
	}
	go func() {
		defer func() { <-o.turn }()
		ctx, cancel := t.detach(t.refreshTimeout)
		defer cancel()
		_, _ = t.pass(ctx) // the log has it
	}()
}

// Flush sends the logouts that wait for the issuer, now and, if that fails,
// again with the waits of Config.RetryBackoff in between. It returns nil when none
// is left, and the last error when ctx leaves no time for another attempt, when the
// Transport is closed, and when the queue cannot be read. Call it when the network is
// back, and before a program ends.
//
// Nobody has to: when a session begins or is refreshed, and when a request
// finds none, those that wait are sent in the background.
func (t *Transport) Flush(ctx context.Context) error {
	for {
		left, err := t.takeTurn(ctx)
		if !left || !t.rest(ctx) {
			return err
		}
	}
}

// Run sends logouts as soon as they can be sent, until ctx is done or the
// Transport is closed, and returns why. It is for programs that rarely do
// anything else with the Transport, and for a goroutine of the caller's.
func (t *Transport) Run(ctx context.Context) error {
	for {
		left, _ := t.takeTurn(ctx) // the log has the error
		for !left || !t.rest(ctx) {
			select {
			case <-t.outbox.added:
				left = true
			case <-t.closed:
				return errClosed
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// takeTurn makes a pass when no other is under way.
func (t *Transport) takeTurn(ctx context.Context) (left bool, err error) {
	select {
	case t.outbox.turn <- struct{}{}:
		defer func() { <-t.outbox.turn }()
		return t.pass(ctx)
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

// rest waits until the issuer may be asked again, and reports whether ctx leaves
// time for that.
func (t *Transport) rest(ctx context.Context) bool {
	t.outbox.mu.Lock()
	wait := t.outbox.pause.left(t.now())
	t.outbox.mu.Unlock()
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !t.isClosed()
	case <-t.closed:
	case <-ctx.Done():
	}
	return false
}
