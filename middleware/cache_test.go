package middleware_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// What can change about a token that was verified is looked at every time.
func TestATokenThatWasVerifiedBefore(t *testing.T) { // JG-01, IT-31.06
	now := time.Now().Truncate(time.Second)
	var user, own error
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	auth := newAuth(t, func(c *middleware.Config) {
		c.Now = func() time.Time { return now }
		c.Revocations = denied
		c.UserKey = &middleware.UserKeyRule{Exists: func(context.Context, middleware.UserKey) (bool, error) { return user == nil, nil }}
		c.Validate = func(_ context.Context, c *middleware.Claims) error {
			c.Subject += "!" // must not be seen by the next request
			return own
		}
	})
	token := hs(hsHeader, claims().with("email", "a@example.com"))
	for range 3 {
		c, err := auth.Verify(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, "alice!", c.Subject)
	}
	own = jwterrors.TokenGenericError
	require.ErrorIs(t, verify(auth, token), jwterrors.TokenGenericError, "the caller's check")
	own, user = nil, errors.New("gone")
	require.ErrorIs(t, verify(auth, token), jwterrors.TokenUserKeyInvalid, "the user")
	user = nil
	require.NoError(t, verify(auth, token))
	require.NoError(t, denied.DenySession(t.Context(), "s-1", now.Add(time.Hour)))
	require.ErrorIs(t, verify(auth, token), jwterrors.TokenInvalidated, "revocation")
	for _, c := range []struct {
		after  time.Duration
		reason jwterrors.Reason
	}{
		{929 * time.Second, jwterrors.TokenInvalidated},
		{930 * time.Second, jwterrors.TokenExpired},
		{time.Hour, jwterrors.TokenExpired},
		{929 * time.Second, jwterrors.TokenInvalidated}, // verified anew
		{-time.Hour, jwterrors.TokenNotYetValid},
	} {
		now = time.Now().Truncate(time.Second).Add(c.after)
		assert.Equal(t, c.reason, jwterrors.ReasonOf(verify(auth, token)), c.after)
	}
	now = time.Now().Truncate(time.Second)
	begins := hs(hsHeader, claims().with("email", "a@example.com").with("sid", nil).with("iat", now.Unix()-3600).with("nbf", now.Unix()))
	for range 3 {
		require.NoError(t, verify(auth, begins))
	}
	now = now.Add(-31 * time.Second)
	require.ErrorIs(t, verify(auth, begins), jwterrors.TokenNotYetValid, "a clock that was set back")
}

// A token counts only while the keys are those that it was verified with.
func TestAKeyThatIsRemoved(t *testing.T) {
	a, b := newNamed("a"), newNamed("b")
	var document atomic.Value
	document.Store(jwkSet(a.jwk(), b.jwk()))
	auth := withKeys(t, middleware.LocalJWKS(func() []byte { return document.Load().([]byte) }))
	ofA, ofB := a.token(), b.token()
	for range 2 {
		require.NoError(t, verify(auth, ofA))
		require.NoError(t, verify(auth, ofB))
	}
	document.Store(jwkSet(b.jwk()))
	require.ErrorIs(t, verify(auth, ofA), jwterrors.TokenKeyUnknown)
	require.NoError(t, verify(auth, ofB))
	impostor := newNamed("a") // another key of that name
	document.Store(jwkSet(impostor.jwk(), b.jwk()))
	require.ErrorIs(t, verify(auth, ofA), jwterrors.TokenSignatureInvalid)
}

// A token that differs in one character is another one.
func TestAnAlteredTokenIsNotTheOneBefore(t *testing.T) {
	auth, token := newAuth(t), good()
	for range 3 {
		require.NoError(t, verify(auth, token))
	}
	for i := range token {
		altered := []byte(token)
		altered[i] = 'A' + (altered[i]+1)%26
		if string(altered) != token {
			require.Error(t, verify(auth, string(altered)), i)
		}
	}
	require.NoError(t, verify(auth, token))
}

// Two Middlewares with the same keys decide for themselves.
func TestACacheBelongsToOneMiddleware(t *testing.T) {
	keys, token := middleware.HS256(secret), good()
	orders := withKeys(t, keys)
	invoices := newAuth(t, func(c *middleware.Config) { c.Keys, c.Audience = keys, []string{"invoices"} })
	for range 3 {
		require.NoError(t, verify(orders, token))
		require.ErrorIs(t, verify(invoices, token), jwterrors.TokenAudienceInvalid)
	}
}

// Rotation, revocation and traffic at once.
func TestTheCacheUnderTraffic(t *testing.T) {
	keys := []named{newNamed("0"), newNamed("1")}
	var document atomic.Value
	document.Store(jwkSet(keys[0].jwk(), keys[1].jwk()))
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	auth := newAuth(t, func(c *middleware.Config) {
		c.Keys = middleware.LocalJWKS(func() []byte { return document.Load().([]byte) })
		c.Revocations = denied
	})
	stays, leaves := keys[0].token(), keys[1].token()
	revoked := keys[0].sign(claims().with("sid", "s-2"))
	var isRemoved, isRevoked atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 300 {
				assert.NoError(t, verify(auth, stays))
				gone := isRemoved.Load() // before the token is looked at
				if err := verify(auth, leaves); gone {
					assert.ErrorIs(t, err, jwterrors.TokenKeyUnknown)
				}
				gone = isRevoked.Load()
				if err := verify(auth, revoked); gone {
					assert.ErrorIs(t, err, jwterrors.TokenInvalidated)
				}
			}
		})
	}
	require.NoError(t, denied.DenySession(t.Context(), "s-2", time.Now().Add(time.Hour)))
	isRevoked.Store(true)
	document.Store(jwkSet(keys[0].jwk()))
	isRemoved.Store(true)
	wg.Wait()
	require.ErrorIs(t, verify(auth, leaves), jwterrors.TokenKeyUnknown)
	require.ErrorIs(t, verify(auth, revoked), jwterrors.TokenInvalidated)
}

// Where handlers share claims, a handler that changes them all the same changes
// no decision.
func TestSharedClaims(t *testing.T) {
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	auth := newAuth(t, func(c *middleware.Config) { c.ShareClaims, c.Revocations = true, denied })
	token := good()
	type number struct{}
	var seen []*middleware.Claims
	var contexts []context.Context
	handler := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		seen, contexts = append(seen, claims), append(contexts, r.Context())
		middleware.RequireScopes("admin")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Error("a scope that a handler wrote was believed")
		})).ServeHTTP(httptest.NewRecorder(), r)
		if len(seen) > 2 {
			claims.Scopes[0], claims.SessionID, claims.ExpiresAt = "admin", "s-2", time.Now().Add(100*time.Hour)
			claims.Issuer, claims.Audience = "", nil
		}
	}))
	for i := range 5 {
		r := httptest.NewRequest("GET", "/", nil).WithContext(context.WithValue(t.Context(), number{}, i))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.Equal(t, 200, w.Code)
	}
	require.Len(t, seen, 5)
	for i, ctx := range contexts {
		assert.Equal(t, i, ctx.Value(number{}), "the context is the request's own")
	}
	assert.NotSame(t, seen[0], seen[1], "before it is remembered")
	assert.Same(t, seen[2], seen[3])
	assert.Same(t, seen[3], seen[4])
	c, err := auth.Verify(t.Context(), token)
	require.NoError(t, err)
	assert.Same(t, seen[2], c)
	require.NoError(t, denied.DenySession(t.Context(), "s-1", time.Now().Add(time.Hour)))
	require.ErrorIs(t, verify(auth, token), jwterrors.TokenInvalidated)
}
