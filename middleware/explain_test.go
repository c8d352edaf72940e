package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// checkNames are those of all checks, in the order of Verify.
var checkNames = []string{
	"length", "format", "resolve", "header", "algorithm", "type", "key name", "extensions", "signed", "key", "signature", "payload",
	"kind", "required", "dates", "lifetime", "expiry", "start", "issue", "issuer", "audience", "possession", "user key", "revocation", "own check",
}

// agree explains a token and checks that Verify says the same, and that the
// explanation is in order.
func agree(t testing.TB, auth *middleware.Middleware, token string) *middleware.Explanation {
	t.Helper()
	e := auth.Explain(t.Context(), token)
	_, err := auth.Verify(t.Context(), token)
	assert.Equal(t, jwterrors.ReasonOf(err), e.Reason, "%v\n%s", err, e)
	var names []string
	var first jwterrors.Reason
	for _, c := range e.Checks {
		names = append(names, c.Name)
		if c.Verdict == "failed" && first == "" {
			first = c.Reason
		}
		assert.Equal(t, c.Verdict == "failed", c.Reason != "", "%+v", c)
		assert.Equal(t, c.Verdict == "not checked", c.Note != "", "%+v", c)
	}
	assert.Equal(t, e.Reason, first, "the first check that failed decides\n%s", e)
	if len(names) > 0 && names[0] == "middleware" {
		names = names[1:] // of one that New did not make
	}
	assert.Equal(t, checkNames, names)
	assert.True(t, e.Verified || e.Reason != "")
	for _, text := range []string{e.String(), string(must(json.Marshal(e)))} {
		for _, c := range text {
			if c != '\n' && (c < ' ' || c > '~') {
				assert.Fail(t, "there is a character that is not printable", "%q in %q", c, text)
			}
		}
		assert.Less(t, len(text), 16<<10)
	}
	return e
}

