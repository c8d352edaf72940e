package refresher_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
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

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// The keys of the tests are made once.
var (
	ecKey   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	ecOther = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	ec384   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	rsaKey  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	edKey   = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
)

// signed returns a token of key with this header and payload.
func signed(method jwt.SigningMethod, key any, header, payload string) string {
	e := base64.RawURLEncoding.EncodeToString
	input := e([]byte(header)) + "." + e([]byte(payload))
	return input + "." + e(must(method.Sign(input, key)))
}

// named returns a header.
func named(alg, kid string) string {
	if kid == "" {
		return fmt.Sprintf(`{"alg":%q}`, alg)
	}
	return fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, kid)
}

// NV-08: which tokens are taken when there are public keys.
func TestTokensAreVerifiedByPublicKeys(t *testing.T) {
	const payload = `{"sub":"alice"}`
	der := must(x509.MarshalPKIXPublicKey(&rsaKey().PublicKey))
	asSecrets := map[string][]byte{
		"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "the modulus": rsaKey().N.Bytes(),
	}
	type row struct {
		name, token string
		want        jwterrors.Reason
	}
	good := signed(jwt.SigningMethodES256, ecKey(), named("ES256", "ec"), payload)
	parts := strings.Split(good, ".")
	rows := []row{
		{"ES256", good, ""},
		{"ES256 without a kid", signed(jwt.SigningMethodES256, ecKey(), named("ES256", ""), payload), ""},
		{"RS256", signed(jwt.SigningMethodRS256, rsaKey(), named("RS256", "rsa"), payload), ""},
		{"EdDSA, by a key without an ID", signed(jwt.SigningMethodEdDSA, edKey(), named("EdDSA", "any"), payload), ""},
		{"Ed25519, where the key is for EdDSA", signed(jwt.SigningMethodEdDSA, edKey(), named("Ed25519", "any"), payload), jwterrors.TokenSignatureInvalid},
		{"another key", signed(jwt.SigningMethodES256, ecOther(), named("ES256", "ec"), payload), jwterrors.TokenSignatureInvalid},
		{"another key, expired as well", signed(jwt.SigningMethodES256, ecOther(), named("ES256", "ec"), `{"exp":1}`), jwterrors.TokenSignatureInvalid},
		{"another key, and unreadable claims", signed(jwt.SigningMethodES256, ecOther(), named("ES256", "ec"), `{"exp":"soon"}`), jwterrors.TokenSignatureInvalid},
		{"another key's name", signed(jwt.SigningMethodES256, ecKey(), named("ES256", "new"), payload), jwterrors.TokenKeyUnknown},
		{"other claims", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"bob"}`)) + "." + parts[2], jwterrors.TokenSignatureInvalid},
		{"half a signature", good[:len(good)-42], jwterrors.TokenSignatureInvalid},
		{"no signature", parts[0] + "." + parts[1] + ".", jwterrors.TokenFormatInvalid},
		{"another algorithm of the same key", signed(jwt.SigningMethodPS256, rsaKey(), named("PS256", "rsa"), payload), jwterrors.TokenSignatureInvalid},
		{"RS512", signed(jwt.SigningMethodRS512, rsaKey(), named("RS512", "rsa"), payload), jwterrors.TokenSignatureInvalid},
		{"none", signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, `{"alg":"none"}`, payload) + "AA", jwterrors.TokenSignatureInvalid},
		{"an alg in another case", signed(jwt.SigningMethodES256, ecKey(), `{"alg":"es256"}`, payload), jwterrors.TokenSignatureInvalid},
		{"an alg that is a list", signed(jwt.SigningMethodES256, ecKey(), `{"alg":["ES256"]}`, payload), jwterrors.TokenSignatureInvalid},
		{"two algs", signed(jwt.SigningMethodES256, ecKey(), `{"alg":"ES256","alg":"ES256"}`, payload), jwterrors.TokenFormatInvalid},
		{"a kid that is a number", signed(jwt.SigningMethodES256, ecKey(), `{"alg":"ES256","kid":7}`, payload), jwterrors.TokenFormatInvalid},
		{"crit", signed(jwt.SigningMethodES256, ecKey(), `{"alg":"ES256","crit":["x"],"x":1}`, payload), jwterrors.TokenFormatInvalid},
		{"b64", signed(jwt.SigningMethodES256, ecKey(), `{"alg":"ES256","b64":false}`, payload), jwterrors.TokenFormatInvalid},
		{"an opaque token", "opaque", jwterrors.TokenFormatInvalid},
		{"another spelling of the signature", good[:len(good)-1] + string(next(good[len(good)-1])), jwterrors.TokenFormatInvalid},
	}
	for form, secret := range asSecrets {
		rows = append(rows, row{"HS256 by the public key as " + form, signed(jwt.SigningMethodHS256, secret, named("HS256", "rsa"), payload), jwterrors.TokenSignatureInvalid})
	}
	for _, c := range rows {
		t.Run(c.name, func(t *testing.T) {
			tr := newTransport(t, refresher.Config{
				Origins: []string{"https://api.example.com"}, Push: true,
				PublicKeys: []refresher.PublicKey{
					{ID: "ec", Key: &ecKey().PublicKey}, {ID: "rsa", Key: &rsaKey().PublicKey}, {Key: edKey().Public()},
				},
			})
			err := tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: c.token})
			assert.Equal(t, c.want, jwterrors.ReasonOf(err))
			tokens, ok := tr.Tokens()
			assert.Equal(t, c.want == "", ok && tokens.AccessToken == c.token)
		})
	}
}

// next returns a character of base64url that differs from c in its last bit.
func next(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

// What no header can take is no token (RFC 6750, Section 2.1).
func TestATokenThatCannotBeSentIsRefused(t *testing.T) {
	tr := newTransport(t, refresher.Config{Origins: []string{"https://api.example.com"}, Push: true})
	const longest = 16 << 10
	for token, want := range map[string]jwterrors.Reason{
		"=": jwterrors.TokenFormatInvalid, "a=": "", "a=b": jwterrors.TokenFormatInvalid, "a b": jwterrors.TokenFormatInvalid,
		strings.Repeat("a", longest): "", strings.Repeat("a", longest+1): jwterrors.TokenFormatInvalid,
	} {
		err := tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: token})
		assert.Equal(t, want, jwterrors.ReasonOf(err), "%.10q of %d bytes", token, len(token))
	}
}

// NV-08: wherever tokens come from they are verified: a refresh, a login, the
// store, a new user. Rotation is a key more in the list.
func TestWhereverTokensComeFromTheyAreVerified(t *testing.T) {
	s := newService()
	var key crypto.Signer
	answer := func(w http.ResponseWriter, _ *http.Request) bool {
		token := signed(jwt.SigningMethodES256, key, named("ES256", ""), `{"sub":"alice"}`)
		_, _ = io.WriteString(w, `{"access_token":"`+token+`","expires_in":600,"refresh_token":"R"}`)
		return true
	}
	base := handlerTransport{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) })}
	store := &refresher.MemoryStore{}
	with := func(keys ...*ecdsa.PrivateKey) *refresher.Transport {
		return offline(t, s, func(c *refresher.Config) {
			c.Base, c.Store, c.MaxRetries = base, store, refresher.NoRetries
			for _, k := range keys {
				c.PublicKeys = append(c.PublicKeys, refresher.PublicKey{Key: &k.PublicKey})
			}
		})
	}
	old, both := with(ecKey()), with(ecKey(), ecOther())
	key = ecKey()
	login(t, old)
	require.NoError(t, old.Refresh(t.Context()))
	before, _ := old.Tokens()

	key = ecOther() // the issuer has rotated its keys
	assert.ErrorIs(t, old.Refresh(t.Context()), jwterrors.TokenSignatureInvalid)
	assert.ErrorIs(t, old.Login(t.Context(), alice), jwterrors.TokenSignatureInvalid)
	after, active := old.Tokens()
	assert.True(t, active)
	assert.Equal(t, before.AccessToken, after.AccessToken, "the session is as it was")
	require.NoError(t, both.Refresh(t.Context()))
	again := with(ecKey())
	require.NoError(t, again.Restore(t.Context()))
	_, active = again.Tokens()
	assert.False(t, active, "what the store has is not verified by this key")
	assert.ErrorIs(t, again.Identify(t.Context(), refresher.Email("alice"), refresher.WithTokens(must(store.Load(t.Context())))), jwterrors.TokenSignatureInvalid)
}

// IT-01, NV-04: a symmetric key cannot be passed, nor a private one, nor one that
// is weak or for another algorithm.
func TestKeysThatAreNotFitAreRefused(t *testing.T) {
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	for _, c := range []struct {
		name string
		key  refresher.PublicKey
		want string
	}{
		{"a secret", refresher.PublicKey{Key: []byte("hunter2-hunter2-hunter2-hunter2!")}, "[]uint8 is none of"},
		{"a secret in a string", refresher.PublicKey{Key: "hunter2-hunter2-hunter2-hunter2!"}, "string is none of"},
		{"a secret said to be an Ed25519 key", refresher.PublicKey{Key: ed25519.PublicKey("hunter2-hunter2")}, "32, not 15"},
		{"HS256", refresher.PublicKey{Algorithm: "HS256", Key: &rsaKey().PublicKey}, `"HS256" is not for this key`},
		{"none", refresher.PublicKey{Algorithm: "none", Key: &ecKey().PublicKey}, `"none" is not for this key`},
		{"a private RSA key", refresher.PublicKey{Key: rsaKey()}, "none of"},
		{"a private ECDSA key", refresher.PublicKey{Key: ecKey()}, "none of"},
		{"nothing", refresher.PublicKey{}, "none of"},
		{"1024 bits", refresher.PublicKey{Key: &weak.PublicKey}, "2048"},
		{"another curve's algorithm", refresher.PublicKey{Algorithm: "ES256", Key: &ec384().PublicKey}, "ES384"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := refresher.New(refresher.Config{
				Origins: []string{"https://api.example.com"}, Push: true, PublicKeys: []refresher.PublicKey{{Key: &ecKey().PublicKey}, c.key},
			})
			require.ErrorContains(t, err, "public key 1: ")
			assert.NotContains(t, err.Error(), "hunter2-hunter2-hunter2")
		})
	}
}

// The keys are copied: who changes one later changes nothing.
func TestPublicKeysAreCopied(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	token := signed(jwt.SigningMethodES256, key, named("ES256", ""), `{"sub":"alice"}`)
	list := []refresher.PublicKey{{Key: &key.PublicKey}}
	tr := newTransport(t, refresher.Config{Origins: []string{"https://api.example.com"}, Push: true, PublicKeys: list})
	list[0].Key = &ecOther().PublicKey
	key.PublicKey = ecOther().PublicKey
	assert.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: token}))
}

// NV-03: claims without verification, strictly and in bounds.
func TestUnverifiedClaims(t *testing.T) {
	type profile struct {
		Name  string   `json:"name"`
		Roles []string `json:"roles"`
		Exp   int64    `json:"exp"`
	}
	deep := `{"a":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`
	for _, c := range []struct {
		name, token string
		want        profile
		reason      jwterrors.Reason
	}{
		{"a name, roles and an expiry", jwtOf(`{"name":"Alice","roles":["a","b"],"exp":1640086400}`), profile{"Alice", []string{"a", "b"}, 1640086400}, ""},
		{"IT-10: the fixture", jwtOf(`{"email":"user@example.com","iat":1640000000,"exp":1640086400}`), profile{Exp: 1640086400}, ""},
		{"no token", "", profile{}, jwterrors.TokenFormatInvalid},
		{"an opaque token", "opaque", profile{}, jwterrors.TokenFormatInvalid},
		{"five parts", "a.b.c.d.e", profile{}, jwterrors.TokenFormatInvalid},
		{"three parts of which the first is no header", "b3BhcXVl.eyJuYW1lIjoiQWxpY2UifQ.c2ln", profile{}, jwterrors.TokenFormatInvalid},
		{"three parts of which the first is not base64url", "opaque!" + jwtOf(`{"name":"Alice"}`)[7:], profile{}, jwterrors.TokenFormatInvalid},
		{"a MiB", jwtOf(`{"name":"` + strings.Repeat("x", 1<<20) + `"}`), profile{}, jwterrors.TokenFormatInvalid},
		{"a line break", jwtOf(`{"name":"Alice"}`) + "\n", profile{}, jwterrors.TokenFormatInvalid},
		{"a name twice", jwtOf(`{"name":"Alice","name":"Bob"}`), profile{}, jwterrors.TokenPayloadInvalid},
		{"a name in two cases", jwtOf(`{"name":"Alice","NAME":"Bob"}`), profile{}, jwterrors.TokenPayloadInvalid},
		{"EXP", jwtOf(`{"EXP":1640086400}`), profile{}, jwterrors.TokenPayloadInvalid},
		{"an expiry that is a string", jwtOf(`{"exp":"1640086400"}`), profile{}, jwterrors.TokenPayloadInvalid},
		{"another type than asked for", jwtOf(`{"roles":"secret-role"}`), profile{}, jwterrors.TokenPayloadInvalid},
		{"something after the claims", jwtOf(`{} {}`), profile{}, jwterrors.TokenPayloadInvalid},
		{"null", jwtOf(`null`), profile{}, jwterrors.TokenPayloadInvalid},
		{"deep nesting", jwtOf(deep), profile{}, jwterrors.TokenPayloadInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got profile
			err := refresher.Tokens{AccessToken: c.token}.UnverifiedClaims(&got)
			assert.Equal(t, c.reason, jwterrors.ReasonOf(err))
			if c.reason == "" {
				assert.Equal(t, c.want, got)
			} else {
				assert.NotContains(t, err.Error(), "secret-role")
				assert.NotContains(t, err.Error(), "string", "nor what the type was")
			}
		})
	}
}

func FuzzUnverifiedClaims(f *testing.F) {
	for _, payload := range []string{`{"sub":"alice","exp":1640086400}`, `{"ISS":"a","iss":"b"}`, `null`, `{"aud":["a"]}`, `{}`} {
		f.Add(jwtOf(payload))
	}
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		var claims map[string]any
		if err := (refresher.Tokens{AccessToken: token}).UnverifiedClaims(&claims); err != nil {
			return
		}
		parts := strings.Split(token, ".")
		if len(parts) != 3 || len(token) > 16<<10 {
			t.Fatalf("%d parts, %d bytes", len(parts), len(token))
		}
		payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
		if err != nil || !json.Valid(payload) || claims == nil {
			t.Fatalf("accepted %q", payload)
		}
		for name := range claims {
			if name != "iss" && strings.EqualFold(name, "iss") {
				t.Fatalf("accepted %q", name)
			}
		}
	})
}

func ExampleTokens_UnverifiedClaims() {
	tokens := refresher.Tokens{AccessToken: jwtOf(`{"name":"Alice","roles":["reader"]}`)}
	var profile struct {
		Name  string
		Roles []string
	}
	err := tokens.UnverifiedClaims(&profile)
	fmt.Println(profile.Name, profile.Roles, err)
	// Output: Alice [reader] <nil>
}

func ExamplePublicKey() {
	key := &ecKey().PublicKey // from the app's own resources
	t, err := refresher.New(refresher.Config{
		AuthURL:    "https://id.example.com/auth",
		Origins:    []string{"https://api.example.com"},
		PublicKeys: []refresher.PublicKey{{ID: "2026-01", Key: key}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	forged := signed(jwt.SigningMethodES256, ecOther(), named("ES256", "2026-01"), fmt.Sprintf(`{"exp":%d}`, time.Now().Add(time.Hour).Unix()))
	err = t.SetTokens(context.Background(), refresher.Tokens{AccessToken: forged})
	fmt.Println(jwterrors.ReasonOf(err))
	// Output: AUTH_TOKEN_SIGNATURE_INVALID
}

// NV-08: an app that was started again after its issuer has rotated its keys does not
// know the old key any more. The access token of that key has expired by then, and
// the session has not.
func TestASessionOutlivesTheKeyOfItsAccessToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &refresher.MemoryStore{}
		key := ecKey()
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
			token := signed(jwt.SigningMethodES256, key, named("ES256", ""), `{"sub":"alice"}`)
			_, _ = io.WriteString(w, `{"access_token":"`+token+`","expires_in":600,"refresh_token":"R2"}`)
			return true
		})
		app := func() *refresher.Transport {
			return offline(t, s, func(c *refresher.Config) {
				c.Store, c.PublicKeys = store, []refresher.PublicKey{{Key: &key.PublicKey}}
			})
		}
		first := app()
		require.NoError(t, first.SetTokens(t.Context(), refresher.Tokens{
			AccessToken: signed(jwt.SigningMethodES256, key, named("ES256", ""), `{"sub":"alice"}`), RefreshToken: "R1", Expiry: time.Now().Add(10 * time.Minute),
		}))
		key = ecOther()
		early := app()
		require.NoError(t, early.Restore(t.Context()))
		_, active := early.Tokens()
		assert.False(t, active, "a token that has not expired is to be verified")

		time.Sleep(10 * time.Minute)
		late := app()
		require.NoError(t, late.Restore(t.Context()))
		require.NoError(t, late.Refresh(t.Context()))
		tokens, active := late.Tokens()
		assert.True(t, active)
		assert.Equal(t, "R2", tokens.RefreshToken)
		used, _, _ := s.log()
		assert.Equal(t, []string{"R1"}, used)
	})
}
