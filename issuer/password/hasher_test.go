package password_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer/password"
)

// Vectors of the reference implementation of argon2, of OpenBSD's and of
// Openwall's bcrypt. Those of RFC 9106, Section 5, use a secret and associated
// data, which a PHC string does not have; golang.org/x/crypto tests itself with
// them.
var vectors = []struct{ password, hash string }{
	{"password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"},
	{"password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"},
	{"password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"},
	{"a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"},
	{"abcdefghijklmnopqrstuvwxyz", "$2a$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC"},
	{"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"U*U", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"U*U", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"U*U*U", "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"},
	{"\xff\xff\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e"},
}

func TestKnownVectors(t *testing.T) {
	h := newHasher(t, cheapArgon2id)
	for _, v := range vectors {
		_, err := h.Verify(t.Context(), v.hash, v.password)
		assert.NoError(t, err, v.hash)
		_, err = h.Verify(t.Context(), v.hash, v.password+"x")
		assert.ErrorIs(t, err, jwterrors.CredentialsInvalid, v.hash)
	}
}

// The hash was made outside of this package: bcrypt, cost 4, of the base64 of
// HMAC-SHA-384 with the documented key.
func TestThePreHashIsTheDocumentedOne(t *testing.T) {
	long := strings.Repeat("0123456789", 10)
	const known = "$bcrypt-hmac-sha384$v=1$2a$04$CCCCCCCCCCCCCCCCCCCCC.Iyl8EvB4bs4m7AI8CgAHLRi.kYC0yvu"
	_, err := newHasher(t, cheapPreHash).Verify(t.Context(), known, long)
	assert.NoError(t, err)
}

func TestAHashIsVerifiedByEveryHasher(t *testing.T) {
	configs := map[string]password.Config{"argon2id": cheapArgon2id, "bcrypt": cheapBcrypt, "pre-hashed bcrypt": cheapPreHash}
	for from, makes := range configs {
		encoded := hash(t, newHasher(t, makes), secret)
		for to, verifies := range configs {
			h := newHasher(t, verifies)
			rehash, err := h.Verify(t.Context(), encoded, secret)
			assert.NoError(t, err, "%s by %s", from, to)
			assert.Equal(t, from != to, rehash, "%s by %s", from, to)
			for _, wrong := range []string{secret + " ", secret[1:], strings.ToUpper(secret), "", secret + "\x00", secret + "\x00" + secret} {
				rehash, err = h.Verify(t.Context(), encoded, wrong)
				assert.ErrorIs(t, err, jwterrors.CredentialsInvalid, "%s by %s: %q", from, to, wrong)
				assert.False(t, rehash)
			}
		}
	}
}

func TestHashesOfOnePasswordDiffer(t *testing.T) {
	for _, c := range []password.Config{cheapArgon2id, cheapBcrypt, cheapPreHash} {
		h := newHasher(t, c)
		assert.NotEqual(t, hash(t, h, secret), hash(t, h, secret))
	}
}

func TestHashRefusesPasswords(t *testing.T) {
	for _, test := range []struct {
		name     string
		c        password.Config
		password string
		want     error
	}{
		{"no characters", cheapArgon2id, "", password.ErrTooShort},
		{"seven characters", cheapArgon2id, "1234567", password.ErrTooShort},
		{"eight characters", cheapArgon2id, "12345678", nil},
		{"seven characters of two bytes", cheapArgon2id, strings.Repeat("é", 7), password.ErrTooShort},
		{"eight characters of two bytes", cheapArgon2id, strings.Repeat("é", 8), nil},
		{"1024 bytes", cheapArgon2id, strings.Repeat("x", 1024), nil},
		{"1025 bytes", cheapArgon2id, strings.Repeat("x", 1025), password.ErrTooLong},
		{"1025 bytes before bcrypt's HMAC", cheapPreHash, strings.Repeat("x", 1025), password.ErrTooLong},
		{"72 bytes for bcrypt", cheapBcrypt, strings.Repeat("x", 72), nil},
		{"73 bytes for bcrypt", cheapBcrypt, strings.Repeat("x", 73), password.ErrTooLong},
		{"73 bytes for bcrypt's HMAC", cheapPreHash, strings.Repeat("x", 73), nil},
		{"a NUL byte for argon2id", cheapArgon2id, "1234\x005678", nil},
		{"a NUL byte for bcrypt", cheapBcrypt, "1234\x005678", password.ErrNUL},
		{"a NUL byte for bcrypt's HMAC", cheapPreHash, "1234\x005678", nil},
		{"no UTF-8", cheapArgon2id, strings.Repeat("\xff", 8), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHasher(t, test.c)
			encoded, err := h.Hash(t.Context(), test.password)
			if test.want == nil {
				require.NoError(t, err)
				_, err = h.Verify(t.Context(), encoded, test.password)
				assert.NoError(t, err)
				return
			}
			assert.Empty(t, encoded)
			assert.ErrorIs(t, err, test.want)
			assert.ErrorIs(t, err, jwterrors.RequestInvalid)
		})
	}
}

