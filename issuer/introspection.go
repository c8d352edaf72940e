package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// A DenialReader is a Denier that can be asked too, as the Denylist of the package
// middleware can: POST /introspect then knows what was denied. It must be safe
// for concurrent use.
type DenialReader interface {
	// Revoked reports whether an access token is denied: by its session, by
	// its id, or by its subject and when it was issued.
	Revoked(ctx context.Context, sid, jti, subject string, issuedAt time.Time) (bool, error)
}

// introspection is the answer of POST /introspect (RFC 7662, Section 2.2). Times
// are in Unix seconds.
type introspection struct {
	Active    bool            `json:"active"`
	TokenType string          `json:"token_type,omitempty"` // Bearer, DPoP, or refresh_token
	ClientID  string          `json:"client_id,omitempty"`
	Scope     string          `json:"scope,omitempty"`
	Subject   string          `json:"sub,omitempty"`
	Issuer    string          `json:"iss,omitempty"`
	Audience  json.RawMessage `json:"aud,omitempty"`
	Expiry    int64           `json:"exp,omitempty"`
	IssuedAt  int64           `json:"iat,omitempty"`
	ID        string          `json:"jti,omitempty"`
	SessionID string          `json:"sid,omitempty"`
	AuthTime  int64           `json:"auth_time,omitempty"`
	ACR       string          `json:"acr,omitempty"`
	Confirm   json.RawMessage `json:"cnf,omitempty"` // RFC 9449, Section 6.2; RFC 8705, Section 3.2
}

// introspect answers POST /introspect. It changes nothing: a replayed refresh
// token is inactive here, and ends its session at a refresh alone. So is, under
// AnyRetry, the last token but one of a session that is not bound, though its client
// may have a secret.
func (i *Issuer) introspect(w http.ResponseWriter, r *http.Request) error {
	form, c, err := i.request(w, r)
	switch {
	case err != nil:
		return err
	case c.public():
		return i.clientFailed(r, c.ID, "a client without secret may not introspect")
	case !c.MayIntrospect:
		return notForClient(http.StatusForbidden, "The client may not introspect tokens.")
	}
	token := form.Get("token")
	if token == "" {
		return refused(jwterrors.RequestInvalid, "token is missing")
	}
	var answer introspection
	if t, err := parseRefreshToken(token); err == nil {
		answer, err = i.introspectRefreshToken(r.Context(), t)
		if err != nil {
			return err
		}
	} else if answer, err = i.introspectAccessToken(r.Context(), token); err != nil {
		return err
	}
	return writeJSON(w, answer)
}

func (i *Issuer) introspectRefreshToken(ctx context.Context, t refreshToken) (introspection, error) {
	s, err := i.read(ctx, t)
	now := i.c.Now()
	switch {
	case errors.Is(err, jwterrors.StoreUnavailable):
		return introspection{}, err
	case err != nil, !s.Live(now), decide(&s, t.generation, nil, now, i.c.Grace, i.rotation(&s, false)) == replay:
		return introspection{}, nil
	}
	return introspection{
		Active: true, TokenType: "refresh_token", ClientID: s.ClientID, Scope: strings.Join(s.Scopes, " "), Subject: s.Subject,
		Issuer: i.c.Issuer, Audience: appendString(nil, i.c.Issuer), // a token for this issuer alone, and for no API
		Expiry: s.end().Unix(), IssuedAt: s.RotatedAt.Unix(), SessionID: s.ID, AuthTime: s.AuthTime.Unix(), ACR: s.ACR,
		Confirm: asClaim(s.Confirmation),
	}, nil
}

func (i *Issuer) introspectAccessToken(ctx context.Context, token string) (introspection, error) {
	claims, err := i.inspect(token, i.c.Now())
	if err != nil {
		return introspection{}, nil
	}
	text := func(name string) string {
		s, _ := jws.String(claims.Members[name])
		return s
	}
	confirmation, err := ofClaim(claims.Members["cnf"])
	if err != nil {
		return introspection{}, nil
	}
	a := introspection{
		Active: true, TokenType: tokenType(confirmation), ClientID: text("client_id"), Scope: text("scope"), Subject: claims.Subject,
		Issuer: claims.Issuer, Audience: claims.Members["aud"], Expiry: claims.Expiry.Unix(), IssuedAt: claims.IssuedAt.Unix(),
		ID: claims.ID, SessionID: text("sid"), ACR: text("acr"),
		Confirm: asClaim(confirmation),
	}
	_ = json.Unmarshal(claims.Members["auth_time"], &a.AuthTime) // absent for client_credentials
	if a.SessionID != "" {
		s, err := i.named(ctx, a.SessionID)
		switch {
		case errors.Is(err, jwterrors.StoreUnavailable):
			return introspection{}, err
		case err != nil || !s.Live(i.c.Now()):
			return introspection{}, nil
		}
	}
	if denied, ok := i.c.Denylist.(DenialReader); ok {
		revoked, err := denied.Revoked(ctx, a.SessionID, claims.ID, claims.Subject, claims.IssuedAt)
		switch {
		case err != nil:
			return introspection{}, storeFailed("ask the denylist", err)
		case revoked:
			return introspection{}, nil
		}
	}
	return a, nil
}
