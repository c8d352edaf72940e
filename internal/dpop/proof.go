// Package dpop makes and judges proofs of possession (RFC 9449, Section 4): small
// JWTs that a client signs for one request each, with the key that its tokens are
// bound to.
package dpop

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"crypto"
	"crypto/rand"

	"github.com/tokenloop/tokenloop/internal/jwa"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// Type is the "typ" of a proof (RFC 9449, Section 4.2).
const Type = "dpop+jwt"

// Algorithms are those that proofs are signed with, where nobody names others.
var Algorithms = []string{"ES256", "EdDSA", "Ed25519", "ES384", "PS256", "RS256"}

// MaxBytes limits the length of a proof, in bytes. That of an RSA key of 4096 bits
// has about 2000.
const MaxBytes = 4096

// maxText limits the length of "jti", in bytes, and maxURL that of "htu".
const (
	maxText = 256
	maxURL  = 2048
)

// A Proof is what a proof says. Read has verified its signature, and nothing else.
type Proof struct {
	Thumbprint string // of the key that signed it (RFC 7638, SHA-256), in base64url
	ID         string // "jti"
	Method     string // "htm"
	URL        string // "htu", as it was written
	IssuedAt   time.Time
	TokenHash  string // "ath"; empty when there is none
	Nonce      string // "nonce"; empty when there is none
}

// Read reads a proof and verifies that the key in it has signed it, with one of
// algorithms (RFC 9449, Section 4.3, checks 2 to 7). No error shows what the proof
// says.
func Read(raw string, algorithms []string) (*Proof, error) {
	return read(raw, algorithms, nil)
}

// read is Read, and remembers the headers of proofs that were genuine.
func read(raw string, algorithms []string, known *headers) (*Proof, error) {
	parts, err := jws.Split(raw, MaxBytes)
	if err != nil {
		return nil, err
	}
	signature, err := jws.Decode(parts.Signature)
	if err != nil {
		return nil, err
	}
	h := known.get(parts.Header)
	seen := h != nil
	if !seen {
		if h, err = readHeader(parts.Header, algorithms); err != nil {
			return nil, err
		}
	}
	if h.method.Verify(parts.SigningInput, signature, h.key) != nil {
		return nil, errors.New("its signature is not that of its key")
	}
	if !seen {
		known.put(parts.Header, h)
	}
	payload, err := jws.Decode(parts.Payload)
	if err != nil {
		return nil, err
	}
	claims, ok := jws.Flat(payload)
	if !ok {
		if claims, err = jws.Members(payload); err != nil {
			return nil, err
		}
	}
	p := &Proof{Thumbprint: h.thumbprint}
	for _, claim := range []struct {
		name   string
		target *string
	}{{"jti", &p.ID}, {"htm", &p.Method}, {"htu", &p.URL}, {"ath", &p.TokenHash}, {"nonce", &p.Nonce}} {
		raw, ok := claims[claim.name]
		if !ok {
			continue
		}
		if *claim.target, err = jws.String(raw); err != nil || *claim.target == "" {
			return nil, fmt.Errorf("its %q is not a string, or empty", claim.name)
		}
	}
	if p.IssuedAt, err = jws.NumericDate(claims["iat"]); err != nil {
		return nil, errors.New(`its "iat" is missing, or no date`)
	}
	switch {
	case p.ID == "" || len(p.ID) > maxText:
		return nil, fmt.Errorf(`its "jti" is missing, or longer than %d bytes`, maxText)
	case p.Method == "" || p.URL == "" || len(p.URL) > maxURL:
		return nil, fmt.Errorf(`its "htm" or "htu" is missing, or longer than %d bytes`, maxURL)
	}
	return p, nil
}

var methods = jwa.Methods()

// TokenHash returns the "ath" of an access token (RFC 9449, Section 4.2).
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A Key makes proofs. It does not change and is safe for concurrent use, as far as
// its crypto.Signer is.
type Key struct {
	Thumbprint string // of the public key (RFC 7638, SHA-256), in base64url
	signer     *jwa.Signer
	header     string // encoded, with a dot
}

// NewKey returns the Key of a signer: see jwa.NewSigner for which.
func NewKey(signer crypto.Signer) (*Key, error) {
	s, err := jwa.NewSigner(signer)
	if err != nil {
		return nil, err
	}
	header := fmt.Sprintf(`{"typ":%q,"alg":%q,"jwk":{%s}}`, Type, s.Algorithm, s.Members)
	return &Key{jwa.Thumbprint(s.Public), s, base64.RawURLEncoding.EncodeToString([]byte(header)) + "."}, nil
}

// Proof returns a proof for one request: its method, its URL without query and
// fragment, the TokenHash of the access token that goes with it, and the server's
// nonce. Either of the last two may be empty.
func (k *Key) Proof(method, url, tokenHash, nonce string, now time.Time) (string, error) {
	b := append(make([]byte, 0, 512), `{"jti":"`...)
	b = append(b, rand.Text()...)
	b = append(b, '"')
	for _, claim := range []struct{ name, value string }{{"htm", method}, {"htu", url}, {"ath", tokenHash}, {"nonce", nonce}} {
		if claim.value == "" {
			continue
		}
		value, _ := json.Marshal(claim.value) // strings always marshal
		b = append(append(append(append(b, `,"`...), claim.name...), `":`...), value...)
	}
	b = append(strconv.AppendInt(append(b, `,"iat":`...), now.Unix(), 10), '}')
	input := append(make([]byte, 0, len(k.header)+len(b)*2+128), k.header...)
	input = base64.RawURLEncoding.AppendEncode(input, b)
	signature, err := k.signer.Sign(input)
	if err != nil {
		return "", fmt.Errorf("sign a proof: %w", err)
	}
	return string(base64.RawURLEncoding.AppendEncode(append(input, '.'), signature)), nil
}
