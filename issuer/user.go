package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tokenloop/tokenloop/internal/jws"
)

// Credentials are what a client sends to log in.
type Credentials struct {
	Username string // either this
	Email    string // or this
	Password string `json:"-"`
	Device   string // a name for the session; may be empty
	Address  string // the address that the request came from, without port
}

func (c Credentials) text() string { return "credentials of " + c.Username + c.Email }

// Format names the user and hides the password, for every verb and flag.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.text())) }

// LogValue returns what Format writes.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.text()) }

// A User is who logged in, and what goes into the access tokens.
type User struct {
	// ID is the claim "sub". It is required, and never changes for a user.
	ID string

	// Scopes are what the user may be granted. A login that asks for scopes
	// gets these, or is refused when one is not among them, and one that asks
	// for none gets all.
	Scopes []string

	// Email or UserID is the claim "email" or "userId". Setting both is an
	// error: a token names its user in one way.
	Email, UserID string

	// ACR says how the user logged in: the claim "acr". It may be empty. Of
	// the answer to Reload it is ignored.
	ACR string

	// Claims are further claims for the access token. Those that Config.Claims
	// lists are signed, readable by the client, and the others are left out.
	// Names of claims that the issuer sets itself are refused, in any case,
	// and so is, listed or not, what readers of tokens refuse:
	// names that differ by case alone, a name that occurs twice, nesting
	// beyond 16 levels, and a token longer than 8192 bytes.
	Claims map[string]any
}

// fill puts what u says into s, or says what is wrong with u.
func (u User) fill(s *Session) error {
	switch {
	case u.ID == "":
		return errors.New("the user has no ID")
	case u.Email != "" && u.UserID != "":
		return errors.New("the user has an Email and a UserID; a token names one of them")
	case !utf8.ValidString(u.ID + " " + u.Email + " " + u.UserID + " " + u.ACR):
		return errors.New("the user's ID, Email, UserID or ACR is not UTF-8")
	}
	for name := range u.Claims {
		if isReserved(name) {
			return fmt.Errorf("the claim %q is set by the issuer alone", name)
		}
	}
	for _, scope := range u.Scopes {
		if !isScope(scope) {
			return fmt.Errorf("%q is not a scope", scope)
		}
	}
	s.Claims = nil
	if len(u.Claims) > 0 {
		claims, err := json.Marshal(u.Claims)
		if err != nil {
			return fmt.Errorf("marshal the claims: %w", err)
		}
		if _, err := jws.ParseClaims(claims); err != nil {
			return fmt.Errorf("read the claims back: %w", err)
		}
		s.Claims = claims
	}
	s.Subject, s.Email, s.UserID, s.ACR = u.ID, u.Email, u.UserID, u.ACR
	return nil
}

// isScope reports whether s is a scope (RFC 6749, Section 3.3).
func isScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

// grant returns the scopes for a login: all that the user may have, or the part
// that it asks for. It reports whether the user may have that.
func grant(may []string, asked string) ([]string, bool) {
	if strings.TrimSpace(asked) == "" {
		return slices.Clone(may), true
	}
	var granted []string
	for scope := range strings.FieldsSeq(asked) {
		if !slices.Contains(may, scope) {
			return nil, false
		}
		if !slices.Contains(granted, scope) {
			granted = append(granted, scope)
		}
	}
	return granted, true
}

// keep returns those of granted that the user may still have.
func keep(granted, may []string) []string {
	var kept []string
	for _, scope := range granted {
		if slices.Contains(may, scope) {
			kept = append(kept, scope)
		}
	}
	return kept
}
