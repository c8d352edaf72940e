package middleware_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// A recorder keeps what it is told.
type recorder struct {
	mu       sync.Mutex
	outcomes []middleware.Outcome
	contexts []context.Context
}

func (o *recorder) Checked(ctx context.Context, outcome middleware.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.outcomes = append(o.outcomes, outcome)
	o.contexts = append(o.contexts, ctx)
}

// take returns the reasons that were told since the last time.
func (o *recorder) take() []jwterrors.Reason {
	o.mu.Lock()
	defer o.mu.Unlock()
	var reasons []jwterrors.Reason
	for _, outcome := range o.outcomes {
		reasons = append(reasons, outcome.Reason)
	}
	o.outcomes, o.contexts = nil, nil
	return reasons
}

// Each decision is told once, whoever asks for it and whatever becomes of it.
func TestTheObserverIsToldOfEachDecision(t *testing.T) {
	o := &recorder{}
	auth := newAuth(t, func(c *middleware.Config) {
		c.Observer = o
		c.Skip = func(r *http.Request) bool { return r.URL.Path == "/public" }
	})
	var before []jwterrors.Reason // what was told when the handler was called
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { before = o.take() })
	admin := middleware.RequireScopes("admin")
	reader := middleware.RequireScopes("api:read")
	preflight := request()
	preflight.Method = http.MethodOptions
	preflight.Header.Set("Origin", "https://app.example")
	preflight.Header.Set("Access-Control-Request-Method", "PUT")
	public := httptest.NewRequest(http.MethodGet, "/public", nil)
	type reasons []jwterrors.Reason
	for _, c := range []struct {
		name    string
		handler http.Handler
		request *http.Request
		want    reasons
	}{
		{"accepted", auth.Handler(next), request("Bearer " + good()), reasons{""}},
		{"refused", auth.Handler(next), request("Bearer x"), reasons{jwterrors.TokenFormatInvalid}},
		{"none", auth.Handler(next), request(), reasons{jwterrors.TokenMissing}},
		{"two", auth.Handler(next), request("Bearer x", "Bearer x"), reasons{jwterrors.RequestInvalid}},
		{"optional, none", auth.Optional(next), request(), reasons{jwterrors.TokenMissing}},
		{"optional, refused", auth.Optional(next), request("Bearer x"), reasons{jwterrors.TokenFormatInvalid}},
		{"optional, accepted", auth.Optional(next), request("Bearer " + good()), reasons{""}},
		{"observed, refused", auth.Observe(next), request("Bearer x"), reasons{jwterrors.TokenFormatInvalid}},
		{"observed, accepted", auth.Observe(next), request("Bearer " + good()), reasons{""}},
		{"a guard that lets pass", auth.Handler(reader(next)), request("Bearer " + good()), reasons{""}},
		{"a guard that refuses", auth.Handler(reader(admin(next))), request("Bearer " + good()), reasons{"", jwterrors.ScopeInsufficient}},
		{"a guard that would refuse", auth.Observe(admin(next)), request("Bearer " + good()), reasons{"", jwterrors.ScopeInsufficient}},
		{"a guard without a token", auth.Optional(admin(next)), request(), reasons{jwterrors.TokenMissing, jwterrors.TokenMissing}},
		{"a public route", auth.Handler(next), public, nil},
		{"a guard on a public route", auth.Handler(admin(next)), public, reasons{jwterrors.TokenMissing}},
		{"a preflight", auth.Handler(admin(next)), preflight, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before = nil
			c.handler.ServeHTTP(httptest.NewRecorder(), c.request)
			assert.Equal(t, c.want, reasons(append(before, o.take()...)))
			if len(before) > 0 {
				assert.Equal(t, c.want, reasons(before), "before the handler is called")
			}
		})
	}
	t.Run("Check", func(t *testing.T) {
		_, err := auth.Check(request("Bearer " + good()))
		require.NoError(t, err)
		_, err = auth.Check(request())
		require.Error(t, err)
		assert.Equal(t, []jwterrors.Reason{"", jwterrors.TokenMissing}, o.take())
	})
	t.Run("Verify", func(t *testing.T) {
		require.NoError(t, verify(auth, good()))
		require.Error(t, verify(auth, "x"))
		assert.Equal(t, []jwterrors.Reason{"", jwterrors.TokenFormatInvalid}, o.take())
	})
	t.Run("a guard without a Middleware", func(t *testing.T) {
		admin(next).ServeHTTP(httptest.NewRecorder(), request())
		assert.Empty(t, o.take())
	})
}

// The duration is that of the process's clock, and the context the request's.
func TestWhatTheObserverIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, now := &recorder{}, time.Now()
		wait := time.Second
		auth := newAuth(t, func(c *middleware.Config) {
			c.Observer = o
			c.Now = func() time.Time { return now } // a clock that stands
			c.Validate = func(context.Context, *middleware.Claims) error {
				time.Sleep(wait)
				return nil
			}
		})
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "request")
		token := good()
		r := request("Bearer " + token).WithContext(ctx)
		last := func() middleware.Outcome {
			t.Helper()
			assert.Equal(t, "request", o.contexts[len(o.contexts)-1].Value(key{}))
			return o.outcomes[len(o.outcomes)-1]
		}
		for range 3 { // until it is remembered
			_, err := auth.Check(r)
			require.NoError(t, err)
		}
		assert.Equal(t, middleware.Outcome{Duration: time.Second}, o.outcomes[0])
		assert.Equal(t, middleware.Outcome{Duration: time.Second, Cached: true}, last())
		wait = 0
		_, err := auth.Verify(ctx, token)
		require.NoError(t, err)
		assert.Equal(t, middleware.Outcome{Cached: true}, last())

		now = now.Add(time.Hour)
		_, err = auth.Check(r)
		require.Error(t, err)
		assert.Equal(t, middleware.Outcome{Reason: jwterrors.TokenExpired}, last(), "a token that is refused does not count as remembered")

		wait, now = time.Second, time.Now()
		guarded := auth.Handler(middleware.RequireScopes("admin")(http.NotFoundHandler()))
		guarded.ServeHTTP(httptest.NewRecorder(), request("Bearer "+good()).WithContext(ctx))
		assert.Equal(t, middleware.Outcome{Reason: jwterrors.ScopeInsufficient}, last(), "a guard takes no time")
	})
}

type failing struct{}

func (failing) Checked(context.Context, middleware.Outcome) { panic("the observer") }

// What an Observer panics with is the caller's.
func TestAnObserverThatPanics(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) { c.Observer = failing{} })
	assert.PanicsWithValue(t, "the observer", func() { _ = verify(auth, good()) })
	assert.PanicsWithValue(t, "the observer", func() { _, _ = auth.Check(request()) })
}
