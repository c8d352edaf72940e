package issuer

import (
	"errors"
	"net/http"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// revoke answers POST /revoke (RFC 7009). A refresh token, of any generation, and
// an access token of a session end the session; one of client_credentials is
// denied. What is no live token is revoked already. token_type_hint is not needed:
// the two kinds cannot be taken for one another.
func (i *Issuer) revoke(w http.ResponseWriter, r *http.Request) error {
	form, c, err := i.request(w, r)
	if err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return refused(jwterrors.RequestInvalid, "token is missing")
	}
	if t, err := parseRefreshToken(token); err == nil {
		err = i.revokeRefreshToken(r, t, c)
		if err != nil {
			return err
		}
	} else if err := i.revokeAccessToken(r, token, c); err != nil {
		return err
	}
	noStore(w)
	w.WriteHeader(http.StatusOK)
	return nil
}

var errForeignToken = refused(jwterrors.GrantInvalid, "the token is another client's") // RFC 7009, Section 2.1

func (i *Issuer) revokeRefreshToken(r *http.Request, t refreshToken, c *client) error {
	s, err := i.read(r.Context(), t)
	switch {
	case errors.Is(err, jwterrors.StoreUnavailable):
		return err
	case err != nil:
		return nil
	case s.ClientID != c.ID:
		return errForeignToken
	}
	return i.logoutSession(r, &s)
}

func (i *Issuer) revokeAccessToken(r *http.Request, token string, c *client) error {
	claims, err := i.inspect(token, i.c.Now())
	if err != nil {
		return nil
	}
	if id, _ := jws.String(claims.Members["client_id"]); id != c.ID {
		return errForeignToken
	}
	sid, err := jws.String(claims.Members["sid"])
	if err == nil {
		s, err := i.named(r.Context(), sid)
		switch {
		case errors.Is(err, jwterrors.StoreUnavailable):
			return err
		case err != nil:
			return nil
		}
		return i.logoutSession(r, &s)
	}
	if i.denier == nil {
		return refused(jwterrors.StoreUnavailable, "there is no Denylist to revoke a token of client_credentials with")
	}
	ctx, cancel := finishing(r.Context())
	defer cancel()
	e := Event{Kind: EventRevoked, Subject: claims.Subject, ClientID: c.ID, Address: address(r)}
	if err := i.denier.DenyToken(ctx, claims.ID, claims.Expiry.Add(leewayOfVerifiers)); err != nil {
		e.Err = storeFailed("deny a token", err)
	}
	i.tell(e)
	return e.Err
}