func TestMinLengthCountsCharacters(t *testing.T) {
	c := cheapArgon2id
	c.MinLength = 15
	h := newHasher(t, c)
	_, err := h.Hash(t.Context(), strings.Repeat("é", 14))
	assert.ErrorIs(t, err, password.ErrTooShort)
	_, err = h.Hash(t.Context(), strings.Repeat("é", 15))
	assert.NoError(t, err)
	_, err = h.Rehash(t.Context(), "short")
	assert.NoError(t, err, "a password that is in use may be shorter")
}

func TestNothingIsCutForBcrypt(t *testing.T) {
	for _, test := range []struct {
		c           password.Config
		first, same string // bcrypt alone takes them for one
	}{
		{cheapBcrypt, strings.Repeat("x", 72), strings.Repeat("x", 73)},
		{cheapBcrypt, "12345678", "12345678\x0012345678"},
		{cheapPreHash, strings.Repeat("x", 72), strings.Repeat("x", 73)},
		{cheapPreHash, "12345678", "12345678\x0012345678"},
	} {
		h := newHasher(t, test.c)
		encoded := hash(t, h, test.first)
		_, err := h.Verify(t.Context(), encoded, test.same)
		assert.ErrorIs(t, err, jwterrors.CredentialsInvalid, "%q", test.same)
	}
}

func TestAPasswordThatIsTooLongTakesNoWork(t *testing.T) {
	h := newHasher(t, cheapArgon2id)
	encoded := hash(t, h, secret)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // work would be refused
	for _, pw := range []string{"", strings.Repeat("x", 1025)} {
		_, err := h.Verify(ctx, encoded, pw)
		assert.ErrorIs(t, err, jwterrors.CredentialsInvalid)
	}
	for range 20 { // although a place is free
		_, err := h.Verify(ctx, encoded, strings.Repeat("x", 1024))
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, jwterrors.StoreUnavailable)
	}
}

func TestRehash(t *testing.T) {
	argon2id := func(memory, time int) password.Config {
		return password.Config{Memory: memory, Time: time, InsecureAllowLowCost: true}
	}
	cost := func(n int) password.Config {
		return password.Config{Algorithm: password.Bcrypt, Cost: n, InsecureAllowLowCost: true}
	}
	for _, test := range []struct {
		name       string
		old, now   password.Config
		password   string
		wantRehash bool
	}{
		{"the same", argon2id(64, 2), argon2id(64, 2), secret, false},
		{"less memory", argon2id(63, 2), argon2id(64, 2), secret, true},
		{"less memory, more work", argon2id(63, 16), argon2id(64, 2), secret, true},
		{"fewer passes", argon2id(64, 1), argon2id(64, 2), secret, true},
		{"fewer passes over more memory", argon2id(128, 1), argon2id(64, 2), secret, false},
		{"fewer passes over a little more memory", argon2id(127, 1), argon2id(64, 2), secret, true},
		{"more memory", argon2id(65, 2), argon2id(64, 2), secret, false},
		{"the same cost", cost(5), cost(5), secret, false},
		{"less cost", cost(4), cost(5), secret, true},
		{"more cost", cost(6), cost(5), secret, false},
		{"bcrypt to argon2id", cost(4), argon2id(64, 1), secret, true},
		{"argon2id to bcrypt", argon2id(64, 1), cost(4), secret, true},
		{"a password that bcrypt cannot take", argon2id(64, 1), cost(4), strings.Repeat("x", 73), false},
		{"a NUL byte that bcrypt cannot take", argon2id(64, 1), cost(4), "1234\x005678", false},
		{"to the HMAC", cost(4), cheapPreHash, secret, true},
		{"from the HMAC", cheapPreHash, cost(4), secret, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			encoded := hash(t, newHasher(t, test.old), test.password)
			h := newHasher(t, test.now)
			rehash, err := h.Verify(t.Context(), encoded, test.password)
			require.NoError(t, err)
			assert.Equal(t, test.wantRehash, rehash)
			if rehash {
				encoded, err = h.Rehash(t.Context(), test.password)
				require.NoError(t, err)
				rehash, err = h.Verify(t.Context(), encoded, test.password)
				require.NoError(t, err)
				assert.False(t, rehash, "once is enough")
			}
		})
	}
	t.Run("short salt", func(t *testing.T) {
		c := argon2id(256, 2)
		rehash, err := newHasher(t, c).Verify(t.Context(), vectors[1].hash, vectors[1].password)
		require.NoError(t, err)
		assert.True(t, rehash)
	})
}

