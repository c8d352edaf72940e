package issuer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

const (
	appSecret = "app-secret-app-secret-app-secret"
	newSecret = "another+secret/of the same app: %41"
	callback  = "https://app.example.com/callback"
	verifier  = "an-obviously-fake-code-verifier-of-43-chars"
)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// withOAuth turns everything on.
func withOAuth(c *issuer.Config) {
	digest := sha256.Sum256([]byte(newSecret))
	c.Audience = []string{"orders", "https://api.example.com"}
	c.ClientID = "mobile"
	c.Grants = []string{issuer.GrantRefreshToken, issuer.GrantClientCredentials, issuer.GrantAuthorizationCode}
	c.Revocation, c.Introspection = true, true
	c.AuthorizationEndpoint = issuerURL + "/authorize"
	c.ScopesSupported = []string{"api:read"}
	c.Clients = []issuer.Client{
		{
			ID: "app", Secrets: []string{appSecret}, SecretDigests: [][]byte{digest[:]}, Grants: c.Grants,
			Scopes: []string{"api:read", "jobs:run"}, RedirectURIs: []string{callback}, MayIntrospect: true,
		},
		{
			ID: "mobile", Grants: []string{issuer.GrantRefreshToken, issuer.GrantAuthorizationCode},
			Scopes: []string{"api:read", "api:write"}, RedirectURIs: []string{"com.example.app:/cb", "http://127.0.0.1/cb"},
		},
		{ID: "once", Grants: []string{issuer.GrantAuthorizationCode}, Scopes: []string{"api:read"}, RedirectURIs: []string{callback}},
		{ID: "a b:ü"[:4], Secrets: []string{newSecret}, Grants: []string{issuer.GrantClientCredentials}},
	}
}

// form posts a form; basic is "id:secret" or "".
func (f *fixture) form(path, basic, body string, headers ...string) reply {
	f.t.Helper()
	headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
	if basic != "" {
		id, secret, _ := strings.Cut(basic, "|")
		encoded := url.QueryEscape(id) + ":" + url.QueryEscape(secret)
		headers = append(headers, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(encoded)))
	}
	return f.do("POST", "/auth"+path, body, headers...)
}

const app = "app|" + appSecret

func TestMistakesInTheOAuthConfig(t *testing.T) { // IT-04
	for _, c := range []struct {
		name   string
		change func(*issuer.Config)
		want   []string
	}{
		{"nothing is wrong", func(*issuer.Config) {}, nil},
		{"several at once", func(c *issuer.Config) {
			c.Grants = append(c.Grants, "password", issuer.GrantRefreshToken)
			c.AuthorizationEndpoint = "http://id.example.com/authorize"
			c.PublicURL = "https://id.example.com/auth/"
			c.ScopesSupported = []string{"a b"}
			c.Denylist = nil
		}, []string{`"password" is not a grant type`, `"refresh_token" stands twice`, "AuthorizationEndpoint", "PublicURL", `"a b" is not a scope`, "needs a Denylist"}},
		{"a page without its grant", func(c *issuer.Config) { c.Grants = c.Grants[:2] }, []string{"AuthorizationEndpoint is for", "Config.Grants does not list"}},
		{"no clients", func(c *issuer.Config) { c.Clients = nil }, []string{"need Clients or LookupClient"}},
		{"clients for nothing", func(c *issuer.Config) {
			c.Grants, c.Revocation, c.Introspection, c.AuthorizationEndpoint = nil, false, false, ""
			c.Clients = []issuer.Client{{ID: "x"}}
		}, []string{"of which there is none"}},
		{"bad clients", func(c *issuer.Config) {
			c.Clients = []issuer.Client{
				{ID: "", Secrets: []string{"short"}, SecretDigests: [][]byte{{1}}},
				{ID: "x", Grants: []string{"implicit", issuer.GrantAuthorizationCode, issuer.GrantClientCredentials}, MayIntrospect: true},
				{ID: "x", RedirectURIs: []string{callback}, Scopes: []string{""}},
				{ID: "mobile", Secrets: []string{appSecret}},
			}
		}, []string{"ID is not 1 to 128", "Secrets[0] has 5 bytes", "SecretDigests[0] has 1 bytes", `does not list "implicit"`, "needs RedirectURIs",
			"RFC 6749, Section 4.4", "RFC 7662, Section 2.1", "stands twice", "RedirectURIs are for", `"" is not a scope`, "Config.ClientID"}},
		{"bad redirect URIs", func(c *issuer.Config) {
			c.Clients[0].RedirectURIs = []string{"http://app.example.com/", "https://app.example.com/#f", "/cb", "javascript:alert(1)", "myapp:/cb", "https://u@h/", ""}
		}, slices.Repeat([]string{"redirect URI"}, 7)},
		{"nobody who introspects", func(c *issuer.Config) { c.Clients[0].MayIntrospect = false }, []string{"no client may introspect"}},
		{"introspection that is not there", func(c *issuer.Config) { c.Introspection = false }, []string{"Config.Introspection is not set"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			config := f.config()
			withOAuth(&config)
			c.change(&config)
			_, err := issuer.New(config)
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
			assert.GreaterOrEqual(t, len(strings.Split(err.Error(), "\n")), len(c.want), "every mistake has its line")
			assert.NotContains(t, err.Error(), appSecret)
		})
	}
}

