package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

func TestWithoutNewEverythingIsRefused(t *testing.T) {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was reached") })
	for name, auth := range map[string]*middleware.Middleware{"zero": {}, "nil": nil} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.Check(request("Bearer " + good()))
			assert.ErrorIs(t, err, jwterrors.TokenGenericError)
			assert.ErrorIs(t, verify(auth, good()), jwterrors.TokenGenericError)
			for _, h := range []http.Handler{auth.Handler(next), auth.Optional(next), auth.Observe(next)} {
				for _, r := range []*http.Request{request(), request("Bearer " + good())} {
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					expect(t, w.Result(), 401, jwterrors.TokenGenericError)
				}
			}
		})
	}
}

// A token that is wrong in two ways is refused for the first.
func TestPrecedence(t *testing.T) {
	type draft struct {
		header, payload object
		key             any
		end             string
	}
	now := time.Now().Unix()
	defects := []struct {
		name   string
		field  string // two defects of one field cannot be had together
		reason jwterrors.Reason
		apply  func(*draft)
	}{
		{"format", "end", jwterrors.TokenFormatInvalid, func(d *draft) { d.end = "=" }},
		{"algorithm", "alg", jwterrors.TokenSignatureInvalid, func(d *draft) { d.header["alg"] = "none" }},
		{"type", "typ", jwterrors.TokenTypeInvalid, func(d *draft) { d.header["typ"] = "dpop+jwt" }},
		{"kid that is none", "kid", jwterrors.TokenKeyUnknown, func(d *draft) { d.header["kid"] = "" }},
		{"extension", "crit", jwterrors.TokenFormatInvalid, func(d *draft) { d.header["crit"] = []string{"x"} }},
		{"unknown key", "kid", jwterrors.TokenKeyUnknown, func(d *draft) { d.header["kid"] = "e2" }},
		{"signature", "key", jwterrors.TokenSignatureInvalid, func(d *draft) { d.key = newEC() }},
		{"payload", "sub", jwterrors.TokenPayloadInvalid, func(d *draft) { d.payload["sub"] = 1 }},
		{"kind", "type", jwterrors.TokenTypeInvalid, func(d *draft) { d.payload["type"] = "refresh" }},
		{"lifetime", "iat", jwterrors.TokenExpirationInvalid, func(d *draft) { d.payload["iat"] = now - 400*86400 }},
		{"expired", "exp", jwterrors.TokenExpired, func(d *draft) { d.payload["exp"] = now - 3600 }},
		{"not before", "nbf", jwterrors.TokenNotYetValid, func(d *draft) { d.payload["nbf"] = now + 3600 }},
		{"issued later", "iat", jwterrors.TokenNotYetValid, func(d *draft) { d.payload["iat"] = now + 3600 }},
		{"issuer", "iss", jwterrors.TokenIssuerInvalid, func(d *draft) { d.payload["iss"] = "https://evil.example" }},
		{"audience", "aud", jwterrors.TokenAudienceInvalid, func(d *draft) { d.payload["aud"] = "invoices" }},
		{"revoked", "jti", jwterrors.TokenInvalidated, func(d *draft) { d.payload["jti"] = "revoked" }},
		{"own check", "x", jwterrors.TokenUserKeyInvalid, func(d *draft) { d.payload["x"] = "refused" }},
	}
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	require.NoError(t, denied.DenyToken(t.Context(), "revoked", time.Now().Add(time.Hour)))
	one := func(c *middleware.Config) {
		c.Keys = middleware.PublicKeys(middleware.PublicKey{ID: "e1", Key: &ecKey.PublicKey})
		c.Revocations = denied
		c.Validate = func(_ context.Context, c *middleware.Claims) error {
			var own struct{ X string }
			if err := c.Decode(&own); err != nil || own.X != "" {
				return jwterrors.TokenUserKeyInvalid
			}
			return nil
		}
	}
	// A further issuer changes nothing for the tokens of the first.
	two := func(c *middleware.Config) {
		one(c)
		c.Issuers = []middleware.Issuer{{Issuer: "https://b.example", Audience: []string{"b"}, Keys: middleware.HS256(random(32))}}
	}
	for name, config := range map[string]func(*middleware.Config){"one issuer": one, "two issuers": two} {
		auth := newAuth(t, config)
		token := func(apply ...func(*draft)) string {
			d := &draft{object{"alg": "ES256", "typ": "at+jwt", "kid": "e1"}, claims(), ecKey, ""}
			for _, f := range apply {
				f(d)
			}
			return sign(jwt.SigningMethodES256, d.key, d.header, d.payload) + d.end
		}
		require.NoError(t, verify(auth, token()))
		for i, first := range defects {
			t.Run(name+"/"+first.name, func(t *testing.T) {
				assert.Equal(t, first.reason, jwterrors.ReasonOf(verify(auth, token(first.apply))))
				for _, second := range defects[i+1:] {
					if first.field != second.field {
						err := verify(auth, token(first.apply, second.apply))
						assert.Equal(t, first.reason, jwterrors.ReasonOf(err), "and %s", second.name)
					}
				}
			})
		}
	}
}

