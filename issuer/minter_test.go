package issuer_test

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

var minterSecret = []byte("an obviously fake secret, 32+ bytes")

func newMinter(t testing.TB, change func(*issuer.MinterConfig)) *issuer.Minter {
	t.Helper()
	c := issuer.MinterConfig{Secrets: [][]byte{minterSecret}}
	if change != nil {
		change(&c)
	}
	m, err := issuer.NewMinter(c)
	require.NoError(t, err)
	return m
}

// The two tokens that the documentation of JWT-enabled keys gives, to the byte.
func TestAMinterMakesTheDocumentedTokens(t *testing.T) { // IT-06, IT-07, IT-10
	m := newMinter(t, func(c *issuer.MinterConfig) {
		c.TTL, c.Now = 24*time.Hour, func() time.Time { return time.Unix(1640000000, 999) }
	})
	for payload, user := range map[string]issuer.Identity{
		`{"email":"user@example.com","iat":1640000000,"exp":1640086400}`: issuer.Email("user@example.com"),
		`{"userId":"user123","iat":1640000000,"exp":1640086400}`:         issuer.UserID("user123"),
	} {
		token, err := m.Mint(t.Context(), user)
		require.NoError(t, err)
		e := base64.RawURLEncoding.EncodeToString
		input := e([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + e([]byte(payload))
		mac := hmac.New(sha256.New, minterSecret)
		mac.Write([]byte(input))
		assert.Equal(t, input+"."+e(mac.Sum(nil)), token)
	}
}

func TestAMintedTokenNamesItsUserInOneWay(t *testing.T) { // IT-07, IT-08
	m := newMinter(t, nil)
	for name, user := range map[string]issuer.Identity{
		"nobody": {}, "an empty email": issuer.Email(""), "an empty userId": issuer.UserID(""),
		"no UTF-8": issuer.Email("a\xff@example.com"), "1025 bytes": issuer.UserID(strings.Repeat("x", 1025)),
	} {
		token, err := m.Mint(t.Context(), user)
		assert.ErrorIs(t, err, jwterrors.TokenUserKeyInvalid, name)
		assert.Empty(t, token)
	}
	for _, value := range []string{strings.Repeat("x", 1024), `a","userId":"admin`, "a\x00\n", "ü@example.com", "\u2028</script>"} {
		for claim, user := range map[string]issuer.Identity{"email": issuer.Email(value), "userId": issuer.UserID(value)} {
			c := verified(t, must(m.Mint(t.Context(), user)), minterSecret)
			assert.Equal(t, value, c[claim])
			assert.Len(t, c, 3, "whatever it is, it is one member")
		}
	}
	// Nor can the other one come in by the fixed claims.
	for _, claim := range []string{"email", "userId", "userid", "EMAIL", "exp", "IAT", "jti"} {
		_, err := issuer.NewMinter(issuer.MinterConfig{Secrets: [][]byte{minterSecret}, Claims: map[string]any{claim: "x"}})
		assert.ErrorContains(t, err, "MinterConfig.Claims", claim)
	}
}

func TestAMinterLivesWithinItsLimits(t *testing.T) { // IT-09, IT-40, JG-18
	year := 365 * 24 * time.Hour
	for _, ttl := range []time.Duration{0, time.Second, 10 * time.Second, 24 * time.Hour, year - time.Second} {
		m := newMinter(t, func(c *issuer.MinterConfig) { c.TTL = ttl })
		c := verified(t, must(m.Mint(t.Context(), issuer.UserID("user123"))), minterSecret)
		if ttl == 0 {
			ttl = issuer.DefaultAccessTTL
		}
		assert.Equal(t, ttl.Seconds(), c["exp"].(float64)-c["iat"].(float64))
	}
	for _, c := range []struct {
		name   string
		config issuer.MinterConfig
		want   string
	}{
		{"a year", issuer.MinterConfig{TTL: year}, "less than a year"},
		{"nothing", issuer.MinterConfig{TTL: -time.Second}, "TTL"},
		{"a fraction", issuer.MinterConfig{TTL: 1500 * time.Millisecond}, "whole number"},
		{"no secret", issuer.MinterConfig{}, "Secrets or Key is required"},
		{"a short secret", issuer.MinterConfig{Secrets: [][]byte{make([]byte, 31)}}, "31 bytes"},
		{"a second secret that is short", issuer.MinterConfig{Secrets: [][]byte{minterSecret, make([]byte, 31)}}, "Secrets[1]"},
		{"a secret and a key", issuer.MinterConfig{Secrets: [][]byte{minterSecret}, Key: newKey(t, issuer.ES256)}, "which one"},
		{"a reuse as long as the token", issuer.MinterConfig{TTL: time.Minute, Reuse: time.Minute - time.Second + 1}, "Reuse"},
		{"a negative reuse", issuer.MinterConfig{Reuse: -1}, "Reuse"},
		{"one reused token", issuer.MinterConfig{MaxReused: 1}, "MaxReused"},
		{"claims that are no JSON", issuer.MinterConfig{Claims: map[string]any{"x": math.NaN()}}, "Claims: json: unsupported value"},
		{"claims in two cases", issuer.MinterConfig{Claims: map[string]any{"x": 1, "X": 2}}, "twice"},
		{"an issuer that is no string", issuer.MinterConfig{Claims: map[string]any{"iss": 1}}, "iss"},
		{"claims that make no token", issuer.MinterConfig{Claims: map[string]any{"x": strings.Repeat("x", 6200)}}, "8192"},
	} {
		_, err := issuer.NewMinter(c.config)
		assert.ErrorContains(t, err, c.want, c.name)
	}
	_, err := issuer.NewMinter(issuer.MinterConfig{TTL: year, Reuse: -1, MaxReused: -1, Secrets: [][]byte{[]byte("short secret")}, Claims: map[string]any{"exp": 1}})
	for _, want := range []string{"TTL", "Reuse", "MaxReused", "Secrets[0]", "Claims"} {
		assert.ErrorContains(t, err, want, "all mistakes come at once")
	}
	assert.NotContains(t, err.Error(), "short secret")
}

func TestAMintedTokenIsNotLongerThanReadersTake(t *testing.T) {
	m := newMinter(t, func(c *issuer.MinterConfig) { c.Claims = map[string]any{"x": strings.Repeat("x", 5900)} })
	_, err := m.Mint(t.Context(), issuer.Email("user@example.com"))
	assert.NoError(t, err)
	_, err = m.Mint(t.Context(), issuer.Email(strings.Repeat("u", 1024)))
	assert.ErrorIs(t, err, jwterrors.TokenGenerationError)
}

func TestTheFirstSecretSigns(t *testing.T) { // IT-33
	older := []byte("another obviously fake secret, 32+ bytes")
	m := newMinter(t, func(c *issuer.MinterConfig) { c.Secrets = [][]byte{minterSecret, older} })
	verified(t, must(m.Mint(t.Context(), issuer.Email("user@example.com"))), minterSecret)
	for _, all := range []string{fmt.Sprintf("%v %+v %#v %s", m, m, m, m.LogValue()), func() string {
		c := issuer.MinterConfig{Secrets: [][]byte{minterSecret, older}}
		return fmt.Sprintf("%v %+v %#v %s %s", c, c, &c, slog.AnyValue(c), must(json.Marshal(c.Secrets[:0])))
	}()} {
		assert.NotContains(t, all, "fake")
		assert.NotContains(t, all, fmt.Sprint(minterSecret[:4])[1:8])
	}
	secret := append([]byte(nil), minterSecret...)
	m = newMinter(t, func(c *issuer.MinterConfig) { c.Secrets = [][]byte{secret} })
	clear(secret)
	verified(t, must(m.Mint(t.Context(), issuer.Email("user@example.com"))), minterSecret)
}

func TestAMinterSignsWithAKey(t *testing.T) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256, issuer.EdDSA} {
		key := newKey(t, algorithm)
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: key}))
		m := newMinter(t, func(c *issuer.MinterConfig) {
			c.Secrets, c.Key, c.Claims = nil, key, map[string]any{"iss": issuerURL, "aud": []string{"orders"}}
		})
		token := must(m.Mint(t.Context(), issuer.UserID("user123")))
		assert.Equal(t, map[string]any{"alg": algorithm, "typ": "JWT", "kid": key.ID()}, part(t, token, 0))
		claims := part(t, token, 1)
		assert.Equal(t, issuerURL, claims["iss"])
		assert.Equal(t, "user123", claims["userId"])
		assert.Contains(t, string(ring.JWKS()), key.ID())
	}
	signer, err := issuer.NewKey(kms{edPrivate})
	require.NoError(t, err)
	_, err = jwt.Parse(must(newMinter(t, func(c *issuer.MinterConfig) { c.Secrets, c.Key = nil, signer }).Mint(t.Context(), issuer.UserID("user123"))),
		func(*jwt.Token) (any, error) { return edPublic, nil })
	assert.NoError(t, err)
	broken, err := issuer.NewKey(brokenSigner{})
	require.NoError(t, err)
	_, err = newMinter(t, func(c *issuer.MinterConfig) { c.Secrets, c.Key = nil, broken }).Mint(t.Context(), issuer.UserID("user123"))
	assert.ErrorIs(t, err, jwterrors.TokenGenerationError) // IT-31.04
}

