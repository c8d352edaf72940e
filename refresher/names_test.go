package refresher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// A foreigner is an issuer with words of its own: it answers by path, and the
// API takes the access token that it gave out last.
type foreigner struct {
	answers map[string]func(n int, sent map[string]string) (status int, body string)
	sent    []string // path and body, in a line
	given   int
	valid   string
}

func (f *foreigner) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := 200, "ok"
	if answer := f.answers[r.URL.Path]; answer != nil {
		data := must(io.ReadAll(r.Body))
		f.sent = append(f.sent, r.URL.Path+" "+string(data))
		var sent map[string]string
		if err := json.Unmarshal(data, &sent); err != nil {
			return nil, err
		}
		f.given++
		f.valid = fmt.Sprintf("opaque-access-token-number-%d", f.given)
		status, body = answer(f.given, sent)
	} else if r.Header.Get("Authorization") != "Bearer "+f.valid {
		status, body = 401, `{"success":false,"message":"Your access token is invalid.","code":"invalidToken"}`
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

// JG-03, JG-07, AX-13, D5: issuers that call things by other names: what they are
// sent, and what their answers mean. A refresh token that an answer leaves out is
// kept.
func TestForeignNames(t *testing.T) {
	const access = "opaque-access-token-number-%d"
	for _, c := range []struct {
		name    string
		change  func(*refresher.Config)
		answers map[string]func(n int, sent map[string]string) (int, string)
		sent    []string
	}{
		{
			"a tutorial's, which gives one refresh token for ever",
			func(c *refresher.Config) {
				c.AuthURL, c.RefreshPath = "https://service.test", "/refreshToken"
				c.Requests = refresher.RequestNames{RefreshToken: "refreshToken"}
				c.Answers = refresher.AnswerNames{AccessToken: "authToken", RefreshToken: "refreshToken"}
			},
			map[string]func(n int, sent map[string]string) (int, string){
				"/login": func(n int, _ map[string]string) (int, string) {
					return 200, fmt.Sprintf(`{"success":true,"authToken":"`+access+`","refreshToken":"R"}`, n)
				},
				"/refreshToken": func(n int, sent map[string]string) (int, string) {
					if n > 3 {
						return 403, `{"success":false,"message":"Refresh token expired - session ended.","code":"refreshExpired"}`
					}
					return 200, fmt.Sprintf(`{"success":true,"authToken":"`+access+`"}`, n)
				},
			},
			[]string{
				`/login {"password":"right","username":"alice"}`, `/refreshToken {"refreshToken":"R"}`,
				`/refreshToken {"refreshToken":"R"}`, `/refreshToken {"refreshToken":"R"}`,
			},
		},
		{
			"a guide's, which rotates",
			func(c *refresher.Config) { c.Requests.RefreshToken = "refreshToken" },
			map[string]func(n int, sent map[string]string) (int, string){
				"/auth/login": func(n int, _ map[string]string) (int, string) {
					return 200, fmt.Sprintf(`{"access_token":"`+access+`","refresh_token":"R%d"}`, n, n)
				},
				"/auth/refresh": func(n int, sent map[string]string) (int, string) {
					if n > 3 {
						return 403, `{"code":"refreshExpired"}`
					}
					return 200, fmt.Sprintf(`{"access_token":"`+access+`","refresh_token":"R%d"}`, n, n)
				},
			},
			[]string{
				`/auth/login {"password":"right","username":"alice"}`, `/auth/refresh {"refreshToken":"R1"}`,
				`/auth/refresh {"refreshToken":"R2"}`, `/auth/refresh {"refreshToken":"R3"}`,
			},
		},
		{
			"an envelope's",
			func(c *refresher.Config) {
				c.Requests = refresher.RequestNames{Username: "user", Password: "pass", RefreshToken: "token"}
				c.Answers = refresher.AnswerNames{
					AccessToken: "data.session.accessToken", RefreshToken: "data.session.refreshToken", ExpiresIn: "data.ttl",
					TokenType: "kind", Scope: "data.scope", RefreshExpiresIn: "data.session.refreshTTL",
				}
			},
			map[string]func(n int, sent map[string]string) (int, string){
				"/auth/login": func(n int, _ map[string]string) (int, string) {
					return 200, fmt.Sprintf(`{"kind":"bearer","data":{"ttl":"600","scope":"a","session":{"accessToken":"`+access+`","refreshToken":"R1","refreshTTL":60}}}`, n)
				},
				"/auth/refresh": func(n int, sent map[string]string) (int, string) {
					if n > 3 {
						return 403, `{"code":"refreshExpired"}`
					}
					return 200, fmt.Sprintf(`{"data":{"ttl":null,"session":{"accessToken":"`+access+`"}}}`, n)
				},
			},
			[]string{
				`/auth/login {"pass":"right","user":"alice"}`, `/auth/refresh {"token":"R1"}`, `/auth/refresh {"token":"R1"}`, `/auth/refresh {"token":"R1"}`,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &foreigner{answers: c.answers}
			ended := make(chan jwterrors.Reason, 1)
			config := refresher.Config{
				AuthURL: "https://service.test/auth", Origins: []string{"https://service.test"}, Base: f,
				Codes:            map[string]jwterrors.Reason{"refreshExpired": jwterrors.RefreshTokenExpired},
				OnSessionExpired: func(e *jwterrors.Error) { ended <- e.Reason },
			}
			c.change(&config)
			tr := newTransport(t, config)
			call := func() (int, error) { return get(t.Context(), tr.Client(), "https://service.test/api") }
			login(t, tr)
			for range 2 { // each refusal starts one refresh
				status, err := call()
				require.NoError(t, err)
				assert.Equal(t, 200, status)
				f.valid = "another"
				status, err = call()
				require.NoError(t, err)
				assert.Equal(t, 200, status)
			}
			f.valid = "another"
			status, err := call()
			require.NoError(t, err)
			assert.Equal(t, 401, status)
			assert.Equal(t, jwterrors.RefreshTokenExpired, <-ended)
			_, err = call()
			assert.ErrorIs(t, err, jwterrors.LoggedOut)
			assert.Equal(t, c.sent, f.sent)
		})
	}
}

// What an answer with nested members brings, and where a wrong one is no token
// response.
func TestWhereAnAnswerKeepsItsMembers(t *testing.T) {
	names := refresher.AnswerNames{
		AccessToken: "a.token", RefreshToken: "r.token", ExpiresIn: "a.life", RefreshExpiresIn: "r.life", Scope: "scope", TokenType: "type",
	}
	for _, c := range []struct {
		name, body string
		want       string // the tokens; empty: it is no token response
	}{
		{"all of it", `{"a":{"token":"A","life":600},"r":{"token":"R","life":"3600"},"scope":"x","type":"Bearer"}`, "A R 10m0s 1h0m0s x Bearer"},
		{"the token alone", `{"a":{"token":"A"}}`, "A old 0s 0s a "},
		{"members that are null", `{"a":{"token":"A","life":null},"r":null,"scope":null}`, "A old 0s 0s a "},
		{"a name in another case", `{"A":{"token":"A"}}`, ""},
		{"an access token that is null", `{"a":{"token":null}}`, ""},
		{"an access token that is an object", `{"a":{"token":{}}}`, ""},
		{"a parent that is a string", `{"a":"A"}`, ""},
		{"a parent that is an array", `{"a":["A"]}`, ""},
		{"a refresh token that is a number", `{"a":{"token":"A"},"r":{"token":1}}`, ""},
		{"a refresh token whose parent is a string", `{"a":{"token":"A"},"r":"R"}`, ""},
		{"a name with a dot in it", `{"a.token":"A"}`, ""},
		{"an array", `[]`, ""},
		{"null", `null`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService()
			tr := offline(t, s, func(config *refresher.Config) { config.MaxRetries = refresher.NoRetries })
			login(t, tr)
			tokens, _ := tr.Tokens()
			tokens.RefreshToken, tokens.RefreshExpiry = "old", time.Time{}
			mapped := offline(t, s, func(config *refresher.Config) {
				config.Answers, config.MaxRetries = names, refresher.NoRetries
			})
			require.NoError(t, mapped.SetTokens(t.Context(), tokens))
			s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, c.body); return true })
			err := mapped.Refresh(t.Context())
			if c.want == "" {
				assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
				return
			}
			require.NoError(t, err)
			got, _ := mapped.Tokens()
			lasts := func(until time.Time) time.Duration {
				if until.IsZero() {
					return 0
				}
				return until.Sub(got.Received)
			}
			assert.Equal(t, c.want, fmt.Sprint(got.AccessToken, " ", got.RefreshToken, " ", lasts(got.Expiry), " ", lasts(got.RefreshExpiry), " ", got.Scope, " ", got.TokenType))
		})
	}
}

