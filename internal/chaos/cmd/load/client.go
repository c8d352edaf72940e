package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/chaos"
	"github.com/tokenloop/tokenloop/refresher"
)

// The operations, and how often each comes in a hundred.
const (
	login     = "login"
	call      = "call"
	refresh   = "refresh"
	revoke    = "revoke"
	inHundred = 100

	refreshes = 8
	revokes   = 1 // and a login after each
)

// A client is a user with our refresher.
type client struct {
	*meter
	n         int
	server    string
	pause     time.Duration
	rng       *rand.Rand
	transport *refresher.Transport
	plain     *http.Client // attaches nothing
}

func newClient(m *meter, server string, n int, pause time.Duration) (*client, error) {
	base := &http.Transport{MaxIdleConnsPerHost: 4}
	t, err := refresher.New(refresher.Config{
		AuthURL: server + "/auth", Origins: []string{server}, InsecureAllowHTTP: true, Base: base,
		OnSessionExpired: func(e *jwterrors.Error) { m.violate(fmt.Sprintf("a session is lost: %v", e)) },
	})
	return &client{meter: m, n: n, server: server, pause: pause, rng: rand.New(rand.NewPCG(1, uint64(n))), transport: t, plain: &http.Client{Transport: base}}, err
}

// run does one operation after the other until ctx is done.
func (c *client) run(ctx context.Context) {
	defer c.transport.Close()
	c.login(ctx)
	for i := c.n; ctx.Err() == nil; i++ {
		switch n := i * 37 % inHundred; { // each once in a hundred times
		case n < revokes:
			c.revoke(ctx)
			c.login(ctx)
		case n < revokes+refreshes:
			began := time.Now()
			c.took(ctx, refresh, began, c.transport.Refresh(ctx))
		default:
			began := time.Now()
			c.took(ctx, call, began, c.get(ctx, c.transport.Client(), "", http.StatusOK))
		}
		wait(ctx, time.Duration(c.rng.ExpFloat64()*float64(c.pause)))
	}
}

// login logs in. A server that has too many passwords to hash says so at once, and
// the client comes back.
func (c *client) login(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		err := c.transport.Login(ctx, refresher.Credentials{Username: chaos.User, Password: chaos.Password})
		if c.took(ctx, login, began, err) {
			return
		}
		wait(ctx, time.Second)
	}
}

// wait waits, unless ctx is done before.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// revoke ends the session. This server knows at once that its access token is not to
// be accepted any more.
func (c *client) revoke(ctx context.Context) {
	tokens, _ := c.transport.Tokens()
	began := time.Now()
	for err := c.transport.Logout(ctx); !c.took(ctx, revoke, began, err); err = c.transport.Flush(ctx) {
		if wait(ctx, time.Second); ctx.Err() != nil {
			return
		}
	}
	err := c.get(ctx, c.plain, tokens.AccessToken, http.StatusUnauthorized)
	if err != nil && jwterrors.ReasonOf(err) != jwterrors.StoreUnavailable && ctx.Err() == nil {
		c.violate("an access token whose session has ended: " + err.Error())
	}
}

// get calls the API, which is to answer with a status.
func (c *client) get(ctx context.Context, by *http.Client, token string, status int) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+"/api/me", nil)
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := by.Do(r)
	if err != nil {
		return err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		resp.Body.Close()
	}()
	if resp.StatusCode == status {
		return nil
	}
	if e := jwterrors.FromResponse(resp); e != nil {
		return e
	}
	return fmt.Errorf("the answer is %s", resp.Status)
}
