package refresher

import (
	"crypto"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jwa"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// A PublicKey is a key to verify with, which need not be kept secret. Symmetric
// keys are refused: who has one could sign tokens.
type PublicKey struct {
	// ID is the key's name, with which a token says in "kid" that it was
	// signed with this key. A key without an ID is tried for every token of
	// its algorithm.
	ID string

	// Algorithm is the only one that the key is for. Empty means RS256 for an
	// RSA key, and EdDSA for an Ed25519 key, whose tokens may say Ed25519 instead
	// (RFC 9864): name that. A key on another curve has but one.
	Algorithm string

	// Key is an *rsa.PublicKey of 2048 to 8192 bits, an *ecdsa.PublicKey on
	// P-256, P-384 or P-521, or an ed25519.PublicKey.
	Key crypto.PublicKey
}

// A verifier holds the public keys of the issuer.
type verifier []verifierKey

type verifierKey struct {
	id, alg  string
	method   jwt.SigningMethod
	material crypto.PublicKey
}

// newVerifier returns a copy of keys, or what is wrong with each.
func newVerifier(keys []PublicKey) (verifier, error) {
	var v verifier
	var mistakes []error
	methods := jwa.Methods()
	for i, k := range keys {
		material, alg, err := jwa.PublicKey(k.Key, k.Algorithm)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("public key %d: %w", i, err))
		}
		v = append(v, verifierKey{k.ID, alg, methods[alg], material})
	}
	return v, errors.Join(mistakes...)
}

// check returns why token is not one that the issuer has signed, or "".
func (v verifier) check(token string) (jwterrors.Reason, string) {
	parts, err := jws.Split(token, maxToken)
	if err != nil {
		return jwterrors.TokenFormatInvalid, "the token is not a JWT, so that it cannot be verified"
	}
	signature, err := jws.Decode(parts.Signature)
	header, headerErr := headerOf(parts)
	if err != nil || headerErr != nil {
		return jwterrors.TokenFormatInvalid, "the header or the signature of the token cannot be read"
	}
	for _, name := range []string{"crit", "b64", "enc"} { // no extension is known
		if _, ok := header[name]; ok {
			return jwterrors.TokenFormatInvalid, "the header of the token asks for an extension"
		}
	}
	alg, kid := text(header["alg"]), text(header["kid"])
	if _, named := header["kid"]; named && kid == "" {
		return jwterrors.TokenFormatInvalid, `the "kid" of the token is not a name`
	}
	named, known := false, false
	for _, k := range v {
		named = named || k.alg == alg
		if k.alg != alg || kid != "" && k.id != "" && k.id != kid {
			continue
		}
		known = true
		if k.method.Verify(parts.SigningInput, signature, k.material) == nil {
			return "", ""
		}
	}
	switch {
	case !named:
		return jwterrors.TokenSignatureInvalid, "no public key is for the algorithm of the token"
	case !known:
		return jwterrors.TokenKeyUnknown, "the token was signed with a key that is not among the public keys"
	}
	return jwterrors.TokenSignatureInvalid, "the signature of the token is not that of a public key"
}
