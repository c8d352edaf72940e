package middleware_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

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
		{"an empty one of a token with one", auth.Handler(middleware.RequireScopes("")(ok)), hs(hsHeader, claims().with("scope", []string{""})), 403, jwterrors.ScopeInsufficient, ""},
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

func TestRequireAnyScope(t *testing.T) {
	for _, c := range []struct {
		name   string
		scopes []string
		reason jwterrors.Reason
	}{
		{"the first", []string{"api:read", "admin"}, ""},
		{"the last", []string{"admin", "api:write"}, ""},
		{"none of them", []string{"admin", "root"}, jwterrors.ScopeInsufficient},
		{"none is named", nil, jwterrors.ScopeInsufficient},
		{"in other case", []string{"API:READ"}, jwterrors.ScopeInsufficient},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			newAuth(t).Handler(middleware.RequireAnyScope(c.scopes...)(alice)).ServeHTTP(w, request("Bearer "+good()))
			if c.reason == "" {
				expect(t, w.Result(), 200, "")
				return
			}
			assert.ElementsMatch(t, c.scopes, jwterrors.FromResponse(w.Result()).Scopes)
			expect(t, w.Result(), 403, c.reason)
		})
	}
}

var alice = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "alice") })

func TestRequireClaim(t *testing.T) {
	token := hs(hsHeader, claims().with("tenant", "acme").with("roles", []any{"a", "b", 3, object{"x": "y"}}).
		with("email_verified", true).with("level", 2).with("empty", "").with("nested", object{"a": "b"}).
		with("list", []any{[]any{"deep"}}).with("quoted", `a"b`))
	null := hs(hsHeader, `{"iss":"`+issuer+`","aud":"`+audience+`","iat":`+fmt.Sprint(time.Now().Unix())+`,"exp":`+fmt.Sprint(time.Now().Unix()+60)+`,"none":null}`)
	for _, c := range []struct {
		name   string
		token  string
		claim  string
		values []string
		ok     bool
	}{
		{"is there", token, "tenant", nil, true},
		{"is the value", token, "tenant", []string{"acme"}, true},
		{"is one of the values", token, "tenant", []string{"x", "acme"}, true},
		{"is another", token, "tenant", []string{"x"}, false},
		{"is another in case", token, "tenant", []string{"Acme"}, false},
		{"is a part", token, "tenant", []string{"acm"}, false},
		{"has another name in case", token, "Tenant", nil, false},
		{"is not there", token, "group", nil, false},
		{"is not there, and may be empty", token, "group", []string{""}, false},
		{"is empty", token, "empty", nil, true},
		{"is empty as asked for", token, "empty", []string{""}, true},
		{"is in the array", token, "roles", []string{"b"}, true},
		{"is a number in the array", token, "roles", []string{"3"}, true},
		{"is not in the array", token, "roles", []string{"c", "a,b"}, false},
		{"is true", token, "email_verified", []string{"true"}, true},
		{"is not false", token, "email_verified", []string{"false"}, false},
		{"is a number", token, "level", []string{"2"}, true},
		{"is an object", token, "nested", []string{`{"a":"b"}`, "b"}, false},
		{"is deep", token, "list", []string{"deep"}, false},
		{"is deep, as it is spelled", token, "list", []string{`["deep"]`}, false},
		{"has a quote", token, "quoted", []string{`a"b`}, true},
		{"is null", null, "none", nil, false},
		{"is null as a word", null, "none", []string{"null"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(newAuth(t).Handler(middleware.RequireClaim(c.claim, c.values...)(alice)))
			defer server.Close()
			resp := get(t, server.URL, "Bearer "+c.token)
			if c.ok {
				expect(t, resp, 200, "")
				return
			}
			expect(t, resp, 403, jwterrors.ScopeInsufficient)
			assert.Contains(t, resp.Header.Get("WWW-Authenticate"), "The token does not carry the required claim.")
		})
	}
	t.Run("of nobody", func(t *testing.T) {
		w := httptest.NewRecorder()
		newAuth(t).Optional(middleware.RequireClaim("tenant")(alice)).ServeHTTP(w, request())
		expect(t, w.Result(), 401, jwterrors.TokenMissing)
	})
	t.Run("of claims that are not from a token", func(t *testing.T) {
		w, r := httptest.NewRecorder(), request()
		middleware.RequireClaim("sub")(alice).ServeHTTP(w, r.WithContext(middleware.NewContext(r.Context(), &middleware.Claims{Subject: "alice"})))
		expect(t, w.Result(), 403, jwterrors.ScopeInsufficient)
	})
}

