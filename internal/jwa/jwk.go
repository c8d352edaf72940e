package jwa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/tokenloop/tokenloop/internal/jws"
)

// IsSecret reports whether the members of a JWK hold what no public one has (RFC
// 7518, Section 6): a private or a symmetric key.
func IsSecret(members map[string]json.RawMessage) bool {
	return slices.ContainsFunc([]string{"d", "k", "p", "q", "dp", "dq", "qi", "oth"}, func(name string) bool {
		_, ok := members[name]
		return ok
	})
}

// ParsePublicKey reads a public JWK (RFC 7517, Section 4; RFC 8037, Section 2) as
// the key for the algorithm called name. A JWK that has a private or symmetric key
// in it is an error, and so is one that another spelling of its numbers would be
// the same key as.
func ParsePublicKey(jwk []byte, name string) (crypto.PublicKey, error) {
	m, err := jws.Members(jwk)
	if err != nil {
		return nil, errors.New("the JWK is not an unambiguous JSON object")
	}
	if IsSecret(m) {
		return nil, errors.New("the JWK is not a public one")
	}
	var wrong error
	text := func(member string) string {
		s, err := jws.String(m[member])
		if err != nil || s == "" {
			wrong = fmt.Errorf("the JWK's %q is missing, or not a string", member)
		}
		return s
	}
	octets := func(member string, length int) []byte {
		data, err := jws.Decode(text(member))
		if err != nil || length > 0 && len(data) != length {
			wrong = fmt.Errorf("the JWK's %q is not base64url of the right length", member)
			return make([]byte, length)
		}
		return data
	}
	var key crypto.PublicKey
	switch kty := text("kty"); kty {
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[text("crv")]
		if curve == nil {
			return nil, errors.New(`the JWK's "crv" is none of P-256, P-384 and P-521`)
		}
		size := (curve.Params().BitSize + 7) / 8
		point := append(append([]byte{4}, octets("x", size)...), octets("y", size)...)
		if wrong != nil {
			return nil, wrong
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil {
			return nil, errors.New("the JWK is no point of its curve")
		}
		key = public
	case "RSA":
		n, e := octets("n", 0), octets("e", 0)
		if wrong == nil && (len(n) == 0 || n[0] == 0 || len(n) > maxRSABits/8 || len(e) == 0 || e[0] == 0 || len(e) > 4) {
			wrong = errors.New("the modulus or the exponent of the RSA key is wrong")
		}
		key = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	case "OKP":
		if text("crv") != "Ed25519" {
			return nil, errors.New(`the JWK's "crv" is not Ed25519`)
		}
		key = ed25519.PublicKey(octets("x", ed25519.PublicKeySize))
	default:
		return nil, errors.New(`the JWK's "kty" is none of EC, RSA and OKP`)
	}
	if wrong != nil {
		return nil, wrong
	}
	checked, _, err := PublicKey(key, name)
	return checked, err
}
