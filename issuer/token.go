package issuer

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// accessClaims are the claims of an access token (RFC 9068, Section 2.2).
type accessClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience any    `json:"aud"`
	Expiry   int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	ID       string `json:"jti"`
	ClientID string `json:"client_id"`
	Scope    string `json:"scope,omitempty"`
	Session  string `json:"sid"`
	AuthTime int64  `json:"auth_time"`
	ACR      string `json:"acr,omitempty"`
	Email    string `json:"email,omitempty"`
	UserID   string `json:"userId,omitempty"`
}

// random returns n random bytes in base64url.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// mint makes an access token for s, which lives no longer than s.
func (i *Issuer) mint(s *Session, now time.Time) (token string, expiresIn int64, err error) {
	issued := now.Unix()
	expiry := min(issued+int64(i.c.AccessTTL/time.Second), s.ExpiresAt.Unix())
	claims := accessClaims{
		Issuer: i.c.Issuer, Subject: s.Subject, Audience: i.c.Audience,
		Expiry: expiry, IssuedAt: issued, ID: random(16),
		ClientID: s.ClientID, Scope: strings.Join(s.Scopes, " "), Session: s.ID, AuthTime: s.AuthTime.Unix(),
		ACR: s.ACR, Email: s.Email, UserID: s.UserID,
	}
	if len(i.c.Audience) == 1 {
		claims.Audience = i.c.Audience[0]
	}
	payload, err := json.Marshal(claims)
	if err == nil && len(s.Claims) > 2 { // "{}" adds nothing
		payload = append(append(payload[:len(payload)-1], ','), s.Claims[1:]...)
	}
	if err == nil {
		token, err = i.c.Keys.current().sign(payload)
	}
	if err != nil {
		return "", 0, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: err}
	}
	return token, max(expiry-issued, 0), nil
}

// verify returns the session id and the subject of an access token of this
// issuer that has not expired.
func (i *Issuer) verify(token string, now time.Time) (sid, subject string, err error) {
	refuse := func(r jwterrors.Reason, cause string) (string, string, error) {
		return "", "", &jwterrors.Error{Reason: r, Err: errors.New(cause)}
	}
	parts, err := jws.Split(token, 16<<10)
	if err != nil {
		return refuse(jwterrors.TokenFormatInvalid, err.Error())
	}
	header, err1 := jws.Decode(parts.Header)
	payload, err2 := jws.Decode(parts.Payload)
	signature, err3 := jws.Decode(parts.Signature)
	if err := errors.Join(err1, err2, err3); err != nil {
		return refuse(jwterrors.TokenFormatInvalid, err.Error())
	}
	members, err := jws.Members(header)
	if err != nil {
		return refuse(jwterrors.TokenFormatInvalid, err.Error())
	}
	alg, _ := jws.String(members["alg"])
	typ, _ := jws.String(members["typ"])
	kid, _ := jws.String(members["kid"])
	key := i.c.Keys.find(kid)
	switch {
	case members["crit"] != nil:
		return refuse(jwterrors.TokenFormatInvalid, "the header has \"crit\"")
	case key == nil:
		return refuse(jwterrors.TokenKeyUnknown, "no key of this issuer has that kid")
	case alg != key.algorithm || key.method.Verify(parts.SigningInput, signature, key.public) != nil:
		return refuse(jwterrors.TokenSignatureInvalid, "the signature is not that of the key")
	case typ != "at+jwt":
		return refuse(jwterrors.TokenTypeInvalid, "it is no access token")
	}
	c, err := jws.ParseClaims(payload)
	if err != nil {
		return refuse(jwterrors.TokenPayloadInvalid, err.Error())
	}
	sid, err = jws.String(c.Members["sid"])
	switch {
	case err != nil:
		return refuse(jwterrors.TokenPayloadInvalid, "it belongs to no session")
	case !now.Before(c.Expiry):
		return refuse(jwterrors.TokenExpired, "it has expired")
	case c.Issuer != i.c.Issuer:
		return refuse(jwterrors.TokenIssuerInvalid, "another issuer")
	}
	return sid, c.Subject, nil
}
