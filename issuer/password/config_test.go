package password_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer/password"
)

func TestTheDefaultsAreThoseOfOWASP(t *testing.T) {
	encoded := hash(t, newHasher(t, password.Config{}), secret)
	assert.True(t, strings.HasPrefix(encoded, "$argon2id$v=19$m=19456,t=2,p=1$"), encoded)
	encoded = hash(t, newHasher(t, password.Config{Algorithm: password.Bcrypt}), secret)
	assert.True(t, strings.HasPrefix(encoded, "$2a$12$"), encoded)
}

func TestNewRefusesWhatIsWeakOrOutOfBounds(t *testing.T) {
	for _, test := range []struct {
		name   string
		c      password.Config
		refuse string // "" accepts
	}{
		{"the least of argon2id", password.Config{Memory: 7 << 10, Time: 5}, ""},
		{"memory below it", password.Config{Memory: 7<<10 - 1, Time: 6}, "Memory is 7167"},
		{"too few passes for the memory", password.Config{Memory: 7 << 10, Time: 4}, "Memory times Time is 28672"},
		{"one pass over enough memory", password.Config{Memory: 46 << 10, Time: 1}, ""},
		{"the most memory", password.Config{Memory: 1 << 20}, ""},
		{"memory above it", password.Config{Memory: 1<<20 + 1}, "Memory is 1048577"},
		{"a negative memory", password.Config{Memory: -1}, "Memory is -1"},
		{"the most passes", password.Config{Time: 16}, ""},
		{"passes above it", password.Config{Time: 17}, "Time is 17"},
		{"a negative number of passes", password.Config{Time: -1}, "Time is -1"},
		{"the most lanes", password.Config{Parallelism: 16}, ""},
		{"lanes above it", password.Config{Parallelism: 17}, "Parallelism is 17"},
		{"the least of RFC 9106, for tests", password.Config{Memory: 32, Parallelism: 4, Time: 1, InsecureAllowLowCost: true}, ""},
		{"memory below it, for tests", password.Config{Memory: 31, Parallelism: 4, InsecureAllowLowCost: true}, "Memory is 31"},
		{"a cost with argon2id", password.Config{Cost: 12}, "for Bcrypt alone"},
		{"a pre-hash with argon2id", password.Config{PreHash: true}, "for Bcrypt alone"},
		{"the least cost", password.Config{Algorithm: password.Bcrypt, Cost: 10}, ""},
		{"a cost below it", password.Config{Algorithm: password.Bcrypt, Cost: 9}, "Cost is 9"},
		{"the most cost", password.Config{Algorithm: password.Bcrypt, Cost: 14}, ""},
		{"a cost above it", password.Config{Algorithm: password.Bcrypt, Cost: 15}, "Cost is 15"},
		{"the least cost of bcrypt, for tests", password.Config{Algorithm: password.Bcrypt, Cost: 4, InsecureAllowLowCost: true}, ""},
		{"a cost below it, for tests", password.Config{Algorithm: password.Bcrypt, Cost: 3, InsecureAllowLowCost: true}, "Cost is 3"},
		{"memory with bcrypt", password.Config{Algorithm: password.Bcrypt, Memory: 19456}, "for Argon2id alone"},
		{"another algorithm", password.Config{Algorithm: "md5"}, `Algorithm "md5"`},
		{"a bound below the memory", password.Config{MaxMemory: 19455}, "MaxMemory is 19455"},
		{"a bound above all", password.Config{MaxMemory: 1<<20 + 1}, "MaxMemory is 1048577"},
		{"the least length", password.Config{MinLength: 8}, ""},
		{"a length below it", password.Config{MinLength: 7}, "MinLength is 7"},
		{"a length above the most", password.Config{MinLength: 65}, "MinLength is 65"},
		{"no concurrency", password.Config{Concurrency: -1}, "Concurrency is -1"},
		{"endless concurrency", password.Config{Concurrency: 1 << 30}, "Concurrency is 1073741824"},
		{"a negative queue", password.Config{Queue: -1}, "Queue is -1"},
		{"an endless queue", password.Config{Queue: 1<<16 + 1}, "Queue is 65537"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := password.New(test.c)
			if test.refuse == "" {
				require.NoError(t, err)
				return
			}
			assert.Nil(t, h)
			assert.ErrorContains(t, err, test.refuse)
			assert.NotContains(t, err.Error(), "\n", "one mistake has one message")
		})
	}
}

func TestNewNamesEveryMistakeAtOnce(t *testing.T) {
	_, err := password.New(password.Config{Memory: 1, Time: 99, Parallelism: 99, Cost: 1, MaxMemory: 1 << 30, MinLength: 1, Concurrency: -1, Queue: -1})
	require.Error(t, err)
	for _, name := range []string{"Memory is", "Time is", "Parallelism is", "Cost and", "MaxMemory is", "MinLength is", "Concurrency is"} {
		assert.ErrorContains(t, err, name)
	}
}

func TestAZeroHasherRefusesEveryPassword(t *testing.T) {
	var h password.Hasher
	encoded, err := h.Hash(context.Background(), secret)
	assert.Empty(t, encoded)
	assert.ErrorContains(t, err, "not made with New")
	_, err = h.Verify(context.Background(), hash(t, newHasher(t, cheapArgon2id), secret), secret)
	assert.ErrorContains(t, err, "not made with New")
	_, err = h.Verify(context.Background(), "", secret)
	assert.Error(t, err)
}
