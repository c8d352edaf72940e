package issuertest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/issuertest"
)

// The tests here look at tokens with golang-jwt. What the middleware makes of
// them is tested in examples/handlertest, since rooms do not import one another.

// inMemory returns a fake without a server.
func inMemory(t testing.TB) *issuertest.Fake {
	return issuertest.New(t, issuertest.Config{NoServer: true})
}

// part decodes a part of a token: 0 is the header, 1 the payload.
func part(t *testing.T, token string, n int) string {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	data, err := base64.RawURLEncoding.DecodeString(parts[n])
	require.NoError(t, err)
	return string(data)
}

func object(t *testing.T, data string) map[string]any {
	t.Helper()
	var all map[string]any
	require.NoError(t, json.Unmarshal([]byte(data), &all))
	return all
}

// signedWith reports whether key verifies the signature of token.
func signedWith(token string, key any) bool {
	p := jwt.NewParser(jwt.WithoutClaimsValidation())
	_, err := p.Parse(token, func(*jwt.Token) (any, error) { return key, nil })
	return err == nil
}

// get returns the status and the body.
func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// kids returns the names in a JWK Set.
func kids(t *testing.T, set []byte) []string {
	t.Helper()
	var document struct{ Keys []struct{ Kid string } }
	require.NoError(t, json.Unmarshal(set, &document))
	names := []string{}
	for _, k := range document.Keys {
		names = append(names, k.Kid)
	}
	return names
}

func TestATokenHasEveryClaimOfRFC9068(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := inMemory(t)
		token := fake.Token("bob")
		assert.Equal(t, map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": fake.KeyID()}, object(t, part(t, token, 0)))
		claims := object(t, part(t, token, 1))
		now := float64(time.Now().Unix())
		assert.NotEmpty(t, claims["jti"])
		assert.NotEmpty(t, claims["sid"])
		delete(claims, "jti")
		delete(claims, "sid")
		assert.Equal(t, map[string]any{
			"iss": "https://issuer.test", "aud": "test-audience", "sub": "bob", "client_id": "test-client",
			"iat": now, "auth_time": now, "exp": now + 900,
		}, claims)
		assert.NotEqual(t, token, fake.Token("bob"), "each has its own jti")
	})
}

func TestEachAlgorithmSignsWithThePublishedKey(t *testing.T) {
	for algorithm, kind := range map[string]any{
		"": &ecdsa.PublicKey{}, issuer.ES256: &ecdsa.PublicKey{}, issuer.RS256: &rsa.PublicKey{}, issuer.EdDSA: ed25519.PublicKey{},
	} {
		t.Run("algorithm "+algorithm, func(t *testing.T) {
			fake := issuertest.New(t, issuertest.Config{Algorithm: algorithm, NoServer: true})
			assert.IsType(t, kind, fake.PublicKey())
			assert.True(t, signedWith(fake.Token("alice"), fake.PublicKey()))
			assert.Equal(t, []string{fake.KeyID()}, kids(t, fake.JWKS()))
			assert.Nil(t, fake.Secret())
		})
	}
	t.Run("algorithm HS256", func(t *testing.T) {
		fake := issuertest.New(t, issuertest.Config{Algorithm: issuer.HS256, NoServer: true})
		assert.True(t, signedWith(fake.Token("alice"), fake.Secret()))
		assert.Nil(t, fake.PublicKey())
		assert.JSONEq(t, `{"keys":[]}`, string(fake.JWKS()), "a secret is not published")
		token := fake.Token("alice")
		fake.Secret()[0]++
		assert.True(t, signedWith(token, fake.Secret()), "the caller has a copy")
	})
}

