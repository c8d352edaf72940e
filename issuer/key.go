package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"math/big"
	"strconv"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The algorithms that a Key signs with (RFC 7518, Section 3.1, and RFC 8037).
// ES256 is the recommendation: it signs about 25 times faster than RS256, and
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

// String names the key and hides what it signs with.
func (k Key) String() string { return k.algorithm + " key " + strconv.Quote(k.id) }

// Format writes String for every verb and flag, "%#v" and "%d" included.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue is String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

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
	if signer == nil {
		return nil, errors.New("issuer: the signer is nil")
	}
	e := base64.RawURLEncoding.EncodeToString
	k := &Key{}
	switch pub := signer.Public().(type) {
	case *rsa.PublicKey:
		if pub.N.BitLen() < minRSA {
			return nil, fmt.Errorf("issuer: an RSA key needs %d bits, and this one has %d", minRSA, pub.N.BitLen())
		}
		k.algorithm, k.method, k.public, k.signature = RS256, jwt.SigningMethodRS256, pub, signRSA(signer)
		k.members = fmt.Sprintf(`"e":%q,"kty":"RSA","n":%q`, e(big.NewInt(int64(pub.E)).Bytes()), e(pub.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if pub.Curve != elliptic.P256() || err != nil {
			return nil, errors.New("issuer: an ECDSA key must be a point on P-256")
		}
		k.algorithm, k.method, k.public, k.signature = ES256, jwt.SigningMethodES256, pub, signECDSA(signer)
		k.members = fmt.Sprintf(`"crv":"P-256","kty":"EC","x":%q,"y":%q`, e(point[1:33]), e(point[33:]))
	case ed25519.PublicKey:
		k.algorithm, k.method, k.public, k.signature = EdDSA, jwt.SigningMethodEdDSA, pub, signEd25519(signer)
		k.members = fmt.Sprintf(`"crv":"Ed25519","kty":"OKP","x":%q`, e(pub))
	default:
		return nil, fmt.Errorf("issuer: a signer with a public key of type %T", pub)
	}
	switch signer.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		k.signature = k.verified(k.signature)
	}
	sum := sha256.Sum256([]byte("{" + k.members + "}"))
	k.setID(e(sum[:]))
	return k, nil
}

// setID names the key; id is visible ASCII.
func (k *Key) setID(id string) {
	k.id = id
	if k.members != "" {
		k.jwk = json.RawMessage(fmt.Sprintf(`{%s,"kid":%q,"use":"sig","alg":%q}`, k.members, id, k.algorithm))
	}
	k.header = base64.RawURLEncoding.EncodeToString(
		[]byte(fmt.Sprintf(`{"alg":%q,"typ":"at+jwt","kid":%q}`, k.algorithm, id)))
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

// verified is sign with a check of what it returns.
func (k *Key) verified(sign func([]byte) ([]byte, error)) func([]byte) ([]byte, error) {
	return func(input []byte) ([]byte, error) {
		sig, err := sign(input)
		if err == nil && k.method.Verify(string(input), sig, k.public) != nil {
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
