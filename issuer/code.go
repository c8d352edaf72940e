package issuer

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// codeTTL is the longest that an authorization code lives (RFC 6749, Section
// 4.1.2). It lives no longer than RefreshTTL or IdleTTL.
const codeTTL = 60 * time.Second

// maxCode bounds a code, in bytes, because it travels in a URL.
const maxCode = 4096

// A CodeRequest is what a user has consented to on the caller's own page: the
// parameters of the authorization request (RFC 6749, Section 4.1.1, and RFC
// 7636, Section 4.3) and who the user is.
type CodeRequest struct {
	ClientID    string // "client_id"
	RedirectURI string // "redirect_uri"; required

	// CodeChallenge and CodeChallengeMethod are the parameters of PKCE. Both
	// are required, and the method is S256.
	CodeChallenge       string
	CodeChallengeMethod string

	// Scope is what the user consented to, separated by spaces: scopes that
	// both User and the client may have. Empty means all of those.
	Scope string

	// User is who logged in, and AuthTime when: the claim "auth_time". Zero
	// means now.
	User     User
	AuthTime time.Time

	Device string // a name for the session; may be empty without BindDevice

	// DPoPJKT is "dpop_jkt", the thumbprint of the key that the proof at /token
	// must have then (RFC 9449, Section 10). It may be empty, and must be empty for a
	// client that is CertificateBound. It is not looked at without Config.DPoP.
	DPoPJKT string
}

// codeContent is what a code says, in its encrypted part.
type codeContent struct {
	SID       string          `json:"i"` // of the session that it will begin
	Client    string          `json:"c"`
	Redirect  string          `json:"r"`
	Challenge string          `json:"h"`
	Subject   string          `json:"u"`
	Email     string          `json:"e,omitempty"`
	UserID    string          `json:"d,omitempty"`
	ACR       string          `json:"a,omitempty"`
	Claims    json.RawMessage `json:"m,omitempty"`
	Scopes    []string        `json:"s,omitempty"`
	Device    string          `json:"n,omitempty"`
	Key       string          `json:"j,omitempty"` // the thumbprint of the key that must be proven
	AuthTime  int64           `json:"t"`           // in microseconds
	Expires   int64           `json:"x"`           // in microseconds
}

// CheckRedirect reports whether a client may have codes sent to a redirect URI:
// to be asked before anything, errors included, is sent there. A failure is a
// *jwterrors.Error: ClientInvalid or RequestInvalid, to be shown to the user on
// the caller's own page (RFC 6749, Section 4.1.2.1), or StoreUnavailable.
func (i *Issuer) CheckRedirect(ctx context.Context, clientID, redirectURI string) error {
	_, err := i.codeClient(ctx, clientID, redirectURI)
	return err
}

func (i *Issuer) codeClient(ctx context.Context, clientID, redirectURI string) (*client, error) {
	if i.oauth == nil || !slices.Contains(i.c.Grants, GrantAuthorizationCode) {
		return nil, refused(jwterrors.GrantUnsupported, "Config.Grants does not list authorization_code")
	}
	c, err := i.client(ctx, clientID)
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return nil, refused(jwterrors.ClientInvalid, "there is no such client")
	case !slices.Contains(c.Grants, GrantAuthorizationCode):
		return nil, refused(jwterrors.ClientInvalid, "the client may not use authorization_code")
	case !c.redirectsTo(redirectURI):
		return nil, refused(jwterrors.RequestInvalid, "redirect_uri is not one of the client's")
	}
	return c, nil
}

