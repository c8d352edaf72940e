package middleware_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/middleware"
)

func TestDiscover(t *testing.T) {
	a := newNamed("a")
	const oidc, oauth = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(jwkSet(a.jwk()))
	}))
	defer elsewhere.Close()
	for _, c := range []struct {
		name     string
		path     string            // of the issuer
		metadata map[string]string // by path; ISSUER, HOST and OTHER stand for URLs
		want     string            // in the cause of a refusal; "" where the token passes
	}{
		{"OpenID Connect", "", map[string]string{oidc: `{"issuer":"ISSUER","jwks_uri":"HOST/jwks"}`}, ""},
		{"OpenID Connect of a path", "/tenant", map[string]string{"/tenant" + oidc: `{"issuer":"ISSUER","jwks_uri":"HOST/jwks"}`}, ""},
		{"OpenID Connect with a slash", "/tenant/", map[string]string{"/tenant" + oidc: `{"issuer":"ISSUER","jwks_uri":"HOST/jwks"}`}, ""},
		{"OAuth", "", map[string]string{oauth: `{"issuer":"ISSUER","jwks_uri":"HOST/jwks"}`}, ""},
		{"OAuth of a path", "/tenant", map[string]string{oauth + "/tenant": `{"issuer":"ISSUER","jwks_uri":"HOST/jwks"}`}, ""},
		{"a set on another host", "", map[string]string{oidc: `{"issuer":"ISSUER","jwks_uri":"OTHER/jwks"}`}, ""},
		{"no metadata", "", nil, "status 404: is the path of the URL right?"},
		{"another issuer", "", map[string]string{oidc: `{"issuer":"https://evil.example","jwks_uri":"HOST/jwks"}`}, "another issuer"},
		{"a slash too many", "", map[string]string{oidc: `{"issuer":"ISSUER/","jwks_uri":"HOST/jwks"}`}, "another issuer"},
		{"no issuer", "", map[string]string{oidc: `{"jwks_uri":"HOST/jwks"}`}, "another issuer"},
		{"two issuers", "", map[string]string{oidc: `{"issuer":"ISSUER","issuer":"ISSUER","jwks_uri":"HOST/jwks"}`}, "unambiguous"},
		{"no set", "", map[string]string{oidc: `{"issuer":"ISSUER"}`}, `there is no "jwks_uri"`},
		{"a set that is no string", "", map[string]string{oidc: `{"issuer":"ISSUER","jwks_uri":["HOST/jwks"]}`}, `there is no "jwks_uri"`},
		{"a set over http", "", map[string]string{oidc: `{"issuer":"ISSUER","jwks_uri":"http://id.example.com/jwks"}`}, "https"},
		{"a set in a file", "", map[string]string{oidc: `{"issuer":"ISSUER","jwks_uri":"file:///jwks"}`}, "https"},
		{"a set that is not there", "", map[string]string{oidc: `{"issuer":"ISSUER","jwks_uri":"HOST/none"}`}, "status 404"},
		{"metadata that are too long", "", map[string]string{oidc: `{"issuer":"ISSUER","jwks_uri":"HOST/jwks"}` + strings.Repeat(" ", 1<<20)}, "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mux := http.NewServeMux()
			server := httptest.NewTLSServer(mux)
			defer server.Close()
			name := server.URL + c.path
			mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(jwkSet(a.jwk())) })
			for path, document := range c.metadata {
				document = strings.NewReplacer("ISSUER", name, "HOST", server.URL, "OTHER", elsewhere.URL).Replace(document)
				mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(document)) })
			}
			auth := newAuth(t, func(config *middleware.Config) {
				config.Issuer = name
				config.Keys = middleware.Discover(name, middleware.JWKSOptions{Client: server.Client()})
			})
			err := verify(auth, a.sign(claims().with("iss", name)))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			unavailable(t, err)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// The zone of an address stays escaped, as in the name of the issuer (RFC 6874).
func TestTheMetadataOfAnAddressWithAZone(t *testing.T) {
	const name = "https://[fe80::1%25eth0]:8443/tenant"
	var asked []string
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.String())
		return nil, errors.New("there is nobody")
	})}
	auth := newAuth(t, func(c *middleware.Config) {
		c.Issuer, c.Keys = name, middleware.Discover(name, middleware.JWKSOptions{Client: client})
	})
	unavailable(t, verify(auth, newNamed("a").sign(claims().with("iss", name))))
	assert.Equal(t, []string{
		"https://[fe80::1%25eth0]:8443/tenant/.well-known/openid-configuration",
		"https://[fe80::1%25eth0]:8443/.well-known/oauth-authorization-server/tenant",
	}, asked)
}

func TestMistakesInDiscovery(t *testing.T) {
	for name, want := range map[string]string{
		"https://id.example.com":          "",
		"https://id.example.com/tenant":   "",
		"http://id.example.com":           "InsecureAllowHTTP",
		"https://id.example.com?tenant=1": "query",
		"https://id.example.com?":         "query",
		"https://id.example.com/%2":       "not one of https",
		"https://id.example.com#x":        "fragment",
		"id.example.com":                  "https",
	} {
		_, err := middleware.New(middleware.Config{Issuer: name, Audience: []string{"a"}, Keys: middleware.Discover(name, middleware.JWKSOptions{})})
		if want == "" {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorContains(t, err, want, name)
		}
	}
	_, err := middleware.New(middleware.Config{
		InsecureAnyIssuer: true, Audience: []string{"a"}, Keys: middleware.Discover("https://id.example.com", middleware.JWKSOptions{}),
	})
	assert.NoError(t, err, "whose name in tokens may be another")
}
