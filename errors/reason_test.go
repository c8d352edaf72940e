package errors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// The catalogue, written a second time: the codes are a contract (IT-31, AX-21).
var catalogue = []struct {
	reason      jwterrors.Reason
	code        string
	status      int
	oauthStatus int
	oauth       string
	action      jwterrors.Action
}{
	{jwterrors.TokenMissing, "AUTH_TOKEN_MISSING", 401, 401, "", "refresh"},                                 // IT-31.07
	{jwterrors.TokenFormatInvalid, "AUTH_TOKEN_FORMAT_INVALID", 401, 401, "invalid_token", "refresh"},       // IT-31.03
	{jwterrors.TokenPayloadInvalid, "AUTH_TOKEN_PAYLOAD_INVALID", 401, 401, "invalid_token", "refresh"},     // IT-31.09
	{jwterrors.TokenSignatureInvalid, "AUTH_TOKEN_SIGNATURE_INVALID", 401, 401, "invalid_token", "refresh"}, // IT-31.10
	{jwterrors.TokenExpired, "AUTH_TOKEN_EXPIRED", 401, 401, "invalid_token", "refresh"},                    // IT-31.02
	{jwterrors.TokenExpirationInvalid, "AUTH_TOKEN_EXPIRATION_INVALID", 401, 401, "invalid_token", "none"},  // IT-31.01
	{jwterrors.TokenUserKeyInvalid, "AUTH_TOKEN_USER_KEY_INVALID", 401, 401, "invalid_token", "refresh"},    // IT-31.11
	{jwterrors.TokenInvalidated, "AUTH_TOKEN_INVALIDATED", 401, 401, "invalid_token", "refresh"},            // IT-31.06
	{jwterrors.TokenGenericError, "AUTH_TOKEN_GENERIC_ERROR", 401, 401, "invalid_token", "refresh"},         // IT-31.05
	{jwterrors.TokenGenerationError, "AUTH_TOKEN_GENERATION_ERROR", 500, 500, "server_error", "retry"},      // IT-31.04
	{jwterrors.TokenNull, "AUTH_TOKEN_NULL", 0, 0, "", "none"},                                              // IT-31.08
	{jwterrors.TokenNotYetValid, "AUTH_TOKEN_NOT_YET_VALID", 401, 401, "invalid_token", "retry"},
	{jwterrors.TokenIssuerInvalid, "AUTH_TOKEN_ISSUER_INVALID", 401, 401, "invalid_token", "none"},
	{jwterrors.TokenAudienceInvalid, "AUTH_TOKEN_AUDIENCE_INVALID", 401, 401, "invalid_token", "none"},
	{jwterrors.TokenTypeInvalid, "AUTH_TOKEN_TYPE_INVALID", 401, 401, "invalid_token", "none"},
	{jwterrors.TokenKeyUnknown, "AUTH_TOKEN_KEY_UNKNOWN", 401, 401, "invalid_token", "refresh"},
	{jwterrors.RequestInvalid, "AUTH_REQUEST_INVALID", 400, 400, "invalid_request", "none"},
	{jwterrors.ScopeInsufficient, "AUTH_SCOPE_INSUFFICIENT", 403, 403, "insufficient_scope", "none"},
	{jwterrors.AuthenticationInsufficient, "AUTH_AUTHENTICATION_INSUFFICIENT", 401, 401, "insufficient_user_authentication", "login"},
	{jwterrors.ProofInvalid, "AUTH_PROOF_INVALID", 401, 400, "invalid_dpop_proof", "none"},
	{jwterrors.ProofNonceRequired, "AUTH_PROOF_NONCE_REQUIRED", 401, 400, "use_dpop_nonce", "retry"},
	{jwterrors.KeysUnavailable, "AUTH_KEYS_UNAVAILABLE", 503, 503, "temporarily_unavailable", "retry"},
	{jwterrors.StoreUnavailable, "AUTH_STORE_UNAVAILABLE", 503, 503, "temporarily_unavailable", "retry"},
	{jwterrors.CredentialsInvalid, "AUTH_CREDENTIALS_INVALID", 401, 401, "invalid_grant", "login"},
	{jwterrors.UserExists, "AUTH_USER_EXISTS", 409, 409, "", "none"},
	{jwterrors.RateLimited, "AUTH_RATE_LIMITED", 429, 429, "temporarily_unavailable", "retry"},
	{jwterrors.ClientInvalid, "AUTH_CLIENT_INVALID", 401, 401, "invalid_client", "none"},
	{jwterrors.GrantInvalid, "AUTH_GRANT_INVALID", 400, 400, "invalid_grant", "none"},
	{jwterrors.GrantUnsupported, "AUTH_GRANT_UNSUPPORTED", 400, 400, "unsupported_grant_type", "none"},
	{jwterrors.ScopeInvalid, "AUTH_SCOPE_INVALID", 400, 400, "invalid_scope", "none"},
	{jwterrors.RefreshTokenMissing, "AUTH_REFRESH_TOKEN_MISSING", 400, 400, "invalid_request", "login"},
	{jwterrors.RefreshTokenInvalid, "AUTH_REFRESH_TOKEN_INVALID", 401, 400, "invalid_grant", "login"},
	{jwterrors.RefreshTokenExpired, "AUTH_REFRESH_TOKEN_EXPIRED", 401, 400, "invalid_grant", "login"},
	{jwterrors.RefreshTokenReused, "AUTH_REFRESH_TOKEN_REUSED", 401, 400, "invalid_grant", "login"},
	{jwterrors.SessionRevoked, "AUTH_SESSION_REVOKED", 401, 400, "invalid_grant", "login"},
	{jwterrors.RefreshUnavailable, "AUTH_REFRESH_UNAVAILABLE", 0, 0, "", "retry"},
	{jwterrors.Paused, "AUTH_PAUSED", 0, 0, "", "none"},
	{jwterrors.LoggedOut, "AUTH_LOGGED_OUT", 0, 0, "", "login"},
	{jwterrors.HostNotAllowed, "AUTH_HOST_NOT_ALLOWED", 0, 0, "", "none"},
}