func TestEndpointsAreThereWhereTheyAreConfigured(t *testing.T) {
	all := []string{"/auth/token", "/auth/revoke", "/auth/introspect", "/auth/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"}
	for _, c := range []struct {
		name   string
		change func(*issuer.Config)
		there  string // one digit for each of all
	}{
		{"everything", func(*issuer.Config) {}, "111110"},
		{"nothing", func(c *issuer.Config) {
			c.Clients, c.Grants, c.Revocation, c.Introspection, c.AuthorizationEndpoint = nil, nil, false, false, ""
		}, "000000"},
		{"tokens", func(c *issuer.Config) {
			c.Revocation, c.Introspection, c.Clients[0].MayIntrospect = false, false, false
		}, "100110"},
		{"revocation", func(c *issuer.Config) {
			c.Grants, c.Introspection, c.AuthorizationEndpoint = nil, false, ""
			c.Clients = []issuer.Client{{ID: "mobile"}}
		}, "010000"},
		{"introspection", func(c *issuer.Config) {
			c.Grants, c.Revocation, c.AuthorizationEndpoint = nil, false, ""
			c.Clients = []issuer.Client{{ID: "api", Secrets: []string{appSecret}, MayIntrospect: true}}
		}, "001000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(config *issuer.Config) { withOAuth(config); c.change(config) })
			there := ""
			for _, path := range all {
				there += map[bool]string{true: "0", false: "1"}[f.do("PATCH", path, "").status == 404]
			}
			assert.Equal(t, c.there, there)
		})
	}
}

