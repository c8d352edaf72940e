package jwa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"io"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ecdsaSigner returns a signature of its own making.
type ecdsaSigner struct {
	crypto.Signer
	r, s *big.Int
	tail []byte // behind the signature
}

func (e ecdsaSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	sig, err := asn1.Marshal(struct{ R, S *big.Int }{e.r, e.s})
	return append(sig, e.tail...), err
}

func TestECDSASignaturesOfAKMSHaveAFixedLength(t *testing.T) { // RFC 7518, Section 3.4
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	sig, err := signECDSA(ecdsaSigner{key, big.NewInt(5), big.NewInt(7), nil})(nil)
	require.NoError(t, err)
	want := make([]byte, 64)
	want[31], want[63] = 5, 7
	assert.Equal(t, want, sig)
	for name, s := range map[string]ecdsaSigner{
		"zero": {key, big.NewInt(0), big.NewInt(7), nil}, "negative": {key, big.NewInt(5), big.NewInt(-7), nil},
		"too long": {key, new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(7), nil}, "more behind it": {key, big.NewInt(5), big.NewInt(7), []byte{0}},
	} {
		_, err := signECDSA(s)(nil)
		assert.Error(t, err, name)
	}
}
