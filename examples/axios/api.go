package main

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/tokenloop/tokenloop/refresher"
)

// An api is the Go twin of client/api.mjs: a client of one API with its own
// tokens, which are attached, renewed and retried with. What the interceptors
// there do, the Transport does here.
type api struct {
	baseURL string
	session *refresher.Transport
	client  *http.Client
}

// newAPI returns the client of the API at baseURL. A service that calls several
// APIs has one for each.
func newAPI(baseURL string, change func(*refresher.Config)) (*api, error) {
	config := refresher.Config{
		AuthURL: baseURL + "/auth", Origins: []string{baseURL}, InsecureAllowHTTP: true, // on loopback
	}
	change(&config)
	session, err := refresher.New(config)
	if err != nil {
		return nil, err
	}
	client := session.Client()
	client.Timeout = 60 * time.Second // 60,000 ms, with the wait for a refresh
	return &api{baseURL: baseURL, session: session, client: client}, nil
}

func (a *api) login(ctx context.Context, username, password string) error {
	return a.session.Login(ctx, refresher.Credentials{Username: username, Password: password})
}

// get returns the status and the body of the answer at path.
func (a *api) get(ctx context.Context, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", a.baseURL+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
