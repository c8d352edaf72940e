package issuer_test

import (
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

const appOrigin = "https://app.example.com"

// A tab is a page of a browser: it has the cookies of its jar, and says of every
// request where it comes from.
type tab struct {
	*fixture
	client *http.Client
	jar    *cookiejar.Jar
	url    string
}

func newTab(t *testing.T, change func(*issuer.Config)) *tab {
	f := newFixture(t, func(c *issuer.Config) {
		c.Cookie = issuer.DefaultCookie
		if change != nil {
			change(c)
		}
	})
	server := httptest.NewTLSServer(f.issuer)
	t.Cleanup(server.Close)
	jar := must(cookiejar.New(nil))
	client := server.Client()
	client.Jar = jar
	return &tab{f, client, jar, server.URL}
}

// fetch sends what a page of the issuer's own origin does.
func (b *tab) fetch(method, path, body string, headers ...string) reply {
	b.t.Helper()
	return b.from("same-origin", b.url, method, path, body, headers...)
}

func (b *tab) from(site, origin, method, path, body string, headers ...string) reply {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	require.NoError(b.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range map[string]string{"Sec-Fetch-Site": site, "Origin": origin} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return send(b.t, b.client, req)
}

func (b *tab) logIn() reply {
	b.t.Helper()
	r := b.fetch("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`)
	require.Equal(b.t, 200, r.status, r.text)
	return r
}

// cookie returns the refresh token that the browser has.
func (b *tab) cookie() string {
	u := must(url.Parse(b.url + "/anything"))
	for _, c := range b.jar.Cookies(u) {
		if c.Name == issuer.DefaultCookie {
			return c.Value
		}
	}
	return ""
}

func TestABrowserKeepsTheRefreshTokenInACookie(t *testing.T) { // AX-17
	b := newTab(t, nil)
	r := b.logIn()
	require.Len(t, r.header.Values("Set-Cookie"), 1)
	c := must(http.ParseSetCookie(r.header.Get("Set-Cookie")))
	assert.Equal(t, "__Host-refresh", c.Name)
	assert.True(t, c.Secure && c.HttpOnly)
	assert.Equal(t, http.SameSiteStrictMode, c.SameSite)
	assert.Equal(t, "/", c.Path)
	assert.Empty(t, c.Domain)
	assert.Equal(t, 30*24*3600, c.MaxAge, "until the end of the session")
	assert.True(t, strings.HasPrefix(c.Value, "rt1."))
	assert.NotContains(t, r.body, "refresh_token")
	assert.NotContains(t, r.text, c.Value)
	assert.NotEmpty(t, r.str("access_token"))

	before := b.cookie()
	b.pass(time.Hour)
	r = b.fetch("POST", "/auth/refresh", "")
	require.Equal(t, 200, r.status, r.text)
	assert.NotContains(t, r.body, "refresh_token")
	assert.NotEqual(t, before, b.cookie(), "it is rotated")
	assert.InDelta(t, 30*24*3600-3600, must(http.ParseSetCookie(r.header.Get("Set-Cookie"))).MaxAge, 60)
	assert.Equal(t, 200, b.fetch("POST", "/auth/refresh", "{}").status, "an empty object is no token either")

	r = b.fetch("POST", "/auth/logout", "")
	assert.Equal(t, 204, r.status, r.text)
	assert.Empty(t, b.cookie())
	assert.Contains(t, r.header.Get("Set-Cookie"), "Max-Age=0")
	assert.Contains(t, r.header.Get("Set-Cookie"), "Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict", "or the browser ignores it")
	r = b.fetch("POST", "/auth/refresh", "")
	assert.Equal(t, jwterrors.RefreshTokenMissing, r.reason)
	assert.Empty(t, r.header.Values("Set-Cookie"))
}

func TestWithoutCookieModeNoCookieCounts(t *testing.T) {
	f := newFixture(t, nil)
	r := f.login()
	assert.Empty(t, r.header.Values("Set-Cookie"))
	cookie := issuer.DefaultCookie + "=" + r.str("refresh_token")
	assert.Equal(t, jwterrors.RefreshTokenMissing, f.do("POST", "/auth/refresh", "{}", "Cookie", cookie).reason)
	assert.Equal(t, 400, f.do("POST", "/auth/logout", "", "Cookie", cookie).status)
	assert.Equal(t, 415, f.do("POST", "/auth/refresh", "", "Cookie", cookie).status)
	assert.Equal(t, 200, f.refresh(r.str("refresh_token"), "Sec-Fetch-Site", "cross-site").status, "what has no cookie needs no guard")
	assert.Equal(t, 405, f.do("OPTIONS", "/auth/refresh", "", "Origin", appOrigin, "Access-Control-Request-Method", "POST").status)
}

func TestOneSourceOfTheRefreshToken(t *testing.T) {
	for _, path := range []string{"/auth/refresh", "/auth/logout"} {
		b := newTab(t, nil)
		b.logIn()
		own := b.cookie()
		other := must(cookiejar.New(nil))
		b.client.Jar = other
		b.logIn()
		b.client.Jar = b.jar
		foreign := ""
		for _, c := range other.Cookies(must(url.Parse(b.url))) {
			foreign = c.Value
		}
		require.NotEqual(t, own, foreign)
		r := b.fetch("POST", path, `{"refresh_token":"`+foreign+`"}`)
		assert.Equal(t, 400, r.status, r.text)
		assert.Equal(t, jwterrors.RequestInvalid, r.reason)
		assert.Equal(t, own, b.cookie(), "a 400 changes nothing")
		r = b.fetch("POST", path, `{"refresh_token":"`+own+`"}`)
		assert.Contains(t, []int{200, 204}, r.status, "twice the same one is one")
		b.client.Jar = nil
		r = b.fetch("POST", path, `{"refresh_token":"`+foreign+`"}`)
		assert.Contains(t, []int{200, 204}, r.status, "a body without a cookie")
		assert.Equal(t, path == "/auth/refresh", len(r.header.Values("Set-Cookie")) == 1)
		r = b.fetch("POST", path, "", "Cookie", issuer.DefaultCookie+"="+own+"; "+issuer.DefaultCookie+"="+foreign)
		assert.Equal(t, 400, r.status, "two cookies")
	}
}

// What failed may be tried again: the cookie is as it was.
func TestAFailureNeitherClearsNorChangesTheCookie(t *testing.T) {
	st := &flaky{}
	var reload error
	b := newTab(t, func(c *issuer.Config) {
		st.Store, c.Store = c.Store, st
		c.Limits.Refresh = issuer.Budget{Attempts: 1, Every: time.Hour}
		c.Reload = func(ctx, issuer.Session) (issuer.User, error) {
			if reload != nil {
				return issuer.User{}, reload
			}
			return issuer.User{ID: "alice"}, nil
		}
	})
	b.logIn()
	own := b.cookie()
	b.pass(time.Hour)
	unchanged := func(status int, r reply) {
		t.Helper()
		assert.Equal(t, status, r.status, r.text)
		assert.Empty(t, r.header.Values("Set-Cookie"))
		assert.Equal(t, own, b.cookie())
	}
	for _, method := range []string{"Get", "Rotate"} {
		st.set(method, errors.New("down"))
		unchanged(503, b.fetch("POST", "/auth/refresh", ""))
	}
	for _, method := range []string{"Get", "Revoke"} {
		st.set(method, errors.New("down"))
		unchanged(503, b.fetch("POST", "/auth/logout", ""))
	}
	st.set("", nil)
	reload = errors.New("no directory")
	unchanged(503, b.fetch("POST", "/auth/refresh", ""))
	reload = nil
	unchanged(403, b.from("cross-site", "https://evil.example", "POST", "/auth/refresh", ""))
	unchanged(403, b.from("cross-site", "https://evil.example", "POST", "/auth/logout", ""))
	unchanged(401, b.fetch("POST", "/auth/login", `{"username":"alice","password":"x"}`))
	unchanged(400, b.fetch("POST", "/auth/refresh", "", "Idempotency-Key", strings.Repeat("x", 256)))
	unchanged(429, b.fetch("POST", "/auth/refresh", ""))
	b.pass(2 * time.Hour)
	assert.Equal(t, 200, b.fetch("POST", "/auth/refresh", "").status)
	assert.NotEqual(t, own, b.cookie())
}

func TestTheCookieOfADeadSessionIsCleared(t *testing.T) { // AX-21
	for name, c := range map[string]struct {
		end  func(b *tab)
		want jwterrors.Reason
	}{
		"revoked": {func(b *tab) { require.NoError(b.t, b.issuer.RevokeSubject(b.t.Context(), "alice")) }, jwterrors.SessionRevoked},
		"expired": {func(b *tab) { b.pass(31 * 24 * time.Hour) }, jwterrors.RefreshTokenExpired},
		"unknown": {func(b *tab) {
			b.pass(31 * 24 * time.Hour)
			_, err := b.store.DeleteExpired(b.t.Context(), b.now(), 10)
			require.NoError(b.t, err)
		}, jwterrors.RefreshTokenInvalid},
		"replayed": {func(b *tab) {
			old := b.cookie()
			for range 2 {
				b.pass(time.Hour)
				require.Equal(b.t, 200, b.fetch("POST", "/auth/refresh", "").status)
			}
			b.jar.SetCookies(must(url.Parse(b.url)), []*http.Cookie{{Name: issuer.DefaultCookie, Value: old, Secure: true, Path: "/"}})
		}, jwterrors.RefreshTokenReused},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTab(t, nil)
			b.logIn()
			c.end(b)
			// The jar goes by the real clock: the cookie is there whatever has passed.
			require.NotEmpty(t, b.cookie())
			r := b.fetch("POST", "/auth/refresh", "")
			assert.Equal(t, 401, r.status)
			assert.Equal(t, c.want, r.reason)
			assert.Empty(t, b.cookie())
			assert.Equal(t, 200, b.logIn().status)
			assert.NotEmpty(t, b.cookie())
		})
	}
}

// Two tabs share a jar and notice at once that the access token is old.
func TestTwoTabsRefreshAtOnce(t *testing.T) {
	b := newTab(t, nil)
	b.logIn()
	for range 20 {
		b.pass(time.Hour)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				assert.Equal(t, 200, b.fetch("POST", "/auth/refresh", "").status)
			})
		}
		wg.Wait()
		require.Equal(t, 200, b.fetch("POST", "/auth/refresh", "").status, "what the jar has is good")
	}
	assert.NotContains(t, b.kinds(), issuer.EventReplay)
}

