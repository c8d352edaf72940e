package middleware_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

func down(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }

// fetched returns a Middleware of two issuers with these keys.
func fetched(t *testing.T, a, b *endpoint) *middleware.Middleware {
	return newAuth(t, func(c *middleware.Config) {
		c.Keys = a.keys()
		c.Issuers = []middleware.Issuer{{Issuer: "https://b.example", Audience: []string{audience}, Keys: b.keys()}}
	})
}

// Ready loads what was never loaded, once, and then it costs nothing.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, key := &endpoint{wait: time.Second}, &endpoint{wait: time.Second}, newNamed("k")
		a.publish(key.jwk())
		b.publish(newNamed("k").jwk(), newNamed("l").jwk())
		auth := fetched(t, a, b)
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { assert.NoError(t, auth.Ready(t.Context())) })
		}
		wg.Wait()
		assert.Equal(t, time.Second, time.Since(began), "all at once")
		assert.EqualValues(t, 1, a.fetches.Load())
		assert.EqualValues(t, 1, b.fetches.Load())
		require.NoError(t, verify(auth, key.token()))
		require.NoError(t, auth.Ready(t.Context()))
		assert.Equal(t, time.Second, time.Since(began))
		assert.EqualValues(t, 1, a.fetches.Load())
	})
}

// Each issuer without keys is named, with why, and when to ask again.
func TestNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &endpoint{}, &endpoint{}
		a.fail(down)
		b.fail(down)
		auth := fetched(t, a, b)
		err := auth.Ready(t.Context())
		unavailable(t, err)
		assert.ErrorContains(t, err, `issuer "`+issuer+`"`)
		assert.ErrorContains(t, err, `issuer "https://b.example"`)
		assert.ErrorContains(t, err, "status 500")
		joined, ok := err.(interface{ Unwrap() []error })
		require.True(t, ok)
		require.Len(t, joined.Unwrap(), 2)
		for _, one := range joined.Unwrap() {
			unavailable(t, one)
		}

		unavailable(t, auth.Ready(t.Context()))
		assert.EqualValues(t, 1, a.fetches.Load(), "a probe does not burden an endpoint that is down")
		a.publish(newNamed("k").jwk())
		time.Sleep(time.Second)
		err = auth.Ready(t.Context())
		unavailable(t, err)
		assert.NotContains(t, err.Error(), issuer, "it is ready")
		b.publish(newNamed("k").jwk())
		time.Sleep(2 * time.Second)
		require.NoError(t, auth.Ready(t.Context()))
	})
}

// Ready waits for as long as its context allows, and no longer.
func TestReadyCanBeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &endpoint{}, &endpoint{wait: 3 * time.Second}
		a.publish(newNamed("k").jwk())
		b.publish(newNamed("k").jwk())
		auth := fetched(t, a, b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := auth.Ready(ctx)
		require.ErrorIs(t, err, jwterrors.KeysUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(began))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.NoError(t, auth.Ready(ctx), "the fetch went on, and nothing is left to wait for")
	})
}

// Keys that are too old are not there.
func TestReadyWithKeysThatAreTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{}
		e.publish(newNamed("k").jwk())
		auth := withKeys(t, e.keys())
		require.NoError(t, auth.Ready(t.Context()))
		e.fail(down)
		time.Sleep(6*time.Hour - 1)
		require.NoError(t, auth.Ready(t.Context()))
		synctest.Wait()
		time.Sleep(time.Minute)
		unavailable(t, auth.Ready(t.Context()))
		e.publish(newNamed("k").jwk())
		time.Sleep(time.Minute)
		require.NoError(t, auth.Ready(t.Context()), "they are loaded again")
	})
}

func TestReadyWithoutFetching(t *testing.T) {
	require.NoError(t, newAuth(t).Ready(t.Context()))
	document := []byte("{}")
	local := withKeys(t, middleware.LocalJWKS(func() []byte { return document }))
	require.ErrorIs(t, local.Ready(t.Context()), jwterrors.KeysUnavailable)
	document = jwkSet(newNamed("k").jwk())
	require.NoError(t, local.Ready(t.Context()))
	var zero middleware.Middleware
	require.ErrorIs(t, zero.Ready(t.Context()), jwterrors.TokenGenericError)
	assert.Nil(t, zero.KeyStates())
	var none *middleware.Middleware
	require.ErrorIs(t, none.Ready(t.Context()), jwterrors.TokenGenericError)
	assert.Nil(t, none.KeyStates())
}