func TestNamesThatCannotWorkAreRefused(t *testing.T) {
	for want, change := range map[string]func(*refresher.Config){
		"two members of a request": func(c *refresher.Config) { c.Requests.Username = "password" },
		"leads nowhere":            func(c *refresher.Config) { c.Answers.AccessToken = "data." },
		"have the same name":       func(c *refresher.Config) { c.Answers.RefreshToken = "access_token" },
	} {
		config := refresher.Config{AuthURL: "https://id.example.com/auth", Origins: []string{"https://api.example.com"}}
		change(&config)
		_, err := refresher.New(config)
		assert.ErrorContains(t, err, want)
	}
}

func TestALogoutUsesTheNamesToo(t *testing.T) {
	f := &foreigner{answers: map[string]func(int, map[string]string) (int, string){
		"/auth/logout": func(int, map[string]string) (int, string) { return 200, `{"success":true}` },
	}}
	tr := newTransport(t, refresher.Config{
		AuthURL: "https://id.example.com/auth", Origins: []string{"https://api.example.com"}, Base: f,
		Requests: refresher.RequestNames{RefreshToken: "refreshToken"},
	})
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque", RefreshToken: "R"}))
	require.NoError(t, tr.Logout(t.Context()))
	assert.Equal(t, []string{`/auth/logout {"refreshToken":"R"}`}, f.sent)
}

