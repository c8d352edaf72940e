package refresher

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/internal/dpop"
)

// A DPoPKey is a private key that tokens are bound to (RFC 9449): who has a bound
// token and not the key can do nothing with it. GenerateDPoPKey, NewDPoPKey and
// LoadDPoPKey make one. It does not change, is safe for concurrent use, and no form
// of it shows the private key.
//
// A session belongs to the key that it was begun with: with another one its tokens
// are refused, and so is its refresh. A session that is to outlive the process, in a
// FileStore say, needs a key that does so too, from LoadDPoPKey or in a crypto.Signer
// that keeps it. Tokens and key that lie side by side are stolen together: a key
// that cannot be copied, of a TPM or another device, protects against that as well.
type DPoPKey struct{ key *dpop.Key }

// GenerateDPoPKey returns a new key, for ES256, that is gone when the process ends.
func GenerateDPoPKey() *DPoPKey {
	signer, err := newECDSA()
	if err != nil {
		panic(err) // the random source of the system does not fail
	}
	key, err := NewDPoPKey(signer)
	if err != nil {
		panic(err) // it is a good key
	}
	return key
}

// NewDPoPKey returns the key of a signer: ECDSA on P-256 (ES256), Ed25519 (EdDSA) or
// RSA of 2048 bits at least (RS256). Any other is an error. The signer may be a
// device; each request costs a signature of it.
func NewDPoPKey(signer crypto.Signer) (*DPoPKey, error) {
	key, err := dpop.NewKey(signer)
	if err != nil {
		return nil, fmt.Errorf("refresher: a DPoP key: %w", err)
	}
	return &DPoPKey{key}, nil
}

// LoadDPoPKey returns the key in the file at path, a private key in PKCS #8 and PEM
// (RFC 5208, RFC 7468). Where there is no file it makes one, with a new key for
// ES256; of several processes that do so at the same time, all get the same. The
// file and its directory are kept as those of a FileStore are, and refused where
// others may use them. A file that cannot be read is an error: it is never replaced.
func LoadDPoPKey(path string) (*DPoPKey, error) {
	store, err := NewFileStore(path)
	if err != nil {
		return nil, err
	}
	data, err := store.read()
	if err == nil && data == nil {
		data, err = makeKeyFile(store)
	}
	if err != nil {
		return nil, err
	}
	signer, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("refresher: %q holds no DPoP key that can be used: %w", store.path(), err)
	}
	return NewDPoPKey(signer)
}

// makeKeyFile returns what is in the file, after it has made one if there is none.
func makeKeyFile(store *FileStore) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	unlock, err := store.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	data, err := store.read()
	if data != nil || err != nil {
		return data, err // another process was first
	}
	signer, err := newECDSA()
	if err != nil {
		return nil, fmt.Errorf("refresher: make a DPoP key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, fmt.Errorf("refresher: make a DPoP key: %w", err)
	}
	data = pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	return data, store.replace(data)
}

const pemType = "PRIVATE KEY"

func newECDSA() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// parseKey reads a private key. Its errors quote nothing of data.
func parseKey(data []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is not one private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is not in PKCS #8")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is a key that cannot sign")
	}
	return signer, nil
}

// Thumbprint returns the SHA-256 thumbprint of the public key (RFC 7638), in
// base64url: what "jkt" says in tokens that are bound to it, and the parameter
// dpop_jkt of an authorization request (RFC 9449, Section 10).
func (k *DPoPKey) Thumbprint() string { return k.key.Thumbprint }

// Proof returns a proof for one request (RFC 9449, Section 4.2), the value of its
// header DPoP. It is for requests that no Transport sends. The URL's query and
// fragment are left out. accessToken is the token that goes with it, as
// "Authorization: DPoP <token>", and nonce what the server said last in DPoP-Nonce;
// either may be empty. The error is that of the signer.
func (k *DPoPKey) Proof(method, url, accessToken, nonce string) (string, error) {
	hash := ""
	if accessToken != "" {
		hash = dpop.TokenHash(accessToken)
	}
	if end := strings.IndexAny(url, "?#"); end >= 0 {
		url = url[:end]
	}
	return k.key.Proof(cmp.Or(method, http.MethodGet), url, hash, nonce, time.Now())
}

// Transport returns an http.RoundTripper that sends requests through base with a
// proof, for the method, the URL and the token of an "Authorization: DPoP". All get
// one but those that a redirect takes to another origin. It is for what comes before
// a session, as the exchange of an authorization code does, and for libraries that
// have a transport below their own. It remembers the nonces of servers and what
// their clocks say, and repeats a request once where a server asks for a nonce, or
// does not take the time of a wrong clock, if its body can be sent again. A nil base
// means http.DefaultTransport. Host names are in ASCII (xn--...): net/http sends them so,
// and no server would find another spelling to be its own.
func (k *DPoPKey) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &prover{key: k.key, base: base, now: time.Now, clock: new(clock)}
}

func (k *DPoPKey) text() string {
	if k == nil {
		return "refresher.DPoPKey(nil)"
	}
	return fmt.Sprintf("refresher.DPoPKey(%s)", k.Thumbprint())
}

// Format writes the thumbprint, for every verb and flag.
func (k *DPoPKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.text()) }
