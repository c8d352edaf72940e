package middleware_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// What is refused for its header costs no more reading.
func TestABodyIsNotReadInVain(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) { c.TokenInForm = true })
	r := httptest.NewRequest("POST", "/", unread{t})
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header["Authorization"] = []string{"Bearer " + good(), "Bearer " + good()}
	_, err := auth.Check(r)
	assert.ErrorIs(t, err, jwterrors.RequestInvalid)

	r = httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Body = nil // as no server has it
	_, err = auth.Check(r)
	assert.ErrorIs(t, err, jwterrors.TokenMissing)
}

// An unread is a body that nobody may read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// Exactly one token, wherever tokens are allowed to be. (JG-20, NV-01)
func TestWhereTheTokenIs(t *testing.T) {
	body := ""
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, body, string(data), "the handler reads the body as it came")
		c, _ := middleware.FromContext(r.Context())
		_, _ = io.WriteString(w, c.Subject)
	})
	all := newAuth(t, func(c *middleware.Config) {
		c.TokenCookie, c.TokenInQuery, c.TokenInForm, c.MaxFormBytes = "token", true, true, 4096
		c.TokenFrom = func(r *http.Request) (string, error) {
			switch v := r.Header.Values("X-Token"); {
			case len(v) == 0:
				return "", nil
			case v[0] == "error":
				return "", errors.New("two of them")
			case v[0] == "reason":
				return "", jwterrors.TokenTypeInvalid
			default:
				return v[0], nil
			}
		}
	})
	none := newAuth(t)
	token := good()
	type values map[string]string
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name   string
		auth   *middleware.Middleware
		method string
		query  string
		body   string
		header values
		reason jwterrors.Reason // "" where it passes
	}{
		{"header", all, "GET", "", "", values{"Authorization": "Bearer " + token}, ""},
		{"cookie", all, "GET", "", "", values{"Cookie": "a=b; token=" + token}, ""},
		{"cookie that is empty", all, "GET", "", "", values{"Cookie": "token="}, jwterrors.TokenMissing},
		{"two cookies", all, "GET", "", "", values{"Cookie": "token=" + token + "; token=" + token}, jwterrors.RequestInvalid},
		{"cookie by POST of its own site", all, "POST", "", "", values{"Cookie": "token=" + token, "Sec-Fetch-Site": "same-origin"}, ""},
		{"cookie by POST of another site", all, "POST", "", "", values{"Cookie": "token=" + token, "Sec-Fetch-Site": "cross-site"}, jwterrors.RequestInvalid},
		{"cookie by POST of another origin", all, "POST", "", "", values{"Cookie": "token=" + token, "Origin": "https://evil.example"}, jwterrors.RequestInvalid},
		{"header by POST of another site", all, "POST", "", "", values{"Authorization": "Bearer " + token, "Sec-Fetch-Site": "cross-site"}, ""},
		{"query", all, "GET", "a=b&access_token=" + token, "", nil, ""},
		{"query by POST", all, "POST", "access_token=" + token, "", nil, jwterrors.TokenMissing},
		{"query, empty", all, "GET", "access_token=", "", nil, jwterrors.TokenFormatInvalid},
		{"query, twice", all, "GET", "access_token=" + token + "&access_token=" + token, "", nil, jwterrors.RequestInvalid},
		{"query, twice and once escaped", all, "GET", "%61ccess_token=" + token + "&access_token=" + token, "", nil, jwterrors.RequestInvalid},
		{"query, malformed", all, "GET", "access_token=%zz" + token, "", nil, jwterrors.RequestInvalid},
		{"query, with a semicolon", all, "GET", "a=b;access_token=" + token, "", nil, jwterrors.RequestInvalid},
		{"query, malformed beside a header", all, "GET", "percent=100%", "", values{"Authorization": "Bearer " + token}, ""},
		{"form", all, "POST", "", "a=b&access_token=" + token, values{"Content-Type": form + "; charset=utf-8"}, ""},
		{"form by PUT", all, "PUT", "", "access_token=" + token, values{"Content-Type": form}, jwterrors.TokenMissing},
		{"form of another type", all, "POST", "", "access_token=" + token, values{"Content-Type": "text/plain"}, jwterrors.TokenMissing},
		{"form of a type that is malformed", all, "POST", "", "access_token=" + token, values{"Content-Type": form + "; charset"}, jwterrors.TokenMissing},
		{"form without type", all, "POST", "", "access_token=" + token, nil, jwterrors.TokenMissing},
		{"form without token", all, "POST", "", "a=b", values{"Content-Type": form}, jwterrors.TokenMissing},
		{"form, twice", all, "POST", "", "access_token=" + token + "&access_token=x", values{"Content-Type": form}, jwterrors.RequestInvalid},
		{"form as long as allowed", all, "POST", "", pad("access_token="+token+"&a=", 4096), values{"Content-Type": form}, ""},
		{"form that is longer", all, "POST", "", pad("access_token="+token+"&a=", 4097), values{"Content-Type": form}, jwterrors.RequestInvalid},
		{"form beside a header", all, "POST", "", "a=b", values{"Content-Type": form, "Authorization": "Bearer " + token}, ""},
		{"custom", all, "GET", "", "", values{"X-Token": token}, ""},
		{"custom that fails", all, "GET", "", "", values{"X-Token": "error"}, jwterrors.RequestInvalid},
		{"custom that fails with a reason", all, "GET", "", "", values{"X-Token": "reason"}, jwterrors.TokenTypeInvalid},
		{"header and cookie", all, "GET", "", "", values{"Authorization": "Bearer " + token, "Cookie": "token=" + token}, jwterrors.RequestInvalid},
		{"header and query", all, "GET", "access_token=" + token, "", values{"Authorization": "Bearer " + token}, jwterrors.RequestInvalid},
		{"empty header and query", all, "GET", "access_token=" + token, "", values{"Authorization": "Bearer"}, jwterrors.RequestInvalid},
		{"header and form", all, "POST", "", "access_token=" + token, values{"Authorization": "Bearer " + token, "Content-Type": form}, jwterrors.RequestInvalid},
		{"cookie and form", all, "POST", "", "access_token=" + token, values{"Cookie": "token=" + token, "Content-Type": form}, jwterrors.RequestInvalid},
		{"query and custom", all, "GET", "access_token=" + token, "", values{"X-Token": token}, jwterrors.RequestInvalid},
		{"another scheme and query", all, "GET", "access_token=" + token, "", values{"Authorization": "Basic YTpi"}, ""},
		{"cookie, not enabled", none, "GET", "", "", values{"Cookie": "token=" + token}, jwterrors.TokenMissing},
		{"query, not enabled", none, "GET", "access_token=" + token, "", nil, jwterrors.TokenMissing},
		{"form, not enabled", none, "POST", "", "access_token=" + token, values{"Content-Type": form}, jwterrors.TokenMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.auth.Handler(next))
			defer server.Close()
			body = c.body
			r, err := http.NewRequest(c.method, server.URL+"?"+c.query, strings.NewReader(c.body))
			require.NoError(t, err)
			for name, value := range c.header {
				r.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			if c.reason != "" {
				expect(t, resp, c.reason.Status(), c.reason)
				return
			}
			expect(t, resp, 200, "")
			if !strings.Contains(c.query, "access_token") {
				assert.Empty(t, resp.Header.Get("Cache-Control"))
			} else { // RFC 6750, Section 2.3
				assert.Equal(t, "no-store, private", resp.Header.Get("Cache-Control"))
			}
		})
	}
}

