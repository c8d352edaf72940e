package refresher

import (
	"encoding/json"
	"errors"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// UnverifiedClaims decodes the claims of the access token into v, as
// json.Unmarshal does. Nobody has verified them, unless the tokens are from a
// Transport with PublicKeys: they are good for a name or a picture on a screen,
// and never for a decision about what somebody may do.
//
// A token that is not a JWT, or is longer than 16 KiB, is a TokenFormatInvalid.
// Claims that are ambiguous (a name that occurs twice, or "ISS" beside "iss"),
// nested deeper than 16 levels, or do not fit v are a TokenPayloadInvalid, and
// then v is not to be used.
func (t Tokens) UnverifiedClaims(v any) error {
	payload, err := payloadOf(t.AccessToken)
	if err == nil && payload == nil {
		return &jwterrors.Error{Reason: jwterrors.TokenFormatInvalid, Err: errors.New("refresher: the access token is not a JWT")}
	}
	if err == nil {
		_, err = jws.ParseClaims(payload)
	}
	if err == nil {
		err = json.Unmarshal(payload, v)
	}
	if err != nil { // its text may quote the token
		return &jwterrors.Error{Reason: jwterrors.TokenPayloadInvalid, Err: errors.New("refresher: the claims of the access token cannot be read")}
	}
	return nil
}

// headerOf reads the header of a JWT.
func headerOf(parts jws.Token) (map[string]json.RawMessage, error) {
	header, _ := jws.Decode(parts.Header) // what cannot be decoded is empty, and no header
	return jws.Members(header)
}

// payloadOf returns the decoded payload of a JWT, or nil for an opaque token,
// which is no error.
func payloadOf(token string) ([]byte, error) {
	parts, err := jws.Split(token, maxToken)
	if err == nil {
		_, err = headerOf(parts)
	}
	if err != nil {
		return nil, nil
	}
	return jws.Decode(parts.Payload)
}
