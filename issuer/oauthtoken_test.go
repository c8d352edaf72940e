package issuer_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

const inactive = `{"active":false}` + "\n"

// reader is a denylist that can be asked.
type reader struct {
	*denylist
	tokens map[string]time.Time
	broken error
}

func (r *reader) DenyToken(_ context.Context, jti string, until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail == nil {
		r.tokens[jti] = until
	}
	return r.fail
}

func (r *reader) Revoked(_ context.Context, _, jti, _ string, _ time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, denied := r.tokens[jti]
	return denied, r.broken
}

func withReader(d *reader) func(*issuer.Config) {
	return func(c *issuer.Config) {
		withOAuth(c)
		d.denylist, d.tokens = c.Denylist.(*denylist), map[string]time.Time{}
		c.Denylist = d
	}
}

func (f *fixture) introspect(token string) reply {
	f.t.Helper()
	return f.form("/introspect", app, "token="+url.QueryEscape(token))
}

func TestRevocationEndsTheSession(t *testing.T) { // JG-11, AX-16, NV-18, NV-19; RFC 7009, Section 2.1
	for _, kind := range []string{"refresh_token", "access_token"} {
		for _, hint := range []string{"", "refresh_token", "access_token", "nonsense"} {
			f := newFixture(t, withOAuth)
			login := f.login()
			f.kinds()
			r := f.form("/revoke", "", "client_id=mobile&token="+login.str(kind)+"&token_type_hint="+hint)
			assert.Equal(t, 200, r.status, r.text)
			assert.Empty(t, r.text)
			assert.Equal(t, "no-store", r.header.Get("Cache-Control"))
			assert.Equal(t, []issuer.EventKind{issuer.EventLogout}, f.kinds())
			assert.True(t, f.denied.has(sid(t, login)))
			assert.Equal(t, jwterrors.SessionRevoked, f.refresh(login.str("refresh_token")).reason)
			assert.Equal(t, 200, f.form("/revoke", "", "client_id=mobile&token="+login.str(kind)).status, "again")
		}
	}
	f := newFixture(t, withOAuth)
	old := f.login().str("refresh_token")
	current := f.refresh(old).str("refresh_token")
	require.Equal(t, 200, f.form("/revoke", "", "client_id=mobile&token="+old).status)
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(current).reason, "a rotated token ends its session too")
}

func TestRevocationOfWhatIsNoToken(t *testing.T) { // RFC 7009, Section 2.2
	f := newFixture(t, withOAuth)
	login := f.login()
	refresh := login.str("refresh_token")
	gone := newFixture(t, withOAuth).login()
	for _, token := range []string{"x", "rt1.m1.x.0.x", refresh[:len(refresh)-2] + "AA", gone.str("refresh_token"), gone.str("access_token"), strings.Repeat("x", 9000)} {
		assert.Equal(t, 200, f.form("/revoke", app, "token="+token).status)
	}
	assert.Equal(t, jwterrors.RequestInvalid, f.form("/revoke", app, "").reason)
	assert.Equal(t, 401, f.form("/revoke", "", "token="+refresh).status)
	for _, kind := range []string{"refresh_token", "access_token"} {
		r := f.form("/revoke", app, "token="+login.str(kind))
		assert.Equal(t, "invalid_grant", r.body["error"], "the token of another client (RFC 7009, Section 2.1)")
	}
	assert.Equal(t, 200, f.refresh(refresh).status, "the session is as it was")
}

func TestARevocationThatFails(t *testing.T) { // RFC 7009, Section 2.2.1
	d := &reader{}
	store := &flaky{Store: issuer.NewMemoryStore()}
	f := newFixture(t, func(c *issuer.Config) { withReader(d)(c); c.Store = store })
	login, own := f.login(), f.form("/token", app, "grant_type=client_credentials")
	for method, token := range map[string]string{"Get": login.str("refresh_token"), "Revoke": login.str("access_token")} {
		store.set(method, errors.New("down"))
		r := f.form("/revoke", "", "client_id=mobile&token="+token)
		assert.Equal(t, 503, r.status)
		assert.Equal(t, "1", r.header.Get("Retry-After"))
	}
	store.set("Get", errors.New("down"))
	assert.Equal(t, 503, f.introspect(login.str("refresh_token")).status)
	assert.Equal(t, 503, f.introspect(login.str("access_token")).status)
	store.set("", nil)
	d.failing(errors.New("down"))
	assert.Equal(t, 503, f.form("/revoke", app, "token="+own.str("access_token")).status)
	d.failing(nil)
	d.broken = errors.New("down")
	assert.Equal(t, 503, f.introspect(own.str("access_token")).status)
}

