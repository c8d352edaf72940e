package handlertest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/handlertest"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/issuertest"
	"github.com/tokenloop/tokenloop/middleware"
)

// newAuth returns a middleware that trusts fake, after the changes of change.
func newAuth(t *testing.T, fake *issuertest.Fake, change ...func(*middleware.Config)) *middleware.Middleware {
	t.Helper()
	c := middleware.Config{
		Keys:   middleware.JWKS(fake.JWKSURL(), middleware.JWKSOptions{Client: fake.Client(), InsecureAllowHTTP: true}),
		Issuer: fake.Issuer(), Audience: []string{fake.Audience()}, Now: fake.Now,
	}
	for _, f := range change {
		f(&c)
	}
	auth, err := middleware.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// send sends a request with these values of Authorization to the service, and
// returns the reason in the answer, "" for none.
func send(auth *middleware.Middleware, method string, authorization ...string) jwterrors.Reason {
	r := httptest.NewRequest(method, "/orders", nil)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	handlertest.Orders(auth).ServeHTTP(w, r)
	if w.Code < 300 {
		return ""
	}
	return jwterrors.ReasonOf(jwterrors.FromResponse(w.Result()))
}

func check(t *testing.T, want, got jwterrors.Reason) {
	t.Helper()
	if got != want {
		t.Errorf("the reason is %q, and should be %q", got, want)
	}
}

func TestEachTokenIsRefusedForItsReason(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := newAuth(t, fake)
	for _, c := range []struct {
		name  string
		token issuertest.Token
		want  jwterrors.Reason
	}{
		{"a good one", issuertest.Token{}, ""},
		{"a header with a name twice", issuertest.Token{RawHeader: `{"alg":"ES256","alg":"none"}`}, jwterrors.TokenFormatInvalid},
		{"an extension", issuertest.Token{Header: map[string]any{"crit": []string{"x"}}}, jwterrors.TokenFormatInvalid},
		{"a claim twice", issuertest.Token{RawPayload: `{"sub":"alice","sub":"root"}`}, jwterrors.TokenPayloadInvalid},
		{"no JSON", issuertest.Token{RawPayload: `alice`}, jwterrors.TokenPayloadInvalid},
		{"no expiry", issuertest.Token{Claims: map[string]any{"exp": nil}}, jwterrors.TokenPayloadInvalid},
		{"an expiry of another type", issuertest.Token{Claims: map[string]any{"exp": "soon"}}, jwterrors.TokenPayloadInvalid},
		{"forged", issuertest.Token{Forged: true}, jwterrors.TokenSignatureInvalid},
		{"forged and expired", issuertest.Token{Forged: true, Expired: true}, jwterrors.TokenSignatureInvalid},
		{"another algorithm", issuertest.Token{Algorithm: issuer.EdDSA}, jwterrors.TokenSignatureInvalid},
		{"the public key as a secret", issuertest.Token{Algorithm: issuer.HS256}, jwterrors.TokenSignatureInvalid},
		{"no signature", issuertest.Token{Algorithm: "none"}, jwterrors.TokenSignatureInvalid},
		{"no algorithm", issuertest.Token{Header: map[string]any{"alg": "none"}}, jwterrors.TokenSignatureInvalid},
		{"an unknown key", issuertest.Token{UnknownKey: true}, jwterrors.TokenKeyUnknown},
		{"expired", issuertest.Token{Expired: true}, jwterrors.TokenExpired},
		{"a life too long", issuertest.Token{Lifetime: 365 * 24 * time.Hour}, jwterrors.TokenExpirationInvalid},
		{"not yet valid", issuertest.Token{NotYetValid: true}, jwterrors.TokenNotYetValid},
		{"issued in the future", issuertest.Token{Claims: map[string]any{"iat": fake.Now().Add(time.Minute)}}, jwterrors.TokenNotYetValid},
		{"another issuer", issuertest.Token{Issuer: "https://other.test"}, jwterrors.TokenIssuerInvalid},
		{"another audience", issuertest.Token{Audience: []string{"other"}}, jwterrors.TokenAudienceInvalid},
		{"one audience of two", issuertest.Token{Audience: []string{"other", fake.Audience()}}, ""},
		{"a type", issuertest.Token{Header: map[string]any{"typ": "dpop+jwt"}}, jwterrors.TokenTypeInvalid},
		{"a refresh token", issuertest.Token{Claims: map[string]any{"token_use": "refresh"}}, jwterrors.TokenTypeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, c.want, send(auth, "GET", "Bearer "+fake.Mint(c.token)))
		})
	}
	t.Run("no token", func(t *testing.T) { check(t, jwterrors.TokenMissing, send(auth, "GET")) })
	t.Run("cut short", func(t *testing.T) {
		check(t, jwterrors.TokenFormatInvalid, send(auth, "GET", "Bearer "+fake.Token("alice")[:20]))
	})
	t.Run("two tokens", func(t *testing.T) {
		check(t, jwterrors.RequestInvalid, send(auth, "GET", "Bearer "+fake.Token("alice"), "Bearer "+fake.Token("bob")))
	})
	t.Run("too few scopes", func(t *testing.T) {
		check(t, jwterrors.ScopeInsufficient, send(auth, "DELETE", "Bearer "+fake.Mint(issuertest.Token{Scope: "orders:read"})))
	})
	t.Run("enough scopes", func(t *testing.T) {
		check(t, "", send(auth, "DELETE", "Bearer "+fake.Mint(issuertest.Token{Scope: "orders:read orders:write"})))
	})
}

