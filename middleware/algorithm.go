package middleware

import (
	"crypto"
	_ "crypto/sha256" // for crypto.SHA256
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512

	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/internal/jwa"
)

// An algorithm is a way to sign (RFC 7518, Section 3.1).
type algorithm struct {
	name   string
	method jwt.SigningMethod // of public keys
	hash   crypto.Hash       // of secrets, see macs
}

// algorithms holds what can be allowed.
var algorithms = func() map[string]*algorithm {
	all := map[string]*algorithm{
		"HS256": {name: "HS256", hash: crypto.SHA256},
		"HS384": {name: "HS384", hash: crypto.SHA384},
		"HS512": {name: "HS512", hash: crypto.SHA512},
	}
	for name, method := range jwa.Methods() {
		all[name] = &algorithm{name: name, method: method}
	}
	return all
}()

// public reports whether the keys of a are public ones. A set that anyone can
// publish has no others.
func (a *algorithm) public() bool { return a.hash == 0 }

// publicKey returns a copy of material and the algorithm that it is for.
func publicKey(material crypto.PublicKey, name string) (crypto.PublicKey, *algorithm, error) {
	key, name, err := jwa.PublicKey(material, name)
	return key, algorithms[name], err
}