func TestATokenOfClientCredentialsIsRevoked(t *testing.T) { // RFC 7009, Section 2.1
	d := &reader{}
	f := newFixture(t, withReader(d))
	own := f.form("/token", app, "grant_type=client_credentials").str("access_token")
	require.Equal(t, true, f.introspect(own).body["active"])
	f.kinds()
	require.Equal(t, 200, f.form("/revoke", app, "token="+own).status)
	assert.Equal(t, []issuer.EventKind{issuer.EventRevoked}, f.kinds())
	assert.Equal(t, inactive, f.introspect(own).text)
	claims := part(t, own, 1)
	assert.Greater(t, d.tokens[claims["jti"].(string)].Unix(), int64(claims["exp"].(float64)), "it is denied beyond its expiry, for other clocks")
}

func TestIntrospection(t *testing.T) { // RFC 7662, Section 2.2
	f := newFixture(t, withOAuth)
	login := f.login()
	r := f.introspect(login.str("access_token"))
	require.Equal(t, 200, r.status, r.text)
	assert.Equal(t, "no-store", r.header.Get("Cache-Control"))
	assert.Equal(t, true, r.body["active"])
	assert.Equal(t, "Bearer", r.body["token_type"])
	claims := part(t, login.str("access_token"), 1)
	for _, name := range []string{"client_id", "scope", "sub", "exp", "iat", "aud", "iss", "jti", "sid", "auth_time"} {
		assert.NotNil(t, r.body[name], name)
		assert.Equal(t, claims[name], r.body[name], name)
	}
	assert.Len(t, r.body, 12, "and not what the user's other claims say")

	refresh := f.introspect(login.str("refresh_token")).body
	assert.Equal(t, true, refresh["active"])
	for name, want := range map[string]any{
		"token_type": "refresh_token", "client_id": "mobile", "scope": "api:read api:write", "sub": "alice", "iss": issuerURL,
		"aud": issuerURL, "sid": claims["sid"],
	} {
		assert.Equal(t, want, refresh[name], name)
	}
	assert.InDelta(t, time.Now().Add(issuer.DefaultRefreshTTL).Unix(), refresh["exp"], 5)
	own := f.introspect(f.form("/token", app, "grant_type=client_credentials").str("access_token")).body
	assert.Equal(t, "app true", own["sub"].(string)+map[bool]string{true: " true"}[own["active"].(bool)])
}

func TestIntrospectionOfAnInactiveToken(t *testing.T) { // RFC 7662, Sections 2.2 and 4
	f := newFixture(t, withOAuth)
	foreign := newFixture(t, withOAuth).login()
	login := f.login()
	access, refresh := login.str("access_token"), login.str("refresh_token")
	for _, token := range []string{"x", "a.b.c", access[:len(access)-4] + "AAAA", refresh[:len(refresh)-2] + "AA", foreign.str("access_token"), foreign.str("refresh_token")} {
		assert.Equal(t, inactive, f.introspect(token).text)
	}
	second := f.refresh(refresh)
	assert.Equal(t, true, f.introspect(refresh).body["active"], "a refresh within the grace would be answered")
	f.pass(time.Minute)
	f.kinds()
	assert.Equal(t, inactive, f.introspect(refresh).text)
	assert.Empty(t, f.kinds(), "to ask is no replay")
	assert.Equal(t, true, f.introspect(second.str("refresh_token")).body["active"])

	require.NoError(t, f.issuer.RevokeSession(t.Context(), sid(t, login)))
	assert.Equal(t, inactive, f.introspect(second.str("access_token")).text, "its session was revoked")
	assert.Equal(t, inactive, f.introspect(second.str("refresh_token")).text)

	login = f.login()
	f.pass(issuer.DefaultAccessTTL)
	assert.Equal(t, inactive, f.introspect(login.str("access_token")).text, "it has expired")
	f.pass(issuer.DefaultRefreshTTL)
	assert.Equal(t, inactive, f.introspect(login.str("refresh_token")).text, "its session has ended")
}

func TestWhoMayIntrospect(t *testing.T) { // RFC 7662, Section 2.1
	f := newFixture(t, withOAuth)
	token := "token=" + f.login().str("access_token")
	assert.Equal(t, 401, f.form("/introspect", "", token).status)
	assert.Equal(t, 401, f.form("/introspect", "", token+"&client_id=mobile").status, "a public client proves nothing")
	r := f.form("/introspect", "a b:|"+newSecret, token)
	assert.Equal(t, 403, r.status)
	assert.Equal(t, "unauthorized_client", r.body["error"])
	assert.Equal(t, jwterrors.RequestInvalid, f.form("/introspect", app, "").reason)
}

