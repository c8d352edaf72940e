package errors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

type respond func(w http.ResponseWriter, r *http.Request, err error)

func forms(p jwterrors.Responder) map[string]respond {
	return map[string]respond{"problem": p.Respond, "oauth": p.RespondOAuth}
}

func TestEveryReasonCrossesTheWire(t *testing.T) { // AX-21
	for form, answer := range forms(jwterrors.Responder{Realm: "api"}) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer(w, r, &jwterrors.Error{
				Reason: jwterrors.Reason(r.URL.Query().Get("reason")), Err: errors.New("the cause stays here"),
			})
		}))
		defer server.Close()
		for _, reason := range append(jwterrors.Reasons(), "AUTH_INVENTED_LATER") {
			t.Run(form+" "+reason.String(), func(t *testing.T) {
				resp, err := server.Client().Get(server.URL + "?reason=" + reason.String())
				require.NoError(t, err)
				defer resp.Body.Close()
				got := jwterrors.FromResponse(resp)
				require.NotNil(t, got)
				assert.Equal(t, reason, got.Reason)
				assert.Equal(t, resp.StatusCode, got.Status)
				assert.Equal(t, reason.String(), got.Code)

				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				var members map[string]any
				require.NoError(t, json.Unmarshal(body, &members), "the body is still whole")
				assert.Equal(t, reason.String(), members["reason"])
				assert.NotContains(t, string(body), "the cause")
				assert.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
				if s := reason.Status(); s != 0 && form == "problem" {
					assert.Equal(t, s, resp.StatusCode)
					assert.EqualValues(t, s, members["status"])
				}
				switch resp.StatusCode {
				case 401:
					assert.NotEmpty(t, resp.Header.Get("WWW-Authenticate"), "RFC 9110, Section 11.6.1")
				case 429, 503:
					assert.Equal(t, "1", resp.Header.Get("Retry-After"))
				}
			})
		}
	}
}

func TestHeadAnswersKeepTheReasonInTheChallenge(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		jwterrors.Responder{}.Respond(w, r, jwterrors.Reason(r.URL.Query().Get("reason")))
	}))
	defer server.Close()
	for _, reason := range jwterrors.Reasons() {
		if reason.Status() == 401 && reason != jwterrors.ClientInvalid {
			resp, err := server.Client().Head(server.URL + "?reason=" + reason.String())
			require.NoError(t, err)
			assert.Equal(t, reason, jwterrors.FromResponse(resp).Reason)
		}
	}
}

