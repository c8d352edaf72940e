package issuer

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// firstClaims returns the beginning of every payload: the claims "iss" and "aud".
func firstClaims(issuer string, audience []string) []byte {
	b := appendString([]byte(`{"iss":`), issuer)
	b = append(b, `,"aud":`...)
	if len(audience) == 1 {
		return appendString(b, audience[0])
	}
	for n, a := range audience {
		b = appendString(append(b, "[,"[min(n, 1)]), a)
	}
	return append(b, ']')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for n := range len(s) {
		if c := s[n]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendClaim appends a claim, unless it is empty. The name is one that needs no
// escape.
func appendClaim(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendString(b, value)
}

// appendDate appends a claim that is a NumericDate (RFC 7519, Section 2).
func appendDate(b []byte, name string, seconds int64) []byte {
	b = append(append(append(b, `,"`...), name...), `":`...)
	return strconv.AppendInt(b, seconds, 10)
}

// random returns n random bytes in base64url.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// maxToken is the length in bytes beyond which readers refuse a token unless they
// are told otherwise.
const maxToken = 8192

// mint makes an access token for s, with the first claims of an audience and those
// of RFC 9068, Section 2.2, and bound to the Confirmation of s. It lives no longer
// than s. The payload is put together by hand, since signing with HS256 takes less
// time than encoding/json.
func (i *Issuer) mint(s *Session, first []byte, now time.Time) (token string, expiresIn int64, err error) {
	if err := i.keepListed(s); err != nil {
		return "", 0, err
	}
	issued := now.Unix()
	expiry := min(issued+int64(i.c.AccessTTL/time.Second), s.end().Unix())
	b := make([]byte, 0, 512+len(s.Claims))
	b = append(b, first...)
	b = appendClaim(b, "sub", s.Subject)
	b = appendDate(b, "exp", expiry)
	b = appendDate(b, "iat", issued)
	b = appendClaim(b, "jti", random(16))
	b = appendClaim(b, "client_id", s.ClientID)
	b = appendClaim(b, "scope", strings.Join(s.Scopes, " "))
	b = appendClaim(b, "sid", s.ID)
	b = appendDate(b, "auth_time", s.AuthTime.Unix())
	b = appendClaim(b, "acr", s.ACR)
	b = appendClaim(b, "email", s.Email)
	b = appendClaim(b, "userId", s.UserID)
	b = appendConfirmation(b, s.Confirmation)
	b = i.status.appendClaim(b, bySession, s.ID)
	if len(s.Claims) > len("{}") {
		b = append(append(b, ','), s.Claims[1:]...)
	} else {
		b = append(b, '}')
	}
	if token, err = i.sign(b); err != nil {
		return "", 0, err
	}
	return token, expiry - issued, nil
}

// sign makes an access token of a payload.
func (i *Issuer) sign(payload []byte) (string, error) {
	token, err := i.c.Keys.current().sign(payload)
	if err == nil && len(token) > maxToken {
		err = fmt.Errorf("issuer: an access token of %d bytes, and readers take %d", len(token), maxToken)
	}
	if err != nil {
		return "", &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: err}
	}
	return token, nil
}

// verify returns the session id of an access token ("typ" at+jwt) of this issuer,
// for one of its audiences, and its claims. It returns them beside the error
// TokenExpired too, which is the last one that it looks for.
func (i *Issuer) verify(token string, now time.Time) (sid string, c *jws.Claims, err error) {
	c, err = i.inspect(token, now)
	if c == nil {
		return "", nil, err
	}
	sid, missing := jws.String(c.Members["sid"])
	if missing != nil {
		return "", nil, refused(jwterrors.TokenPayloadInvalid, "it belongs to no session")
	}
	return sid, c, err
}

// inspect is verify for an access token of any kind.
func (i *Issuer) inspect(token string, now time.Time) (*jws.Claims, error) {
	refuse := func(r jwterrors.Reason, cause string) (*jws.Claims, error) { return nil, refused(r, cause) }
	parts, err := jws.Split(token, maxToken)
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
	switch {
	case c.Expiry.IsZero():
		return refuse(jwterrors.TokenPayloadInvalid, "it never expires")
	case c.Issuer != i.c.Issuer:
		return refuse(jwterrors.TokenIssuerInvalid, "another issuer")
	case !slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(i.c.Audience, a) }):
		return refuse(jwterrors.TokenAudienceInvalid, "another audience")
	case !now.Before(c.Expiry):
		return c, refused(jwterrors.TokenExpired, "it has expired")
	}
	return c, nil
}
