package issuertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"

	"github.com/tokenloop/tokenloop/internal/dpop"
)

// newClientKey returns a key for proofs.
func newClientKey() (*dpop.Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return dpop.NewKey(private)
}

// Proof returns a proof of possession for r with an access token (RFC 9449, Section
// 4), to be sent in the field DPoP, by the key that tokens are Bound to. nonce is what
// the server has asked for in DPoP-Nonce, or empty. Each call makes another one,
// since a proof is good for one request. Its "htu" is the URL of r, or where that has
// no host, that of Host over http or, with TLS, https.
func (f *Fake) Proof(r *http.Request, token, nonce string) string {
	f.tb.Helper()
	url := dpop.Site{}.URL(r)
	if r.URL.IsAbs() {
		bare := *r.URL
		bare.User, bare.RawQuery, bare.Fragment = nil, "", ""
		url = bare.String()
	}
	proof, err := f.client.Proof(r.Method, url, dpop.TokenHash(token), nonce, f.Now())
	if err != nil {
		f.tb.Fatalf("issuertest: %v", err)
	}
	return proof
}
