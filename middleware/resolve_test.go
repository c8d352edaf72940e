package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

type resolver = func(ctx context.Context, r *http.Request, issuer string) (middleware.Issuer, error)

// resolving returns a Middleware that asks resolve, after the changes of change.
func resolving(t testing.TB, resolve resolver, change ...func(*middleware.Config)) *middleware.Middleware {
	t.Helper()
	c := middleware.Config{Resolve: resolve}
	for _, f := range change {
		f(&c)
	}
	auth, err := middleware.New(c)
	require.NoError(t, err)
	return auth
}

// byTenant resolves by the header X-Tenant.
func byTenant(tenants map[string]middleware.Issuer) resolver {
	return func(_ context.Context, r *http.Request, _ string) (middleware.Issuer, error) {
		return tenants[r.Header.Get("X-Tenant")], nil
	}
}

// at returns a request to a tenant.
func at(tenant, token string) *http.Request {
	r := request("Bearer " + token)
	r.Header.Set("X-Tenant", tenant)
	return r
}

func noCache(c *middleware.Config) { c.CacheBytes = middleware.NoCache }

// Two tenants call their keys the same. A token is good at its own alone, whatever
// was seen before, in any order.
func TestTwoTenantsWithOneKid(t *testing.T) { // MO-02
	a, b := newNamed("k"), newNamed("k")
	secretA, secretB := random(32), random(32)
	header := hsHeader.with("kid", "k")
	listed := func(k named) middleware.KeySource {
		return middleware.PublicKeys(middleware.PublicKey{ID: "k", Key: &k.PublicKey})
	}
	published := func(k named) middleware.KeySource {
		return middleware.LocalJWKS(func() []byte { return jwkSet(k.jwk()) })
	}
	for name, c := range map[string]struct {
		keysA, keysB   middleware.KeySource
		tokenA, tokenB string
	}{
		"public keys": {listed(a), listed(b), a.token(), b.token()},
		"published":   {published(a), published(b), a.token(), b.token()},
		"secrets": {
			middleware.HS256(secretA), middleware.HS256(secretB),
			sign(jwt.SigningMethodHS256, secretA, header, claims()), sign(jwt.SigningMethodHS256, secretB, header, claims()),
		},
	} {
		tenants := map[string]middleware.Issuer{ // that differ in nothing else
			"a": {Issuer: issuer, Audience: []string{audience}, Keys: c.keysA},
			"b": {Issuer: issuer, Audience: []string{audience}, Keys: c.keysB},
		}
		for cached, change := range map[string]func(*middleware.Config){"remembered": func(*middleware.Config) {}, "not remembered": noCache} {
			t.Run(name+", "+cached, func(t *testing.T) {
				auth := resolving(t, byTenant(tenants), change)
				for range 4 {
					for _, want := range []struct {
						tenant, token string
						reason        jwterrors.Reason
					}{
						{"a", c.tokenA, ""}, {"b", c.tokenA, jwterrors.TokenSignatureInvalid},
						{"b", c.tokenB, ""}, {"a", c.tokenB, jwterrors.TokenSignatureInvalid},
						{"c", c.tokenA, jwterrors.TokenKeyUnknown},
					} {
						_, err := auth.Check(at(want.tenant, want.token))
						require.Equal(t, want.reason, jwterrors.ReasonOf(err), "%s: %v", want.tenant, err)
					}
				}
			})
		}
	}
}

// Tenants can share their keys, and be told apart by issuer or audience alone. A
// token that is remembered for one is not accepted for another.
func TestTenantsThatShareTheirKeys(t *testing.T) {
	keys := middleware.HS256(secret)
	tenants := map[string]middleware.Issuer{
		"home":     {Issuer: issuer, Audience: []string{audience}, Keys: keys},
		"audience": {Issuer: issuer, Audience: []string{"invoices"}, Keys: keys},
		"issuer":   {Issuer: "https://b.example", Audience: []string{audience}, Keys: keys},
		"any":      {InsecureAnyIssuer: true, InsecureAnyAudience: true, Keys: keys},
	}
	for cached, change := range map[string]func(*middleware.Config){"remembered": func(*middleware.Config) {}, "not remembered": noCache} {
		t.Run(cached, func(t *testing.T) {
			now := time.Now()
			auth := resolving(t, byTenant(tenants), change, func(c *middleware.Config) { c.Now = func() time.Time { return now } })
			token := good()
			expect := func(tenant string, reason jwterrors.Reason) {
				t.Helper()
				got, err := auth.Check(at(tenant, token))
				require.Equal(t, reason, jwterrors.ReasonOf(err), "%s: %v", tenant, err)
				if reason == "" {
					require.Equal(t, "alice", got.Subject)
				} else {
					require.Nil(t, got)
				}
			}
			for range 4 {
				expect("home", "")
				expect("audience", jwterrors.TokenAudienceInvalid)
				expect("issuer", jwterrors.TokenIssuerInvalid)
				expect("any", "")
			}
			now = now.Add(time.Hour) // the order of the checks is the same
			for tenant := range tenants {
				expect(tenant, jwterrors.TokenExpired)
			}
		})
	}
}

