package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// An app is what runs on the phone. Its business code has an http.Client, and
// knows nothing of tokens.
type app struct {
	*http.Client
	session *refresher.Transport
	api     string
}

// start starts the app, whose files are in dir: the tokens, and the logouts that
// the server was not told of. They are the user's alone, and not encrypted; the
// module refresher/keyring keeps tokens in the system's keychain instead.
func start(dir, server string, network http.RoundTripper, key refresher.PublicKey, change func(*refresher.Config)) (*app, error) {
	tokens, err := refresher.NewFileStore(tokenFile(dir))
	if err != nil {
		return nil, err
	}
	logouts, err := refresher.NewFileLogouts(filepath.Join(dir, "logouts"))
	if err != nil {
		return nil, err
	}
	config := refresher.Config{
		AuthURL: server + "/auth", Origins: []string{server}, InsecureAllowHTTP: true, // on loopback
		Base:  network,
		Store: tokens, Logouts: logouts,
		Issuer: server, Audience: audience, PublicKeys: []refresher.PublicKey{key},
		RetryInterval: 10 * time.Millisecond, MaxRetries: 2, // the defaults, on a phone
		NoJitter: true, // so that the story is the same each time
	}
	change(&config)
	session, err := refresher.New(config)
	if err != nil {
		return nil, err
	}
	return &app{session.Client(), session, server}, nil
}

func tokenFile(dir string) string { return filepath.Join(dir, "session", "tokens.json") }

// A screen is what the app shows of its user without asking anybody.
type screen struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
	Exp   int64    `json:"exp"`
}

func (a *app) screen(ctx context.Context) (screen, error) {
	var s screen
	if err := a.session.Restore(ctx); err != nil {
		return s, err
	}
	tokens, ok := a.session.Tokens()
	if !ok {
		return s, jwterrors.LoggedOut
	}
	return s, tokens.UnverifiedClaims(&s) // verified when they came: the app has the public key
}

// get asks the API, and returns the status of the answer with its reason or body.
func (a *app) get(ctx context.Context, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.api+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := a.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if e := jwterrors.FromResponse(resp); e != nil {
		data, err := io.ReadAll(resp.Body)
		if len(data) == 0 {
			err = fmt.Errorf("the answer %d has no body", resp.StatusCode)
		}
		return resp.StatusCode, string(e.Reason), err
	}
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(data)), err
}
