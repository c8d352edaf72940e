package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"

	"golang.org/x/oauth2"
)

// login has the user log in at the page that it shows, and returns the token. The
// page sends the browser back to a port of this machine (RFC 8252, Section 7.3).
func login(ctx context.Context, config *oauth2.Config, show func(url string)) (*oauth2.Token, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := *config
	c.RedirectURL = "http://" + listener.Addr().String() + "/callback"
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	codes := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("state") != state { // another page has sent the browser here
			http.Error(w, "this is not the login that was begun", http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, "This page can be closed.")
		select {
		case codes <- r.FormValue("code"):
		default: // the first one counts
		}
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }() // until Close
	defer server.Close()

	show(c.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)))
	select {
	case code := <-codes:
		if code == "" {
			return nil, errors.New("the login was refused")
		}
		return c.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
