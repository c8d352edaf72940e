package issuer

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// JWKS returns the current JWK Set (RFC 7517): public keys only, none for HS256.
// The result must not be changed.
func (i *Issuer) JWKS() []byte { return i.c.Keys.JWKS() }

// keys answers the JWK Set with its validators (RFC 9110, Section 8.8.3).
func (i *Issuer) keys(w http.ResponseWriter, r *http.Request) error {
	d := i.c.Keys.document()
	return cacheable(w, r, "application/jwk-set+json", i.c.Keys.maxAge, d.body, d.tag)
}

// cacheable answers a public document of the given entity tag, which is fresh for maxAge.
func cacheable(w http.ResponseWriter, r *http.Request, contentType string, maxAge time.Duration, body []byte, tag string) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(maxAge.Seconds())))
	h.Set("ETag", tag)
	h.Set("X-Content-Type-Options", "nosniff")
	for value := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if value = strings.TrimPrefix(strings.TrimSpace(value), "W/"); value == tag || value == "*" {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	_, _ = w.Write(body) // a client that left needs no answer
	return nil
}
