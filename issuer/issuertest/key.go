package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/issuer"
)

var algorithms = []string{issuer.ES256, issuer.RS256, issuer.EdDSA, issuer.HS256}

// methods are golang-jwt's, named here because its own registry can be changed.
var methods = map[string]jwt.SigningMethod{
	issuer.ES256: jwt.SigningMethodES256, issuer.RS256: jwt.SigningMethodRS256,
	issuer.EdDSA: jwt.SigningMethodEdDSA, issuer.HS256: jwt.SigningMethodHS256,
}

// A key signs. It never changes.
type key struct {
	id, algorithm string
	private       any // what the method signs with
	public        crypto.PublicKey
	jwk           json.RawMessage // nil for a secret
}

func (f *Fake) newKey(algorithm string) *key {
	f.tb.Helper()
	k, err := generate(algorithm)
	if err != nil {
		f.tb.Fatalf("issuertest: make a key: %v", err)
	}
	return k
}

// generate makes a key that is called and published as a KeyRing does it.
func generate(algorithm string) (*key, error) {
	var signer crypto.Signer
	var err error
	switch algorithm {
	case issuer.HS256:
		secret := make([]byte, 32)
		rand.Read(secret)
		made, err := issuer.NewSecretKey(secret)
		if err != nil {
			return nil, err
		}
		return &key{id: made.ID(), algorithm: algorithm, private: secret}, nil
	case issuer.RS256:
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case issuer.EdDSA:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	made, err := issuer.NewKey(signer)
	if err != nil {
		return nil, err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: made})
	if err != nil {
		return nil, err
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(ring.JWKS(), &set); err != nil || len(set.Keys) != 1 {
		return nil, errors.New("the key ring does not publish the key")
	}
	return &key{made.ID(), algorithm, signer, signer.Public(), set.Keys[0]}, nil
}