func TestClientsAuthenticate(t *testing.T) { // IT-04; RFC 6749, Section 2.3.1
	f := newFixture(t, withOAuth)
	const grant = "grant_type=client_credentials"
	bearer := "Bearer " + f.login().str("access_token")
	f.kinds()
	for _, c := range []struct {
		name, basic, body string
		headers           []string
		status            int
		reason            jwterrors.Reason
	}{
		{"basic", app, grant, nil, 200, ""},
		{"basic with its other secret, escaped", "app|" + newSecret, grant, nil, 200, ""},
		{"basic with an escaped id", "a b:|" + newSecret, grant, nil, 200, ""},
		{"basic, and the same client_id", app, grant + "&client_id=app", nil, 200, ""},
		{"post", "", grant + "&client_id=app&client_secret=" + appSecret, nil, 200, ""},
		{"none, by a public client", "", "grant_type=refresh_token&client_id=mobile", nil, 400, jwterrors.RefreshTokenMissing},
		{"none, by a confidential client", "", grant + "&client_id=app", nil, 401, jwterrors.ClientInvalid},
		{"a secret of a public client", "", "grant_type=refresh_token&client_id=mobile&client_secret=" + appSecret, nil, 401, jwterrors.ClientInvalid},
		{"a wrong secret", "app|" + appSecret + "x", grant, nil, 401, jwterrors.ClientInvalid},
		{"the beginning of a secret", "app|" + appSecret[:31], grant, nil, 401, jwterrors.ClientInvalid},
		{"the secret of another client", "a b:|" + appSecret, grant, nil, 401, jwterrors.ClientInvalid},
		{"an unknown client", "nobody|" + appSecret, grant, nil, 401, jwterrors.ClientInvalid},
		{"no client at all", "", grant, nil, 401, jwterrors.ClientInvalid},
		{"a bearer token", "", grant + "&client_id=app", []string{"Authorization", bearer}, 401, jwterrors.ClientInvalid},
		{"an assertion", "", grant + "&client_id=app&client_assertion=x", nil, 401, jwterrors.ClientInvalid},
		{"two ways", app, grant + "&client_secret=" + appSecret, nil, 400, jwterrors.RequestInvalid},
		{"two clients", app, grant + "&client_id=mobile", nil, 400, jwterrors.RequestInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := f.form("/token", c.basic, c.body, c.headers...)
			assert.Equal(t, fmt.Sprint(c.status, c.reason), fmt.Sprint(r.status, r.reason), r.text)
			if c.status == 401 {
				assert.Equal(t, `Basic realm="token"`, r.header.Get("WWW-Authenticate"))
				assert.Equal(t, "invalid_client", r.body["error"])
			} else {
				assert.Empty(t, r.header.Get("WWW-Authenticate"))
			}
			assert.Equal(t, "no-store", r.header.Get("Cache-Control"))
		})
	}
	assert.Contains(t, f.kinds(), issuer.EventClientFailed)
	assert.NotContains(t, f.logs.String(), appSecret)
}

func TestClientsThatAreLookedUp(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.LookupClient = func(_ context.Context, id string) (issuer.Client, error) {
			switch id {
			case "found":
				return issuer.Client{ID: id, Secrets: []string{appSecret}, Grants: []string{issuer.GrantClientCredentials}}, nil
			case "weak":
				return issuer.Client{ID: id, Secrets: []string{"weak"}, Grants: []string{issuer.GrantClientCredentials}}, nil
			case "down":
				return issuer.Client{}, errors.New("no database")
			case "other":
				return issuer.Client{ID: "found", Secrets: []string{appSecret}}, nil
			}
			return issuer.Client{}, issuer.ErrNoClient
		}
	})
	for id, status := range map[string]int{"found": 200, "weak": 503, "down": 503, "other": 503, "unknown": 401, "app": 200} {
		r := f.form("/token", id+"|"+appSecret, "grant_type=client_credentials")
		assert.Equal(t, status, r.status, id+" "+r.text)
	}
}

func TestAClientHidesItsSecrets(t *testing.T) {
	c := issuer.Client{ID: "app", Secrets: []string{appSecret}}
	assert.Equal(t, `client "app" client "app" client "app" client "app"`, fmt.Sprintf("%v %+v %#v %s", c, c, c, c.LogValue()))
}

func TestARequestThatIsNoForm(t *testing.T) { // RFC 6749, Section 3.2
	f := newFixture(t, withOAuth)
	const grant = "grant_type=client_credentials"
	for _, path := range []string{"/token", "/revoke", "/introspect"} {
		assert.Equal(t, 405, f.do("GET", "/auth"+path, "").status)
		assert.Equal(t, 415, f.do("POST", "/auth"+path, "{}").status)
		assert.Equal(t, 413, f.form(path, app, "token="+strings.Repeat("x", 64<<10)).status)
		for name, body := range map[string]string{"twice": grant + "&token=x&client_id=app&client_id=app", "no form": "a=%zz"} {
			r := f.form(path, app, body)
			assert.Equal(t, "400 invalid_request", fmt.Sprint(r.status, " ", r.body["error"]), name+path)
		}
		r := f.form(path+"?client_id=app", app, grant)
		assert.Equal(t, jwterrors.RequestInvalid, r.reason, "nothing is read from the URL")
	}
	r := f.form("/token", app, grant+"&scope=&unknown=x")
	assert.Equal(t, 200, r.status, "an empty parameter is none, an unknown one is ignored")
}

