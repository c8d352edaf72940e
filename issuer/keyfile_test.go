package issuer_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
)

// fileKeys are keys made for these tests.
var fileKeys = sync.OnceValue(func() (k struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}) {
	k.rsa = must(rsa.GenerateKey(rand.Reader, 2048))
	k.ec = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return k
})

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

type members = map[string]any

func rsaJWK() members {
	k := fileKeys().rsa
	e := func(n *big.Int) string { return b64(n.Bytes()) }
	return members{
		"kty": "RSA", "n": e(k.N), "e": "AQAB", "d": e(k.D), "p": e(k.Primes[0]), "q": e(k.Primes[1]),
		"dp": e(k.Precomputed.Dp), "dq": e(k.Precomputed.Dq), "qi": e(k.Precomputed.Qinv),
	}
}

func ecJWK() members {
	k := fileKeys().ec
	point := must(k.PublicKey.Bytes())
	return members{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:]), "d": b64(must(k.Bytes()))}
}

func edJWK() members {
	return members{"kty": "OKP", "crv": "Ed25519", "x": b64(edPublic), "d": b64(edPrivate.Seed())}
}

func octJWK() members {
	return members{"kty": "oct", "k": b64([]byte("an obviously fake secret, 32 bytes"))}
}

func with(m members, changes members) string {
	m = maps.Clone(m)
	for name, value := range changes {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	return string(must(json.Marshal(m)))
}

func TestAKeyIsReadFromEachFormOfFile(t *testing.T) { // IT-02
	rsaKey, ecKey := fileKeys().rsa, fileKeys().ec
	pkcs8 := func(k crypto.Signer) string { return pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(k))) }
	sec1 := pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey)))
	ids := map[string]string{
		issuer.RS256: must(issuer.NewKey(rsaKey)).ID(), issuer.ES256: must(issuer.NewKey(ecKey)).ID(),
		issuer.EdDSA: must(issuer.NewKey(edPrivate)).ID(),
		issuer.HS256: must(issuer.NewSecretKey([]byte("an obviously fake secret, 32 bytes"))).ID(),
	}
	for _, c := range []struct{ name, file, algorithm, kid string }{
		{"PKCS#8 of RSA", pkcs8(rsaKey), issuer.RS256, ""},
		{"PKCS#8 of P-256", pkcs8(ecKey), issuer.ES256, ""},
		{"PKCS#8 of Ed25519", pkcs8(edPrivate), issuer.EdDSA, ""},
		{"PKCS#1", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), issuer.RS256, ""},
		{"SEC 1", sec1, issuer.ES256, ""},
		{"SEC 1 behind its parameters", pemOf("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}) + sec1, issuer.ES256, ""},
		{"a JWK of RSA", with(rsaJWK(), nil), issuer.RS256, ""},
		{"a JWK of P-256", with(ecJWK(), members{"kid": "k-2026"}), issuer.ES256, "k-2026"},
		{"a JWK of Ed25519", with(edJWK(), members{"alg": "EdDSA", "use": "sig", "key_ops": []string{"sign", "verify"}}), issuer.EdDSA, ""},
		{"a JWK of a secret", with(octJWK(), members{"alg": "HS256"}), issuer.HS256, ""},
		{"a JWK with members that nobody knows", "\n " + with(edJWK(), members{"ext": true, "kid": `q"\`}), issuer.EdDSA, `q"\`},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := issuer.ParseKey([]byte(c.file))
			require.NoError(t, err)
			assert.Equal(t, c.algorithm, k.Algorithm())
			want := ids[c.algorithm]
			if c.kid != "" {
				want = c.kid
			}
			assert.Equal(t, want, k.ID())
			f := newFixture(t, func(c *issuer.Config) { c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: k})) })
			access := f.login().str("access_token")
			assert.Equal(t, want, part(t, access, 0)["kid"])
			assert.Equal(t, 200, f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+access).status)
			if c.algorithm == issuer.HS256 {
				assert.JSONEq(t, `{"keys":[]}`, string(f.issuer.JWKS()))
				return
			}
			var set struct{ Keys []members }
			require.NoError(t, json.Unmarshal(f.issuer.JWKS(), &set))
			require.Len(t, set.Keys, 1)
			assert.Equal(t, want, set.Keys[0]["kid"])
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				assert.NotContains(t, set.Keys[0], private)
			}
		})
	}
}

