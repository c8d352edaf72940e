package issuer_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/tokenloop/tokenloop/issuer"
)

// postForm sends a form to a handler and returns the status and the answer.
func postForm(h http.Handler, path string, form url.Values) (int, map[string]any) {
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("reports", "an-obviously-fake-client-secret-of-32-bytes")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var answer map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

// oauthConfig has one confidential client.
func oauthConfig() issuer.Config {
	config := exampleConfig()
	config.Grants = []string{issuer.GrantClientCredentials, issuer.GrantAuthorizationCode}
	config.AuthorizationEndpoint = "https://id.example.com/authorize"
	config.Introspection = true
	config.Clients = []issuer.Client{{
		ID: "reports", Secrets: []string{"an-obviously-fake-client-secret-of-32-bytes"}, Grants: config.Grants,
		Scopes: []string{"orders:read"}, RedirectURIs: []string{"https://reports.example.com/callback"}, MayIntrospect: true,
	}}
	return config
}

func ExampleClient() {
	iss, err := issuer.New(oauthConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, tokens := postForm(iss, "/auth/token", url.Values{"grant_type": {"client_credentials"}})
	fmt.Println(tokens["token_type"], tokens["scope"], tokens["refresh_token"])
	_, about := postForm(iss, "/auth/introspect", url.Values{"token": {tokens["access_token"].(string)}})
	fmt.Println(about["active"], about["sub"])
	_, about = postForm(iss, "/auth/introspect", url.Values{"token": {"another"}})
	fmt.Println(about)
	// Output:
	// Bearer orders:read <nil>
	// true reports
	// map[active:false]
}

func ExampleClient_incorrect() {
	config := oauthConfig()
	config.Clients = []issuer.Client{{ID: "reports", Secrets: []string{"reports"}, Grants: []string{"password"}, MayIntrospect: true}}
	_, err := issuer.New(config)
	fmt.Println(err)
	// Output:
	// issuer: Clients[0]: client "reports": Secrets[0] has 7 bytes; it needs at least 32
	// issuer: Clients[0]: client "reports": Config.Grants does not list "password"
}

func ExampleIssuer_GrantCode() {
	iss, err := issuer.New(oauthConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	// The client draws a verifier and sends the user to the authorization page
	// with its hash.
	verifier := "an-obviously-fake-code-verifier-of-43-chars"
	sum := sha256.Sum256([]byte(verifier))
	redirect := "https://reports.example.com/callback"

	// The page has logged the user in and asked for consent.
	code, err := iss.GrantCode(context.Background(), issuer.CodeRequest{
		ClientID: "reports", RedirectURI: redirect,
		CodeChallenge: base64.RawURLEncoding.EncodeToString(sum[:]), CodeChallengeMethod: "S256",
		User: issuer.User{ID: "alice", Scopes: []string{"orders:read", "orders:write"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	// The client has got the code at its redirect URI.
	exchange := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}}
	status, tokens := postForm(iss, "/auth/token", exchange)
	fmt.Println(status, tokens["scope"])
	status, refused := postForm(iss, "/auth/token", exchange)
	fmt.Println(status, refused["error"])
	// Output:
	// 200 orders:read
	// 400 invalid_grant
}

func ExampleIssuer_CheckRedirect() {
	iss, err := issuer.New(oauthConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(iss.CheckRedirect(context.Background(), "reports", "https://reports.example.com/callback"))
	fmt.Println(iss.CheckRedirect(context.Background(), "reports", "https://evil.example.com/callback"))
	// Output:
	// <nil>
	// AUTH_REQUEST_INVALID: redirect_uri is not one of the client's
}