// explained lets every request of a test explain its token, too.
func explained(t testing.TB, auth *middleware.Middleware, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, value := range r.Header["Authorization"] {
			if token, ok := strings.CutPrefix(value, "Bearer "); ok {
				agree(t, auth, token)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// check returns the check called name.
func check(t testing.TB, e *middleware.Explanation, name string) middleware.ExplainedCheck {
	t.Helper()
	i := slices.IndexFunc(e.Checks, func(c middleware.ExplainedCheck) bool { return c.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return e.Checks[i]
}

func failedChecks(e *middleware.Explanation) []string {
	var names []string
	for _, c := range e.Checks {
		if c.Verdict == "failed" {
			names = append(names, c.Name)
		}
	}
	return names
}

// forged makes a token that somebody else signed.
func forged(header, payload any) string {
	return sign(jwt.SigningMethodHS256, []byte("somebody else's key of 32 bytes."), header, payload)
}

// An explainCase is a token and how many of its checks fail.
type explainCase struct {
	name   string
	change func(*middleware.Config) // nil for none
	token  string
	reason jwterrors.Reason
	failed []string
}

func explainCases() []explainCase {
	now := time.Now().Unix()
	old := claims().with("iat", now-7200).with("exp", now-3600)
	asked := func(err error) func(*middleware.Config) {
		return func(c *middleware.Config) {
			c.Validate = func(context.Context, *middleware.Claims) error { return err }
		}
	}
	revoked := func(yes bool, err error) func(*middleware.Config) {
		return func(c *middleware.Config) {
			c.Revocations = revocations(func(string, string, string, time.Time) (bool, error) { return yes, err })
		}
	}
	user := func(matches, exists error) func(*middleware.Config) {
		answer := func(err error) (bool, error) {
			if errors.Is(err, errNo) {
				return false, nil
			}
			return true, err
		}
		return func(c *middleware.Config) {
			c.UserKey = &middleware.UserKeyRule{
				Matches: func(context.Context, *http.Request, middleware.UserKey) (bool, error) { return answer(matches) },
				Exists:  func(context.Context, middleware.UserKey) (bool, error) { return answer(exists) },
			}
		}
	}
	keys := func(c *middleware.Config) {
		c.Keys = middleware.PublicKeys(middleware.PublicKey{ID: "e1", Key: &ecKey.PublicKey})
	}
	none := func(c *middleware.Config) {
		c.Keys = middleware.LocalJWKS(func() []byte { return nil })
	}
	required := func(names ...string) func(*middleware.Config) {
		return func(c *middleware.Config) { c.RequiredClaims = names }
	}
	resolve := func(is middleware.Issuer, err error) func(*middleware.Config) {
		return func(c *middleware.Config) {
			c.Keys, c.Issuer, c.Audience = nil, "", nil
			c.Resolve = func(_ context.Context, _ *http.Request, name string) (middleware.Issuer, error) {
				if name == "https://two.example" {
					is.Issuer = name
				}
				return is, err
			}
		}
	}
	tenant := middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: middleware.HS256(secret)}
	es := func(header object) string { return sign(jwt.SigningMethodES256, ecKey, header, claims()) }
	mine := claims().with("userId", "user123")
	down := errors.New("the store is down")

	return []explainCase{
		{"a good token", nil, good(), "", nil},
		{"a good token of all checks", func(c *middleware.Config) { user(nil, nil)(c); revoked(false, nil)(c); asked(nil)(c) }, hs(hsHeader, mine), "", nil},
		{"an empty token", nil, "", jwterrors.TokenFormatInvalid, []string{"format"}},
		{"no token at all", nil, "hello", jwterrors.TokenFormatInvalid, []string{"format"}},
		{"another alphabet", nil, good() + "=", jwterrors.TokenFormatInvalid, []string{"format"}},
		{"too long", nil, hs(hsHeader, claims().with("x", strings.Repeat("x", 8192))), jwterrors.TokenFormatInvalid, []string{"length"}},
		{"a header that is no JSON", nil, hs("x", claims()), jwterrors.TokenFormatInvalid, []string{"header"}},
		{"alg a number, forged and old", nil, forged(`{"alg":1}`, old), jwterrors.TokenFormatInvalid, []string{"header", "expiry"}},
		{"alg none", nil, encode(object{"alg": "none"}) + "." + encode(old) + ".AAAA", jwterrors.TokenSignatureInvalid, []string{"algorithm", "expiry"}},
		{"alg none of a DPoP proof with crit", nil, encode(object{"alg": "none", "typ": "dpop+jwt", "crit": []string{}}) + "." + encode(claims()) + ".AAAA", jwterrors.TokenSignatureInvalid, []string{"algorithm", "type", "extensions"}},
		{"alg none, and no signature", nil, encode(object{"alg": "none"}) + "." + encode(claims()) + ".", jwterrors.TokenSignatureInvalid, []string{"algorithm", "signed"}},
		{"no signature, old", nil, encode(hsHeader) + "." + encode(old) + ".", jwterrors.TokenFormatInvalid, []string{"signed", "expiry"}},
		{"another type, and no signature", nil, encode(hsHeader.with("typ", "x")) + "." + encode(claims()) + ".", jwterrors.TokenTypeInvalid, []string{"type", "signed"}},
		{"no key, and no signature", none, encode(object{"alg": "ES256", "kid": "e1"}) + "." + encode(claims()) + ".", jwterrors.TokenFormatInvalid, []string{"signed"}},
		{"another type", nil, hs(hsHeader.with("typ", "dpop+jwt"), claims()), jwterrors.TokenTypeInvalid, []string{"type"}},
		{"an empty type, forged", nil, forged(hsHeader.with("typ", ""), claims()), jwterrors.TokenTypeInvalid, []string{"type", "signature"}},
		{"an empty kid", nil, hs(hsHeader.with("kid", ""), claims()), jwterrors.TokenKeyUnknown, []string{"key name"}},
		{"a kid with control characters", nil, hs(hsHeader.with("kid", "a\x1b[2J\r\n"), claims()), jwterrors.TokenKeyUnknown, []string{"key name"}},
		{"crit", nil, hs(hsHeader.with("crit", []string{"exp"}), claims()), jwterrors.TokenFormatInvalid, []string{"extensions"}},
		{"an unknown key", keys, es(object{"alg": "ES256", "kid": "e2"}), jwterrors.TokenKeyUnknown, []string{"key"}},
		{"keys that cannot be had", none, es(object{"alg": "ES256", "kid": "e1"}), jwterrors.KeysUnavailable, []string{"key"}},
		{"a key for another algorithm", func(c *middleware.Config) {
			c.Keys = middleware.PublicKeys(middleware.PublicKey{ID: "e1", Key: &ecKey.PublicKey}, middleware.PublicKey{ID: "d1", Key: edKey.Public()})
		}, es(object{"alg": "ES256", "kid": "d1"}), jwterrors.TokenSignatureInvalid, []string{"key"}},
		{"a public key", keys, es(object{"alg": "ES256", "kid": "e1"}), "", nil},
		{"forged", nil, forged(hsHeader, claims()), jwterrors.TokenSignatureInvalid, []string{"signature"}},
		{"forged, old, of and for others", nil, forged(hsHeader, old.with("iss", "https://evil.example").with("aud", "invoices")), jwterrors.TokenSignatureInvalid, []string{"signature", "expiry", "issuer", "audience"}},
		{"forged, with a payload that is no JSON", nil, forged(hsHeader, "x"), jwterrors.TokenSignatureInvalid, []string{"signature", "payload"}},
		{"a payload that is null", nil, hs(hsHeader, "null"), jwterrors.TokenPayloadInvalid, []string{"payload"}},
		{"exp a string", nil, hs(hsHeader, claims().with("exp", "\x1b[2J")), jwterrors.TokenPayloadInvalid, []string{"payload"}},
		{"a refresh token for others", nil, hs(hsHeader, claims().with("typ", "Refresh").with("aud", "auth")), jwterrors.TokenTypeInvalid, []string{"kind", "audience"}},
		{"without exp", nil, hs(hsHeader, claims().with("exp", nil).with("nbf", now+3600)), jwterrors.TokenPayloadInvalid, []string{"dates", "start"}},
		{"without iat", nil, hs(hsHeader, old.with("iat", nil)), jwterrors.TokenPayloadInvalid, []string{"dates", "expiry"}},
		{"without both", nil, hs(hsHeader, claims().with("iat", nil).with("exp", nil)), jwterrors.TokenPayloadInvalid, []string{"dates"}},
		{"for longer than a year", nil, hs(hsHeader, claims().with("exp", now+366*86400)), jwterrors.TokenExpirationInvalid, []string{"lifetime"}},
		{"for longer than a year, and over", nil, hs(hsHeader, old.with("iat", 1)), jwterrors.TokenExpirationInvalid, []string{"lifetime", "expiry"}},
		{"expired", nil, hs(hsHeader, old), jwterrors.TokenExpired, []string{"expiry"}},
		{"expired, for others", nil, hs(hsHeader, old.with("aud", []string{})), jwterrors.TokenExpired, []string{"expiry", "audience"}},
		{"expired before it began", nil, hs(hsHeader, old.with("nbf", now+3600)), jwterrors.TokenExpired, []string{"expiry", "start"}},
		{"not yet valid", nil, hs(hsHeader, claims().with("nbf", now+3600)), jwterrors.TokenNotYetValid, []string{"start"}},
		{"not yet issued", nil, hs(hsHeader, claims().with("iat", now+3600).with("exp", now+7200)), jwterrors.TokenNotYetValid, []string{"issue"}},
		{"of another issuer", nil, hs(hsHeader, claims().with("iss", issuer+"/")), jwterrors.TokenIssuerInvalid, []string{"issuer"}},
		{"for another audience", nil, hs(hsHeader, claims().with("aud", "invoices")), jwterrors.TokenAudienceInvalid, []string{"audience"}},
		{"of and for anybody", func(c *middleware.Config) {
			c.Issuer, c.Audience, c.InsecureAnyIssuer, c.InsecureAnyAudience = "", nil, true, true
		}, hs(hsHeader, claims().with("iss", "x").with("aud", nil)), "", nil},
		{"of the second issuer", func(c *middleware.Config) {
			c.Issuers = []middleware.Issuer{{Issuer: "https://two.example", Audience: []string{audience}, Keys: middleware.PublicKeys(middleware.PublicKey{Key: &ecKey.PublicKey})}}
		}, sign(jwt.SigningMethodES256, ecKey, object{"alg": "ES256"}, claims().with("iss", "https://two.example")), "", nil},
		{"of the second issuer with the algorithm of the first", func(c *middleware.Config) {
			c.Issuers = []middleware.Issuer{{Issuer: "https://two.example", Audience: []string{audience}, Keys: middleware.PublicKeys(middleware.PublicKey{Key: &ecKey.PublicKey})}}
		}, hs(hsHeader, claims().with("iss", "https://two.example")), jwterrors.TokenSignatureInvalid, []string{"algorithm"}},
		{"with all that is required", required("sub", "sid"), good(), "", nil},
		{"without something required, old", required("sub", "tenant"), hs(hsHeader, old.with("tenant", nil)), jwterrors.TokenPayloadInvalid, []string{"required", "expiry"}},
		{"of a tenant", resolve(tenant, nil), good(), "", nil},
		{"of another tenant", resolve(tenant, nil), hs(hsHeader, claims().with("iss", "https://two.example").with("aud", "x")), jwterrors.TokenAudienceInvalid, []string{"audience"}},
		{"of nobody's tenant", resolve(middleware.Issuer{}, nil), hs(hsHeader.with("typ", "dpop+jwt"), old.with("aud", "x")), jwterrors.TokenKeyUnknown, []string{"resolve", "type", "expiry"}},
		{"of a tenant whom nobody can look up", resolve(middleware.Issuer{}, down), good(), jwterrors.KeysUnavailable, []string{"resolve"}},
		{"of a tenant who is refused, of no algorithm", resolve(tenant, jwterrors.RateLimited), encode(object{"alg": "none"}) + "." + encode(claims()) + ".AAAA", jwterrors.RateLimited, []string{"resolve", "algorithm"}},
		{"of a tenant who is not complete", resolve(middleware.Issuer{Keys: middleware.HS256(secret)}, nil), good(), jwterrors.KeysUnavailable, []string{"resolve"}},
		{"of no user", user(nil, nil), good(), jwterrors.TokenUserKeyInvalid, []string{"user key"}},
		{"of two users", user(nil, nil), hs(hsHeader, mine.with("email", "a@example.com")), jwterrors.TokenPayloadInvalid, []string{"user key"}},
		{"of no user, forged", user(nil, nil), forged(hsHeader, claims()), jwterrors.TokenSignatureInvalid, []string{"signature", "user key"}},
		{"of a user who is gone", user(nil, errNo), hs(hsHeader, mine), jwterrors.TokenUserKeyInvalid, []string{"user key"}},
		{"of another user", user(errNo, nil), hs(hsHeader, mine), jwterrors.TokenUserKeyInvalid, []string{"user key"}},
		{"of a user whom nobody can look up", user(nil, down), hs(hsHeader, mine), jwterrors.StoreUnavailable, []string{"user key"}},
		{"revoked", revoked(true, nil), good(), jwterrors.TokenInvalidated, []string{"revocation"}},
		{"expired and revoked", revoked(true, nil), hs(hsHeader, old), jwterrors.TokenExpired, []string{"expiry", "revocation"}},
		{"perhaps revoked", revoked(false, down), good(), jwterrors.StoreUnavailable, []string{"revocation"}},
		{"refused by Validate", asked(errNo), good(), jwterrors.TokenGenericError, []string{"own check"}},
		{"refused by Validate with a reason", asked(jwterrors.ScopeInsufficient), good(), jwterrors.ScopeInsufficient, []string{"own check"}},
		{"refused by Validate with an error without reason", asked(&jwterrors.Error{Err: jwterrors.TokenExpired}), good(), jwterrors.TokenGenericError, []string{"own check"}},
		{"revoked and refused by Validate", func(c *middleware.Config) { revoked(true, nil)(c); asked(errNo)(c) }, good(), jwterrors.TokenInvalidated, []string{"revocation"}},
	}
}

var errNo = errors.New("no")

func TestExplainSaysWhatVerifySays(t *testing.T) {
	seen := map[jwterrors.Reason]bool{}
	for _, c := range explainCases() {
		t.Run(c.name, func(t *testing.T) {
			change := c.change
			if change == nil {
				change = func(*middleware.Config) {}
			}
			auth := newAuth(t, change)
			for range 3 { // Verify remembers a token at its second sight
				e := agree(t, auth, c.token)
				assert.Equal(t, c.reason, e.Reason)
				assert.Equal(t, c.failed, failedChecks(e), "%s", e)
			}
		})
		seen[c.reason] = true
	}
	for _, reason := range []jwterrors.Reason{
		"", jwterrors.TokenFormatInvalid, jwterrors.TokenPayloadInvalid, jwterrors.TokenSignatureInvalid, jwterrors.TokenExpired,
		jwterrors.TokenExpirationInvalid, jwterrors.TokenUserKeyInvalid, jwterrors.TokenInvalidated, jwterrors.TokenGenericError,
		jwterrors.TokenNotYetValid, jwterrors.TokenIssuerInvalid, jwterrors.TokenAudienceInvalid, jwterrors.TokenTypeInvalid,
		jwterrors.TokenKeyUnknown, jwterrors.KeysUnavailable, jwterrors.StoreUnavailable,
	} {
		assert.True(t, seen[reason], "there is a token for %q", reason)
	}
}

func TestExplainWithoutNew(t *testing.T) {
	for _, auth := range []*middleware.Middleware{nil, {}} {
		e := auth.Explain(t.Context(), good())
		assert.Equal(t, jwterrors.ReasonOf(verify(auth, good())), e.Reason)
		assert.Equal(t, jwterrors.TokenGenericError, e.Reason)
		assert.Equal(t, []string{"middleware"}, failedChecks(e))
		assert.Contains(t, e.String(), "AUTH_TOKEN_GENERIC_ERROR")
	}
	assert.Empty(t, (*middleware.Explanation)(nil).String())
}

// A token that is not verified is marked as such wherever its word is shown.
func TestExplainMarksWhatIsNotVerified(t *testing.T) {
	auth := newAuth(t)
	for _, c := range agree(t, auth, good()).Checks {
		assert.False(t, c.Unverified, "%+v", c)
	}
	e := agree(t, auth, forged(hsHeader, claims().with("aud", "invoices")))
	for _, name := range []string{"algorithm", "type", "expiry", "issue", "issuer", "audience"} {
		assert.True(t, check(t, e, name).Unverified, name)
	}
	assert.False(t, e.Verified)
	assert.Contains(t, e.String(), "anybody can have written")
	assert.Contains(t, e.String(), `"invoices" (unverified)`)
	assert.Contains(t, e.String(), "THE TOKEN SAYS (unverified)")
}

// What another way of reading would need is not shown as wrong, nor as right.
func TestExplainDoesNotGuess(t *testing.T) {
	for _, header := range []object{hsHeader.with("b64", false), hsHeader.with("alg", "none"), hsHeader.with("kid", "\x00")} {
		e := agree(t, newAuth(t), hs(header, claims()))
		assert.Equal(t, "not checked", check(t, e, "key").Verdict, header)
		assert.Equal(t, "not checked", check(t, e, "signature").Verdict, header)
		assert.False(t, e.Verified)
	}
	e := agree(t, newAuth(t), hs(hsHeader.with("typ", "dpop+jwt"), claims()))
	assert.Equal(t, "passed", check(t, e, "signature").Verdict, "the type does not matter for it")
}

// A token of an issuer that is not known is not measured by another's measure.
func TestExplainWithoutAnIssuer(t *testing.T) {
	e := agree(t, newAuth(t, func(c *middleware.Config) {
		c.Keys, c.Issuer, c.Audience = nil, "", nil
		c.Resolve = func(context.Context, *http.Request, string) (middleware.Issuer, error) {
			return middleware.Issuer{}, nil
		}
	}), good())
	for _, name := range []string{"key", "signature", "issuer", "audience"} {
		c := check(t, e, name)
		assert.Equal(t, []string{"not checked", "the issuer is not known"}, []string{c.Verdict, c.Note}, name)
	}
	assert.Equal(t, "passed", check(t, e, "expiry").Verdict)
}

// Hooks are asked about no claims that anybody can have written, and Validate
// about none that another check refused.
func TestExplainAsksAboutVerifiedTokensOnly(t *testing.T) {
	var asked []string
	ask := func(name string) bool { asked = append(asked, name); return true }
	auth := newAuth(t, func(c *middleware.Config) {
		c.UserKey = &middleware.UserKeyRule{
			Matches: func(_ context.Context, r *http.Request, _ middleware.UserKey) (bool, error) {
				assert.Nil(t, r)
				return ask("matches"), nil
			},
			Exists: func(context.Context, middleware.UserKey) (bool, error) { return ask("exists"), nil },
		}
		c.Revocations = revocations(func(string, string, string, time.Time) (bool, error) { return !ask("revoked"), nil })
		c.Validate = func(context.Context, *middleware.Claims) error { ask("validate"); return nil }
	})
	mine := claims().with("email", "a@example.com")
	for _, c := range []struct {
		name, token string
		asked       []string
	}{
		{"good", hs(hsHeader, mine), []string{"matches", "exists", "revoked", "validate"}},
		{"expired", hs(hsHeader, mine.with("iat", 1640000000).with("exp", 1640086400)), []string{"matches", "exists", "revoked"}},
		{"forged", forged(hsHeader, mine), nil},
		{"of no algorithm", encode(object{"alg": "none"}) + "." + encode(mine) + ".AAAA", nil},
		{"of no sense", "x", nil},
	} {
		asked = nil
		auth.Explain(t.Context(), c.token)
		assert.Equal(t, c.asked, asked, c.name)
	}
}

// Each limit is where Verify has it.
func TestExplainAtTheLimits(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	clock := now
	for _, leeway := range []time.Duration{middleware.NoLeeway, 30 * time.Second} {
		auth := newAuth(t, func(c *middleware.Config) {
			c.Leeway, c.MaxLifetime, c.Now = leeway, time.Hour, func() time.Time { return clock }
		})
		seen := map[jwterrors.Reason]bool{}
		for _, start := range []int64{-3600, -60, 0, 29, 30, 31} {
			for _, lives := range []int64{1, 60, 3599, 3600, 3601} {
				for _, nbf := range []int64{-1, 30, 31} {
					token := hs(hsHeader, claims().with("iat", now.Unix()+start).with("exp", now.Unix()+start+lives).with("nbf", now.Unix()+nbf))
					for _, step := range []time.Duration{-1, 0, 1, 30*time.Second - 1, 30 * time.Second} {
						clock = now.Add(step)
						seen[agree(t, auth, token).Reason] = true
					}
				}
			}
		}
		assert.Len(t, seen, 4)
	}
}

func TestExplainSaysHowLong(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	auth := newAuth(t, func(c *middleware.Config) { c.Now = func() time.Time { return now } })
	at := func(iat, exp int64) *middleware.Explanation {
		return agree(t, auth, hs(hsHeader, claims().with("iat", now.Unix()+iat).with("exp", now.Unix()+exp)))
	}
	e := at(-1200, -300)
	assert.Equal(t, []string{"30s", "15m0s", "5m0s", ""}, []string{e.Leeway, e.Lifetime, e.ExpiredAgo, e.ExpiresIn})
	assert.Equal(t, "2027-01-15T07:55:00Z, 5m0s ago", check(t, e, "expiry").Found)
	assert.Equal(t, now.UTC(), e.Time)
	e = at(-900, 0)
	assert.Equal(t, []string{"", "0s", ""}, []string{string(e.Reason), e.ExpiredAgo, e.ExpiresIn}, "it is tolerated")
	e = at(0, 900)
	assert.Equal(t, []string{"15m0s", "", "15m0s"}, []string{e.Lifetime, e.ExpiredAgo, e.ExpiresIn})
	assert.Equal(t, "2027-01-15T08:15:00Z, in 15m0s", check(t, e, "expiry").Found)
}

func TestExplainSaysWhichTypes(t *testing.T) {
	for _, c := range []struct {
		types []string
		want  string
	}{
		{nil, `"at+jwt", "jwt" or none`},
		{[]string{"at+jwt"}, `"at+jwt"`},
		{[]string{""}, "none"},
	} {
		e := agree(t, newAuth(t, func(config *middleware.Config) { config.TokenTypes = c.types }), good())
		assert.Equal(t, c.want, check(t, e, "type").Expected)
	}
}

func TestExplainSaysWhichKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNamed("a"), newNamed("b")
		point := &endpoint{}
		point.publish(a.jwk(), b.jwk())
		auth := withKeys(t, point.keys())
		require.NoError(t, verify(auth, a.token()))
		time.Sleep(5 * time.Minute)
		e := agree(t, auth, b.token())
		assert.Equal(t, []middleware.ExplainedKey{{ID: "b", Algorithm: "ES256"}}, e.Keys)
		assert.Equal(t, "5m0s", e.KeySetAge)
		assert.Equal(t, "ES256, ES384, ES512, Ed25519, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512", check(t, e, "algorithm").Expected)
		assert.Equal(t, `"b" for ES256; fetched 5m0s ago, with 2 keys in all`, check(t, e, "key").Found)

		e = auth.Explain(t.Context(), newNamed("c").token())
		assert.Equal(t, jwterrors.TokenKeyUnknown, e.Reason)
		assert.Equal(t, `the issuer has no key "c"; there are "a" for ES256, "b" for ES256`, check(t, e, "key").Found)
		assert.Empty(t, e.Keys)
	})
}

// Of many keys, the first are named.
func TestExplainWithManyKeys(t *testing.T) {
	var keys []middleware.PublicKey
	for _, id := range strings.Fields("a b c d e f g h i j") {
		keys = append(keys, middleware.PublicKey{ID: id, Key: &ecKey.PublicKey})
	}
	auth := newAuth(t, func(c *middleware.Config) { c.Keys = middleware.PublicKeys(keys...) })
	e := agree(t, auth, newNamed("x").token())
	found := check(t, e, "key").Found
	assert.True(t, strings.HasSuffix(found, `"h" for ES256, 2 more`), found)
}

// All else is shown when the keys cannot be had, and nothing of the URL.
func TestExplainWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := withKeys(t, middleware.JWKS("https://id.example.com/canary?canary=canary", middleware.JWKSOptions{Client: &http.Client{Transport: broken{}}}))
		old := newNamed("a").sign(claims().with("iat", 1).with("exp", 2).with("aud", "invoices"))
		e := agree(t, auth, old)
		assert.Equal(t, jwterrors.KeysUnavailable, e.Reason)
		assert.Equal(t, []string{"key", "expiry", "audience"}, failedChecks(e))
		assert.Contains(t, check(t, e, "key").Found, "the next try is in")
		assert.NotContains(t, check(t, e, "key").Found, "too old")
		assert.Empty(t, e.KeySetAge)
		assert.NotContains(t, e.String()+string(must(json.Marshal(e))), "canary")
	})
}

func TestExplainWithKeysThatAreTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, point := newNamed("a"), &endpoint{}
		point.publish(k.jwk())
		auth := withKeys(t, point.keys())
		require.NoError(t, verify(auth, k.token()))
		point.fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		time.Sleep(7 * time.Hour)
		e := agree(t, auth, k.token())
		assert.Equal(t, jwterrors.KeysUnavailable, e.Reason)
		assert.Contains(t, check(t, e, "key").Found, "those of before are too old")
		assert.Equal(t, "7h0m0s", e.KeySetAge)
	})
}

// An Observer counts decisions, and this is none.
func TestExplainIsNotObserved(t *testing.T) {
	var told int
	auth := newAuth(t, func(c *middleware.Config) {
		c.Observer = observing(func() { told++ })
	})
	auth.Explain(t.Context(), good())
	assert.Zero(t, told)
	require.NoError(t, verify(auth, good()))
	assert.Equal(t, 1, told)
}

type observing func()

func (f observing) Checked(context.Context, middleware.Outcome) { f() }

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the proxy's password is canary")
}

// What a table may not hold, whatever is wrong with a token.
func TestExplainShowsNoSecret(t *testing.T) {
	key := []byte("canary-secret-canary-secret-1234")
	canary := errors.New("canary-error")
	refusal := &jwterrors.Error{Reason: jwterrors.ScopeInsufficient, Message: "canary-message", Err: canary}
	rsaPublic := &rsaKey().PublicKey
	change := func(c *middleware.Config) {
		c.Keys = middleware.HS256(key)
		c.UserKey = &middleware.UserKeyRule{Exists: func(context.Context, middleware.UserKey) (bool, error) { return false, canary }}
		c.Revocations = revocations(func(string, string, string, time.Time) (bool, error) { return false, canary })
		c.Validate = func(context.Context, *middleware.Claims) error { return refusal }
	}
	mine := claims().with("email", "canary-mail@example.com").with("password", "canary-claim").with("client_id", "canary-client")
	tokens := map[string]string{
		"expired":    sign(jwt.SigningMethodHS256, key, hsHeader, mine.with("iat", 1).with("exp", 2)),
		"an x":       sign(jwt.SigningMethodHS256, key, hsHeader.with("x", "canary-header"), mine),
		"a jwk":      sign(jwt.SigningMethodHS256, key, hsHeader.with("jwk", jwk(rsaPublic, nil)).with("crit", "canary-crit"), mine),
		"no user":    sign(jwt.SigningMethodHS256, key, hsHeader, claims()),
		"a good one": sign(jwt.SigningMethodHS256, key, hsHeader, mine),
		"not base64": sign(jwt.SigningMethodHS256, key, hsHeader, mine) + "!",
		"four parts": sign(jwt.SigningMethodHS256, key, hsHeader, mine) + ".canary-part",
		"opaque":     "canary-opaque-token-of-another-make",
		"a refresh":  "rt1.canary-key.canary-sid.1.canary-mac",
		"no JSON":    sign(jwt.SigningMethodHS256, key, hsHeader, "canary-text"),
		"not a JSON": sign(jwt.SigningMethodHS256, key, `{"alg":"HS256","canary-name":1,"canary-name":2}`, `{"canary-name":1,"canary-name":2}`),
		"wrong type": sign(jwt.SigningMethodHS256, key, hsHeader, mine.with("email", 1)),
		"the public": sign(jwt.SigningMethodRS256, rsaKey(), object{"alg": "RS256"}, mine),
		"forged":     forged(hsHeader, mine),
	}
	for _, auth := range []*middleware.Middleware{
		newAuth(t, change),
		newAuth(t, func(c *middleware.Config) { c.Keys = middleware.HS256(key) }),
		newAuth(t, func(c *middleware.Config) {
			c.Keys, c.Issuer, c.Audience = nil, "", nil
			c.Resolve = func(context.Context, *http.Request, string) (middleware.Issuer, error) {
				return middleware.Issuer{}, refusal
			}
		}),
		newAuth(t, change, func(c *middleware.Config) { c.UserKey = nil }),
		newAuth(t, change, func(c *middleware.Config) { c.UserKey, c.Revocations = nil, nil }),
		newAuth(t, change, func(c *middleware.Config) { c.Keys = middleware.PublicKeys(middleware.PublicKey{Key: rsaPublic}) }),
	} {
		for name, token := range tokens {
			e := agree(t, auth, token)
			for _, text := range []string{e.String(), string(must(json.Marshal(e)))} {
				assert.NotContains(t, text, "canary", name)
				assert.NotContains(t, text, encode(key), name)
				assert.NotContains(t, text, encode(rsaPublic.N.Bytes())[:20], name)
				for part := range strings.SplitSeq(token, ".") {
					if len(part) > 16 {
						assert.NotContains(t, text, part[:16], name)
						assert.NotContains(t, text, part[len(part)-16:], name)
					}
				}
			}
		}
	}
}

