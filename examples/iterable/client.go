package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// An app is the client side: it knows its API key, and no secret.
type app struct {
	api, backend string // URLs
	key          string // the API key
	session      string // of the app at its own back end

	retryInterval time.Duration
	onSuccess     func()
	onFailure     func(jwterrors.Reason)
	onJwtError    func(*jwterrors.Error)
	now           func() time.Time
}

// transport configures the refresher as the app's SDK was.
func (a *app) transport() (*refresher.Transport, error) {
	return a.transportWith(refresher.AuthHandler(a.authHandler))
}

func (a *app) transportWith(source refresher.Source) (*refresher.Transport, error) {
	return refresher.New(refresher.Config{
		Origins: []string{a.api}, InsecureAllowHTTP: true, // on loopback
		Source:        source,
		Base:          withAPIKey{a.key, http.DefaultTransport},
		RefreshWindow: 120 * time.Second, // expiringAuthTokenRefreshPeriod
		MaxRetries:    5,                 // retryPolicy
		RetryBackoff:  refresher.Exponential,
		RetryInterval: a.retryInterval,
		Refusals:      tokenErrors(),
		OnFailure:     a.onJwtError,
		NoJitter:      true, // so that the story is the same each time
		Now:           a.now,
	})
}

// tokenErrors are the answers that a new token may cure: those with a code for
// tokens. Another 401, of a wrong API key for example, asks for none.
func tokenErrors() []refresher.Refusal {
	list := []refresher.Refusal{{Status: http.StatusUnauthorized, Code: "InvalidJwtPayload"}}
	for _, reason := range jwterrors.Reasons() {
		if strings.HasPrefix(string(reason), "AUTH_TOKEN_") {
			list = append(list, refresher.Refusal{Status: http.StatusUnauthorized, Code: string(reason)})
		}
	}
	return list
}

// authHandler asks the app's own server for a token. Without the callbacks the
// answer is the other form: the token and nothing else.
func (a *app) authHandler(ctx context.Context, id refresher.Identity) (refresher.AuthResponse, error) {
	token, err := a.fetch(ctx, id)
	return refresher.AuthResponse{Token: token, OnSuccess: a.onSuccess, OnFailure: a.onFailure}, err
}

// fetcher is what authHandler does, as configuration: use it where that is all.
func (a *app) fetcher() refresher.Source {
	return refresher.Fetcher{
		URL:           a.backend + "/jwt",
		Authorization: func(context.Context) (string, error) { return "Bearer " + a.session, nil },
		OnSuccess:     a.onSuccess, OnFailure: a.onFailure,
	}
}

// fetch returns the token of the user id, or "" where the server has none.
func (a *app) fetch(ctx context.Context, id refresher.Identity) (string, error) {
	body := map[string]string{"userId": id.UserID}
	if id.Email != "" {
		body = map[string]string{"email": id.Email}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.backend+"/jwt", bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+a.session)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", errors.New("the back end cannot be reached")
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests {
		return "", &jwterrors.Error{Reason: jwterrors.RateLimited, RetryAfter: jwterrors.RetryAfter(resp.Header)}
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the back end answered %d", resp.StatusCode)
	}
	var answer struct{ Token string }
	err = json.NewDecoder(io.LimitReader(resp.Body, 16<<10)).Decode(&answer)
	return answer.Token, err
}

// withAPIKey adds the API key to every request.
type withAPIKey struct {
	key  string
	next http.RoundTripper
}

func (k withAPIKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Api-Key", k.key)
	return k.next.RoundTrip(r)
}

// messages asks the API for the messages of the user id, and returns what it says.
func (a *app) messages(ctx context.Context, client *http.Client, id refresher.Identity) (status int, reason jwterrors.Reason, err error) {
	query := url.Values{"userId": {id.UserID}}
	if id.Email != "" {
		query = url.Values{"email": {id.Email}}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.api+"/api/inApp/getMessages?"+query.Encode(), nil)
	if err != nil {
		return 0, "", err
	}
	return say(client, req)
}

// say sends a request and returns the status of the answer, and the reason in it.
func say(client *http.Client, req *http.Request) (status int, reason jwterrors.Reason, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if e := jwterrors.FromResponse(resp); e != nil {
		reason = e.Reason
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, reason, err
}
