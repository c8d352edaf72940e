package middleware

import (
	"errors"
	"net/http"
	"slices"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// RequireScopes returns a guard for routes behind Handler or Optional: requests
// whose token carries all the scopes pass. The others are answered with 403 and
// AUTH_SCOPE_INSUFFICIENT, with the scopes in the challenge (RFC 6750, Section
// 3.1), and anonymous ones with 401 and AUTH_TOKEN_MISSING, as the Middleware
// before it answers. Scopes are compared exactly. Without scopes, every request
// with a token passes.
func RequireScopes(scopes ...string) func(http.Handler) http.Handler {
	scopes = slices.Clone(scopes)
	return guard(func(c *Claims) error {
		for _, scope := range scopes {
			if !c.HasScope(scope) {
				return &jwterrors.Error{
					Reason: jwterrors.ScopeInsufficient, Scopes: scopes, Identity: c.Subject,
					Err: errors.New("the token lacks the scope " + shown(scope)),
				}
			}
		}
		return nil
	})
}

// guard lets requests pass whose claims judge accepts, and the CORS preflights
// that Handler let pass.
func guard(judge func(*Claims) error) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := contextOf(r.Context())
			err := error(nil)
			switch {
			case c.preflight:
			case c.claims == nil:
				err = refuse(jwterrors.TokenMissing, nil)
			default:
				err = judge(c.claims)
			}
			if err != nil {
				c.by.answer(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
