package bench_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"net/http"
	"slices"
	"testing"
	"time"

	cjwt "github.com/cristalhq/jwt/v5"
	pjwt "github.com/pascaldekloe/jwt"
	"github.com/stretchr/testify/require"
)

// cristalhq is github.com/cristalhq/jwt/v5. It verifies the signature; the
// claims are judged with the methods of its RegisteredClaims, which accept
// tokens without "exp", so that is looked at here.
func cristalhq(tb testing.TB, alg string, next reached) http.Handler {
	var verifier cjwt.Verifier
	var err error
	switch public := keys[alg]().public.(type) {
	case []byte:
		verifier, err = cjwt.NewVerifierHS(cjwt.HS256, public)
	case *rsa.PublicKey:
		verifier, err = cjwt.NewVerifierRS(cjwt.RS256, public)
	case *ecdsa.PublicKey:
		verifier, err = cjwt.NewVerifierES(cjwt.ES256, public)
	case ed25519.PublicKey:
		verifier, err = cjwt.NewVerifierEdDSA(public)
	}
	require.NoError(tb, err)
	handler := behind(next, func(ctx context.Context) string { return ctx.Value(claimsKey{}).(*cristalhqClaims).Subject })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok {
			unauthorized(w)
			return
		}
		c := new(cristalhqClaims)
		if err := cjwt.ParseClaims([]byte(token), verifier, c); err != nil ||
			c.ExpiresAt == nil || !c.IsValidAt(time.Now()) || !c.IsIssuer(issuerName) || !c.IsForAudience(audience) {
			unauthorized(w)
			return
		}
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
	})
}

type cristalhqClaims struct {
	cjwt.RegisteredClaims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	Session  string `json:"sid"`
	AuthTime int64  `json:"auth_time"`
}

// pascaldekloe is github.com/pascaldekloe/jwt with its Handler. It has no client
// for a JWKS but reads the document. Issuer and audience are the business of
// Handler.Func, and so is "exp", which it does not require.
func pascaldekloe(tb testing.TB, alg string, next reached) http.Handler {
	register := new(pjwt.KeyRegister)
	if alg == "HS256" {
		mac, err := pjwt.NewHMAC(pjwt.HS256, keys[alg]().public.([]byte))
		require.NoError(tb, err)
		register.HMACs = append(register.HMACs, mac)
	} else {
		_, err := register.LoadJWK(jwksDocument())
		require.NoError(tb, err)
	}
	return &pjwt.Handler{
		Keys:       register,
		ContextKey: claimsKey{},
		Func: func(w http.ResponseWriter, _ *http.Request, c *pjwt.Claims) bool {
			pass := c.Expires != nil && c.Issuer == issuerName && slices.Contains(c.Audiences, audience)
			if !pass {
				unauthorized(w)
			}
			return pass
		},
		Target: behind(next, func(ctx context.Context) string { return ctx.Value(claimsKey{}).(*pjwt.Claims).Subject }),
	}
}
