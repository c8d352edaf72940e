package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Tokens are what a login, a signup and a refresh answer (RFC 6749, Section
// 5.1). Printed they show no token.
type Tokens struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`              // "Bearer"; "DPoP" when they are bound to a key
	ExpiresIn        int64  `json:"expires_in"`              // of the access token, in seconds
	RefreshToken     string `json:"refresh_token,omitempty"` // empty when it is in a cookie
	RefreshExpiresIn int64  `json:"refresh_expires_in"`      // of the session, in seconds
	Scope            string `json:"scope"`                   // separated by spaces; may be empty
}

// String hides the tokens, from loggers too that would marshal t else.
func (t Tokens) String() string { return fmt.Sprintf("tokens for %d seconds", t.ExpiresIn) }

// Format hides the tokens, for every verb and flag.
func (t Tokens) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue returns what Format writes.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// writeTokens answers t, in the form of Config.Encode.
func (i *Issuer) writeTokens(w http.ResponseWriter, status int, route string, t Tokens) error {
	refreshToken := t.RefreshToken
	if i.c.Cookie != "" {
		t.RefreshToken = ""
	}
	var v any = t
	if i.c.Encode != nil {
		v = i.c.Encode(route, t)
	}
	body, err := json.Marshal(v)
	if err != nil {
		return &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("issuer: marshal what Encode returned: %w", err)}
	}
	if i.c.Cookie != "" { // now that nothing fails any more
		i.setCookie(w, refreshToken, int(min(t.RefreshExpiresIn, 1<<31-1)))
	}
	noStore(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that left needs no answer
	return nil
}

// checkEncode has encode write tokens that nobody has, and says what a client
// could not go on with: an answer without its access token, a login without its
// refresh token, and a refresh without the one that it was rotated to.
func checkEncode(encode func(route string, t Tokens) any, inBody, rotates bool) (wrong []error) {
	probe := Tokens{
		AccessToken: "access-" + random(16), TokenType: "Bearer", ExpiresIn: int64(DefaultAccessTTL / time.Second),
		RefreshToken: "refresh-" + random(16), RefreshExpiresIn: int64(DefaultRefreshTTL / time.Second), Scope: "scope",
	}
	for _, route := range []string{"login", "refresh"} { // a signup may leave both to the login that follows
		body, err := marshalled(encode, route, probe)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("issuer: Encode of a %s: %w", route, err))
			continue
		}
		if !strings.Contains(body, probe.AccessToken) {
			wrong = append(wrong, fmt.Errorf("issuer: Encode leaves out the access token of a %s", route))
		}
		if inBody && !strings.Contains(body, probe.RefreshToken) && (route == "login" || rotates) {
			wrong = append(wrong, fmt.Errorf("issuer: Encode leaves out the refresh token of a %s; a client that keeps the old one loses its session, unless InsecureNoRotation is set", route))
		}
	}
	return wrong
}

func marshalled(encode func(route string, t Tokens) any, route string, t Tokens) (body string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("it panics")
		}
	}()
	data, err := json.Marshal(encode(route, t))
	return string(data), err
}