func TestErrorsHaveTheFormOfRFC6749(t *testing.T) { // RFC 6749, Section 5.2
	f := newFixture(t, withOAuth)
	for _, c := range []struct {
		name, basic, body string
		status            int
		code              string
	}{
		{"no grant type", app, "", 400, "invalid_request"},
		{"a grant type that is not there", app, "grant_type=password", 400, "unsupported_grant_type"},
		{"a grant type of others", "", "grant_type=client_credentials&client_id=mobile", 400, "unauthorized_client"},
		{"a scope of others", app, "grant_type=client_credentials&scope=admin", 400, "invalid_scope"},
		{"no refresh token", app, "grant_type=refresh_token", 400, "invalid_request"},
		{"a refresh token that is none", app, "grant_type=refresh_token&refresh_token=x", 400, "invalid_grant"},
		{"a resource of others", app, "grant_type=client_credentials&resource=x", 400, "invalid_target"},
		{"no client", "", "grant_type=client_credentials", 401, "invalid_client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := f.form("/token", c.basic, c.body)
			assert.Equal(t, fmt.Sprint(c.status, c.code), fmt.Sprint(r.status, r.body["error"]), r.text)
			assert.Equal(t, "application/json", r.header.Get("Content-Type"))
			assert.Equal(t, "no-store", r.header.Get("Cache-Control"))
			assert.NotEmpty(t, r.body["error_description"])
		})
	}
}

func TestTheTokenEndpointRefreshes(t *testing.T) { // AX-14, NV-16; RFC 6749, Section 6
	f := newFixture(t, withOAuth)
	first := f.login().str("refresh_token")
	r := f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+first, "Idempotency-Key", "k")
	require.Equal(t, 200, r.status, r.text)
	assert.Equal(t, "no-cache", r.header.Get("Pragma"))
	assert.Len(t, r.body, 6)
	assert.NotEqual(t, first, r.str("refresh_token"))
	f.pass(time.Hour)
	late := f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+first, "Idempotency-Key", "k")
	assert.Equal(t, r.str("refresh_token"), late.str("refresh_token"), "the retry key works here too")
	f.kinds()
	replay := f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+first)
	assert.Equal(t, fmt.Sprint(400, jwterrors.RefreshTokenReused), fmt.Sprint(replay.status, replay.reason))
	assert.Equal(t, []issuer.EventKind{issuer.EventReplay}, f.kinds())
	r = f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+r.str("refresh_token"))
	assert.Equal(t, jwterrors.SessionRevoked, r.reason)
}

func TestRefusalsAtTheTokenEndpointAreLimited(t *testing.T) { // IT-04
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.Limits.Refresh = issuer.Budget{Attempts: 2, Every: time.Minute}
	})
	for range 5 {
		r := f.form("/token", app, "grant_type=client_credentials")
		require.Equal(t, 200, r.status, r.text)
	}
	for range 2 {
		r := f.form("/token", "app|"+newSecret+"x", "grant_type=client_credentials")
		assert.Equal(t, fmt.Sprint(401, jwterrors.ClientInvalid), fmt.Sprint(r.status, r.reason))
	}
	r := f.form("/token", app, "grant_type=client_credentials")
	assert.Equal(t, fmt.Sprint(429, jwterrors.RateLimited), fmt.Sprint(r.status, r.reason))
	assert.Equal(t, "temporarily_unavailable", r.body["error"])
	assert.Equal(t, "60", r.header.Get("Retry-After"))
	f.pass(time.Minute)
	assert.Equal(t, 200, f.form("/token", app, "grant_type=client_credentials").status)
}

func TestTheRefreshTokenOfAnotherClient(t *testing.T) { // RFC 6749, Section 6; RFC 9700, Section 2.2.2
	f := newFixture(t, withOAuth)
	token := f.login().str("refresh_token")
	r := f.form("/token", app, "grant_type=refresh_token&refresh_token="+token)
	assert.Equal(t, fmt.Sprint(400, jwterrors.RefreshTokenInvalid), fmt.Sprint(r.status, r.reason))
	assert.Equal(t, 200, f.refresh(token).status, "nothing happened to the session")

	code := f.code(nil)
	theirs := f.form("/token", app, exchange(code, callback, verifier)).str("refresh_token")
	assert.Equal(t, jwterrors.RefreshTokenInvalid, f.refresh(theirs).reason, "a confidential client authenticates to refresh")
	assert.Equal(t, 401, f.form("/token", "", "grant_type=refresh_token&client_id=app&refresh_token="+theirs).status)
	assert.Equal(t, 200, f.form("/token", app, "grant_type=refresh_token&refresh_token="+theirs).status)
}

