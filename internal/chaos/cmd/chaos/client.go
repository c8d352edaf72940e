package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/chaos"
	"github.com/tokenloop/tokenloop/refresher"
)

// A client is a user with our refresher, whose session is valid for as long as the
// user has not ended it: nothing that happens may log the user out.
type client struct {
	*world
	name      string
	rng       *rand.Rand
	clock     atomic.Int64 // of the client, against the true time, in nanoseconds
	file      string       // "" for one that keeps its tokens in memory
	transport *refresher.Transport
}

// use lets client n use a session until working is done, and show then that it goes on.
func (o *world) use(ctx, working context.Context, n int, rng *rand.Rand) (err error) {
	c := &client{world: o, name: fmt.Sprintf("client %d", n), rng: rng}
	if n%2 == 0 {
		c.file = o.file(filepath.Join(fmt.Sprintf("client-%d", n), "tokens.json"))
	}
	c.moveClock()
	if c.transport, err = c.open(o.client); err != nil {
		return err
	}
	c.run(ctx, working)
	c.settle(ctx)
	return c.transport.Close()
}

// moveClock lets the client's clock be wrong by something else.
func (c *client) moveClock() {
	c.clock.Store(int64(time.Duration(c.rng.IntN(1200)-600) * time.Second))
}

// open returns what a process of the client has, with its way to the servers.
func (c *client) open(base http.RoundTripper) (*refresher.Transport, error) {
	var store refresher.Store // in memory
	if c.file != "" {
		var err error
		if store, err = refresher.NewFileStore(c.file); err != nil {
			return nil, err
		}
	}
	return refresher.New(refresher.Config{
		AuthURL: c.url() + "/auth", Origins: []string{c.url()}, InsecureAllowHTTP: true,
		Base: base, Store: store, Logger: c.log.With("client", c.name),
		Skew: time.Second, RetryInterval: 50 * time.Millisecond, MaxRetryInterval: 400 * time.Millisecond, Pause: 200 * time.Millisecond,
		AttemptTimeout: 5 * time.Second, Now: func() time.Time { return time.Now().Add(time.Duration(c.clock.Load())) },
		OnSessionExpired: func(e *jwterrors.Error) { c.violate("%s has a valid session, and was logged out: %v", c.name, e) },
	})
}

// run uses the session until working is done, and ends what it does then.
func (c *client) run(ctx, working context.Context) {
	c.login(ctx)
	for wait(working, time.Duration(50+c.rng.IntN(200))*time.Millisecond) {
		switch n := c.rng.IntN(100); {
		case n < 60:
			c.call(ctx, c.transport)
		case n < 80:
			c.refresh(ctx, c.transport)
		case n < 88:
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() { c.call(ctx, c.transport) })
			}
			all.Wait()
		case n < 91:
			c.restart(ctx)
		case n < 94:
			c.twice(ctx)
		case n < 97:
			c.crash(ctx)
		case n < 98:
			c.moveClock()
			c.count("clocks of clients moved")
		default:
			c.logout(ctx)
			c.login(ctx)
		}
	}
}

// login logs in, however long it takes.
func (c *client) login(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.transport.Login(ctx, refresher.Credentials{Username: chaos.User, Password: chaos.Password})
		if err == nil {
			c.count("logins")
			return
		}
		c.count("logins" + failure(jwterrors.ReasonOf(err)))
		if jwterrors.ReasonOf(err) == jwterrors.CredentialsInvalid {
			c.violate("%s cannot log in: %v", c.name, err)
		}
		wait(ctx, 100*time.Millisecond)
	}
}

// call sends a request, and reports whether it was answered with 200.
func (c *client) call(ctx context.Context, t *refresher.Transport) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url()+"/api/me", nil)
	if err != nil {
		c.violate("%s: %v", c.name, err)
		return false
	}
	resp, err := t.Client().Do(r)
	if err != nil {
		c.failed("calls", err)
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // it may break off
	switch {
	case resp.StatusCode == http.StatusOK:
		c.count("calls")
		return true
	case resp.StatusCode == http.StatusServiceUnavailable:
		c.count("calls answered 503")
	default:
		c.failed("calls", reason(resp))
	}
	return false
}

// harmless are the reasons for which a request of a valid session may fail: there
// was no answer, or a server has not heard of the newest key.
var harmless = map[jwterrors.Reason]bool{
	jwterrors.TokenGenericError:    true, // an error without a reason: there was no answer
	jwterrors.RefreshUnavailable:   true,
	jwterrors.StoreUnavailable:     true,
	jwterrors.KeysUnavailable:      true,
	jwterrors.TokenKeyUnknown:      true,
	jwterrors.TokenGenerationError: true,
}

// failure says that something failed, and why.
func failure(why jwterrors.Reason) string {
	if why == jwterrors.TokenGenericError {
		return " without an answer"
	}
	return " that failed with " + string(why)
}

// failed judges why something failed.
func (c *client) failed(what string, err error) {
	why := jwterrors.ReasonOf(err)
	if !harmless[why] {
		c.violate("%s has a valid session, and its %s fail: %v", c.name, what, err)
	}
	c.count(what + failure(why))
}

// refresh renews the tokens, and reports whether it could.
func (c *client) refresh(ctx context.Context, t *refresher.Transport) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := t.Refresh(ctx); err != nil {
		c.failed("refreshes", err)
		return false
	}
	c.count("refreshes")
	return true
}

// restart ends the process of a client, and begins another with the same file.
func (c *client) restart(ctx context.Context) {
	if c.file == "" {
		return
	}
	c.transport.Close()
	var err error
	if c.transport, err = c.open(c.world.client); err == nil {
		err = c.transport.Restore(ctx)
	}
	if err != nil && ctx.Err() == nil {
		c.violate("%s cannot go on with its file: %v", c.name, err)
	}
	c.count("clients restarted")
}

// twice lets another process of the same user refresh at the same time.
func (c *client) twice(ctx context.Context) {
	if c.file == "" {
		return
	}
	other, err := c.open(c.world.client)
	if err != nil {
		c.violate("%s: %v", c.name, err)
		return
	}
	defer other.Close()
	var all sync.WaitGroup
	for _, t := range []*refresher.Transport{c.transport, other} {
		all.Go(func() {
			c.refresh(ctx, t)
			c.call(ctx, t)
		})
	}
	all.Wait()
	c.count("clients run twice")
}

// crash loses the answer of a refresh with the process that asked. When the client
// comes back the grace is over, and the retry key in the file says who it is.
func (c *client) crash(ctx context.Context) {
	if c.file == "" {
		return
	}
	other, err := c.open(deaf{c.world.client})
	if err != nil {
		c.violate("%s: %v", c.name, err)
		return
	}
	dying, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = other.Refresh(dying) // it cannot succeed
	other.Close()
	c.count("clients crashed")
	if wait(ctx, grace+apart) {
		c.refresh(ctx, c.transport)
	}
}

// logout ends the session. From then on its access token is to be refused.
func (c *client) logout(ctx context.Context) {
	tokens, ok := c.transport.Tokens()
	err := c.transport.Logout(ctx)
	for err != nil && wait(ctx, 50*time.Millisecond) {
		err = c.transport.Flush(ctx)
	}
	if err != nil || !ok {
		return
	}
	c.revoked(tokens.AccessToken)
	c.count("logouts")
}

// settle shows that the session is alive when all faults are over.
func (c *client) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for wait(ctx, 50*time.Millisecond) {
		if c.refresh(ctx, c.transport) && c.call(ctx, c.transport) {
			return
		}
	}
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		c.violate("%s cannot go on, %v after the last fault", c.name, patience)
	}
}