func TestAYoungTokenIsReused(t *testing.T) { // IT-42
	synctest.Test(t, func(t *testing.T) {
		signed := 0
		key := must(issuer.NewKey(counting{&signed}))
		m := newMinter(t, func(c *issuer.MinterConfig) {
			c.Secrets, c.Key, c.TTL, c.Reuse = nil, key, 10*time.Minute, 5*time.Minute
		})
		mint := func(user issuer.Identity) string { return must(m.Mint(t.Context(), user)) }
		first := mint(issuer.Email("user@example.com"))
		time.Sleep(5*time.Minute - 1)
		assert.Equal(t, first, mint(issuer.Email("user@example.com")), "a moment before the end of reuse")
		assert.Equal(t, 1, signed)
		other := mint(issuer.UserID("user@example.com"))
		assert.NotEqual(t, first, other, "a userId is another user than an email")
		assert.Contains(t, part(t, other, 1), "userId")
		time.Sleep(time.Nanosecond)
		second := mint(issuer.Email("user@example.com"))
		assert.NotEqual(t, first, second)
		assert.Equal(t, second, mint(issuer.Email("user@example.com")))
		assert.Equal(t, 3, signed)

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		token, err := m.Mint(gone, issuer.Email("user@example.com"))
		assert.Equal(t, second, token, "what is there is given")
		require.NoError(t, err)
		_, err = m.Mint(gone, issuer.Email("nobody@example.com"))
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 3, signed)
	})
	off := 0
	m := newMinter(t, func(c *issuer.MinterConfig) { c.Secrets, c.Key = nil, must(issuer.NewKey(counting{&off})) })
	for range 3 {
		must(m.Mint(t.Context(), issuer.UserID("user123")))
	}
	assert.Equal(t, 3, off, "off by default")
}