func TestARefreshNarrowsTheScopeOfTheAccessTokenAlone(t *testing.T) { // RFC 6749, Section 6
	f := newFixture(t, withOAuth)
	token := f.login().str("refresh_token")
	ask := func(token, scope string) reply {
		f.pass(time.Minute)
		return f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+token+"&scope="+scope)
	}
	assert.Equal(t, "invalid_scope", ask(token, "admin").body["error"])
	r := ask(token, "api:read")
	require.Equal(t, 200, r.status, "a refusal rotates nothing: "+r.text)
	assert.Equal(t, "api:read", r.body["scope"])
	assert.Equal(t, "api:read", part(t, r.str("access_token"), 1)["scope"])
	r = ask(r.str("refresh_token"), "")
	assert.Equal(t, "api:read api:write", r.body["scope"], "the session has what it had")
}

func TestAResourceNarrowsTheAudience(t *testing.T) { // RFC 8707, Section 2
	f := newFixture(t, withOAuth)
	const grant = "grant_type=client_credentials"
	aud := func(r reply) any { return part(t, r.str("access_token"), 1)["aud"] }
	assert.Equal(t, []any{"orders", "https://api.example.com"}, aud(f.form("/token", app, grant)))
	assert.Equal(t, "https://api.example.com", aud(f.form("/token", app, grant+"&resource=https%3A%2F%2Fapi.example.com")))
	assert.Equal(t, []any{"https://api.example.com", "orders"}, aud(f.form("/token", app, grant+"&resource=https://api.example.com&resource=orders")))
	assert.Equal(t, "invalid_target", f.form("/token", app, grant+"&resource=orders&resource=https://evil.example.com").body["error"])
	assert.Equal(t, "orders", aud(f.form("/token", "", "grant_type=refresh_token&client_id=mobile&resource=orders&refresh_token="+f.login().str("refresh_token"))))
	assert.Equal(t, "orders", aud(f.form("/token", app, exchange(f.code(nil), callback, verifier)+"&resource=orders")))
}

func TestAClientGetsATokenForItself(t *testing.T) { // RFC 6749, Section 4.4; RFC 9068, Section 2.2
	f := newFixture(t, withOAuth)
	r := f.form("/token", app, "grant_type=client_credentials&scope=jobs:run")
	require.Equal(t, 200, r.status, r.text)
	assert.Len(t, r.body, 4, "and no refresh token")
	assert.NotContains(t, r.body, "refresh_token")
	assert.Equal(t, "at+jwt", part(t, r.str("access_token"), 0)["typ"])
	claims := part(t, r.str("access_token"), 1)
	for name, want := range map[string]any{"sub": "app", "client_id": "app", "scope": "jobs:run", "iss": issuerURL} {
		assert.Equal(t, want, claims[name], name)
	}
	assert.Equal(t, 900.0, claims["exp"].(float64)-claims["iat"].(float64))
	assert.NotEmpty(t, claims["jti"])
	assert.Len(t, claims, 8)
	assert.Equal(t, 401, f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+r.str("access_token")).status, "it has no session")
	assert.Equal(t, "api:read jobs:run", f.form("/token", app, "grant_type=client_credentials").body["scope"])
}

// code returns a code for app, with what change makes of its request.
func (f *fixture) code(change func(*issuer.CodeRequest)) string {
	f.t.Helper()
	r := codeRequest()
	if change != nil {
		change(&r)
	}
	code, err := f.issuer.GrantCode(f.t.Context(), r)
	require.NoError(f.t, err)
	return code
}

