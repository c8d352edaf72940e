package issuer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// reserved are the claims that only the issuer sets.
var reserved = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "scp", "sid", "auth_time", "acr", "amr",
	"email", "userId", "cnf", "act", "may_act", "typ", "type", "token_type", "token_use", "azp", "nonce", "at_hash", "c_hash", "events",
}

// isReserved reports whether a claim is one of reserved, in any case.
func isReserved(name string) bool {
	return slices.ContainsFunc(reserved, func(r string) bool { return strings.EqualFold(name, r) })
}

// checkClaims says what is wrong with the list of custom claims, where the claims
// besides are the issuer's, too.
func checkClaims(names []string, besides ...string) (wrong []error) {
	for n, name := range names {
		switch {
		case !utf8.ValidString(name):
			wrong = append(wrong, fmt.Errorf("issuer: Claims[%d] is not UTF-8", n))
		case isReserved(name) || slices.ContainsFunc(besides, func(own string) bool { return strings.EqualFold(name, own) }):
			wrong = append(wrong, fmt.Errorf("issuer: Claims[%d]: %q is set by the issuer alone", n, name))
		case slices.ContainsFunc(names[:n], func(other string) bool { return strings.EqualFold(name, other) }):
			wrong = append(wrong, fmt.Errorf("issuer: Claims[%d]: %q stands twice, or differs by case alone", n, name))
		}
	}
	return wrong
}

// keepListed drops the custom claims of s that Config.Claims does not list.
func (i *Issuer) keepListed(s *Session) error {
	if len(s.Claims) == 0 {
		return nil
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(s.Claims, &claims); err != nil {
		return &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("issuer: read the claims of session %s: %w", s.ID, err)}
	}
	all := len(claims)
	for name := range claims {
		if !slices.Contains(i.c.Claims, name) {
			delete(claims, name)
		}
	}
	switch len(claims) {
	case all:
	case 0:
		s.Claims = nil
	default:
		s.Claims, _ = json.Marshal(claims) // what was read can be written
	}
	return nil
}
