package middleware

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// Claims are what a token says (RFC 7519, Section 4). Every Check and Verify
// returns claims of its own, so that a handler may change them, unless
// [Config].ShareClaims is set.
type Claims struct {
	Issuer    string    // "iss"
	Subject   string    // "sub"; empty when there is none
	Audience  []string  // "aud", one or several
	ExpiresAt time.Time // "exp"
	NotBefore time.Time // "nbf"; zero when there is none
	IssuedAt  time.Time // "iat"
	ID        string    // "jti"; empty when there is none

	ClientID  string    // "client_id" (RFC 9068), else "azp" (OpenID Connect); empty when there is neither
	SessionID string    // "sid"; empty when there is none
	Scopes    []string  // "scope" (RFC 9068), else "scp"; a string with spaces or an array
	AuthTime  time.Time // "auth_time", when the user logged in; zero when there is none
	ACR       string    // "acr", how the user logged in; empty when there is none
	AMR       []string  // "amr", with which methods

	Email  string // "email"; empty when there is none
	UserID string // "userId"; empty when there is none

	payload string // the JSON that all this is from
}

// HasScope reports whether the token carries the scope, exactly as spelled. The
// empty one, from a setting that was forgotten, is carried by none.
func (c *Claims) HasScope(scope string) bool {
	return scope != "" && slices.Contains(c.Scopes, scope)
}

// Decode stores all claims of the token in the value that v points to, as
// json.Unmarshal does. Names of the outermost object are unambiguous: a token
// with two that differ by case alone does not get this far. It fails for Claims
// that were not read from a token.
func (c *Claims) Decode(v any) error {
	if c.payload == "" {
		return errors.New("middleware: decode claims: they are not from a token")
	}
	if err := json.Unmarshal([]byte(c.payload), v); err != nil {
		return fmt.Errorf("middleware: decode claims: %w", err)
	}
	return nil
}

// LogValue tells a log whose token it is, and no more.
func (c *Claims) LogValue() slog.Value {
	if c == nil {
		return slog.Value{}
	}
	return slog.GroupValue(slog.String("iss", c.Issuer), slog.String("sub", c.Subject),
		slog.String("client_id", c.ClientID), slog.String("jti", c.ID))
}

// A record is a set of claims as it was read, and what the claims say of the
// token's kind. It has room for short lists and for a request's context, so that a
// request allocates one thing for all this.
type record struct {
	Claims
	lists      [4]string
	rare       *rare // nil where there is none of it, as for most; see seldom
	context    authContext
	used       int32 // of lists
	kind       kind  // of a token that is no access token
	remembered bool  // from the cache
}

// What is rare takes no room in most records. It is shared and never changes.
type rare struct {
	shared       *Claims         // for handlers, where the record belongs to the cache; else nil
	confirmation *confirmation   // nil where the token is bound to nothing
	status       statusReference // zero where no list is asked
}

var nothingRare rare

// seldom returns what is rare in r, to be read alone.
func (r *record) seldom() *rare {
	if r.rare == nil {
		return &nothingRare
	}
	return r.rare
}

// out returns the claims for handlers.
func (r *record) out() *Claims {
	if shared := r.seldom().shared; shared != nil {
		return shared
	}
	return &r.Claims
}

// inContext returns a context with the claims.
func (r *record) inContext() *authContext {
	c := &r.context
	if r.seldom().shared != nil {
		c = new(authContext)
	}
	c.claims, c.judged = r.out(), &r.Claims
	return c
}

// readClaims reads a payload, which is JSON. It is strict: one value for each
// name, names in their exact case, and for each claim that Claims has, the right
// type.
func readClaims(payload string) (*record, error) {
	if r := scanClaims(payload); r != nil {
		return r, nil
	}
	return readClaimsSlowly(payload)
}

// otherKinds are the values with which token types are told apart in claims,
// by issuers that do not use "typ" in the header for it, in lower case: the
// refresh, ID and logout tokens of several products.
var otherKinds = []string{"refresh", "refresh_token", "offline", "id", "id_token", "logout"}

// A kind is the place of one of otherKinds, from 1 on. Zero is an access token.
type kind uint8

func (k kind) String() string { return otherKinds[k-1] }

// kindClaims are the names of claims that such a value is found in.
var kindClaims = []string{"type", "typ", "token_type", "token_use"}