// What may be asked for by GET may be asked about by HEAD.
func TestATokenInTheQueryOfHEAD(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) { c.TokenInQuery = true })
	_, err := auth.Check(httptest.NewRequest("HEAD", "/?access_token="+good(), nil))
	assert.NoError(t, err)
}

func pad(s string, n int) string { return s + strings.Repeat("x", n-len(s)) }

// What came before Handler may have read the form.
func TestAFormThatWasReadBefore(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) { c.TokenInForm = true })
	for name, c := range map[string]struct {
		form   url.Values
		reason jwterrors.Reason
	}{
		"a token":    {url.Values{"access_token": {good()}}, ""},
		"none":       {url.Values{"a": {"b"}}, jwterrors.TokenMissing},
		"two tokens": {url.Values{"access_token": {good(), good()}}, jwterrors.RequestInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(c.form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			require.NoError(t, r.ParseForm())
			_, err := auth.Check(r)
			assert.Equal(t, c.reason, jwterrors.ReasonOf(err))
		})
	}
}

// A body that cannot be read to its end holds nobody knows how many tokens.
func TestAFormThatBreaksOff(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) { c.TokenInForm = true })
	broken := errors.New("the connection was reset")
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("access_token="+good()), failure{broken}))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err := auth.Check(r)
	require.ErrorIs(t, err, jwterrors.RequestInvalid)
	require.ErrorIs(t, err, broken)
	_, err = io.ReadAll(r.Body)
	require.ErrorIs(t, err, broken, "the handler learns of it, too")
}

type failure struct{ err error }

func (f failure) Read([]byte) (int, error) { return 0, f.err }

// Trusted origins may use the cookie.
func TestCookieOrigins(t *testing.T) {
	origins := http.NewCrossOriginProtection()
	require.NoError(t, origins.AddTrustedOrigin("https://app.example"))
	auth := newAuth(t, func(c *middleware.Config) { c.TokenCookie, c.CookieOrigins = "token", origins })
	for origin, reason := range map[string]jwterrors.Reason{"https://app.example": "", "https://evil.example": jwterrors.RequestInvalid} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.AddCookie(&http.Cookie{Name: "token", Value: good()})
		_, err := auth.Check(r)
		assert.Equal(t, reason, jwterrors.ReasonOf(err), origin)
	}
}