func TestAUserKeyThatIsMissing(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := newAuth(t, fake, func(c *middleware.Config) { c.UserKey = &middleware.UserKeyRule{} })
	check(t, jwterrors.TokenUserKeyInvalid, send(auth, "GET", "Bearer "+fake.Token("alice")))
	check(t, "", send(auth, "GET", "Bearer "+fake.Mint(issuertest.Token{Claims: map[string]any{"userId": "42"}})))
}

func TestARevokedSession(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	denied := middleware.NewDenylist(middleware.DenylistOptions{Now: fake.Now})
	auth := newAuth(t, fake, func(c *middleware.Config) { c.Revocations = denied })
	token := fake.Mint(issuertest.Token{Claims: map[string]any{"sid": "s-1"}})
	check(t, "", send(auth, "GET", "Bearer "+token))
	if err := denied.DenySession(t.Context(), "s-1", fake.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	check(t, jwterrors.TokenInvalidated, send(auth, "GET", "Bearer "+token))
}

type brokenStore struct{}

func (brokenStore) Revoked(context.Context, string, string, string, time.Time) (bool, error) {
	return false, errors.New("no connection")
}

func TestAStoreThatIsDown(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := newAuth(t, fake, func(c *middleware.Config) { c.Revocations = brokenStore{} })
	check(t, jwterrors.StoreUnavailable, send(auth, "GET", "Bearer "+fake.Token("alice")))
}

func TestTheCallersOwnCheck(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := newAuth(t, fake, func(c *middleware.Config) {
		c.Validate = func(_ context.Context, c *middleware.Claims) error {
			if c.Subject == "mallory" {
				return errors.New("not her")
			}
			return nil
		}
	})
	check(t, jwterrors.TokenGenericError, send(auth, "GET", "Bearer "+fake.Token("mallory")))
	check(t, "", send(auth, "GET", "Bearer "+fake.Token("alice")))
}

func TestALoginTooLongAgo(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := newAuth(t, fake)
	guard := middleware.RequireAuthentication(middleware.Authentication{MaxAge: time.Minute})
	h := auth.Handler(guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	for minutes, want := range map[int]jwterrors.Reason{0: "", 5: jwterrors.AuthenticationInsufficient} {
		r := httptest.NewRequest("GET", "/", nil)
		login := fake.Now().Add(-time.Duration(minutes) * time.Minute)
		r.Header.Set("Authorization", "Bearer "+fake.Mint(issuertest.Token{Claims: map[string]any{"auth_time": login}}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if want == "" && w.Code != 200 || want != "" && jwterrors.ReasonOf(jwterrors.FromResponse(w.Result())) != want {
			t.Errorf("a login %d minutes ago: %d, and not %q", minutes, w.Code, want)
		}
	}
}

func TestKeysThatCannotBeHad(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := newAuth(t, fake)
	fake.Down(true)
	check(t, jwterrors.KeysUnavailable, send(auth, "GET", "Bearer "+fake.Token("alice")))
	fake.Down(false)
	fake.Advance(time.Minute) // the middleware waits before it asks again
	check(t, "", send(auth, "GET", "Bearer "+fake.Token("alice")))
}

func TestATokenExpiresWhenTheClockMoves(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{Lifetime: time.Hour})
	auth := newAuth(t, fake)
	token := fake.Token("alice")
	fake.Advance(59 * time.Minute)
	check(t, "", send(auth, "GET", "Bearer "+token))
	fake.Advance(2 * time.Minute)
	check(t, jwterrors.TokenExpired, send(auth, "GET", "Bearer "+token))
}

func TestRotatedKeysAreFetchedOnce(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := newAuth(t, fake)
	old := fake.Token("alice")
	check(t, "", send(auth, "GET", "Bearer "+old))
	fake.Rotate()
	check(t, "", send(auth, "GET", "Bearer "+fake.Token("alice")))
	check(t, "", send(auth, "GET", "Bearer "+fake.Token("bob")))
	check(t, "", send(auth, "GET", "Bearer "+old))
	if n := fake.Fetches(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

func TestAKeyThatIsUnpublished(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := newAuth(t, fake, func(c *middleware.Config) { c.Keys = middleware.LocalJWKS(fake.JWKS) })
	old := fake.Token("alice")
	fake.Rotate()
	check(t, "", send(auth, "GET", "Bearer "+old))
	fake.Unpublish()
	check(t, jwterrors.TokenKeyUnknown, send(auth, "GET", "Bearer "+old))
	check(t, "", send(auth, "GET", "Bearer "+fake.Token("alice")))
}

func TestEverySourceAndAlgorithm(t *testing.T) {
	for _, algorithm := range []string{issuer.ES256, issuer.RS256, issuer.EdDSA} {
		fake := issuertest.New(t, issuertest.Config{Algorithm: algorithm})
		for name, keys := range map[string]middleware.KeySource{
			"JWKS from the server": middleware.JWKS(fake.JWKSURL(), middleware.JWKSOptions{InsecureAllowHTTP: true}),
			"JWKS by Client":       middleware.JWKS(fake.JWKSURL(), middleware.JWKSOptions{Client: fake.Client(), InsecureAllowHTTP: true}),
			"Discover":             middleware.Discover(fake.Issuer(), middleware.JWKSOptions{InsecureAllowHTTP: true}),
			"LocalJWKS":            middleware.LocalJWKS(fake.JWKS),
			"PublicKeys":           middleware.PublicKeys(middleware.PublicKey{ID: fake.KeyID(), Key: fake.PublicKey()}),
		} {
			t.Run(name+" "+algorithm, func(t *testing.T) {
				auth := newAuth(t, fake, func(c *middleware.Config) { c.Keys = keys })
				check(t, "", send(auth, "GET", "Bearer "+fake.Token("alice")))
				check(t, jwterrors.TokenSignatureInvalid, send(auth, "GET", "Bearer "+fake.Mint(issuertest.Token{Forged: true})))
				check(t, jwterrors.TokenKeyUnknown, send(auth, "GET", "Bearer "+fake.Mint(issuertest.Token{UnknownKey: true})))
			})
		}
	}
	t.Run("HS256", func(t *testing.T) {
		fake := issuertest.New(t, issuertest.Config{Algorithm: issuer.HS256})
		auth := newAuth(t, fake, func(c *middleware.Config) { c.Keys = middleware.HS256(fake.Secret()) })
		check(t, "", send(auth, "GET", "Bearer "+fake.Token("alice")))
		check(t, jwterrors.TokenSignatureInvalid, send(auth, "GET", "Bearer "+fake.Mint(issuertest.Token{Forged: true})))
	})
}

// Neither an InsecureAllowHTTP nor a Now: without a server the URLs are of https,
// and in a bubble the clock is everybody's.
func TestABubbleOfSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := issuertest.New(t, issuertest.Config{NoServer: true, Lifetime: time.Hour})
		for _, keys := range []middleware.KeySource{
			middleware.JWKS(fake.JWKSURL(), middleware.JWKSOptions{Client: fake.Client()}),
			middleware.Discover(fake.Issuer(), middleware.JWKSOptions{Client: fake.Client()}),
		} {
			auth := must(middleware.New(middleware.Config{Keys: keys, Issuer: fake.Issuer(), Audience: []string{fake.Audience()}, Leeway: middleware.NoLeeway}))
			token := fake.Token("alice")
			time.Sleep(time.Hour - time.Nanosecond)
			check(t, "", send(auth, "GET", "Bearer "+token))
			time.Sleep(time.Nanosecond)
			check(t, jwterrors.TokenExpired, send(auth, "GET", "Bearer "+token))
		}
	})
}
