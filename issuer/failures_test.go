package issuer_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

var errDown = errors.New("connection refused")

func brokenKeys() *issuer.KeyRing {
	return must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.NewKey(brokenSigner{}))}))
}

// withFlaky returns a fixture whose store fails when told to.
func withFlaky(t *testing.T, change func(*issuer.Config)) (*fixture, *flaky) {
	st := &flaky{}
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		st.Store = c.Store
		c.Store = st
		if change != nil {
			change(c)
		}
	})
	return f, st
}

func assertFailed(t *testing.T, r reply, reason jwterrors.Reason) {
	t.Helper()
	assert.Equal(t, reason.Status(), r.status, r.text)
	assert.Equal(t, reason, r.reason, r.text)
	assert.Empty(t, r.str("access_token"))
}

// What has arrived of a body that broke off may be a whole answer by itself.
func TestABodyThatBreaksOffIsNoBody(t *testing.T) {
	f := newFixture(t, withOAuth)
	token := f.login().str("refresh_token")
	for _, c := range []struct{ path, kind, body string }{
		{"/auth/refresh", "application/json", `{"refresh_token":"` + token + `"}`},
		{"/auth/token", "application/x-www-form-urlencoded", "client_id=mobile&grant_type=refresh_token&refresh_token=" + token},
	} {
		r := httptest.NewRequest("POST", c.path, io.MultiReader(strings.NewReader(c.body), iotest.ErrReader(io.ErrUnexpectedEOF)))
		r.Header.Set("Content-Type", c.kind)
		w := httptest.NewRecorder()
		f.issuer.ServeHTTP(w, r)
		assert.Equal(t, 400, w.Code, w.Body)
		assert.Contains(t, w.Body.String(), jwterrors.RequestInvalid)
	}
}

func TestWhatIsNoRefreshTokenCostsNoRead(t *testing.T) {
	f, st := withFlaky(t, nil)
	good := f.login().str("refresh_token")
	st.set("Get", errDown)
	for name, token := range map[string]string{
		"another version":            "rt2" + good[3:],
		"a line feed, as base64 has": good + `\n`,
		"a shorter MAC":              good[:len(good)-4],
		"more than one":              good + good,
	} {
		assert.Equal(t, jwterrors.RefreshTokenInvalid, f.refresh(token).reason, name)
	}
	assert.Equal(t, jwterrors.StoreUnavailable, f.refresh(good).reason)
}

// It is for the client to repeat: the store may have done it.
func TestARotationThatFailedIsNotRepeated(t *testing.T) {
	f, st := withFlaky(t, nil)
	token := f.login().str("refresh_token")
	st.set("Rotate", errDown)
	asked := 0
	st.hook = func(method string) {
		if method == "Rotate" {
			asked++
		}
	}
	assertFailed(t, f.refresh(token), jwterrors.StoreUnavailable)
	assert.Equal(t, 1, asked)
}

// SESSION_REVOKED would be said once, and the session would live on.
func TestAUserWhoMayNotGoOnWhileTheStoreFails(t *testing.T) {
	f, st := withFlaky(t, func(c *issuer.Config) {
		c.Reload = func(ctx, issuer.Session) (issuer.User, error) { return issuer.User{}, jwterrors.SessionRevoked }
	})
	token := f.login().str("refresh_token")
	st.set("Revoke", errDown)
	assertFailed(t, f.refresh(token), jwterrors.StoreUnavailable)
	st.set("", nil)
	assertFailed(t, f.refresh(token), jwterrors.SessionRevoked)
}

// damaged is a store whose claims are no JSON any more.
type damaged struct{ issuer.Store }

func (d damaged) Get(ctx ctx, id string) (issuer.Session, error) {
	s, err := d.Store.Get(ctx, id)
	s.Claims = json.RawMessage(`{"plan":`)
	return s, err
}

func TestDamagedClaimsMakeNoToken(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) { c.Store = damaged{c.Store} })
	assertFailed(t, f.refresh(f.login().str("refresh_token")), jwterrors.TokenGenerationError)
}

