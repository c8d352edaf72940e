package issuer_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
)

// watch lets a fixture write down all that anybody but the client can see, and
// returns it.
func watch(c *canaries, cfg *issuer.Config) (written *safeBuffer) {
	written = &safeBuffer{}
	cfg.Logger = slog.New(both{
		slog.NewTextHandler(written, &slog.HandlerOptions{Level: slog.LevelDebug}),
		slog.NewJSONHandler(written, &slog.HandlerOptions{Level: slog.LevelDebug}),
	})
	cfg.OnEvent = func(e issuer.Event) {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			fmt.Fprintf(written, verb+"\n", e)
		}
		panic(e)
	}
	c.add("the password", password)
	c.add("the master secret", string(masterSecret))
	return written
}

// answered makes canaries of the tokens of an answer, and looks for all others in
// it.
func (c *canaries) answered(t *testing.T, r reply) reply {
	t.Helper()
	var head bytes.Buffer
	_ = r.header.Write(&head)
	rest := r.text + head.String()
	for _, name := range []string{"access_token", "refresh_token"} {
		if token := r.str(name); token != "" {
			rest = strings.ReplaceAll(rest, token, "")
			c.token("a token", token)
		}
	}
	for _, line := range r.header.Values("Set-Cookie") {
		if cookie, err := http.ParseSetCookie(line); err == nil && cookie.Value != "" {
			rest = strings.ReplaceAll(rest, cookie.Value, "")
			c.token("a token in a cookie", cookie.Value)
		}
	}
	assert.Empty(t, c.in(rest), "an answer of %d", r.status)
	return r
}

// A run with every OAuth endpoint: no secret of a client, code, verifier or token
// is shown to anybody but the client that it is for.
func TestNoSecretOfAClientIsEverShown(t *testing.T) {
	c := &canaries{of: map[string]string{}}
	digest := sha256.Sum256([]byte(newSecret))
	const wrong = "canary-wrong-secret-canary-wrong-secret"
	for name, secret := range map[string]string{
		"the client's secret": appSecret, "its other secret": newSecret, "its digest": string(digest[:]), "a wrong secret": wrong, "the verifier": verifier,
	} {
		c.add(name, secret)
	}
	var written, byHTTP = &safeBuffer{}, &safeBuffer{}
	st := &flaky{}
	f := newFixture(t, func(cfg *issuer.Config) {
		withOAuth(cfg)
		st.Store = cfg.Store
		cfg.Store = leaky{st, c}
		written = watch(c, cfg)
		for _, client := range cfg.Clients {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
				fmt.Fprintf(written, verb+verb+"\n", client, &client)
			}
			cfg.Logger.Info("a client", "client", client, "pointer", &client)
		}
	})
	f.server.Config.ErrorLog = log.New(byHTTP, "", 0)
	ask := func(status int, path, basic, body string) reply {
		t.Helper()
		r := f.form(path, basic, body)
		require.Equal(t, status, r.status, "%s: %s", path, r.text)
		return c.answered(t, r)
	}
	code := func() string {
		code := f.code(nil)
		c.token("a code", code)
		return code
	}
	refresh := func(token string) string { return "grant_type=refresh_token&refresh_token=" + token }

	// What succeeds.
	machine := ask(200, "/token", app, "grant_type=client_credentials").str("access_token")
	ask(200, "/token", "app|"+newSecret, "grant_type=client_credentials")
	used := code()
	first := ask(200, "/token", app, exchange(used, callback, verifier))
	second := ask(200, "/token", app, refresh(first.str("refresh_token")))
	for _, token := range []string{machine, second.str("access_token"), second.str("refresh_token"), first.str("refresh_token"), wrong, used} {
		r := f.form("/introspect", app, "token="+token)
		require.Equal(t, 200, r.status, r.text)
		c.answered(t, r)
	}

	// What is refused.
	ask(401, "/token", "app|"+wrong, "grant_type=client_credentials")
	ask(400, "/token", app, "grant_type=client_credentials&client_id=app&client_secret="+url.QueryEscape(appSecret))
	ask(401, "/token", "", "grant_type=client_credentials&client_id=app&client_secret="+wrong)
	ask(400, "/token", app, "grant_type=client_credentials&scope="+appSecret)
	ask(400, "/token", app, "grant_type="+appSecret)
	ask(400, "/token", app, "grant_type=client_credentials&grant_type="+url.QueryEscape(newSecret))
	ask(400, "/token", app, exchange(used, callback, verifier[1:]+"x"))
	ask(400, "/token", app, exchange(used, callback, verifier)) // replay
	ask(400, "/token", app, refresh(second.str("refresh_token")))
	ask(400, "/token", app, refresh(otherMAC(second.str("refresh_token"))))
	ask(400, "/token", "", refresh(second.str("refresh_token"))+"&client_id=mobile")
	ask(401, "/introspect", "app|"+wrong, "token="+machine)
	_, err := f.issuer.GrantCode(t.Context(), issuer.CodeRequest{ClientID: "app", RedirectURI: wrong, CodeChallenge: verifier})
	require.Error(t, err)
	fmt.Fprintf(written, "%v %+v %#v\n", err, err, err)

	// What fails, and what ends.
	for method, requests := range map[string][]func(){
		"Create": {func() { ask(503, "/token", app, exchange(code(), callback, verifier)) }},
		"Get": {
			func() { ask(503, "/token", app, refresh(second.str("refresh_token"))) },
			func() { ask(503, "/introspect", app, "token="+second.str("refresh_token")) },
			func() { ask(503, "/revoke", app, "token="+second.str("refresh_token")) },
		},
	} {
		st.set(method, errors.New(method+" failed"))
		for _, request := range requests {
			request()
		}
		st.set("", nil)
	}
	last := ask(200, "/token", app, exchange(code(), callback, verifier))
	for _, token := range []string{machine, last.str("refresh_token"), last.str("access_token"), wrong} {
		ask(200, "/revoke", app, "token="+token)
	}
	c.answered(t, f.do("GET", "/auth/.well-known/oauth-authorization-server", ""))

	// What configurations are told.
	config := f.config()
	withOAuth(&config)
	config.Clients[0].Secrets = append(config.Clients[0].Secrets, "canary-short-secret")
	c.add("a short secret", "canary-short-secret")
	_, err = issuer.New(config)
	require.Error(t, err)
	fmt.Fprintf(written, "%v %+v %#v\n", err, err, err)

	f.server.Close()
	assert.Empty(t, c.in(written.String()), "what was logged, told and printed")
	assert.Empty(t, c.in(byHTTP.String()), "the log of net/http")
	assert.Contains(t, written.String(), "OnEvent panicked")
}

