package issuer

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A narrowing is what a request for tokens asks for of what it may have. Zero
// means everything.
type narrowing struct {
	scope string // of the access token alone (RFC 6749, Section 6)
	first []byte // the first claims, of some of the audiences; nil: all
}

// narrow returns the scopes of the access token.
func (n narrowing) narrow(granted []string) ([]string, error) {
	scopes, ok := grant(granted, n.scope)
	if !ok {
		return nil, refused(jwterrors.ScopeInvalid, "a scope was asked for that was not granted")
	}
	return scopes, nil
}

func orFirst(b, otherwise []byte) []byte {
	if b == nil {
		return otherwise
	}
	return b
}

// narrowing reads "scope" and "resource" (RFC 8707, Section 2).
func (i *Issuer) narrowing(form url.Values) (narrowing, error) {
	n := narrowing{scope: form.Get("scope")}
	var audience []string
	for _, resource := range form["resource"] {
		if !slices.Contains(i.c.Audience, resource) {
			return n, oauthRefused(http.StatusBadRequest, "invalid_target", jwterrors.RequestInvalid, "The resource is not an audience of this issuer.")
		}
		if !slices.Contains(audience, resource) {
			audience = append(audience, resource)
		}
	}
	if audience != nil {
		n.first = firstClaims(i.c.Issuer, audience)
	}
	return n, nil
}

// token answers POST /token (RFC 6749, Section 3.2).
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) error {
	form, c, err := i.request(w, r)
	if err != nil {
		return err
	}
	kind := form.Get("grant_type")
	switch {
	case kind == "":
		return refused(jwterrors.RequestInvalid, "grant_type is missing")
	case !slices.Contains(i.c.Grants, kind):
		return refused(jwterrors.GrantUnsupported, "there is no such grant type")
	case !slices.Contains(c.Grants, kind):
		return notForClient(http.StatusBadRequest, "The client may not use this grant type.")
	}
	ask, err := i.narrowing(form)
	if err != nil {
		return err
	}
	binding, err := i.binding(w, r, c)
	if err != nil {
		return err
	}
	var answer any
	switch kind {
	case GrantRefreshToken:
		answer, err = i.tokenByRefresh(r, form, c, binding, ask)
	case GrantClientCredentials:
		answer, err = i.tokenForClient(r, c, binding, ask)
	case GrantAuthorizationCode:
		answer, err = i.tokenByCode(r, form, c, binding, ask)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Pragma", "no-cache") // RFC 6749, Section 5.1
	return writeJSON(w, answer)
}

func notForClient(status int, message string) error {
	return oauthRefused(status, "unauthorized_client", jwterrors.GrantUnsupported, message)
}

func (i *Issuer) tokenByRefresh(r *http.Request, form url.Values, c *client, binding string, ask narrowing) (Tokens, error) {
	token := form.Get("refresh_token")
	if token == "" {
		return Tokens{}, refused(jwterrors.RefreshTokenMissing, "the body has no refresh_token")
	}
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) > 1 || len(keys) == 1 && len(keys[0]) > 255 {
		return Tokens{}, refused(jwterrors.RequestInvalid, "Idempotency-Key is given twice or is longer than 255 bytes")
	}
	return i.refresh(r.Context(), refreshRequest{
		token: token, retryKey: strings.Join(keys, ""), clientID: c.ID, confidential: !c.public(),
		binding: binding, device: form.Get("device"), address: address(r), ask: ask,
	})
}

// accessTokens are an answer without a refresh token, as to client_credentials
// (RFC 6749, Section 4.4.3).
type accessTokens struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

// tokenForClient makes an access token whose subject is the client itself (RFC
// 9068, Section 2.2). It belongs to no session.
func (i *Issuer) tokenForClient(r *http.Request, c *client, binding string, ask narrowing) (accessTokens, error) {
	scopes, err := ask.narrow(c.Scopes)
	if err != nil {
		return accessTokens{}, err
	}
	issued, lifetime, scope := i.c.Now().Unix(), int64(i.c.AccessTTL/time.Second), strings.Join(scopes, " ")
	b := slices.Clone(orFirst(ask.first, i.claims))
	b = appendClaim(b, "sub", c.ID)
	b = appendDate(b, "exp", issued+lifetime)
	b = appendDate(b, "iat", issued)
	jti := random(16)
	b = appendClaim(b, "jti", jti)
	b = appendClaim(b, "client_id", c.ID)
	b = appendClaim(b, "scope", scope)
	b = appendConfirmation(b, binding)
	b = i.status.appendClaim(b, byToken, jti)
	access, err := i.sign(append(b, '}'))
	if err != nil {
		return accessTokens{}, fmt.Errorf("issuer: client_credentials: %w", err)
	}
	i.tell(Event{Kind: EventClientToken, Subject: c.ID, ClientID: c.ID, Address: address(r)})
	return accessTokens{access, tokenType(binding), lifetime, scope}, nil
}
