package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/oauth2x"
)

// start returns a server that is gone after the test.
func start(t *testing.T) *server {
	t.Helper()
	s, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// The program ends when the page that it shows has been opened.
func TestTheProgram(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, browse(t)); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "\nthe API says 200 OK: alice mobile\n") {
		t.Errorf("it printed %q", &out)
	}
}

// browse opens a page, as a user would.
func browse(t *testing.T) func(url string) {
	return func(url string) {
		resp, err := http.Get(url)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
			t.Errorf("%s: %s", resp.Status, body)
		}
	}
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		return string(jwterrors.ReasonOf(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

// From the login in the browser to the end of the session, with the issuer's real
// token endpoint: each refresh rotates, and a revoked token costs one.
func TestTheWholeLoop(t *testing.T) {
	s := start(t)
	token, err := login(t.Context(), s.config(), browse(t))
	if err != nil {
		t.Fatal(err)
	}
	if token.RefreshToken == "" || token.Extra("scope") != "api:read" {
		t.Fatalf("the login gave scope %v", token.Extra("scope"))
	}
	tr, err := session(t.Context(), s.config(), token, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	http1, http2 := tr.Client(), client(t.Context(), tr)
	for _, c := range []*http.Client{http1, http2} {
		if got := get(t, c, s.URL+"/api"); got != "alice mobile" {
			t.Errorf("the API says %q", got)
		}
	}

	s.grants.Store(0)
	deny(t, s, tr)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got := get(t, http1, s.URL+"/api"); got != "alice mobile" {
				t.Errorf("the API says %q", got)
			}
		})
	}
	wg.Wait()
	if n := s.grants.Load(); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
	after, _ := tr.Tokens()
	if after.RefreshToken == token.RefreshToken || after.Scope != "api:read" || after.RefreshExpiry.IsZero() {
		t.Errorf("the refresh has brought %v", after)
	}

	if err := s.issuer.RevokeSubject(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if err := tr.Refresh(t.Context()); jwterrors.ReasonOf(err).Action() != jwterrors.ActionLogin {
		t.Errorf("the refresh of a revoked session: %v", err)
	}
	_, err = oauth2x.TokenSource(t.Context(), tr).Token()
	var retrieve *oauth2.RetrieveError
	if !errors.As(err, &retrieve) || retrieve.ErrorCode != "invalid_grant" || !errors.Is(err, jwterrors.LoggedOut) {
		t.Errorf("after the end of the session: %v", err)
	}
}

// deny makes the API refuse the token that tr has.
func deny(t *testing.T, s *server, tr *refresher.Transport) {
	t.Helper()
	tokens, _ := tr.Tokens()
	var claims struct {
		ID string `json:"jti"`
	}
	if err := tokens.UnverifiedClaims(&claims); err != nil {
		t.Fatal(err)
	}
	if err := s.denylist.DenyToken(t.Context(), claims.ID, tokens.Expiry); err != nil {
		t.Fatal(err)
	}
}

// A service has no user, no login and no refresh token.
func TestAService(t *testing.T) {
	s := start(t)
	config := clientcredentials.Config{ClientID: "app", ClientSecret: appSecret, TokenURL: s.URL + "/auth/token", AuthStyle: oauth2.AuthStyleInHeader}
	tr, err := refresher.New(refresher.Config{
		Origins: []string{s.URL}, InsecureAllowHTTP: true, Source: oauth2x.TokenFunc(config.Token), Unattended: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for n := range int64(3) {
		if got := get(t, tr.Client(), s.URL+"/api"); got != "app app" {
			t.Errorf("the API says %q", got)
		}
		if got := s.grants.Load(); got != n+1 {
			t.Errorf("%d tokens were asked for, want %d", got, n+1)
		}
		deny(t, s, tr)
	}
}

func TestALoginIsTheOneThatWasBegun(t *testing.T) {
	s := start(t)
	for name, show := range map[string]func(u string){
		"the state of another login": func(u string) {
			parsed, _ := url.Parse(u)
			back := parsed.Query().Get("redirect_uri")
			resp, err := http.Get(back + "?code=stolen&state=another")
			if err != nil || resp.StatusCode != 400 {
				t.Errorf("got %v, %v", resp, err)
			}
			browse(t)(u)
		},
		"twice": func(u string) { browse(t)(u); browse(t)(u) },
	} {
		t.Run(name, func(t *testing.T) {
			token, err := login(t.Context(), s.config(), show)
			if err != nil || token.AccessToken == "" {
				t.Error(err)
			}
		})
	}
	for name, query := range map[string]string{"the user said no": "error=access_denied&state=", "a code of nobody": "code=x&state="} {
		t.Run(name, func(t *testing.T) {
			_, err := login(t.Context(), s.config(), func(u string) {
				parsed, _ := url.Parse(u)
				q := parsed.Query()
				if resp, err := http.Get(q.Get("redirect_uri") + "?" + query + url.QueryEscape(q.Get("state"))); err != nil || resp.StatusCode != 200 {
					t.Errorf("got %v, %v", resp, err)
				}
			})
			if err == nil {
				t.Error("there is a token")
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := login(ctx, s.config(), func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