func TestOptional(t *testing.T) { // MO-16
	auth := newAuth(t)
	server := httptest.NewServer(auth.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := middleware.FromContext(r.Context())
		if !ok {
			c = &middleware.Claims{Subject: "anonymous"}
		}
		_, _ = io.WriteString(w, c.Subject)
	})))
	defer server.Close()
	body := func(resp *http.Response) string { return string(must(io.ReadAll(resp.Body))) }
	assert.Equal(t, "anonymous", body(get(t, server.URL)))
	assert.Equal(t, "anonymous", body(get(t, server.URL, "Basic YTpi")))
	assert.Equal(t, "alice", body(get(t, server.URL, "Bearer "+good())))
	expect(t, get(t, server.URL, "Bearer "), 401, jwterrors.TokenFormatInvalid)
	expect(t, get(t, server.URL, "Bearer "+hs(hsHeader, claims().with("exp", 1640086400))), 401, jwterrors.TokenExpired)
	expect(t, get(t, server.URL, "Bearer "+good(), "Bearer "+good()), 400, jwterrors.RequestInvalid)
}

// The caller's check cannot make a refused token an anonymous request.
func TestOptionalWithAMisleadingReason(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) {
		c.Validate = func(context.Context, *middleware.Claims) error { return jwterrors.TokenMissing }
	})
	w := httptest.NewRecorder()
	auth.Optional(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") })).ServeHTTP(w, request("Bearer "+good()))
	assert.Equal(t, 401, w.Code)
}

func TestTimeAtItsLimits(t *testing.T) { // IT-09, NV-05
	at := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name     string
		leeway   time.Duration
		lifetime time.Duration
		iat, exp int64 // seconds from at
		nbf      any
		reason   jwterrors.Reason
	}{
		{"at exp plus leeway", 0, 0, -900, -30, nil, jwterrors.TokenExpired},
		{"a second before", 0, 0, -900, -29, nil, ""},
		{"at exp without leeway", middleware.NoLeeway, 0, -900, 0, nil, jwterrors.TokenExpired},
		{"a second before without leeway", middleware.NoLeeway, 0, -900, 1, nil, ""},
		{"at exp plus a leeway of a minute", time.Minute, 0, -900, -60, nil, jwterrors.TokenExpired},
		{"iat at leeway", 0, 0, 30, 900, nil, ""},
		{"iat a second later", 0, 0, 31, 900, nil, jwterrors.TokenNotYetValid},
		{"iat a second ahead without leeway", middleware.NoLeeway, 0, 1, 900, nil, jwterrors.TokenNotYetValid},
		{"nbf at leeway", 0, 0, 0, 900, 30, ""},
		{"nbf a second later", 0, 0, 0, 900, 31, jwterrors.TokenNotYetValid},
		{"nbf a fraction later", 0, 0, 0, 900, 30.5, jwterrors.TokenNotYetValid},
		{"the longest lifetime", 0, time.Hour, 0, 3599, nil, ""},
		{"a second more", 0, time.Hour, 0, 3600, nil, jwterrors.TokenExpirationInvalid},
		{"an hour off", 0, 0, -3600, -2700, nil, jwterrors.TokenExpired},
		{"an hour off, the other way", 0, 0, 3600, 4500, nil, jwterrors.TokenNotYetValid},
	} {
		t.Run(c.name, func(t *testing.T) {
			auth := newAuth(t, func(config *middleware.Config) {
				config.Leeway, config.MaxLifetime = c.leeway, c.lifetime
				config.Now = func() time.Time { return at }
			})
			payload := claims().with("iat", at.Unix()+c.iat).with("exp", at.Unix()+c.exp)
			switch nbf := c.nbf.(type) {
			case int:
				payload["nbf"] = at.Unix() + int64(nbf)
			case float64:
				payload["nbf"] = float64(at.Unix()) + nbf
			}
			assert.Equal(t, c.reason, jwterrors.ReasonOf(verify(auth, hs(hsHeader, payload))))
		})
	}
}

func TestATokenExpiresAsTimePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth, token := newAuth(t), good() // for 15 minutes
		time.Sleep(15*time.Minute + 29*time.Second)
		require.NoError(t, verify(auth, token))
		time.Sleep(time.Second)
		require.ErrorIs(t, verify(auth, token), jwterrors.TokenExpired)
	})
}

func TestSeveralIssuers(t *testing.T) {
	const b = "https://b.example"
	secretB := random(32)
	auth := newAuth(t, func(c *middleware.Config) {
		c.Issuers = []middleware.Issuer{{Issuer: b, Audience: []string{"orders-b"}, Keys: middleware.HS256(secretB)}}
	})
	claimsB := claims().with("iss", b).with("aud", "orders-b")
	for _, c := range []struct {
		name   string
		secret []byte
		claims object
		reason jwterrors.Reason
	}{
		{"the first, with its key", secret, claims(), ""},
		{"the second, with its key", secretB, claimsB, ""},
		{"the first, with the second's key", secretB, claims(), jwterrors.TokenSignatureInvalid},
		{"the second, with the first's key", secret, claimsB, jwterrors.TokenSignatureInvalid},
		{"the first, at the second's audience", secret, claims().with("aud", "orders-b"), jwterrors.TokenAudienceInvalid},
		{"the second, at the first's audience", secretB, claimsB.with("aud", audience), jwterrors.TokenAudienceInvalid},
		{"another, forged", random(32), claims().with("iss", "https://c.example"), jwterrors.TokenSignatureInvalid},
		{"another, with the first's key", secret, claims().with("iss", "https://c.example"), jwterrors.TokenIssuerInvalid},
		{"another, with the second's key", secretB, claims().with("iss", "https://c.example"), jwterrors.TokenSignatureInvalid},
		{"none, with the first's key", secret, claims().with("iss", nil), jwterrors.TokenIssuerInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := verify(auth, sign(jwt.SigningMethodHS256, c.secret, hsHeader, c.claims))
			assert.Equal(t, c.reason, jwterrors.ReasonOf(err))
		})
	}
}

// The header of one issuer's token is never taken for that of another's.
func TestHeadersAreRememberedByIssuer(t *testing.T) {
	const b = "https://b.example"
	other := newEC()
	auth := newAuth(t, func(c *middleware.Config) {
		c.Keys = middleware.PublicKeys(middleware.PublicKey{ID: "k", Key: &ecKey.PublicKey})
		c.Issuers = []middleware.Issuer{{Issuer: b, Audience: []string{audience}, Keys: middleware.PublicKeys(middleware.PublicKey{ID: "k", Key: &other.PublicKey})}}
	})
	header := object{"alg": "ES256", "kid": "k"}
	for range 3 {
		require.NoError(t, verify(auth, sign(jwt.SigningMethodES256, ecKey, header, claims())))
		require.NoError(t, verify(auth, sign(jwt.SigningMethodES256, other, header, claims().with("iss", b))))
		require.ErrorIs(t, verify(auth, sign(jwt.SigningMethodES256, ecKey, header, claims().with("iss", b))), jwterrors.TokenSignatureInvalid)
	}
}

