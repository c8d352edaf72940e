package middleware

import (
	"crypto"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is verified is what golang-jwt signs, and nothing else.
func TestMACsAreThoseOfGolangJWT(t *testing.T) {
	secret := []byte(strings.Repeat("not-a-real-secret-", 5))
	for hash, method := range map[crypto.Hash]*jwt.SigningMethodHMAC{
		crypto.SHA256: jwt.SigningMethodHS256, crypto.SHA384: jwt.SigningMethodHS384, crypto.SHA512: jwt.SigningMethodHS512,
	} {
		all := newMACs(hash, secret)
		for range 3 { // from the pool, too
			signature, err := method.Sign("header.payload", secret)
			require.NoError(t, err)
			assert.True(t, all.verify("header.payload", signature))
			assert.False(t, all.verify("header.payloaD", signature))
			assert.False(t, all.verify("header.payload", signature[:len(signature)-1]))
			assert.False(t, all.verify("header.payload", nil))
			signature[0]++
			assert.False(t, all.verify("header.payload", signature))
			other, err := method.Sign("header.payload", secret[1:])
			require.NoError(t, err)
			assert.False(t, all.verify("header.payload", other))
		}
	}
}

func TestMACsAtOnce(t *testing.T) {
	secret := []byte(strings.Repeat("not-a-real-secret-", 5))
	all := newMACs(crypto.SHA256, secret)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			input := strings.Repeat("x", i*1500)
			signature, err := jwt.SigningMethodHS256.Sign(input, secret)
			assert.NoError(t, err)
			for range 500 {
				if !assert.True(t, all.verify(input, signature)) || !assert.False(t, all.verify(input+"y", signature)) {
					return
				}
			}
		})
	}
	wg.Wait()
}
