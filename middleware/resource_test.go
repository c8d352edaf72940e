package middleware_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

const resource = "https://api.example.com/orders"

// The well-known path stands between the host and the rest. (RFC 9728, Section 3.1)
func TestWhereTheMetadataAre(t *testing.T) {
	for resource, want := range map[string]string{
		"https://api.example.com":               "https://api.example.com/.well-known/oauth-protected-resource",
		"https://api.example.com/":              "https://api.example.com/.well-known/oauth-protected-resource",
		"https://api.example.com/orders":        "https://api.example.com/.well-known/oauth-protected-resource/orders",
		"https://api.example.com/orders/":       "https://api.example.com/.well-known/oauth-protected-resource/orders/",
		"https://api.example.com:8443/a/b":      "https://api.example.com:8443/.well-known/oauth-protected-resource/a/b",
		"https://api.example.com?tenant=acme":   "https://api.example.com/.well-known/oauth-protected-resource?tenant=acme",
		"https://api.example.com/?tenant=acme":  "https://api.example.com/.well-known/oauth-protected-resource?tenant=acme",
		"https://api.example.com/o?tenant=acme": "https://api.example.com/.well-known/oauth-protected-resource/o?tenant=acme",
		"https://api.example.com/a%2Fb":         "https://api.example.com/.well-known/oauth-protected-resource/a%2Fb",
		"http://127.0.0.1:8080":                 "http://127.0.0.1:8080/.well-known/oauth-protected-resource",
		"/orders":                               "",
		"orders":                                "",
		"":                                      "",
		"https://a b":                           "",
		"//api.example.com/orders":              "",
		"urn:orders":                            "",
	} {
		assert.Equal(t, want, middleware.ProtectedResourceMetadata{Resource: resource}.URL(), resource)
	}
}

func TestTheMetadataOfAResource(t *testing.T) {
	d := middleware.ProtectedResourceMetadata{
		Resource: resource, AuthorizationServers: []string{issuer}, JWKSURI: "https://api.example.com/jwks.json",
		ScopesSupported: []string{"api:read", "api:write"}, BearerMethodsSupported: []string{"header"},
		ResourceSigningAlgValuesSupported: []string{"ES256"}, ResourceName: "Orders & <more>",
		ResourceDocumentation: "https://docs.example.com/", ResourcePolicyURI: "https://example.com/policy", ResourceTOSURI: "http://example.com/tos",
		TLSClientCertificateBoundAccessTokens: true, AuthorizationDetailsTypesSupported: []string{"payment"},
		DPoPSigningAlgValuesSupported: []string{"ES256"}, DPoPBoundAccessTokensRequired: true,
	}
	handler, err := d.Handler()
	require.NoError(t, err)
	d.AuthorizationServers[0] = "https://evil.example" // changes nothing any more
	server := httptest.NewServer(handler)
	defer server.Close()
	do := func(method string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest(method, server.URL, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
		return resp, string(must(io.ReadAll(resp.Body)))
	}
	resp, body := do("GET")
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	assert.Equal(t, "public, max-age=3600", resp.Header.Get("Cache-Control"))
	assert.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	assert.JSONEq(t, `{
		"resource": "https://api.example.com/orders", "authorization_servers": ["https://id.example.com"],
		"jwks_uri": "https://api.example.com/jwks.json", "scopes_supported": ["api:read", "api:write"],
		"bearer_methods_supported": ["header"], "resource_signing_alg_values_supported": ["ES256"],
		"resource_name": "Orders & <more>", "resource_documentation": "https://docs.example.com/",
		"resource_policy_uri": "https://example.com/policy", "resource_tos_uri": "http://example.com/tos",
		"tls_client_certificate_bound_access_tokens": true, "authorization_details_types_supported": ["payment"],
		"dpop_signing_alg_values_supported": ["ES256"], "dpop_bound_access_tokens_required": true
	}`, body)
	length := resp.ContentLength
	resp, body = do("HEAD")
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, length, resp.ContentLength)
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	assert.Empty(t, body)
	resp, body = do("OPTIONS")
	assert.Equal(t, 204, resp.StatusCode)
	assert.Equal(t, []string{"*", "GET, HEAD", "*"}, []string{
		resp.Header.Get("Access-Control-Allow-Origin"), resp.Header.Get("Access-Control-Allow-Methods"), resp.Header.Get("Access-Control-Allow-Headers"),
	})
	assert.Empty(t, body)
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		resp, body = do(method)
		assert.Equal(t, 405, resp.StatusCode, method)
		assert.Equal(t, "GET, HEAD, OPTIONS", resp.Header.Get("Allow"))
		assert.Empty(t, body)
	}
}

