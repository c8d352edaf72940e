package issuer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// sessionInfo is what a user sees of a session.
type sessionInfo struct {
	ID        string    `json:"id"`
	Current   bool      `json:"current"`
	ClientID  string    `json:"client_id"`
	Device    string    `json:"device,omitempty"`
	Address   string    `json:"address,omitempty"`
	UserAgent string    `json:"user_agent,omitempty"`
	Scope     string    `json:"scope"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at"` // of the latest rotation
	ExpiresAt time.Time `json:"expires_at"`
}

func (i *Issuer) list(w http.ResponseWriter, r *http.Request) error {
	own, err := i.owner(w, r)
	if err != nil {
		return err
	}
	now := i.c.Now()
	all, err := i.c.Store.List(r.Context(), own.Subject, now)
	if err != nil {
		return storeFailed("list sessions", err)
	}
	infos := make([]sessionInfo, 0, len(all))
	for _, s := range all {
		if !s.Live(now) { // revoked by a clock that is ahead
			continue
		}
		infos = append(infos, sessionInfo{
			s.ID, s.ID == own.ID, s.ClientID, s.Device, s.Address, s.UserAgent, strings.Join(s.Scopes, " "),
			s.CreatedAt.UTC(), s.RotatedAt.UTC(), s.ExpiresAt.UTC(),
		})
	}
	return writeJSON(w, map[string]any{"sessions": infos})
}

func (i *Issuer) deleteOne(w http.ResponseWriter, r *http.Request) error {
	own, err := i.owner(w, r)
	if err != nil {
		return err
	}
	none := httpError(http.StatusNotFound, "There is no such session.")
	id := r.PathValue("id")
	if !isSessionID(id) {
		return none // not every engine takes every string
	}
	s, err := i.c.Store.Get(r.Context(), id)
	switch {
	case errors.Is(err, ErrNoSession) || err == nil && s.Subject != own.Subject:
		return none
	case err != nil:
		return storeFailed("read a session", err)
	}
	if err := i.logoutSession(r, &s); err != nil {
		return err
	}
	return noContent(w)
}

func (i *Issuer) deleteOthers(w http.ResponseWriter, r *http.Request) error {
	own, err := i.owner(w, r)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("others") != "true" {
		return refused(jwterrors.RequestInvalid, "others=true is missing")
	}
	ctx, cancel := finishing(r.Context())
	defer cancel()
	if err := i.endOthers(ctx, own.Subject, own.ID, address(r)); err != nil {
		return err
	}
	return noContent(w)
}

// named returns the session that an access token names, whatever its state.
func (i *Issuer) named(ctx context.Context, sid string) (Session, error) {
	s, err := i.c.Store.Get(ctx, sid)
	switch {
	case errors.Is(err, ErrNoSession):
		return s, refused(jwterrors.TokenInvalidated, "its session is gone")
	case err != nil:
		return s, storeFailed("read a session", err)
	}
	return s, nil
}

// owner returns the live session of the request's access token.
func (i *Issuer) owner(w http.ResponseWriter, r *http.Request) (Session, error) {
	sid, err := i.accessSession(w, r)
	if err != nil {
		return Session{}, err
	}
	s, err := i.named(r.Context(), sid)
	if err == nil && !s.Live(i.c.Now()) {
		return s, refused(jwterrors.TokenInvalidated, "its session has ended")
	}
	return s, err
}
