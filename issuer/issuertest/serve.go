package issuertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
)

// The paths of the documents (RFC 8414, Section 3, and OpenID Connect Discovery,
// Section 4).
const (
	jwksPath   = "/.well-known/jwks.json"
	oauthPath  = "/.well-known/oauth-authorization-server"
	openIDPath = "/.well-known/openid-configuration"
)

// Handler returns the handler of the server, to mount elsewhere:
//
//	GET /.well-known/jwks.json                   the JWK Set
//	GET /.well-known/openid-configuration        metadata with "issuer" and "jwks_uri"
//	GET /.well-known/oauth-authorization-server  the same
//
// For an issuer with a path, the metadata are where the two specifications put
// them.
func (f *Fake) Handler() http.Handler { return http.HandlerFunc(f.serve) }

func (f *Fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	if r.URL.Path == jwksPath {
		f.fetches++
	}
	down := f.down
	f.mu.Unlock()
	path := f.issuerPath()
	switch {
	case down:
		http.Error(w, "the fake issuer is down", http.StatusServiceUnavailable)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == jwksPath:
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(f.JWKS())
	case r.URL.Path == path+openIDPath, r.URL.Path == oauthPath+path:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(f.metadata())
	default:
		http.NotFound(w, r)
	}
}

// issuerPath and issuerOrigin return the parts of an issuer that is a URL, and ""
// for others.
func (f *Fake) issuerPath() string {
	u, err := url.Parse(f.c.Issuer)
	if err != nil || u.Host == "" {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}

func (f *Fake) issuerOrigin() string {
	u, err := url.Parse(f.c.Issuer)
	if err != nil || u.Host == "" {
		return ""
	}
	return origin(u)
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

func (f *Fake) metadata() []byte {
	document, _ := json.Marshal(map[string]any{ // strings always marshal
		"issuer": f.c.Issuer, "jwks_uri": f.JWKSURL(),
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{f.c.Algorithm},
	})
	return document
}

// A transport is answered by the handler of its Fake.
type transport struct{ fake *Fake }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if at := origin(r.URL); at != t.fake.base && at != t.fake.issuerOrigin() {
		return nil, fmt.Errorf("issuertest: the fake issuer is not at %s but at %s", at, t.fake.base)
	}
	w := httptest.NewRecorder()
	t.fake.serve(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}
