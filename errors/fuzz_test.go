package errors_test

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// FuzzFromResponse: whatever a server answers, reading it neither panics nor
// loses a byte of the body.
func FuzzFromResponse(f *testing.F) {
	f.Add(401, `Bearer error="invalid_token", reason="AUTH_TOKEN_EXPIRED"`, "application/json", `{"reason":"AUTH_TOKEN_EXPIRED"}`)
	f.Add(403, `Basic realm="a\"", bearer scope="a b", error=insufficient_scope`, "application/problem+json", `{"error":{"code":1}}`)
	f.Add(429, `Negotiate YWJj==, , DPoP a = "`, "text/html", `<html>`)
	f.Fuzz(func(t *testing.T, status int, challenge, contentType, body string) {
		resp := response(status, contentType, body, challenge)
		e := jwterrors.FromResponse(resp)
		if e != nil && (e.Reason == "" || e.Status != status) {
			t.Errorf("read %#v", e)
		}
		if data, err := io.ReadAll(resp.Body); err != nil || string(data) != body {
			t.Errorf("body is now %q, %v", data, err)
		}
	})
}

// FuzzAnswerAndRead: whatever an error holds, the header is one line of
// printable ASCII, and a known reason is read back.
func FuzzAnswerAndRead(f *testing.F) {
	f.Add(4, "the realm", "the message", "api:read", "mfa")
	f.Add(18, "a\"b\\", "line\r\nSet-Cookie: x", "a b\x00", "é\"")
	f.Fuzz(func(t *testing.T, n int, realm, message, scope, acr string) {
		all := jwterrors.Reasons()
		reason := all[((n%len(all))+len(all))%len(all)]
		e := &jwterrors.Error{Reason: reason, Message: message, Scopes: []string{scope}, ACRValues: []string{acr}, Nonce: message}
		for form, answer := range forms(jwterrors.Responder{Realm: realm, ResourceMetadata: realm, DPoPAlgorithms: scope}) {
			w := httptest.NewRecorder()
			answer(w, httptest.NewRequest("GET", "/", nil), e)
			header := w.Header().Get("WWW-Authenticate")
			if strings.ContainsFunc(header, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%s: header %q", form, header)
			}
			got := jwterrors.FromResponse(w.Result())
			if nonce := w.Header().Get("DPoP-Nonce"); strings.ContainsFunc(nonce, func(c rune) bool { return c <= ' ' || c > '~' }) || got != nil && nonce != got.Nonce {
				t.Errorf("%s: nonce %q was read back as %q", form, nonce, got.Nonce)
			}
			if len(w.Body.Bytes()) > 16<<10 && got == nil {
				continue // only the body of a very long message could have told
			}
			if len(w.Body.Bytes()) <= 16<<10 && len(header) <= 16<<10 && (got == nil || got.Reason != reason) {
				t.Errorf("%s: %s was read back as %v from %q", form, reason, got, header)
			}
		}
	})
}
