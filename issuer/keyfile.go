package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	maxKeyFile  = 256 << 10 // bytes
	maxKeyBlock = 6 << 10   // bytes of DER: more than an RSA key of 8192 bits has
)

// ParseKey reads the one private key of a file: in PEM (RFC 7468) as PKCS#8
// ("PRIVATE KEY"), PKCS#1 ("RSA PRIVATE KEY") or SEC 1 ("EC PRIVATE KEY"), or as
// a JWK (RFC 7517, Section 4; RFC 7518, Section 6; RFC 8037, Section 2). The kid
// is that of the JWK, or the thumbprint (RFC 7638). Errors show nothing of the
// key.
//
// A JWK holds its private part and, for RSA, both primes; "alg", "use" and
// "key_ops" may be missing and must allow signing. One of the type oct is an
// HS256 secret, of which NewSecretKey demands 32 bytes.
func ParseKey(data []byte) (*Key, error) {
	if isJSON(data) && len(data) <= maxKeyFile {
		k, err := parseJWK(data)
		if err != nil {
			return nil, fmt.Errorf("issuer: the JWK: %w", err)
		}
		return k, nil
	}
	keys, err := ParseKeys(data)
	if err != nil {
		return nil, err
	}
	if len(keys) > 1 {
		return nil, fmt.Errorf("issuer: the file holds %d keys; which one? ParseKeys reads them all", len(keys))
	}
	return keys[0], nil
}

// ParseKeys reads the private keys of a file, in its order: PEM blocks as those
// of ParseKey, or a JWK Set (RFC 7517, Section 5) of private keys. A file has 1
// to 64 keys, 256 KiB at most, and nothing else: a certificate, a public key or
// a key twice is a mistake. All mistakes are in one error.
func ParseKeys(data []byte) ([]*Key, error) {
	var keys []*Key
	var err error
	switch {
	case len(data) > maxKeyFile:
		return nil, fmt.Errorf("issuer: the file has %d bytes; %d at most", len(data), maxKeyFile)
	case isJSON(data):
		keys, err = parseJWKSet(data)
	default:
		keys, err = parsePEM(data)
	}
	if err != nil {
		return nil, err
	}
	seen := map[string]int{}
	var wrong []error
	for n, k := range keys {
		if first, ok := seen[k.id]; ok {
			wrong = append(wrong, fmt.Errorf("issuer: keys %d and %d of the file have one kid", first+1, n+1))
			continue
		}
		seen[k.id] = n
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return keys, nil
}

// GenerateKeyPEM makes a new key for the algorithm, as GenerateKey does, and
// returns it for a file that ParseKey reads: PKCS#8 in PEM. The file is to be
// readable by the issuer alone. An HS256 secret has no such form.
func GenerateKeyPEM(algorithm string) ([]byte, error) {
	if algorithm == HS256 {
		return nil, errors.New("issuer: an HS256 secret is 32 random bytes, not PEM")
	}
	signer, err := generate(algorithm)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, fmt.Errorf("issuer: write a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func generate(algorithm string) (signer crypto.Signer, err error) {
	switch algorithm {
	case RS256:
		signer, err = rsa.GenerateKey(rand.Reader, minRSA)
	case ES256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("issuer: algorithm %q is not one of HS256, RS256, ES256 and EdDSA", algorithm)
	}
	if err != nil {
		return nil, fmt.Errorf("issuer: generate a key: %w", err)
	}
	return signer, nil
}

// isJSON reports whether data begins as an object does.
func isJSON(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
}

func parsePEM(data []byte) (keys []*Key, err error) {
	var wrong []error
	begun := bytes.Count(data, []byte("-----BEGIN "))
	if begun > 2*maxSlots {
		return nil, fmt.Errorf("issuer: the file holds %d PEM blocks; %d keys at most", begun, maxSlots)
	}
	read := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		read++
		if block.Type == "EC PARAMETERS" { // OpenSSL writes it in front of the key, which names its curve too
			continue
		}
		k, err := parseBlock(block)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("issuer: PEM block %d %w", read, err))
			continue
		}
		keys = append(keys, k)
	}
	switch {
	case read != begun: // pem.Decode passes over what it cannot read
		wrong = append(wrong, fmt.Errorf("issuer: of %d PEM blocks %d can be read", begun, read))
	case len(keys) == 0 && len(wrong) == 0:
		wrong = append(wrong, errors.New(`issuer: there is no PEM block "PRIVATE KEY" (PKCS#8), "RSA PRIVATE KEY" or "EC PRIVATE KEY", and no JWK`))
	case len(keys) > maxSlots:
		wrong = append(wrong, fmt.Errorf("issuer: the file holds %d keys; %d at most", len(keys), maxSlots))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return keys, nil
}

// parseBlock reads a key. Its errors end a sentence that begins with the block.
func parseBlock(block *pem.Block) (*Key, error) {
	var parsed any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] != "":
		return nil, errors.New("is encrypted; decrypt it first")
	case len(block.Headers) > 0:
		return nil, errors.New("has headers, which RFC 7468 does not know")
	case len(block.Bytes) > maxKeyBlock:
		return nil, fmt.Errorf("has %d bytes; %d at most", len(block.Bytes), maxKeyBlock)
	case block.Type == "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case block.Type == "CERTIFICATE", block.Type == "PUBLIC KEY", block.Type == "RSA PUBLIC KEY", block.Type == "OPENSSH PRIVATE KEY":
		return nil, fmt.Errorf("is of the type %q, not a private key of PKCS#8, PKCS#1 or SEC 1", block.Type)
	default:
		return nil, errors.New("is not a private key of PKCS#8, PKCS#1 or SEC 1")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be read as %q", block.Type) // err may show numbers of the key
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("holds a key of type %T, which does not sign", parsed)
	}
	k, err := NewKey(signer)
	if err != nil {
		return nil, fmt.Errorf("holds a key that does not do: %w", err)
	}
	return k, nil
}
