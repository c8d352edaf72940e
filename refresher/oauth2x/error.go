package oauth2x

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"golang.org/x/oauth2"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A refused error is one of this project, and an *oauth2.RetrieveError besides.
type refused struct {
	error
	retrieve *oauth2.RetrieveError
}

func (r *refused) Unwrap() []error { return []error{r.error, r.retrieve} }

// newRefused makes an *oauth2.RetrieveError of err that has a status and a code.
// The description, the body, the headers and the request, which carries the
// client's secret, have no place in an error.
func newRefused(err error, status int, code string) *refused {
	return &refused{err, &oauth2.RetrieveError{
		Response: &http.Response{
			Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody,
		},
		ErrorCode: code,
	}}
}

// reasoned returns err, from a source of golang.org/x/oauth2, with the reason that
// tells a refresher.Transport what to do.
func reasoned(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err // without the URL, whose query may hold a secret
	}
	var known jwterrors.Reason
	if errors.As(err, &known) {
		return err
	}
	var retrieve *oauth2.RetrieveError
	if !errors.As(err, &retrieve) {
		return &jwterrors.Error{Reason: jwterrors.RefreshUnavailable, Err: fmt.Errorf("oauth2x: get a token: %w", err)}
	}
	status, header := http.StatusBadRequest, http.Header{}
	if r := retrieve.Response; r != nil {
		status, header = r.StatusCode, r.Header
	}
	answered := status
	if status/100 == 2 { // an error all the same, of a server that knows no other status
		status = http.StatusBadRequest
	}
	e := read(status, header, retrieve.Body)
	if e.Code == "" && retrieve.ErrorCode != "" { // it was not in JSON
		data, _ := json.Marshal(map[string]string{"error": retrieve.ErrorCode})
		e = read(status, http.Header{"Content-Type": {"application/json"}}, data)
	}
	e.RetryAfter = jwterrors.RetryAfter(header)

	action := e.Reason.Action()
	named := e.Code != "" && status < 500
	cause := fmt.Sprintf("oauth2x: get a token: status %d", answered)
	switch {
	case named && e.Reason == jwterrors.GrantInvalid: // invalid_grant (RFC 6749, Section 5.2)
		e.Reason = jwterrors.RefreshTokenInvalid
	case named && action == jwterrors.ActionLogin:
	case e.Code != "" && action == jwterrors.ActionRetry:
	case status == http.StatusTooManyRequests:
		e.Reason = jwterrors.RateLimited
	case status >= 500, status < 400, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		e.Reason = jwterrors.RefreshUnavailable
	case named && action == jwterrors.ActionNone: // invalid_client, for one
	default: // a 4xx that explains nothing
		e.Reason = jwterrors.Paused
	}
	code := retrieve.ErrorCode
	if !isCode(code) {
		code = ""
	} else {
		cause += fmt.Sprintf(" (%s)", code)
	}
	e.Err = newRefused(errors.New(cause), answered, code)
	return e
}

// read reads the reason of an answer. It never returns nil.
func read(status int, header http.Header, body []byte) *jwterrors.Error {
	e := jwterrors.FromResponse(&http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(body))})
	if e == nil || e.Code == "" {
		e = &jwterrors.Error{Status: status}
	}
	return e
}

// isCode reports whether s looks like the codes of RFC 6749. What does not may be
// anything, a secret for one.
func isCode(s string) bool {
	for i := range len(s) {
		if s[i] != '_' && (s[i] < 'a' || 'z' < s[i]) {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 64
}
