package issuer

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/internal/jwa"
)

// The algorithms that a Key signs with (RFC 7518, Section 3.1, and RFC 8037).
// ES256 is the recommendation: it signs some twenty times as fast as RS256, and
// most verifiers know it.
const (
	HS256 = "HS256"
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

const (
	minSecret = 32   // bytes (RFC 7518, Section 3.2)
	minRSA    = 2048 // bits (RFC 7518, Section 3.3)
)

// A Key signs access tokens. It does not change and is safe for concurrent use,
// as far as its crypto.Signer is.
type Key struct {
	id, algorithm string
	signature     func(input []byte) ([]byte, error)
	method        jwt.SigningMethod // for verifying
	public        any               // what method verifies with
	members       string            // of the public JWK, as RFC 7638 orders them; "" for a secret
	jwk           json.RawMessage   // nil for a secret, which is never published
	header        string            // of access tokens, encoded
}

// ID returns the kid: what the JWK that the key was read from says, or the
// thumbprint of the public key (RFC 7638), or of the secret a hash from which it
// cannot be found.
func (k *Key) ID() string { return k.id }

// Algorithm returns the algorithm: HS256, RS256, ES256 or EdDSA.
func (k *Key) Algorithm() string { return k.algorithm }

func (k Key) text() string { return k.algorithm + " key " + strconv.Quote(k.id) }

// Format names the key and hides what it signs with, for every verb and flag.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.text())) }

// LogValue returns what Format writes.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.text()) }

// GenerateKey makes a new key for the algorithm: a secret of 32 bytes for HS256,
// 2048 bits for RS256, P-256 for ES256, Ed25519 for EdDSA. It lives in memory
// alone, and what it signed cannot be verified after a restart.
func GenerateKey(algorithm string) (*Key, error) {
	if algorithm == HS256 {
		secret := make([]byte, minSecret)
		rand.Read(secret)
		return NewSecretKey(secret)
	}
	signer, err := generate(algorithm)
	if err != nil {
		return nil, err
	}
	return NewKey(signer)
}

// NewSecretKey returns the HS256 key of a secret of 32 bytes at least, which
// issuer and verifiers share. Whoever verifies with it can also sign.
func NewSecretKey(secret []byte) (*Key, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("issuer: an HS256 secret needs %d bytes, and this one has %d", minSecret, len(secret))
	}
	own := append([]byte(nil), secret...)
	sum := sha256.Sum256(append([]byte("tokenloop HS256 kid\x00"), own...))
	k := &Key{
		algorithm: HS256,
		signature: newHMAC(own), method: jwt.SigningMethodHS256, public: own,
	}
	k.setID(base64.RawURLEncoding.EncodeToString(sum[:12]))
	return k, nil
}

// NewKey returns the key of a signer: RS256 for RSA of 2048 bits at least, ES256
// for ECDSA on P-256, EdDSA for Ed25519. The signer may keep its private key in
// a KMS or an HSM; it is asked to sign once for each access token, and what it
// returns is verified, since it may fail in ways that a key in memory does not. An
// error of it, or a wrong signature, is answered with TokenGenerationError. As a
// crypto.Signer has no context, it needs a time limit of its own.
func NewKey(signer crypto.Signer) (*Key, error) {
	s, err := jwa.NewSigner(signer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	k := &Key{algorithm: s.Algorithm, method: s.Method, public: s.Public, members: s.Members, signature: s.Sign}
	k.setID(jwa.Thumbprint(s.Public))
	return k, nil
}

// setID names the key; id is visible ASCII.
func (k *Key) setID(id string) {
	k.id = id
	if k.members != "" {
		k.jwk = json.RawMessage(fmt.Sprintf(`{%s,"kid":%q,"use":"sig","alg":%q}`, k.members, id, k.algorithm))
	}
	k.header = k.typed("at+jwt").header
}

// typed returns the key for tokens of another type.
func (k Key) typed(typ string) *Key {
	k.header = encodeHeader(fmt.Sprintf(`{"alg":%q,"typ":%q,"kid":%q}`, k.algorithm, typ, k.id))
	return &k
}

// sign makes the access token (RFC 9068, Section 2) of a payload.
func (k *Key) sign(payload []byte) (string, error) {
	e := base64.RawURLEncoding
	input := make([]byte, 0, len(k.header)+1+e.EncodedLen(len(payload)))
	input = append(append(input, k.header...), '.')
	input = e.AppendEncode(input, payload)
	sig, err := k.signature(input)
	if err != nil {
		return "", fmt.Errorf("issuer: sign with key %q: %w", k.id, err)
	}
	var token strings.Builder
	token.Grow(len(input) + 1 + e.EncodedLen(len(sig)))
	token.Write(input)
	token.WriteByte('.')
	token.Write(e.AppendEncode(input[:0], sig)) // input has been copied
	return token.String(), nil
}

// newHMAC signs with hashes that are keyed already, which halves the time.
func newHMAC(secret []byte) func([]byte) ([]byte, error) {
	hashes := sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}
	return func(input []byte) ([]byte, error) {
		h := hashes.Get().(hash.Hash)
		defer hashes.Put(h)
		h.Reset()
		_, _ = h.Write(input) // a hash never fails
		return h.Sum(nil), nil
	}
}
