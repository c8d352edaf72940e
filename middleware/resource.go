package middleware

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ProtectedResourceMetadata are what a client must know of a service before it
// has a token for it: above all, who issues them (RFC 9728, Section 2). A client
// that is refused finds them by the challenge: see [Config].ResourceMetadata.
//
// Resource is required. A field that is empty is left out of the document.
type ProtectedResourceMetadata struct {
	// Resource is the identifier of the service, a URL of https without a
	// fragment, as clients spell it. Who accepts tokens for it has it in
	// Config.Audience (RFC 8707, Section 2).
	Resource string `json:"resource"`

	// AuthorizationServers are the issuers whose tokens are accepted, as their
	// own metadata spell them (RFC 8414, Section 2): URLs of https without query
	// and fragment.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`

	// JWKSURI is where the public keys of the service itself are, a URL of https.
	// They are not those of the issuers.
	JWKSURI string `json:"jwks_uri,omitempty"`

	// ScopesSupported are the scopes that a client may ask for.
	ScopesSupported []string `json:"scopes_supported,omitempty"`

	// BearerMethodsSupported are the places that a token can be in: "header",
	// "body" and "query" (RFC 6750, Section 2). A list that is empty and not nil
	// says that there is none.
	BearerMethodsSupported []string `json:"bearer_methods_supported,omitzero"`

	// ResourceSigningAlgValuesSupported are the algorithms with which the service
	// signs what it answers (RFC 7518, Section 3.1), and never "none".
	ResourceSigningAlgValuesSupported []string `json:"resource_signing_alg_values_supported,omitempty"`

	// ResourceName is the name of the service, for people.
	ResourceName string `json:"resource_name,omitempty"`

	// ResourceDocumentation, ResourcePolicyURI and ResourceTOSURI are pages for
	// developers, about what may be done with the data, and with the terms of
	// service: URLs of https or http.
	ResourceDocumentation string `json:"resource_documentation,omitempty"`
	ResourcePolicyURI     string `json:"resource_policy_uri,omitempty"`
	ResourceTOSURI        string `json:"resource_tos_uri,omitempty"`

	// TLSClientCertificateBoundAccessTokens says that tokens can be bound to a
	// client's certificate (RFC 8705, Section 3.3).
	TLSClientCertificateBoundAccessTokens bool `json:"tls_client_certificate_bound_access_tokens,omitempty"`

	// AuthorizationDetailsTypesSupported are the types of authorization details
	// that are understood (RFC 9396, Section 10).
	AuthorizationDetailsTypesSupported []string `json:"authorization_details_types_supported,omitempty"`

	// DPoPSigningAlgValuesSupported are the algorithms of DPoP proofs that are
	// accepted (RFC 9449, Section 5.1): those of [DPoP].Algorithms, none with a
	// secret, and never "none".
	DPoPSigningAlgValuesSupported []string `json:"dpop_signing_alg_values_supported,omitempty"`

	// DPoPBoundAccessTokensRequired says that every token must be bound to a key
	// by DPoP. It only says so: [DPoP].Required checks it.
	DPoPBoundAccessTokensRequired bool `json:"dpop_bound_access_tokens_required,omitempty"`

	// InsecureAllowHTTP allows the scheme http for Resource, AuthorizationServers
	// and JWKSURI. Who can change what passes on that way can send a client to an
	// issuer of their own.
	InsecureAllowHTTP bool `json:"-"`
}

// wellKnownResource is where metadata are, on each host (RFC 9728, Section 3).
const wellKnownResource = "/.well-known/oauth-protected-resource"

// resourceMaxAge is for how long an answer with metadata is fresh, in seconds.
const resourceMaxAge = 3600

// URL returns where clients look for the metadata, which is where the handler of
// [ProtectedResourceMetadata.Handler] must be and what belongs in
// [Config].ResourceMetadata: the well-known path stands between the host of
// Resource and its path and query (RFC 9728, Section 3.1). It is "" for a Resource
// that is no URL.
func (d ProtectedResourceMetadata) URL() string {
	u, err := url.Parse(d.Resource)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return ""
	}
	path := u.EscapedPath()
	if path == "/" { // the slash after the host does not count
		path = ""
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return u.Scheme + "://" + u.Host + wellKnownResource + path
}