func TestRequireAuthentication(t *testing.T) { // AX-22
	now := time.Now().Truncate(time.Second)
	auth := newAuth(t, func(c *middleware.Config) { c.Now = func() time.Time { return now } })
	at := func(ago time.Duration) string {
		return hs(hsHeader, claims().with("auth_time", now.Add(-ago).Unix()).with("acr", "mfa"))
	}
	for _, c := range []struct {
		name      string
		required  middleware.Authentication
		token     string
		challenge string // "" where it passes
	}{
		{"nothing", middleware.Authentication{}, good(), ""},
		{"strength", middleware.Authentication{ACRValues: []string{"hw", "mfa"}}, at(0), ""},
		{"strength that is another", middleware.Authentication{ACRValues: []string{"hw", "MFA"}}, at(0), `acr_values="hw MFA"`},
		{"strength that is not known", middleware.Authentication{ACRValues: []string{"mfa"}}, good(), `acr_values="mfa"`},
		{"strength that is not known, and may be empty", middleware.Authentication{ACRValues: []string{""}}, good(), `reason="AUTH_AUTHENTICATION_INSUFFICIENT"`},
		{"age", middleware.Authentication{MaxAge: time.Minute}, at(time.Minute), ""},
		{"age, at its limit with leeway", middleware.Authentication{MaxAge: time.Minute}, at(90 * time.Second), ""},
		{"age beyond", middleware.Authentication{MaxAge: time.Minute}, at(91 * time.Second), `max_age="60"`},
		{"age that is not known", middleware.Authentication{MaxAge: time.Minute}, good(), `max_age="60"`},
		{"age from the future, within leeway", middleware.Authentication{MaxAge: time.Minute}, at(-30 * time.Second), ""},
		{"age from the future", middleware.Authentication{MaxAge: time.Minute}, at(-31 * time.Second), `max_age="60"`},
		{"age under a second", middleware.Authentication{MaxAge: 1}, at(32 * time.Second), `max_age="1"`},
		{"a login at once", middleware.Authentication{MaxAge: -1}, at(0), `max_age="0"`},
		{"both", middleware.Authentication{ACRValues: []string{"mfa"}, MaxAge: time.Hour}, at(0), ""},
		{"both, of which one is not met", middleware.Authentication{ACRValues: []string{"mfa"}, MaxAge: time.Hour}, at(2 * time.Hour), `acr_values="mfa", max_age="3600"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(auth.Handler(middleware.RequireAuthentication(c.required)(alice)))
			defer server.Close()
			resp := get(t, server.URL, "Bearer "+c.token)
			if c.challenge == "" {
				expect(t, resp, 200, "")
				return
			}
			expect(t, resp, 401, jwterrors.AuthenticationInsufficient)
			assert.Contains(t, resp.Header.Get("WWW-Authenticate"), `error="insufficient_user_authentication"`)
			assert.Contains(t, resp.Header.Get("WWW-Authenticate"), c.challenge)
		})
	}
	t.Run("without a Middleware", func(t *testing.T) {
		w, r := httptest.NewRecorder(), request()
		r = r.WithContext(middleware.NewContext(r.Context(), &middleware.Claims{AuthTime: time.Now()}))
		middleware.RequireAuthentication(middleware.Authentication{MaxAge: time.Hour})(alice).ServeHTTP(w, r)
		expect(t, w.Result(), 200, "")
	})
}
