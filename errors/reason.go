package errors

import "net/http"

// A Reason says why a token, a request or a refresh was refused. Its value is
// the code on the wire. The zero value means "no reason": nothing was refused.
//
// A Reason that this version does not know keeps its code and otherwise behaves
// as TokenGenericError, so that an old client survives a newer server.
type Reason string

// The catalogue. The code of each is fixed for ever.
const (
	TokenMissing               Reason = "AUTH_TOKEN_MISSING"               // the request carried no token
	TokenFormatInvalid         Reason = "AUTH_TOKEN_FORMAT_INVALID"        // not three base64url parts
	TokenPayloadInvalid        Reason = "AUTH_TOKEN_PAYLOAD_INVALID"       // the claims cannot be used
	TokenSignatureInvalid      Reason = "AUTH_TOKEN_SIGNATURE_INVALID"     // forged, altered, or an algorithm that is not allowed
	TokenExpired               Reason = "AUTH_TOKEN_EXPIRED"               // exp has passed
	TokenExpirationInvalid     Reason = "AUTH_TOKEN_EXPIRATION_INVALID"    // valid for longer than allowed
	TokenUserKeyInvalid        Reason = "AUTH_TOKEN_USER_KEY_INVALID"      // names no user, or another one
	TokenInvalidated           Reason = "AUTH_TOKEN_INVALIDATED"           // revoked before its end
	TokenGenericError          Reason = "AUTH_TOKEN_GENERIC_ERROR"         // refused, and no more is known
	TokenGenerationError       Reason = "AUTH_TOKEN_GENERATION_ERROR"      // no token could be made
	TokenNull                  Reason = "AUTH_TOKEN_NULL"                  // the token source returned an empty token
	TokenNotYetValid           Reason = "AUTH_TOKEN_NOT_YET_VALID"         // nbf or iat lies in the future
	TokenIssuerInvalid         Reason = "AUTH_TOKEN_ISSUER_INVALID"        // iss is not trusted
	TokenAudienceInvalid       Reason = "AUTH_TOKEN_AUDIENCE_INVALID"      // aud names somebody else
	TokenTypeInvalid           Reason = "AUTH_TOKEN_TYPE_INVALID"          // not an access token
	TokenKeyUnknown            Reason = "AUTH_TOKEN_KEY_UNKNOWN"           // signed with a key that is not published
	RequestInvalid             Reason = "AUTH_REQUEST_INVALID"             // malformed request, for example two tokens
	ScopeInsufficient          Reason = "AUTH_SCOPE_INSUFFICIENT"          // the token lacks a permission
	AuthenticationInsufficient Reason = "AUTH_AUTHENTICATION_INSUFFICIENT" // a stronger or fresher login is needed (RFC 9470)
	ProofInvalid               Reason = "AUTH_PROOF_INVALID"               // possession is not proved (RFC 9449, RFC 8705)
	ProofNonceRequired         Reason = "AUTH_PROOF_NONCE_REQUIRED"        // the DPoP proof needs the server's nonce
	KeysUnavailable            Reason = "AUTH_KEYS_UNAVAILABLE"            // the issuer's keys cannot be had now
	StoreUnavailable           Reason = "AUTH_STORE_UNAVAILABLE"           // a store cannot answer now
	CredentialsInvalid         Reason = "AUTH_CREDENTIALS_INVALID"         // unknown user or wrong password
	UserExists                 Reason = "AUTH_USER_EXISTS"                 // sign-up with a name that is taken
	RateLimited                Reason = "AUTH_RATE_LIMITED"                // too many attempts
	ClientInvalid              Reason = "AUTH_CLIENT_INVALID"              // OAuth client authentication failed
	GrantInvalid               Reason = "AUTH_GRANT_INVALID"               // the authorization grant is wrong
	GrantUnsupported           Reason = "AUTH_GRANT_UNSUPPORTED"           // this grant type is not offered
	ScopeInvalid               Reason = "AUTH_SCOPE_INVALID"               // the requested scope is unknown or too wide
	RefreshTokenMissing        Reason = "AUTH_REFRESH_TOKEN_MISSING"       // the request carried no refresh token
	RefreshTokenInvalid        Reason = "AUTH_REFRESH_TOKEN_INVALID"       // not a refresh token of this issuer
	RefreshTokenExpired        Reason = "AUTH_REFRESH_TOKEN_EXPIRED"       // the session has reached its end
	RefreshTokenReused         Reason = "AUTH_REFRESH_TOKEN_REUSED"        // a rotated token came back: replay
	SessionRevoked             Reason = "AUTH_SESSION_REVOKED"             // the session was ended
	RefreshUnavailable         Reason = "AUTH_REFRESH_UNAVAILABLE"         // client side: no refresh is possible now
	Paused                     Reason = "AUTH_PAUSED"                      // client side: waiting for a new token or session
	LoggedOut                  Reason = "AUTH_LOGGED_OUT"                  // client side: there is no session
	HostNotAllowed             Reason = "AUTH_HOST_NOT_ALLOWED"            // client side: no token goes to this origin
)

