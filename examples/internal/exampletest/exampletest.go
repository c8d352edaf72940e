// Package exampletest is what the tests of the examples share: an issuer that
// signs any token, and the questions that every HTTP framework has to answer
// alike.
package exampletest

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// An Issuer signs what a test asks for, and Auth accepts it.
type Issuer struct {
	Auth   *middleware.Middleware
	secret []byte
}

const (
	issuerName = "https://id.example.com"
	audience   = "api"
)

// NewIssuer returns an Issuer with a secret of its own. The options change what
// Auth accepts.
func NewIssuer(t testing.TB, options ...func(*middleware.Config)) *Issuer {
	t.Helper()
	i := &Issuer{secret: make([]byte, 32)}
	rand.Read(i.secret)
	config := middleware.Config{Keys: middleware.HS256(i.secret), Issuer: issuerName, Audience: []string{audience}}
	for _, option := range options {
		option(&config)
	}
	var err error
	if i.Auth, err = middleware.New(config); err != nil {
		t.Fatal(err)
	}
	return i
}

// Token returns a token of alice with the scope, which is a string or a list, that
// expires after life: less than zero ago.
func (i *Issuer) Token(t testing.TB, scope any, life time.Duration) string {
	t.Helper()
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": issuerName, "aud": audience, "sub": "alice", "scope": scope,
		"iat": now.Add(min(life, 0) - time.Hour).Unix(), "exp": now.Add(life).Unix(),
	}).SignedString(i.secret)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Probe is a route that a test adds to the router of an example: behind auth and
// the scope "admin", with one handler that counts and one that answers.
const Probe = "/probe"

// Routes asks a handler with the routes of the examples over loopback: the public
// GET /healthz, GET /orders/{id} for the scope "api:read", DELETE /orders/{id} for
// the scope "admin", and Probe. Ran tells how often the handlers behind Probe were
// called.
func Routes(t *testing.T, i *Issuer, handler http.Handler, ran func() int) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	reader := "Bearer " + i.Token(t, "api:read", time.Hour)
	admin := "Bearer " + i.Token(t, "api:read admin", time.Hour)
	old := "Bearer " + i.Token(t, "api:read admin", -time.Hour)

	for _, tt := range []struct {
		name, method, path string
		authorization      string
		status             int
		reason             jwterrors.Reason // "" passes
		says               string           // the body of an answer, or a part of the challenge
	}{
		{"a public route asks for nothing", "GET", "/healthz", "", 200, "", "ok"},
		{"a public route does not look at tokens", "GET", "/healthz", old, 200, "", "ok"},
		{"a good token passes, and the handler knows whose it is", "GET", "/orders/7", reader, 200, "", "order 7 of alice"},
		{"a good token with the scope passes the guard", "DELETE", "/orders/7", admin, 200, "", "order 7 of alice is gone"},
		{"no token", "GET", "/orders/7", "", 401, jwterrors.TokenMissing, "Bearer"},
		{"no token at a guarded route", "DELETE", "/orders/7", "", 401, jwterrors.TokenMissing, "Bearer"},
		{"another scheme", "GET", "/orders/7", "Basic YTpi", 401, jwterrors.TokenMissing, "Bearer"},
		{"not a token", "GET", "/orders/7", "Bearer x", 401, jwterrors.TokenFormatInvalid, `error="invalid_token"`},
		{"two tokens in one", "GET", "/orders/7", reader + ", " + admin, 400, jwterrors.RequestInvalid, `error="invalid_request"`},
		{"an expired token", "GET", "/orders/7", old, 401, jwterrors.TokenExpired, `reason="AUTH_TOKEN_EXPIRED"`},
		{"a token without the scope", "DELETE", "/orders/7", reader, 403, jwterrors.ScopeInsufficient, `scope="admin"`},

		{"later handlers run for a token that passes", "GET", Probe, admin, 200, "", "probed"},
		{"later handlers do not run without a token", "GET", Probe, "", 401, jwterrors.TokenMissing, "Bearer"},
		{"later handlers do not run for an expired token", "GET", Probe, old, 401, jwterrors.TokenExpired, "reason="},
		{"later handlers do not run without the scope", "GET", Probe, reader, 403, jwterrors.ScopeInsufficient, `scope="admin"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := ran()
			resp, body := Ask(t, server.Client(), tt.method, server.URL+tt.path, tt.authorization)
			if resp.StatusCode != tt.status {
				t.Fatalf("status %d, want %d: %s", resp.StatusCode, tt.status, body)
			}
			if called := ran() - before; called != 0 && (tt.path != Probe || tt.reason != "") || called == 0 && tt.path == Probe && tt.reason == "" {
				t.Errorf("the handlers behind the guard ran %d times", called)
			}
			if tt.reason == "" {
				if body != tt.says {
					t.Errorf("body %q, want %q", body, tt.says)
				}
				return
			}
			challenge := resp.Header.Values("WWW-Authenticate")
			if len(challenge) != 1 || !strings.HasPrefix(challenge[0], "Bearer") || !strings.Contains(challenge[0], tt.says) {
				t.Errorf("WWW-Authenticate is %q, want one with %q", challenge, tt.says)
			}
			// The whole body is the answer of the middleware: nobody has written behind it.
			var problem struct{ Reason jwterrors.Reason }
			if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Reason != tt.reason {
				t.Errorf("the body %q is not the reason %s and nothing else: %v", body, tt.reason, err)
			}
		})
	}

	t.Run("a preflight passes without its body", func(t *testing.T) {
		resp, body := Preflight(t, server.Client(), server.URL+Probe)
		if resp.StatusCode != 200 || body != "" {
			t.Errorf("status %d, body %q", resp.StatusCode, body)
		}
	})
}

// Ask sends a request and returns the answer, with its body read.
func Ask(t testing.TB, client *http.Client, method, url, authorization string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return send(t, client, req)
}

// Preflight asks as a browser does before a request from another origin.
func Preflight(t testing.TB, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest("OPTIONS", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://app.example.com")
	req.Header.Set("Access-Control-Request-Method", "GET")
	return send(t, client, req)
}

func send(t testing.TB, client *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal("read the answer: ", err)
	}
	return resp, string(body)
}
