package password_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
)

// Every kind of wrong takes one time: of samples that take turns, the shortest
// differ by less than a half. The mutations show that the test can fail.
func TestTimeTellsNotWhichUsersExist(t *testing.T) {
	for _, test := range []struct {
		name       string
		c, cheaper password.Config
	}{
		{"argon2id",
			password.Config{Memory: 256, Time: 4, InsecureAllowLowCost: true},
			password.Config{Memory: 256, Time: 1, InsecureAllowLowCost: true}},
		{"bcrypt",
			password.Config{Algorithm: password.Bcrypt, Cost: 5, InsecureAllowLowCost: true},
			password.Config{Algorithm: password.Bcrypt, Cost: 4, InsecureAllowLowCost: true}},
	} {
		h := newHasher(t, test.c)
		t.Run(test.name, func(t *testing.T) {
			assert.Less(t, spread(t, h, 10), 1.5)
		})
		t.Run(test.name+" without the dummy hash", func(t *testing.T) {
			assert.Greater(t, spread(t, h.WithDummyOf(nil), 1), 1.5, "the test would not notice")
		})
		t.Run(test.name+" with a dummy hash of less work", func(t *testing.T) {
			assert.Greater(t, spread(t, h.WithDummyOf(newHasher(t, test.cheaper)), 1), 1.5, "the test would not notice")
		})
	}
}

// spread returns how many times longer the slowest kind of wrong takes than the
// quickest: the least of some measurements, since a busy machine makes it more.
func spread(t *testing.T, h *password.Hasher, attempts int) float64 {
	t.Helper()
	known := hash(t, h, secret)
	accounts := map[string]password.Account{
		"known":    {User: issuer.User{ID: "1"}, Hash: known},
		"locked":   {User: issuer.User{ID: "2"}, Hash: known, Locked: true},
		"nameless": {User: issuer.User{ID: "3"}}, // without a password
		"unusable": {User: issuer.User{ID: "4"}, Hash: "$1$abcdefgh$0123456789012345678901"},
	}
	a, err := password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: h, Logger: slog.New(slog.DiscardHandler),
		Lookup: func(_ context.Context, c issuer.Credentials) (password.Account, error) {
			if c.Username == "refused" {
				return password.Account{}, jwterrors.CredentialsInvalid
			}
			return accounts[c.Username], nil
		},
	})
	require.NoError(t, err)
	kinds := []issuer.Credentials{
		{Username: "known", Password: secret + "x"},
		{Username: "unknown", Password: secret},
		{Username: "refused", Password: secret},
		{Username: "locked", Password: secret},
		{Username: "locked", Password: "wrong"},
		{Username: "nameless", Password: secret},
		{Username: "unusable", Password: secret},
		{Username: "known", Password: strings.Repeat("x", 80)}, // more than bcrypt takes
		{Username: "unknown", Password: strings.Repeat("x", 80)},
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := 0.0
	for range attempts {
		samples := make([][]time.Duration, len(kinds))
		for range 15 {
			runtime.GC() // here, and not in the middle of a sample
			for _, i := range rand.Perm(len(kinds)) {
				c := kinds[i]
				start := time.Now()
				_, err := a.Authenticate(t.Context(), c)
				samples[i] = append(samples[i], time.Since(start))
				if !errors.Is(err, jwterrors.CredentialsInvalid) {
					t.Fatalf("%s: %v", c.Username, err)
				}
			}
		}
		var shortest []time.Duration // a busy machine makes the others longer
		for _, s := range samples {
			shortest = append(shortest, slices.Min(s))
		}
		ratio := float64(slices.Max(shortest)) / float64(slices.Min(shortest))
		if least == 0 || ratio < least {
			least = ratio
		}
		if least < 1.2 {
			break
		}
	}
	return least
}