func TestAFieldChangesOneThing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := inMemory(t)
		now := time.Now().Unix()
		const absent = "absent"
		for _, c := range []struct {
			name   string
			token  issuertest.Token
			claims map[string]any
		}{
			{"the zero value", issuertest.Token{}, map[string]any{"sub": "alice", "nbf": absent, "scope": absent}},
			{"subject", issuertest.Token{Subject: "bob"}, map[string]any{"sub": "bob"}},
			{"scope", issuertest.Token{Scope: "a b"}, map[string]any{"scope": "a b"}},
			{"issuer", issuertest.Token{Issuer: "https://other.test"}, map[string]any{"iss": "https://other.test"}},
			{"audience", issuertest.Token{Audience: []string{"a", "b"}}, map[string]any{"aud": []any{"a", "b"}}},
			{"no audience in the list", issuertest.Token{Audience: []string{}}, map[string]any{"aud": []any{}}},
			{"lifetime", issuertest.Token{Lifetime: time.Minute}, map[string]any{"iat": now, "exp": now + 60}},
			{"expired", issuertest.Token{Expired: true}, map[string]any{"iat": now - 4500, "exp": now - 3600}},
			{"not yet valid", issuertest.Token{NotYetValid: true}, map[string]any{"iat": now, "nbf": now + 3600, "exp": now + 4500}},
			{"a claim more", issuertest.Token{Claims: map[string]any{"roles": []string{"x"}}}, map[string]any{"roles": []any{"x"}}},
			{"a claim less", issuertest.Token{Claims: map[string]any{"exp": nil}}, map[string]any{"exp": absent, "sub": "alice"}},
			{"a claim of another type", issuertest.Token{Claims: map[string]any{"exp": "soon"}}, map[string]any{"exp": "soon"}},
			{"a time", issuertest.Token{Claims: map[string]any{"nbf": time.Unix(7, 0)}}, map[string]any{"nbf": 7}},
		} {
			token := fake.Mint(c.token)
			assert.True(t, signedWith(token, fake.PublicKey()), c.name)
			claims := object(t, part(t, token, 1))
			for name, want := range c.claims {
				got, there := claims[name]
				if want == absent {
					assert.False(t, there, "%s: %s", c.name, name)
				} else {
					assert.EqualValues(t, want, got, "%s: %s", c.name, name)
				}
			}
		}
	})
}

func TestHeaderAddsReplacesAndRemoves(t *testing.T) {
	fake := inMemory(t)
	token := fake.Mint(issuertest.Token{Header: map[string]any{"typ": "JWT", "kid": nil, "crit": []string{"x"}}})
	assert.Equal(t, map[string]any{"alg": "ES256", "typ": "JWT", "crit": []any{"x"}}, object(t, part(t, token, 0)))
}

func TestRawPartsAreSignedAsTheyAre(t *testing.T) {
	fake := inMemory(t)
	token := fake.Mint(issuertest.Token{RawPayload: `{"sub":"a","sub":"b"}`})
	assert.Equal(t, `{"sub":"a","sub":"b"}`, part(t, token, 1))
	assert.True(t, signedWith(token, fake.PublicKey()))

	header := `{"alg":"ES256", "kid":"a","kid":"b"}`
	token = fake.Mint(issuertest.Token{RawHeader: header})
	assert.Equal(t, header, part(t, token, 0))
	assert.True(t, signedWith(token, fake.PublicKey()))
}

func TestForgedTokensBearTheKidOfTheIssuersKey(t *testing.T) {
	for _, algorithm := range []string{issuer.ES256, issuer.RS256, issuer.EdDSA, issuer.HS256} {
		fake := issuertest.New(t, issuertest.Config{Algorithm: algorithm, NoServer: true})
		token := fake.Mint(issuertest.Token{Forged: true})
		header := object(t, part(t, token, 0))
		assert.Equal(t, fake.KeyID(), header["kid"], algorithm)
		assert.Equal(t, algorithm, header["alg"])
		key := any(fake.PublicKey())
		if algorithm == issuer.HS256 {
			key = fake.Secret()
		}
		assert.False(t, signedWith(token, key), algorithm)
		assert.True(t, signedWith(fake.Token("alice"), key), algorithm)
	}
}

func TestAnUnknownKeyHasAKidThatIsNotPublished(t *testing.T) {
	fake := inMemory(t)
	kid := object(t, part(t, fake.Mint(issuertest.Token{UnknownKey: true}), 0))["kid"]
	assert.NotEmpty(t, kid)
	assert.NotContains(t, kids(t, fake.JWKS()), kid)
	assert.Equal(t, kid, object(t, part(t, fake.Mint(issuertest.Token{UnknownKey: true}), 0))["kid"], "it is one key")
}

func TestAnotherAlgorithmBearsTheKidOfTheIssuersKey(t *testing.T) {
	fake := inMemory(t)
	for _, algorithm := range []string{issuer.RS256, issuer.EdDSA, issuer.HS256, "none", "nOnE"} {
		token := fake.Mint(issuertest.Token{Algorithm: algorithm})
		header := object(t, part(t, token, 0))
		assert.Equal(t, algorithm, header["alg"])
		assert.Equal(t, fake.KeyID(), header["kid"])
		assert.Equal(t, strings.EqualFold(algorithm, "none"), strings.HasSuffix(token, "."), algorithm)
	}
	der, err := x509.MarshalPKIXPublicKey(fake.PublicKey())
	require.NoError(t, err)
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	assert.True(t, signedWith(fake.Mint(issuertest.Token{Algorithm: issuer.HS256}), secret), "the public key is the secret")
	assert.True(t, signedWith(fake.Mint(issuertest.Token{Algorithm: issuer.ES256}), fake.PublicKey()), "its own algorithm changes nothing")
}

