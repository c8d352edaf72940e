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

	// DPoPAlgorithms are the algorithms of DPoP proofs that are accepted, with
	// spaces between them (RFC 9449, Section 7.1). Empty means that DPoP is not
	// offered. Else a challenge says what is wrong under the scheme that the
	// request has used, and offers the other one without saying more (Section
	// 7.2). The two stand in one field.
	DPoPAlgorithms string

	// DPoPRequired offers DPoP alone. It counts where DPoPAlgorithms is set.
	DPoPRequired bool
}

// Respond answers w with the status, the challenge and the
// application/problem+json body (RFC 9457) of the reason of err. The cause of
// err is not sent. A nil err is answered like TokenGenericError: who calls
// Respond has refused the request.
//
// An err of the reason RequestInvalid with a Status from 401 to 499, such as 405
// or 413, is answered with that. A 401, and a 400 or 403 for which RFC 6750 has a
// code, carries WWW-Authenticate. The challenge to a request without a token is
// bare: no code and no reason, which is in the body alone (RFC 6750, Section 3.1).
// A 429 or 503 carries Retry-After, of one second at least. An err of the reason
// ProofNonceRequired with a Nonce carries that in DPoP-Nonce.
func (p Responder) Respond(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	known, ok := plain[e.Reason]
	status := known.status
	if !ok || e.Reason == RequestInvalid {
		status = e.answerStatus(false)
	}
	p.header(w.Header(), r, e, known.challenge, status, problemType)
	if ok && e.Message == "" && status == known.status {
		w.WriteHeader(status)
		_, _ = w.Write(known.body) // a client that left needs no answer
		return
	}
	write(w, status, newProblem(e, status))
}

// RespondOAuth answers like Respond, in the form of an OAuth endpoint: status
// 400 for a bad grant or refresh token, and a JSON body with the members
// "error" and "error_description" (RFC 6749, Section 5.2), and "reason" besides. A
// ProofInvalid that is no matter of DPoP (see [Error].Code) is an invalid_request.
func (p Responder) RespondOAuth(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	status := e.answerStatus(true)
	p.header(w.Header(), r, e, plain[e.Reason].challenge, status, "application/json")
	code := e.Reason.OAuthCode()
	if code == "" || e.notOfDPoP() {
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

const problemType = "application/problem+json"

func newProblem(e *Error, status int) problem {
	return problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: e.message(), Reason: e.Reason}
}

// An answer to a refused request, as far as its reason tells.
type answer struct {
	status    int
	body      []byte
	challenge string
}

// plain holds the answers that say no more than their reason. They are most of
// all, and need not be put together each time.
var plain = func() map[Reason]answer {
	all := map[Reason]answer{}
	for _, r := range Reasons() {
		e := &Error{Reason: r}
		status := e.answerStatus(false)
		body, _ := json.Marshal(newProblem(e, status)) // strings and a number always marshal
		all[r] = answer{status, append(body, '\n'), Responder{}.buildChallenge(e, false)}
	}
	return all
}()

type oauthProblem struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Reason      Reason `json:"reason"`
}

func asError(err error) *Error {
	if e, ok := err.(*Error); ok && e != nil && e.Reason != "" {
		return e // most are, and errors.As would allocate
	}
	var e *Error
	if errors.As(err, &e) && e != nil && e.Reason != "" {
		return e
	}
	if r := ReasonOf(err); r != "" {
		return &Error{Reason: r}
	}
	return &Error{Reason: TokenGenericError}
}

// answerStatus is the status of an answer that gives e. A malformed request may
// have one of its own, such as 405 or 413.
func (e *Error) answerStatus(oauth bool) int {
	if e.Reason == RequestInvalid && e.Status > http.StatusBadRequest && e.Status < http.StatusInternalServerError {
		return e.Status
	}
	return e.Reason.answerStatus(oauth)
}

// header sets the fields. Their values are in one array, and none of them can grow
// into the next. The challenge is that of the reason alone.
func (p Responder) header(h http.Header, r *http.Request, e *Error, challenge string, status int, contentType string) {
	if len(h) > 0 {
		delete(h, "Content-Length") // it was another body's
	}
	v := []string{"no-store", "nosniff", contentType, ""}
	h["Cache-Control"], h["X-Content-Type-Options"], h["Content-Type"] = v[0:1:1], v[1:2:2], v[2:3:3]
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.FormatInt(max(seconds(e.RetryAfter), 1), 10))
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest:
		if e.Reason == RequestInvalid && status != http.StatusBadRequest {
			return // a rule of HTTP, with which no token would help
		}
		if e.Reason == ProofNonceRequired && isNonce(e.Nonce) {
			h.Set(nonceHeader, e.Nonce)
		}
		if v[3] = p.challenge(e, challenge, p.DPoPAlgorithms != "" && usesDPoP(r)); v[3] == "" {
			return
		}
		if before := h["Www-Authenticate"]; len(before) > 0 {
			h["Www-Authenticate"] = append(before, v[3])
		} else {
			h["Www-Authenticate"] = v[3:4:4]
		}
	}
}