// One source of keys at two Middlewares with different rules for the header.
func TestHeadersAreRememberedByMiddleware(t *testing.T) {
	keys := middleware.HS256(secret)
	lax := newAuth(t, func(c *middleware.Config) { c.Keys = keys })
	strict := newAuth(t, func(c *middleware.Config) { c.Keys, c.TokenTypes = keys, []string{"application/AT+jwt"} })
	token := hs(object{"alg": "HS256", "typ": "JWT"}, claims())
	for range 2 {
		require.NoError(t, verify(lax, token))
		require.ErrorIs(t, verify(strict, token), jwterrors.TokenTypeInvalid)
		require.NoError(t, verify(strict, good()))
	}
}

func TestOneTokenAtTwoAudiences(t *testing.T) {
	orders, invoices := newAuth(t), newAuth(t, func(c *middleware.Config) { c.Audience = []string{"invoices"} })
	token := good()
	for range 2 {
		require.NoError(t, verify(orders, token))
		require.ErrorIs(t, verify(invoices, token), jwterrors.TokenAudienceInvalid)
	}
}

func TestTokenTypes(t *testing.T) { // JG-05
	auth := newAuth(t, func(c *middleware.Config) { c.TokenTypes = []string{"at+jwt"} })
	require.NoError(t, verify(auth, good()))
	require.ErrorIs(t, verify(auth, hs(object{"alg": "HS256"}, claims())), jwterrors.TokenTypeInvalid)
	require.ErrorIs(t, verify(auth, hs(hsHeader, claims().with("type", "refresh"))), jwterrors.TokenTypeInvalid)
	require.ErrorIs(t, verify(newAuth(t), hs(hsHeader.with("typ", "application/"), claims())), jwterrors.TokenTypeInvalid, "it is not left open")
	text := newAuth(t, func(c *middleware.Config) { c.TokenTypes = []string{"text/jwt"} })
	require.NoError(t, verify(text, hs(hsHeader.with("typ", "Text/JWT"), claims())))
	require.ErrorIs(t, verify(text, hs(hsHeader.with("typ", "application/text/jwt"), claims())), jwterrors.TokenTypeInvalid)
}

func TestAnyIssuerAndAnyAudience(t *testing.T) {
	auth, err := middleware.New(middleware.Config{Keys: middleware.HS256(secret), InsecureAnyIssuer: true, InsecureAnyAudience: true})
	require.NoError(t, err)
	now := time.Now().Unix()
	require.NoError(t, verify(auth, hs(hsHeader, object{"email": "user@example.com", "iat": now, "exp": now + 86400})))
	require.ErrorIs(t, verify(auth, hs(hsHeader, object{"email": "user@example.com", "iat": now, "exp": now - 86400})), jwterrors.TokenExpired)
}

type revocations func(sid, jti, subject string, issuedAt time.Time) (bool, error)

func (f revocations) Revoked(_ context.Context, sid, jti, subject string, issuedAt time.Time) (bool, error) {
	return f(sid, jti, subject, issuedAt)
}

func TestRevocations(t *testing.T) { // NV-19
	var yes bool
	var fails error
	auth := newAuth(t, func(c *middleware.Config) {
		c.Revocations = revocations(func(sid, jti, subject string, issuedAt time.Time) (bool, error) {
			assert.Equal(t, []string{"s-1", "j-1", "alice"}, []string{sid, jti, subject})
			assert.WithinDuration(t, time.Now(), issuedAt, time.Minute)
			return yes, fails
		})
	})
	url := serve(t, auth)
	expect(t, get(t, url, "Bearer "+good()), 200, "")
	yes = true
	expect(t, get(t, url, "Bearer "+good()), 401, jwterrors.TokenInvalidated)
	fails = errors.New("connection refused")
	resp := get(t, url, "Bearer "+good())
	assert.Equal(t, 503, resp.StatusCode)
	assert.NotEmpty(t, resp.Header.Get("Retry-After"))
	assert.ErrorIs(t, verify(auth, good()), jwterrors.StoreUnavailable)
	assert.ErrorIs(t, verify(auth, good()), fails)
	assert.ErrorIs(t, verify(auth, hs(hsHeader, claims().with("exp", 1640086400))), jwterrors.TokenExpired, "and nobody is asked")
}

