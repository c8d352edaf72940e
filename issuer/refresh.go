package issuer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// answer makes everything but the refresh token.
func (i *Issuer) answer(s *Session, now time.Time) (Tokens, error) {
	return i.answerWith(s, i.claims, now)
}

// answerWith is answer with the first claims of an audience.
func (i *Issuer) answerWith(s *Session, first []byte, now time.Time) (Tokens, error) {
	access, expiresIn, err := i.mint(s, first, now)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		AccessToken: access, TokenType: tokenType(s.Confirmation), ExpiresIn: expiresIn,
		RefreshExpiresIn: max(int64(s.end().Sub(now)/time.Second), 0), Scope: strings.Join(s.Scopes, " "),
	}, nil
}

func (i *Issuer) refreshRoute(w http.ResponseWriter, r *http.Request) error {
	var body map[string]string
	if i.needsBody(r) {
		var err error
		if body, err = i.body(w, r, "refresh_token", "refreshToken", "device"); err != nil {
			return err
		}
	}
	token, err := i.presented(r, body)
	if err != nil {
		return err
	}
	if token == "" {
		return refused(jwterrors.RefreshTokenMissing, "there is no refresh_token")
	}
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) > 1 || len(keys) == 1 && len(keys[0]) > 255 {
		return refused(jwterrors.RequestInvalid, "Idempotency-Key is given twice or is longer than 255 bytes")
	}
	binding, err := i.loginBinding(w, r)
	if err != nil {
		return err
	}
	t, err := i.refresh(r.Context(), refreshRequest{
		token: token, retryKey: strings.Join(keys, ""), clientID: i.c.ClientID, binding: binding, device: body["device"], address: address(r),
	})
	if err != nil {
		return err
	}
	return i.writeTokens(w, http.StatusOK, "refresh", t)
}

// refreshTokenOf returns the refresh token under either of its names.
func refreshTokenOf(body map[string]string) (string, error) {
	a, b := body["refresh_token"], body["refreshToken"]
	if a != "" && b != "" && a != b {
		return "", refused(jwterrors.RequestInvalid, "refresh_token and refreshToken differ")
	}
	return orDefault(a, b), nil
}

// errOtherDevice is no end of the session.
var errOtherDevice = errors.New("the refresh token is another device's")

// maxReads bounds how often a refresh reads a session again because another one
// was faster.
const maxReads = 8

// A refreshRequest is what a refresh goes by.
type refreshRequest struct {
	token, retryKey string
	clientID        string
	confidential    bool   // whether the client has authenticated with a secret
	binding         string // what the client has proven to hold
	device, address string
	ask             narrowing
}