func TestAFileOfManyKeysIsReadInItsOrder(t *testing.T) {
	rsaKey, ecKey, edKey := with(rsaJWK(), nil), with(ecJWK(), members{"kid": "b"}), with(edJWK(), members{"kid": "a"})
	algorithms := func(keys []*issuer.Key) (list []string) {
		for _, k := range keys {
			list = append(list, k.Algorithm())
		}
		return list
	}
	keys, err := issuer.ParseKeys([]byte(`{"keys":[` + rsaKey + "," + ecKey + "," + edKey + `]}`))
	require.NoError(t, err)
	assert.Equal(t, []string{"RS256", "ES256", "EdDSA"}, algorithms(keys))
	keys, err = issuer.ParseKeys([]byte(edKey))
	require.NoError(t, err)
	assert.Equal(t, []string{"EdDSA"}, algorithms(keys))
	file := append(must(issuer.GenerateKeyPEM(issuer.ES256)), must(issuer.GenerateKeyPEM(issuer.EdDSA))...)
	keys, err = issuer.ParseKeys(file)
	require.NoError(t, err)
	assert.Equal(t, []string{"ES256", "EdDSA"}, algorithms(keys))
	_, err = issuer.ParseKey(file)
	assert.ErrorContains(t, err, "the file holds 2 keys")
	_, err = issuer.ParseKeys([]byte(`{"keys":[` + edKey + "," + ecKey + "," + edKey + `]}`))
	assert.EqualError(t, err, "issuer: keys 1 and 3 of the file have one kid")
	_, err = issuer.ParseKey([]byte(`{"keys":[` + edKey + `]}`))
	assert.ErrorContains(t, err, "ParseKeys reads")
	_, err = issuer.ParseKeys([]byte(`{"keys":[` + with(edJWK(), members{"alg": "ES256"}) + ",{}]}"))
	assert.ErrorContains(t, err, `key 1 of the JWK Set: "alg" is not EdDSA`)
	assert.ErrorContains(t, err, `key 2 of the JWK Set: "kty" is missing`, "every mistake at once")
	many := strings.TrimSuffix(strings.Repeat(edKey+",", 65), ",")
	_, err = issuer.ParseKeys([]byte(`{"keys":[` + many + `]}`))
	assert.ErrorContains(t, err, "64 at most")
	_, err = issuer.ParseKeys(slices.Repeat(must(issuer.GenerateKeyPEM(issuer.EdDSA)), 65))
	assert.ErrorContains(t, err, "64 at most")
	_, err = issuer.ParseKeys(make([]byte, 256<<10+1))
	assert.ErrorContains(t, err, "262144 at most")
}

func TestAGeneratedPEMIsRead(t *testing.T) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256, issuer.EdDSA} {
		k, err := issuer.ParseKey(must(issuer.GenerateKeyPEM(algorithm)))
		require.NoError(t, err)
		assert.Equal(t, algorithm, k.Algorithm())
	}
	for _, algorithm := range []string{issuer.HS256, "none", ""} {
		_, err := issuer.GenerateKeyPEM(algorithm)
		assert.ErrorContains(t, err, "HS256")
	}
}

// badFiles are files that no key is read from, by what is said of them.
func badFiles() []struct{ want, file string } {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	ed := pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edPrivate)))
	public := pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(edPublic)))
	padded := func(s string) string { return b64(append([]byte{0}, must(base64.RawURLEncoding.DecodeString(s))...)) }
	return []struct{ want, file string }{
		{"there is no PEM block", ""},
		{"there is no PEM block", "hello"},
		{"of 1 PEM blocks 0 can be read", "-----BEGIN PRIVATE KEY-----\nAAAA"},
		{"of 2 PEM blocks 1 can be read", ed + "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n"},
		{`PEM block 1 is of the type "PUBLIC KEY"`, public},
		{`PEM block 2 is of the type "PUBLIC KEY"`, ed + public},
		{"PEM block 1 is not a private key", pemOf("SECRET d0nt-show-this", []byte{1})},
		{"is encrypted", pemOf("ENCRYPTED PRIVATE KEY", []byte{1})},
		{"is encrypted", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte{1}}))},
		{"has headers", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{"kid": "a"}, Bytes: []byte{1}}))},
		{"6144 at most", pemOf("PRIVATE KEY", make([]byte, 6145))},
		{`cannot be read as "PRIVATE KEY"`, pemOf("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(fileKeys().rsa))},
		{"a key of type *ecdh.PrivateKey, which does not sign", pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader)))))},
		{"the file holds 129 PEM blocks; 64 keys at most", strings.Repeat(ed, 129)},
		{"needs 2048 bits", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small))},
		{"a point on P-256", pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p384)))},
		{"not a JSON object", "{"},
		{"not a JSON object", with(edJWK(), nil) + "x"},
		{"has a member twice", `{"kty":"OKP",` + with(edJWK(), nil)[1:]},
		{`"kty" is missing`, "{}"},
		{`"kty" is not a string`, with(edJWK(), members{"kty": 1})},
		{`"kty" is not one of`, with(edJWK(), members{"kty": "okp"})},
		{`"alg" is not RS256`, with(rsaJWK(), members{"alg": "PS256"})},
		{`"use" is not sig`, with(edJWK(), members{"use": "enc"})},
		{`"key_ops" does not hold sign`, with(edJWK(), members{"key_ops": []string{"verify"}})},
		{`"key_ops" does not hold sign`, with(edJWK(), members{"key_ops": "sign"})},
		{`"kid" is not a string, or empty`, with(edJWK(), members{"kid": ""})},
		{`"kid" is not 1 to 128`, with(edJWK(), members{"kid": strings.Repeat("k", 129)})},
		{`"kid" is not 1 to 128`, with(edJWK(), members{"kid": "a\nb"})},
		{`"d" is missing`, with(edJWK(), members{"d": nil})},
		{`"d" is not base64url`, with(edJWK(), members{"d": b64(edPrivate.Seed()) + "="})},
		{`"d" is not base64url`, with(edJWK(), members{"d": b64(edPrivate.Seed()) + "\n"})},
		{`"d" has 31 bytes, not 32`, with(edJWK(), members{"d": b64(edPrivate.Seed()[1:])})},
		{`"crv" is not Ed25519`, with(edJWK(), members{"crv": "X25519"})},
		{`"x" is not the public key of "d"`, with(edJWK(), members{"x": b64(make([]byte, 32))})},
		{`"crv" is not P-256`, with(ecJWK(), members{"crv": "P-384"})},
		{`"x" has 33 bytes, not 32`, with(ecJWK(), members{"x": padded(ecJWK()["x"].(string))})},
		{`"d" is not a private key of P-256`, with(ecJWK(), members{"d": b64(make([]byte, 32))})},
		{`"x" and "y" are not the public key`, with(ecJWK(), members{"y": ecJWK()["x"]})},
		{`"p" is missing`, with(rsaJWK(), members{"p": nil, "q": nil})},
		{`"d" is missing`, with(rsaJWK(), members{"d": nil})},
		{`"oth"`, with(rsaJWK(), members{"oth": []int{}})},
		{`"n" begins with a zero byte`, with(rsaJWK(), members{"n": padded(rsaJWK()["n"].(string))})},
		{`"n" has more than 8192 bits`, with(rsaJWK(), members{"n": b64(slices.Repeat([]byte{0xff}, 1025))})},
		{`"e" has more than 31 bits`, with(rsaJWK(), members{"e": "_____w"})},
		{"not those of one RSA key", with(rsaJWK(), members{"d": rsaJWK()["n"]})},
		{"not those of one RSA key", with(rsaJWK(), members{"p": rsaJWK()["q"]})},
		{`"dp", "dq" or "qi"`, with(rsaJWK(), members{"dp": rsaJWK()["dq"]})},
		{"needs 2048 bits", with(rsaJWK(), members{"n": rsaJWK()["p"]})},
		{"needs 32 bytes", with(octJWK(), members{"k": b64(make([]byte, 31))})},
		{`"alg" is not HS256`, with(octJWK(), members{"alg": "HS512"})},
		{`"k" is missing`, with(octJWK(), members{"k": nil})},
	}
}