func TestACodeWhenSomethingFails(t *testing.T) {
	f, st := withFlaky(t, nil)
	exchanged := func(f *fixture, code, more string) reply {
		return f.form("/token", app, exchange(code, callback, verifier)+more)
	}
	code := f.code(nil)

	r := exchanged(f, code, "&scope=admin")
	assert.Equal(t, jwterrors.ScopeInvalid, r.reason, r.text)
	signing := newFixture(t, func(c *issuer.Config) { withOAuth(c); c.Store, c.Keys = st, brokenKeys() })
	assertFailed(t, exchanged(signing, code, ""), jwterrors.TokenGenerationError)
	st.set("Create", errDown)
	assertFailed(t, exchanged(f, code, ""), jwterrors.StoreUnavailable)
	st.set("", nil)
	require.Equal(t, 200, exchanged(f, code, "").status, "none of these has used the code up")

	for _, method := range []string{"Get", "Revoke"} {
		st.set(method, errDown)
		assertFailed(t, exchanged(f, code, ""), jwterrors.StoreUnavailable)
	}
	st.set("", nil)
	assert.Equal(t, jwterrors.GrantInvalid, exchanged(f, code, "").reason)

	single := newFixture(t, func(c *issuer.Config) { withOAuth(c); c.SingleSession = true })
	require.Equal(t, 200, exchanged(single, single.code(nil), "").status)
	single.denied.failing(errDown)
	assertFailed(t, exchanged(single, single.code(nil), ""), jwterrors.StoreUnavailable)
}

func TestWhatIsNoCode(t *testing.T) {
	f := newFixture(t, withOAuth)
	code := f.code(nil)
	for _, c := range []string{"x", "ac1.m1", "ac2" + code[3:], "ac1.m2" + strings.TrimPrefix(code, "ac1.m1"), code + "." + code, code + strings.Repeat("A", 4096)} {
		r := f.form("/token", app, exchange(c, callback, verifier))
		assert.Equal(t, jwterrors.GrantInvalid, r.reason, c)
		assert.Equal(t, 400, r.status)
	}
	assert.Empty(t, f.logs.String())
}

// A client that is looked up is none while that fails, whatever came beside the error.
func TestAClientWhoseLookupFails(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.LookupClient = func(_ ctx, id string) (issuer.Client, error) {
			return issuer.Client{ID: id, Grants: []string{issuer.GrantAuthorizationCode}, RedirectURIs: []string{callback}}, errDown
		}
	})
	err := f.issuer.CheckRedirect(t.Context(), "web", callback)
	assert.Equal(t, jwterrors.StoreUnavailable, jwterrors.ReasonOf(err))
	assert.ErrorIs(t, err, errDown)
}

// RFC 8252, Sections 7.3 and 8.3: the port is free for http and an address, no name.
func TestThePortOfARedirectURI(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.Clients[1].RedirectURIs = []string{"http://127.0.0.1/cb", "https://127.0.0.1/cb", "http://localhost/cb"}
	})
	for uri, ok := range map[string]bool{
		"http://127.0.0.1:5000/cb": true, "https://127.0.0.1:5000/cb": false, "http://localhost:5000/cb": false, "http://localhost/cb": true,
	} {
		assert.Equal(t, ok, f.issuer.CheckRedirect(t.Context(), "mobile", uri) == nil, uri)
	}
}

func TestASignupWithABadProofRegistersNobody(t *testing.T) {
	registered := 0
	f := newFixture(t, func(c *issuer.Config) {
		withDPoP(c)
		c.Register = func(c ctx, r issuer.Registration) (issuer.User, error) {
			registered++
			return register(c, r)
		}
	})
	r := f.do("POST", "/auth/signup", `{"username":"carol","password":"`+password+`"}`, "DPoP", "no proof")
	assert.Equal(t, jwterrors.ProofInvalid, r.reason, r.text)
	assert.Zero(t, registered)
}

func TestOAuthRequestsThatAreRefused(t *testing.T) {
	f := newFixture(t, withOAuth)
	refresh := "client_id=mobile&grant_type=refresh_token&refresh_token=" + f.login().str("refresh_token")
	assert.Equal(t, jwterrors.RequestInvalid, f.form("/token", "", refresh+"&x=%zz").reason)
	assert.Equal(t, jwterrors.ClientInvalid, f.form("/token", "", refresh+"&client_assertion=x").reason, "it means to be more than a public client")
	assert.Equal(t, jwterrors.RequestInvalid, f.form("/token", "", refresh, "Idempotency-Key", strings.Repeat("k", 256)).reason)
	require.Equal(t, 200, f.form("/token", "", refresh).status)

	broken := newFixture(t, func(c *issuer.Config) { withOAuth(c); c.Keys = brokenKeys() })
	assertFailed(t, broken.form("/token", app, "grant_type=client_credentials"), jwterrors.TokenGenerationError)
}

