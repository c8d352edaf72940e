package refresher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// maxAnswer limits how much of an answer of the issuer is read, in bytes.
const maxAnswer = 1 << 20

// An endpoint speaks with the issuer: login, refresh and logout, each a POST of
// a JSON object. It follows no redirect and takes no part in the flow for other
// requests. Its refresh is the Source where the caller has named no other.
type endpoint struct {
	login, refresh, logout string // URLs; all empty when there is no AuthURL

	requests RequestNames
	answers  AnswerNames
	revoker  revoker // in the place of a call of logout; may be nil

	base    http.RoundTripper
	prover  *prover // nil: its calls carry no proof
	codes   jwterrors.Codes
	now     func() time.Time
	timeout time.Duration // of one call
	clock   *clock
}

// Refresh exchanges the refresh token (RFC 6749, Section 6, as JSON).
func (p *endpoint) Refresh(ctx context.Context, current Tokens) (Tokens, error) {
	if current.RefreshToken == "" {
		return Tokens{}, &jwterrors.Error{Reason: jwterrors.RefreshTokenMissing, Err: errNoRefreshToken}
	}
	body := map[string]string{p.requests.RefreshToken: current.RefreshToken}
	return p.tokens(ctx, "refresh", p.refresh, body, current.RetryKey)
}

var errNoRefreshToken = errors.New("refresher: there is no refresh token")

// logIn exchanges the credentials.
func (p *endpoint) logIn(ctx context.Context, c Credentials) (Tokens, error) {
	n := p.requests
	body := map[string]string{n.Password: c.Password}
	for name, value := range map[string]string{
		n.Username: c.Username, n.Email: c.Email, n.Device: c.Device, n.Scope: strings.Join(c.Scopes, " "),
	} {
		if value != "" {
			body[name] = value
		}
	}
	return p.tokens(ctx, "log in", p.login, body, "")
}

// revoke ends a session at the server. The access token is sent along where
// authorization is not nil.
func (p *endpoint) revoke(ctx context.Context, refreshToken string, authorization []string) error {
	data, err := p.end(ctx, refreshToken, authorization)
	if err != nil {
		return err
	}
	// A captive portal answers 200 to everything.
	if isPage(data) {
		return unavailable("log out", errPage)
	}
	if said := p.refusedWith2xx("log out", data); said != nil {
		return said
	}
	return nil
}

var errPage = errors.New("the answer is a web page")

// isPage reports whether the body of an answer is a web page.
func isPage(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n\ufeff"), []byte("<"))
}

// end tells the server of the tokens of a session that has ended, and returns the
// body of its answer.
func (p *endpoint) end(ctx context.Context, refreshToken string, authorization []string) ([]byte, error) {
	switch {
	case p.revoker != nil && refreshToken != "":
		return p.revoker(ctx, refreshToken, "refresh_token")
	case p.revoker != nil && len(authorization) > 0:
		_, token, _ := strings.Cut(authorization[0], " ")
		return p.revoker(ctx, token, "access_token")
	case p.revoker != nil:
		return nil, nil
	}
	body := map[string]string{}
	if refreshToken != "" {
		body[p.requests.RefreshToken] = refreshToken
	}
	return p.call(ctx, "log out", p.logout, body, http.Header{"Authorization": authorization})
}

func (p *endpoint) tokens(ctx context.Context, what, url string, body map[string]string, key string) (Tokens, error) {
	started := p.now().Round(0) // the lifetime began when the server answered, which is later
	header := http.Header{}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	data, err := p.call(ctx, what, url, body, header)
	if err != nil {
		return Tokens{}, err
	}
	return p.received(what, data, started)
}

// received reads the body of a 2xx answer.
func (p *endpoint) received(what string, data []byte, started time.Time) (Tokens, error) {
	tokens, err := p.answers.parse(data, started)
	if err == nil {
		return tokens, nil
	}
	if said := p.refusedWith2xx(what, data); said != nil {
		return Tokens{}, said
	}
	return Tokens{}, unavailable(what, err)
}

// refusedWith2xx returns the error in the body of a 2xx answer, or nil. Some
// servers refuse with one: an error code that is understood means what it does
// with a 400.
func (p *endpoint) refusedWith2xx(what string, data []byte) *jwterrors.Error {
	said := p.codes.FromResponse(&http.Response{
		StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(data)),
	})
	if said == nil {
		return nil
	}
	said.Status = http.StatusOK
	return p.classify(what, http.StatusBadRequest, said)
}

