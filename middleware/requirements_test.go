package middleware_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// Each reason that a verifier gives, as it is on the wire, and what the client is
// to do: get another token for one that expired or was spoilt or revoked, after
// which the issuer tells whether a login is needed. (IT-31, AX-21)
func TestTheReasonsOnTheWire(t *testing.T) {
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	require.NoError(t, denied.DenySession(t.Context(), "revoked", time.Now().Add(time.Hour)))
	url := serve(t, newAuth(t, func(c *middleware.Config) {
		c.Revocations, c.UserKey = denied, &middleware.UserKeyRule{}
	}))
	now := time.Now().Unix()
	user := claims().with("email", "user@example.com")
	for _, c := range []struct {
		number string
		header []string
		code   string
		oauth  string // RFC 6750, Section 3.1
		action jwterrors.Action
	}{
		{"IT-31.01", bearerOf(hs(hsHeader, user.with("exp", now+366*86400))), "AUTH_TOKEN_EXPIRATION_INVALID", "invalid_token", jwterrors.ActionNone},
		{"IT-31.02", bearerOf(hs(hsHeader, user.with("iat", now-7200).with("exp", now-3600))), "AUTH_TOKEN_EXPIRED", "invalid_token", jwterrors.ActionRefresh},
		{"IT-31.03", bearerOf("not.a.token!"), "AUTH_TOKEN_FORMAT_INVALID", "invalid_token", jwterrors.ActionRefresh},
		{"IT-31.06", bearerOf(hs(hsHeader, user.with("sid", "revoked"))), "AUTH_TOKEN_INVALIDATED", "invalid_token", jwterrors.ActionRefresh},
		{"IT-31.07", nil, "AUTH_TOKEN_MISSING", "", jwterrors.ActionRefresh},
		{"IT-31.09", bearerOf(hs(hsHeader, user.with("iat", "yesterday"))), "AUTH_TOKEN_PAYLOAD_INVALID", "invalid_token", jwterrors.ActionRefresh},
		{"IT-31.10", bearerOf(sign(jwt.SigningMethodHS256, random(32), hsHeader, user)), "AUTH_TOKEN_SIGNATURE_INVALID", "invalid_token", jwterrors.ActionRefresh},
		{"IT-31.11", bearerOf(hs(hsHeader, claims())), "AUTH_TOKEN_USER_KEY_INVALID", "invalid_token", jwterrors.ActionRefresh},
	} {
		t.Run(c.number+" "+c.code, func(t *testing.T) {
			resp := get(t, url, c.header...)
			assert.Equal(t, 401, resp.StatusCode)
			if c.oauth != "" {
				assert.Contains(t, resp.Header.Get("WWW-Authenticate"), `error="`+c.oauth+`"`)
			}
			e := jwterrors.FromResponse(resp)
			require.NotNil(t, e)
			assert.Equal(t, c.code, string(e.Reason))
			assert.Equal(t, c.action, e.Reason.Action())
		})
	}
	t.Run("IT-31.05 AUTH_TOKEN_GENERIC_ERROR", func(t *testing.T) { // a Middleware that nobody made
		resp := get(t, serve(t, new(middleware.Middleware)), "Bearer "+good())
		expect(t, resp, 401, jwterrors.TokenGenericError)
	})
}

// What is not of the form is refused for that, before it is decoded and before
// anybody is asked for a key; what is, is not. (IT-32)
func TestTheFormIsLookedAtFirst(t *testing.T) {
	form := regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)
	key := newNamed("k")
	e := &endpoint{}
	e.publish(key.jwk())
	auth := withKeys(t, e.keys())
	token := key.token()
	parts := strings.Split(token, ".")
	tried := 0
	for _, s := range []string{
		"", ".", "..", "...", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c.d.e", token + ".", "." + token, token + "=", token + "\n", " " + token,
		parts[0] + "." + parts[1], parts[0] + "." + parts[1] + "." + parts[2] + "/", parts[0] + "+." + parts[1] + "." + parts[2],
		parts[0] + "." + parts[1] + ".", strings.ReplaceAll(token, ".", ","), "%" + token, "é" + token, token[:20] + "\x00" + token[20:],
	} {
		require.False(t, form.MatchString(s) && !strings.HasSuffix(s, "\n"), s)
		assert.ErrorIs(t, verify(auth, s), jwterrors.TokenFormatInvalid, "%q", s)
		tried++
	}
	assert.Greater(t, tried, 20)
	assert.Zero(t, e.fetches.Load(), "nobody was asked")
	require.True(t, form.MatchString(token))
	require.NoError(t, verify(auth, token))
	assert.Equal(t, int64(1), e.fetches.Load())
}

