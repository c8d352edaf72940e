package bench_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
)

// goOIDC is github.com/coreos/go-oidc/v3 with its key set. It reads the
// registered claims itself, and the others when asked.
func goOIDC(tb testing.TB, alg string, next reached) http.Handler {
	verifier := oidc.NewVerifier(issuerName, oidc.NewRemoteKeySet(tb.Context(), jwksURL()),
		&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{alg}})
	handler := behind(next, func(ctx context.Context) string { return ctx.Value(claimsKey{}).(*oidcClaims).Subject })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok {
			unauthorized(w)
			return
		}
		id, err := verifier.Verify(r.Context(), token)
		if err != nil {
			unauthorized(w)
			return
		}
		c := new(oidcClaims)
		if err := id.Claims(c); err != nil {
			unauthorized(w)
			return
		}
		c.IDToken = id
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
	})
}

type oidcClaims struct {
	*oidc.IDToken `json:"-"`

	ID       string `json:"jti"`
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	Session  string `json:"sid"`
	AuthTime int64  `json:"auth_time"`
}