// A spy is a test that can be seen to fail.
type spy struct {
	testing.TB
	failure string
}

func (s *spy) Fatalf(format string, args ...any) { s.failure = fmt.Sprintf(format, args...) }

func TestAWrongConfigEndsTheTestWithEveryMistake(t *testing.T) {
	s := &spy{TB: t}
	assert.Nil(t, issuertest.New(s, issuertest.Config{Algorithm: "ES512", Lifetime: -1}))
	assert.Contains(t, s.failure, `Algorithm "ES512" is not one of ES256, RS256, EdDSA, HS256`)
	assert.Contains(t, s.failure, "Lifetime is -1ns")
}

func TestAContradictionEndsTheTest(t *testing.T) {
	for _, c := range []struct {
		name  string
		token issuertest.Token
		want  string
	}{
		{"expired and not yet valid", issuertest.Token{Expired: true, NotYetValid: true}, "both Expired and NotYetValid"},
		{"half a second", issuertest.Token{Lifetime: time.Second / 2}, "Lifetime is 500ms"},
		{"a negative lifetime", issuertest.Token{Lifetime: -time.Second}, "Lifetime is -1s"},
		{"a raw payload and a subject", issuertest.Token{RawPayload: "{}", Subject: "a"}, "RawPayload is set"},
		{"a raw payload and a key", issuertest.Token{RawPayload: "{}", Bound: true}, "RawPayload is set"},
		{"a raw payload and claims", issuertest.Token{RawPayload: "{}", Claims: map[string]any{}}, "RawPayload is set"},
		{"two headers", issuertest.Token{RawHeader: "{}", Header: map[string]any{}}, "both RawHeader and Header"},
		{"two keys", issuertest.Token{Forged: true, UnknownKey: true}, "more than one of Forged"},
		{"forged and another algorithm", issuertest.Token{Forged: true, Algorithm: "RS256"}, "more than one of Forged"},
		{"an unknown algorithm", issuertest.Token{Algorithm: "ES512"}, `Algorithm "ES512" is not one of`},
		{"a claim that is no JSON", issuertest.Token{Claims: map[string]any{"f": func() {}}}, "Claims: json"},
		{"a member that is no JSON", issuertest.Token{Header: map[string]any{"f": func() {}}}, "Header: json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &spy{TB: t}
			fake := issuertest.New(s, issuertest.Config{NoServer: true})
			assert.Empty(t, fake.Mint(c.token))
			assert.Contains(t, s.failure, c.want)
		})
	}
	s := &spy{TB: t}
	issuertest.New(s, issuertest.Config{NoServer: true}).Mint(issuertest.Token{Expired: true, NotYetValid: true, Lifetime: -time.Second})
	assert.Contains(t, s.failure, "Lifetime")
	assert.Contains(t, s.failure, "both Expired")
}

func TestTheServerPublishesAndEndsWithTheTest(t *testing.T) {
	var url string
	t.Run("while the test runs", func(t *testing.T) {
		fake := issuertest.New(t, issuertest.Config{})
		url = fake.JWKSURL()
		require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, fake.Issuer())
		status, body := get(t, http.DefaultClient, url)
		assert.Equal(t, 200, status)
		assert.Equal(t, string(fake.JWKS()), body)
		for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
			status, body := get(t, http.DefaultClient, fake.Issuer()+path)
			assert.Equal(t, 200, status)
			metadata := object(t, body)
			assert.Equal(t, fake.Issuer(), metadata["issuer"])
			assert.Equal(t, url, metadata["jwks_uri"])
			assert.Equal(t, []any{"ES256"}, metadata["id_token_signing_alg_values_supported"])
		}
		assert.Equal(t, 1, fake.Fetches(), "metadata do not count")
	})
	_, err := http.Get(url)
	assert.Error(t, err, "the server is closed")
}

func TestAnotherPathOrMethodIsNotServed(t *testing.T) {
	fake := inMemory(t)
	status, _ := get(t, fake.Client(), fake.Issuer()+"/jwks.json")
	assert.Equal(t, 404, status)
	resp, err := fake.Client().Post(fake.JWKSURL(), "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	assert.Equal(t, 405, resp.StatusCode)
	assert.Equal(t, "GET, HEAD", resp.Header.Get("Allow"))
}

func TestTheClientReachesTheFakeAlone(t *testing.T) {
	fake := inMemory(t)
	_, err := fake.Client().Get("https://id.example.com/.well-known/jwks.json")
	assert.ErrorContains(t, err, "the fake issuer is not at https://id.example.com but at https://issuer.test")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fake.JWKSURL(), nil)
	require.NoError(t, err)
	_, err = fake.Client().Do(r)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, fake.Fetches())
}