// A token's text can neither move a cursor nor pass for another nor fill a page.
func TestExplainEscapesAndShortens(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) { c.MaxTokenBytes = 1 << 20 })
	many := slices.Repeat([]string{"\x1b]0;x\x07\u202e\u200b\x7f"}, 1000)
	for _, value := range []any{"\x1b[2J\r\n\t\x00", "\u202e\u200b\u0435", "\xff", strings.Repeat("\u00e9", 5000), many, object{"\u202e": many}, 1e300, nil, true, `\"`} {
		for _, name := range []string{"iss", "aud", "sub", "iat", "nbf", "exp", "jti", "sid", "scope", "type", "x"} {
			agree(t, auth, hs(hsHeader, claims().with(name, value)))
		}
		for _, name := range []string{"alg", "typ", "kid", "crit", "x"} {
			agree(t, auth, hs(hsHeader.with(name, value), claims()))
		}
	}
	withName := newAuth(t, func(c *middleware.Config) {
		c.Keys = middleware.PublicKeys(middleware.PublicKey{ID: "\u00e9\u202e", Key: &ecKey.PublicKey})
	})
	e := agree(t, withName, sign(jwt.SigningMethodES256, ecKey, object{"alg": "ES256", "kid": "\u0435\u202e"}, claims()))
	assert.Equal(t, `the issuer has no key "\u0435\u202e"; there are "\u00e9\u202e" for ES256`, check(t, e, "key").Found)

	e = agree(t, auth, hs(hsHeader, claims().with("iss", "https://id.\u0435xample.com")))
	assert.Equal(t, `"https://id.\u0435xample.com"`, check(t, e, "issuer").Found)
	at := slices.IndexFunc(e.Claims, func(v middleware.ExplainedValue) bool { return v.Name == "iss" })
	assert.Equal(t, `https://id.\u0435xample.com`, e.Claims[at].Value)

	e = agree(t, auth, hs(hsHeader, claims().with("iss", strings.Repeat("x", 199)+"\u00e9...")))
	assert.Equal(t, `"`+strings.Repeat("x", 199)+`"...`, check(t, e, "issuer").Found, "no character is cut in two")
	e = agree(t, auth, hs(hsHeader, claims().with("iss", strings.Repeat("i", 300))))
	assert.Equal(t, strings.Repeat("i", 200)+"...", e.Claims[at].Value)
}

