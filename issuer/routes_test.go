package issuer_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func register(_ ctx, r issuer.Registration) (issuer.User, error) {
	return issuer.User{ID: r.Username}, nil
}

// Each route alone is switched off, and the others stay.
func TestEachRouteCanBeSwitchedOff(t *testing.T) { // JG-03
	requests := map[string]string{ // what each answers when it is there
		"POST /auth/login": "400", "POST /auth/signup": "400", "POST /auth/refresh": "400", "POST /auth/logout": "400",
		"GET /auth/sessions": "401", "DELETE /auth/sessions": "401", "DELETE /auth/sessions/x": "401",
	}
	for name, c := range map[string]struct {
		routes issuer.Routes
		off    string
	}{
		"none":     {issuer.Routes{}, "nothing"},
		"login":    {issuer.Routes{Login: issuer.RouteOff}, "/auth/login"},
		"signup":   {issuer.Routes{Signup: issuer.RouteOff}, "/auth/signup"},
		"refresh":  {issuer.Routes{Refresh: issuer.RouteOff}, "/auth/refresh"},
		"logout":   {issuer.Routes{Logout: issuer.RouteOff}, "/auth/logout"},
		"sessions": {issuer.Routes{Sessions: issuer.RouteOff}, "/auth/sessions"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c2 *issuer.Config) { c2.Routes, c2.Register = c.routes, register })
			for request, status := range requests {
				method, path, _ := strings.Cut(request, " ")
				body := "{}"
				if method != "POST" {
					body = ""
				}
				r := f.do(method, path, body)
				if strings.HasPrefix(path, c.off) {
					status = "404"
				}
				assert.Equal(t, status, fmt.Sprint(r.status), request)
			}
			assert.Equal(t, 404, f.do("GET", "/auth/-", "").status)
			assert.Equal(t, 404, f.do("DELETE", "/auth/-/x", "").status)
			assert.Equal(t, 200, f.do("GET", "/auth/.well-known/jwks.json", "").status)
		})
	}
}

func TestRoutesAndMembersHaveOtherNames(t *testing.T) { // JG-03, AX-13, D5
	f := newFixture(t, func(c *issuer.Config) {
		c.Routes = issuer.Routes{Login: "/v1/sign-in", Refresh: "/refreshToken", Logout: "/v1/sign-out", Sessions: "/devices", Signup: "/join"}
		c.Names = issuer.Names{Username: "user", Email: "mail", Password: "pass", Device: "client", Scope: "rights", RefreshToken: "renewal"}
		c.Register = register
	})
	login := f.do("POST", "/auth/v1/sign-in", `{"user":"alice","pass":"`+password+`","client":"phone","rights":"api:read"}`)
	require.Equal(t, 200, login.status, login.text)
	assert.Equal(t, "api:read", login.body["scope"])
	assert.Equal(t, "phone", must(f.store.Get(t.Context(), sid(t, login))).Device)
	assert.Equal(t, 400, f.do("POST", "/auth/v1/sign-in", `{"username":"alice","password":"`+password+`"}`).status, "the old names are nobody's")
	assert.Equal(t, 200, f.do("POST", "/auth/v1/sign-in", `{"mail":"alice@example.com","pass":"`+password+`"}`).status)
	for _, path := range []string{"/auth/login", "/auth/refresh", "/auth/logout", "/auth/signup"} {
		assert.Equal(t, 404, f.do("POST", path, "{}").status, path)
	}
	assert.Equal(t, 201, f.do("POST", "/auth/join", `{"user":"carol","pass":"x"}`).status)

	token := login.str("refresh_token")
	for _, name := range []string{"renewal", "refresh_token", "refreshToken"} {
		r := f.do("POST", "/auth/refreshToken", `{"`+name+`":"`+token+`"}`)
		require.Equal(t, 200, r.status, name)
		token = r.str("refresh_token")
	}
	for _, other := range []string{"refresh_token", "refreshToken"} {
		r := f.do("POST", "/auth/refreshToken", `{"renewal":"`+token+`","`+other+`":"x"}`)
		assert.Equal(t, fmt.Sprint(400, jwterrors.RequestInvalid), fmt.Sprint(r.status, r.reason), "two tokens in one request")
	}
	r := f.do("POST", "/auth/refreshToken", `{"renewal":1}`)
	assert.Equal(t, 400, r.status)
	bearer := []string{"Authorization", "Bearer " + login.str("access_token")}
	assert.Len(t, f.do("GET", "/auth/devices", "", bearer...).body["sessions"], 1)
	assert.Equal(t, 204, f.do("DELETE", "/auth/devices?others=true", "", bearer...).status)
	assert.Equal(t, 204, f.do("DELETE", "/auth/devices/"+sid(t, login), "", bearer...).status)
	assert.Equal(t, 204, f.do("POST", "/auth/v1/sign-out", `{"renewal":"`+token+`"}`).status)
}

