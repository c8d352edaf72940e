package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

func TestRequireScopes(t *testing.T) { // AX-04, D1
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "alice") })
	auth := newAuth(t, func(c *middleware.Config) { c.Realm = "shop" })
	for _, c := range []struct {
		name      string
		handler   http.Handler
		token     string
		status    int
		reason    jwterrors.Reason
		challenge string
	}{
		{"the scope is there", auth.Handler(middleware.RequireScopes("api:read")(ok)), good(), 200, "", ""},
		{"all are", auth.Handler(middleware.RequireScopes("api:write", "api:read")(ok)), good(), 200, "", ""},
		{"none is asked for", auth.Handler(middleware.RequireScopes()(ok)), good(), 200, "", ""},
		{
			"one is not", auth.Handler(middleware.RequireScopes("api:read", "admin")(ok)), good(), 403, jwterrors.ScopeInsufficient,
			`Bearer realm="shop", error="insufficient_scope", error_description="The token does not carry the required scope.", reason="AUTH_SCOPE_INSUFFICIENT", scope="api:read admin"`,
		},
		{"in other case", auth.Handler(middleware.RequireScopes("API:read")(ok)), good(), 403, jwterrors.ScopeInsufficient, ""},
		{"a part of one", auth.Handler(middleware.RequireScopes("api")(ok)), good(), 403, jwterrors.ScopeInsufficient, ""},
		{"two in one string", auth.Handler(middleware.RequireScopes("api:read api:write")(ok)), good(), 403, jwterrors.ScopeInsufficient, ""},
		{"an empty one", auth.Handler(middleware.RequireScopes("")(ok)), good(), 403, jwterrors.ScopeInsufficient, ""},
		{"nobody, optionally", auth.Optional(middleware.RequireScopes("api:read")(ok)), "", 401, jwterrors.TokenMissing, `Bearer realm="shop"`},
		{"nobody, and none is asked for", auth.Optional(middleware.RequireScopes()(ok)), "", 401, jwterrors.TokenMissing, `Bearer realm="shop"`},
		{"without a Middleware", middleware.RequireScopes("api:read")(ok), good(), 401, jwterrors.TokenMissing, "Bearer"},
		{"a bad token", auth.Handler(middleware.RequireScopes("api:read")(ok)), "x", 401, jwterrors.TokenFormatInvalid, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			var header []string
			if c.token != "" {
				header = append(header, "Bearer "+c.token)
			}
			resp := get(t, server.URL, header...)
			assert.Equal(t, c.status, resp.StatusCode)
			if e := jwterrors.FromResponse(resp); c.reason != "" {
				assert.Equal(t, c.reason, e.Reason)
			}
			if c.challenge != "" {
				assert.Equal(t, c.challenge, resp.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestAGuardAnswersAsItsMiddlewareDoes(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) {
		c.Respond = func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "no: "+string(jwterrors.ReasonOf(err)), http.StatusTeapot)
		}
	})
	guarded := middleware.RequireScopes("admin")(http.NotFoundHandler())
	for _, c := range []struct {
		handler http.Handler
		request *http.Request
		want    string
	}{
		{auth.Handler(guarded), request("Bearer " + good()), "no: AUTH_SCOPE_INSUFFICIENT\n"},
		{auth.Optional(guarded), request(), "no: AUTH_TOKEN_MISSING\n"},
	} {
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, c.request)
		assert.Equal(t, http.StatusTeapot, w.Code)
		assert.Equal(t, c.want, w.Body.String())
	}
	// A test of a handler puts claims in the context itself.
	w := httptest.NewRecorder()
	r := request()
	guarded.ServeHTTP(w, r.WithContext(middleware.NewContext(r.Context(), &middleware.Claims{Scopes: []string{"admin"}})))
	assert.Equal(t, http.StatusNotFound, w.Code)
}

// The list of scopes is the guard's own.
func TestScopesAreCopied(t *testing.T) {
	scopes := []string{"admin"}
	guarded := middleware.RequireScopes(scopes...)(http.NotFoundHandler())
	scopes[0] = "api:read"
	w := httptest.NewRecorder()
	newAuth(t).Handler(guarded).ServeHTTP(w, request("Bearer "+good()))
	assert.Equal(t, http.StatusForbidden, w.Code)
}