// An Action is what the holder of a refused token should do.
type Action string

// The actions.
const (
	ActionNone    Action = "none"    // repeating cannot help; a person must mend something
	ActionRetry   Action = "retry"   // the same request, later
	ActionRefresh Action = "refresh" // get a new access token, then the same request
	ActionLogin   Action = "login"   // the user must log in again
)

// entry is one row of the catalogue.
type entry struct {
	reason      Reason
	status      int    // 0: said on the client's side only
	oauthStatus int    // at an OAuth endpoint; 0: the same
	oauth       string // the OAuth error code
	action      Action
	description string // within the characters of RFC 6750, Section 3
}

var catalogue = []entry{
	{TokenMissing, 401, 0, "", ActionRefresh, "The request carried no token."},
	{TokenFormatInvalid, 401, 0, "invalid_token", ActionRefresh, "The token is not a compact JWS."},
	{TokenPayloadInvalid, 401, 0, "invalid_token", ActionRefresh, "The claims of the token cannot be read."},
	{TokenSignatureInvalid, 401, 0, "invalid_token", ActionRefresh, "The signature of the token is not valid."},
	{TokenExpired, 401, 0, "invalid_token", ActionRefresh, "The token has expired."},
	{TokenExpirationInvalid, 401, 0, "invalid_token", ActionNone, "The token is valid for longer than is allowed."},
	{TokenUserKeyInvalid, 401, 0, "invalid_token", ActionRefresh, "The token does not name the user it should."},
	{TokenInvalidated, 401, 0, "invalid_token", ActionRefresh, "The token was revoked."},
	{TokenGenericError, 401, 0, "invalid_token", ActionRefresh, "The token was refused."},
	{TokenGenerationError, 500, 0, "server_error", ActionRetry, "No token could be made."},
	{TokenNull, 0, 0, "", ActionNone, "The token source returned no token."},
	{TokenNotYetValid, 401, 0, "invalid_token", ActionRetry, "The token is not valid yet."},
	{TokenIssuerInvalid, 401, 0, "invalid_token", ActionNone, "The issuer of the token is not trusted here."},
	{TokenAudienceInvalid, 401, 0, "invalid_token", ActionNone, "The token is meant for another audience."},
	{TokenTypeInvalid, 401, 0, "invalid_token", ActionNone, "The token is not an access token."},
	{TokenKeyUnknown, 401, 0, "invalid_token", ActionRefresh, "The token was signed with an unknown key."},
	{RequestInvalid, 400, 0, "invalid_request", ActionNone, "The request is malformed."},
	{ScopeInsufficient, 403, 0, "insufficient_scope", ActionNone, "The token does not carry the required scope."},
	{AuthenticationInsufficient, 401, 0, "insufficient_user_authentication", ActionLogin, "A stronger or more recent login is required."},
	{ProofInvalid, 401, 400, "invalid_dpop_proof", ActionNone, "The proof of possession is not valid."},
	{ProofNonceRequired, 401, 400, "use_dpop_nonce", ActionRetry, "The proof of possession must carry the nonce of the server."},
	{KeysUnavailable, 503, 0, "temporarily_unavailable", ActionRetry, "The keys to verify the token cannot be had at the moment."},
	{StoreUnavailable, 503, 0, "temporarily_unavailable", ActionRetry, "A store cannot answer at the moment."},
	{CredentialsInvalid, 401, 0, "invalid_grant", ActionLogin, "The user name or the password is not right."},
	{UserExists, 409, 0, "", ActionNone, "A user with that name exists already."},
	{RateLimited, 429, 0, "temporarily_unavailable", ActionRetry, "Too many attempts."},
	{ClientInvalid, 401, 0, "invalid_client", ActionNone, "The client could not be authenticated."},
	{GrantInvalid, 400, 0, "invalid_grant", ActionNone, "The authorization grant is not valid."},
	{GrantUnsupported, 400, 0, "unsupported_grant_type", ActionNone, "The grant type is not supported."},
	{ScopeInvalid, 400, 0, "invalid_scope", ActionNone, "The requested scope cannot be granted."},
	{RefreshTokenMissing, 400, 0, "invalid_request", ActionLogin, "The request carried no refresh token."},
	{RefreshTokenInvalid, 401, 400, "invalid_grant", ActionLogin, "The refresh token is not valid."},
	{RefreshTokenExpired, 401, 400, "invalid_grant", ActionLogin, "The refresh token has expired."},
	{RefreshTokenReused, 401, 400, "invalid_grant", ActionLogin, "The refresh token was used before; the session has been ended."},
	{SessionRevoked, 401, 400, "invalid_grant", ActionLogin, "The session has been ended."},
	{RefreshUnavailable, 0, 0, "", ActionRetry, "No new token can be had at the moment."},
	{Paused, 0, 0, "", ActionNone, "Nothing is sent before there is a new token or a new session."},
	{LoggedOut, 0, 0, "", ActionLogin, "There is no session."},
	{HostNotAllowed, 0, 0, "", ActionNone, "No token is sent to this host."},
}