func TestTheAnswer(t *testing.T) {
	type result struct {
		status                 int
		challenge, retry, body string
	}
	for _, c := range []struct {
		name string
		p    jwterrors.Responder
		err  error
		want result
	}{
		{
			"no token gets no code (RFC 6750, Section 3.1)", jwterrors.Responder{}, jwterrors.TokenMissing,
			result{401, `Bearer`, "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The request carried no token.","reason":"AUTH_TOKEN_MISSING"}`},
		},
		{
			"a realm and a metadata address", jwterrors.Responder{Realm: "api", ResourceMetadata: "https://api.example.com/.well-known/oauth-protected-resource"}, jwterrors.TokenMissing,
			result{401, `Bearer realm="api", resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"`, "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The request carried no token.","reason":"AUTH_TOKEN_MISSING"}`},
		},
		{
			"an expired token", jwterrors.Responder{Realm: "api"}, jwterrors.TokenExpired,
			result{401, `Bearer realm="api", error="invalid_token", error_description="The token has expired.", reason="AUTH_TOKEN_EXPIRED"`, "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The token has expired.","reason":"AUTH_TOKEN_EXPIRED"}`},
		},
		{
			"missing scopes", jwterrors.Responder{}, &jwterrors.Error{Reason: jwterrors.ScopeInsufficient, Scopes: []string{"api:read", "bad\"scope", "api:write"}},
			result{403, `Bearer error="insufficient_scope", error_description="The token does not carry the required scope.", reason="AUTH_SCOPE_INSUFFICIENT", scope="api:read api:write"`, "", `{"type":"about:blank","title":"Forbidden","status":403,"detail":"The token does not carry the required scope.","reason":"AUTH_SCOPE_INSUFFICIENT"}`},
		},
		{
			"a login that is too old (RFC 9470)", jwterrors.Responder{}, &jwterrors.Error{Reason: jwterrors.AuthenticationInsufficient, ACRValues: []string{"mfa", "hwk"}, MaxAge: 5 * time.Minute},
			result{401, `Bearer error="insufficient_user_authentication", error_description="A stronger or more recent login is required.", reason="AUTH_AUTHENTICATION_INSUFFICIENT", acr_values="mfa hwk", max_age="300"`, "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"A stronger or more recent login is required.","reason":"AUTH_AUTHENTICATION_INSUFFICIENT"}`},
		},
		{
			"keys that cannot be had", jwterrors.Responder{}, &jwterrors.Error{Reason: jwterrors.KeysUnavailable, RetryAfter: 2100 * time.Millisecond},
			result{503, "", "3", `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The keys to verify the token cannot be had at the moment.","reason":"AUTH_KEYS_UNAVAILABLE"}`},
		},
		{
			"what an error asks for that another has wrapped", jwterrors.Responder{}, fmt.Errorf("check: %w", &jwterrors.Error{Reason: jwterrors.ScopeInsufficient, Message: "Ask for more.", Scopes: []string{"api:write"}}),
			result{403, `Bearer error="insufficient_scope", error_description="Ask for more.", reason="AUTH_SCOPE_INSUFFICIENT", scope="api:write"`, "", `{"type":"about:blank","title":"Forbidden","status":403,"detail":"Ask for more.","reason":"AUTH_SCOPE_INSUFFICIENT"}`},
		},
		{
			"a gateway whose own refresh failed", jwterrors.Responder{}, &jwterrors.Error{Reason: jwterrors.RefreshUnavailable, RetryAfter: 7 * time.Second},
			result{503, "", "7", `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"` + jwterrors.RefreshUnavailable.Description() + `","reason":"AUTH_REFRESH_UNAVAILABLE"}`},
		},
		{
			"an error without a reason fails closed", jwterrors.Responder{}, io.ErrUnexpectedEOF,
			result{401, `Bearer error="invalid_token", error_description="The token was refused.", reason="AUTH_TOKEN_GENERIC_ERROR"`, "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The token was refused.","reason":"AUTH_TOKEN_GENERIC_ERROR"}`},
		},
		{
			"no error at all fails closed", jwterrors.Responder{}, nil,
			result{401, `Bearer error="invalid_token", error_description="The token was refused.", reason="AUTH_TOKEN_GENERIC_ERROR"`, "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The token was refused.","reason":"AUTH_TOKEN_GENERIC_ERROR"}`},
		},
		{
			"hostile text stays in its quotes", jwterrors.Responder{Realm: "a\"b\\c\r\nSet-Cookie: x\x00é"},
			&jwterrors.Error{Reason: "AUTH_\"\r\nX", Message: "say \"hi\"\\\r\nSet-Cookie: y=1; é"},
			result{401, `Bearer realm="a\"b\\c??Set-Cookie: x??", error="invalid_token", error_description="say 'hi'/??Set-Cookie: y=1; ?", reason="AUTH_???X"`, "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"say \"hi\"\\\r\nSet-Cookie: y=1; é","reason":"AUTH_\"\r\nX"}`},
		},
		{
			"the client of an OAuth request", jwterrors.Responder{}, jwterrors.ClientInvalid,
			result{401, `Basic realm="token"`, "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The client could not be authenticated.","reason":"AUTH_CLIENT_INVALID"}`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c.p.Respond(w, httptest.NewRequest("GET", "/", nil), c.err)
			assert.Equal(t, c.want.status, w.Code)
			assert.Equal(t, c.want.challenge, w.Header().Get("WWW-Authenticate"))
			assert.Equal(t, c.want.retry, w.Header().Get("Retry-After"))
			assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			assert.JSONEq(t, c.want.body, w.Body.String())
		})
	}
}

