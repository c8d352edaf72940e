package bench_test

import (
	"errors"
	"net/http"
	"testing"

	ginjwt "github.com/appleboy/gin-jwt/v2"
	"github.com/gin-gonic/gin"
	jwtv4 "github.com/golang-jwt/jwt/v4"
	"github.com/golang-jwt/jwt/v5"
	echojwt "github.com/labstack/echo-jwt/v4"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"
)

// echoJWT is github.com/labstack/echo-jwt/v4 behind an echo router, which is
// part of what is measured. Issuer and audience are judged by the claims' own
// Validate, which golang-jwt calls.
func echoJWT(_ testing.TB, alg string, next reached) http.Handler {
	k := keys[alg]()
	config := echojwt.Config{
		SigningMethod: alg,
		NewClaimsFunc: func(echo.Context) jwt.Claims { return new(echoClaims) },
	}
	if k.kid == "" {
		config.SigningKey = k.public
	} else {
		config.SigningKeys = map[string]any{k.kid: k.public}
	}
	e := echo.New()
	e.Use(echojwt.WithConfig(config))
	e.GET("/orders", func(c echo.Context) error {
		next(c.Get("user").(*jwt.Token).Claims.(*echoClaims).Subject)
		return nil
	})
	return e
}

type echoClaims struct{ structClaims }

func (c *echoClaims) Validate() error {
	if c.ExpiresAt == nil || c.Issuer != issuerName || len(c.Audience) != 1 || c.Audience[0] != audience {
		return errors.New("not for us")
	}
	return nil
}

// ginJWT is github.com/appleboy/gin-jwt/v2 behind a gin router, which is part of
// what is measured. Issuer and audience are judged by its Authorizator. It reads
// public keys from files; a KeyFunc spares that, and leaves the algorithm to an
// option of the parser.
func ginJWT(tb testing.TB, alg string, next reached) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	k := keys[alg]()
	m := &ginjwt.GinJWTMiddleware{
		Authorizator: func(_ any, c *gin.Context) bool {
			all := jwtv4.MapClaims(ginjwt.ExtractClaims(c))
			return all.VerifyIssuer(issuerName, true) && all.VerifyAudience(audience, true)
		},
		IdentityKey: "sub",
	}
	if alg == "HS256" {
		m.Key = k.public.([]byte)
	} else {
		m.KeyFunc = func(*jwtv4.Token) (any, error) { return k.public, nil }
		m.ParseOptions = []jwtv4.ParserOption{jwtv4.WithValidMethods([]string{alg})}
	}
	m, err := ginjwt.New(m)
	require.NoError(tb, err)
	router := gin.New()
	router.Use(m.MiddlewareFunc())
	router.GET("/orders", func(c *gin.Context) {
		sub, _ := ginjwt.ExtractClaims(c)["sub"].(string)
		next(sub)
	})
	return router
}
