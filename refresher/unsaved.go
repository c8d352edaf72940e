package refresher

import (
	"context"
	"time"
)

// unsaved says that the store could not take the tokens of a snapshot.
type unsaved struct {
	// instead is what the store had in their place. Once it has something
	// else, somebody else has saved that since, and it is left alone. Nil
	// means that nothing in the store can be newer: the tokens are those that
	// the caller has set, and have not come to the store.
	instead *Tokens

	// next is when a request makes another attempt to save them; zero while a
	// goroutine is at it.
	next time.Time
}

// stored returns what the store has, as far as st knows; nil if it does not.
func (st *state) stored() *Tokens {
	if st.unsaved != nil {
		return st.unsaved.instead
	}
	return &st.tokens
}

// at reports whether it is time for a request to make an attempt.
func (u *unsaved) at(now time.Time) bool {
	return u != nil && !u.next.IsZero() && !now.Before(u.next)
}

// surpassed reports whether somebody else has saved stored since the store had
// failed to take tokens.
func (u *unsaved) surpassed(stored, tokens Tokens) bool {
	mine := tokens.RetryKey != "" && stored.RetryKey == tokens.RetryKey // in parts: see SplitStore
	return u.instead != nil && !stored.same(*u.instead) && !stored.same(tokens) && !mine
}

// saveLater saves the tokens in use when the store takes them again: it tries,
// at once or after a wait, with growing waits and as often as a refresh would,
// and then leaves it to the requests to try again. The next refresh saves what
// it brings in any case. While the store is in order there is no goroutine.
func (t *Transport) saveLater(wait bool) {
	if !t.saving.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer t.leaveUnsaved()
		defer t.saving.Store(false)
		attempts := t.maxRetries
		if !wait {
			attempts = max(attempts, 1)
		}
		for n := range attempts {
			if (wait || n > 0) && !t.idle(t.step(n)) {
				return
			}
			if st := t.state.Load(); st.unsaved == nil || t.saveAgain(st) {
				return
			}
		}
	}()
}

// idle waits, and reports false when the Transport was closed.
func (t *Transport) idle(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.closed:
		return false
	}
}

// saveAgain makes one attempt to save the tokens of st, and reports whether
// there is no need for another.
func (t *Transport) saveAgain(st *state) bool {
	ctx, cancel := t.detach(t.attemptTimeout)
	defer cancel()
	err := guard(func() error {
		unlock, err := t.store.Lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		t.writing.Lock()
		defer t.writing.Unlock()
		cur := t.state.Load()
		if cur.gen != st.gen || cur.unsaved == nil || cur.tokens.IsZero() && cur.unsaved.instead == nil {
			return nil // replaced, saved, or nobody knows what there would be to delete
		}
		if cur.unsaved.instead != nil {
			stored, err := t.store.Load(ctx)
			if err != nil {
				return err
			}
			if cur.unsaved.surpassed(stored, cur.tokens) {
				t.mark(cur, nil)
				return nil
			}
		}
		if err := t.write(ctx, cur.tokens); err != nil {
			return err
		}
		t.mark(cur, nil)
		t.logger.Debug("refresher: the tokens were saved after all", "epoch", cur.session.epoch, "generation", cur.gen.number)
		return nil
	})
	if err != nil {
		t.report(st, storeUnavailable("write the store", err))
	}
	return err == nil
}

// write brings the store in line with tokens: it saves them, or clears the store
// if there are none.
func (t *Transport) write(ctx context.Context, tokens Tokens) error {
	if tokens.IsZero() {
		return t.store.Clear(ctx)
	}
	return t.store.Save(ctx, tokens)
}

// leaveUnsaved lets the requests save what saveLater could not.
func (t *Transport) leaveUnsaved() {
	if st := t.state.Load(); st.unsaved != nil && st.unsaved.next.IsZero() {
		t.mark(st, &unsaved{instead: st.unsaved.instead, next: t.now().Add(t.step(t.maxRetries))})
	}
}

// mark notes that the tokens of st are unsaved, or that they are not. Tokens
// that were replaced in the meantime are left as they are.
func (t *Transport) mark(st *state, as *unsaved) {
	for cur := t.state.Load(); cur.gen == st.gen; cur = t.state.Load() {
		marked := *cur
		marked.unsaved = as
		if t.publish(cur, &marked) {
			return
		}
	}
}