// Most errors are of this package, unwrapped: they are read without a search.
func TestOurOwnErrorsCostNoAllocation(t *testing.T) {
	var e error = &jwterrors.Error{Reason: jwterrors.TokenExpired}
	var r error = jwterrors.TokenExpired
	for name, read := range map[string]func(){
		"the reason of an Error":    func() { jwterrors.ReasonOf(e) },
		"the reason of a Reason":    func() { jwterrors.ReasonOf(r) },
		"the challenge of an Error": func() { jwterrors.Responder{}.Challenge(e) },
	} {
		assert.Zero(t, testing.AllocsPerRun(100, read), name)
	}
}

func TestTheOAuthAnswer(t *testing.T) { // RFC 6749, Section 5.2
	w := httptest.NewRecorder()
	jwterrors.Responder{}.RespondOAuth(w, httptest.NewRequest("POST", "/token", nil), jwterrors.RefreshTokenReused)
	assert.Equal(t, 400, w.Code)
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.JSONEq(t, `{"error":"invalid_grant","error_description":"The refresh token was used before; the session has been ended.","reason":"AUTH_REFRESH_TOKEN_REUSED"}`, w.Body.String())

	w = httptest.NewRecorder()
	jwterrors.Responder{}.RespondOAuth(w, httptest.NewRequest("POST", "/token", nil), jwterrors.UserExists)
	assert.Equal(t, 409, w.Code)
	assert.Contains(t, w.Body.String(), `"error":"invalid_request"`)
}

