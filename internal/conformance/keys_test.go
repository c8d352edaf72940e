package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// find returns the algorithm of a name.
func find(name string) *algorithm {
	for _, a := range algorithms() {
		if a.name == name {
			return a
		}
	}
	panic(name)
}

// Every way to spoil a key, in a set beside a key that is good. What is left out
// of the set is unknown. Where a wrong key is let in, the token that it signed is
// genuine, and would be accepted.
func TestKeys(t *testing.T) {
	const (
		used    = accepted
		leftOut = unknown
	)
	rs, es, p384, ed := find("RS256"), find("ES256"), find("ES384"), find("EdDSA")
	renamed := &algorithm{name: "Ed25519", key: ed.key}
	good := func(a *algorithm, changes ...any) jwk {
		return publicJWK(a.key.Public(), jwk{"kid": "k"}).public(changes...)
	}
	without := func(k jwk, name string) jwk {
		delete(k, name)
		return k
	}
	// A JWK as text, for what no map can say.
	raw := func(k jwk, more string) string {
		text := toJSON(k)
		return text[:len(text)-1] + "," + more + "}"
	}
	rsaOf := func(bits, exponent int) *algorithm {
		return &algorithm{name: "RS256", hash: crypto.SHA256, key: weakRSA(bits, exponent)}
	}
	short, long, three := rsaOf(1024, 65537), rsaOf(2047, 65537), rsaOf(2048, 3)
	n, e := rs.key.Public().(*rsa.PublicKey).N, "AQAB"
	point := good(es)
	x, y := point.bytes("x"), point.bytes("y")
	thin := thinPoint()
	p224 := &algorithm{name: "ES256", hash: crypto.SHA256, key: must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))}

	for _, c := range []struct {
		name   string
		key    any // a jwk, or its text
		signer *algorithm
		reason jwterrors.Reason
	}{
		{"RSA", good(rs), rs, used},
		{"EC", good(es), es, used},
		{"Ed25519", good(ed), ed, used},

		// What it is for (RFC 7517, Sections 4.2 to 4.4).
		{"use sig", good(rs, "use", "sig"), rs, used},
		{"use enc", good(rs, "use", "enc"), rs, leftOut},
		{"use SIG", good(rs, "use", "SIG"), rs, leftOut},
		{"use empty", good(rs, "use", ""), rs, leftOut},
		{"use unknown", good(rs, "use", "x"), rs, leftOut},
		{"use null", good(rs, "use", nil), rs, leftOut},
		{"use an array", good(rs, "use", []string{"sig"}), rs, leftOut},
		{"key_ops verify", good(es, "key_ops", []string{"verify"}), es, used},
		{"key_ops with verify", good(es, "key_ops", []string{"sign", "verify"}), es, used},
		{"key_ops sign", good(es, "key_ops", []string{"sign"}), es, leftOut},
		{"key_ops encrypt", good(es, "key_ops", []string{"encrypt"}), es, leftOut},
		{"key_ops empty", good(es, "key_ops", []string{}), es, leftOut},
		{"key_ops null", good(es, "key_ops", nil), es, leftOut},
		{"key_ops a string", good(es, "key_ops", "verify"), es, leftOut},
		{"key_ops verify, use enc", good(es, "key_ops", []string{"verify"}, "use", "enc"), es, leftOut},
		{"key_ops encrypt, use sig", good(es, "key_ops", []string{"encrypt"}, "use", "sig"), es, leftOut},
		{"alg RS256", good(rs, "alg", "RS256"), rs, used},
		{"alg of another hash", good(rs, "alg", "RS512"), rs, signature},
		{"alg PS256", good(rs, "alg", "PS256"), rs, signature},
		{"alg ES256 for an RSA key", good(rs, "alg", "ES256"), rs, leftOut},
		{"alg RS256 for an EC key", good(es, "alg", "RS256"), es, leftOut},
		{"alg ES384 for a key on P-256", good(es, "alg", "ES384"), es, leftOut},
		{"alg ES256 for a key on P-384", good(p384, "alg", "ES256"), p384, leftOut},
		{"alg EdDSA for an EC key", good(es, "alg", "EdDSA"), es, leftOut},
		{"alg Ed25519, for a token that says EdDSA", good(ed, "alg", "Ed25519"), ed, signature},
		{"alg Ed25519", good(ed, "alg", "Ed25519"), renamed, used},
		{"no alg, for a token that says Ed25519", good(ed), renamed, signature},
		{"alg Ed448", good(ed, "alg", "Ed448"), ed, leftOut},
		{"alg HS256", good(rs, "alg", "HS256"), rs, leftOut},
		{"alg none", good(rs, "alg", "none"), rs, leftOut},
		{"alg RSA-OAEP", good(rs, "alg", "RSA-OAEP"), rs, leftOut},
		{"alg in lower case", good(rs, "alg", "rs256"), rs, leftOut},
		{"alg a number", good(rs, "alg", 256), rs, leftOut},
		{"alg null", good(rs, "alg", nil), rs, leftOut},

		// What it is (RFC 7517, Section 4.1; RFC 7518, Section 6).
		{"kty missing", without(good(rs), "kty"), rs, leftOut},
		{"kty in lower case", good(rs, "kty", "rsa"), rs, leftOut},
		{"kty EC for an RSA key", good(rs, "kty", "EC"), rs, leftOut},
		{"kty RSA for an EC key", good(es, "kty", "RSA"), es, leftOut},
		{"kty OKP for an EC key", good(es, "kty", "OKP"), es, leftOut},
		{"kty AKP", good(es, "kty", "AKP"), es, leftOut},
		{"kty a number", good(es, "kty", 1), es, leftOut},
		{"kty twice", raw(good(rs), `"kty":"RSA"`), rs, noKeys}, // such a document is read by nobody in one way
		{"kty twice, by case", raw(good(rs), `"KTY":"oct"`), rs, leftOut},
		{"n twice", raw(good(rs), `"n":"`+b64(short.key.Public().(*rsa.PublicKey).N.Bytes())+`"`), rs, noKeys},
		{"members that nobody knows", raw(good(rs), `"x5t":"x","x":[1],"iat":1,"ext":true`), rs, leftOut},
		{"members that nobody knows, not those of other keys", raw(good(rs), `"x5t":"x","iat":1,"ext":true,"nbf":1`), rs, used},
		{"a certificate that is none", good(rs, "x5c", []string{"AAAA"}), rs, used},
		{"a certificate elsewhere", good(rs, "x5u", "http://127.0.0.1:1/"), rs, used},
		{"a certificate alone", without(without(good(rs, "x5c", []string{"AAAA"}), "n"), "e"), rs, leftOut},

		// RSA (RFC 7518, Section 6.3.1).
		{"1024 bits", good(short), short, leftOut},
		{"2047 bits", good(long), long, leftOut},
		{"8200 bits", good(rs, "n", b64(new(big.Int).SetBit(n, 8199, 1).Bytes())), rs, leftOut},
		{"exponent 3", good(three), three, used},
		{"exponent 1", good(rs, "e", b64("\x01")), rs, leftOut},
		{"exponent 2", good(rs, "e", b64("\x02")), rs, leftOut},
		{"exponent 0", good(rs, "e", b64("\x00")), rs, leftOut},
		{"exponent empty", good(rs, "e", ""), rs, leftOut},
		{"exponent even", good(rs, "e", b64("\x01\x00\x00")), rs, leftOut},
		{"exponent of 33 bits", good(rs, "e", b64("\x01\x00\x00\x00\x01")), rs, leftOut},
		{"exponent of 65 bits", good(rs, "e", b64("\x01\x00\x00\x00\x00\x00\x01\x00\x01")), rs, leftOut},
		{"exponent a number", good(rs, "e", 65537), rs, leftOut},
		{"exponent missing", without(good(rs), "e"), rs, leftOut},
		{"modulus missing", without(good(rs), "n"), rs, leftOut},
		{"modulus empty", good(rs, "n", ""), rs, leftOut},
		{"modulus zero", good(rs, "n", b64(make([]byte, 256))), rs, leftOut},
		{"modulus even", good(rs, "n", b64(new(big.Int).SetBit(n, 0, 0).Bytes())), rs, leftOut},
		{"modulus of another key", good(rs, "n", b64(rsaOf(2048, 65537).key.Public().(*rsa.PublicKey).N.Bytes())), rs, signature},
		{"modulus in hexadecimal", good(rs, "n", n.Text(16)), rs, signature},
		{"modulus and exponent changed places", good(rs, "n", e, "e", b64(n.Bytes())), rs, leftOut},

		// EC (RFC 7518, Section 6.2.1).
		{"coordinates that begin with a zero", good(thin), thin, used},
		{"another curve", good(es, "crv", "P-384"), es, leftOut},
		{"P-224", good(p224), p224, leftOut},
		{"secp256k1", good(es, "crv", "secp256k1"), es, leftOut},
		{"crv in lower case", good(es, "crv", "p-256"), es, leftOut},
		{"crv missing", without(good(es), "crv"), es, leftOut},
		{"no point of the curve", good(es, "x", b64(y), "y", b64(x)), es, leftOut},
		{"the other point", good(es, "y", b64(new(big.Int).Sub(elliptic.P256().Params().P, new(big.Int).SetBytes(y)).FillBytes(make([]byte, 32)))), es, signature},
		{"the point at infinity", good(es, "x", b64(make([]byte, 32)), "y", b64(make([]byte, 32))), es, leftOut},
		{"x and the prime", good(es, "x", b64(new(big.Int).Add(elliptic.P256().Params().P, new(big.Int).SetBytes(x)).Bytes())), es, leftOut},
		{"x missing", without(good(es), "x"), es, leftOut},
		{"y missing", without(good(es), "y"), es, leftOut},
		{"y empty", good(es, "y", ""), es, leftOut},
		{"x in the standard alphabet", good(es, "x", "+/"+b64(x)[2:]), es, leftOut},

		// Numbers that are written in another way than they should be, as some
		// issuers do, and are the same: a set has no one spelling to keep to.
		{"modulus with padding", good(rs, "n", base64.URLEncoding.EncodeToString(n.Bytes())), rs, used},
		{"modulus with a zero before it", good(rs, "n", b64(append([]byte{0}, n.Bytes()...))), rs, used},
		{"exponent with a zero before it", good(rs, "e", b64("\x00\x01\x00\x01")), rs, used},
		{"x with padding", good(es, "x", base64.URLEncoding.EncodeToString(x)), es, used},
		{"x with a line break", good(es, "x", b64(x)[:20]+"\n"+b64(x)[20:]), es, used},
		{"x with stray bits", good(es, "x", stray(b64(x))), es, used},
		{"x with a zero too many", good(es, "x", b64(append([]byte{0}, x...))), es, used},
		{"coordinates without the zero that they begin with", good(thin,
			"x", b64(bytes.TrimLeft(good(thin).bytes("x"), "\x00")), "y", b64(bytes.TrimLeft(good(thin).bytes("y"), "\x00"))), thin, used},

		// OKP (RFC 8037, Section 2).
		{"X25519", good(ed, "crv", "X25519"), ed, leftOut},
		{"Ed448", good(ed, "crv", "Ed448"), ed, leftOut},
		{"31 bytes", good(ed, "x", b64(good(ed).bytes("x")[:31])), ed, leftOut},
		{"33 bytes", good(ed, "x", b64(append(good(ed).bytes("x"), 0))), ed, leftOut},
		{"a coordinate that is no point", good(ed, "x", b64(append([]byte{2}, make([]byte, 31)...))), ed, signature},

		// Keys that are no public ones.
		{"a private RSA key", good(rs, "d", b64("d")), rs, leftOut},
		{"a private EC key", good(es, "d", b64(must(es.key.(*ecdsa.PrivateKey).Bytes()))), es, leftOut},
		{"a part of a private key", good(rs, "p", b64("p")), rs, leftOut},
		{"a secret", jwk{"kty": "oct", "kid": "k", "k": b64(find("HS256").secret)}, find("HS256"), signature},
		{"a secret, for HS256", jwk{"kty": "oct", "kid": "k", "alg": "HS256", "use": "sig", "k": b64(find("HS256").secret)}, find("HS256"), signature},
		{"a secret in an RSA key", good(rs, "k", b64("k")), rs, leftOut},

		// Names.
		{"kid a number", good(rs, "kid", 1), rs, leftOut},
		{"kid null", good(rs, "kid", nil), rs, leftOut},
		{"kid missing", without(good(rs), "kid"), rs, leftOut},
		{"kid in another case", good(rs, "kid", "K"), rs, leftOut},
		{"kid twice", raw(good(rs), `"kid":"k"`), rs, noKeys},

		// What is no key at all.
		{"null", "null", rs, leftOut},
		{"a string", `"key"`, rs, leftOut},
		{"an array", "[]", rs, leftOut},
		{"a set in a set", `{"keys":[` + toJSON(good(rs)) + `]}`, rs, leftOut},
		{"an empty object", "{}", rs, leftOut},
	} {
		t.Run(c.name, func(t *testing.T) {
			document := []byte(`{"keys":[` + toJSON(good(ed, "kid", "other")) + "," + text(c.key) + "]}")
			config := middleware.Config{
				Keys: middleware.LocalJWKS(func() []byte { return document }), Issuer: "joe", Audience: []string{"orders"},
			}
			got, err := judge(t, config, c.signer.token(c.signer.header("kid", "k"), claims()))
			assert.Equal(t, c.reason, got, "%v", err)
			if c.reason != noKeys {
				got, err = judge(t, config, ed.token(ed.header("kid", "other"), claims()))
				assert.Empty(t, got, "the key beside it: %v", err)
			}
		})
	}
}

