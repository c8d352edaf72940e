package jwa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A Signer signs as a JWS has it (RFC 7518, Section 3.1; RFC 8037, Section 3.1). It
// does not change and is safe for concurrent use, as far as its crypto.Signer is.
type Signer struct {
	Algorithm string // RS256, ES256 or EdDSA
	Method    jwt.SigningMethod
	Public    crypto.PublicKey
	Members   string // of the public JWK, as RFC 7638 orders them, without braces
	Sign      func(input []byte) ([]byte, error)
}

// NewSigner returns the Signer of s: RS256 for RSA of 2048 bits at least, ES256 for
// ECDSA on P-256, EdDSA for Ed25519. Where the private key is not in memory, what s
// returns is verified, since it may fail in ways that a key in memory does not.
func NewSigner(s crypto.Signer) (*Signer, error) {
	if s == nil {
		return nil, errors.New("the signer is nil")
	}
	k := &Signer{}
	switch pub := s.Public().(type) {
	case *rsa.PublicKey:
		if pub.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("an RSA key needs %d bits, and this one has %d", minRSABits, pub.N.BitLen())
		}
		k.Algorithm, k.Method, k.Public, k.Sign = "RS256", jwt.SigningMethodRS256, pub, signRSA(s)
	case *ecdsa.PublicKey:
		if _, err := pub.Bytes(); pub.Curve != elliptic.P256() || err != nil {
			return nil, errors.New("an ECDSA key must be a point on P-256")
		}
		k.Algorithm, k.Method, k.Public, k.Sign = "ES256", jwt.SigningMethodES256, pub, signECDSA(s)
	case ed25519.PublicKey:
		k.Algorithm, k.Method, k.Public, k.Sign = "EdDSA", jwt.SigningMethodEdDSA, pub, signEd25519(s)
	default:
		return nil, fmt.Errorf("a signer with a public key of type %T", pub)
	}
	k.Members = members(k.Public)
	switch s.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		k.Sign = k.verified(k.Sign)
	}
	return k, nil
}

// members returns the required members of the JWK of a key that was checked, in the
// order of RFC 7638, Section 3.2.
func members(key crypto.PublicKey) string {
	e := base64.RawURLEncoding.EncodeToString
	switch pub := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(`"e":%q,"kty":"RSA","n":%q`, e(big.NewInt(int64(pub.E)).Bytes()), e(pub.N.Bytes()))
	case *ecdsa.PublicKey:
		point, _ := pub.Bytes() // which failed before, if it can
		half := len(point) / 2
		return fmt.Sprintf(`"crv":%q,"kty":"EC","x":%q,"y":%q`, pub.Curve.Params().Name, e(point[1:1+half]), e(point[1+half:]))
	case ed25519.PublicKey:
		return fmt.Sprintf(`"crv":"Ed25519","kty":"OKP","x":%q`, e(pub))
	}
	return ""
}

// Thumbprint returns the SHA-256 thumbprint of a public key that PublicKey or
// NewSigner returned (RFC 7638), in base64url.
func Thumbprint(key crypto.PublicKey) string {
	sum := sha256.Sum256([]byte("{" + members(key) + "}"))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// verified is sign with a check of what it returns.
func (k *Signer) verified(sign func([]byte) ([]byte, error)) func([]byte) ([]byte, error) {
	return func(input []byte) ([]byte, error) {
		sig, err := sign(input)
		if err == nil && k.Method.Verify(string(input), sig, k.Public) != nil {
			err = errors.New("the signer returned a signature that its public key does not verify")
		}
		return sig, err
	}
}

func signRSA(s crypto.Signer) func([]byte) ([]byte, error) {
	return func(input []byte) ([]byte, error) {
		digest := sha256.Sum256(input)
		return s.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
}

func signEd25519(s crypto.Signer) func([]byte) ([]byte, error) {
	return func(input []byte) ([]byte, error) { return s.Sign(rand.Reader, input, crypto.Hash(0)) }
}

// signECDSA turns the ASN.1 form of ECDSA signers into the two numbers of 32
// bytes that a JWS has (RFC 7518, Section 3.4).
func signECDSA(s crypto.Signer) func([]byte) ([]byte, error) {
	return func(input []byte) ([]byte, error) {
		digest := sha256.Sum256(input)
		der, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			return nil, err
		}
		var r, t []byte
		numbers, rest := cryptobyte.String(nil), cryptobyte.String(der)
		if !rest.ReadASN1(&numbers, asn1.SEQUENCE) || !rest.Empty() ||
			!numbers.ReadASN1Integer(&r) || !numbers.ReadASN1Integer(&t) || !numbers.Empty() ||
			!isScalar(r) || !isScalar(t) {
			return nil, errors.New("the signer returned no ECDSA signature for P-256")
		}
		out := make([]byte, 64)
		copy(out[32-len(r):], r)
		copy(out[64-len(t):], t)
		return out, nil
	}
}

// isScalar reports whether n, which begins with no 0 but its last byte, can be
// half of a signature.
func isScalar(n []byte) bool { return len(n) <= 32 && n[0] != 0 }
