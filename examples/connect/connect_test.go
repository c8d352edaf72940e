package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// serve starts the service, with HTTP/2, which gRPC needs. What is behind the
// guards counts in ran.
func serve(t *testing.T, auth *middleware.Middleware, ran *counter) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(newHandler(auth, connect.WithInterceptors(ran)))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// A counter is an interceptor that counts the requests that reach it.
type counter struct{ atomic.Int64 }

func (c *counter) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		c.Add(1)
		return next(ctx, r)
	}
}

func (c *counter) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (c *counter) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, s connect.StreamingHandlerConn) error {
		c.Add(1)
		return next(ctx, s)
	}
}

// call calls a procedure, and returns its first answer.
func call(ctx context.Context, client connect.HTTPClient, url, procedure string, authorizations []string, options ...connect.ClientOption) (string, error) {
	c := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](client, url+"/orders.Orders/"+procedure, options...)
	r := connect.NewRequest(wrapperspb.String("7"))
	if authorizations != nil {
		r.Header()["Authorization"] = authorizations
	}
	if procedure != "Watch" {
		answer, err := c.CallUnary(ctx, r)
		if err != nil {
			return "", err
		}
		return answer.Msg.Value, nil
	}
	stream, err := c.CallServerStream(ctx, r)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	if !stream.Receive() {
		return "", stream.Err()
	}
	return stream.Msg().Value, nil
}

// want checks what a client learns: the code, the reason, and nothing of the cause.
func want(t *testing.T, err error, code connect.Code, reason jwterrors.Reason) {
	t.Helper()
	if connect.CodeOf(err) != code || reasonOf(err) != reason || !strings.HasSuffix(err.Error(), ": "+reason.Description()) {
		t.Errorf("got %v with the reason %q, want %v with %q", err, reasonOf(err), code, reason)
	}
}

func answering(c *middleware.Config) { c.Respond = respond }

func TestRefusalsAreInTheProtocolOfTheClient(t *testing.T) {
	iss := exampletest.NewIssuer(t, answering)
	var ran counter
	server := serve(t, iss.Auth, &ran)
	reader := "Bearer " + iss.Token(t, "api:read", time.Hour)
	admin := "Bearer " + iss.Token(t, "admin", time.Hour)
	old := "Bearer " + iss.Token(t, "api:read", -time.Hour)

	for name, protocol := range map[string][]connect.ClientOption{
		"Connect": nil, "Connect with JSON": {connect.WithProtoJSON()},
		"gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		for _, tt := range []struct {
			name           string
			procedure      string
			authorizations []string
			code           connect.Code // of a refusal
			reason         jwterrors.Reason
			answer         string
		}{
			{"a good token", "Get", []string{reader}, 0, "", "order 7 of alice"},
			{"a good token for a stream", "Watch", []string{reader}, 0, "", "order 7 of alice"},
			{"a good token with the scope", "Delete", []string{admin}, 0, "", "order 7 of alice is gone"},
			{"no token", "Get", nil, connect.CodeUnauthenticated, jwterrors.TokenMissing, ""},
			{"no token for a stream", "Watch", nil, connect.CodeUnauthenticated, jwterrors.TokenMissing, ""},
			{"two tokens", "Get", []string{reader, reader}, connect.CodeInvalidArgument, jwterrors.RequestInvalid, ""},
			{"an expired token", "Get", []string{old}, connect.CodeUnauthenticated, jwterrors.TokenExpired, ""},
			{"an expired token for a stream", "Watch", []string{old}, connect.CodeUnauthenticated, jwterrors.TokenExpired, ""},
			{"a token without the scope", "Delete", []string{reader}, connect.CodePermissionDenied, jwterrors.ScopeInsufficient, ""},
			{"a token without the scope for a stream", "Watch", []string{admin}, connect.CodePermissionDenied, jwterrors.ScopeInsufficient, ""},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				before := ran.Load()
				answer, err := call(t.Context(), server.Client(), server.URL, tt.procedure, tt.authorizations, protocol...)
				if answer != tt.answer {
					t.Errorf("answer %q, want %q", answer, tt.answer)
				}
				if tt.code != 0 {
					want(t, err, tt.code, tt.reason)
				} else if err != nil {
					t.Error(err)
				}
				if passed := ran.Load() != before; passed != (tt.code == 0) {
					t.Errorf("what is behind the guards ran: %v", passed)
				}
			})
		}
	}
}