// A project's API key selects the secret of its users' tokens, which name neither
// an issuer nor an audience.
func TestASecretForEachAPIKey(t *testing.T) { // IT-05, IT-06, IT-07, IT-33, IT-34
	secrets := map[string][]byte{"key-one": random(32), "key-two": random(32)}
	projects := map[string]middleware.Issuer{}
	for key, secret := range secrets {
		projects[key] = middleware.Issuer{Keys: middleware.HS256(secret), InsecureAnyIssuer: true, InsecureAnyAudience: true}
	}
	auth := resolving(t, func(_ context.Context, r *http.Request, _ string) (middleware.Issuer, error) {
		return projects[r.Header.Get("Api-Key")], nil
	}, func(c *middleware.Config) {
		c.UserKey = &middleware.UserKeyRule{Matches: func(_ context.Context, r *http.Request, key middleware.UserKey) (bool, error) {
			return r.Header.Get("X-User") == key.Email, nil
		}}
	})
	server := httptest.NewServer(auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "alice")
	})))
	defer server.Close()
	now := time.Now().Unix()
	of := func(key string, c object) string {
		return sign(jwt.SigningMethodHS256, secrets[key], object{"alg": "HS256", "typ": "JWT"}, c)
	}
	user := object{"email": "user@example.com", "iat": now, "exp": now + 900}
	for range 3 { // until it is remembered
		for _, c := range []struct {
			name, key, user, token string
			status                 int
			reason                 jwterrors.Reason
		}{
			{"of the project", "key-one", "user@example.com", of("key-one", user), 200, ""},
			{"of the other project", "key-two", "user@example.com", of("key-two", user), 200, ""},
			{"with the other API key", "key-two", "user@example.com", of("key-one", user), 401, jwterrors.TokenSignatureInvalid},
			{"with an unknown API key", "key-three", "user@example.com", of("key-one", user), 401, jwterrors.TokenKeyUnknown},
			{"without API key", "", "user@example.com", of("key-one", user), 401, jwterrors.TokenKeyUnknown},
			{"about another user", "key-one", "other@example.com", of("key-one", user), 401, jwterrors.TokenUserKeyInvalid},
			{"without user", "key-one", "", of("key-one", user.with("email", nil)), 401, jwterrors.TokenUserKeyInvalid},
			{"expired", "key-one", "user@example.com", of("key-one", user.with("exp", now-60).with("iat", now-120)), 401, jwterrors.TokenExpired},
		} {
			t.Run(c.name, func(t *testing.T) {
				r, err := http.NewRequest(http.MethodGet, server.URL, nil)
				require.NoError(t, err)
				r.Header.Set("Authorization", "Bearer "+c.token)
				r.Header.Set("Api-Key", c.key)
				r.Header.Set("X-User", c.user)
				resp, err := http.DefaultClient.Do(r)
				require.NoError(t, err)
				defer resp.Body.Close()
				expect(t, resp, c.status, c.reason)
			})
		}
	}
}