// What is not set is not said. (RFC 9728, Section 3.2)
func TestTheLeastMetadata(t *testing.T) {
	for want, d := range map[string]middleware.ProtectedResourceMetadata{
		`{"resource":"https://api.example.com/orders"}`: {Resource: resource, ScopesSupported: []string{}},
		// An empty list says that there is no place for a bearer token. (Section 2)
		`{"resource":"https://api.example.com/orders","bearer_methods_supported":[]}`: {Resource: resource, BearerMethodsSupported: []string{}},
	} {
		h, err := d.Handler()
		require.NoError(t, err)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request())
		assert.Equal(t, want, w.Body.String())
	}
}

func TestMistakesInTheMetadata(t *testing.T) {
	type metadata = middleware.ProtectedResourceMetadata
	for _, c := range []struct {
		name   string
		change func(*metadata)
		want   string // "" for none
	}{
		{"none", func(*metadata) {}, ""},
		{"no resource", func(d *metadata) { d.Resource = "" }, "Resource: the URL"},
		{"a resource over http", func(d *metadata) { d.Resource = "http://api.example.com" }, "Resource: the URL is not one of https"},
		{"a resource over http that is wanted", func(d *metadata) { d.Resource, d.InsecureAllowHTTP = "http://127.0.0.1:8080", true }, ""},
		{"a resource of another scheme", func(d *metadata) { d.Resource, d.InsecureAllowHTTP = "urn:orders", true }, "Resource: the URL"},
		{"a resource with a fragment", func(d *metadata) { d.Resource += "#a" }, "fragment"},
		{"a resource with an empty fragment", func(d *metadata) { d.Resource += "#" }, "fragment"},
		{"a resource with a user", func(d *metadata) { d.Resource = "https://a:b@api.example.com" }, "user"},
		{"a resource with a query", func(d *metadata) { d.Resource += "?tenant=acme" }, ""},
		{"an issuer over http", func(d *metadata) { d.AuthorizationServers = []string{issuer, "http://id.example.com"} }, "AuthorizationServers 1: the URL is not one of https"},
		{"an issuer over http that is wanted", func(d *metadata) {
			d.AuthorizationServers, d.InsecureAllowHTTP = []string{"http://127.0.0.1:8080"}, true
		}, ""},
		{"an empty issuer, as from an unset variable", func(d *metadata) { d.AuthorizationServers = []string{""} }, "AuthorizationServers 0"},
		{"an issuer with a query", func(d *metadata) { d.AuthorizationServers = []string{issuer + "?a=b"} }, "AuthorizationServers 0: the URL has a query"},
		{"an issuer with a fragment", func(d *metadata) { d.AuthorizationServers = []string{issuer + "#a"} }, "fragment"},
		{"an issuer twice", func(d *metadata) { d.AuthorizationServers = []string{issuer, issuer} }, "AuthorizationServers: number 1 is there twice"},
		{"keys over http", func(d *metadata) { d.JWKSURI = "http://api.example.com/jwks" }, "JWKSURI: the URL"},
		{"an empty scope", func(d *metadata) { d.ScopesSupported = []string{""} }, "ScopesSupported"},
		{"two scopes in one", func(d *metadata) { d.ScopesSupported = []string{"a b"} }, "ScopesSupported"},
		{"a scope with a quote", func(d *metadata) { d.ScopesSupported = []string{`a"`} }, "ScopesSupported"},
		{"a scope with a backslash", func(d *metadata) { d.ScopesSupported = []string{`a\b`} }, "ScopesSupported"},
		{"a scope beyond ASCII", func(d *metadata) { d.ScopesSupported = []string{"ä"} }, "ScopesSupported"},
		{"a scope twice", func(d *metadata) { d.ScopesSupported = []string{"a", "b", "a"} }, "ScopesSupported: number 2"},
		{"a method that is none", func(d *metadata) { d.BearerMethodsSupported = []string{"cookie"} }, `BearerMethodsSupported: "cookie"`},
		{"all methods", func(d *metadata) { d.BearerMethodsSupported = []string{"header", "body", "query"} }, ""},
		{"signatures with none", func(d *metadata) { d.ResourceSigningAlgValuesSupported = []string{"none"} }, "ResourceSigningAlgValuesSupported"},
		{"signatures with nothing", func(d *metadata) { d.ResourceSigningAlgValuesSupported = []string{""} }, "ResourceSigningAlgValuesSupported"},
		{"proofs with nothing", func(d *metadata) { d.DPoPSigningAlgValuesSupported = []string{""} }, "DPoPSigningAlgValuesSupported"},
		{"an empty type", func(d *metadata) { d.AuthorizationDetailsTypesSupported = []string{""} }, "AuthorizationDetailsTypesSupported"},
		{"proofs with none", func(d *metadata) { d.DPoPSigningAlgValuesSupported = []string{"none"} }, "DPoPSigningAlgValuesSupported"},
		{"proofs with a secret", func(d *metadata) { d.DPoPSigningAlgValuesSupported = []string{"HS512"} }, "DPoPSigningAlgValuesSupported"},
		{"documentation that is no page", func(d *metadata) { d.ResourceDocumentation = "docs" }, "ResourceDocumentation"},
		{"a policy that is a script", func(d *metadata) { d.ResourcePolicyURI = "javascript:alert(1)" }, "ResourcePolicyURI"},
		{"terms in a file", func(d *metadata) { d.ResourceTOSURI = "file:///tos" }, "ResourceTOSURI"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := metadata{Resource: resource, AuthorizationServers: []string{issuer}}
			c.change(&d)
			h, err := d.Handler()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			assert.Nil(t, h)
			assert.NotContains(t, err.Error(), "a:b@")
		})
	}
	_, err := metadata{AuthorizationServers: []string{""}, JWKSURI: "x", ScopesSupported: []string{"a b"}, ResourceTOSURI: "x"}.Handler()
	for _, want := range []string{"Resource:", "AuthorizationServers 0", "JWKSURI", "ScopesSupported", "ResourceTOSURI"} {
		assert.ErrorContains(t, err, want, "every mistake at once")
	}
}