// Issuers that differ at their end are told apart.
func TestExplainShowsWhereIssuersDiffer(t *testing.T) {
	const tenant = "https://login.example.com/72f988bf-86f1-41af-91ab-2d7cd011db47/and/some/more/of/a/path/"
	e := agree(t, newAuth(t, func(c *middleware.Config) { c.Issuer = tenant + "v2.0" }), hs(hsHeader, claims().with("iss", tenant+"v1.0")))
	c := check(t, e, "issuer")
	assert.Equal(t, []string{`"` + tenant + `v2.0"`, `"` + tenant + `v1.0"`}, []string{c.Expected, c.Found})
}

func TestExplainDoesNotReadALongToken(t *testing.T) {
	auth, dots := newAuth(t), strings.Repeat(".", 1<<20)
	e := agree(t, auth, dots)
	assert.Equal(t, "not checked", check(t, e, "format").Verdict)
	assert.Equal(t, "1048576 bytes", check(t, e, "length").Found)
	assert.Less(t, testing.AllocsPerRun(10, func() { auth.Explain(t.Context(), dots) }), 100.0)
}

// The JSON is for pages that others write, so its names stay.
func TestExplainAsJSON(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	auth := newAuth(t, func(c *middleware.Config) { c.Now = func() time.Time { return now } })
	e := agree(t, auth, forged(hsHeader.with("kid", "k1"), object{"iss": issuer, "aud": []string{"a", "b"}, "iat": now.Unix() - 900, "exp": now.Unix() - 60}))
	text := must(json.MarshalIndent(e, "", " "))
	var again middleware.Explanation
	require.NoError(t, json.Unmarshal(text, &again))
	assert.Equal(t, *e, again)
	e.Checks = slices.DeleteFunc(e.Checks, func(c middleware.ExplainedCheck) bool { return c.Name != "expiry" && c.Name != "start" })
	assert.JSONEq(t, `{
		"reason": "AUTH_TOKEN_SIGNATURE_INVALID", "verified": false, "time": "2027-01-15T08:00:00Z",
		"checks": [
			{"name": "expiry", "verdict": "failed", "reason": "AUTH_TOKEN_EXPIRED", "expected": "\"exp\" less than 30s ago",
				"found": "2027-01-15T07:59:00Z, 1m0s ago", "unverified": true},
			{"name": "start", "verdict": "not checked", "note": "there is no \"nbf\""}
		],
		"header": [{"name": "alg", "value": "HS256"}, {"name": "typ", "value": "at+jwt"}, {"name": "kid", "value": "k1"}],
		"claims": [{"name": "iss", "value": "https://id.example.com"}, {"name": "aud", "value": "\"a\", \"b\""},
			{"name": "iat", "value": "2027-01-15T07:45:00Z"}, {"name": "exp", "value": "2027-01-15T07:59:00Z"}],
		"leeway": "30s", "lifetime": "14m0s", "expired_ago": "1m0s", "keys": [{"kid": "", "alg": "HS256"}]
	}`, string(must(json.Marshal(e))))
}