func TestTheCatalogueIsAsPublished(t *testing.T) {
	require.Len(t, jwterrors.Reasons(), len(catalogue))
	for i, want := range catalogue {
		t.Run(want.code, func(t *testing.T) {
			r := want.reason
			assert.Equal(t, r, jwterrors.Reasons()[i])
			assert.Equal(t, want.code, r.String())
			assert.Equal(t, want.code, r.Error())
			assert.True(t, r.Known())
			assert.Equal(t, want.status, r.Status())
			assert.Equal(t, want.oauthStatus, r.OAuthStatus())
			assert.Equal(t, want.oauth, r.OAuthCode())
			assert.Equal(t, want.action, r.Action())
			assert.Regexp(t, `^[A-Z][\x20-\x21\x23-\x5b\x5d-\x7e]+\.$`, r.Description())
		})
	}
}

func TestAReasonIsTheSameTextEverywhere(t *testing.T) { // IT-31
	for _, r := range jwterrors.Reasons() {
		data, err := json.Marshal(map[string]jwterrors.Reason{"reason": r})
		require.NoError(t, err)
		assert.JSONEq(t, `{"reason":"`+r.String()+`"}`, string(data))
		var back map[string]jwterrors.Reason
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, r, back["reason"])
		text, err := r.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, string(r), string(text))
	}
}

func TestUnknownCodesBehaveAsGeneric(t *testing.T) { // IT-31, D8
	var r jwterrors.Reason
	require.NoError(t, json.Unmarshal([]byte(`"AUTH_INVENTED_LATER"`), &r))
	assert.Equal(t, "AUTH_INVENTED_LATER", r.String(), "the code is kept")
	assert.False(t, r.Known())
	generic := jwterrors.TokenGenericError
	assert.Equal(t, generic.Status(), r.Status())
	assert.Equal(t, generic.OAuthCode(), r.OAuthCode())
	assert.Equal(t, generic.Action(), r.Action())
	assert.ErrorIs(t, r, generic)
	assert.ErrorIs(t, &jwterrors.Error{Reason: r}, generic)
	assert.NotErrorIs(t, r, jwterrors.TokenExpired)
	assert.NotErrorIs(t, jwterrors.TokenExpired, generic)

	for _, garbage := range []string{"two words", "line\nbreak", "a\"quote", "ünï", strings.Repeat("A", 65)} {
		require.NoError(t, r.UnmarshalText([]byte(garbage)))
		assert.Equal(t, generic, r, "%q can be no code", garbage)
	}
	require.NoError(t, r.UnmarshalText([]byte(strings.Repeat("A", 64))))
	assert.Equal(t, strings.Repeat("A", 64), r.String(), "as long as the limit")
}

func TestTheZeroReasonRefusesNothing(t *testing.T) {
	var zero jwterrors.Reason
	assert.Zero(t, zero.Status())
	assert.Zero(t, zero.OAuthStatus())
	assert.Empty(t, zero.OAuthCode())
	assert.Empty(t, zero.Description())
	assert.Equal(t, jwterrors.ActionNone, zero.Action())
	assert.NotErrorIs(t, zero, jwterrors.TokenGenericError)
}

func TestReasonOf(t *testing.T) {
	cause := errors.New("disk on fire")
	e := &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: cause}
	for _, c := range []struct {
		name string
		err  error
		want jwterrors.Reason
	}{
		{"nil", nil, ""},
		{"a reason", jwterrors.TokenExpired, jwterrors.TokenExpired},
		{"an Error", e, jwterrors.StoreUnavailable},
		{"a wrapped Error", fmt.Errorf("check: %w", e), jwterrors.StoreUnavailable},
		{"the first of several", errors.Join(cause, jwterrors.TokenExpired, e), jwterrors.TokenExpired},
		{"another error", cause, jwterrors.TokenGenericError},
		{"an Error without a reason", &jwterrors.Error{Err: cause}, jwterrors.TokenGenericError},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, jwterrors.ReasonOf(c.err))
		})
	}
	assert.ErrorIs(t, e, cause)
	assert.ErrorIs(t, e, jwterrors.StoreUnavailable)
	assert.NotErrorIs(t, e, jwterrors.TokenExpired)
}

func TestMalformedReasonInJSONIsAnError(t *testing.T) {
	var r jwterrors.Reason
	assert.Error(t, json.Unmarshal([]byte(`7`), &r), "codes are strings, never numbers")
}
