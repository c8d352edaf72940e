// Oauth2 is a program on a user's machine that logs in with golang.org/x/oauth2, in
// the user's browser, and calls an API with a refresher.Transport from then on.
//
//	go run ./examples/server    # the issuer and the API, on 127.0.0.1:8080
//	go run ./examples/oauth2    # prints a page to open, and then what the API says
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/oauth2x"
)

func main() {
	const server = "http://127.0.0.1:8080"
	config := &oauth2.Config{
		ClientID: "mobile", // a public client: it has no secret
		Endpoint: oauth2.Endpoint{
			AuthURL: server + "/authorize", TokenURL: server + "/auth/token", AuthStyle: oauth2.AuthStyleInParams,
		},
		Scopes: []string{"api:read"},
	}
	ctx := context.Background()
	token, err := login(ctx, config, func(url string) { fmt.Println("open", url) })
	if err != nil {
		log.Fatal(err)
	}
	s, err := session(ctx, config, token, server)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	resp, err := s.Client().Get(server + "/api/read")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body), err)
}

// session begins a session with the token of a login. The API gets its tokens, and
// the token endpoint of config replaces them.
func session(ctx context.Context, config *oauth2.Config, token *oauth2.Token, api string) (*refresher.Transport, error) {
	t, err := refresher.New(refresher.Config{
		Origins: []string{api}, InsecureAllowHTTP: true, // on loopback
		Source: oauth2x.RefreshGrant{Config: config, InsecureAllowHTTP: true},
	})
	if err != nil {
		return nil, err
	}
	return t, t.SetTokens(ctx, oauth2x.FromToken(token))
}

// client is for libraries that ask for an oauth2.TokenSource.
func client(ctx context.Context, t *refresher.Transport) *http.Client {
	return &http.Client{Transport: &oauth2.Transport{Source: oauth2x.TokenSource(ctx, t)}}
}
