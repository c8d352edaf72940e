package middleware

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Ready returns nil when there are keys to verify with for every issuer now, and the
// StatusList of each that has one. What
// was never loaded, or is too old to be used, it loads, and waits for that as long
// as ctx allows. It is for a readiness probe and for the start of a program: the
// first token then waits for nothing.
//
// The error joins one for each issuer that has no keys, each a *jwterrors.Error
// with AUTH_KEYS_UNAVAILABLE, and one with AUTH_STORE_UNAVAILABLE for each that has
// a StatusList which cannot be used. After a failed fetch it comes at once until the next
// one is due, some seconds later, so that probes do not burden an endpoint that is
// down. Of issuers that Config.Resolve returns it knows nothing.
func (m *Middleware) Ready(ctx context.Context) error {
	if !m.made() {
		return errZero()
	}
	now := m.now()
	failures, lists := make([]error, len(m.issuers)), make([]error, len(m.issuers))
	var loading sync.WaitGroup
	for i, is := range m.issuers {
		if is.keys.snapshot(now) == nil {
			loading.Go(func() { failures[i] = is.load(ctx, now) })
		}
		if is.statusList != nil {
			loading.Go(func() { lists[i] = is.loadList(ctx, now) })
		}
	}
	loading.Wait()
	return errors.Join(append(failures, lists...)...)
}

// loadList gets the status list of is.
func (is *issuer) loadList(ctx context.Context, now time.Time) error {
	_, err := is.statusList.current(ctx, now)
	if err == nil {
		return nil
	}
	return unknown(fmt.Errorf("middleware: issuer %q: %w", is.name, err))
}

// load gets the keys of is.
func (is *issuer) load(ctx context.Context, now time.Time) error {
	_, err := is.keys.lookup(ctx, now, "")
	if err == nil {
		return nil
	}
	e := &jwterrors.Error{Reason: jwterrors.KeysUnavailable, Err: fmt.Errorf("middleware: issuer %q: %w", is.name, err)}
	if inner := (*jwterrors.Error)(nil); errors.As(err, &inner) {
		e.RetryAfter = inner.RetryAfter
	}
	return e
}

// A KeyState is what a Middleware has of the keys of one issuer.
type KeyState struct {
	// Issuer is its name, as in Config. It is empty with InsecureAnyIssuer.
	Issuer string

	// Keys is the number of keys that tokens can be verified with now.
	Keys int

	// FetchedAt is when the fetch that brought them began, or the last one that
	// found them unchanged. It is zero for keys that are not fetched, and before
	// the first fetch succeeded.
	FetchedAt time.Time

	// Stale means that there were keys, and that they are too old to be used:
	// see JWKSOptions.MaxStale.
	Stale bool

	// Err is why the last fetch failed, or why the document of LocalJWKS is not
	// good. It is nil after a success and before the first fetch.
	Err error
}

// KeyStates returns the state of the keys of each issuer, in the order of Config.
// It is for metrics and for a page about the state of a program: it fetches
// nothing and waits for nothing, so that keys which no token asked for yet are not
// there. The function of LocalJWKS is called. It knows nothing of issuers that
// Config.Resolve returns, and returns nil for a zero Middleware.
func (m *Middleware) KeyStates() []KeyState {
	if !m.made() {
		return nil
	}
	now := m.now()
	var all []KeyState
	for _, is := range m.issuers {
		state := is.keys.inspect(now)
		state.Issuer = is.name
		all = append(all, state)
	}
	return all
}