// Handler returns a handler for the path of URL, or everything that is wrong with
// the metadata. It answers GET and HEAD with the metadata as they are now, as JSON,
// for scripts of every origin and for caches to keep for an hour (RFC 9728, Section
// 3.2), OPTIONS with the CORS rules, and everything else with 405. Who asks has no
// token yet, so no Middleware belongs in front of it.
func (d ProtectedResourceMetadata) Handler() (http.Handler, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	document, _ := json.Marshal(d) // strings and booleans always marshal
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*") // they are public
		h.Set("X-Content-Type-Options", "nosniff")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions: // of browsers whose clients send a header of their own, as those of MCP do
			h.Set("Access-Control-Allow-Methods", "GET, HEAD")
			h.Set("Access-Control-Allow-Headers", "*")
			h.Set("Access-Control-Max-Age", strconv.Itoa(resourceMaxAge))
			w.WriteHeader(http.StatusNoContent)
			return
		default:
			h.Set("Allow", "GET, HEAD, OPTIONS")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(document)))
		h.Set("Cache-Control", "public, max-age="+strconv.Itoa(resourceMaxAge))
		_, _ = w.Write(document) // to HEAD, the server sends no body; a client that left needs none
	}), nil
}

// check returns every mistake.
func (d ProtectedResourceMetadata) check() error {
	var mistakes []error
	mistake := func(name string, err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("middleware: metadata of the resource: %s: %w", name, err))
		}
	}
	mistake("Resource", judgeIdentifier(d.Resource, d.InsecureAllowHTTP))
	for i, issuer := range d.AuthorizationServers {
		name := fmt.Sprintf("AuthorizationServers %d", i)
		mistake(name, judgeIdentifier(issuer, d.InsecureAllowHTTP))
		if strings.Contains(issuer, "?") {
			mistake(name, errors.New("the URL has a query"))
		}
	}
	if d.JWKSURI != "" {
		mistake("JWKSURI", judgeIdentifier(d.JWKSURI, d.InsecureAllowHTTP))
	}
	for _, page := range []struct{ name, value string }{
		{"ResourceDocumentation", d.ResourceDocumentation}, {"ResourcePolicyURI", d.ResourcePolicyURI}, {"ResourceTOSURI", d.ResourceTOSURI},
	} {
		if page.value != "" && !isURL(page.value) {
			mistake(page.name, errors.New("it is not a URL of https or http"))
		}
	}
	for _, list := range []struct {
		name   string
		values []string
		judge  func(string) bool
	}{
		{"AuthorizationServers", d.AuthorizationServers, func(string) bool { return true }},
		{"ScopesSupported", d.ScopesSupported, isScope},
		{"BearerMethodsSupported", d.BearerMethodsSupported, func(s string) bool { return slices.Contains([]string{"header", "body", "query"}, s) }},
		{"ResourceSigningAlgValuesSupported", d.ResourceSigningAlgValuesSupported, func(s string) bool { return s != "" && s != "none" }},
		{"AuthorizationDetailsTypesSupported", d.AuthorizationDetailsTypesSupported, func(s string) bool { return s != "" }},
		{"DPoPSigningAlgValuesSupported", d.DPoPSigningAlgValuesSupported, func(s string) bool { return s != "" && s != "none" && !strings.HasPrefix(s, "HS") }},
	} {
		for i, value := range list.values {
			switch {
			case !list.judge(value):
				mistake(list.name, fmt.Errorf("%q cannot be one", value))
			case slices.Contains(list.values[:i], value):
				mistake(list.name, fmt.Errorf("number %d is there twice", i))
			}
		}
	}
	return errors.Join(mistakes...)
}

// judgeIdentifier is judgeURL for what is compared: an empty fragment counts.
func judgeIdentifier(rawURL string, allowHTTP bool) error {
	if err := judgeURL(rawURL, allowHTTP); err != nil {
		return err
	}
	if strings.Contains(rawURL, "#") {
		return errors.New("the URL has a fragment")
	}
	return nil
}

// isURL reports whether s is an absolute URL of https or http.
func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// isScope reports whether s can be a scope (RFC 6749, Section 3.3).
func isScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}