// GrantCode returns an authorization code (RFC 6749, Section 4.1.2) for the user
// who consented to r, to be sent to r.RedirectURI. It is good for one use within
// a minute, by r's client, with r's redirect URI and the verifier of r's challenge.
//
// A code is encrypted under the first of the MasterKeys and kept nowhere: the
// session that it begins, whose ID is fixed in it, is what tells a second use.
// All processes that share a Store take one another's codes. User.Claims must fit
// into a code of 4096 bytes.
//
// A failure is a *jwterrors.Error: what CheckRedirect says, and then nothing is
// sent to the redirect URI; a RequestInvalid for a challenge that is not S256, or a
// DPoPJKT that is no thumbprint or of a client that is CertificateBound; a
// ScopeInvalid; a TokenGenerationError for a User that cannot be. GrantCode is safe
// for concurrent use.
func (i *Issuer) GrantCode(ctx context.Context, r CodeRequest) (code string, err error) {
	c, err := i.codeClient(ctx, r.ClientID, r.RedirectURI)
	if err != nil {
		return "", err
	}
	if r.CodeChallengeMethod != "S256" || len(r.CodeChallenge) != 43 || !isBase64URL(r.CodeChallenge) {
		return "", refused(jwterrors.RequestInvalid, "code_challenge is not that of code_challenge_method S256")
	}
	switch {
	case i.proofs == nil:
		r.DPoPJKT = ""
	case r.DPoPJKT == "":
	case c.CertificateBound: // whose proofs are not looked at, so that nobody could use the code
		return "", refused(jwterrors.RequestInvalid, "dpop_jkt binds to a key, and the client's tokens are bound to its certificate")
	case len(r.DPoPJKT) != 43 || !isBase64URL(r.DPoPJKT):
		return "", refused(jwterrors.RequestInvalid, "dpop_jkt is not the SHA-256 thumbprint of a key")
	}
	granted, ok := grant(keep(c.Scopes, r.User.Scopes), r.Scope)
	if !ok {
		return "", refused(jwterrors.ScopeInvalid, "the user or the client may not have a scope that was asked for")
	}
	var s Session
	if err := r.User.fill(&s); err != nil {
		return "", &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("issuer: user of GrantCode: %w", err)}
	}
	if err := i.keepListed(&s); err != nil {
		return "", err
	}
	if err := i.checkDevice(clip(r.Device)); err != nil {
		return "", err
	}
	now := i.c.Now()
	at := r.AuthTime
	if at.IsZero() || at.After(now) {
		at = now
	}
	lifetime := min(codeTTL, i.c.RefreshTTL)
	if i.c.IdleTTL > 0 {
		lifetime = min(lifetime, i.c.IdleTTL)
	}
	code = i.seal(codeContent{
		SID: random(16), Client: c.ID, Redirect: r.RedirectURI, Challenge: r.CodeChallenge,
		Subject: s.Subject, Email: s.Email, UserID: s.UserID, ACR: s.ACR, Claims: s.Claims, Scopes: granted, Device: clip(r.Device), Key: r.DPoPJKT,
		AuthTime: at.UnixMicro(), Expires: now.Add(lifetime).UnixMicro(),
	})
	if len(code) > maxCode {
		return "", &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("issuer: a code of %d bytes; it is at most %d", len(code), maxCode)}
	}
	return code, nil
}

const (
	codeVersion = "ac1"
	codeSalt    = 32
)

// codeSealer returns the cipher of one code, which draws its nonces itself, as FIPS
// 140 asks.
func (i *Issuer) codeSealer(keyID string, salt []byte) (aead cipher.AEAD, about []byte) {
	mac := hmac.New(sha256.New, i.masters.secret[keyID])
	mac.Write([]byte("code|"))
	mac.Write(salt)
	block, _ := aes.NewCipher(mac.Sum(nil))       // 32 bytes are a key
	aead, _ = cipher.NewGCMWithRandomNonce(block) // of AES, which it needs
	return aead, []byte(codeVersion + "|" + keyID + "|" + i.c.Issuer)
}

// seal makes "ac1.<kid>.<salt and ciphertext>".
func (i *Issuer) seal(c codeContent) string {
	plain, _ := json.Marshal(c) // strings, numbers, and JSON of User.fill
	salt := make([]byte, codeSalt)
	rand.Read(salt)
	aead, about := i.codeSealer(i.masters.first, salt)
	return codeVersion + "." + i.masters.first + "." + base64.RawURLEncoding.EncodeToString(aead.Seal(salt, nil, plain, about))
}

// open is the opposite of seal.
func (i *Issuer) open(code string) (c codeContent, err error) {
	wrong := refused(jwterrors.GrantInvalid, "it is not a code of this issuer")
	parts := strings.Split(code, ".")
	if len(code) > maxCode || len(parts) != 3 || parts[0] != codeVersion || i.masters.secret[parts[1]] == nil {
		return c, wrong
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(data) < codeSalt {
		return c, wrong
	}
	aead, about := i.codeSealer(parts[1], data[:codeSalt])
	plain, err := aead.Open(nil, nil, data[codeSalt:], about)
	if err != nil || json.Unmarshal(plain, &c) != nil {
		return codeContent{}, wrong
	}
	return c, nil
}

// isVerifier reports whether s has the form of a code_verifier (RFC 7636, Section
// 4.1).
func isVerifier(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._~", c))
	})
}

