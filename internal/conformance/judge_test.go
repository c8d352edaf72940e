package conformance

import (
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// must returns v, for what cannot fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// b64 encodes a segment.
func b64[T string | []byte](data T) string { return base64.RawURLEncoding.EncodeToString([]byte(data)) }

// unb64 decodes what b64 encoded.
func unb64(text string) []byte { return must(base64.RawURLEncoding.DecodeString(text)) }

// toJSON encodes a value.
func toJSON(v any) string { return string(must(json.Marshal(v))) }

// A jwk is a JSON Web Key, or some of it.
type jwk map[string]any

// set returns a source with a JWK Set of these keys.
func set(keys ...jwk) middleware.KeySource {
	document := []byte(toJSON(map[string]any{"keys": keys}))
	return middleware.LocalJWKS(func() []byte { return document })
}

// judge returns why a token is refused, or "". Verify is asked, and Check where
// the token can be in a header: they must agree.
func judge(t *testing.T, config middleware.Config, token string) (jwterrors.Reason, error) {
	t.Helper()
	auth, err := middleware.New(config)
	require.NoError(t, err)
	_, err = auth.Verify(t.Context(), token)
	if token != "" && !strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' || c == ',' }) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		_, other := auth.Check(r)
		assert.Equal(t, reasonOf(err), reasonOf(other), "Verify: %v; Check: %v", err, other)
	}
	return reasonOf(err), err
}

// reasonOf is jwterrors.ReasonOf, and "" for no error.
func reasonOf(err error) jwterrors.Reason {
	if err == nil {
		return ""
	}
	return jwterrors.ReasonOf(err)
}

// A vector is a token that was published.
type vector struct {
	name    string
	keys    middleware.KeySource
	token   string
	genuine bool             // signed by one of the keys, as its origin says
	reason  jwterrors.Reason // with which it is refused here
	because string           // why that is right; to be said where it is genuine
}

// check judges vectors at a time. Those that are genuine and get as far as their
// claims are judged once more with another signature: so it was looked at.
func check(t *testing.T, now time.Time, vectors []vector) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			config := middleware.Config{
				Keys: v.keys, InsecureAnyIssuer: true, InsecureAnyAudience: true,
				Now: func() time.Time { return now },
			}
			got, err := judge(t, config, v.token)
			require.Equal(t, v.reason, got, "%v", err)
			require.NotEmpty(t, v.because)
			require.Truef(t, v.genuine || v.reason != "", "what is not genuine passes")
			if v.genuine && beyondTheSignature[v.reason] {
				got, err = judge(t, config, otherSignature(v.token))
				assert.Equal(t, jwterrors.TokenSignatureInvalid, got, "%v", err)
			}
		})
	}
}

// beyondTheSignature are the reasons, among those of vectors, that no token has
// whose signature is wrong.
var beyondTheSignature = map[jwterrors.Reason]bool{"": true, jwterrors.TokenPayloadInvalid: true, jwterrors.TokenExpired: true}

// otherSignature changes a bit in the middle of a token's signature.
func otherSignature(token string) string {
	dot := strings.LastIndexByte(token, '.')
	signature := unb64(token[dot+1:])
	signature[len(signature)/2] ^= 1
	return token[:dot+1] + b64(signature)
}