func codeRequest() issuer.CodeRequest {
	return issuer.CodeRequest{
		ClientID: "app", RedirectURI: callback, CodeChallenge: challenge(verifier), CodeChallengeMethod: "S256",
		User:   issuer.User{ID: "alice", Scopes: []string{"api:read", "api:write"}, Email: "alice@example.com", Claims: map[string]any{"plan": "gold"}},
		Device: "laptop",
	}
}

func exchange(code, redirect, verifier string) string {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}}.Encode()
}

func TestACodeBeginsASession(t *testing.T) { // RFC 6749, Section 4.1; RFC 7636
	f := newFixture(t, withOAuth)
	authTime := time.Now().Add(-time.Hour)
	code := f.code(func(r *issuer.CodeRequest) { r.AuthTime = authTime })
	for _, secret := range []string{"alice", "gold", challenge(verifier)} {
		assert.NotContains(t, string(must(base64.RawURLEncoding.DecodeString(strings.Split(code, ".")[2]))), secret, "a code shows nothing")
	}
	r := f.form("/token", app, exchange(code, callback, verifier))
	require.Equal(t, 200, r.status, r.text)
	assert.Equal(t, "api:read", r.body["scope"], "what both the user and the client may have")
	claims := part(t, r.str("access_token"), 1)
	for name, want := range map[string]any{"sub": "alice", "client_id": "app", "email": "alice@example.com", "plan": "gold", "auth_time": float64(authTime.Unix())} {
		assert.Equal(t, want, claims[name], name)
	}
	assert.Equal(t, []issuer.EventKind{issuer.EventLogin}, f.kinds())
	assert.Equal(t, 200, f.form("/token", app, "grant_type=refresh_token&refresh_token="+r.str("refresh_token")).status)

	public := f.form("/token", "", exchange(f.code(func(r *issuer.CodeRequest) {
		r.ClientID, r.RedirectURI = "mobile", "http://127.0.0.1:49152/cb"
	}), "http://127.0.0.1:49152/cb", verifier)+"&client_id=mobile")
	assert.Equal(t, 200, public.status, public.text)
	once := f.form("/token", "", exchange(f.code(func(r *issuer.CodeRequest) { r.ClientID = "once" }), callback, verifier)+"&client_id=once")
	assert.Equal(t, 200, once.status, once.text)
	assert.NotContains(t, once.body, "refresh_token", "a client that may not refresh gets none")
}

// Codes are sealed where Go does nothing that FIPS 140-3 does not allow, too.
func TestCodesUnderFIPS(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), must(os.Executable()), "-test.run=^(TestACodeBeginsASession|TestWhatIsNoCode)$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, 2, bytes.Count(out, []byte("\n--- PASS: ")), "%s", out)
}

func TestACodeThatIsRefused(t *testing.T) { // RFC 6749, Section 4.1.3; RFC 9700, Section 2.1.1
	f := newFixture(t, withOAuth)
	code := f.code(nil)
	short := strings.Repeat("x", 42)
	brief := f.code(func(r *issuer.CodeRequest) { r.CodeChallenge = challenge(short) })
	other := newFixture(t, func(c *issuer.Config) { withOAuth(c); c.Issuer = "https://other.example.com" })
	for _, c := range []struct {
		name, basic, body, code string
	}{
		{"another client's", "", exchange(code, callback, verifier) + "&client_id=once", "invalid_grant"},
		{"another redirect URI", app, exchange(code, callback+"/", verifier), "invalid_grant"},
		{"another verifier", app, exchange(code, callback, verifier[1:]+"x"), "invalid_grant"},
		{"the challenge for a verifier", app, exchange(code, callback, challenge(verifier)), "invalid_grant"},
		{"no verifier", app, exchange(code, callback, ""), "invalid_request"},
		{"a short verifier", app, exchange(brief, callback, short), "invalid_request"},
		{"no redirect URI", app, exchange(code, "", verifier), "invalid_request"},
		{"no code", app, exchange("", callback, verifier), "invalid_request"},
		{"a changed code", app, exchange(code[:len(code)-2]+"AA", callback, verifier), "invalid_grant"},
		{"an unknown key", app, exchange(strings.Replace(code, "m1", "m2", 1), callback, verifier), "invalid_grant"},
		{"half a code", app, exchange("ac1.m1.AAAA", callback, verifier), "invalid_grant"},
		{"a code of another issuer with the same keys", app, exchange(other.code(nil), callback, verifier), "invalid_grant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := f.form("/token", c.basic, c.body)
			assert.Equal(t, "400 "+c.code, fmt.Sprint(r.status, " ", r.body["error"]), r.text)
		})
	}
	f.pass(time.Minute - time.Second)
	assert.Equal(t, 200, f.form("/token", app, exchange(code, callback, verifier)).status, "none of them has used it up")
	late := f.code(nil)
	f.pass(time.Minute)
	r := f.form("/token", app, exchange(late, callback, verifier))
	assert.Equal(t, jwterrors.GrantInvalid, r.reason, "it has expired")
	brisk := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.AccessTTL, c.Grace, c.IdleTTL = 10*time.Second, time.Second, 30*time.Second
	})
	late = brisk.code(nil)
	brisk.pass(30 * time.Second)
	assert.Equal(t, jwterrors.GrantInvalid, brisk.form("/token", app, exchange(late, callback, verifier)).reason, "a session would be idle for too long by now")
}