func TestValidate(t *testing.T) { // IT-34
	var refusal error
	auth := newAuth(t, func(c *middleware.Config) {
		c.Validate = func(_ context.Context, c *middleware.Claims) error {
			c.Scopes = append(c.Scopes, "added")
			return refusal
		}
	})
	c, err := auth.Verify(t.Context(), good())
	require.NoError(t, err)
	assert.True(t, c.HasScope("added"))

	refusal = errors.New("no such user")
	err = verify(auth, good())
	assert.Equal(t, jwterrors.TokenGenericError, jwterrors.ReasonOf(err))
	assert.ErrorIs(t, err, refusal)

	refusal = jwterrors.TokenUserKeyInvalid
	err = verify(auth, good())
	assert.EqualError(t, err, "AUTH_TOKEN_USER_KEY_INVALID")

	shared := &jwterrors.Error{Reason: jwterrors.AuthenticationInsufficient, MaxAge: time.Minute, Err: errors.New("too old")}
	refusal = fmt.Errorf("step up: %w", shared)
	var e *jwterrors.Error
	require.ErrorAs(t, verify(auth, good()), &e)
	assert.Equal(t, jwterrors.AuthenticationInsufficient, e.Reason)
	assert.Equal(t, time.Minute, e.MaxAge)
	assert.Equal(t, "alice", e.Identity)
	assert.ErrorContains(t, e, "step up")
	assert.Equal(t, jwterrors.Error{Reason: jwterrors.AuthenticationInsufficient, MaxAge: time.Minute, Err: shared.Err}, *shared, "the caller's own error is left alone")

	refusal = &jwterrors.Error{}
	require.ErrorAs(t, verify(auth, good()), &e)
	assert.Equal(t, jwterrors.TokenGenericError, e.Reason)
}

func TestTheErrorSaysWhoseTokenAndWhen(t *testing.T) { // MO-06, MO-07
	auth := newAuth(t)
	var e *jwterrors.Error
	expired := hs(hsHeader, claims().with("exp", 1640086400))
	require.ErrorAs(t, verify(auth, expired), &e)
	assert.Equal(t, "alice", e.Identity)
	assert.Equal(t, expired[:20]+"...", e.Token)
	assert.WithinDuration(t, time.Now(), e.Time, time.Minute)

	forged := sign(jwt.SigningMethodHS256, random(32), hsHeader, claims())
	require.ErrorAs(t, verify(auth, forged), &e)
	assert.Empty(t, e.Identity, "nobody is named by a forgery")
}

