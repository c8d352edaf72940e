package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// A handler that looks at nothing: what it tells must stay here.
var careless = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if _, ok := middleware.FromContext(r.Context()); ok {
		_, _ = io.WriteString(w, "alice")
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "https://app.example")
	w.Header().Set("Content-Length", "6")
	_, _ = io.WriteString(w, "secret")
})

func TestPreflights(t *testing.T) {
	auth := newAuth(t)
	preflight := http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"PUT"}, "Access-Control-Request-Headers": {"authorization"}}
	with := func(name string, values ...string) http.Header {
		h := preflight.Clone()
		h[name] = values
		return h
	}
	checked := newAuth(t, func(c *middleware.Config) { c.CheckPreflights = true })
	cookies := newAuth(t, func(c *middleware.Config) { c.TokenCookie = "token" })
	guard := middleware.RequireScopes("admin")
	for _, c := range []struct {
		name    string
		handler http.Handler
		method  string
		header  http.Header
		body    string
		reason  jwterrors.Reason // "" where it passes
	}{
		{"a preflight", auth.Handler(careless), "OPTIONS", preflight, "", ""},
		{"at a guard", auth.Handler(guard(careless)), "OPTIONS", preflight, "", ""},
		{"at a guard of anonymous requests", auth.Optional(guard(careless)), "OPTIONS", preflight, "", ""},
		{"where they are checked", checked.Handler(careless), "OPTIONS", preflight, "", jwterrors.TokenMissing},
		{"at a guard without a Middleware", guard(careless), "OPTIONS", preflight, "", jwterrors.TokenMissing},
		{"by another method", auth.Handler(careless), "GET", preflight, "", jwterrors.TokenMissing},
		{"by a method in lower case", auth.Handler(careless), "options", preflight, "", jwterrors.TokenMissing},
		{"without Origin", auth.Handler(careless), "OPTIONS", with("Origin"), "", jwterrors.TokenMissing},
		{"with an empty Origin", auth.Handler(careless), "OPTIONS", with("Origin", ""), "", jwterrors.TokenMissing},
		{"with two Origins", auth.Handler(careless), "OPTIONS", with("Origin", "https://a.example", "https://b.example"), "", jwterrors.TokenMissing},
		{"without a method that is asked for", auth.Handler(careless), "OPTIONS", with("Access-Control-Request-Method"), "", jwterrors.TokenMissing},
		{"with an empty method", auth.Handler(careless), "OPTIONS", with("Access-Control-Request-Method", ""), "", jwterrors.TokenMissing},
		{"with a bad token in a cookie", cookies.Handler(careless), "OPTIONS", with("Cookie", "token=x"), "", jwterrors.TokenFormatInvalid},
		{"with two tokens in cookies", cookies.Handler(careless), "OPTIONS", with("Cookie", "token=x; token=y"), "", jwterrors.RequestInvalid},
		{"with a body", auth.Handler(careless), "OPTIONS", preflight, "x=1", jwterrors.TokenMissing},
		{"with other credentials", auth.Handler(careless), "OPTIONS", with("Authorization", "Basic YTpi"), "", jwterrors.TokenMissing},
		{"with a bad token", auth.Handler(careless), "OPTIONS", with("Authorization", "Bearer x"), "", jwterrors.TokenFormatInvalid},
		{"with a token that lacks the scope", auth.Handler(guard(careless)), "OPTIONS", with("Authorization", "Bearer "+good()), "", jwterrors.ScopeInsufficient},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			r, err := http.NewRequest(c.method, server.URL, strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header = c.header
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			if c.reason != "" {
				expect(t, resp, c.reason.Status(), c.reason)
				return
			}
			assert.Equal(t, 200, resp.StatusCode)
			assert.Equal(t, "https://app.example", resp.Header.Get("Access-Control-Allow-Origin"))
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Empty(t, body, "what is said to anybody")
		})
	}
}

func TestPreflightsWithoutNew(t *testing.T) {
	r := httptest.NewRequest("OPTIONS", "/", nil)
	r.Header = http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"PUT"}}
	w := httptest.NewRecorder()
	(&middleware.Middleware{}).Handler(careless).ServeHTTP(w, r)
	expect(t, w.Result(), 401, jwterrors.TokenGenericError)
}
