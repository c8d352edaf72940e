package issuer

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
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