// Nothing that a client sends or gets, and nothing that is logged, has more of a
// token than its beginning.
func TestNoTokenIsShown(t *testing.T) {
	var log bytes.Buffer
	auth := newAuth(t, func(c *middleware.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	var shown strings.Builder
	tokens := []string{
		good() + "=", hs(hsHeader, "x"), hs("x", claims()), hs(hsHeader, claims().with("exp", 1640086400)),
		hs(hsHeader, claims().with("iss", good())), hs(object{"alg": good()}, claims()), hs(object{"alg": "HS256", "typ": good()}, claims()),
		sign(jwt.SigningMethodHS256, random(32), hsHeader, claims()), hs(hsHeader, claims().with("aud", good())), hs(hsHeader, claims().with("sub", 1).with(good(), 1)),
	}
	for _, token := range tokens {
		w := httptest.NewRecorder()
		auth.Handler(http.NotFoundHandler()).ServeHTTP(w, request("Bearer "+token))
		require.Equal(t, 401, w.Code)
		err := verify(auth, token)
		fmt.Fprintln(&shown, w.Header(), w.Body, err, fmt.Sprintf("%+v", err))
	}
	shown.Write(log.Bytes())
	assert.Contains(t, shown.String(), "AUTH_TOKEN_EXPIRED")
	for _, token := range append(tokens, good()) {
		for _, part := range strings.Split(token, ".")[1:] {
			if len(part) > 20 {
				assert.NotContains(t, shown.String(), part)
			}
		}
	}
}

func TestRespondAndRealm(t *testing.T) { // D1, JG-10
	var seen error
	auth := newAuth(t, func(c *middleware.Config) {
		c.Respond = func(w http.ResponseWriter, r *http.Request, err error) {
			seen = err
			w.WriteHeader(http.StatusForbidden)
		}
	})
	assert.Equal(t, http.StatusForbidden, get(t, serve(t, auth)).StatusCode)
	assert.ErrorIs(t, seen, jwterrors.TokenMissing)
	var e *jwterrors.Error
	assert.ErrorAs(t, seen, &e)

	auth = newAuth(t, func(c *middleware.Config) { c.Realm = "a \"quoted\"\r\nrealm ü" })
	resp := get(t, serve(t, auth))
	assert.Equal(t, `Bearer realm="a \"quoted\"??realm ?"`, resp.Header.Get("WWW-Authenticate"))
}

func TestTheLog(t *testing.T) {
	var log bytes.Buffer
	fails := error(nil)
	auth := newAuth(t, func(c *middleware.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Revocations = revocations(func(string, string, string, time.Time) (bool, error) { return false, fails })
	})
	h := auth.Handler(http.NotFoundHandler())
	h.ServeHTTP(httptest.NewRecorder(), request("Bearer "+good()))
	assert.Empty(t, log.String(), "a request that passes is not worth a line")
	h.ServeHTTP(httptest.NewRecorder(), request())
	assert.Contains(t, log.String(), "level=INFO")
	assert.Contains(t, log.String(), "error.reason=AUTH_TOKEN_MISSING")
	log.Reset()
	fails = errors.New("connection refused")
	h.ServeHTTP(httptest.NewRecorder(), request("Bearer "+good()))
	assert.Contains(t, log.String(), "level=WARN")
	assert.Contains(t, log.String(), "connection refused", "the cause is for the log")
}

// What one request does with its claims is not seen by another.
func TestClaimsBelongToTheRequest(t *testing.T) {
	auth, token := newAuth(t), good()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				c, err := auth.Verify(context.Background(), token)
				if !assert.NoError(t, err) || !assert.Equal(t, []string{"api:read", "api:write"}, c.Scopes) {
					return
				}
				assert.Equal(t, []string{audience}, c.Audience)
				c.Scopes[0], c.Audience[0], c.Subject = "admin", "x", "root"
				c.Scopes = append(c.Scopes, "more")
			}
		})
	}
	wg.Wait()
}

func TestTheContext(t *testing.T) {
	_, ok := middleware.FromContext(t.Context())
	assert.False(t, ok)
	type other struct{}
	ctx := middleware.NewContext(context.WithValue(t.Context(), other{}, 1), &middleware.Claims{Subject: "bob"})
	c, ok := middleware.FromContext(context.WithValue(ctx, other{}, 2))
	require.True(t, ok)
	assert.Equal(t, "bob", c.Subject)
	assert.Equal(t, 1, ctx.Value(other{}))
	_, ok = middleware.FromContext(middleware.NewContext(ctx, nil))
	assert.False(t, ok, "anonymous")
}