// A token whose session this store does not know is invalid, and is revoked already.
func TestAnAccessTokenWhoseSessionIsGone(t *testing.T) {
	f := newFixture(t, withOAuth)
	token := f.login().str("access_token")
	gone, st := withFlaky(t, func(c *issuer.Config) { c.Keys = f.ring })
	assertFailed(t, gone.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+token), jwterrors.TokenInvalidated)
	assert.Equal(t, 200, gone.form("/revoke", "", "client_id=mobile&token="+token).status)
	assert.False(t, gone.denied.has(""), "nothing is denied")
	assert.Empty(t, gone.kinds())

	st.set("Get", errDown)
	assertFailed(t, gone.form("/revoke", "", "client_id=mobile&token="+token), jwterrors.StoreUnavailable)
}

func TestRevokingATokenOfAClientWithoutADenylist(t *testing.T) {
	f := newFixture(t, withOAuth)
	token := f.form("/token", app, "grant_type=client_credentials").str("access_token")
	without := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.Keys, c.Denylist = f.ring, nil
		c.Grants = []string{issuer.GrantRefreshToken, issuer.GrantAuthorizationCode}
		c.Clients = []issuer.Client{{ID: "app", Secrets: []string{appSecret}, Grants: []string{issuer.GrantRefreshToken}, MayIntrospect: true}}
	})
	assertFailed(t, without.form("/revoke", app, "token="+token), jwterrors.StoreUnavailable)
}

func TestALogoutThatCannotBeRead(t *testing.T) {
	f := newFixture(t, nil)
	login := f.login()
	r := f.do("POST", "/auth/logout", `{"refresh_token":`, "Authorization", "Bearer "+login.str("access_token"))
	assert.Equal(t, jwterrors.RequestInvalid, r.reason)
	assert.Equal(t, 200, f.refresh(login.str("refresh_token")).status, "nothing has ended")
}

func TestTheOperatorRevokesWhatIsGone(t *testing.T) {
	f, st := withFlaky(t, nil)
	err := f.issuer.RevokeSession(t.Context(), "none")
	require.ErrorIs(t, err, issuer.ErrNoSession)
	assert.NotEqual(t, jwterrors.StoreUnavailable, jwterrors.ReasonOf(err), "calling again would not help")

	id := sid(t, f.login())
	st.set("Get", errDown)
	err = f.issuer.RevokeSession(t.Context(), id)
	assert.Equal(t, jwterrors.StoreUnavailable, jwterrors.ReasonOf(err))
	st.set("", nil)
	require.NoError(t, f.issuer.RevokeSession(t.Context(), id))
	until := f.denied.sessions[id]
	f.pass(10 * time.Minute)
	require.NoError(t, f.issuer.RevokeSession(t.Context(), id))
	assert.WithinDuration(t, until, f.denied.sessions[id], time.Second, "a denial does not grow with each call")
}

func TestAStoreThatFailsBetweenTwoReads(t *testing.T) {
	f, st := withFlaky(t, nil)
	own, other := f.login(), f.login()
	reads := 0
	st.hook = func(method string) {
		if reads++; reads == 2 {
			st.fail = map[string]error{method: errDown}
		}
	}
	r := f.do("DELETE", "/auth/sessions/"+sid(t, other), "", "Authorization", "Bearer "+own.str("access_token"))
	assertFailed(t, r, jwterrors.StoreUnavailable)
}

// An answer that is the same for every page may be cached for all of them.
func TestWithoutOriginsAnswersDoNotVary(t *testing.T) {
	f := newFixture(t, nil)
	r := f.do("GET", "/.well-known/jwks.json", "", "Origin", "https://app.example.com")
	assert.Equal(t, http.StatusOK, r.status)
	assert.Empty(t, r.header.Values("Vary"))
	r = f.do("POST", "/auth/refresh", "{}", "Origin", "https://app.example.com")
	assert.Empty(t, r.header.Values("Vary"))
}

// A session that the store removed while it was being revoked has ended.
func TestASessionThatIsGoneWhenItIsRevoked(t *testing.T) {
	f, st := withFlaky(t, nil)
	alice := f.login()
	st.set("Revoke", issuer.ErrNoSession)
	require.NoError(t, f.issuer.RevokeSession(t.Context(), sid(t, alice)))
	assert.True(t, f.denied.has(sid(t, alice)), "its tokens may be alive")
}
