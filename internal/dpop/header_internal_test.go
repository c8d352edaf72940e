package dpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A header is remembered when its key has signed, and not before.
func TestHeadersAreRememberedOfGenuineProofs(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	key, err := NewKey(private)
	require.NoError(t, err)
	proof := func() string {
		raw, err := key.Proof("GET", "https://api.example.com/", "", "", time.Unix(1e9, 0))
		require.NoError(t, err)
		return raw
	}
	one, other := proof(), proof()
	segment := strings.Split(one, ".")[0]
	forged := one[:strings.LastIndexByte(one, '.')] + other[strings.LastIndexByte(other, '.'):]

	known := new(headers)
	_, err = read(forged, Algorithms, known)
	require.Error(t, err)
	assert.Nil(t, known.get(segment))
	first, err := read(one, Algorithms, known)
	require.NoError(t, err)
	require.NotNil(t, known.get(segment))
	second, err := read(other, Algorithms, known)
	require.NoError(t, err)
	assert.Equal(t, first.Thumbprint, second.Thumbprint)
	_, err = read(forged, Algorithms, known)
	assert.ErrorContains(t, err, "signature", "by the key that is remembered")
}

func TestHeadersAreBounded(t *testing.T) {
	known := new(headers)
	for n := range 3 * maxHeaders {
		known.put(fmt.Sprint(n), &header{})
		require.LessOrEqual(t, len(known.all), maxHeaders)
	}
	assert.NotNil(t, known.get(fmt.Sprint(3*maxHeaders-1)))
	known.put(strings.Repeat("x", maxHeaderBytes+1), &header{})
	assert.Nil(t, known.get(strings.Repeat("x", maxHeaderBytes+1)))
}
