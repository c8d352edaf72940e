package middleware_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tokenloop/tokenloop/middleware"
)

// The cause of a refusal, which is for the log, shows what did not match what.
func TestTheCauseShowsWhatToMend(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name  string
		claim string
		value any
		want  string
	}{
		{"a slash too many", "iss", issuer + "/", `AUTH_TOKEN_ISSUER_INVALID: the issuer is "` + issuer + `/" and not "` + issuer + `"`},
		{"another audience", "aud", []string{"invoices", "x\ny"}, `AUTH_TOKEN_AUDIENCE_INVALID: the audience is "invoices", "x\ny" and not "` + audience + `"`},
		{"no audience", "aud", nil, `AUTH_TOKEN_AUDIENCE_INVALID: the audience is none and not "` + audience + `"`},
		{"a clock that is an hour off", "iat", now.Unix() + 3600, `AUTH_TOKEN_NOT_YET_VALID: "iat" is in 1h0m0s: are the clocks right?`},
		{"a token for later", "nbf", now.Unix() + 3600, `AUTH_TOKEN_NOT_YET_VALID: "nbf" is in 1h0m0s`},
		{"an old token", "exp", now.Unix() - 3600, `AUTH_TOKEN_EXPIRED: "exp" was 1h0m0s ago`},
	} {
		t.Run(c.name, func(t *testing.T) {
			auth := newAuth(t, func(config *middleware.Config) { config.Now = func() time.Time { return now } })
			payload := claims().with("iat", now.Unix()-7200).with("exp", now.Unix()+7200).with(c.claim, c.value)
			assert.EqualError(t, verify(auth, hs(hsHeader, payload)), c.want)
		})
	}
}
