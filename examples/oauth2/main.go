// Oauth2 is a program on a user's machine that logs in with golang.org/x/oauth2, in
// the user's browser, and calls an API with a refresher.Transport from then on.
//
//	go run ./examples/oauth2
//
// It starts an issuer and an API, prints a page to open, and ends with what the API
// says, or when it is interrupted.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"

	"golang.org/x/oauth2"

	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/oauth2x"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, func(string) {}); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// run logs in and calls the API. It shows the page that the user has to open.
func run(ctx context.Context, out io.Writer, show func(url string)) error {
	server, err := newServer()
	if err != nil {
		return err
	}
	defer server.Close()
	config := server.config()
	token, err := login(ctx, config, func(url string) {
		fmt.Fprintf(out, "open this page to log in, or press Ctrl-C:\n%s\n", url)
		show(url)
	})
	if err != nil {
		return err
	}
	s, err := session(ctx, config, token, server.URL)
	if err != nil {
		return err
	}
	defer s.Close()
	resp, err := s.Client().Get(server.URL + "/api")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Fprintf(out, "the API says %s: %s\n", resp.Status, body)
	return err
}

// config is what golang.org/x/oauth2 has to know of the server.
func (s *server) config() *oauth2.Config {
	return &oauth2.Config{
		ClientID: "mobile", // a public client: it has no secret
		Endpoint: oauth2.Endpoint{
			AuthURL: s.URL + "/authorize", TokenURL: s.URL + "/auth/token", AuthStyle: oauth2.AuthStyleInParams,
		},
		Scopes: []string{"api:read"},
	}
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
