package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// tokens are what a login and a refresh answer (RFC 6749, Section 5.1).
// Durations are in seconds.
type tokens struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int64  `json:"refresh_expires_in"`
	Scope            string `json:"scope"`
}

// leewayOfVerifiers is how much longer than its lifetime a denied token is
// remembered, because verifiers tolerate some clock skew.
const leewayOfVerifiers = 5 * time.Minute

func storeFailed(doing string, err error) error {
	return &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: fmt.Errorf("%s: %w", doing, err), RetryAfter: time.Second}
}

func refused(reason jwterrors.Reason, cause string) error {
	return &jwterrors.Error{Reason: reason, Err: errors.New(cause)}
}

// begin starts the session of a login.
func (i *Issuer) begin(ctx context.Context, u User, scope string, device, address, agent string) (tokens, error) {
	now := i.c.Now()
	granted, ok := grant(u.Scopes, scope)
	if !ok {
		return tokens{}, refused(jwterrors.ScopeInvalid, "the user may not have a scope that was asked for")
	}
	seed := make([]byte, 32)
	rand.Read(seed)
	s := Session{
		ID: random(16), Seed: seed, KeyID: i.masters.first,
		ClientID: i.c.ClientID, Scopes: granted, AuthTime: now,
		Device: clip(device), Address: clip(address), UserAgent: clip(agent),
		CreatedAt: now, RotatedAt: now, ExpiresAt: now.Add(i.c.RefreshTTL), IdleUntil: i.idleUntil(now),
	}
	if err := u.fill(&s); err != nil {
		return tokens{}, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("issuer: user from Authenticate: %w", err)}
	}
	t, err := i.answer(&s, now)
	if err != nil {
		return tokens{}, err
	}
	if t.RefreshToken, err = i.masters.token(&s); err != nil {
		return tokens{}, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: err}
	}
	if err := i.c.Store.Create(ctx, s); err != nil {
		return tokens{}, storeFailed("create a session", err)
	}
	if i.c.SingleSession {
		if err := i.endOthers(ctx, s.Subject, s.ID, address); err != nil {
			return tokens{}, err
		}
	}
	i.tell(i.about(EventLogin, &s, "", address))
	return t, nil
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

// answer makes everything but the refresh token.
func (i *Issuer) answer(s *Session, now time.Time) (tokens, error) {
	access, expiresIn, err := i.mint(s, now)
	if err != nil {
		return tokens{}, err
	}
	end := s.ExpiresAt
	if !s.IdleUntil.IsZero() && s.IdleUntil.Before(end) {
		end = s.IdleUntil
	}
	return tokens{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: expiresIn,
		RefreshExpiresIn: max(int64(end.Sub(now)/time.Second), 0), Scope: strings.Join(s.Scopes, " "),
	}, nil
}

// maxReads bounds how often a refresh reads a session again because another one
// was faster.
const maxReads = 8

// refresh answers a refresh token, as the package documentation says.
func (i *Issuer) refresh(ctx context.Context, presented, retryKey, clientID, address string) (tokens, error) {
	t, err := parseRefreshToken(presented)
	if err != nil {
		return tokens{}, err
	}
	var retry []byte
	if retryKey != "" {
		sum := sha256.Sum256([]byte(retryKey))
		retry = sum[:]
	}
	for range maxReads {
		s, err := i.read(ctx, t)
		if err != nil {
			return tokens{}, err
		}
		now := i.c.Now()
		switch {
		case !s.RevokedAt.IsZero():
			return tokens{}, refused(jwterrors.SessionRevoked, "the session was revoked")
		case s.expired(now):
			return tokens{}, refused(jwterrors.RefreshTokenExpired, "the session has ended")
		case s.ClientID != clientID:
			return tokens{}, refused(jwterrors.RefreshTokenInvalid, "the refresh token is another client's")
		}
		if err := i.reload(ctx, &s, address); err != nil {
			return tokens{}, err
		}
		next := Rotation{
			Generation: s.Generation + 1, KeyID: i.masters.first, RotatedAt: now, RetryHash: retry, IdleUntil: i.idleUntil(now),
		}
		v := decide(&s, t.generation, retry, now, i.c.Grace)
		after := s // the session as it will be
		switch v {
		case ahead:
			next.Generation = t.generation + 1
			fallthrough
		case rotate:
			after.Generation, after.KeyID, after.IdleUntil = next.Generation, next.KeyID, next.IdleUntil
		}
		// What can fail fails before anything has changed.
		answer, err := i.answer(&after, now)
		if err != nil {
			return tokens{}, err
		}
		if answer.RefreshToken, err = i.masters.token(&after); err != nil {
			return tokens{}, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: err}
		}
		switch v {
		case replay:
			return tokens{}, i.endReplayed(ctx, &s, address)
		case young, concurrent:
			i.tell(i.about(EventRepeat, &s, "", address))
			return answer, nil
		case late:
			i.tell(i.about(EventLateRetry, &s, "", address))
			return answer, nil
		}
		ok, err := i.c.Store.Rotate(ctx, s.ID, s.Generation, next)
		if err != nil {
			return tokens{}, storeFailed("rotate a refresh token", err)
		}
		if !ok {
			continue // somebody was faster: read and decide again
		}
		if v == ahead {
			i.c.Logger.Error("issuer: the store has lost a write", "sid", s.ID, "generation", s.Generation, "presented", t.generation)
			i.tell(i.about(EventLostWrite, &s, "", address))
		}
		i.tell(i.about(EventRefresh, &s, "", address))
		return answer, nil
	}
	return tokens{}, storeFailed("rotate a refresh token", errors.New("other requests were faster every time"))
}