// The same in browser mode, with the refresh token in a cookie.
func TestNoCookieIsEverShown(t *testing.T) {
	c := &canaries{of: map[string]string{}}
	const wrong = "canary-wrong-password-9f2c"
	c.add("a wrong password", wrong)
	var written *safeBuffer
	st := &flaky{}
	b := newTab(t, func(cfg *issuer.Config) {
		st.Store = cfg.Store
		cfg.Store = leaky{st, c}
		written = watch(c, cfg)
	})
	ask := func(status int, method, path, body string, headers ...string) reply {
		t.Helper()
		r := b.fetch(method, path, body, headers...)
		require.Equal(t, status, r.status, "%s %s: %s", method, path, r.text)
		return c.answered(t, r)
	}
	good := fmt.Sprintf(`{"username":"alice","password":%q}`, password)
	first := ask(200, "POST", "/auth/login", good)
	require.Empty(t, first.str("refresh_token"))
	b.pass(time.Hour)
	ask(200, "POST", "/auth/refresh", "")
	st.set("Get", errors.New("Get failed"))
	ask(503, "POST", "/auth/refresh", "")
	ask(503, "POST", "/auth/logout", "")
	st.set("", nil)
	ask(401, "POST", "/auth/login", fmt.Sprintf(`{"username":"alice","password":%q}`, wrong))
	ask(204, "POST", "/auth/logout", "")
	old := issuer.DefaultCookie + "=" + first.str("access_token")
	ask(401, "POST", "/auth/refresh", "", "Cookie", old)
	r := b.from("cross-site", "https://evil.example.com", "POST", "/auth/login", good)
	assert.Equal(t, 403, r.status)
	c.answered(t, r)

	assert.Empty(t, c.in(written.String()), "what was logged, told and printed")
	assert.Contains(t, written.String(), "OnEvent panicked")
	count := 0
	for _, name := range c.of {
		if strings.Contains(name, "a token in a cookie") {
			count++
		}
	}
	assert.GreaterOrEqual(t, count, 4)
}

// What a Minter and the reading of keys say shows no secret either.
func TestNoSecretOfAKeyIsEverShown(t *testing.T) {
	c, written := &canaries{of: map[string]string{}}, &safeBuffer{}
	secret := "canary: an obviously fake HS256 secret"
	c.add("a secret", secret)
	c.add("a short secret", "canary-short-secret")
	m := must(issuer.NewMinter(issuer.MinterConfig{Secrets: [][]byte{[]byte(secret)}}))
	c.token("a token", must(m.Mint(t.Context(), issuer.UserID("user123"))))
	_, err := issuer.NewMinter(issuer.MinterConfig{Secrets: [][]byte{[]byte("canary-short-secret")}})
	require.Error(t, err)
	print := func(v any) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			fmt.Fprintf(written, verb+"\n", v)
		}
	}
	print(m)
	print(err)
	for _, text := range []string{
		"-----BEGIN EC PRIVATE KEY-----\n%s\n-----END EC PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\n%s\n-----END RSA PRIVATE KEY-----\n",
		`{"kty":"OKP","crv":"Ed25519","d":%q,"x":"AAAA"}`, `{"kty":"oct","k":%q}`, `{"keys":[{"kty":"EC","crv":"P-256","d":%q}]}`,
	} {
		c.add("a broken key", "Y2FuYXJ5c2hvcnRzZWNyZXQ")
		_, err := issuer.ParseKeys([]byte(fmt.Sprintf(text, "Y2FuYXJ5c2hvcnRzZWNyZXQ")))
		require.Error(t, err, text)
		print(err)
	}
	assert.Empty(t, c.in(written.String()))
}