// FuzzExplain: whatever a token is, Explain says what Verify says.
func FuzzExplain(f *testing.F) {
	now := time.Now()
	fixed := func(c *middleware.Config) { c.Now = func() time.Time { return now } }
	auths := []*middleware.Middleware{newAuth(f, fixed), newAuth(f, fixed, func(c *middleware.Config) {
		c.Issuers = []middleware.Issuer{{Issuer: "https://two.example", Audience: []string{audience}, Keys: middleware.HS256(random(32), secret)}}
		c.RequiredClaims, c.UserKey = []string{"sub"}, &middleware.UserKeyRule{}
		c.Revocations = revocations(func(sid, _, _ string, _ time.Time) (bool, error) { return sid == "s-2", nil })
		c.Validate = func(_ context.Context, c *middleware.Claims) error {
			if c.Subject != "alice" {
				return errNo
			}
			return nil
		}
	}), newAuth(f, fixed, func(c *middleware.Config) {
		tenant := middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: middleware.HS256(secret)}
		c.Keys, c.Issuer, c.Audience = nil, "", nil
		c.Resolve = func(_ context.Context, _ *http.Request, name string) (middleware.Issuer, error) {
			if name != issuer {
				return middleware.Issuer{}, nil
			}
			return tenant, nil
		}
	})}
	for _, c := range explainCases() {
		var parts [3]string
		copy(parts[:], strings.Split(c.token, "."))
		f.Add(c.token, decode(parts[0]), decode(parts[1]))
	}
	f.Add("", `{"alg":"HS256","kid":"\u0000"}`, `{"iss":"https://two.example","sid":"s-2","email":"x","exp":1e9,"iat":1}`)
	f.Fuzz(func(t *testing.T, token, header, payload string) {
		for _, auth := range auths {
			for _, token := range []string{token, hs(header, payload), forged(header, payload)} {
				agree(t, auth, token)
			}
		}
	})
}
