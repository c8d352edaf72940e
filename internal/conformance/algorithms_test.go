package conformance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"math/big"
	"sync"
	"time"

	"github.com/tokenloop/tokenloop/middleware"
)

// An algorithm makes tokens with the cryptography of the standard library alone,
// so that nothing which verifies them has also made them. Its key is called by its
// name.
type algorithm struct {
	name   string
	hash   crypto.Hash   // zero for Ed25519
	secret []byte        // of HMAC
	key    crypto.Signer // of the others
	keys   middleware.KeySource
}

// algorithms are all that there are. The public keys are those of one set.
var algorithms = sync.OnceValue(func() []*algorithm {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	curve := func(c elliptic.Curve) crypto.Signer { return must(ecdsa.GenerateKey(c, rand.Reader)) }
	edKey := func() crypto.Signer {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return must(k, err)
	}
	all := []*algorithm{
		{name: "HS256", hash: crypto.SHA256, secret: random(32)},
		{name: "HS384", hash: crypto.SHA384, secret: random(48)},
		{name: "HS512", hash: crypto.SHA512, secret: random(64)},
		{name: "RS256", hash: crypto.SHA256, key: rsaKey},
		{name: "RS384", hash: crypto.SHA384, key: rsaKey},
		{name: "RS512", hash: crypto.SHA512, key: rsaKey},
		{name: "PS256", hash: crypto.SHA256, key: rsaKey},
		{name: "PS384", hash: crypto.SHA384, key: rsaKey},
		{name: "PS512", hash: crypto.SHA512, key: rsaKey},
		{name: "ES256", hash: crypto.SHA256, key: curve(elliptic.P256())},
		{name: "ES384", hash: crypto.SHA384, key: curve(elliptic.P384())},
		{name: "ES512", hash: crypto.SHA512, key: curve(elliptic.P521())},
		{name: "EdDSA", key: edKey()},
		{name: "Ed25519", key: edKey()}, // RFC 9864, Section 2.2
	}
	var public []jwk
	for _, a := range all {
		if a.key != nil {
			public = append(public, publicJWK(a.key.Public(), jwk{"kid": a.name, "alg": a.name, "use": "sig"}))
		}
	}
	published := set(public...)
	for _, a := range all {
		switch a.name {
		case "HS256":
			a.keys = middleware.HS256(a.secret)
		case "HS384":
			a.keys = middleware.HS384(a.secret)
		case "HS512":
			a.keys = middleware.HS512(a.secret)
		default:
			a.keys = published
		}
	}
	return all
})

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// publicJWK returns the JWK of a public key (RFC 7518, Section 6; RFC 8037, Section
// 2), with more members.
func publicJWK(key crypto.PublicKey, more jwk) jwk {
	k := maps.Clone(more)
	switch p := key.(type) {
	case *rsa.PublicKey:
		k["kty"], k["n"], k["e"] = "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		point := must(p.Bytes())
		half := len(point) / 2
		k["kty"], k["crv"], k["x"], k["y"] = "EC", p.Params().Name, b64(point[1:1+half]), b64(point[1+half:])
	case ed25519.PublicKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", b64([]byte(p))
	}
	return k
}

// sum returns the hash of an input.
func sum(h crypto.Hash, input string) []byte {
	w := h.New()
	w.Write([]byte(input))
	return w.Sum(nil)
}

// sign returns the signature of an input (RFC 7518, Section 3; RFC 8037, Section 3.1).
func (a *algorithm) sign(input string) []byte {
	switch {
	case a.secret != nil:
		return mac(a.hash, a.secret, input)
	case a.name[:2] == "Ed":
		return must(a.key.Sign(rand.Reader, []byte(input), crypto.Hash(0)))
	case a.name[:2] == "ES":
		return a.pair(must2(ecdsa.Sign(rand.Reader, a.key.(*ecdsa.PrivateKey), sum(a.hash, input))))
	case a.name[:2] == "PS":
		return a.pss(input, rsa.PSSSaltLengthEqualsHash)
	default:
		return must(a.key.Sign(rand.Reader, sum(a.hash, input), a.hash))
	}
}

func mac(h crypto.Hash, secret []byte, input string) []byte {
	w := hmac.New(h.New, secret)
	w.Write([]byte(input))
	return w.Sum(nil)
}

// pss signs with a salt of a length.
func (a *algorithm) pss(input string, salt int) []byte {
	return must(a.key.Sign(rand.Reader, sum(a.hash, input), &rsa.PSSOptions{SaltLength: salt, Hash: a.hash}))
}

// pair writes r and s as JWS has them, each as long as the order of the curve.
func (a *algorithm) pair(r, s *big.Int) []byte {
	n := (a.order().BitLen() + 7) / 8
	return append(r.FillBytes(make([]byte, n)), s.FillBytes(make([]byte, n))...)
}

// order returns the order of the curve.
func (a *algorithm) order() *big.Int { return a.key.Public().(*ecdsa.PublicKey).Params().N }

func must2[T, U any](t T, u U, err error) (T, U) {
	must(0, err)
	return t, u
}

// header returns that of a good token.
func (a *algorithm) header(changes ...any) jwk {
	return jwk{"alg": a.name, "typ": "at+jwt", "kid": a.name}.public(changes...)
}

// claims returns those of a good token.
func claims(changes ...any) jwk {
	now := time.Now().Unix()
	return jwk{"iss": "joe", "aud": "orders", "sub": "alice", "iat": now, "exp": now + 900}.public(changes...)
}

// text returns a text as it is, and everything else as JSON.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return toJSON(v)
}

// token returns a token that is signed.
func (a *algorithm) token(header, payload any) string {
	input := b64(text(header)) + "." + b64(text(payload))
	return input + "." + b64(a.sign(input))
}

// sealed returns the header and the payload with another signature.
func sealed(header, payload any, sign func(input string) []byte) string {
	input := b64(text(header)) + "." + b64(text(payload))
	return input + "." + b64(sign(input))
}
