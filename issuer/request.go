package issuer

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// bearer returns the access token of a request (RFC 6750, Section 2.1).
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", refused(jwterrors.RequestInvalid, "there are several Authorization fields")
	}
	scheme, token, _ := strings.Cut(strings.Join(values, ""), " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", refused(jwterrors.TokenMissing, "there is no bearer token")
	}
	return token, nil
}

// address returns the address that r came from, without its port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// maxBody limits the body of a request, in bytes.
const maxBody = 64 << 10

// readBody reads a JSON object and returns the strings of the members named;
// others are ignored, and null is the same as absent.
func readBody(w http.ResponseWriter, r *http.Request, names ...string) (map[string]string, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, httpError(http.StatusUnsupportedMediaType, "The body must be application/json.")
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, httpError(http.StatusRequestEntityTooLarge, "The body is too large.")
	} else if err != nil {
		return nil, refused(jwterrors.RequestInvalid, "the body broke off")
	}
	members, err := jws.Members(data)
	if err != nil {
		return nil, refused(jwterrors.RequestInvalid, "the body is not a JSON object with every name once")
	}
	values := map[string]string{}
	for _, name := range names {
		raw, ok := members[name]
		if !ok || string(raw) == "null" {
			continue
		}
		if values[name], err = jws.String(raw); err != nil {
			return nil, refused(jwterrors.RequestInvalid, fmt.Sprintf("%q is not a string", name))
		}
	}
	return values, nil
}