func TestARefusalInConnectIsOneInHTTP(t *testing.T) {
	iss := exampletest.NewIssuer(t, answering)
	server := serve(t, iss.Auth, new(counter))
	reader := "Bearer " + iss.Token(t, "api:read", time.Hour)
	for _, tt := range []struct {
		name, procedure, authorization, contentType string
		status                                      int
		challenge, answerType                       string
		member, value                               string // of the body
	}{
		{"Connect without a token", "Get", "", "application/json", 401, "Bearer", "application/json", "code", "unauthenticated"},
		{"Connect with another token", "Get", "Bearer x", "application/json", 401, `reason="AUTH_TOKEN_FORMAT_INVALID"`, "application/json", "code", "unauthenticated"},
		{"Connect without the scope", "Delete", reader, "application/json", 403, `scope="admin"`, "application/json", "code", "permission_denied"},
		{"something else", "Get", "", "text/plain", 401, "Bearer", "application/problem+json", "reason", "AUTH_TOKEN_MISSING"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/orders.Orders/"+tt.procedure, strings.NewReader(`"7"`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", tt.contentType)
			if tt.authorization != "" {
				req.Header.Set("Authorization", tt.authorization)
			}
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var body map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.answerType || body[tt.member] != tt.value {
				t.Errorf("status %d, type %q, body %v", resp.StatusCode, resp.Header.Get("Content-Type"), body)
			}
			if challenge := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Bearer") || !strings.Contains(challenge, tt.challenge) {
				t.Errorf("WWW-Authenticate is %q, want one with %q", challenge, tt.challenge)
			}
		})
	}
}

func TestWhatNobodyListedDoesNotExistAndHealthIsPublic(t *testing.T) {
	iss := exampletest.NewIssuer(t, answering)
	server := serve(t, iss.Auth, new(counter))
	_, err := call(t.Context(), server.Client(), server.URL, "Purge", []string{"Bearer " + iss.Token(t, "admin", time.Hour)})
	if connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Errorf("got %v", err)
	}
	if resp, body := exampletest.Ask(t, server.Client(), "GET", server.URL+"/healthz", ""); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("status %d, body %q", resp.StatusCode, body)
	}
}

// While keys cannot be had, nothing is known about the token: a client that took
// this for Unauthenticated would throw its session away.
func TestAnOutageOfTheIssuerIsUnavailable(t *testing.T) {
	down := httptest.NewServer(nil)
	down.Close()
	iss := exampletest.NewIssuer(t, answering, func(c *middleware.Config) {
		c.Keys = middleware.JWKS(down.URL, middleware.JWKSOptions{InsecureAllowHTTP: true})
	})
	server := serve(t, iss.Auth, new(counter))
	// A token of an algorithm that a JWKS can have: {"alg":"ES256","kid":"k"}.
	_, err := call(t.Context(), server.Client(), server.URL, "Get", []string{"Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.AAAA"})
	want(t, err, connect.CodeUnavailable, jwterrors.KeysUnavailable)
}

// A source gives a session its next tokens.
type source func() string

func (s source) Refresh(context.Context, refresher.Tokens) (refresher.Tokens, error) {
	return refresher.Tokens{AccessToken: s()}, nil
}

// The refresher is an http.RoundTripper, and so needs nothing of Connect's.
func TestTheRefreshersClientCallsAgainWithANewToken(t *testing.T) {
	iss, another := exampletest.NewIssuer(t, answering), exampletest.NewIssuer(t)
	var ran counter
	server := serve(t, iss.Auth, &ran)
	var refreshes atomic.Int64
	session, err := refresher.New(refresher.Config{
		Origins: []string{server.URL}, Base: server.Client().Transport,
		Source: source(func() string {
			refreshes.Add(1)
			return iss.Token(t, "api:read", time.Hour)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := session.SetTokens(t.Context(), refresher.Tokens{AccessToken: another.Token(t, "api:read", time.Hour)}); err != nil {
		t.Fatal(err)
	}
	answer, err := call(t.Context(), session.Client(), server.URL, "Get", nil)
	if err != nil || answer != "order 7 of alice" {
		t.Errorf("got %q, %v", answer, err)
	}
	if refreshes.Load() != 1 || ran.Load() != 1 {
		t.Errorf("%d refreshes, want 1; the procedure ran %d times, want 1", refreshes.Load(), ran.Load())
	}
	_, err = call(t.Context(), session.Client(), server.URL, "Delete", nil)
	want(t, err, connect.CodePermissionDenied, jwterrors.ScopeInsufficient)
	if refreshes.Load() != 1 {
		t.Errorf("%d refreshes for a token that lacks a scope, want none", refreshes.Load()-1)
	}
}
