package errors

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// An Error is a Reason with its circumstances. Only Reason is required. Recover
// it with errors.As, or ask for the reason alone with ReasonOf.
type Error struct {
	Reason  Reason
	Err     error  // the cause, for logs; never sent to a client
	Message string // for people, in place of the reason's description; is sent to a client

	Token    string    // the token that was refused, as Redact shortens it
	Identity string    // whose token: subject, email or user id
	App      string    // the application or account that the token belongs to
	Time     time.Time // when it was refused; zero when not known

	// RetryAfter is how long to wait before trying again; zero when not known.
	// On the wire it is rounded up to whole seconds.
	RetryAfter time.Duration

	// Scopes are the scopes that the request needs, for ScopeInsufficient
	// (RFC 6750, Section 3).
	Scopes []string

	// ACRValues and MaxAge are the login that the request needs, for
	// AuthenticationInsufficient (RFC 9470, Section 3). A zero MaxAge asks
	// for none; one under a second asks for a login at once (max_age=0).
	ACRValues []string
	MaxAge    time.Duration

	// Nonce is the server's nonce for the next proof, for ProofNonceRequired
	// (RFC 9449, Section 8). It is in no log.
	Nonce string

	// Status and Code are set by FromResponse: the status of the answer and
	// the code that stood in it. An empty Code means that the answer named
	// no reason and that Reason was concluded from the status.
	//
	// A Responder looks at two of them. It answers a RequestInvalid with its Status,
	// if that is one from 401 to 499. A ProofInvalid with the Code "invalid_token" is
	// no matter of DPoP, but of a token that is bound to a certificate, or that is not
	// taken for being bound (RFC 8705, Section 3).
	Status int
	Code   string
}

// Error returns the code and the cause. It never contains a token.
func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Err.Error()
}

// Is reports whether target is the reason of e.
func (e *Error) Is(target error) bool {
	return target == error(e.Reason) || e.Reason.Is(target)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// As lets errors.As recover the Reason alone from e.
func (e *Error) As(target any) bool {
	if r, ok := target.(*Reason); ok {
		*r = e.Reason
		return true
	}
	return false
}

// message returns what a person may read about e.
func (e *Error) message() string {
	if e.Message != "" {
		return e.Message
	}
	return e.Reason.Description()
}

// String returns one line for display: status, code and description, then the
// shortened token, the identifier and the message, with "No token",
// "No identifier" and "No message" where one is absent.
func (e *Error) String() string {
	status := e.Status
	if status == 0 {
		status = e.Reason.Status()
	}
	return fmt.Sprintf("%d %s: %s (token: %s, identifier: %s, message: %s)",
		status, e.Reason, e.Reason.Description(),
		or(Redact(e.Token), "No token"), or(e.Identity, "No identifier"), or(e.Message, "No message"))
}

func or(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}

// LogValue groups the fields that are set, with the token shortened and the cause in
// full, without Status, Code and what is asked for beside scopes.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("reason", string(e.Reason))}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("cause", e.Err.Error()))
	}
	add("message", e.Message)
	add("token", Redact(e.Token))
	add("identifier", e.Identity)
	add("app", e.App)
	if !e.Time.IsZero() {
		attrs = append(attrs, slog.Time("time", e.Time))
	}
	if e.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	add("scope", strings.Join(e.Scopes, " "))
	return slog.GroupValue(attrs...)
}

// wireError is the JSON form of an Error. Times and durations are in seconds.
type wireError struct {
	Reason      Reason   `json:"reason"`
	Status      int      `json:"status,omitempty"`
	Description string   `json:"description,omitempty"`
	Message     string   `json:"message,omitempty"`
	Token       string   `json:"token,omitempty"`
	Identity    string   `json:"identifier,omitempty"`
	App         string   `json:"app,omitempty"`
	Time        int64    `json:"time,omitempty"`
	RetryAfter  int64    `json:"retry_after,omitempty"`
	Scopes      []string `json:"scopes,omitempty"`
	ACRValues   []string `json:"acr_values,omitempty"`
	MaxAge      *int64   `json:"max_age,omitempty"`
	Code        string   `json:"code,omitempty"`
}

// MarshalJSON returns an object for logs and queues: the reason, its status and
// description, and the fields that are set. Times are Unix seconds, durations are
// seconds, the token is shortened, and the cause and the nonce are left out.
func (e *Error) MarshalJSON() ([]byte, error) {
	w := wireError{
		Reason: e.Reason, Status: e.Status, Description: e.Reason.Description(), Message: e.Message,
		Token: Redact(e.Token), Identity: e.Identity, App: e.App,
		RetryAfter: seconds(e.RetryAfter), Scopes: e.Scopes, ACRValues: e.ACRValues, Code: e.Code,
	}
	if w.Status == 0 {
		w.Status = e.Reason.Status()
	}
	if !e.Time.IsZero() {
		w.Time = e.Time.Unix()
	}
	if e.MaxAge > 0 {
		w.MaxAge = new(int64(e.MaxAge / time.Second))
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote. The cause stays empty.
func (e *Error) UnmarshalJSON(data []byte) error {
	var w wireError
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("errors: read an Error: %w", err)
	}
	*e = Error{
		Reason: w.Reason, Status: w.Status, Message: w.Message, Token: Redact(w.Token), Identity: w.Identity,
		App: w.App, RetryAfter: fromSeconds(w.RetryAfter), Scopes: w.Scopes, ACRValues: w.ACRValues, Code: w.Code,
	}
	if w.Time != 0 {
		e.Time = time.Unix(w.Time, 0)
	}
	if w.MaxAge != nil {
		e.MaxAge = maxAge(*w.MaxAge)
	}
	return nil
}

// seconds rounds up, so that nobody comes back too early.
func seconds(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64((d-1)/time.Second) + 1
}

const longest = int64(1<<63-1) / int64(time.Second)

func fromSeconds(n int64) time.Duration {
	return time.Duration(min(max(n, 0), longest)) * time.Second
}

// maxAge keeps the difference between "max_age=0" and none at all.
func maxAge(n int64) time.Duration {
	return max(fromSeconds(n), 1)
}

// ReasonOf returns the reason of err: the first one found in its tree. It is ""
// for nil, and TokenGenericError for an error that carries no reason.
func ReasonOf(err error) Reason {
	switch e := err.(type) { // the common ones, without a search
	case nil:
		return ""
	case Reason:
		if e != "" {
			return e
		}
	case *Error:
		if e != nil && e.Reason != "" {
			return e.Reason
		}
	}
	var r Reason
	if errors.As(err, &r) && r != "" {
		return r
	}
	return TokenGenericError
}

// Redact shortens a token for display: its first 20 characters, and never more
// than half of it, followed by "...". An empty token stays empty, and a token
// that was shortened before stays as it is.
func Redact(token string) string {
	const most, mark = 20, "..."
	if short, ok := strings.CutSuffix(token, mark); token == "" || ok && len(short) <= most {
		return token
	}
	return token[:min(most, len(token)/2)] + mark
}
