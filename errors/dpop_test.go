package errors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// RFC 9449, Sections 7.1 and 7.2: which schemes a challenge offers, and under which
// it says what is wrong.
func TestTheChallengesOfDPoP(t *testing.T) {
	off, both, only := jwterrors.Responder{Realm: "api"}, jwterrors.Responder{DPoPAlgorithms: "ES256 EdDSA"}, jwterrors.Responder{DPoPAlgorithms: "ES256", DPoPRequired: true}
	const expired = `error="invalid_token", error_description="The token has expired.", reason="AUTH_TOKEN_EXPIRED"`
	const invalid = `error="invalid_dpop_proof", error_description="The proof of possession is not valid.", reason="AUTH_PROOF_INVALID"`
	certificate := &jwterrors.Error{Reason: jwterrors.ProofInvalid, Code: "invalid_token"}
	const bound = `error="invalid_token", error_description="The proof of possession is not valid.", reason="AUTH_PROOF_INVALID"`
	for _, c := range []struct {
		name          string
		p             jwterrors.Responder
		authorization string
		err           error
		want          string
	}{
		{"no token", both, "", jwterrors.TokenMissing, `Bearer, DPoP algs="ES256 EdDSA"`},
		{"no token where one is required", only, "", jwterrors.TokenMissing, `DPoP algs="ES256"`},
		{"a bearer token", both, "Bearer x", jwterrors.TokenExpired, `Bearer ` + expired + `, DPoP algs="ES256 EdDSA"`},
		{"a bound token", both, "DPoP x", jwterrors.TokenExpired, `DPoP algs="ES256 EdDSA", ` + expired + `, Bearer`},
		{"a bound token in lower case", both, "\tdpop  x", jwterrors.TokenExpired, `DPoP algs="ES256 EdDSA", ` + expired + `, Bearer`},
		{"another scheme", both, "DPoPx x", jwterrors.TokenExpired, `Bearer ` + expired + `, DPoP algs="ES256 EdDSA"`},
		{"a bearer token where none passes", only, "Bearer x", jwterrors.TokenExpired, `DPoP algs="ES256", ` + expired},
		{"a proof, sent as bearer", both, "Bearer x", jwterrors.ProofInvalid, `DPoP algs="ES256 EdDSA", ` + invalid + `, Bearer`},
		{"a proof, of a service that says no more", off, "DPoP x", jwterrors.ProofInvalid, `DPoP realm="api", ` + invalid},
		{"a certificate", off, "Bearer x", certificate, `Bearer realm="api", ` + bound},
		{"a certificate, and nothing else to say", jwterrors.Responder{}, "Bearer x", certificate, `Bearer ` + bound},
		{"a certificate where DPoP is offered", both, "Bearer x", certificate, `Bearer ` + bound + `, DPoP algs="ES256 EdDSA"`},
		{"DPoP where it is off", off, "DPoP x", jwterrors.TokenExpired, `Bearer realm="api", ` + expired},
		{"a realm for each", jwterrors.Responder{Realm: "api", DPoPAlgorithms: `E"S`}, "", jwterrors.TokenMissing, `Bearer realm="api", DPoP realm="api", algs="E\"S"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			w := httptest.NewRecorder()
			c.p.Respond(w, r, c.err)
			assert.Equal(t, 401, w.Code)
			assert.Equal(t, []string{c.want}, w.Header().Values("WWW-Authenticate"))
			resp := w.Result()
			resp.Request, resp.Body = r, http.NoBody
			assert.Equal(t, jwterrors.ReasonOf(c.err), jwterrors.FromResponse(resp).Reason, "the header alone tells it")
		})
	}
	w := httptest.NewRecorder()
	both.Respond(w, nil, jwterrors.TokenMissing)
	assert.Equal(t, both.Challenge(jwterrors.TokenMissing), w.Header().Get("WWW-Authenticate"), "without a request")
}

// What is wrong with a certificate is no matter of DPoP at an OAuth endpoint either.
func TestTheCodesOfBindingsAtAnOAuthEndpoint(t *testing.T) {
	for want, err := range map[string]error{
		"invalid_dpop_proof": jwterrors.ProofInvalid,
		"invalid_request":    &jwterrors.Error{Reason: jwterrors.ProofInvalid, Code: "invalid_token"},
	} {
		w := httptest.NewRecorder()
		jwterrors.Responder{}.RespondOAuth(w, nil, err)
		assert.Equal(t, 400, w.Code)
		assert.Contains(t, w.Body.String(), `"error":"`+want+`"`)
		assert.Equal(t, jwterrors.ProofInvalid, jwterrors.FromResponse(w.Result()).Reason, "the reason is the same")
	}
}

// RFC 9449, Section 8: the nonce goes with the challenge that asks for it.
func TestANonceCrossesTheWire(t *testing.T) {
	wants := &jwterrors.Error{Reason: jwterrors.ProofNonceRequired, Nonce: "eyJ7S_zG.eyJH0-Z.HX4w-7v"}
	for form, answer := range forms(jwterrors.Responder{DPoPAlgorithms: "ES256"}) {
		w := httptest.NewRecorder()
		answer(w, httptest.NewRequest("GET", "/", nil), wants)
		got := jwterrors.FromResponse(w.Result())
		require.NotNil(t, got, form)
		assert.Equal(t, jwterrors.ProofNonceRequired, got.Reason)
		assert.Equal(t, wants.Nonce, got.Nonce)

		for name, not := range map[string]*jwterrors.Error{
			"of another reason": {Reason: jwterrors.TokenExpired, Nonce: wants.Nonce},
			"with a line break": {Reason: jwterrors.ProofNonceRequired, Nonce: "a\r\nb"},
			"with a quote":      {Reason: jwterrors.ProofNonceRequired, Nonce: `a"b`},
			"too long":          {Reason: jwterrors.ProofNonceRequired, Nonce: strings.Repeat("a", 1025)},
		} {
			w := httptest.NewRecorder()
			answer(w, httptest.NewRequest("GET", "/", nil), not)
			assert.NotContains(t, w.Header(), "Dpop-Nonce", name)
		}
	}
}

func TestANonceIsInNoLog(t *testing.T) {
	e := &jwterrors.Error{Reason: jwterrors.ProofNonceRequired, Nonce: "the-nonce", Err: errors.New("cause")}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "error", e)
	data, err := json.Marshal(e)
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprint(e, e.String(), log.String(), string(data)), "the-nonce")
}