// mountAtRoot puts a server in front of an Issuer whose Prefix is "/".
func (f *fixture) mountAtRoot() {
	f.server = httptest.NewServer(f.issuer)
	f.t.Cleanup(f.server.Close)
}

// An Issuer that is mounted elsewhere than at its Prefix says so.
func TestTheWrongPlaceIsNamed(t *testing.T) {
	f := newFixture(t, nil)
	for path, want := range map[string]string{
		"/id/login":               "There is nothing here: the routes of this issuer begin with /auth/, its Prefix.",
		"/authx/login":            "There is nothing here: the routes of this issuer begin with /auth/, its Prefix.",
		"/auth/logi":              "There is nothing here.",
		"/.well-known/other.json": "There is nothing here.",
	} {
		w := httptest.NewRecorder()
		f.issuer.ServeHTTP(w, httptest.NewRequest("POST", path, nil))
		assert.Equal(t, 404, w.Code, path)
		assert.Contains(t, w.Body.String(), `"detail":"`+want+`"`, path)
	}
}

// At the root of a host the Issuer is mounted at each of its routes, or at "/".
func TestTheRootCanBeThePrefix(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) { c.Prefix = "/" })
	mux := http.NewServeMux()
	mux.Handle("POST /login", f.issuer)
	f.server = httptest.NewServer(mux)
	t.Cleanup(f.server.Close)
	assert.Equal(t, 200, f.do("POST", "/login", `{"username":"alice","password":"`+password+`"}`).status)
	assert.Equal(t, 404, f.do("POST", "/refresh", "{}").status, "it was not mounted")
	w := httptest.NewRecorder()
	f.issuer.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	assert.Equal(t, 404, w.Code)
	w = httptest.NewRecorder()
	f.issuer.ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
	assert.Equal(t, 200, w.Code)
}