func TestMetadataAreWhereTheIssuersNameSays(t *testing.T) {
	for _, c := range []struct{ name, issuer, metadata, jwks string }{
		{"a host", "https://id.example.com", "https://id.example.com/.well-known/openid-configuration", "https://id.example.com/.well-known/jwks.json"},
		{"OpenID appends to a path", "https://id.example.com/a", "https://id.example.com/a/.well-known/openid-configuration", "https://id.example.com/.well-known/jwks.json"},
		{"RFC 8414 puts itself before a path", "https://id.example.com/a/", "https://id.example.com/.well-known/oauth-authorization-server/a", "https://id.example.com/.well-known/jwks.json"},
		{"no URL", "the issuer", "https://issuer.test/.well-known/openid-configuration", "https://issuer.test/.well-known/jwks.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := issuertest.New(t, issuertest.Config{Issuer: c.issuer, NoServer: true})
			assert.Equal(t, c.jwks, fake.JWKSURL())
			status, body := get(t, fake.Client(), c.metadata)
			require.Equal(t, 200, status)
			assert.Equal(t, c.issuer, object(t, body)["issuer"])
			assert.Equal(t, c.jwks, object(t, body)["jwks_uri"])
			assert.Equal(t, c.issuer, object(t, part(t, fake.Token("alice"), 1))["iss"])
		})
	}
	fake := issuertest.New(t, issuertest.Config{Issuer: "https://id.example.com"})
	status, body := get(t, fake.Client(), "https://id.example.com/.well-known/openid-configuration")
	require.Equal(t, 200, status)
	assert.Regexp(t, `^http://127\.0\.0\.1:`, object(t, body)["jwks_uri"], "the keys are on the server")
}

func TestRotateKeepsOldKeysAndUnpublishRemovesThem(t *testing.T) {
	fake := inMemory(t)
	first, old := fake.KeyID(), fake.PublicKey()
	fake.Rotate()
	second := fake.KeyID()
	assert.NotEqual(t, first, second)
	assert.Equal(t, []string{first, second}, kids(t, fake.JWKS()))
	assert.True(t, signedWith(fake.Token("alice"), fake.PublicKey()))
	assert.False(t, signedWith(fake.Token("alice"), old))
	fake.Unpublish()
	assert.Equal(t, []string{second}, kids(t, fake.JWKS()))
}

func TestDownAnswersEverythingWith503(t *testing.T) {
	fake := inMemory(t)
	fake.Down(true)
	for _, path := range []string{"/.well-known/jwks.json", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		status, _ := get(t, fake.Client(), fake.Issuer()+path)
		assert.Equal(t, 503, status, path)
	}
	assert.Equal(t, 1, fake.Fetches(), "failures count")
	assert.True(t, signedWith(fake.Token("alice"), fake.PublicKey()))
	fake.Down(false)
	status, _ := get(t, fake.Client(), fake.JWKSURL())
	assert.Equal(t, 200, status)
	assert.Equal(t, 2, fake.Fetches())
}

func TestTheClockMovesByItselfAndByAdvance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := inMemory(t)
		began := time.Now()
		assert.Equal(t, began, fake.Now())
		time.Sleep(time.Minute)
		fake.Advance(time.Hour)
		assert.Equal(t, began.Add(time.Hour+time.Minute), fake.Now())
		assert.EqualValues(t, fake.Now().Unix(), object(t, part(t, fake.Token("alice"), 1))["iat"])
		fake.Advance(-2 * time.Hour)
		assert.Equal(t, began.Add(-time.Hour+time.Minute), fake.Now())
	})
}

func TestNothingPrintsTheKeys(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{Algorithm: issuer.HS256, NoServer: true})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		assert.Equal(t, "issuertest.Fake(https://issuer.test)", fmt.Sprintf(verb, fake), verb)
	}
}

func TestEverythingAtOnce(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				fake.Rotate()
				fake.Mint(issuertest.Token{Forged: true})
				fake.Advance(time.Second)
				fake.Down(false)
				_, err := fake.Client().Get(fake.JWKSURL())
				assert.NoError(t, err)
				fake.Unpublish()
				_ = fake.Token(fake.KeyID()) + fake.Now().String()
				_, _ = fake.PublicKey(), fake.Secret()
			}
		})
	}
	all.Wait()
	assert.Equal(t, 20, fake.Fetches())
}
