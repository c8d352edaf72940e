package jwa_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/internal/jwa"
)

func TestParsePublicKey(t *testing.T) {
	for alg, jwk := range map[string]string{
		// RFC 8037, Appendix A.2, and RFC 7517, Appendix A.1.
		"EdDSA": `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"ES256": `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`,
	} {
		key, err := jwa.ParsePublicKey([]byte(jwk), alg)
		require.NoError(t, err, alg)
		assert.NotNil(t, key, alg)
	}

	const curve, point = `"kty":"EC","crv":"P-256"`, "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"
	modulus := strings.Repeat("g", 342) // of 2052 bits
	for _, test := range []struct{ name, jwk, want string }{
		{"no JSON", `x`, "unambiguous"},
		{"a name twice", `{"kty":"EC","kty":"RSA"}`, "unambiguous"},
		{"a private key", `{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}`, "not a public one"},
		{"no type", `{}`, `"kty" is none of`},
		{"a type that is a number", `{"kty":7}`, `"kty" is none of`},
		{"no y", `{` + curve + `,"x":"` + point + `"}`, `"y" is not base64url`},
		{"a short x", `{` + curve + `,"x":"AA","y":"` + point + `"}`, `"x" is not base64url of the right length`},
		{"no point of the curve", `{` + curve + `,"x":"` + point + `","y":"` + point + `"}`, "the JWK is no point of its curve"},
		{"another curve", `{"kty":"EC","crv":"secp256k1"}`, `"crv" is none of`},
		{"no exponent", `{"kty":"RSA","n":"` + modulus + `"}`, `"e" is missing`},
		{"a modulus of zeros", `{"kty":"RSA","n":"AAAA","e":"AQAB"}`, "modulus or the exponent"},
		{"an exponent of five bytes", `{"kty":"RSA","n":"` + modulus + `","e":"AQAAAAE"}`, "modulus or the exponent"},
		{"a curve for key agreement", `{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, `"crv" is not Ed25519`},
		{"a short key of Ed25519", `{"kty":"OKP","crv":"Ed25519","x":"AA"}`, `"x" is not base64url of the right length`},
		{"no key of Ed25519", `{"kty":"OKP","crv":"Ed25519"}`, `"x" is not base64url of the right length`},
		{"another spelling", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp"}`, `"x" is not base64url`},
	} {
		key, err := jwa.ParsePublicKey([]byte(test.jwk), "")
		assert.ErrorContains(t, err, test.want, test.name)
		assert.Nil(t, key, test.name)
	}
}

func TestPublicKeyRefuses(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	half := new(big.Int).Rsh(private.N, 1)
	even := new(big.Int).Lsh(half, 1)
	//lint:ignore SA1019 they are what is wrong here
	off := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
	for _, test := range []struct {
		name string
		key  any
		want string
	}{
		{"nothing", nil, "none of"},
		{"a private key", private, "none of"},
		{"a nil RSA key", (*rsa.PublicKey)(nil), "is nil"},
		{"an RSA key without a modulus", &rsa.PublicKey{E: 65537}, "is nil"},
		{"a short RSA key", &rsa.PublicKey{N: half, E: 65537}, "2048 to 8192 bits"},
		{"a long RSA key", &rsa.PublicKey{N: new(big.Int).Lsh(private.N, 6145), E: 65537}, "2048 to 8192 bits"},
		{"an even modulus", &rsa.PublicKey{N: even, E: 65537}, "modulus or the exponent"},
		{"the exponent 1", &rsa.PublicKey{N: private.N, E: 1}, "modulus or the exponent"},
		{"a nil ECDSA key", (*ecdsa.PublicKey)(nil), "nil or has no point"},
		{"an ECDSA key without a point", &ecdsa.PublicKey{Curve: elliptic.P256()}, "nil or has no point"},
		{"an ECDSA key off its curve", off, "no point of its curve"},
		{"a short key of Ed25519", ed25519.PublicKey("short"), "32 bytes, not 5"},
	} {
		key, alg, err := jwa.PublicKey(test.key, "")
		assert.ErrorContains(t, err, test.want, test.name)
		assert.Nil(t, key, test.name)
		assert.Empty(t, alg, test.name)
	}
	_, _, err = jwa.PublicKey(private.Public(), "ES256")
	assert.ErrorContains(t, err, `"ES256" is not for this key`)
}

// A JWK of what a signer has is the key that the signer has, with one thumbprint.
func TestAKeyThereAndBack(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	signer, err := jwa.NewSigner(private)
	require.NoError(t, err)
	key, err := jwa.ParsePublicKey(fmt.Appendf(nil, "{%s}", signer.Members), signer.Algorithm)
	require.NoError(t, err)
	assert.True(t, private.PublicKey.Equal(key))
	assert.Equal(t, jwa.Thumbprint(&private.PublicKey), jwa.Thumbprint(key))
	n := base64.RawURLEncoding.EncodeToString(append([]byte{0}, private.N.Bytes()...))
	_, err = jwa.ParsePublicKey(fmt.Appendf(nil, `{"kty":"RSA","e":"AQAB","n":%q}`, n), "RS256")
	assert.ErrorContains(t, err, "modulus", "a zero in front is another spelling of the same key")
}
