package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

func (i *Issuer) login(w http.ResponseWriter, r *http.Request) error {
	body, err := i.body(w, r, "username", "email", "password", "device", "scope")
	if err != nil {
		return err
	}
	c := Credentials{
		Username: body["username"], Email: body["email"], Password: body["password"], Device: clip(body["device"]), Address: address(r),
	}
	if (c.Username == "") == (c.Email == "") || c.Password == "" {
		return refused(jwterrors.RequestInvalid, "a login needs a username or an email, and a password")
	}
	if err := i.checkDevice(c.Device); err != nil {
		return err
	}
	binding, err := i.loginBinding(w, r) // which is no attempt
	if err != nil {
		return err
	}
	started := i.c.Now() // before Authenticate looks at an account that may be revoked meanwhile
	ctx, cancel := context.WithTimeout(r.Context(), MaxLoginTime)
	defer cancel()
	a, err := i.attempt(ctx, "login", c)
	if err != nil {
		return err
	}
	user, err := i.c.Authenticate(ctx, c)
	a.decided(ctx, err)
	if err != nil {
		var reason jwterrors.Reason
		if !errors.As(err, &reason) {
			return storeFailed("authenticate", err)
		}
		i.tell(Event{Kind: EventLoginFailed, Reason: reason, ClientID: i.c.ClientID, Address: c.Address, Account: i.shown(c)})
		return err
	}
	t, err := i.begin(ctx, started, user, body["scope"], binding, c.Device, c.Address, r.UserAgent())
	if err != nil {
		return err
	}
	return i.writeTokens(w, http.StatusOK, "login", t)
}

// begin starts the session of a login that started at the time given.
func (i *Issuer) begin(ctx context.Context, started time.Time, u User, scope, binding, device, address, agent string) (Tokens, error) {
	now := i.c.Now()
	if now.Sub(started) > MaxLoginTime {
		return Tokens{}, storeFailed("authenticate", fmt.Errorf("it took longer than %v", MaxLoginTime))
	}
	granted, ok := grant(u.Scopes, scope)
	if !ok {
		return Tokens{}, refused(jwterrors.ScopeInvalid, "the user may not have a scope that was asked for")
	}
	seed := make([]byte, 32)
	rand.Read(seed)
	s := Session{
		ID: random(16), Seed: seed, KeyID: i.masters.first,
		ClientID: i.c.ClientID, Scopes: granted, AuthTime: started, Confirmation: binding,
		Device: clip(device), Address: clip(address), UserAgent: clip(agent),
		CreatedAt: now, RotatedAt: now, ExpiresAt: now.Add(i.c.RefreshTTL), IdleUntil: i.idleUntil(now),
	}
	if err := u.fill(&s); err != nil {
		return Tokens{}, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("issuer: user from Authenticate: %w", err)}
	}
	t, err := i.answer(&s, now)
	if err != nil {
		return Tokens{}, err
	}
	if t.RefreshToken, err = i.masters.token(&s); err != nil {
		return Tokens{}, err
	}
	ended, err := i.save(ctx, s)
	switch {
	case errors.Is(err, ErrSubjectRevoked):
		i.tell(Event{Kind: EventLoginFailed, Reason: jwterrors.SessionRevoked, Subject: s.Subject, ClientID: s.ClientID, Address: address})
		return Tokens{}, &jwterrors.Error{Reason: jwterrors.SessionRevoked, Err: err}
	case err != nil:
		return Tokens{}, storeFailed("create a session", err)
	}
	if err := i.began(ctx, &s, ended, now, address); err != nil {
		return Tokens{}, err
	}
	return t, nil
}

// save stores a session that begins, and returns the ids of those that it replaces.
func (i *Issuer) save(ctx context.Context, s Session) (ended []string, err error) {
	if i.c.SingleSession {
		return i.c.Store.Replace(ctx, s)
	}
	return nil, i.c.Store.Create(ctx, s)
}

// began tells of a session that was saved, and ends what is left of those that it
// replaces.
func (i *Issuer) began(ctx context.Context, s *Session, ended []string, now time.Time, address string) error {
	e := i.about(EventLogin, s, "", address)
	if i.c.SingleSession {
		e.Err = i.ended(ctx, s.Subject, s.ID, ended, nil, now, address)
	}
	i.tell(e)
	return e.Err
}

func (i *Issuer) idleUntil(now time.Time) time.Time {
	if i.c.IdleTTL == 0 {
		return time.Time{}
	}
	return now.Add(i.c.IdleTTL)
}

// clip bounds text that a client sent for display.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s), "")
	if len(s) > 256 {
		s = strings.ToValidUTF8(s[:256], "")
	}
	return s
}