// Whatever Resolve returns that is not an issuer refuses the token, also one that
// is remembered.
func TestWhatResolveRefuses(t *testing.T) {
	down := errors.New("the database is down")
	own := middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: middleware.HS256(secret)}
	with := func(change func(*middleware.Issuer)) middleware.Issuer {
		i := own
		change(&i)
		return i
	}
	for _, c := range []struct {
		name   string
		issuer middleware.Issuer
		err    error
		reason jwterrors.Reason
		cause  string
	}{
		{"an error", own, down, jwterrors.KeysUnavailable, "the database is down"},
		{"an error with a reason", own, &jwterrors.Error{Reason: jwterrors.RateLimited, Err: down}, jwterrors.RateLimited, "the database is down"},
		{"a reason", own, jwterrors.TokenIssuerInvalid, jwterrors.TokenIssuerInvalid, ""},
		{"a reason within an error", own, fmt.Errorf("tenant: %w", jwterrors.RequestInvalid), jwterrors.RequestInvalid, "tenant"},
		{"an error with an empty reason", own, &jwterrors.Error{Err: down}, jwterrors.KeysUnavailable, "the database is down"},
		{"an end of the request", own, context.Canceled, jwterrors.KeysUnavailable, "context canceled"},
		{"nobody", middleware.Issuer{}, nil, jwterrors.TokenKeyUnknown, "no issuer"},
		{"an issuer without keys", with(func(i *middleware.Issuer) { i.Keys = nil }), nil, jwterrors.TokenKeyUnknown, "no issuer"},
		{"an issuer without name", with(func(i *middleware.Issuer) { i.Issuer = "" }), nil, jwterrors.KeysUnavailable, "its name, Issuer, is empty"},
		{"an issuer without audience", with(func(i *middleware.Issuer) { i.Audience = nil }), nil, jwterrors.KeysUnavailable, "its Audience is empty"},
		{"an issuer with an empty audience", with(func(i *middleware.Issuer) { i.Audience = []string{audience, ""} }), nil, jwterrors.KeysUnavailable, "empty string"},
		{"a short secret", with(func(i *middleware.Issuer) { i.Keys = middleware.HS256(secret[:31]) }), nil, jwterrors.KeysUnavailable, "31 bytes"},
		{"keys of another issuer", with(func(i *middleware.Issuer) {
			i.Keys = middleware.Discover("https://b.example", middleware.JWKSOptions{})
		}), nil, jwterrors.KeysUnavailable, "discovered of another issuer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := own, error(nil)
			auth := resolving(t, func(context.Context, *http.Request, string) (middleware.Issuer, error) { return found, err })
			first, seen := good(), good()
			for range 3 {
				require.NoError(t, verify(auth, seen))
			}
			found, err = c.issuer, c.err
			for _, token := range []string{first, seen, seen} {
				got := verify(auth, token)
				var e *jwterrors.Error
				require.ErrorAs(t, got, &e)
				assert.Equal(t, c.reason, e.Reason)
				assert.ErrorContains(t, got, c.cause)
				assert.NotContains(t, got.Error(), token)
			}
			found, err = own, nil
			require.NoError(t, verify(auth, seen), "nothing sticks")
		})
	}
}

// Resolve is asked once for each token, with what is known of it, and not for what
// is no token.
func TestWhatResolveIsAsked(t *testing.T) {
	type asked struct {
		request *http.Request
		issuer  string
	}
	var all []asked
	own := middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: middleware.HS256(secret)}
	other := middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: middleware.HS256(random(32))}
	found := own
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "request")
	auth := resolving(t, func(ctx context.Context, r *http.Request, issuer string) (middleware.Issuer, error) {
		all = append(all, asked{r, issuer})
		assert.Equal(t, "request", ctx.Value(key{}))
		return found, nil
	}, func(c *middleware.Config) { c.Skip = func(r *http.Request) bool { return r.URL.Path == "/public" } })
	take := func() []asked {
		defer func() { all = nil }()
		return all
	}
	r := request("Bearer " + good()).WithContext(ctx)
	for range 4 { // remembered or not
		_, err := auth.Check(r)
		require.NoError(t, err)
		assert.Equal(t, []asked{{r, issuer}}, take())
	}
	found = other // what was remembered does not count, and it is asked once nevertheless
	_, err := auth.Check(r)
	require.ErrorIs(t, err, jwterrors.TokenSignatureInvalid)
	assert.Equal(t, []asked{{r, issuer}}, take())
	found = own

	for name, c := range map[string]struct{ token, issuer string }{
		"no iss":              {hs(hsHeader, claims().with("iss", nil)), ""},
		"another iss":         {hs(hsHeader, claims().with("iss", "https://b.example")), "https://b.example"},
		"iss a number":        {hs(hsHeader, claims().with("iss", 1)), ""},
		"no JSON":             {hs(hsHeader, "x"), ""},
		"a forgery":           {sign(jwt.SigningMethodHS256, random(32), hsHeader, claims()), issuer},
		"a header of nothing": {hs("x", claims()), issuer},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.Verify(ctx, c.token)
			require.Error(t, err)
			assert.Equal(t, []asked{{nil, c.issuer}}, take())
		})
	}
	for name, r := range map[string]*http.Request{
		"no token":       request(),
		"no form":        request("Bearer x"),
		"two tokens":     request("Bearer "+good(), "Bearer "+good()),
		"a public route": httptest.NewRequest(http.MethodGet, "/public", nil),
	} {
		t.Run(name, func(t *testing.T) {
			auth.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
			assert.Empty(t, take())
		})
	}
}

// A tenant that changes its keys is another tenant to what was remembered.
func TestATenantThatChangesItsKeys(t *testing.T) {
	next := random(32)
	found := middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: middleware.HS256(secret)}
	auth := resolving(t, func(context.Context, *http.Request, string) (middleware.Issuer, error) { return found, nil })
	token := good()
	for range 3 {
		require.NoError(t, verify(auth, token))
	}
	found.Keys = middleware.HS256(next)
	for range 3 {
		require.ErrorIs(t, verify(auth, token), jwterrors.TokenSignatureInvalid)
		require.NoError(t, verify(auth, sign(jwt.SigningMethodHS256, next, hsHeader, claims())))
	}
	found.Keys = middleware.HS256(secret, next) // a new source each time works, too
	require.NoError(t, verify(auth, token))
}