func response(status int, contentType, body string, challenges ...string) *http.Response {
	h := http.Header{"Content-Type": {contentType}}
	for _, c := range challenges {
		h.Add("WWW-Authenticate", c)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func TestAnAnswerWithNothingToAuthenticateForHasNoChallenge(t *testing.T) {
	for form, answer := range forms(jwterrors.Responder{}) {
		w := httptest.NewRecorder()
		answer(w, nil, jwterrors.RefreshTokenMissing)
		assert.Equal(t, 400, w.Code, form)
		assert.NotContains(t, w.Result().Header, "Www-Authenticate", form)
	}
}

func TestReadingForeignAnswers(t *testing.T) {
	const js = "application/json; charset=utf-8"
	codes := map[string]jwterrors.Reason{"InvalidJwtPayload": jwterrors.TokenPayloadInvalid, "refreshExpired": jwterrors.RefreshTokenExpired}
	for _, c := range []struct {
		name string
		resp *http.Response
		want jwterrors.Reason
		code string
	}{
		{"success", response(200, js, `{"reason":"AUTH_TOKEN_EXPIRED"}`), "", ""},
		{"a 404 that says nothing", response(404, js, `{}`), "", ""},
		{"a 403 that says nothing", response(403, "text/html", `<html>`), "", ""},
		{"a 503 that says nothing", response(503, js, `oops`), "", ""},
		{"a 401 that says nothing", response(401, "text/plain", `nope`), jwterrors.TokenGenericError, ""},
		{"a 401 whose text mentions expiry", response(401, js, `{"message":"token expired"}`), jwterrors.TokenGenericError, ""},
		{"RFC 6750 in the header", response(401, js, `{}`, `Bearer realm="x", error="invalid_token"`), jwterrors.TokenGenericError, "invalid_token"},
		{"RFC 6750, second of two challenges in one field", response(401, js, ``, `Basic realm="a, b=\"c\"", Bearer error=invalid_token`), jwterrors.TokenGenericError, "invalid_token"},
		{"a second field", response(403, js, ``, `Negotiate YWJj==`, `bearer Error="insufficient_scope",scope="a b"`), jwterrors.ScopeInsufficient, "insufficient_scope"},
		{"the header's exact reason before the body's", response(401, js, `{"reason":"AUTH_TOKEN_INVALIDATED"}`, `Bearer error="invalid_token", reason="AUTH_TOKEN_EXPIRED"`), jwterrors.TokenExpired, "AUTH_TOKEN_EXPIRED"},
		{"the body's exact reason before the header's broad code", response(401, js, `{"reason":"AUTH_TOKEN_INVALIDATED"}`, `Bearer error="invalid_token"`), jwterrors.TokenInvalidated, "AUTH_TOKEN_INVALIDATED"},
		{"DPoP wants a nonce", response(401, js, ``, `DPoP error="use_dpop_nonce", error_description="x"`), jwterrors.ProofNonceRequired, "use_dpop_nonce"},
		{"RFC 6749 in the body", response(400, js, `{"error":"invalid_grant"}`), jwterrors.GrantInvalid, "invalid_grant"},
		{"problem+json", response(400, "application/problem+json", `{"reason":"AUTH_REFRESH_TOKEN_MISSING"}`), jwterrors.RefreshTokenMissing, "AUTH_REFRESH_TOKEN_MISSING"},
		{"a caller's code (IT-21)", response(401, js, `{"code":"InvalidJwtPayload","msg":"x"}`), jwterrors.TokenPayloadInvalid, "InvalidJwtPayload"},
		{"a caller's code with 403 (JG-10)", response(403, js, `{"success":false,"code":"refreshExpired"}`), jwterrors.RefreshTokenExpired, "refreshExpired"},
		{"a numeric code", response(401, js, `{"code":17}`), jwterrors.TokenGenericError, ""},
		{"JSON that is not an object", response(401, js, `["AUTH_TOKEN_EXPIRED"]`), jwterrors.TokenGenericError, ""},
		{"a reason in a page", response(401, "text/html", `{"reason":"AUTH_TOKEN_EXPIRED"}`), jwterrors.TokenGenericError, ""},
		{"a body beyond the limit", response(401, js, `{"reason":"AUTH_TOKEN_EXPIRED","x":"`+strings.Repeat("x", 20_000)+`"}`), jwterrors.TokenGenericError, ""},
		{"a body beyond the limit that ends in spaces", response(401, js, `{"reason":"AUTH_TOKEN_EXPIRED"}`+strings.Repeat(" ", 20_000)), jwterrors.TokenGenericError, ""},
		{"a body with a number beyond all", response(401, js, `{"reason":"AUTH_TOKEN_EXPIRED","n":1e999}`), jwterrors.TokenGenericError, ""},
		{"a parameter without a value", response(401, js, ``, `Bearer realm="x", error=, reason="AUTH_TOKEN_EXPIRED"`), jwterrors.TokenGenericError, ""},
		{"a scheme with more behind it", response(401, js, ``, `Bearer/x, reason="AUTH_TOKEN_EXPIRED"`), jwterrors.TokenGenericError, ""},
		{"a challenge cut behind a backslash", response(401, js, ``, `Bearer error="invalid_tok\`), jwterrors.TokenGenericError, ""},
		{"a challenge beyond the limit", response(401, js, ``, `Bearer error="invalid_token"`, `Bearer reason="AUTH_TOKEN_EXPIRED", x="`+strings.Repeat("x", 20_000)+`"`), jwterrors.TokenGenericError, "invalid_token"},
		{"a challenge cut in its quotes", response(401, js, ``, `Bearer error="invalid_tok`), jwterrors.TokenGenericError, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := jwterrors.Codes(codes).FromResponse(c.resp)
			if c.want == "" {
				require.Nil(t, got)
				return
			}
			require.NotNil(t, got)
			assert.Equal(t, c.want, got.Reason)
			assert.Equal(t, c.code, got.Code)
		})
	}
	assert.Nil(t, jwterrors.FromResponse(nil))
	assert.NotNil(t, jwterrors.FromResponse(&http.Response{StatusCode: 401}), "without header and body")
}

func TestABareChallengeMeansMissingOnlyToARequestWithoutToken(t *testing.T) {
	resp := response(401, "", "", "Bearer")
	assert.Equal(t, jwterrors.TokenGenericError, jwterrors.FromResponse(resp).Reason, "the request is not known")
	resp.Request = httptest.NewRequest("GET", "/", nil)
	assert.Equal(t, jwterrors.TokenMissing, jwterrors.FromResponse(resp).Reason)
	resp.Request.Header.Set("Authorization", "Bearer x")
	assert.Equal(t, jwterrors.TokenGenericError, jwterrors.FromResponse(resp).Reason)
}

func TestWhatAnAnswerAsksForIsRead(t *testing.T) {
	w := httptest.NewRecorder()
	jwterrors.Responder{}.Respond(w, nil, &jwterrors.Error{
		Reason: jwterrors.AuthenticationInsufficient, Scopes: []string{"a", "b"}, ACRValues: []string{"mfa"}, MaxAge: time.Millisecond,
	})
	got := jwterrors.FromResponse(w.Result())
	assert.Equal(t, []string{"a", "b"}, got.Scopes)
	assert.Equal(t, []string{"mfa"}, got.ACRValues)
	assert.Positive(t, got.MaxAge)
	assert.Less(t, got.MaxAge, time.Second)
}

func TestRetryAfter(t *testing.T) {
	const date, later = "Sat, 21 Nov 2026 06:00:00 GMT", "Sat, 21 Nov 2026 06:00:30 GMT"
	for _, c := range []struct {
		name, value, date string
		want              time.Duration
	}{
		{"none", "", "", 0},
		{"seconds", " 7 ", "", 7 * time.Second},
		{"a negative number", "-7", "", 0},
		{"a number beyond every clock", "9223372036854775807", "", 9223372036 * time.Second},
		{"a date by the server's clock", later, date, 30 * time.Second},
		{"a date that has passed", date, later, 0},
		{"garbage", "soon", date, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, jwterrors.RetryAfter(http.Header{"Retry-After": {c.value}, "Date": {c.date}}))
		})
	}
	assert.Positive(t, jwterrors.RetryAfter(http.Header{"Retry-After": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}))
}

