package bench_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
)

const loginPassword = "correct horse battery staple"

// hashings are the ways to keep a password, with the defaults of the package.
var hashings = []password.Config{{Algorithm: password.Argon2id}, {Algorithm: password.Bcrypt}}

// BenchmarkLogin is a whole login with ES256, by a password that is right. Beside
// it stands the hash alone: all the rest is small.
func BenchmarkLogin(b *testing.B) {
	for _, c := range hashings {
		b.Run("hash="+string(c.Algorithm)+"/mode=serial", func(b *testing.B) {
			h, hash := hashed(b, c)
			b.Run("impl=bare", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := h.Verify(context.Background(), hash, loginPassword); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("impl=tokenloop", func(b *testing.B) {
				is := newOwnLogin(b, h, hash)
				b.ReportAllocs()
				for b.Loop() {
					if is.login(); is.w.status != 200 {
						b.Fatalf("answered with %d", is.w.status)
					}
				}
			})
		})
	}
}

func hashed(tb testing.TB, c password.Config) (*password.Hasher, string) {
	h, err := password.New(c)
	require.NoError(tb, err)
	hash, err := h.Hash(context.Background(), loginPassword)
	require.NoError(tb, err)
	return h, hash
}

// newOwnLogin is newOwnIssuer, and looks at passwords.
func newOwnLogin(tb testing.TB, h *password.Hasher, hash string) *ownIssuer {
	users, err := password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: h, Logger: slog.New(slog.DiscardHandler),
		Lookup: func(context.Context, issuer.Credentials) (password.Account, error) {
			return password.Account{User: issuer.User{ID: subject}, Hash: hash}, nil
		},
	})
	require.NoError(tb, err)
	return newOwnIssuerOf(tb, "ES256", func(c *issuer.Config) { c.Authenticate = users.Authenticate })
}

// BenchmarkTokens is BenchmarkRefresh's repeat on all cores, each with a session
// of its own on one issuer and one store: how many access tokens a second each
// core hands out.
func BenchmarkTokens(b *testing.B) {
	for _, alg := range algorithms {
		b.Run("alg="+alg+"/mode=parallel/impl=tokenloop", func(b *testing.B) {
			first := newOwnIssuerOf(b, alg, nil)
			var failed atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				is := first.beside()
				young := refreshTokenIn(is.refresh(refreshTokenIn(is.login())))
				for pb.Next() {
					if is.refresh(young); is.w.status != 200 {
						failed.Add(1)
					}
				}
			})
			require.Zero(b, failed.Load())
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/float64(runtime.GOMAXPROCS(0)), "tokens/s/core")
		})
	}
}

func TestOurLoginLooksAtThePassword(t *testing.T) {
	h, hash := hashed(t, password.Config{Memory: 64, Time: 1, InsecureAllowLowCost: true})
	is := newOwnLogin(t, h, hash)
	assert.NotEmpty(t, refreshTokenIn(is.login()))
	is.post("/auth/login", `{"username":"alice","password":"another one"}`)
	assert.Equal(t, 401, is.w.status)
	is.beside().login()
	assert.Equal(t, 401, is.w.status, "each has an answer of its own")
}
