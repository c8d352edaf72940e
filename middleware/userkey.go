package middleware

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A UserKey is what the tokens of JWT-enabled API keys call a user by: one of
// the two is set.
type UserKey struct {
	Email  string // "email"
	UserID string // "userId"
}

// A UserKeyRule is for tokens that name their user in "email" or "userId": a
// token that has both, and one where either is no string, is refused with
// AUTH_TOKEN_PAYLOAD_INVALID, and one that has neither, or an empty one, with
// AUTH_TOKEN_USER_KEY_INVALID. The hooks refuse with that, too. An error of
// theirs means that the answer is not known: AUTH_STORE_UNAVAILABLE.
//
// Tokens of that shape often have neither issuer nor audience. What they are
// meant for is then their secret's alone: see InsecureAnyIssuer and
// InsecureAnyAudience.
type UserKeyRule struct {
	// Matches returns whether the request is about the user of its token: the
	// one that stands in its path or its body, for example. The request is nil
	// for Verify, which has none. Nil means that every request matches.
	Matches func(ctx context.Context, r *http.Request, key UserKey) (bool, error)

	// Exists returns whether there is such a user. Nil means that there is.
	Exists func(ctx context.Context, key UserKey) (bool, error)
}

// judge applies the rule. A nil rule accepts everything.
func (rule *UserKeyRule) judge(ctx context.Context, r *http.Request, c *Claims) error {
	if rule == nil {
		return nil
	}
	key := UserKey{c.Email, c.UserID}
	refused := func(reason jwterrors.Reason, cause error) error {
		return &jwterrors.Error{Reason: reason, Err: cause, Identity: cmp.Or(c.Email, c.UserID)}
	}
	switch {
	case key.Email != "" && key.UserID != "":
		return refused(jwterrors.TokenPayloadInvalid, errors.New(`there are both "email" and "userId"`))
	case key == UserKey{}:
		return refused(jwterrors.TokenUserKeyInvalid, errors.New(`there is neither "email" nor "userId"`))
	}
	if rule.Matches != nil {
		ok, err := rule.Matches(ctx, r, key)
		switch {
		case err != nil:
			return unknown(err)
		case !ok:
			return refused(jwterrors.TokenUserKeyInvalid, errors.New("the request is about another user"))
		}
	}
	if rule.Exists != nil {
		ok, err := rule.Exists(ctx, key)
		switch {
		case err != nil:
			return unknown(err)
		case !ok:
			return refused(jwterrors.TokenUserKeyInvalid, errors.New("there is no such user"))
		}
	}
	return nil
}