func TestAPageOfAnotherOriginIsRefused(t *testing.T) {
	b := newTab(t, func(c *issuer.Config) { c.Origins = []string{appOrigin} })
	access := b.logIn().str("access_token")
	for _, route := range [][2]string{
		{"POST", "/auth/login"}, {"POST", "/auth/refresh"}, {"POST", "/auth/logout"},
		{"DELETE", "/auth/sessions?others=true"}, {"DELETE", "/auth/sessions/x"}, {"POST", "/auth/nothing"},
	} {
		for _, c := range []struct {
			name, site, origin string
			foreign            bool
		}{
			{"another site", "cross-site", "https://evil.example", true},
			{"the same site", "same-site", "https://evil.example.com", true},
			{"another site, and no origin", "cross-site", "", true},
			{"an old browser", "", "https://evil.example", true},
			{"an old browser in a sandbox", "", "null", true},
			{"a sandbox", "cross-site", "null", true},
			{"a sandbox that says it is at home", "same-origin", "null", true},
			{"an origin that begins like ours", "cross-site", appOrigin + ".evil.example", true},
			{"an origin that ends like ours", "cross-site", "https://evilapp.example.com", true},
			{"our origin in plain text", "cross-site", "http://app.example.com", true},
			{"our origin in another case", "cross-site", "https://APP.example.com", true},
			{"our origin at another port", "cross-site", appOrigin + ":8443", true},
			{"our other origin", "same-site", appOrigin, false},
			{"our own", "same-origin", b.url, false},
			{"the user", "none", "", false},
			{"no browser", "", "", false},
		} {
			r := b.from(c.site, c.origin, route[0], route[1], "{}", "Authorization", "Bearer x")
			assert.Equal(t, c.foreign, r.status == 403, "%v from %s: %d %s", route, c.name, r.status, r.text)
			if c.foreign {
				assert.Equal(t, jwterrors.RequestInvalid, r.reason)
				assert.Empty(t, r.header.Values("Set-Cookie"))
				assert.Empty(t, r.header.Get("Access-Control-Allow-Origin"), c.name)
			}
			if route[1] == "/auth/logout" || route[1] == "/auth/refresh" {
				b.logIn()
			}
		}
	}
	r := b.from("cross-site", "https://evil.example", "GET", "/auth/sessions", "", "Authorization", "Bearer "+access)
	assert.NotEqual(t, 403, r.status, "what changes nothing is not refused")
	assert.Empty(t, r.header.Get("Access-Control-Allow-Origin"), "and not to be read")
}

