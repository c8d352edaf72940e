package password_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer/password"
)

const secret = "correct horse battery staple"

// Hashes of secret's neighbours take long; those of tests need not.
var (
	cheapArgon2id = password.Config{Memory: 64, Time: 1, InsecureAllowLowCost: true}
	cheapBcrypt   = password.Config{Algorithm: password.Bcrypt, Cost: 4, InsecureAllowLowCost: true}
	cheapPreHash  = password.Config{Algorithm: password.Bcrypt, Cost: 4, PreHash: true, InsecureAllowLowCost: true}
)

func newHasher(t testing.TB, c password.Config) *password.Hasher {
	t.Helper()
	h, err := password.New(c)
	require.NoError(t, err)
	return h
}

func hash(t testing.TB, h *password.Hasher, pw string) string {
	t.Helper()
	encoded, err := h.Hash(context.Background(), pw)
	require.NoError(t, err)
	return encoded
}
