package middleware_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

func TestRequiredClaims(t *testing.T) { // IT-07, IT-31.09
	year := time.Now().Unix()
	for _, c := range []struct {
		name     string
		required []string
		payload  any
		reason   jwterrors.Reason
	}{
		{"nothing is required", nil, claims().with("jti", nil), ""},
		{"all are there", []string{"jti", "sub", "tenant"}, claims().with("tenant", "acme"), ""},
		{"one is absent", []string{"jti", "tenant"}, claims(), jwterrors.TokenPayloadInvalid},
		{"one is null", []string{"tenant"}, claims().with("tenant", rawNull), jwterrors.TokenPayloadInvalid},
		{"one is empty", []string{"tenant"}, claims().with("tenant", ""), ""},
		{"one is false", []string{"tenant"}, claims().with("tenant", false), ""},
		{"one is an object", []string{"tenant"}, claims().with("tenant", object{"id": nil}), ""},
		{"one is within another", []string{"tenant"}, claims().with("x", object{"tenant": "acme"}), jwterrors.TokenPayloadInvalid},
		{"one is there in other case", []string{"tenant"}, claims().with("Tenant", "acme"), jwterrors.TokenPayloadInvalid},
		{"one is there in escapes", []string{"nonce"}, `{"iss":"` + issuer + `","aud":"` + audience + `","iat":` + itoa(year) + `,"exp":` + itoa(year+60) + `,"no\u006ece":1}`, ""},
		{"a registered one is absent", []string{"jti"}, claims().with("jti", nil), jwterrors.TokenPayloadInvalid},
		{"absent and expired", []string{"tenant"}, claims().with("iat", year-7200).with("exp", year-3600), jwterrors.TokenPayloadInvalid},
		{"absent and of another issuer", []string{"tenant"}, claims().with("iss", "x"), jwterrors.TokenPayloadInvalid},
		{"absent in a refresh token", []string{"tenant"}, claims().with("type", "refresh"), jwterrors.TokenTypeInvalid},
		{"there and expired", []string{"jti"}, claims().with("iat", year-7200).with("exp", year-3600), jwterrors.TokenExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			auth := newAuth(t, func(config *middleware.Config) { config.RequiredClaims = c.required })
			token := hs(hsHeader, c.payload)
			for range 2 { // the second time by the cache, if at all
				require.Equal(t, c.reason, jwterrors.ReasonOf(verify(auth, token)))
			}
		})
	}
}

// What the caller does with its list afterwards changes nothing.
func TestRequiredClaimsAreCopied(t *testing.T) {
	names := []string{"jti"}
	auth := newAuth(t, func(c *middleware.Config) { c.RequiredClaims = names })
	names[0] = "tenant"
	require.NoError(t, verify(auth, good()))
}