// onlyInIDTokens are claims that bind an ID token to its neighbours (OpenID
// Connect Core, Section 3.3.2.11). No access token has them.
var onlyInIDTokens = []string{"at_hash", "c_hash"}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// kindOf returns which of otherKinds value is, or 0.
func kindOf(value string) kind {
	return kind(slices.Index(otherKinds, strings.ToLower(value)) + 1)
}

// sensitive are the names of which other spellings ("Scope") are refused, beside
// those that jws.ParseClaims refuses.
var sensitive = []string{"scope", "scp", "client_id", "azp", "sid", "auth_time", "acr", "amr", "cnf"}

// readClaimsSlowly reads any payload. scanClaims must agree with it.
func readClaimsSlowly(payload string) (*record, error) {
	parsed, err := jws.ParseClaims([]byte(payload))
	if err != nil {
		return nil, err
	}
	members := parsed.Members
	for name := range members {
		for _, exact := range sensitive {
			if name != exact && strings.EqualFold(name, exact) {
				return nil, fmt.Errorf("a name differs from %q by case alone", exact)
			}
		}
	}
	r := &record{Claims: Claims{
		Issuer: parsed.Issuer, Subject: parsed.Subject, Audience: parsed.Audience, ID: parsed.ID,
		ExpiresAt: parsed.Expiry, NotBefore: parsed.NotBefore, IssuedAt: parsed.IssuedAt, payload: payload,
	}}
	var azp string
	for _, f := range []struct {
		name   string
		target *string
	}{
		{"client_id", &r.ClientID}, {"azp", &azp}, {"sid", &r.SessionID}, {"acr", &r.ACR},
		{"email", &r.Email}, {"userId", &r.UserID},
	} {
		raw, ok := members[f.name]
		if !ok || string(raw) == "null" && (f.name == "email" || f.name == "userId") {
			continue
		}
		if *f.target, err = jws.String(raw); err != nil {
			return nil, fmt.Errorf("%q is not a string", f.name)
		}
	}
	if r.ClientID == "" {
		r.ClientID = azp
	}
	if raw, ok := members["auth_time"]; ok && string(raw) != "0" { // written by some where nobody logged in
		if r.AuthTime, err = jws.NumericDate(raw); err != nil {
			return nil, errors.New(`"auth_time" is not a date`)
		}
	}
	if raw, ok := members["amr"]; ok {
		if r.AMR, err = jws.Strings(raw); err != nil {
			return nil, errors.New(`"amr" is no array of strings`)
		}
	}
	if r.Scopes, err = readScopes(members); err != nil {
		return nil, err
	}
	if raw, ok := members["cnf"]; ok {
		r.rare = &rare{confirmation: readConfirmation(raw)}
	}
	r.kind = kindByMembers(members)
	return r, nil
}

// readScopes reads "scope", or else "scp".
func readScopes(members map[string]json.RawMessage) ([]string, error) {
	for _, name := range []string{"scope", "scp"} {
		raw, ok := members[name]
		if !ok {
			continue
		}
		all, err := jws.Strings(raw)
		if err != nil {
			return nil, fmt.Errorf("%q is neither a string nor an array of strings", name)
		}
		if raw[0] == '"' {
			return splitScopes(nil, all[0]), nil
		}
		return all, nil
	}
	return nil, nil
}

// splitScopes appends to list the scopes of s, which are separated by spaces and
// by nothing else (RFC 6749, Section 3.3).
func splitScopes(list []string, s string) []string {
	for s != "" {
		var scope string
		if scope, s, _ = strings.Cut(s, " "); scope != "" {
			list = append(list, scope)
		}
	}
	return list
}

func kindByMembers(members map[string]json.RawMessage) kind {
	for _, name := range kindClaims {
		if value, err := jws.String(members[name]); err == nil {
			if kind := kindOf(value); kind != 0 {
				return kind
			}
		}
	}
	for _, name := range onlyInIDTokens {
		if _, ok := members[name]; ok {
			return kindOf("id")
		}
	}
	var events map[string]json.RawMessage
	if json.Unmarshal(members["events"], &events) == nil {
		if _, ok := events[logoutEvent]; ok {
			return kindOf("logout")
		}
	}
	return 0
}

// judgeKind refuses claims of a token that is no access token.
func (r *record) judgeKind() error {
	if r.kind == 0 {
		return nil
	}
	return refuse(jwterrors.TokenTypeInvalid, fmt.Errorf("the claims are those of a token of the kind %q", r.kind.String()))
}