func TestTheMetadataAreWhatIsMounted(t *testing.T) { // RFC 8414, Sections 2 and 3
	f := newFixture(t, withOAuth)
	r := f.do("GET", "/.well-known/oauth-authorization-server", "")
	require.Equal(t, 200, r.status)
	assert.Equal(t, "application/json", r.header.Get("Content-Type"))
	assert.Equal(t, "public, max-age=300", r.header.Get("Cache-Control"))
	both := []any{"client_secret_basic", "client_secret_post"}
	all := append(both[:2:2], "none")
	assert.Equal(t, map[string]any{
		"issuer": issuerURL, "authorization_endpoint": issuerURL + "/authorize", "token_endpoint": issuerURL + "/auth/token",
		"jwks_uri": issuerURL + "/auth/.well-known/jwks.json", "scopes_supported": []any{"api:read"}, "response_types_supported": []any{"code"},
		"grant_types_supported":                 []any{"refresh_token", "client_credentials", "authorization_code"},
		"token_endpoint_auth_methods_supported": all, "code_challenge_methods_supported": []any{"S256"},
		"revocation_endpoint": issuerURL + "/auth/revoke", "revocation_endpoint_auth_methods_supported": all,
		"introspection_endpoint": issuerURL + "/auth/introspect", "introspection_endpoint_auth_methods_supported": both,
	}, r.body)
	for name, method := range map[string]string{"token_endpoint": "POST", "jwks_uri": "GET", "revocation_endpoint": "POST", "introspection_endpoint": "POST"} {
		path := strings.TrimPrefix(r.str(name), issuerURL)
		assert.Equal(t, 405, f.do("PATCH", path, "").status, name)
		assert.Contains(t, f.do("PATCH", path, "").header.Get("Allow"), method)
	}
	below := f.do("GET", "/auth/.well-known/oauth-authorization-server", "", "If-None-Match", r.header.Get("ETag"))
	assert.Equal(t, 304, below.status, "it is the same document below the prefix")

	f = newFixture(t, func(c *issuer.Config) {
		c.Grants, c.PublicURL = []string{issuer.GrantRefreshToken}, "https://login.example.com/oauth"
		c.Clients = []issuer.Client{{ID: "mobile", Grants: c.Grants}}
	})
	assert.Equal(t, map[string]any{
		"issuer": issuerURL, "token_endpoint": "https://login.example.com/oauth/token", "jwks_uri": "https://login.example.com/oauth/.well-known/jwks.json",
		"response_types_supported": []any{}, "grant_types_supported": []any{"refresh_token"}, "token_endpoint_auth_methods_supported": []any{"none"},
	}, f.do("GET", "/.well-known/oauth-authorization-server", "").body)
}

func TestTheMetadataOfASharedSecretNameNoKeys(t *testing.T) { // RFC 8414, Section 2
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.GenerateKey(issuer.HS256))}))
	})
	assert.NotContains(t, f.do("GET", "/.well-known/oauth-authorization-server", "").text, "jwks_uri")
}

func TestTheMetadataOfAnIssuerWithAPath(t *testing.T) { // RFC 8414, Section 3.1
	f := newFixture(t, func(c *issuer.Config) { withOAuth(c); c.Issuer = issuerURL + "/tenant/a/" })
	for path, status := range map[string]int{"/tenant/a": 200, "": 404, "/tenant/b": 404} {
		w := httptest.NewRecorder()
		f.issuer.WellKnown().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/oauth-authorization-server"+path, nil))
		assert.Equal(t, status, w.Code, path)
		if status == 200 {
			var doc struct{ Issuer string }
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
			assert.Equal(t, issuerURL+"/tenant/a/", doc.Issuer, "byte by byte")
		}
	}
}

func TestARefreshTokenIsNoAccessToken(t *testing.T) { // JG-05; RFC 9068, Section 4
	f := newFixture(t, withOAuth)
	login, code := f.login(), f.code(nil)
	access, refresh := login.str("access_token"), login.str("refresh_token")
	for _, token := range []string{refresh, code} {
		r := f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+token)
		assert.Equal(t, jwterrors.TokenFormatInvalid, r.reason)
	}
	for _, token := range []string{access, code} {
		r := f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+token)
		assert.Equal(t, "invalid_grant", r.body["error"])
	}
	for _, token := range []string{access, refresh} {
		assert.Equal(t, "invalid_grant", f.form("/token", app, exchange(token, callback, verifier)).body["error"])
	}
	assert.Equal(t, inactive, f.introspect(code).text)
}