// refresh answers a refresh token, as the package documentation says.
func (i *Issuer) refresh(ctx context.Context, r refreshRequest) (Tokens, error) {
	t, err := parseRefreshToken(r.token)
	if err != nil {
		return Tokens{}, err
	}
	var retry []byte
	if r.retryKey != "" {
		sum := sha256.Sum256([]byte(r.retryKey))
		retry = sum[:]
	}
	for range maxReads {
		s, err := i.read(ctx, t)
		if err != nil {
			return Tokens{}, err
		}
		now := i.c.Now()
		switch {
		case !s.RevokedAt.IsZero():
			if err := i.denyAgain(ctx, &s, now); err != nil {
				return Tokens{}, err
			}
			return Tokens{}, refused(jwterrors.SessionRevoked, "the session was revoked")
		case s.expired(now):
			return Tokens{}, refused(jwterrors.RefreshTokenExpired, "the session has ended")
		case s.ClientID != r.clientID:
			return Tokens{}, refused(jwterrors.RefreshTokenInvalid, "the refresh token is another client's")
		case i.c.BindDevice && clip(r.device) != s.Device:
			i.tell(i.about(EventOtherDevice, &s, jwterrors.RefreshTokenInvalid, r.address))
			return Tokens{}, &jwterrors.Error{Reason: jwterrors.RefreshTokenInvalid, Err: errOtherDevice}
		}
		// Before anything is decided: who lacks the key is no owner, whose session
		// nobody else may end, not even with an old token of it.
		if err := s.heldBy(r.binding, r.confidential); err != nil {
			return Tokens{}, i.proofRefused(i.about("", &s, "", r.address), err)
		}
		v := decide(&s, t.generation, retry, now, i.c.Grace, i.rotation(&s, r.confidential))
		if v == replay { // to be seen also while the rest of this fails
			return Tokens{}, i.endReplayed(ctx, &s, r.address)
		}
		if err := i.reload(ctx, &s, r.address); err != nil {
			return Tokens{}, err
		}
		at := now
		if s.RotatedAt.After(at) { // by a clock that is ahead; times never go back
			at = s.RotatedAt
		}
		next := Rotation{
			Generation: s.Generation + 1, KeyID: i.masters.first, RotatedAt: at, RetryHash: retry, IdleUntil: i.idleUntil(at),
		}
		after := s // the session as it will be, and the access token bound to what was proven now
		after.Confirmation = r.binding
		if after.Scopes, err = r.ask.narrow(s.Scopes); err != nil {
			return Tokens{}, err
		}
		switch v {
		case ahead:
			next.Generation = t.generation + 1
			fallthrough
		case rotate:
			after.Generation, after.KeyID, after.IdleUntil = next.Generation, next.KeyID, next.IdleUntil
		}
		if after.end().Unix() <= now.Unix() { // no token fits into what is left of a second
			return Tokens{}, refused(jwterrors.RefreshTokenExpired, "the session is about to end")
		}
		// What can fail fails before anything has changed.
		answer, err := i.answerWith(&after, orFirst(r.ask.first, i.claims), now)
		if err != nil {
			return Tokens{}, err
		}
		if answer.RefreshToken, err = i.masters.token(&after); err != nil {
			return Tokens{}, err
		}
		switch v {
		case young, concurrent:
			i.tell(i.about(EventRepeat, &s, "", r.address))
			return answer, nil
		case stay:
			i.tell(i.about(EventRefresh, &s, "", r.address))
			return answer, nil
		case late:
			i.tell(i.about(EventLateRetry, &s, "", r.address))
			return answer, nil
		}
		ok, err := i.c.Store.Rotate(ctx, s.ID, s.Generation, next)
		if err != nil {
			return Tokens{}, storeFailed("rotate a refresh token", err)
		}
		if !ok {
			continue // somebody was faster: read and decide again
		}
		if v == ahead {
			i.c.Logger.Error("issuer: the store has lost a write", "sid", s.ID, "generation", s.Generation, "presented", t.generation)
			i.tell(i.about(EventLostWrite, &s, "", r.address))
		}
		i.tell(i.about(EventRefresh, &s, "", r.address))
		return answer, nil
	}
	return Tokens{}, storeFailed("rotate a refresh token", errors.New("other requests were faster every time"))
}

// read returns the session of t, when t is genuine. Under the master key of a live
// session it may be, also where that key is not known.
func (i *Issuer) read(ctx context.Context, t refreshToken) (Session, error) {
	s, err := i.c.Store.Get(ctx, t.sid)
	switch {
	case errors.Is(err, ErrNoSession):
		return s, refused(jwterrors.RefreshTokenInvalid, "there is no such session")
	case err != nil:
		return s, storeFailed("read a session", err)
	case t.keyID == s.KeyID && i.masters.secret[t.keyID] == nil && s.Live(i.c.Now()):
		return s, i.masters.lacks(&s)
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
	shown := *s
	shown.Seed, shown.RetryHash = nil, nil // no business of the hook's, and of its logs
	shown.Scopes, shown.Claims = slices.Clone(s.Scopes), slices.Clone(s.Claims)
	u, err := i.c.Reload(ctx, shown)
	switch jwterrors.ReasonOf(err) {
	case "":
	case jwterrors.SessionRevoked, jwterrors.CredentialsInvalid, jwterrors.TokenUserKeyInvalid:
		if err := i.endTold(ctx, s, EventRevoked, jwterrors.SessionRevoked, address); err != nil {
			return err
		}
		return refused(jwterrors.SessionRevoked, "the user may not go on")
	default:
		return storeFailed("reload a user", err)
	}
	subject, acr := s.Subject, s.ACR
	if err := u.fill(s); err != nil {
		return &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("issuer: user from Reload: %w", err)}
	}
	if s.Subject != subject {
		return &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: errors.New("issuer: Reload returned another user")}
	}
	s.Scopes, s.ACR = keep(s.Scopes, u.Scopes), acr // a refresh is no login
	return nil
}
