package oauth2x_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/oauth2x"
)

// exampleServer is an authorization server and an API beside an example.
func exampleServer() *server { return newServer(&example{}) }

// An example is a testing.TB for what asks for one.
type example struct{ testing.TB }

func (*example) Cleanup(func()) {}

func show(resp *http.Response, err error) {
	if err != nil {
		fmt.Println(jwterrors.ReasonOf(err))
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body))
}

func ExampleRefreshGrant() {
	server := exampleServer()
	defer server.Close()
	config, token := server.config(), server.login(time.Hour) // as config.Exchange returns it

	t, err := refresher.New(refresher.Config{
		Origins: []string{server.URL}, InsecureAllowHTTP: true, // on loopback
		Source: oauth2x.RefreshGrant{Config: config, InsecureAllowHTTP: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	fmt.Println(t.SetTokens(context.Background(), oauth2x.FromToken(token)))
	server.revoke() // an oauth2.Transport would get 401 for an hour
	show(t.Client().Get(server.URL + "/api"))
	// Output:
	// <nil>
	// 200 hello
}

func ExampleRefreshGrant_Refresh() {
	server := exampleServer()
	defer server.Close()
	grant := oauth2x.RefreshGrant{Config: server.config(), InsecureAllowHTTP: true} // a Transport calls it
	tokens, err := grant.Refresh(context.Background(), oauth2x.FromToken(server.login(time.Hour)))
	fmt.Println(tokens.AccessToken, tokens.RefreshToken, err)
	_, err = grant.Refresh(context.Background(), refresher.Tokens{RefreshToken: "refresh-1"}) // used up
	fmt.Println(err)
	// Output:
	// access-2 refresh-2 <nil>
	// AUTH_REFRESH_TOKEN_INVALID: oauth2x: get a token: status 400 (invalid_grant)
}

func ExampleTokenFunc() {
	server := exampleServer()
	defer server.Close()
	config := clientcredentials.Config{
		ClientID: clientID, ClientSecret: secret,
		TokenURL: server.URL + "/token", AuthStyle: oauth2.AuthStyleInHeader,
	}
	t, err := refresher.New(refresher.Config{
		Origins: []string{server.URL}, InsecureAllowHTTP: true, // on loopback
		Source: oauth2x.TokenFunc(config.Token), Unattended: true, // nobody logs in
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	show(t.Client().Get(server.URL + "/api"))
	// Output: 200 hello
}

func ExampleTokenFunc_Refresh() {
	fetch := oauth2x.TokenFunc(func(context.Context) (*oauth2.Token, error) {
		return &oauth2.Token{AccessToken: "from elsewhere"}, nil
	})
	tokens, err := fetch.Refresh(context.Background(), refresher.Tokens{}) // a Transport calls it
	fmt.Println(tokens.AccessToken, err)
	// Output: from elsewhere <nil>
}

func ExampleFromTokenSource() {
	server := exampleServer()
	defer server.Close()
	config, token := server.config(), server.login(time.Hour)
	source := oauth2x.FromTokenSource(config.TokenSource(context.Background(), token))
	tokens, err := source.Refresh(context.Background(), refresher.Tokens{}) // although token is good for an hour
	fmt.Println(tokens.AccessToken, err)
	// Output: access-2 <nil>
}

func ExampleFromToken() {
	tokens := oauth2x.FromToken(&oauth2.Token{AccessToken: "access", RefreshToken: "refresh"})
	fmt.Println(tokens.AccessToken, tokens.RefreshToken)
	// Output: access refresh
}

func ExampleTokenSource() {
	server := exampleServer()
	defer server.Close()
	t, err := refresher.New(refresher.Config{
		Origins: []string{server.URL}, InsecureAllowHTTP: true, // on loopback
		Source: oauth2x.RefreshGrant{Config: server.config(), InsecureAllowHTTP: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.SetTokens(ctx, oauth2x.FromToken(server.login(-time.Minute))))
	source := oauth2x.TokenSource(ctx, t) // for a library that asks for one
	token, err := source.Token()
	fmt.Println(token.AccessToken, token.Valid(), err)
	// Output:
	// <nil>
	// access-2 true <nil>
}