func TestABodyThatBreaksOffBreaksOffForTheCallerToo(t *testing.T) {
	resp := response(401, "application/json", "")
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"rea`), brokenReader{}))
	assert.Equal(t, jwterrors.TokenGenericError, jwterrors.FromResponse(resp).Reason)
	data, err := io.ReadAll(resp.Body)
	assert.Equal(t, `{"rea`, string(data))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A request can be malformed by the rules of HTTP, which have statuses of their own.
func TestAStatusOfHTTP(t *testing.T) {
	for status, want := range map[int]int{0: 400, 400: 400, 403: 403, 404: 404, 405: 405, 413: 413, 415: 415, 500: 400, 200: 400} {
		w := httptest.NewRecorder()
		err := &jwterrors.Error{Reason: jwterrors.RequestInvalid, Status: status, Message: "Not so."}
		jwterrors.Responder{Realm: "r"}.Respond(w, httptest.NewRequest("GET", "/", nil), err)
		assert.Equal(t, want, w.Code)
		assert.Contains(t, w.Body.String(), fmt.Sprintf(`"status":%d,"detail":"Not so.","reason":"AUTH_REQUEST_INVALID"`, want))
		assert.Equal(t, want == 400, w.Header().Get("WWW-Authenticate") != "", status)
	}
	w := httptest.NewRecorder()
	jwterrors.Responder{}.Respond(w, httptest.NewRequest("GET", "/", nil), &jwterrors.Error{Reason: jwterrors.TokenExpired, Status: 405})
	assert.Equal(t, 401, w.Code, "of other reasons, the status is fixed")
}

// Who has begun another answer need not take its fields back.
func TestWhatIsInTheHeaderBefore(t *testing.T) {
	for form, answer := range forms(jwterrors.Responder{}) {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Length", "7")
		w.Header().Set("WWW-Authenticate", "Negotiate")
		answer(w, httptest.NewRequest("GET", "/", nil), jwterrors.TokenMissing)
		assert.NotContains(t, w.Result().Header, "Content-Length", "%s: it was another body's", form)
		assert.Equal(t, []string{"Negotiate", "Bearer"}, w.Result().Header.Values("WWW-Authenticate"), "%s: a challenge of another scheme stays", form)
	}
}