// A document that is no set has no keys.
func TestSets(t *testing.T) {
	rs := find("RS256")
	key := toJSON(publicJWK(rs.key.Public(), jwk{"kid": "RS256"}))
	for _, c := range []struct {
		name, document string
		reason         jwterrors.Reason
	}{
		{"a set", `{"keys":[` + key + `]}`, accepted},
		{"with more members", `{"keys":[` + key + `],"x":1}`, accepted},
		{"with white space", " {\r\n\t\"keys\" : [ " + key + " ] } \n", accepted},
		{"a key alone", key, noKeys},
		{"an array of keys", `[` + key + `]`, noKeys},
		{"keys an object", `{"keys":{"RS256":` + key + `}}`, noKeys},
		{"keys a key", `{"keys":` + key + `}`, noKeys},
		{"keys twice", `{"keys":[],"keys":[` + key + `]}`, noKeys},
		{"KEYS", `{"KEYS":[` + key + `]}`, noKeys},
		{"keys null", `{"keys":null}`, noKeys},
		{"no keys", `{"keys":[]}`, noKeys},
		{"empty", "", noKeys},
		{"null", "null", noKeys},
		{"an error", `{"error":"server_error"}`, noKeys},
		{"a page", "<!DOCTYPE html><title>Sign in</title>", noKeys},
		{"half of it", `{"keys":[` + key, noKeys},
		{"something behind it", `{"keys":[` + key + `]}x`, noKeys},
		{"not UTF-8", "{\"x\":\"\xff\",\"keys\":[" + key + "]}", noKeys},
		{"too many keys", `{"keys":[` + strings.Repeat(key+",", 256) + key + `]}`, noKeys},
		{"a key twice", `{"keys":[` + key + "," + key + `]}`, accepted},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := middleware.Config{
				Keys:   middleware.LocalJWKS(func() []byte { return []byte(c.document) }),
				Issuer: "joe", Audience: []string{"orders"},
			}
			got, err := judge(t, config, rs.token(rs.header(), claims()))
			assert.Equal(t, c.reason, got, "%v", err)
		})
	}
}

// weakRSA makes a key of a size and with an exponent that crypto/rsa makes none of.
func weakRSA(bits, exponent int) *rsa.PrivateKey {
	e, one := big.NewInt(int64(exponent)), big.NewInt(1)
	for {
		p, q := must(rand.Prime(rand.Reader, (bits+1)/2)), must(rand.Prime(rand.Reader, bits/2))
		n := new(big.Int).Mul(p, q)
		d := new(big.Int).ModInverse(e, new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)))
		if n.BitLen() == bits && d != nil {
			return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: exponent}, D: d, Primes: []*big.Int{p, q}}
		}
	}
}

// thinPoint returns a key of which a coordinate begins with a zero.
func thinPoint() *algorithm {
	for {
		k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		if point := must(k.PublicKey.Bytes()); point[1] == 0 || point[33] == 0 {
			return &algorithm{name: "ES256", hash: crypto.SHA256, key: k}
		}
	}
}