// What is missing is said, and nothing of what cannot be judged without it.
func TestAMissingMemberIsTheOnlyMistake(t *testing.T) {
	for _, m := range []members{rsaJWK(), ecJWK(), edJWK()} {
		_, err := issuer.ParseKey([]byte(with(m, members{"d": nil})))
		assert.EqualError(t, err, `issuer: the JWK: "d" is missing`)
	}
}

func TestAKeyFileWithAMistakeIsRefusedAndNotShown(t *testing.T) {
	var secrets []string
	for _, m := range []members{rsaJWK(), ecJWK(), edJWK(), octJWK()} {
		for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if s, ok := m[name].(string); ok {
				secrets = append(secrets, s[:12])
			}
		}
	}
	for _, c := range badFiles() {
		t.Run(c.want, func(t *testing.T) {
			_, err := issuer.ParseKey([]byte(c.file))
			require.ErrorContains(t, err, c.want)
			_, err2 := issuer.ParseKeys([]byte(c.file))
			if c.file == "{}" { // no key and no set of keys
				c.want = `has no member "keys"`
			}
			require.ErrorContains(t, err2, c.want)
			for _, secret := range append(secrets, "d0nt-show-this", fmt.Sprint(fileKeys().rsa.D)[:12]) {
				assert.NotContains(t, err.Error()+err2.Error(), secret)
			}
		})
	}
}

func FuzzParseKeys(f *testing.F) {
	for _, c := range badFiles() {
		f.Add([]byte(c.file))
	}
	for _, m := range []members{rsaJWK(), ecJWK(), edJWK(), octJWK()} {
		f.Add([]byte(with(m, nil)))
		f.Add([]byte(`{"keys":[` + with(m, members{"kid": "a"}) + `]}`))
	}
	f.Add(must(issuer.GenerateKeyPEM(issuer.ES256)))
	f.Fuzz(func(t *testing.T, data []byte) {
		one, err := issuer.ParseKey(data)
		keys, errs := issuer.ParseKeys(data)
		if err == nil && (errs != nil || len(keys) != 1 || keys[0].ID() != one.ID()) {
			t.Errorf("ParseKey reads %v, ParseKeys %v, %v", one, keys, errs)
		}
		if errs == nil && (len(keys) == 0 || len(keys) > 64) {
			t.Errorf("%d keys", len(keys))
		}
		for _, k := range keys {
			ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: k}))
			if !json.Valid(ring.JWKS()) || k.ID() == "" || len(k.ID()) > 128 {
				t.Errorf("kid %q makes the JWK Set %s", k.ID(), ring.JWKS())
			}
		}
	})
}