// The issuer can be told from the token, whose keys then decide.
func TestResolvingByIssuer(t *testing.T) {
	ofB := random(32)
	known := map[string]middleware.Issuer{
		issuer:              {Issuer: issuer, Audience: []string{audience}, Keys: middleware.HS256(secret)},
		"https://b.example": {Issuer: "https://b.example", Audience: []string{audience}, Keys: middleware.HS256(ofB)},
	}
	auth := resolving(t, func(_ context.Context, _ *http.Request, name string) (middleware.Issuer, error) {
		return known[name], nil
	})
	atB := claims().with("iss", "https://b.example")
	for range 3 {
		require.NoError(t, verify(auth, good()))
		require.NoError(t, verify(auth, sign(jwt.SigningMethodHS256, ofB, hsHeader, atB)))
		require.ErrorIs(t, verify(auth, hs(hsHeader, atB)), jwterrors.TokenSignatureInvalid, "who signs for one cannot speak for the other")
		require.ErrorIs(t, verify(auth, hs(hsHeader, claims().with("iss", "https://c.example"))), jwterrors.TokenKeyUnknown)
	}
}

// Many tenants at once, all with the same kid, and one that changes its keys.
func TestTenantsUnderTraffic(t *testing.T) {
	const n = 4
	var tokens [n]string
	tenants := map[string]middleware.Issuer{}
	for i := range n {
		k := newNamed("k")
		tokens[i] = k.token()
		tenants[fmt.Sprint(i)] = middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: middleware.LocalJWKS(func() []byte { return jwkSet(k.jwk()) })}
	}
	moved := tenants["0"]
	moved.Keys = middleware.PublicKeys(middleware.PublicKey{ID: "k", Key: &newNamed("k").PublicKey})
	var isMoved atomic.Bool
	auth := resolving(t, func(_ context.Context, r *http.Request, _ string) (middleware.Issuer, error) {
		name := r.Header.Get("X-Tenant")
		if name == "0" && isMoved.Load() {
			return moved, nil
		}
		return tenants[name], nil
	})
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			for i := range 150 {
				if w == 0 && i == 75 {
					isMoved.Store(true)
				}
				tenant, owner := (w+i)%n, i%n
				gone := isMoved.Load()
				_, err := auth.Check(at(fmt.Sprint(tenant), tokens[owner]))
				switch {
				case tenant != owner || tenant == 0 && gone:
					assert.ErrorIs(t, err, jwterrors.TokenSignatureInvalid)
				case tenant != 0:
					assert.NoError(t, err)
				}
			}
		})
	}
	wg.Wait()
}

// What Resolve returns cannot be said a second time.
func TestMistakesBesideResolve(t *testing.T) {
	resolve := byTenant(nil)
	_, err := middleware.New(middleware.Config{
		Resolve: resolve, Keys: middleware.HS256(secret), Issuer: issuer, Audience: []string{audience},
		Issuers: []middleware.Issuer{{}}, InsecureAnyIssuer: true, InsecureAnyAudience: true,
	})
	for _, field := range []string{"Keys", "Issuer", "Audience", "Issuers", "InsecureAnyIssuer", "InsecureAnyAudience"} {
		assert.ErrorContains(t, err, "Resolve is set and so is "+field+",")
	}
	_, err = middleware.New(middleware.Config{Resolve: resolve, Leeway: -2})
	assert.ErrorContains(t, err, "Leeway", "the rest is judged as ever")
}

// Nothing is known of the issuers before a request comes.
func TestReadyWithResolve(t *testing.T) {
	auth := resolving(t, byTenant(nil))
	require.NoError(t, auth.Ready(t.Context()))
	assert.Empty(t, auth.KeyStates())
}

// A further issuer can do without an audience, for its own tokens alone.
func TestAFurtherIssuerForAnyAudience(t *testing.T) {
	other := random(32)
	auth := newAuth(t, func(c *middleware.Config) {
		c.Issuers = []middleware.Issuer{{Issuer: "https://b.example", Keys: middleware.HS256(other), InsecureAnyAudience: true}}
	})
	atB := claims().with("iss", "https://b.example").with("aud", nil)
	for range 3 {
		require.NoError(t, verify(auth, sign(jwt.SigningMethodHS256, other, hsHeader, atB)))
		require.ErrorIs(t, verify(auth, hs(hsHeader, claims().with("aud", nil))), jwterrors.TokenAudienceInvalid)
	}
}