// nonceHeader is the field of a server's nonce (RFC 9449, Section 8), as net/http
// spells it.
const nonceHeader = "Dpop-Nonce"

// isNonce reports whether s has the characters of a nonce (RFC 9449, Section 8.1),
// and no more than anybody needs.
func isNonce(s string) bool {
	return s != "" && len(s) <= 1024 && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

// usesDPoP reports whether r has a token under that scheme. r may be nil.
func usesDPoP(r *http.Request) bool {
	if r == nil {
		return false
	}
	scheme, _, _ := strings.Cut(strings.Trim(r.Header.Get("Authorization"), " \t"), " ")
	return strings.EqualFold(scheme, dpopScheme)
}

func write(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left needs no answer
}

// Challenge returns the value of WWW-Authenticate for err (RFC 9110, Section
// 11.6.1, and RFC 6750, Section 3), or "" where there is nothing to
// authenticate for: a refresh request without a token, for example. Whatever
// err holds, the value is one line of printable ASCII and every parameter stays
// within its quotes. It is that for a request which has not used DPoP.
func (p Responder) Challenge(err error) string {
	e := asError(err)
	return p.challenge(e, plain[e.Reason].challenge, false)
}

// challenge returns known, which is that of the reason alone or "", where there is
// no more to say. dpop tells whether the request has used that scheme.
func (p Responder) challenge(e *Error, known string, dpop bool) string {
	if known != "" && p == (Responder{}) && e.Message == "" &&
		len(e.Scopes) == 0 && len(e.ACRValues) == 0 && e.MaxAge <= 0 && !e.notOfDPoP() {
		return known
	}
	return p.buildChallenge(e, dpop)
}

// The schemes of a token (RFC 6750, Section 2.1; RFC 9449, Section 7.1).
const (
	bearerScheme = "Bearer"
	dpopScheme   = "DPoP"
)

// invalidToken is the code of RFC 6750, Section 3.1.
const invalidToken = "invalid_token"

// notOfDPoP reports whether e is about how a token is bound, and not about DPoP.
func (e *Error) notOfDPoP() bool { return e.Reason == ProofInvalid && e.Code == invalidToken }

func (p Responder) buildChallenge(e *Error, dpop bool) string {
	var b params
	switch e.Reason {
	case ClientInvalid: // RFC 6749, Section 5.2
		b.WriteString("Basic")
		b.add("realm", quoted(or(p.Realm, "token")))
		return b.String()
	case GrantInvalid, GrantUnsupported, ScopeInvalid, RefreshTokenMissing:
		return ""
	}
	b.Grow(256)
	first, second, code := bearerScheme, dpopScheme, e.Reason.OAuthCode()
	used := p.DPoPAlgorithms != "" && (dpop || p.DPoPRequired)
	switch {
	case e.notOfDPoP():
		code = invalidToken
	case e.Reason == ProofInvalid, e.Reason == ProofNonceRequired:
		used = true
	}
	if used { // RFC 9449, Section 7.1
		first, second = second, first
	}
	p.open(&b, first)
	if code != "" {
		b.add("error", code)
		if e.Message != "" {
			b.add("error_description", describe(e.Message))
		} else {
			b.add("error_description", e.Reason.Description())
		}
	}
	if e.Reason != TokenMissing {
		b.add("reason", codeOf(e.Reason))
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
	if p.DPoPAlgorithms != "" && !p.DPoPRequired { // RFC 9449, Section 7.2
		b.WriteString(", ")
		p.open(&b, second)
	}
	return b.String()
}

// open writes a scheme, and what is known of it without a request.
func (p Responder) open(b *params, scheme string) {
	b.WriteString(scheme)
	b.more = false
	if p.Realm != "" {
		b.add("realm", quoted(p.Realm))
	}
	if scheme == dpopScheme && p.DPoPAlgorithms != "" {
		b.add("algs", quoted(p.DPoPAlgorithms))
	}
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
	b.WriteByte(' ')
	b.WriteString(name)
	b.WriteString(`="`)
	b.WriteString(value)
	b.WriteByte('"')
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

// codeOf returns the code of r, which holds what a code can if it is not of ours.
func codeOf(r Reason) string {
	return strings.Map(func(c rune) rune {
		if c < 0x80 && isCode(string(c)) {
			return c
		}
		return '?'
	}, string(r))
}
