package refresher

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Tokens are the tokens of a session. Their JSON form holds them in full: a Store that
// keeps bytes uses EncodeTokens, which notes its version. Every other form (fmt with
// any verb, slog) is shortened to what may be shown.
type Tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`

	// TokenType is "Bearer" (RFC 6750), "DPoP" (RFC 9449), which takes
	// Config.DPoP, or empty, in any letter case. Empty means "DPoP" where the
	// token is a JWT that names the key of Config.DPoP, else "Bearer". Another
	// type is refused.
	TokenType string `json:"token_type,omitempty"`

	Scope string `json:"scope,omitempty"` // what was granted; empty when not known

	// Expiry is when the access token expires. When it is zero, the "exp"
	// claim is used; a token that has neither is used until it is refused.
	Expiry time.Time `json:"expiry,omitzero"`

	// RefreshExpiry is when the refresh token expires; zero when not known.
	RefreshExpiry time.Time `json:"refresh_expiry,omitzero"`

	// Received is when the tokens were received. The Transport sets it where
	// it is zero.
	Received time.Time `json:"received,omitzero"`

	// RetryKey is sent as Idempotency-Key with the refresh of these tokens, by
	// every process that shares the store, so that a refresh whose answer was
	// lost can be repeated. The Transport draws it where it is empty.
	RetryKey string `json:"retry_key,omitempty"`

	// Identity is whose tokens they are, where the caller said so. A token
	// that is for somebody else is refused.
	Identity Identity `json:"identity,omitzero"`

	// Owner is whom the access token was for, by its own words: "sub:" and its
	// "sub", else "userId:" or "email:" and that claim. Empty means not known.
	// The Transport sets it, and keeps it with a refresh token that is stored
	// alone.
	Owner string `json:"owner,omitempty"`

	outcome *outcome // who wants to know whether the token was accepted
	lent    *state   // set by Token: the snapshot that the tokens are from
}

// IsZero reports whether there is no token in t.
func (t Tokens) IsZero() bool { return t.AccessToken == "" && t.RefreshToken == "" }

// same reports whether t and u are the same pair.
func (t Tokens) same(u Tokens) bool {
	return t.AccessToken == u.AccessToken && t.RefreshToken == u.RefreshToken
}

// String returns one line without secrets, for loggers that would marshal t else.
func (t Tokens) String() string {
	var b strings.Builder
	b.WriteString("Tokens{access " + orNone(jwterrors.Redact(t.AccessToken)))
	if t.RefreshToken != "" {
		b.WriteString(", refresh (hidden)")
	}
	if !t.Expiry.IsZero() {
		b.WriteString(", expiry " + t.Expiry.UTC().Format(time.RFC3339))
	}
	if !t.Identity.isZero() {
		b.WriteString(", identity " + t.Identity.String())
	}
	return b.String() + "}"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Format writes one line without secrets, for every verb and flag.
func (t Tokens) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue returns what Format writes.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Credentials are what a user logs in with: a Username or an Email, and the
// Password. They are never kept, and no form of them shows the password.
type Credentials struct {
	Username string
	Email    string
	Password string

	Device string   // a name for the session, shown in the list of sessions; may be empty
	Scopes []string // what is asked for; empty means what the server grants by default
}

func (c Credentials) text() string {
	name := c.Username
	if name == "" {
		name = c.Email
	}
	return fmt.Sprintf("Credentials{%q}", name)
}

// Format writes one line without the password, for every verb and flag.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.text()) }

// LogValue returns what Format writes.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.text()) }

// MarshalJSON returns what Format writes, so that a log in JSON does not show the
// password either.
func (c Credentials) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", c.text()), nil }
