package middleware

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

// An algorithm is a way to sign (RFC 7518, Section 3.1).
type algorithm struct {
	name   string
	method jwt.SigningMethod // of public keys
	hash   crypto.Hash       // of secrets, see macs
}

// algorithms holds what can be allowed. The methods are our own values, because
// golang-jwt's are variables that every package of the process can set. A PSS
// signature has a salt as long as its hash (RFC 7518, Section 3.5).
var algorithms = func() map[string]*algorithm {
	all := map[string]*algorithm{
		"HS256": {name: "HS256", hash: crypto.SHA256},
		"HS384": {name: "HS384", hash: crypto.SHA384},
		"HS512": {name: "HS512", hash: crypto.SHA512},
		"EdDSA": {name: "EdDSA", method: &jwt.SigningMethodEd25519{}},
		"ES256": {name: "ES256", method: &jwt.SigningMethodECDSA{Name: "ES256", Hash: crypto.SHA256, KeySize: 32, CurveBits: 256}},
		"ES384": {name: "ES384", method: &jwt.SigningMethodECDSA{Name: "ES384", Hash: crypto.SHA384, KeySize: 48, CurveBits: 384}},
		"ES512": {name: "ES512", method: &jwt.SigningMethodECDSA{Name: "ES512", Hash: crypto.SHA512, KeySize: 66, CurveBits: 521}},
	}
	for size, hash := range map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512} {
		rs := &jwt.SigningMethodRSA{Name: "RS" + size, Hash: hash}
		ps := &jwt.SigningMethodRSAPSS{
			SigningMethodRSA: &jwt.SigningMethodRSA{Name: "PS" + size, Hash: hash},
			Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
		}
		all[rs.Name] = &algorithm{name: rs.Name, method: rs}
		all[ps.Name] = &algorithm{name: ps.Name, method: ps}
	}
	return all
}()

// public reports whether the keys of a are public ones. A set that anyone can
// publish has no others.
func (a *algorithm) public() bool { return a.hash == 0 }

// The sizes of RSA keys, in bits. Shorter ones can be broken (RFC 7518, Section
// 3.3), longer ones cost so much that they would be a way to stop the server.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// publicKey returns a copy of key and the algorithm that it is for. A key has
// one algorithm (RFC 8725, Section 3.1): the named one, or else that of its
// curve, or RS256.
func publicKey(material crypto.PublicKey, name string) (crypto.PublicKey, *algorithm, error) {
	switch k := material.(type) {
	case *rsa.PublicKey:
		if k == nil || k.N == nil {
			return nil, nil, errors.New("the RSA key is nil")
		}
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, nil, fmt.Errorf("an RSA key has %d to %d bits, not %d", minRSABits, maxRSABits, bits)
		}
		if k.E < 3 || k.E%2 == 0 || k.E > 1<<31-1 || k.N.Bit(0) == 0 {
			return nil, nil, errors.New("the modulus or the exponent of the RSA key is wrong")
		}
		alg, err := choose(name, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
		return &rsa.PublicKey{N: new(big.Int).Set(k.N), E: k.E}, alg, err
	case *ecdsa.PublicKey:
		//lint:ignore SA1019 Bytes panics where they are missing
		if k == nil || k.Curve == nil || k.X == nil || k.Y == nil {
			return nil, nil, errors.New("the ECDSA key is nil or has no point")
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
			return nil, nil, errors.New("the curve of the ECDSA key is none of P-256, P-384 and P-521")
		}
		point, err := k.Bytes()
		if err != nil {
			return nil, nil, errors.New("the ECDSA key is no point of its curve")
		}
		same, err := ecdsa.ParseUncompressedPublicKey(k.Curve, point)
		if err != nil {
			return nil, nil, errors.New("the ECDSA key is no point of its curve")
		}
		alg, err := choose(name, own)
		return same, alg, err
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, nil, fmt.Errorf("an Ed25519 key has %d bytes, not %d", ed25519.PublicKeySize, len(k))
		}
		alg, err := choose(name, "EdDSA")
		return slices.Clone(k), alg, err
	default: // private keys too: a verifier has no use for them
		return nil, nil, fmt.Errorf("a %T is none of *rsa.PublicKey, *ecdsa.PublicKey and ed25519.PublicKey", material)
	}
}

// choose returns the algorithm called name, or the first one where name is
// empty. It fails when name is not among them.
func choose(name string, among ...string) (*algorithm, error) {
	if name == "" {
		name = among[0]
	}
	if !slices.Contains(among, name) {
		return nil, fmt.Errorf("algorithm %q is not for this key: %q are", name, among)
	}
	return algorithms[name], nil
}