// read returns the session of t, when t is genuine.
func (i *Issuer) read(ctx context.Context, t refreshToken) (Session, error) {
	s, err := i.c.Store.Get(ctx, t.sid)
	switch {
	case errors.Is(err, ErrNoSession):
		return s, refused(jwterrors.RefreshTokenInvalid, "there is no such session")
	case err != nil:
		return s, storeFailed("read a session", err)
	case !i.masters.genuine(t, &s):
		return s, refused(jwterrors.RefreshTokenInvalid, "it was not made by this issuer")
	}
	return s, nil
}

// reload asks who the user is by now.
func (i *Issuer) reload(ctx context.Context, s *Session, address string) error {
	if i.c.Reload == nil {
		return nil
	}
	u, err := i.c.Reload(ctx, s.clone())
	switch jwterrors.ReasonOf(err) {
	case "":
	case jwterrors.SessionRevoked, jwterrors.CredentialsInvalid, jwterrors.TokenUserKeyInvalid:
		if err := i.end(ctx, s); err != nil {
			return err
		}
		i.tell(i.about(EventRevoked, s, jwterrors.SessionRevoked, address))
		return refused(jwterrors.SessionRevoked, "the user may not go on")
	default:
		return storeFailed("reload a user", err)
	}
	subject := s.Subject
	if err := u.fill(s); err != nil {
		return &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("issuer: user from Reload: %w", err)}
	}
	if s.Subject != subject {
		return &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: errors.New("issuer: Reload returned another user")}
	}
	s.Scopes = keep(s.Scopes, u.Scopes)
	return nil
}

// end revokes s and has its access tokens denied. Both are tried; the error of
// either is an error, and then the caller must not say that it was done.
func (i *Issuer) end(ctx context.Context, s *Session) error {
	now := i.c.Now()
	denied := i.deny(ctx, s.ID, now)
	revoked := i.c.Store.Revoke(ctx, s.ID, now)
	if errors.Is(revoked, ErrNoSession) {
		revoked = nil
	}
	if err := errors.Join(denied, revoked); err != nil {
		i.c.Logger.Error("issuer: revoke a session", "sid", s.ID, "err", err)
		return storeFailed("revoke a session", err)
	}
	return nil
}

func (i *Issuer) deny(ctx context.Context, sid string, now time.Time) error {
	if i.c.Denylist == nil {
		return nil
	}
	return i.c.Denylist.DenySession(ctx, sid, now.Add(i.c.AccessTTL+leewayOfVerifiers))
}

func (i *Issuer) endReplayed(ctx context.Context, s *Session, address string) error {
	i.c.Logger.Warn("issuer: a rotated refresh token came back; the session is revoked", "sid", s.ID, "sub", s.Subject)
	i.tell(i.about(EventReplay, s, jwterrors.RefreshTokenReused, address))
	if err := i.end(ctx, s); err != nil {
		return err
	}
	return refused(jwterrors.RefreshTokenReused, "two parties hold the session")
}

// endOthers revokes all sessions of subject but one.
func (i *Issuer) endOthers(ctx context.Context, subject, except, address string) error {
	now := i.c.Now()
	ids, err := i.c.Store.RevokeSubject(ctx, subject, except, now)
	if err != nil {
		return storeFailed("revoke the sessions of a user", err)
	}
	for _, id := range ids {
		if err := i.deny(ctx, id, now); err != nil {
			return storeFailed("deny a session", err)
		}
		i.tell(Event{Kind: EventRevoked, SessionID: id, Subject: subject, Reason: jwterrors.SessionRevoked, Address: address})
	}
	return nil
}

// owner returns the live session of an access token.
func (i *Issuer) owner(ctx context.Context, access string) (Session, error) {
	now := i.c.Now()
	sid, _, err := i.verify(access, now)
	if err != nil {
		return Session{}, err
	}
	s, err := i.c.Store.Get(ctx, sid)
	switch {
	case errors.Is(err, ErrNoSession):
		return s, refused(jwterrors.TokenInvalidated, "its session is gone")
	case err != nil:
		return s, storeFailed("read a session", err)
	case !s.Live(now):
		return s, refused(jwterrors.TokenInvalidated, "its session has ended")
	}
	return s, nil
}
