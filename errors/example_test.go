package errors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

func ExampleReasonOf() {
	err := fmt.Errorf("check the token: %w", jwterrors.TokenExpired)
	switch jwterrors.ReasonOf(err) {
	case jwterrors.TokenExpired:
		fmt.Println("refresh, then try again")
	case jwterrors.KeysUnavailable:
		fmt.Println("our trouble, not the client's")
	}
	// Output: refresh, then try again
}

func ExampleReason() {
	r := jwterrors.TokenExpired
	fmt.Println(r, r.Status(), r.OAuthStatus(), r.OAuthCode(), r.Action(), r.Known())
	fmt.Println(r.Description())
	// Output:
	// AUTH_TOKEN_EXPIRED 401 401 invalid_token refresh true
	// The token has expired.
}

func ExampleReasons() {
	for _, r := range jwterrors.Reasons() {
		if r.Action() == jwterrors.ActionRetry && r.Status() == 503 {
			fmt.Println(r)
		}
	}
	// Output:
	// AUTH_KEYS_UNAVAILABLE
	// AUTH_STORE_UNAVAILABLE
}

func ExampleError() {
	err := error(&jwterrors.Error{
		Reason:   jwterrors.TokenUserKeyInvalid,
		Err:      errors.New("token is for bob"),
		Identity: "alice@example.com",
	})
	fmt.Println(err)
	fmt.Println(errors.Is(err, jwterrors.TokenUserKeyInvalid))
	var e *jwterrors.Error
	if errors.As(err, &e) {
		fmt.Println(e.Identity)
	}
	// Output:
	// AUTH_TOKEN_USER_KEY_INVALID: token is for bob
	// true
	// alice@example.com
}

func ExampleError_String() {
	e := &jwterrors.Error{
		Reason: jwterrors.TokenExpired,
		Token:  jwterrors.Redact("eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2ln"),
	}
	fmt.Println(e)
	fmt.Println(e.String())
	// Output:
	// AUTH_TOKEN_EXPIRED
	// 401 AUTH_TOKEN_EXPIRED: The token has expired. (token: eyJhbGciOiJFUzI1NiIs..., identifier: No identifier, message: No message)
}

func ExampleError_MarshalJSON() {
	data, _ := json.Marshal(&jwterrors.Error{
		Reason: jwterrors.RateLimited, Identity: "alice", Time: time.Unix(1700000000, 0), RetryAfter: time.Minute,
	})
	fmt.Println(string(data))
	// Output: {"reason":"AUTH_RATE_LIMITED","status":429,"description":"Too many attempts.","identifier":"alice","time":1700000000,"retry_after":60}
}

func ExampleRedact() {
	fmt.Println(jwterrors.Redact("eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2ln"))
	// Output: eyJhbGciOiJFUzI1NiIs...
}

func ExampleResponder_Respond() {
	w := httptest.NewRecorder()
	jwterrors.Responder{Realm: "api"}.Respond(w, httptest.NewRequest("GET", "/", nil), jwterrors.TokenExpired)
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	fmt.Print(w.Body)
	// Output:
	// 401 Bearer realm="api", error="invalid_token", error_description="The token has expired.", reason="AUTH_TOKEN_EXPIRED"
	// {"type":"about:blank","title":"Unauthorized","status":401,"detail":"The token has expired.","reason":"AUTH_TOKEN_EXPIRED"}
}

func ExampleResponder_RespondOAuth() {
	w := httptest.NewRecorder()
	jwterrors.Responder{}.RespondOAuth(w, httptest.NewRequest("POST", "/token", nil), jwterrors.SessionRevoked)
	fmt.Print(w.Code, " ", w.Body)
	// Output: 400 {"error":"invalid_grant","error_description":"The session has been ended.","reason":"AUTH_SESSION_REVOKED"}
}

func ExampleResponder_Challenge() {
	fmt.Println(jwterrors.Responder{}.Challenge(jwterrors.TokenMissing))
	// Output: Bearer
}

func ExampleFromResponse() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		jwterrors.Responder{}.Respond(w, r, jwterrors.TokenInvalidated)
	}))
	defer server.Close()

	resp, err := http.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	e := jwterrors.FromResponse(resp)
	fmt.Println(e.Status, e.Reason, e.Reason.Action())
	// Output: 401 AUTH_TOKEN_INVALIDATED refresh
}

func ExampleCodes_FromResponse() {
	resp := response(401, "application/json", `{"code":"InvalidJwtPayload"}`)
	codes := jwterrors.Codes{"InvalidJwtPayload": jwterrors.TokenPayloadInvalid}
	fmt.Println(codes.FromResponse(resp).Reason)
	// Output: AUTH_TOKEN_PAYLOAD_INVALID
}

func ExampleRetryAfter() {
	fmt.Println(jwterrors.RetryAfter(http.Header{"Retry-After": {"120"}}))
	// Output: 2m0s
}