func TestClaims(t *testing.T) {
	now := time.Now().Unix()
	c, err := newAuth(t).Verify(t.Context(), hs(hsHeader, claims().
		with("aud", []string{audience, "b"}).with("nbf", now).with("auth_time", now-60).with("acr", "mfa").
		with("amr", []string{"pwd", "otp"}).with("email", "a@example.com").with("tenant", object{"id": 7})))
	require.NoError(t, err)
	assert.Equal(t, issuer, c.Issuer)
	assert.Equal(t, "alice", c.Subject)
	assert.Equal(t, []string{audience, "b"}, c.Audience)
	assert.Equal(t, time.Unix(now, 0), c.NotBefore)
	assert.Equal(t, time.Unix(now, 0), c.IssuedAt)
	assert.Equal(t, time.Unix(now+900, 0), c.ExpiresAt)
	assert.Equal(t, "j-1", c.ID)
	assert.Equal(t, "app", c.ClientID)
	assert.Equal(t, "s-1", c.SessionID)
	assert.Equal(t, []string{"api:read", "api:write"}, c.Scopes)
	assert.Equal(t, time.Unix(now-60, 0), c.AuthTime)
	assert.Equal(t, "mfa", c.ACR)
	assert.Equal(t, []string{"pwd", "otp"}, c.AMR)
	assert.Equal(t, "a@example.com", c.Email)
	var own struct {
		Tenant struct{ ID int }
	}
	require.NoError(t, c.Decode(&own))
	assert.Equal(t, 7, own.Tenant.ID)
	var wrong struct{ Tenant string }
	assert.Error(t, c.Decode(&wrong))
	assert.ErrorContains(t, (&middleware.Claims{Subject: "bob"}).Decode(&own), "not from a token")
	assert.False(t, (*middleware.Claims)(nil).LogValue().Resolve().Kind() == slog.KindGroup)

	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("seen", "claims", c)
	assert.Contains(t, log.String(), "claims.sub=alice")
	assert.NotContains(t, log.String(), "a@example.com")

	c, err = newAuth(t).Verify(t.Context(), hs(hsHeader, claims().with("auth_time", 0)))
	require.NoError(t, err)
	assert.Zero(t, c.AuthTime, "nobody logged in")
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload object
		want    []string
	}{
		{"a string", object{"scope": "a b"}, []string{"a", "b"}},
		{"spaces around", object{"scope": "  a   b "}, []string{"a", "b"}},
		{"a tab, which separates nothing", object{"scope": "a\tb"}, []string{"a\tb"}},
		{"a wide space, which separates nothing", object{"scope": "a\u2003b"}, []string{"a\u2003b"}},
		{"an array", object{"scope": []string{"a", "b c"}}, []string{"a", "b c"}},
		{"scp", object{"scp": []string{"a"}}, []string{"a"}},
		{"scp in a string", object{"scp": "a b"}, []string{"a", "b"}},
		{"both", object{"scope": "a", "scp": []string{"b"}}, []string{"a"}},
		{"none", object{}, nil},
		{"many", object{"scope": "a b c d e f g h i j"}, strings.Fields("a b c d e f g h i j")},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := claims().with("scope", nil)
			for k, v := range c.payload {
				payload[k] = v
			}
			got, err := newAuth(t).Verify(t.Context(), hs(hsHeader, payload))
			require.NoError(t, err)
			assert.True(t, slices.Equal(c.want, got.Scopes), "%q", got.Scopes)
		})
	}
}

// Verification asks nobody for anything. (JG-01) Several instances do not know
// of one another. (MO-02)
func TestSeveralInstances(t *testing.T) {
	other := random(32)
	a, b := newAuth(t), newAuth(t, func(c *middleware.Config) { c.Keys = middleware.HS256(other) })
	require.NoError(t, verify(a, good()))
	require.ErrorIs(t, verify(b, good()), jwterrors.TokenSignatureInvalid)
	require.NoError(t, verify(b, sign(jwt.SigningMethodHS256, other, hsHeader, claims())))
}

// A header that was seen before is not read again, what is read of a plain token
// costs little, and a token that was seen before costs its claims alone.
func TestAllocations(t *testing.T) {
	for name, c := range map[string]struct {
		cache int
		most  float64
	}{"first sight": {middleware.NoCache, 16}, "seen before": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			auth, token := newAuth(t, func(config *middleware.Config) { config.CacheBytes = c.cache }), good()
			allocated := testing.AllocsPerRun(100, func() {
				if err := verify(auth, token); err != nil {
					t.Error(err)
				}
			})
			assert.LessOrEqual(t, allocated, c.most)
		})
	}
}

