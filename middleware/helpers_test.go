package middleware_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/middleware"
)

const (
	issuer   = "https://id.example.com"
	audience = "orders"
)

// Keys of this test run. RSA keys take a while to make, so there is one of each.
var (
	secret   = random(32)
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = newEC()
	edKey    = newEd()
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func newEC() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func newEd() ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return must(k, err)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

type object map[string]any

// with returns a copy of o with other members. A nil removes one.
func (o object) with(name string, value any) object {
	o = maps.Clone(o)
	if o[name] = value; value == nil {
		delete(o, name)
	}
	return o
}

// claims returns those of a good token.
func claims() object {
	now := time.Now().Unix()
	return object{
		"iss": issuer, "aud": audience, "sub": "alice", "iat": now, "exp": now + 900, "jti": "j-1",
		"client_id": "app", "sid": "s-1", "scope": "api:read api:write",
	}
}

func encode(v any) string {
	switch v := v.(type) {
	case string:
		return base64.RawURLEncoding.EncodeToString([]byte(v))
	case []byte:
		return base64.RawURLEncoding.EncodeToString(v)
	default:
		return encode(must(json.Marshal(v)))
	}
}

// sign makes a token. header and payload are objects, or strings of JSON.
func sign(method jwt.SigningMethod, key, header, payload any) string {
	input := encode(header) + "." + encode(payload)
	return input + "." + encode(must(method.Sign(input, key)))
}

// hs makes a token with the secret.
func hs(header, payload any) string {
	return sign(jwt.SigningMethodHS256, secret, header, payload)
}

var hsHeader = object{"alg": "HS256", "typ": "at+jwt"}

// good makes a token that newAuth accepts.
func good() string { return hs(hsHeader, claims()) }

// newAuth returns a Middleware for tokens of hs, after the changes of change.
func newAuth(t testing.TB, change ...func(*middleware.Config)) *middleware.Middleware {
	t.Helper()
	c := middleware.Config{Keys: middleware.HS256(secret), Issuer: issuer, Audience: []string{audience}}
	for _, f := range change {
		f(&c)
	}
	auth, err := middleware.New(c)
	require.NoError(t, err)
	return auth
}

func verify(auth *middleware.Middleware, token string) error {
	_, err := auth.Verify(context.Background(), token)
	return err
}

// request returns one with these values of Authorization.
func request(authorization ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, a := range authorization {
		r.Header.Add("Authorization", a)
	}
	return r
}

// jwk returns the JWK of a public key, with more members.
func jwk(public crypto.PublicKey, members object) object {
	var k object
	switch p := public.(type) {
	case *rsa.PublicKey:
		k = object{"kty": "RSA", "n": encode(p.N.Bytes()), "e": encode(big.NewInt(int64(p.E)).Bytes())}
	case *ecdsa.PublicKey:
		point := must(p.Bytes())
		size := (len(point) - 1) / 2
		k = object{"kty": "EC", "crv": p.Params().Name, "x": encode(point[1 : 1+size]), "y": encode(point[1+size:])}
	case ed25519.PublicKey:
		k = object{"kty": "OKP", "crv": "Ed25519", "x": encode([]byte(p))}
	}
	maps.Copy(k, members)
	return k
}

func jwkSet(keys ...object) []byte {
	return must(json.Marshal(object{"keys": keys}))
}

// decode is the reverse of encode, or "" for what is none.
func decode(segment string) string {
	b, _ := base64.RawURLEncoding.DecodeString(segment)
	return string(b)
}

// jsonNull is a value for object.with that is there, and null.
var jsonNull = json.RawMessage("null")
