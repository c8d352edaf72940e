package bench_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// structClaims are the claims as a struct, which golang-jwt fills faster than a
// map.
type structClaims struct {
	jwt.RegisteredClaims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	Session  string `json:"sid"`
	AuthTime int64  `json:"auth_time"`
}

type claimsKey struct{}

// golangJWT is github.com/golang-jwt/jwt with its parser and a key in hand.
func golangJWT(_ testing.TB, alg string, next reached) http.Handler {
	public := keys[alg]().public
	return parserHandler(alg, func(*jwt.Token) (any, error) { return public, nil }, next)
}

// golangJWTKeyfunc is the same with github.com/MicahParks/keyfunc and the JWKS.
func golangJWTKeyfunc(tb testing.TB, alg string, next reached) http.Handler {
	k, err := keyfunc.NewDefaultCtx(tb.Context(), []string{jwksURL()})
	require.NoError(tb, err)
	return parserHandler(alg, k.Keyfunc, next)
}

func parserHandler(alg string, find jwt.Keyfunc, next reached) http.Handler {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithIssuer(issuerName),
		jwt.WithAudience(audience), jwt.WithExpirationRequired())
	handler := behind(next, func(ctx context.Context) string { return ctx.Value(claimsKey{}).(*structClaims).Subject })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok {
			unauthorized(w)
			return
		}
		c := new(structClaims)
		if _, err := parser.ParseWithClaims(token, c, find); err != nil {
			unauthorized(w)
			return
		}
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
	})
}

// golangJWTParts takes golang-jwt's SigningMethod and Validator, and reads the
// token as the floor does.
func golangJWTParts(_ testing.TB, alg string, next reached) http.Handler {
	k := keys[alg]()
	header, method, public := k.header(), jwt.GetSigningMethod(alg), k.public
	validator := jwt.NewValidator(jwt.WithIssuer(issuerName), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	check := func(token string) *flatClaims {
		first, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
		if first < 0 || first == last || token[:first] != header {
			return nil
		}
		signature, err := strict.DecodeString(token[last+1:])
		if err != nil || method.Verify(token[:last], signature, public) != nil {
			return nil
		}
		payload, err := strict.DecodeString(token[first+1 : last])
		if err != nil {
			return nil
		}
		c := new(flatClaims)
		if c.scan(string(payload)) != nil || validator.Validate(c) != nil {
			return nil
		}
		return c
	}
	handler := behind(next, flatSubject)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok {
			unauthorized(w)
			return
		}
		c := check(token)
		if c == nil {
			unauthorized(w)
			return
		}
		handler.ServeHTTP(w, r.WithContext(&flatContext{r.Context(), c}))
	})
}

// The methods of jwt.Claims.
func (c *flatClaims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.expires), nil }
func (c *flatClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.issuedAt), nil }
func (c *flatClaims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.notBefore), nil }
func (c *flatClaims) GetIssuer() (string, error)                   { return c.issuer, nil }
func (c *flatClaims) GetSubject() (string, error)                  { return c.subject, nil }
func (c *flatClaims) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{c.audience}, nil
}

func date(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return &jwt.NumericDate{Time: time.Unix(seconds, 0)}
}