func TestStoredHashesAreBoundedBeforeAnyWork(t *testing.T) {
	h := newHasher(t, cheapArgon2id)
	const salt, sum = "c29tZXNhbHQ", "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	const chars = "m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"
	argon2id := func(params string) string { return "$argon2id$v=19$" + params + "$" + salt + "$" + sum }
	raw := func(n int) string { return strings.Repeat("A", n) } // n characters of base64
	for _, test := range []struct {
		name, hash string
		ok         bool
	}{
		{"the most memory", argon2id("m=65536,t=1,p=1"), true},
		{"memory above it", argon2id("m=65537,t=1,p=1"), false},
		{"all the memory there is", argon2id("m=4294967295,t=1,p=1"), false},
		{"memory beyond any number", argon2id("m=99999999999999999999,t=1,p=1"), false},
		{"the least memory", argon2id("m=8,t=1,p=1"), true},
		{"memory below it", argon2id("m=7,t=1,p=1"), false},
		{"too little memory for the lanes", argon2id("m=15,t=1,p=2"), false},
		{"the most passes", argon2id("m=8,t=16,p=1"), true},
		{"passes above it", argon2id("m=8,t=17,p=1"), false},
		{"no passes", argon2id("m=8,t=0,p=1"), false},
		{"the most lanes", argon2id("m=128,t=1,p=16"), true},
		{"lanes above it", argon2id("m=65536,t=1,p=17"), false},
		{"no lanes", argon2id("m=8,t=1,p=0"), false},
		{"256 lanes", argon2id("m=65536,t=1,p=256"), false},
		{"another order", argon2id("t=1,m=8,p=1"), false},
		{"a parameter twice", argon2id("m=8,m=8,p=1"), false},
		{"a parameter too few", argon2id("m=8,t=1"), false},
		{"a parameter too many", argon2id("m=8,t=1,p=1,keyid=x"), false},
		{"a sign", argon2id("m=+8,t=1,p=1"), false},
		{"a negative number", argon2id("m=-8,t=1,p=1"), false},
		{"a leading zero", argon2id("m=08,t=1,p=1"), false},
		{"a space", argon2id("m= 8,t=1,p=1"), false},
		{"another version", "$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + sum, false},
		{"no version", "$argon2id$m=8,t=1,p=1$" + salt + "$" + sum, false},
		{"argon2i", "$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + sum, false},
		{"argon2d", "$argon2d$v=19$m=8,t=1,p=1$" + salt + "$" + sum, false},
		{"a part more", argon2id("m=8,t=1,p=1") + "$", false},
		{"no hash", "$argon2id$v=19$m=8,t=1,p=1$" + salt, false},
		{"a salt of 7 bytes", "$argon2id$v=19$m=8,t=1,p=1$" + raw(9) + "A$" + sum, false},
		{"a salt of 64 bytes", "$argon2id$v=19$m=8,t=1,p=1$" + raw(86) + "$" + sum, true},
		{"a salt of 65 bytes", "$argon2id$v=19$m=8,t=1,p=1$" + raw(87) + "$" + sum, false},
		{"a hash of 15 bytes", "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + raw(20), false},
		{"a hash of 16 bytes", "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + raw(22), true},
		{"a hash of 64 bytes", "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + raw(86), true},
		{"a hash of 65 bytes", "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + raw(87), false},
		{"padding", "$argon2id$v=19$m=8,t=1,p=1$" + salt + "==$" + sum, false},
		{"a line break in the base64", "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + sum + "\n", false},
		{"bits that say nothing", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHR$" + sum, false},
		{"URL base64", "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + strings.ReplaceAll(sum, "/", "_"), false},
		{"a megabyte", argon2id("m=8,t=1,p=1") + strings.Repeat("$", 1<<20), false},
		{"bcrypt, the least cost", "$2b$04$" + chars, true},
		{"bcrypt, a cost below it", "$2b$03$" + chars, false},
		{"bcrypt, the most cost", "$2b$14$" + chars, true},
		{"bcrypt, a cost above it", "$2b$15$" + chars, false},
		{"bcrypt, the cost of a month", "$2b$31$" + chars, false},
		{"bcrypt, no number", "$2b$1a$" + chars, false},
		{"bcrypt, a character after 9", "$2b$0:$" + chars, false},
		{"bcrypt, a sign", "$2b$+9$" + chars, false},
		{"bcrypt of 2x", "$2x$04$" + chars, false},
		{"bcrypt without a letter", "$2$04$" + chars, false},
		{"bcrypt, one short", "$2b$04$" + chars[1:], false},
		{"bcrypt, one long", "$2b$04$" + chars + ".", false},
		{"bcrypt, another alphabet", "$2b$04$" + chars[1:] + "+", false},
		{"the HMAC", "$bcrypt-hmac-sha384$v=1$2a$04$" + chars, true},
		{"the HMAC, a cost above the most", "$bcrypt-hmac-sha384$v=1$2a$15$" + chars, false},
		{"the HMAC, another version", "$bcrypt-hmac-sha384$v=2$2a$04$" + chars, false},
		{"the HMAC twice", "$bcrypt-hmac-sha384$v=1$bcrypt-hmac-sha384$v=1$2a$04$" + chars, false},
		{"the password itself", secret, false},
		{"MD5 crypt", "$1$abcdefgh$0123456789012345678901", false},
		{"a dollar", "$", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := h.Parse(test.hash)
			if test.ok {
				assert.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, password.ErrHash)
			_, err = h.Verify(t.Context(), test.hash, secret)
			require.ErrorIs(t, err, password.ErrHash)
			if len(test.hash) > 5 {
				assert.NotContains(t, err.Error(), test.hash)
			}
			for part := range strings.SplitSeq(test.hash, "$") {
				if len(part) > 5 {
					assert.NotContains(t, err.Error(), part)
				}
			}
		})
	}
}

func TestAHashThatIsTooLongIsNotRead(t *testing.T) {
	_, err := newHasher(t, cheapArgon2id).Parse(vectors[1].hash + strings.Repeat("$", 1<<20))
	assert.ErrorContains(t, err, "too long")
	_, err = newHasher(t, cheapArgon2id).Parse(strings.Replace(vectors[1].hash, "v=19", "v=16", 1))
	assert.ErrorContains(t, err, "version 19")
}

func TestMaxMemoryBoundsStoredHashes(t *testing.T) {
	c := cheapArgon2id
	c.MaxMemory = 256
	h := newHasher(t, c)
	_, err := h.Verify(t.Context(), vectors[1].hash, vectors[1].password)
	assert.NoError(t, err)
	c.MaxMemory = 255
	h = newHasher(t, c)
	_, err = h.Verify(t.Context(), vectors[1].hash, vectors[1].password)
	assert.ErrorIs(t, err, password.ErrHash)
}

func TestNoPasswordBelongsToAnEmptyHash(t *testing.T) {
	h := newHasher(t, cheapArgon2id)
	for _, pw := range []string{"", "x", secret} {
		rehash, err := h.Verify(t.Context(), "", pw)
		assert.Equal(t, jwterrors.CredentialsInvalid, err)
		assert.False(t, rehash)
	}
}

func TestHashesWaitForTheirTurn(t *testing.T) {
	c := cheapArgon2id
	c.Concurrency, c.Queue = 2, 3
	encoded := hash(t, newHasher(t, c), secret)
	for name, work := range map[string]func(context.Context, *password.Hasher) error{
		"Hash":   func(ctx context.Context, h *password.Hasher) error { _, err := h.Hash(ctx, secret); return err },
		"Rehash": func(ctx context.Context, h *password.Hasher) error { _, err := h.Rehash(ctx, secret); return err },
		"Verify": func(ctx context.Context, h *password.Hasher) error {
			_, err := h.Verify(ctx, encoded, secret)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHasher(t, c)
				release := h.Hold()
				require.NoError(t, work(t.Context(), h), "the second place is free")
				releaseToo := h.Hold()

				for range 10 { // who gives up loses no place in the queue
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					require.ErrorIs(t, work(ctx, h), context.DeadlineExceeded)
					cancel()
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				ended := make(chan error, 3)
				for range 2 {
					go func() { ended <- work(t.Context(), h) }()
				}
				go func() { ended <- work(ctx, h) }()
				synctest.Wait()
				require.Empty(t, ended, "three wait")

				err := work(t.Context(), h)
				require.ErrorIs(t, err, password.ErrBusy, "the fourth does not")
				require.ErrorIs(t, err, jwterrors.StoreUnavailable)
				var e *jwterrors.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, time.Second, e.RetryAfter)

				time.Sleep(time.Minute)
				synctest.Wait()
				require.Len(t, ended, 1, "the context of one has ended")
				err = <-ended
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, jwterrors.StoreUnavailable)

				release()
				require.NoError(t, <-ended)
				require.NoError(t, <-ended)
				releaseToo()
				for range 20 { // no place was lost
					require.NoError(t, work(t.Context(), h))
				}
				release, releaseToo = h.Hold(), h.Hold()
				release()
				releaseToo()
			})
		})
	}
}