// tokenByCode answers an authorization code (RFC 6749, Section 4.1.3) with the
// first tokens of a session. The store, which takes an ID once, is what decides
// between two uses of a code. A use that lacks the verifier or the key, or is another
// client's, ends nothing: it would be a logout for who finds a code in a log.
func (i *Issuer) tokenByCode(r *http.Request, form url.Values, c *client, binding string, ask narrowing) (any, error) {
	code, verifier := form.Get("code"), form.Get("code_verifier")
	if code == "" || form.Get("redirect_uri") == "" || !isVerifier(verifier) {
		return nil, refused(jwterrors.RequestInvalid, "code, redirect_uri or a code_verifier of 43 to 128 characters is missing")
	}
	content, err := i.open(code)
	if err != nil {
		return nil, err
	}
	now := i.c.Now()
	sum := sha256.Sum256([]byte(verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	switch {
	case content.Client != c.ID:
		return nil, refused(jwterrors.GrantInvalid, "the code is another client's")
	case content.Redirect != form.Get("redirect_uri"):
		return nil, refused(jwterrors.GrantInvalid, "redirect_uri is not that of the authorization request")
	case subtle.ConstantTimeCompare([]byte(content.Challenge), []byte(challenge)) != 1:
		return nil, refused(jwterrors.GrantInvalid, "code_verifier is not that of the code_challenge")
	case content.Key != "" && binding != byKey+":"+content.Key:
		e := Event{Subject: content.Subject, ClientID: c.ID, Address: address(r)}
		return nil, i.proofRefused(e, refused(jwterrors.ProofInvalid, "the code is bound to a key, which is not proven"))
	}
	ctx := r.Context()
	if now.UnixMicro() >= content.Expires {
		if s, err := i.c.Store.Get(ctx, content.SID); err == nil {
			return nil, i.endCodeReplayed(ctx, &s, address(r))
		}
		return nil, refused(jwterrors.GrantInvalid, "the code has expired")
	}
	seed := make([]byte, 32)
	rand.Read(seed)
	s := Session{
		ID: content.SID, Seed: seed, KeyID: i.masters.first, Subject: content.Subject, ClientID: c.ID, Scopes: content.Scopes,
		Email: content.Email, UserID: content.UserID, Claims: content.Claims, ACR: content.ACR, AuthTime: micros(content.AuthTime),
		Confirmation: binding, Device: content.Device, Address: clip(address(r)), UserAgent: clip(r.UserAgent()),
		CreatedAt: now, RotatedAt: now, ExpiresAt: now.Add(i.c.RefreshTTL), IdleUntil: i.idleUntil(now),
	}
	shown := s // as the access token says
	if shown.Scopes, err = ask.narrow(s.Scopes); err != nil {
		return nil, err
	}
	t, err := i.answerWith(&shown, orFirst(ask.first, i.claims), now)
	if err != nil {
		return nil, err
	}
	if t.RefreshToken, err = i.masters.token(&s); err != nil {
		return nil, err
	}
	ended, err := i.save(ctx, s)
	switch {
	case errors.Is(err, ErrSessionExists):
		before, err := i.c.Store.Get(ctx, s.ID)
		if err != nil {
			return nil, storeFailed("read a session", err)
		}
		return nil, i.endCodeReplayed(ctx, &before, address(r))
	case errors.Is(err, ErrSubjectRevoked):
		i.tell(i.about(EventLoginFailed, &s, jwterrors.SessionRevoked, address(r)))
		return nil, &jwterrors.Error{Reason: jwterrors.SessionRevoked, Err: err}
	case err != nil:
		return nil, storeFailed("create a session", err)
	}
	if err := i.began(ctx, &s, ended, now, address(r)); err != nil {
		return nil, err
	}
	if !slices.Contains(c.Grants, GrantRefreshToken) || !slices.Contains(i.c.Grants, GrantRefreshToken) {
		return accessTokens{t.AccessToken, t.TokenType, t.ExpiresIn, t.Scope}, nil // it could not use the other one
	}
	return t, nil
}

// endCodeReplayed ends the session of a code that came twice (RFC 6749, Section
// 4.1.2).
func (i *Issuer) endCodeReplayed(ctx context.Context, s *Session, address string) error {
	i.c.Logger.Warn("issuer: an authorization code came back: two parties hold it", "sid", s.ID, "sub", s.Subject)
	if err := i.endTold(ctx, s, EventCodeReplay, jwterrors.GrantInvalid, address); err != nil {
		return err
	}
	return refused(jwterrors.GrantInvalid, "the code was used before")
}
