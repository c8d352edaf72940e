package issuer_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func registered(_ ctx, r issuer.Registration) (issuer.User, error) {
	if r.Username == "alice" {
		return issuer.User{}, jwterrors.UserExists
	}
	return issuer.User{ID: r.Username}, nil
}

func TestSignupsAreLimited(t *testing.T) { // IT-04
	f := limited(t, func(c *issuer.Config) { c.Register, c.TellAccounts = registered, true })
	signUp := func(address, name string) reply {
		return f.do("POST", "/auth/signup", `{"username":"`+name+`","password":"`+password+`"}`, "Test-Address", address)
	}
	for n := range 10 {
		assert.Equal(t, 201, signUp("192.0.2.1", "user"+string(rune('a'+n))).status)
	}
	assert.Equal(t, 429, signUp("192.0.2.1", "one-more").status, "what succeeds counts too")
	assert.Equal(t, 201, signUp("192.0.2.2", "one-more").status)
	f.kinds()
	for range 3 {
		assert.Equal(t, 409, signUp("192.0.2.3", "alice").status)
	}
	assert.Equal(t, jwterrors.RateLimited, signUp("192.0.2.3", "alice").reason)
	f.mu.Lock()
	assert.Equal(t, "a***", f.events[0].Account)
	assert.Equal(t, issuer.EventLimited, f.events[3].Kind)
	f.mu.Unlock()
	assert.Equal(t, 200, f.tryFrom("192.0.2.1", "alice", password).status, "logins have budgets of their own")
}

func TestActivityOfSignupAndLoginIsToldInOrder(t *testing.T) { // JG-17
	var got []issuer.EventKind
	q := must(issuer.NewEventQueue(issuer.EventQueueConfig{Handle: func(e issuer.Event) { got = append(got, e.Kind) }}))
	f := newFixture(t, func(c *issuer.Config) { c.Register, c.OnEvent = registered, q.Add })
	require.Equal(t, 201, f.do("POST", "/auth/signup", `{"username":"bob","password":"`+password+`"}`).status)
	require.Equal(t, 200, f.do("POST", "/auth/login", `{"username":"bob","password":"`+password+`"}`).status)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	assert.ErrorIs(t, q.Run(ctx), context.Canceled)
	assert.Equal(t, []issuer.EventKind{issuer.EventSignup, issuer.EventLogin, issuer.EventLogin}, got)
}

func TestASignupSetsTheCookie(t *testing.T) {
	b := newTab(t, func(c *issuer.Config) { c.Register = registered })
	r := b.fetch("POST", "/auth/signup", `{"username":"bob","password":"`+password+`"}`)
	require.Equal(t, 201, r.status, r.text)
	assert.NotContains(t, r.body, "refresh_token")
	assert.NotEmpty(t, b.cookie())
	assert.Equal(t, 200, b.fetch("POST", "/auth/refresh", "").status)
	assert.Equal(t, 403, b.from("cross-site", "https://evil.example", "POST", "/auth/signup", "{}").status)
}

// An answer of another form has no refresh token either, and one that cannot be
// written changes no cookie.
func TestEncodeAndTheCookie(t *testing.T) {
	fails := false
	b := newTab(t, func(c *issuer.Config) {
		c.Encode = func(_ string, tokens issuer.Tokens) any {
			if fails {
				return func() {}
			}
			assert.False(t, tokens.RefreshToken != "" && tokens.Scope != "scope", "only New shows one")
			return map[string]any{"success": true, "authToken": tokens.AccessToken}
		}
	})
	r := b.logIn()
	assert.Len(t, r.body, 2)
	own := b.cookie()
	assert.NotEmpty(t, own)
	b.pass(time.Hour)
	fails = true
	r = b.fetch("POST", "/auth/refresh", "")
	assert.Equal(t, http.StatusInternalServerError, r.status)
	assert.Equal(t, own, b.cookie())
	fails = false
	assert.Equal(t, 200, b.fetch("POST", "/auth/refresh", "").status, "within Grace")
}

func TestAnotherDeviceClearsNoCookie(t *testing.T) { // AX-15
	b := newTab(t, func(c *issuer.Config) { c.BindDevice = true })
	r := b.fetch("POST", "/auth/login", `{"username":"alice","password":"`+password+`","device":"laptop"}`)
	require.Equal(t, 200, r.status, r.text)
	own := b.cookie()
	assert.Equal(t, 401, b.fetch("POST", "/auth/refresh", "").status)
	assert.Equal(t, own, b.cookie(), "its session lives")
	assert.Equal(t, 200, b.fetch("POST", "/auth/refresh", `{"device":"laptop"}`).status)
}