func TestACodeIsForOneUse(t *testing.T) { // RFC 6749, Section 4.1.2; RFC 9700, Section 4.5
	for _, later := range []time.Duration{0, 2 * time.Minute} {
		f := newFixture(t, withOAuth)
		code := f.code(nil)
		r := f.form("/token", app, exchange(code, callback, verifier))
		require.Equal(t, 200, r.status, r.text)
		f.kinds()
		f.form("/token", app, exchange(code, callback, verifier[1:]+"x"))
		assert.Empty(t, f.kinds(), "who lacks the verifier cannot log the user out")
		f.pass(later)
		again := f.form("/token", app, exchange(code, callback, verifier))
		assert.Equal(t, "400 invalid_grant", fmt.Sprint(again.status, " ", again.body["error"]))
		assert.Equal(t, []issuer.EventKind{issuer.EventCodeReplay}, f.kinds())
		assert.True(t, f.denied.has(sid(t, r)))
		assert.Equal(t, jwterrors.SessionRevoked, f.form("/token", app, "grant_type=refresh_token&refresh_token="+r.str("refresh_token")).reason)
	}
}

func TestConcurrentUsesOfACode(t *testing.T) { // RFC 6749, Section 4.1.2
	for _, single := range []bool{false, true} {
		f := newFixture(t, func(c *issuer.Config) { withOAuth(c); c.SingleSession = single })
		body := exchange(f.code(nil), callback, verifier)
		var wg sync.WaitGroup
		replies := make([]reply, 8)
		for n := range replies {
			wg.Go(func() { replies[n] = f.form("/token", app, body) })
		}
		wg.Wait()
		good := slices.DeleteFunc(replies, func(r reply) bool { return r.status != 200 })
		require.Len(t, good, 1, "one use alone is answered")
		r := f.form("/token", app, "grant_type=refresh_token&refresh_token="+good[0].str("refresh_token"))
		assert.Equal(t, jwterrors.SessionRevoked, r.reason)
	}
}

func TestACodeOfARevokedUser(t *testing.T) { // AX-16
	f := newFixture(t, withOAuth)
	code := f.code(nil)
	f.pass(time.Second)
	require.NoError(t, f.issuer.RevokeSubject(t.Context(), "alice"))
	assert.Equal(t, jwterrors.SessionRevoked, f.form("/token", app, exchange(code, callback, verifier)).reason)
}