func TestAWireFormatThatCannotWorkIsRefused(t *testing.T) {
	type answer = map[string]any
	full := func(_ string, t issuer.Tokens) any { return t }
	f := newFixture(t, nil)
	for _, c := range []struct {
		name   string
		change func(*issuer.Config)
		want   string // empty: it is good
	}{
		{"a relative path", func(c *issuer.Config) { c.Routes.Login = "login" }, "Routes.Login"},
		{"a path with a slash at its end", func(c *issuer.Config) { c.Routes.Refresh = "/refresh/" }, "Routes.Refresh"},
		{"a path with a wildcard", func(c *issuer.Config) { c.Routes.Logout = "/{x}" }, "Routes.Logout"},
		{"a path with a method", func(c *issuer.Config) { c.Routes.Sessions = "GET /sessions" }, "Routes.Sessions"},
		{"a path that is the prefix", func(c *issuer.Config) { c.Routes.Login = "/" }, "Routes.Login"},
		{"two routes of one path", func(c *issuer.Config) { c.Routes.Login, c.Routes.Logout = "/x", "/x" }, "so is Routes.Login"},
		{"a route on the path of another's default", func(c *issuer.Config) { c.Routes.Login = "/refresh" }, "so is Routes.Login"},
		{"a route on the path of one that is off", func(c *issuer.Config) { c.Routes.Login, c.Routes.Refresh = "/refresh", issuer.RouteOff }, ""},
		{"a route on an OAuth endpoint", func(c *issuer.Config) { c.Routes.Login = "/token" }, "not for a JSON route"},
		{"a route below the well-known documents", func(c *issuer.Config) { c.Routes.Login = "/.well-known/login" }, "not for a JSON route"},
		{"a signup without Register", func(c *issuer.Config) { c.Routes.Signup = "/signup" }, "Register is nil"},
		{"no signup and no Register", func(c *issuer.Config) { c.Routes.Signup = issuer.RouteOff }, ""},
		{"no authenticator and no login", func(c *issuer.Config) { c.Authenticate, c.Routes.Login = nil, issuer.RouteOff }, ""},
		{"a name twice", func(c *issuer.Config) { c.Names.Username = "password" }, "Names.Password"},
		{"a name twice, in another case", func(c *issuer.Config) { c.Names.Username, c.Names.Email = "Name", "name" }, "Names.Email"},
		{"the name of the refresh token", func(c *issuer.Config) { c.Names.Device = "refreshToken" }, "Names.Device"},
		{"the name of the refresh token, in snake case", func(c *issuer.Config) { c.Names.Device = "refresh_token" }, "Names.Device"},
		{"a refresh token called like a password", func(c *issuer.Config) { c.Names.RefreshToken = "password" }, "Names.RefreshToken"},
		{"a refresh token by its usual name", func(c *issuer.Config) { c.Names.RefreshToken = "refreshToken" }, ""},
		{"a name that is not UTF-8", func(c *issuer.Config) { c.Names.Scope = "\xff" }, "Names.Scope"},
		{"an answer with all tokens", func(c *issuer.Config) { c.Encode = full }, ""},
		{"an answer that panics", func(c *issuer.Config) { c.Encode = func(string, issuer.Tokens) any { panic("x") } }, "panics"},
		{"an answer that is no JSON", func(c *issuer.Config) { c.Encode = func(string, issuer.Tokens) any { return func() {} } }, "Encode of a login"},
		{"an answer without access token", func(c *issuer.Config) {
			c.Encode = func(_ string, t issuer.Tokens) any { return answer{"refresh": t.RefreshToken} }
		}, "leaves out the access token of a refresh"},
		{"a login without refresh token", func(c *issuer.Config) {
			c.Encode = func(k string, t issuer.Tokens) any { return answer{"access": t.AccessToken} }
			c.InsecureNoRotation = true
		}, "leaves out the refresh token of a login"},
		{"a refresh that keeps the new refresh token to itself", func(c *issuer.Config) {
			c.Encode = func(k string, t issuer.Tokens) any {
				if k == "refresh" {
					return answer{"access": t.AccessToken}
				}
				return t
			}
		}, "leaves out the refresh token of a refresh"},
		{"an idle end that nothing puts off", func(c *issuer.Config) { c.IdleTTL, c.InsecureNoRotation = time.Hour, true }, "IdleTTL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := f.config()
			c.change(&cfg)
			_, err := issuer.New(cfg)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	cfg := f.config()
	cfg.Routes = issuer.Routes{Login: "x", Signup: "/signup", Refresh: "/token"}
	cfg.Names = issuer.Names{Username: "a", Email: "a"}
	cfg.Claims = []string{"sub"}
	cfg.Encode = func(string, issuer.Tokens) any { return nil }
	_, err := issuer.New(cfg)
	for _, want := range []string{"Routes.Login", "Routes.Signup", "Routes.Refresh", "Names.Email", "Claims[0]", "access token of a login", "access token of a refresh"} {
		assert.ErrorContains(t, err, want, "all mistakes come at once")
	}
}

// FuzzRoutes: whatever the paths are, New returns, and takes none that a mux would
// read as something else.
func FuzzRoutes(f *testing.F) {
	fx := newFixture(f, nil)
	f.Add("/login", "/refresh", "/sessions")
	f.Add("/{x...}", "/a/{$}", "-")
	f.Add("/-", "-/x", "/sessions/{id}")
	f.Fuzz(func(t *testing.T, login, refresh, sessions string) {
		cfg := fx.config()
		cfg.Routes = issuer.Routes{Login: login, Refresh: refresh, Sessions: sessions}
		if _, err := issuer.New(cfg); err == nil && strings.ContainsAny(login+refresh+sessions, " %\t\n#?\\{}") {
			t.Errorf("New takes %q, %q and %q", login, refresh, sessions)
		}
	})
}