// The states over the life of a set: never loaded, loaded, renewed, failing, too
// old, loaded again. Asking for them fetches nothing.
func TestKeyStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, key := &endpoint{}, newNamed("k")
		e.publish(key.jwk(), newNamed("l").jwk())
		auth := newAuth(t, func(c *middleware.Config) {
			c.Issuers = []middleware.Issuer{{Issuer: "https://b.example", Audience: []string{audience}, Keys: e.keys()}}
		})
		token := func() string { return key.sign(claims().with("iss", "https://b.example")) }
		state := func() middleware.KeyState {
			t.Helper()
			before := e.fetches.Load()
			all := auth.KeyStates()
			synctest.Wait()
			require.Equal(t, before, e.fetches.Load(), "nothing is fetched")
			require.Len(t, all, 2)
			require.Equal(t, middleware.KeyState{Issuer: issuer, Keys: 1}, all[0])
			return all[1]
		}
		began := time.Now()
		assert.Equal(t, middleware.KeyState{Issuer: "https://b.example"}, state())
		require.NoError(t, verify(auth, token()))
		loaded := middleware.KeyState{Issuer: "https://b.example", Keys: 2, FetchedAt: began}
		assert.Equal(t, loaded, state())

		time.Sleep(20 * time.Minute)
		assert.Equal(t, loaded, state(), "it is due, and nobody asked")
		require.NoError(t, verify(auth, token()))
		synctest.Wait()
		loaded.FetchedAt = began.Add(20 * time.Minute)
		assert.Equal(t, loaded, state(), "renewed")

		e.fail(down)
		time.Sleep(20 * time.Minute)
		require.NoError(t, verify(auth, token()))
		synctest.Wait()
		failing := state()
		require.ErrorContains(t, failing.Err, "status 500")
		failing.Err = nil
		assert.Equal(t, loaded, failing, "the last good ones are kept")

		time.Sleep(time.Until(loaded.FetchedAt.Add(6*time.Hour - 1)))
		assert.False(t, state().Stale)
		assert.Equal(t, 2, state().Keys)
		time.Sleep(time.Nanosecond)
		old := state()
		require.Error(t, old.Err)
		old.Err = nil
		assert.Equal(t, middleware.KeyState{Issuer: "https://b.example", FetchedAt: loaded.FetchedAt, Stale: true}, old)

		e.publish(key.jwk())
		time.Sleep(time.Minute)
		require.NoError(t, verify(auth, token()))
		assert.Equal(t, middleware.KeyState{Issuer: "https://b.example", Keys: 1, FetchedAt: time.Now()}, state())
	})
}

func TestTheStateOfALocalJWKS(t *testing.T) {
	var document atomic.Value
	document.Store([]byte("{}"))
	auth := withKeys(t, middleware.LocalJWKS(func() []byte { return document.Load().([]byte) }))
	state := auth.KeyStates()[0]
	assert.Zero(t, state.Keys)
	assert.Error(t, state.Err)
	document.Store(jwkSet(newNamed("k").jwk()))
	assert.Equal(t, []middleware.KeyState{{Issuer: issuer, Keys: 1}}, auth.KeyStates())
	document.Store([]byte("{}"))
	state = auth.KeyStates()[0]
	assert.Equal(t, 1, state.Keys, "the last good ones are kept")
	assert.Error(t, state.Err)
}

// A page about the state does not wait for a fetch that is under way.
func TestKeyStatesDuringAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{wait: time.Second}
		e.publish(newNamed("k").jwk())
		auth := withKeys(t, e.keys())
		done := make(chan error)
		go func() { done <- auth.Ready(context.Background()) }()
		synctest.Wait()
		began := time.Now()
		assert.Equal(t, []middleware.KeyState{{Issuer: issuer}}, auth.KeyStates())
		assert.Zero(t, time.Since(began))
		require.NoError(t, <-done)
		assert.Equal(t, []middleware.KeyState{{Issuer: issuer, Keys: 1, FetchedAt: began}}, auth.KeyStates())
	})
}

// A probe's answer.
func TestAReadinessProbe(t *testing.T) {
	e := &endpoint{}
	e.fail(down)
	auth := withKeys(t, e.keys())
	w := httptest.NewRecorder()
	jwterrors.Responder{}.Respond(w, request(), auth.Ready(t.Context()))
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Contains(t, w.Body.String(), "AUTH_KEYS_UNAVAILABLE")
	assert.NotContains(t, w.Body.String(), "id.example.com", "the causes are not for everybody")
}