// A client that is refused finds its way to the metadata. (RFC 9728, Section 5)
func TestTheChallengeNamesTheMetadata(t *testing.T) {
	d := middleware.ProtectedResourceMetadata{Resource: resource, AuthorizationServers: []string{issuer}}
	metadata, err := d.Handler()
	require.NoError(t, err)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	// The server stands for api.example.com, which a client would ask.
	where := must(url.Parse(d.URL()))
	auth := newAuth(t, func(c *middleware.Config) { c.ResourceMetadata = server.URL + where.Path })
	mux.Handle(where.Path, metadata)
	mux.Handle("/", auth.Handler(middleware.RequireScopes("admin")(http.NotFoundHandler())))
	for _, c := range []struct {
		name   string
		token  []string
		status int
		reason jwterrors.Reason
	}{
		{"no token", nil, 401, jwterrors.TokenMissing},
		{"a bad token", []string{"Bearer x"}, 401, jwterrors.TokenFormatInvalid},
		{"a token without the scope", []string{"Bearer " + good()}, 403, jwterrors.ScopeInsufficient},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := get(t, server.URL+"/orders", c.token...)
			assert.Equal(t, c.status, resp.StatusCode)
			assert.Equal(t, c.reason, jwterrors.FromResponse(resp).Reason)
			challenge := resp.Header.Get("WWW-Authenticate")
			assert.Contains(t, challenge, `resource_metadata="`+server.URL+where.Path+`"`)
			found := get(t, server.URL+where.Path)
			var document struct {
				Resource             string
				AuthorizationServers []string `json:"authorization_servers"`
			}
			require.NoError(t, json.NewDecoder(found.Body).Decode(&document))
			assert.Equal(t, resource, document.Resource)
			assert.Equal(t, []string{issuer}, document.AuthorizationServers)
		})
	}
}