// The longest reuse never gives a token that has expired, whatever the fraction of
// the second that it was made in.
func TestAReusedTokenIsAlive(t *testing.T) { // IT-42
	for _, fraction := range []time.Duration{0, time.Millisecond, 999 * time.Millisecond} {
		now := time.Unix(1640000000, 0).Add(fraction)
		m := newMinter(t, func(c *issuer.MinterConfig) {
			c.TTL, c.Reuse, c.Now = 10*time.Second, 9*time.Second, func() time.Time { return now }
		})
		first := must(m.Mint(t.Context(), issuer.UserID("user123")))
		now = now.Add(9*time.Second - 1)
		again := must(m.Mint(t.Context(), issuer.UserID("user123")))
		assert.Equal(t, first, again)
		assert.True(t, now.Before(time.Unix(int64(part(t, again, 1)["exp"].(float64)), 0)))
		now = now.Add(-time.Hour) // the clock goes back: a token of the future is no good
		assert.NotEqual(t, first, must(m.Mint(t.Context(), issuer.UserID("user123"))))
	}
}

func TestReuseIsBounded(t *testing.T) { // IT-42
	signed := 0
	m := newMinter(t, func(c *issuer.MinterConfig) {
		c.Secrets, c.Key, c.Reuse, c.MaxReused = nil, must(issuer.NewKey(counting{&signed})), time.Minute, 10
	})
	user := func(n int) issuer.Identity { return issuer.UserID(strconv.Itoa(n)) }
	for n := range 1000 {
		must(m.Mint(t.Context(), user(n)))
	}
	signed = 0
	for n := 995; n < 1000; n++ {
		must(m.Mint(t.Context(), user(n)))
	}
	assert.Zero(t, signed, "the latest half is always there")
	for n := range 1000 {
		must(m.Mint(t.Context(), user(n)))
	}
	assert.GreaterOrEqual(t, signed, 990, "10 at most")

	const users = 10_000
	var before, after runtime.MemStats
	m = newMinter(t, func(c *issuer.MinterConfig) { c.Reuse = time.Minute })
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range 10 * users {
		must(m.Mint(t.Context(), user(n+1e6)))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(users*512))
	runtime.KeepAlive(m)
}

// Those who ask before the first of them has its token get that one too.
func TestAllWhoAskAtOnceGetTheSameToken(t *testing.T) { // IT-42
	const callers = 8
	gate := &together{}
	gate.Add(callers)
	m := newMinter(t, func(c *issuer.MinterConfig) {
		c.Reuse, c.Secrets, c.Key = time.Minute, nil, must(issuer.NewKey(gate))
	})
	tokens := make([]string, callers)
	var wait sync.WaitGroup
	for n := range tokens {
		wait.Go(func() { tokens[n] = must(m.Mint(t.Context(), issuer.UserID("user123"))) })
	}
	wait.Wait()
	for _, token := range tokens {
		assert.Equal(t, tokens[0], token)
	}
}

// together is a signer that signs for all callers at once, differently for each.
type together struct{ sync.WaitGroup }

func (*together) Public() crypto.PublicKey { return fileKeys().ec.Public() }
func (g *together) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	g.Done()
	g.Wait()
	return fileKeys().ec.Sign(rand.Reader, digest, opts)
}

// counting is a signer that counts, and signs differently each time.
type counting struct{ n *int }

func (counting) Public() crypto.PublicKey { return fileKeys().ec.Public() }
func (c counting) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	*c.n++
	return fileKeys().ec.Sign(rand.Reader, digest, opts)
}