// call sends body as JSON.
func (p *endpoint) call(ctx context.Context, what, url string, body map[string]string, header http.Header) ([]byte, error) {
	data, _ := json.Marshal(body) // strings always marshal
	return p.send(ctx, what, url, "application/json", data, header)
}

// send returns the body of a 2xx answer, or a *jwterrors.Error that says which
// class of failure any other answer is.
func (p *endpoint) send(ctx context.Context, what, url, contentType string, data []byte, header http.Header) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("refresher: %s: %w", what, err)
	}
	// Without GetBody net/http does not send the request again by itself: how
	// often the issuer is called is for the backoff to say.
	req.GetBody = nil
	for name, values := range header {
		if len(values) > 0 {
			req.Header[name] = values
		}
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	sent := p.now()
	resp, err := p.roundTrip(req, data)
	if err != nil {
		return nil, unavailable(what, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		p.clock.learn(resp.Header, sent, p.now())
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return nil, unavailable(what, err)
		}
		return answer, nil
	}
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed {
		at := *req.URL
		at.User, at.RawQuery = nil, "" // what an error shows of a URL
		what += " at " + at.String()
	}
	refused := p.refusal(what, resp)
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again
	return nil, refused
}

// roundTrip sends req, of which data is the body, with a proof where there is a key.
func (p *endpoint) roundTrip(req *http.Request, data []byte) (*http.Response, error) {
	if p.prover == nil {
		return p.base.RoundTrip(req)
	}
	return p.prover.send(req, boundToken(req.Header), func() (io.ReadCloser, bool) {
		return io.NopCloser(bytes.NewReader(data)), true
	})
}

// refusal returns what an answer other than 2xx means.
func (p *endpoint) refusal(what string, resp *http.Response) *jwterrors.Error {
	said := p.codes.FromResponse(resp)
	if said == nil {
		said = &jwterrors.Error{Status: resp.StatusCode, RetryAfter: jwterrors.RetryAfter(resp.Header)}
	}
	return p.classify(what, resp.StatusCode, said)
}

// classify says what said means in an answer with that status.
func (p *endpoint) classify(what string, status int, said *jwterrors.Error) *jwterrors.Error {
	cause := fmt.Errorf("refresher: %s: status %d", what, said.Status)
	if said.Status == http.StatusNotFound || said.Status == http.StatusMethodNotAllowed {
		cause = fmt.Errorf("%w: is the URL right, and is the issuer mounted there?", cause)
	}
	said.Err, said.Time = cause, p.now()
	named := said.Code != ""
	switch {
	case said.Reason == jwterrors.GrantInvalid && named && status < 500: // invalid_grant (RFC 6749, Section 5.2)
		said.Reason = jwterrors.RefreshTokenInvalid
	case named && said.Reason.Action() == jwterrors.ActionLogin && status < 500:
	case named && said.Reason.Action() == jwterrors.ActionRetry:
	case status == http.StatusTooManyRequests:
		said.Reason = jwterrors.RateLimited
	case status >= 500, status < 400, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		said.Reason = jwterrors.RefreshUnavailable // a redirect is a captive portal, not an answer
	case named && said.Reason.Action() == jwterrors.ActionNone: // invalid_client, for one
	default: // a 4xx that explains nothing
		if named {
			said.Err = fmt.Errorf("%w (%w)", cause, said.Reason)
		}
		said.Reason = jwterrors.Paused
	}
	return said
}

func unavailable(what string, cause error) *jwterrors.Error {
	return &jwterrors.Error{Reason: jwterrors.RefreshUnavailable, Err: fmt.Errorf("refresher: %s: %w", what, cause)}
}

// seconds is a JSON number of seconds, or a string that holds one, as some
// servers send it.
type seconds int64

func (s *seconds) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	if string(data) == "null" {
		return nil
	}
	if err != nil || n != n {
		return errors.New("not a number of seconds")
	}
	*s = seconds(min(max(n, -1), maxSeconds))
	return nil
}

// maxSeconds is a hundred years: longer lifetimes are cut to it.
const maxSeconds = 100 * 365 * 24 * 60 * 60

func (s seconds) duration() time.Duration { return time.Duration(s) * time.Second }
