package middleware

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Explain neither fills nor believes what is remembered for speed.
func TestExplainLeavesTheCacheAlone(t *testing.T) {
	key := []byte("an example, never to be used 123")
	m, err := New(Config{Keys: HS256(key), Issuer: "i", Audience: []string{"a"}})
	require.NoError(t, err)
	now := m.now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "i", "aud": "a", "iat": now.Unix(), "exp": now.Unix() + 60,
	}).SignedString(key)
	require.NoError(t, err)

	for range 3 { // Verify remembers a token at its second sight
		assert.Empty(t, m.Explain(t.Context(), token).Reason)
	}
	assert.Nil(t, m.cache.table.Load())
	assert.Nil(t, m.issuers[0].memo.current.Load())

	for range 2 {
		_, err = m.Verify(t.Context(), token)
		require.NoError(t, err)
	}
	require.NotNil(t, m.issuers[0].memo.current.Load())
	e := m.cache.get(m.cache.hash(token), token)
	require.NotNil(t, e)
	const garbage = "e30.e30.AAAA"
	planted := *e
	planted.hash, planted.token = m.cache.hash(garbage), garbage
	m.cache.put(&planted, now)
	_, err = m.Verify(t.Context(), garbage)
	require.NoError(t, err, "the test has put it there")
	assert.Equal(t, jwterrors.TokenSignatureInvalid, m.Explain(t.Context(), garbage).Reason)
}

// A refusal that none of the rows tells, and one without a cause, are told all the same.
func TestExplainHidesNoRefusal(t *testing.T) {
	x := &explaining{e: &Explanation{}}
	err := refuse(jwterrors.TokenExpired, nil)
	x.settle(err, "claims", passed("expiry", "", ""))
	require.Len(t, x.e.Checks, 2)
	assert.Equal(t, failed("claims", jwterrors.TokenExpired, "", "The token has expired."), x.e.Checks[1])
	assert.Equal(t, jwterrors.TokenExpired, x.e.Reason)
	assert.Equal(t, "The token has expired.", cause(err))
	assert.EqualError(t, err, "AUTH_TOKEN_EXPIRED", "within the package, it is an error like others")
}