// Nobody is asked about a token, on any request, unless the configuration has
// somebody to ask; who is asked once for each request, and never about a token
// that nobody signed. (JG-01, JG-05)
func TestNobodyIsAskedAboutAToken(t *testing.T) {
	key, other := newNamed("k"), newNamed("k")
	e := &endpoint{}
	e.publish(key.jwk())
	var asked atomic.Int64
	hooks := withKeys(t, e.keys())
	stateless := hooks
	hooks = newAuth(t, func(c *middleware.Config) {
		c.Keys = middleware.PublicKeys(middleware.PublicKey{ID: "k", Key: &key.PublicKey})
		c.Revocations = revocations(func(string, string, string, time.Time) (bool, error) {
			asked.Add(1)
			return false, nil
		})
	})
	require.NoError(t, verify(stateless, key.token()))
	fetches := e.fetches.Load()
	e.fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	for i := range 50 {
		token := key.sign(claims().with("jti", fmt.Sprint(i)))
		refresh := key.sign(claims().with("jti", fmt.Sprint(i)).with("type", "refresh"))
		forged := other.sign(claims().with("jti", fmt.Sprint(i)))
		for range 3 { // at first sight, and remembered
			require.NoError(t, verify(stateless, token))
			before := asked.Load()
			require.NoError(t, verify(hooks, token))
			require.Equal(t, before+1, asked.Load())
			for _, auth := range []*middleware.Middleware{stateless, hooks} {
				require.ErrorIs(t, verify(auth, refresh), jwterrors.TokenTypeInvalid)
				require.ErrorIs(t, verify(auth, forged), jwterrors.TokenSignatureInvalid)
			}
			require.Equal(t, before+1, asked.Load(), "nobody is asked about these")
		}
	}
	assert.Equal(t, fetches, e.fetches.Load(), "the endpoint was asked for keys once, and never about a token")
}

// An answer of another form, as a client of another server knows it. (JG-09)
func TestAnAnswerOfAnotherForm(t *testing.T) {
	type answer struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		Code    string `json:"code"`
	}
	url := serve(t, newAuth(t, func(c *middleware.Config) {
		c.Respond = func(w http.ResponseWriter, _ *http.Request, err error) {
			a := answer{Message: "Your access token is invalid.", Code: "invalidToken"}
			if jwterrors.ReasonOf(err) == jwterrors.TokenMissing {
				a = answer{Message: "No access token was sent.", Code: "noToken"}
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(a)
		}
	}))
	for name, c := range map[string]struct {
		header []string
		body   string
	}{
		"a forged token": {bearerOf(sign(jwt.SigningMethodHS256, random(32), hsHeader, claims())), `{"success":false,"message":"Your access token is invalid.","code":"invalidToken"}`},
		"an expired one": {bearerOf(hs(hsHeader, claims().with("exp", 1640086400))), `{"success":false,"message":"Your access token is invalid.","code":"invalidToken"}`},
		"none":           {nil, `{"success":false,"message":"No access token was sent.","code":"noToken"}`},
	} {
		t.Run(name, func(t *testing.T) {
			resp := get(t, url, c.header...)
			assert.Equal(t, 403, resp.StatusCode)
			assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			assert.JSONEq(t, c.body, string(must(io.ReadAll(resp.Body))))
			assert.Empty(t, resp.Header.Get("WWW-Authenticate"), "which is Respond's to write")
		})
	}
	expect(t, get(t, url, "Bearer "+good()), 200, "")
}
