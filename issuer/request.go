package issuer

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// authorization returns the access token of a request, and the scheme that it came
// with: Bearer (RFC 6750, Section 2.1) or DPoP (RFC 9449, Section 7.1).
func authorization(r *http.Request) (scheme, token string, err error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", "", refused(jwterrors.RequestInvalid, "there are several Authorization fields")
	}
	scheme, token, _ = strings.Cut(strings.Join(values, ""), " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, dpop.Scheme) || token == "" {
		return "", "", refused(jwterrors.TokenMissing, "there is no access token")
	}
	return scheme, token, nil
}

// accessSession returns the session id of the access token of r, which must have
// what the token is bound to. It returns it beside the error TokenExpired too.
func (i *Issuer) accessSession(w http.ResponseWriter, r *http.Request) (string, error) {
	scheme, token, err := authorization(r)
	if err != nil {
		return "", err
	}
	sid, c, err := i.verify(token, i.c.Now())
	if c == nil {
		return "", err
	}
	if err := i.held(w, r, scheme, token, c.Members["cnf"]); err != nil {
		return "", i.proofRefused(Event{SessionID: sid, Subject: c.Subject, Address: address(r)}, err)
	}
	return sid, err
}

// address returns the address that r came from, without its port.
func address(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // "" when it has another form
	return host
}

// maxBody limits the body of a request, in bytes.
const maxBody = 64 << 10

// readMembers reads the members of a JSON object.
func readMembers(w http.ResponseWriter, r *http.Request) (map[string]json.RawMessage, error) {
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/json" {
			return nil, httpError(http.StatusUnsupportedMediaType, "The body must be application/json.")
		}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, httpError(http.StatusRequestEntityTooLarge, "The body is too large.")
	} else if err != nil {
		return nil, refused(jwterrors.RequestInvalid, "the body broke off")
	}
	if members, ok := jws.Flat(data); ok {
		return members, nil
	}
	members, err := jws.Members(data)
	if err != nil {
		return nil, refused(jwterrors.RequestInvalid, "the body is not a JSON object with every name once")
	}
	return members, nil
}
