package errors

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// A Responder answers refused requests. The zero value is ready to use.
type Responder struct {
	// Realm is the protection space in the challenge (RFC 9110, Section
	// 11.5). Empty means that the challenge has none.
	Realm string

	// ResourceMetadata is the URL of the metadata of the protected resource,
	// given in the challenge (RFC 9728, Section 5.1). Empty means none.
	ResourceMetadata string
}

// Respond answers w with the status, the challenge and the
// application/problem+json body (RFC 9457) of the reason of err. The cause of
// err is not sent. A nil err is answered like TokenGenericError: who calls
// Respond has refused the request.
//
// A 401, and a 400 or 403 for which RFC 6750 has a code, carries
// WWW-Authenticate. The challenge to a request without a token is bare: no code
// and no reason, which is in the body alone (RFC 6750, Section 3.1). A 429 or
// 503 carries Retry-After, of one second at least.
func (p Responder) Respond(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	status := e.Reason.answerStatus(false)
	p.header(w.Header(), e, status)
	w.Header().Set("Content-Type", "application/problem+json")
	write(w, status, problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: e.message(), Reason: e.Reason,
	})
}

// RespondOAuth answers like Respond, in the form of an OAuth endpoint: status
// 400 for a bad grant or refresh token, and a JSON body with the members
// "error" and "error_description" (RFC 6749, Section 5.2), and "reason" besides.
func (p Responder) RespondOAuth(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	status := e.Reason.answerStatus(true)
	p.header(w.Header(), e, status)
	w.Header().Set("Content-Type", "application/json")
	code := e.Reason.OAuthCode()
	if code == "" {
		code = "invalid_request"
		if status >= 500 {
			code = "server_error"
		}
	}
	write(w, status, oauthProblem{Error: code, Description: describe(e.message()), Reason: e.Reason})
}

type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Reason Reason `json:"reason"`
}

type oauthProblem struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Reason      Reason `json:"reason"`
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) && e != nil && e.Reason != "" {
		return e
	}
	if r := ReasonOf(err); r != "" {
		return &Error{Reason: r}
	}
	return &Error{Reason: TokenGenericError}
}

func (p Responder) header(h http.Header, e *Error, status int) {
	h.Del("Content-Length") // it was another body's
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.FormatInt(max(seconds(e.RetryAfter), 1), 10))
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest:
		if c := p.Challenge(e); c != "" {
			h.Add("WWW-Authenticate", c)
		}
	}
}

func write(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left needs no answer
}

// Challenge returns the value of WWW-Authenticate for err (RFC 9110, Section
// 11.6.1, and RFC 6750, Section 3), or "" where there is nothing to
// authenticate for: a refresh request without a token, for example. Whatever
// err holds, the value is one line of printable ASCII and every parameter stays
// within its quotes.
func (p Responder) Challenge(err error) string {
	e := asError(err)
	var b params
	switch e.Reason {
	case ClientInvalid: // RFC 6749, Section 5.2
		b.WriteString("Basic")
		b.add("realm", quoted(or(p.Realm, "token")))
		return b.String()
	case GrantInvalid, GrantUnsupported, ScopeInvalid, RefreshTokenMissing:
		return ""
	case ProofInvalid, ProofNonceRequired: // RFC 9449, Section 7.1
		b.WriteString("DPoP")
	default:
		b.WriteString("Bearer")
	}
	if p.Realm != "" {
		b.add("realm", quoted(p.Realm))
	}
	if code := e.Reason.OAuthCode(); code != "" {
		b.add("error", code)
		b.add("error_description", describe(e.message()))
	}
	if e.Reason != TokenMissing {
		b.add("reason", strings.Map(codeByte, string(e.Reason)))
	}
	if len(e.Scopes) > 0 {
		b.add("scope", tokens(e.Scopes))
	}
	if len(e.ACRValues) > 0 {
		b.add("acr_values", tokens(e.ACRValues))
	}
	if e.MaxAge > 0 {
		b.add("max_age", strconv.FormatInt(int64(e.MaxAge.Seconds()), 10))
	}
	if p.ResourceMetadata != "" {
		b.add("resource_metadata", quoted(p.ResourceMetadata))
	}
	return b.String()
}

// params writes a scheme and its parameters. Values come ready for quotes.
type params struct {
	strings.Builder
	more bool
}

func (b *params) add(name, value string) {
	if b.more {
		b.WriteByte(',')
	}
	b.more = true
	b.WriteString(" " + name + `="` + value + `"`)
}

// quoted escapes s for a quoted-string (RFC 9110, Section 5.6.4). What is not
// printable ASCII becomes "?".
func quoted(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c > '~':
			b.WriteByte('?')
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// describe keeps to the characters of error_description (RFC 6750, Section 3),
// which has no quote, no backslash, and nothing but printable ASCII.
func describe(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c == '\\':
			return '/'
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, s)
}

// tokens joins scopes or acr values with spaces and leaves out those that could
// not be read back: only printable ASCII without space, quote and backslash
// can (RFC 6749, Section 3.3).
func tokens(values []string) string {
	var kept []string
	for _, v := range values {
		if v != "" && !strings.ContainsFunc(v, func(c rune) bool {
			return c <= ' ' || c > '~' || c == '"' || c == '\\'
		}) {
			kept = append(kept, v)
		}
	}
	return strings.Join(kept, " ")
}

func codeByte(c rune) rune {
	if c < 0x80 && isCode(string(c)) {
		return c
	}
	return '?'
}
