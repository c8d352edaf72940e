package middleware

import (
	"errors"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// credential returns the token in the value of an Authorization header (RFC 6750,
// Section 2.1; RFC 9449, Section 7.1): the scheme in any case, one or more spaces,
// the token.
//
// A value without this scheme carries no token. One with the scheme and no token
// behind it carries a token of the wrong format, the empty one. A tab behind the
// scheme, or a comma, is a malformed request. What is returned may still be a
// list, see isList.
func credential(value, scheme string) (string, error) {
	if value != "" && (isSpace(value[0]) || isSpace(value[len(value)-1])) {
		value = strings.Trim(value, " \t") // not a part of the value (RFC 9110, Section 5.5)
	}
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", errMissing
	}
	rest := value[len(scheme):]
	if rest == "" {
		return "", refuse(jwterrors.TokenFormatInvalid, errors.New("the token is empty"))
	}
	switch rest[0] {
	case ' ':
		return strings.TrimLeft(rest, " "), nil
	case '\t', ',':
		return "", errMalformed
	default: // a longer scheme
		return "", errMissing
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// isList reports whether what credential returned could be read as more than one
// credential. No token that is accepted can, so it need not be asked of those.
func isList(token string) bool {
	return strings.IndexByte(token, ' ') >= 0 || strings.IndexByte(token, '\t') >= 0 || strings.IndexByte(token, ',') >= 0
}

var errMalformed = refuse(jwterrors.RequestInvalid, errors.New("the Authorization header is malformed"))
