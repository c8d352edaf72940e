package refresher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// maxToken limits the length of an access token, in bytes.
const maxToken = 16 << 10

// receive checks tokens that have just arrived, from a source, from the caller
// or from the store, fills in what they leave out, and returns the snapshot
// that would use them. Without public keys nothing is verified: that is the
// server's part. What is checked is that the token can be sent at all and is
// meant for this client.
//
// An access token that expired is no error here, since its refresh token may be
// good. See fresh.
func (t *Transport) receive(tokens Tokens, sess *session, now time.Time) (*state, *jwterrors.Error) {
	now = now.Round(0) // wall clock: the monotonic one stands still while a machine sleeps
	tokens.lent = nil
	if tokens.Received.IsZero() {
		tokens.Received = now
	}
	if tokens.RetryKey == "" {
		tokens.RetryKey = retryKey()
	}
	if tokens.Identity.isZero() {
		tokens.Identity = sess.identity
	}
	st := &state{status: active, session: sess, tokens: tokens}
	if tokens.AccessToken == "" {
		return st, nil
	}
	refuse := func(reason jwterrors.Reason, cause string) (*state, *jwterrors.Error) {
		return nil, &jwterrors.Error{
			Reason: reason, Err: errors.New("refresher: " + cause), Time: now,
			Token: jwterrors.Redact(tokens.AccessToken), Identity: tokens.Identity.String(),
		}
	}
	bound := schemeOf(tokens) == dpop.Scheme
	switch {
	case bound && t.prover == nil:
		return refuse(jwterrors.TokenTypeInvalid, "the token is bound to a key, and Config.DPoP is not set")
	case !bound && tokens.TokenType != "" && !strings.EqualFold(tokens.TokenType, bearer):
		return refuse(jwterrors.TokenTypeInvalid, "the token is of a type that is not known")
	}
	if !sendable(tokens.AccessToken) {
		return refuse(jwterrors.TokenFormatInvalid, "the token is too long, or has characters that no header may have")
	}
	if len(t.verifier) > 0 { // first, so that a forgery is never called merely old
		if reason, cause := t.verifier.check(tokens.AccessToken); reason != "" {
			return refuse(reason, cause)
		}
	}
	claims, err := parseJWT(tokens.AccessToken)
	if err != nil {
		return refuse(jwterrors.TokenPayloadInvalid, "the claims of the token cannot be read")
	}
	if claims == nil {
		if t.issuer != "" || t.audience != "" || !sess.identity.isZero() {
			return refuse(jwterrors.TokenFormatInvalid, "the token is not a JWT, so that nothing in it can be checked")
		}
	} else {
		if owner := ownerOf(claims); owner != "" {
			st.tokens.Owner = owner
		}
		switch life := lifetime(claims, now); {
		case t.maxLifetime > 0 && life >= t.maxLifetime:
			return refuse(jwterrors.TokenExpirationInvalid, fmt.Sprintf("the token is valid for %v or longer", t.maxLifetime))
		case t.issuer != "" && claims.Issuer != t.issuer:
			return refuse(jwterrors.TokenIssuerInvalid, "the token is from another issuer")
		case t.audience != "" && !slices.Contains(claims.Audience, t.audience):
			return refuse(jwterrors.TokenAudienceInvalid, "the token is for another audience")
		case !sess.identity.isZero() && !sess.identity.owns(claims):
			return refuse(jwterrors.TokenUserKeyInvalid, "the token is for another user")
		}
		if tokens.Expiry.IsZero() {
			st.tokens.Expiry = t.endpoint.clock.local(claims.Expiry)
		}
	}
	st.refreshAt, st.expiresAt = t.times(tokens.Received, st.tokens.Expiry)
	if !bound && tokens.TokenType == "" && t.prover != nil && claims != nil {
		if bound = keyOf(claims) == t.prover.key.Thumbprint; bound { // a back end that names no type
			st.tokens.TokenType = dpop.Scheme
		}
	}
	if !bound {
		st.header = []string{bearer + " " + tokens.AccessToken}
		return st, nil
	}
	st.header, st.tokenHash = []string{dpop.Scheme + " " + tokens.AccessToken}, dpop.TokenHash(tokens.AccessToken)
	return st, nil
}

const bearer = "Bearer"

// schemeOf returns the scheme of Authorization with which the access token is sent.
func schemeOf(tokens Tokens) string {
	if strings.EqualFold(tokens.TokenType, dpop.Scheme) {
		return dpop.Scheme
	}
	return bearer
}

// keyOf returns the thumbprint of the key that a token is bound to, by its own words
// (RFC 9449, Section 6.1), or "".
func keyOf(claims *jws.Claims) string {
	confirmation, _ := jws.Members(claims.Members["cnf"])
	return text(confirmation["jkt"])
}

// unbound returns an error where there is a key, and the new access token of st is
// not bound to it: then the server took no notice of the proof, and whoever steals
// the token can use it.
func (t *Transport) unbound(st *state) *jwterrors.Error {
	tokens := st.tokens
	if t.prover == nil || tokens.AccessToken == "" {
		return nil
	}
	e := &jwterrors.Error{Time: t.now(), Token: jwterrors.Redact(tokens.AccessToken), Identity: tokens.Identity.String()}
	if st.tokenHash == "" {
		if t.allowBearer {
			return nil
		}
		e.Reason, e.Err = jwterrors.TokenTypeInvalid, errors.New("refresher: the new token is not bound to the key of Config.DPoP")
		return e
	}
	claims, err := parseJWT(tokens.AccessToken)
	if err != nil || claims == nil || claims.Members["cnf"] == nil || keyOf(claims) == t.prover.key.Thumbprint {
		return nil // or nobody here can tell
	}
	e.Reason, e.Err = jwterrors.ProofInvalid, errors.New("refresher: the new token is bound to another key than that of Config.DPoP")
	return e
}

// fresh returns an error unless st has an access token that can be used.
func (st *state) fresh(now time.Time) *jwterrors.Error {
	switch {
	case st.tokens.AccessToken == "":
		return &jwterrors.Error{Reason: jwterrors.TokenNull, Err: errors.New("refresher: the source returned no token"), Time: now}
	case !st.usable(now):
		return &jwterrors.Error{
			Reason: jwterrors.TokenExpired, Err: errors.New("refresher: the new token has expired, or is about to"), Time: now,
			Token: jwterrors.Redact(st.tokens.AccessToken), Identity: st.tokens.Identity.String(),
		}
	}
	return nil
}

// lifetime returns exp - iat, or exp - now for a token without iat. It is negative
// for a token without exp.
func lifetime(claims *jws.Claims, now time.Time) time.Duration {
	if claims.IssuedAt.IsZero() {
		return claims.Expiry.Sub(now)
	}
	return claims.Expiry.Sub(claims.IssuedAt)
}

// sendable reports whether token is a b64token (RFC 6750, Section 2.1) of an
// acceptable length.
func sendable(token string) bool {
	body := strings.TrimRight(token, "=")
	if body == "" || len(token) > maxToken {
		return false
	}
	for i := range len(body) {
		switch c := body[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// parseJWT reads the claims of a JWT without verifying them. An opaque token is
// no error: it has no claims.
func parseJWT(token string) (*jws.Claims, error) {
	payload, err := payloadOf(token)
	if err != nil || payload == nil {
		return nil, err
	}
	return jws.ParseClaims(payload)
}
