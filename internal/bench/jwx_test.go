package bench_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v3"
	auth0jwks "github.com/auth0/go-jwt-middleware/v3/jwks"
	"github.com/auth0/go-jwt-middleware/v3/validator"
	chijwtauth "github.com/go-chi/jwtauth/v5"
	"github.com/lestrrat-go/httprc/v3"
	jwtv2 "github.com/lestrrat-go/jwx/v2/jwt"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/stretchr/testify/require"
)

// jwx is github.com/lestrrat-go/jwx/v3 with its cache of JWK Sets.
func jwx(tb testing.TB, alg string, next reached) http.Handler {
	var with jwt.ParseOption
	if alg == "HS256" {
		with = jwt.WithKey(jwa.HS256(), keys[alg]().public)
	} else {
		cache, err := jwk.NewCache(tb.Context(), httprc.NewClient())
		require.NoError(tb, err)
		require.NoError(tb, cache.Register(tb.Context(), jwksURL()))
		set, err := cache.CachedSet(jwksURL())
		require.NoError(tb, err)
		with = jwt.WithKeySet(set)
	}
	handler := behind(next, func(ctx context.Context) string {
		sub, _ := ctx.Value(claimsKey{}).(jwt.Token).Subject()
		return sub
	})
	issuer, aud := jwt.WithIssuer(issuerName), jwt.WithAudience(audience)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok {
			unauthorized(w)
			return
		}
		c, err := jwt.ParseString(token, with, issuer, aud)
		if err != nil {
			unauthorized(w)
			return
		}
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
	})
}

// auth0 is github.com/auth0/go-jwt-middleware/v3, which does everything itself.
func auth0(tb testing.TB, alg string, next reached) http.Handler {
	find := func(context.Context) (any, error) { return keys[alg]().public, nil }
	if alg != "HS256" {
		provider, err := auth0jwks.NewCachingProvider(auth0jwks.WithIssuerURL(must(url.Parse(issuerName))),
			auth0jwks.WithCustomJWKSURI(must(url.Parse(jwksURL()))))
		require.NoError(tb, err)
		find = provider.KeyFunc
	}
	v, err := validator.New(validator.WithKeyFunc(find), validator.WithAlgorithm(validator.SignatureAlgorithm(alg)),
		validator.WithIssuer(issuerName), validator.WithAudience(audience))
	require.NoError(tb, err)
	m, err := jwtmiddleware.New(jwtmiddleware.WithValidator(v))
	require.NoError(tb, err)
	return m.CheckJWT(behind(next, func(ctx context.Context) string {
		return jwtmiddleware.MustGetClaims[*validator.ValidatedClaims](ctx).RegisteredClaims.Subject
	}))
}

// jwtauth is github.com/go-chi/jwtauth/v5, which has no client for a JWKS.
func jwtauth(_ testing.TB, alg string, next reached) http.Handler {
	public := keys[alg]().public
	auth := chijwtauth.New(alg, nil, public, jwtv2.WithIssuer(issuerName), jwtv2.WithAudience(audience))
	handler := behind(next, func(ctx context.Context) string {
		return ctx.Value(chijwtauth.TokenCtxKey).(jwtv2.Token).Subject()
	})
	return chijwtauth.Verifier(auth)(chijwtauth.Authenticator(auth)(handler))
}
