package middleware

import (
	"errors"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// bearer returns the token in the value of an Authorization header (RFC 6750,
// Section 2.1): the scheme in any case, one or more spaces, the token.
//
// A value without this scheme carries no token. One with the scheme and no token
// behind it carries a token of the wrong format, the empty one. A list, and
// anything else that could be read as more than one credential, is a malformed
// request; so is a tab.
func bearer(value string, max int) (string, error) {
	const scheme = "bearer"
	value = strings.Trim(value, " \t") // not a part of the value (RFC 9110, Section 5.5)
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", refuse(jwterrors.TokenMissing, nil)
	}
	rest := value[len(scheme):]
	if rest == "" {
		return "", refuse(jwterrors.TokenFormatInvalid, errors.New("the token is empty"))
	}
	switch rest[0] {
	case ' ':
	case '\t', ',':
		return "", refuse(jwterrors.RequestInvalid, errors.New("the Authorization header is malformed"))
	default: // a longer scheme
		return "", refuse(jwterrors.TokenMissing, nil)
	}
	token := strings.TrimLeft(rest, " ")
	if len(token) <= max && strings.ContainsAny(token, " \t,") {
		return "", refuse(jwterrors.RequestInvalid, errors.New("the Authorization header is malformed"))
	}
	return token, nil
}
