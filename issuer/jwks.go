package issuer

import (
	"fmt"
	"net/http"
	"strings"
)

// JWKS returns the current JWK Set (RFC 7517): public keys only, none for HS256.
// The result must not be changed.
func (i *Issuer) JWKS() []byte { return i.c.Keys.JWKS() }

// keys answers the JWK Set with its validators (RFC 9110, Section 8.8.3).
func (i *Issuer) keys(w http.ResponseWriter, r *http.Request) error {
	d := i.c.Keys.document()
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(i.c.Keys.maxAge.Seconds())))
	h.Set("ETag", d.tag)
	h.Set("X-Content-Type-Options", "nosniff")
	for value := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if value = strings.TrimPrefix(strings.TrimSpace(value), "W/"); value == d.tag || value == "*" {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	_, _ = w.Write(d.body) // a client that left needs no answer
	return nil
}
