package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Everything that makes a refresh token someone's goes into its MAC: the store
// alone forges nothing, and the master key alone forges nothing.
func TestTheMACCoversEverything(t *testing.T) {
	m, err := newMasterKeys([]MasterKey{{ID: "a", Secret: bytes.Repeat([]byte("a"), 32)}, {ID: "b", Secret: bytes.Repeat([]byte("b"), 32)}})
	require.NoError(t, err)
	base := Session{ID: "AAAAAAAAAAAAAAAAAAAAAA", Seed: bytes.Repeat([]byte{1}, 32), ClientID: "mobile"}
	seed, id, client := base, base, base
	seed.Seed = bytes.Repeat([]byte{2}, 32)
	id.ID = "BBBBBBBBBBBBBBBBBBBBBB"
	client.ClientID = "other"
	seen := map[string]string{}
	for name, mac := range map[string][]byte{
		"the token": m.mac("a", &base, 1), "another master key": m.mac("b", &base, 1), "another generation": m.mac("a", &base, 2),
		"another seed": m.mac("a", &seed, 1), "another session": m.mac("a", &id, 1), "another client": m.mac("a", &client, 1),
	} {
		require.Len(t, mac, sha256.Size)
		assert.Empty(t, seen[string(mac)], name)
		seen[string(mac)] = name
	}
	assert.Nil(t, m.mac("c", &base, 1))
	assert.False(t, m.genuine(refreshToken{keyID: "c"}, &base), "no MAC is not the MAC of an unknown key")
}

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

// The tokens of sessions that live today stay good: this is the MAC as it has been
// from the first version on.
func TestTheMACIsWhatItWas(t *testing.T) {
	secret := bytes.Repeat([]byte("s"), 40)
	m, err := newMasterKeys([]MasterKey{{ID: "a", Secret: secret}})
	require.NoError(t, err)
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	for _, client := range []string{"", "mobile", strings.Repeat("long", 100)} {
		s := Session{ID: "AAAAAAAAAAAAAAAAAAAAAA", Seed: bytes.Repeat([]byte{1}, 32), ClientID: client}
		for range 3 { // with a hash that was used before
			family := mac(secret, "fam|"+string(s.Seed)+"|"+s.ID)
			assert.Equal(t, mac(family, "rt1|"+s.ID+"|12345|"+client), m.mac("a", &s, 12345))
		}
	}
}