var byReason = func() map[Reason]*entry {
	m := make(map[Reason]*entry, len(catalogue))
	for i := range catalogue {
		m[catalogue[i].reason] = &catalogue[i]
	}
	return m
}()

// Reasons returns every reason of the catalogue, in its order.
func Reasons() []Reason {
	all := make([]Reason, len(catalogue))
	for i := range catalogue {
		all[i] = catalogue[i].reason
	}
	return all
}

func (r Reason) entry() *entry {
	if e, ok := byReason[r]; ok {
		return e
	}
	return byReason[TokenGenericError]
}

// Known reports whether r is in the catalogue of this version.
func (r Reason) Known() bool {
	_, ok := byReason[r]
	return ok
}

// Error returns the code, so that a Reason can be used as an error.
func (r Reason) Error() string { return string(r) }

// String returns the code.
func (r Reason) String() string { return string(r) }

// Is makes an unknown reason match TokenGenericError in errors.Is. Every reason
// matches itself.
func (r Reason) Is(target error) bool {
	return target == error(TokenGenericError) && r != "" && !r.Known()
}

// Status returns the HTTP status of an answer that gives this reason. Reasons
// that are said on the client's side only (TokenNull, RefreshUnavailable, Paused,
// LoggedOut, HostNotAllowed) have none: Status returns 0, as it does for the empty
// Reason. A Responder that is given one of the five answers with 503 for
// RefreshUnavailable and with 502 for the others.
func (r Reason) Status() int {
	if r == "" {
		return 0
	}
	return r.entry().status
}

// OAuthStatus returns the HTTP status at an OAuth endpoint (RFC 6749, Section
// 5.2), which is 400 where Status may be 401.
func (r Reason) OAuthStatus() int {
	if r == "" {
		return 0
	}
	if s := r.entry().oauthStatus; s != 0 {
		return s
	}
	return r.entry().status
}

// OAuthCode returns the "error" code that RFC 6749, 6750, 9449 or 9470 has for
// the reason, or "" when there is none, as for a missing token.
func (r Reason) OAuthCode() string {
	if r == "" {
		return ""
	}
	return r.entry().oauth
}

// Action returns what the holder of the token should do.
func (r Reason) Action() Action {
	if r == "" {
		return ActionNone
	}
	return r.entry().action
}

// Description returns one English sentence for people. Programs switch on the
// Reason instead. It holds only characters that RFC 6750 allows in
// error_description.
func (r Reason) Description() string {
	if r == "" {
		return ""
	}
	return r.entry().description
}

// MarshalText returns the code.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r), nil }

// UnmarshalText accepts every code of 1 to 64 letters, digits, "_", "-" and ".",
// known or not, and the empty text. Any other text, which can be no code,
// becomes TokenGenericError, so that one bad field does not spoil a whole
// message. It never fails.
func (r *Reason) UnmarshalText(text []byte) error {
	if len(text) == 0 || isCode(string(text)) {
		*r = Reason(text)
	} else {
		*r = TokenGenericError
	}
	return nil
}

func isCode(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

// oauthReasons maps OAuth error codes of foreign servers to the reason that
// says as much and no more.
var oauthReasons = map[string]Reason{
	"invalid_token":                    TokenGenericError,
	"invalid_request":                  RequestInvalid,
	"insufficient_scope":               ScopeInsufficient,
	"insufficient_user_authentication": AuthenticationInsufficient,
	"invalid_dpop_proof":               ProofInvalid,
	"use_dpop_nonce":                   ProofNonceRequired,
	"invalid_client":                   ClientInvalid,
	"unauthorized_client":              ClientInvalid,
	"invalid_grant":                    GrantInvalid,
	"unsupported_grant_type":           GrantUnsupported,
	"invalid_scope":                    ScopeInvalid,
	"server_error":                     TokenGenerationError,
	"temporarily_unavailable":          StoreUnavailable,
	"slow_down":                        RateLimited,
}

// answerStatus is Status with an answer for the reasons that have none: a
// gateway that must pass one on speaks of the server behind it.
func (r Reason) answerStatus(oauth bool) int {
	status := r.Status()
	if oauth {
		status = r.OAuthStatus()
	}
	switch {
	case status != 0:
		return status
	case r == RefreshUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadGateway
	}
}
