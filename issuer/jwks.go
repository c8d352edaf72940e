package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// JWKS returns the current JWK Set (RFC 7517): public keys only, none for HS256.
// The result must not be changed.
func (i *Issuer) JWKS() []byte { return i.c.Keys.JWKS() }

// keys answers the JWK Set with its validators (RFC 9110, Section 8.8.3).
func (i *Issuer) keys(w http.ResponseWriter, r *http.Request) error {
	body := i.JWKS()
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(JWKSMaxAge.Seconds())))
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
