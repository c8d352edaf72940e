// Package jwa has the algorithms that sign with a private key and verify with a
// public one (RFC 7518, Section 3.1; RFC 8037, Section 3.1; RFC 9864, Section 2.2),
// and says which keys are fit for them.
package jwa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.SHA256
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// RSA are the names of the algorithms for RSA keys, the default one first.
var RSA = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

// Methods returns all algorithms by name. They are new values, because those of
// golang-jwt are variables that every package of the process can set. A PSS
// signature has a salt as long as its hash (RFC 7518, Section 3.5).
func Methods() map[string]jwt.SigningMethod {
	all := map[string]jwt.SigningMethod{
		"EdDSA":   &jwt.SigningMethodEd25519{},
		"Ed25519": &jwt.SigningMethodEd25519{}, // the same, under its newer name
		"ES256":   &jwt.SigningMethodECDSA{Name: "ES256", Hash: crypto.SHA256, KeySize: 32, CurveBits: 256},
		"ES384":   &jwt.SigningMethodECDSA{Name: "ES384", Hash: crypto.SHA384, KeySize: 48, CurveBits: 384},
		"ES512":   &jwt.SigningMethodECDSA{Name: "ES512", Hash: crypto.SHA512, KeySize: 66, CurveBits: 521},
	}
	for size, hash := range map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512} {
		all["RS"+size] = &jwt.SigningMethodRSA{Name: "RS" + size, Hash: hash}
		all["PS"+size] = &jwt.SigningMethodRSAPSS{
			SigningMethodRSA: &jwt.SigningMethodRSA{Name: "PS" + size, Hash: hash},
			Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
		}
	}
	return all
}

// The sizes of RSA keys, in bits. Shorter ones can be broken (RFC 7518, Section
// 3.3), longer ones cost so much that they would be a way to stop the server.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// PublicKey returns a copy of material and the name of the algorithm that it is
// for. A key has one algorithm (RFC 8725, Section 3.1): the one called name or,
// where name is empty, that of its curve, EdDSA, or RS256. It fails for a key that is
// weak or damaged, and for everything that is not a public key.
func PublicKey(material crypto.PublicKey, name string) (crypto.PublicKey, string, error) {
	switch k := material.(type) {
	case *rsa.PublicKey:
		if k == nil || k.N == nil {
			return nil, "", errors.New("the RSA key is nil")
		}
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, "", fmt.Errorf("an RSA key has %d to %d bits, not %d", minRSABits, maxRSABits, bits)
		}
		if k.E < 3 || k.E%2 == 0 || k.E > 1<<31-1 || k.N.Bit(0) == 0 {
			return nil, "", errors.New("the modulus or the exponent of the RSA key is wrong")
		}
		if isROCA(k.N) {
			return nil, "", errors.New("the RSA key is of a kind that can be factored (CVE-2017-15361)")
		}
		alg, err := Choose(name, RSA...)
		return &rsa.PublicKey{N: new(big.Int).Set(k.N), E: k.E}, alg, err
	case *ecdsa.PublicKey:
		//lint:ignore SA1019 Bytes panics where they are missing
		if k == nil || k.Curve == nil || k.X == nil || k.Y == nil {
			return nil, "", errors.New("the ECDSA key is nil or has no point")
		}
		var own string
		switch k.Curve {
		case elliptic.P256():
			own = "ES256"
		case elliptic.P384():
			own = "ES384"
		case elliptic.P521():
			own = "ES512"
		default:
			return nil, "", errors.New("the curve of the ECDSA key is none of P-256, P-384 and P-521")
		}
		point, _ := k.Bytes() // nothing where it fails, which is no point
		same, err := ecdsa.ParseUncompressedPublicKey(k.Curve, point)
		if err != nil {
			return nil, "", errors.New("the ECDSA key is no point of its curve")
		}
		alg, err := Choose(name, own)
		return same, alg, err
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, "", fmt.Errorf("an Ed25519 key has %d bytes, not %d", ed25519.PublicKeySize, len(k))
		}
		alg, err := Choose(name, "EdDSA", "Ed25519")
		return slices.Clone(k), alg, err
	default: // private keys too: a verifier has no use for them
		return nil, "", fmt.Errorf("a %T is none of *rsa.PublicKey, *ecdsa.PublicKey and ed25519.PublicKey", material)
	}
}

// isROCA reports whether n was made by the library of some chips, and with that can
// be factored (CVE-2017-15361): modulo each small prime, such a modulus is a power
// of 65537. Of the others, one in 2^167 is taken for one.
func isROCA(n *big.Int) bool {
	for p := int64(3); p <= 701; p += 2 { // those that count from 2048 bits on
		prime := big.NewInt(p)
		if !prime.ProbablyPrime(0) {
			continue
		}
		rest, power := prime.Mod(n, prime).Int64(), int64(1)
		for range p {
			if power == rest {
				break
			}
			power = power * 65537 % p
		}
		if power != rest {
			return false
		}
	}
	return true
}

// Choose returns name, or the first of among where it is empty. It fails when
// name is not among them.
func Choose(name string, among ...string) (string, error) {
	if name == "" {
		name = among[0]
	}
	if !slices.Contains(among, name) {
		return "", fmt.Errorf("algorithm %q is not for this key: %q are", name, among)
	}
	return name, nil
}
