package middleware

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// RequireScopes returns a guard for routes behind Handler, Optional or Observe:
// requests whose token carries all the scopes pass, and none where no Middleware is
// in front. The others are answered with 403 and AUTH_SCOPE_INSUFFICIENT, with the
// scopes in the challenge (RFC 6750, Section 3.1), and anonymous ones with 401 and
// AUTH_TOKEN_MISSING, as the Middleware before it answers. Scopes are compared
// exactly. Without scopes, every request with a token passes.
func RequireScopes(scopes ...string) func(http.Handler) http.Handler {
	scopes = slices.Clone(scopes)
	return guard(func(c *authContext) error {
		for _, scope := range scopes {
			if !c.judged.HasScope(scope) {
				return &jwterrors.Error{
					Reason: jwterrors.ScopeInsufficient, Scopes: scopes, Identity: c.judged.Subject,
					Err: errors.New("the token lacks the scope " + shown(scope)),
				}
			}
		}
		return nil
	})
}

// RequireAnyScope is RequireScopes for tokens that carry one of the scopes at
// least. The challenge has all of them. Without scopes, nothing passes.
func RequireAnyScope(scopes ...string) func(http.Handler) http.Handler {
	scopes = slices.Clone(scopes)
	return guard(func(c *authContext) error {
		if slices.ContainsFunc(scopes, c.judged.HasScope) {
			return nil
		}
		return &jwterrors.Error{
			Reason: jwterrors.ScopeInsufficient, Scopes: scopes, Identity: c.judged.Subject,
			Err: errors.New("the token has none of the scopes"),
		}
	})
}

// RequireClaim returns a guard for tokens in which the claim called name is one
// of the values, or, without values, is there at all and not null. A string is
// compared exactly, an array passes when one of its elements does, and a number,
// true and false are compared as the token spells them. Objects have no value.
//
// What counts is what the token says, not what [Config].Validate made of it:
// Claims that were not read from a token do not pass. The others are answered as
// by RequireScopes, with 403 and AUTH_SCOPE_INSUFFICIENT, without a scope.
func RequireClaim(name string, values ...string) func(http.Handler) http.Handler {
	values = slices.Clone(values)
	return guard(func(c *authContext) error {
		var members map[string]json.RawMessage
		if err := c.judged.Decode(&members); err == nil {
			raw, ok := members[name]
			if ok && len(values) == 0 && string(raw) != "null" || slices.ContainsFunc(literals(raw), func(v string) bool { return slices.Contains(values, v) }) {
				return nil
			}
		}
		return &jwterrors.Error{
			Reason: jwterrors.ScopeInsufficient, Identity: c.judged.Subject,
			Message: "The token does not carry the required claim.",
			Err:     errors.New("the claim " + shown(name) + " is not as required"),
		}
	})
}

// literals returns the scalars that raw is, or is an array of.
func literals(raw json.RawMessage) []string {
	all := []json.RawMessage{raw}
	if len(raw) > 0 && raw[0] == '[' {
		_ = json.Unmarshal(raw, &all) // it is JSON: all claims were decoded
	}
	var found []string
	for _, one := range all {
		switch {
		case len(one) == 0 || one[0] == '{' || one[0] == '[' || one[0] == 'n':
		case one[0] == '"':
			if s, err := jws.String(one); err == nil {
				found = append(found, s)
			}
		default:
			found = append(found, string(one))
		}
	}
	return found
}

// An Authentication is a way in which the user must have logged in. The zero
// value asks for nothing.
type Authentication struct {
	// ACRValues are the accepted values of "acr" (OpenID Connect Core, Section
	// 2), the best one first. Nil means that it does not matter.
	ACRValues []string

	// MaxAge is how long ago the login may be, by "auth_time" and with the
	// Middleware's Leeway. Zero means that it does not matter, and less than
	// zero that no login is recent enough. It counts in whole seconds.
	MaxAge time.Duration
}

// RequireAuthentication returns a guard for routes that ask for more than a
// token: for a login of a certain strength, or a recent one (RFC 9470). Other
// requests are answered with 401 and AUTH_AUTHENTICATION_INSUFFICIENT, with
// "acr_values" and "max_age" in the challenge, so that the client can ask the
// user to log in again (Section 3). A token without "acr" or "auth_time" does
// not pass where that is asked for.
func RequireAuthentication(required Authentication) func(http.Handler) http.Handler {
	values, maxAge := slices.Clone(required.ACRValues), required.MaxAge
	if maxAge > 0 && maxAge < time.Second {
		maxAge = time.Second // 0 in the challenge could never be met
	}
	return guard(func(c *authContext) error {
		now, leeway := time.Now(), time.Duration(0)
		if c.by.made() {
			now, leeway = c.by.now(), c.by.leeway
		}
		at := c.judged.AuthTime
		var problem string
		switch {
		case len(values) > 0 && (c.judged.ACR == "" || !slices.Contains(values, c.judged.ACR)):
			problem = `"acr" is ` + shown(c.judged.ACR)
		case maxAge == 0:
			return nil
		case at.IsZero():
			problem = `"auth_time" is missing`
		case at.After(now.Add(leeway)):
			problem = `"auth_time" is in the future`
		case maxAge < 0 || now.After(at.Add(maxAge+leeway)):
			problem = fmt.Sprintf("the login was %v ago", now.Sub(at).Round(time.Second))
		default:
			return nil
		}
		e := &jwterrors.Error{
			Reason: jwterrors.AuthenticationInsufficient, ACRValues: values, MaxAge: maxAge,
			Identity: c.judged.Subject, Err: errors.New(problem),
		}
		if maxAge < 0 {
			e.MaxAge = 1 // "max_age=0", a login at once
		}
		return e
	})
}

// guard lets requests pass whose claims judge accepts, and the CORS preflights
// that Handler let pass. Behind Observe it lets all pass.
func guard(judge func(*authContext) error) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := contextOf(r.Context())
			err := error(nil)
			switch {
			case c.preflight:
			case c.judged == nil:
				err = &jwterrors.Error{Reason: jwterrors.TokenMissing}
			default:
				err = judge(c)
			}
			if err != nil {
				c.by.tellGuard(r.Context(), err)
			}
			switch {
			case err == nil:
			case c.observed:
				c.by.report(r, err, "would be refused")
			default:
				c.by.answer(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