// With enforcement off, requests pass and the log tells which would not. (MO-15)
func TestObserve(t *testing.T) {
	var mu sync.Mutex
	var text bytes.Buffer
	auth := newAuth(t, func(c *middleware.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&locked{&mu, &text}, nil))
	})
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := middleware.FromContext(r.Context())
		if !ok {
			c = &middleware.Claims{Subject: "nobody"}
		}
		_, _ = io.WriteString(w, c.Subject)
	})
	for _, c := range []struct {
		name    string
		handler http.Handler
		header  []string
		body    string
		want    jwterrors.Reason // in the log; "" for nothing
	}{
		{"a good token", auth.Observe(who), []string{"Bearer " + good()}, "alice", ""},
		{"none", auth.Observe(who), nil, "nobody", jwterrors.TokenMissing},
		{"an expired one", auth.Observe(who), []string{"Bearer " + hs(hsHeader, claims().with("exp", 1640086400))}, "nobody", jwterrors.TokenExpired},
		{"two", auth.Observe(who), []string{"Bearer a", "Bearer b"}, "nobody", jwterrors.RequestInvalid},
		{"one that lacks a scope", auth.Observe(middleware.RequireScopes("admin")(who)), []string{"Bearer " + good()}, "alice", jwterrors.ScopeInsufficient},
		{"none at a guard", auth.Observe(middleware.RequireScopes("admin")(who)), nil, "nobody", jwterrors.TokenMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			text.Reset()
			server := httptest.NewServer(c.handler)
			defer server.Close()
			resp := get(t, server.URL, c.header...)
			assert.Equal(t, 200, resp.StatusCode)
			assert.Equal(t, c.body, string(must(io.ReadAll(resp.Body))))
			assert.Empty(t, resp.Header.Get("WWW-Authenticate"))
			mu.Lock()
			defer mu.Unlock()
			if c.want == "" {
				assert.Empty(t, text.String())
				return
			}
			assert.Contains(t, text.String(), "request would be refused")
			assert.Contains(t, text.String(), string(c.want))
		})
	}
	t.Run("what Handler does behind it", func(t *testing.T) {
		w := httptest.NewRecorder()
		auth.Observe(auth.Handler(who)).ServeHTTP(w, request())
		expect(t, w.Result(), 401, jwterrors.TokenMissing)
	})
}

// A locked writer is for loggers of several goroutines.
type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// Login and signup are public, everything else is not. (JG-19)
func TestSkip(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) {
		c.Skip = func(r *http.Request) bool { return r.URL.Path == "/login" }
	})
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, ok := middleware.FromContext(r.Context())
		_, _ = io.WriteString(w, map[bool]string{true: "claims", false: "nobody"}[ok])
	})
	for _, c := range []struct {
		name   string
		h      http.Handler
		path   string
		header []string
		reason jwterrors.Reason
		body   string
	}{
		{"a public route", auth.Handler(who), "/login", nil, "", "nobody"},
		{"with a good token", auth.Handler(who), "/login", []string{"Bearer " + good()}, "", "nobody"},
		{"with a bad token", auth.Handler(who), "/login", []string{"Bearer x"}, "", "nobody"},
		{"with a guard", auth.Handler(middleware.RequireScopes()(who)), "/login", []string{"Bearer " + good()}, jwterrors.TokenMissing, ""},
		{"behind another Middleware", newAuth(t).Handler(auth.Handler(who)), "/login", []string{"Bearer " + good()}, "", "nobody"},
		{"another route", auth.Handler(who), "/me", nil, jwterrors.TokenMissing, ""},
		{"another route with a token", auth.Handler(who), "/me", []string{"Bearer " + good()}, "", "claims"},
		{"a path below", auth.Handler(who), "/login/x", nil, jwterrors.TokenMissing, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.h)
			defer server.Close()
			resp := get(t, server.URL+c.path, c.header...)
			if c.reason != "" {
				expect(t, resp, 401, c.reason)
				return
			}
			assert.Equal(t, 200, resp.StatusCode)
			assert.Equal(t, c.body, string(must(io.ReadAll(resp.Body))))
		})
	}
	_, err := auth.Check(httptest.NewRequest("GET", "/login", nil))
	assert.ErrorIs(t, err, jwterrors.TokenMissing, "Check does not ask")
}
