package bench_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/middleware"
)

// tokenloop is our middleware with everything that a service would switch on:
// the JWKS, and a denylist that is not empty.
func tokenloop(tb testing.TB, alg string, next reached) http.Handler {
	return own(tb, alg, next, false)
}

// tokenloopShared is the same where handlers leave the claims as they are, so that
// the requests with one token can share them.
func tokenloopShared(tb testing.TB, alg string, next reached) http.Handler {
	return own(tb, alg, next, true)
}

func own(tb testing.TB, alg string, next reached, share bool) http.Handler {
	m, err := middleware.New(middleware.Config{
		Keys:        ownKeys(alg),
		Issuer:      issuerName,
		Audience:    []string{audience},
		Revocations: ownDenylist(),
		ShareClaims: share,
	})
	require.NoError(tb, err)
	return m.Handler(behind(next, func(ctx context.Context) string {
		c, _ := middleware.FromContext(ctx)
		return c.Subject
	}))
}

// ownKeys returns the source for alg. All handlers share the one of the JWKS, as
// handlers of one service do, so that a new one fetches nothing.
func ownKeys(alg string) middleware.KeySource {
	if alg == "HS256" {
		return middleware.HS256(keys[alg]().public.([]byte))
	}
	return ownJWKS()
}

var ownJWKS = sync.OnceValue(func() middleware.KeySource {
	return middleware.JWKS(jwksURL(), middleware.JWKSOptions{InsecureAllowHTTP: true})
})

// ownDenylist returns a list with a thousand sessions, none of them ours.
var ownDenylist = sync.OnceValue(func() *middleware.Denylist {
	list := middleware.NewDenylist(middleware.DenylistOptions{})
	for i := range 1000 {
		err := list.DenySession(context.Background(), "denied-session-"+strconv.Itoa(i), time.Now().Add(time.Hour))
		must(0, err)
	}
	return list
})