// Whatever an issuer answers, a refresh brings the token that stands there, or
// nothing.
func FuzzTokenResponse(f *testing.F) {
	for _, body := range []string{
		`{"data":{"access_token":"A"},"refresh_token":"R","expires_in":600,"scope":"a"}`, `{"data":null}`, `{"data":{"access_token":"A","access_token":"B"}}`,
		`{"error":"invalid_grant"}`, `{"data":{"access_token":"A"},"expires_in":"1e9"}`, `[]`, `{"data":{"access_token":7}}`, `{"data":{"access_token":"A\u0000"}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) {
			c.MaxRetries, c.Answers.AccessToken = refresher.NoRetries, "data.access_token"
		})
		if err := tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "before", RefreshToken: "R0", Expiry: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write(body); return true })
		err := tr.Refresh(t.Context())
		got, active := tr.Tokens()
		var want map[string]json.RawMessage
		var data map[string]any
		switch {
		case err != nil && active && got.AccessToken != "before":
			t.Fatalf("%v, and the token is %q", err, got.AccessToken)
		case err != nil && !active && jwterrors.ReasonOf(err).Action() != jwterrors.ActionLogin:
			t.Fatalf("%v, and the session is over", err)
		case err == nil && (json.Unmarshal(body, &want) != nil || json.Unmarshal(want["data"], &data) != nil || data["access_token"] != got.AccessToken):
			t.Fatalf("the token is %q, after %q", got.AccessToken, body)
		}
	})
}

func ExampleAnswerNames() {
	t, err := refresher.New(refresher.Config{
		AuthURL:     "https://id.example.com",
		RefreshPath: "/refreshToken",
		Requests:    refresher.RequestNames{RefreshToken: "refreshToken"},
		Answers:     refresher.AnswerNames{AccessToken: "authToken", RefreshToken: "refreshToken"},
		Codes:       map[string]jwterrors.Reason{"refreshExpired": jwterrors.RefreshTokenExpired, "invalidToken": jwterrors.TokenExpired},
		Refusals:    []refresher.Refusal{{Status: 403, Code: "invalidToken"}},
		Origins:     []string{"https://api.example.com"},
		Base: &foreigner{answers: map[string]func(int, map[string]string) (int, string){ // in the place of the network
			"/login": func(int, map[string]string) (int, string) {
				return 200, `{"success":true,"authToken":"an-access-token","refreshToken":"a-refresh-token"}`
			},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	fmt.Println(t.Login(context.Background(), alice))
	tokens, _ := t.Tokens()
	fmt.Println(tokens.AccessToken, tokens.RefreshToken)
	// Output:
	// <nil>
	// an-access-token a-refresh-token
}