func TestGrantCodeRefuses(t *testing.T) { // RFC 9700, Sections 2.1 and 2.1.1
	f := newFixture(t, withOAuth)
	for _, c := range []struct {
		name   string
		change func(*issuer.CodeRequest)
		reason jwterrors.Reason
	}{
		{"an unknown client", func(r *issuer.CodeRequest) { r.ClientID = "nobody" }, jwterrors.ClientInvalid},
		{"a client without the grant", func(r *issuer.CodeRequest) { r.ClientID = "a b:" }, jwterrors.ClientInvalid},
		{"no redirect URI", func(r *issuer.CodeRequest) { r.RedirectURI = "" }, jwterrors.RequestInvalid},
		{"a longer redirect URI", func(r *issuer.CodeRequest) { r.RedirectURI += "/x" }, jwterrors.RequestInvalid},
		{"a redirect URI in upper case", func(r *issuer.CodeRequest) { r.RedirectURI = "https://APP.example.com/callback" }, jwterrors.RequestInvalid},
		{"a port of another host than loopback", func(r *issuer.CodeRequest) { r.RedirectURI = "https://app.example.com:8443/callback" }, jwterrors.RequestInvalid},
		{"another path on loopback", func(r *issuer.CodeRequest) { r.ClientID, r.RedirectURI = "mobile", "http://127.0.0.1:1/x" }, jwterrors.RequestInvalid},
		{"a user on loopback", func(r *issuer.CodeRequest) { r.ClientID, r.RedirectURI = "mobile", "http://u@127.0.0.1:1/cb" }, jwterrors.RequestInvalid},
		{"no challenge", func(r *issuer.CodeRequest) { r.CodeChallenge = "" }, jwterrors.RequestInvalid},
		{"a plain challenge", func(r *issuer.CodeRequest) { r.CodeChallengeMethod = "plain" }, jwterrors.RequestInvalid},
		{"no method, which means plain", func(r *issuer.CodeRequest) { r.CodeChallengeMethod = "" }, jwterrors.RequestInvalid},
		{"a scope that the client may not have", func(r *issuer.CodeRequest) { r.Scope = "api:write" }, jwterrors.ScopeInvalid},
		{"a scope that the user may not have", func(r *issuer.CodeRequest) { r.Scope = "jobs:run" }, jwterrors.ScopeInvalid},
		{"a user without ID", func(r *issuer.CodeRequest) { r.User.ID = "" }, jwterrors.TokenGenerationError},
		{"a reserved claim", func(r *issuer.CodeRequest) { r.User.Claims = map[string]any{"sid": "x"} }, jwterrors.TokenGenerationError},
		{"claims that do not fit", func(r *issuer.CodeRequest) { r.User.Claims = map[string]any{"plan": strings.Repeat("x", 4096)} }, jwterrors.TokenGenerationError},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := codeRequest()
			c.change(&r)
			code, err := f.issuer.GrantCode(t.Context(), r)
			assert.ErrorIs(t, err, c.reason)
			assert.Empty(t, code)
		})
	}
	assert.NoError(t, f.issuer.CheckRedirect(t.Context(), "app", callback))
	assert.ErrorIs(t, f.issuer.CheckRedirect(t.Context(), "app", callback+"?x"), jwterrors.RequestInvalid)
	_, err := newFixture(t, nil).issuer.GrantCode(t.Context(), codeRequest())
	assert.ErrorIs(t, err, jwterrors.GrantUnsupported, "there is no such grant without its configuration")
}

func TestACodeObeysTheRestOfTheConfig(t *testing.T) { // IT-08, JG-15, AX-15
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.Claims, c.BindDevice, c.Prefix = nil, true, "/auth"
	})
	r := codeRequest()
	r.Device = ""
	_, err := f.issuer.GrantCode(t.Context(), r)
	assert.ErrorIs(t, err, jwterrors.RequestInvalid, "sessions are bound to a device")
	tokens := f.form("/token", app, exchange(f.code(nil), callback, verifier))
	require.Equal(t, 200, tokens.status, tokens.text)
	assert.NotContains(t, part(t, tokens.str("access_token"), 1), "plan", "it is not listed")
	refresh := "grant_type=refresh_token&refresh_token=" + tokens.str("refresh_token")
	assert.Equal(t, jwterrors.RefreshTokenInvalid, f.form("/token", app, refresh+"&device=phone").reason)
	assert.Equal(t, 200, f.form("/token", app, refresh+"&device=laptop").status)
	r = codeRequest()
	r.User.UserID = "user123"
	_, err = f.issuer.GrantCode(t.Context(), r)
	assert.ErrorIs(t, err, jwterrors.TokenGenerationError, "a token names its user in one way")
}