func TestCORS(t *testing.T) {
	for _, cookie := range []string{"", issuer.DefaultCookie} {
		b := newTab(t, func(c *issuer.Config) {
			c.Cookie, c.Origins = cookie, []string{appOrigin, "http://localhost:5173"}
		})
		credentials := ""
		if cookie != "" {
			credentials = "true"
		}
		preflight := func(origin, method, path string) reply {
			return b.from("cross-site", origin, "OPTIONS", path, "", "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "content-type")
		}
		for _, origin := range []string{appOrigin, "http://localhost:5173"} {
			r := preflight(origin, "POST", "/auth/refresh")
			assert.Equal(t, 204, r.status)
			assert.Equal(t, origin, r.header.Get("Access-Control-Allow-Origin"))
			assert.Equal(t, credentials, r.header.Get("Access-Control-Allow-Credentials"))
			assert.Equal(t, "POST", r.header.Get("Access-Control-Allow-Methods"))
			assert.Equal(t, "Authorization, Content-Type, DPoP, Idempotency-Key", r.header.Get("Access-Control-Allow-Headers"))
			assert.Contains(t, r.header.Values("Vary"), "Origin")
			assert.Equal(t, "DELETE, GET, HEAD", preflight(origin, "DELETE", "/auth/sessions").header.Get("Access-Control-Allow-Methods"))
			r = preflight(origin, "POST", "/auth/nothing")
			assert.Equal(t, 403, r.status)
			assert.Empty(t, r.text, "nothing else answers")

			r = b.from("same-site", origin, "POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`)
			assert.Equal(t, 200, r.status)
			assert.Equal(t, origin, r.header.Get("Access-Control-Allow-Origin"))
			assert.Equal(t, credentials, r.header.Get("Access-Control-Allow-Credentials"))
			assert.Contains(t, r.header.Get("Access-Control-Expose-Headers"), "Retry-After")
			r = b.from("same-site", origin, "POST", "/auth/login", `{"username":"alice","password":"x"}`)
			assert.Equal(t, 401, r.status)
			assert.Equal(t, origin, r.header.Get("Access-Control-Allow-Origin"), "a page reads why it was refused")
		}
		for _, origin := range []string{"https://evil.example", "null", "*", "https://app.example.com.evil.example", "http://app.example.com", "https://app.example.com:443", "https://APP.example.com"} {
			r := preflight(origin, "POST", "/auth/refresh")
			assert.Equal(t, 403, r.status, origin)
			for name := range r.header {
				assert.False(t, strings.HasPrefix(name, "Access-Control-"), "%s: %s", origin, name)
			}
			assert.Contains(t, r.header.Values("Vary"), "Origin")
		}
		r := b.from("", "", "GET", "/auth/.well-known/jwks.json", "")
		assert.Equal(t, "Origin", r.header.Get("Vary"), "also where no origin was given, for caches")
		assert.Empty(t, r.header.Get("Access-Control-Allow-Origin"))
		assert.Equal(t, 405, b.from("", appOrigin, "OPTIONS", "/auth/login", "").status, "no preflight")
	}
}

func TestACookieAndOriginsThatWouldNotWorkAreRefused(t *testing.T) {
	f := newFixture(t, nil)
	for _, cookie := range []string{"refresh", "__Secure-refresh", "__Host-", "__Host-a b", "__Host-a;Domain=x", "__host-refresh"} {
		c := f.config()
		c.Cookie = cookie
		_, err := issuer.New(c)
		assert.ErrorContains(t, err, "__Host-", cookie)
	}
	for _, origin := range []string{
		"*", "null", "", "app.example.com", "https://*.example.com", "https://app.example.com/", "https://app.example.com/x", "https://App.example.com",
		"http://app.example.com", "https://app.example.com:443", "http://localhost:80", "https://me@app.example.com", "https://app.example.com?", "ftp://localhost",
		"https://ä.example", "https://app.example.com:", "https://", "https://app.example.com:99999", "HTTPS://app.example.com",
	} {
		c := f.config()
		c.Origins = []string{origin}
		_, err := issuer.New(c)
		assert.ErrorContains(t, err, "Origins", origin)
	}
	c := f.config()
	c.Origins = []string{appOrigin, appOrigin}
	_, err := issuer.New(c)
	assert.ErrorContains(t, err, "twice")
	c.Cookie, c.Origins = "refresh", []string{"*"}
	_, err = issuer.New(c)
	assert.ErrorContains(t, err, "Cookie")
	assert.ErrorContains(t, err, "Origins")
	c.Cookie, c.Origins = "__Host-a.b", []string{"http://127.0.0.1:3000", "http://[::1]:3000", "https://xn--4ca.example:8443"}
	_, err = issuer.New(c)
	assert.NoError(t, err)
}
