package issuer

import (
	"context"
	"errors"
	"net/http"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// denyAtLeast is how long access tokens are denied at least: as long as those
// live that were minted before AccessTTL was lowered.
const denyAtLeast = time.Hour

// leewayOfVerifiers is how much longer than its lifetime a denied token is
// remembered, because verifiers tolerate some clock skew.
const leewayOfVerifiers = 5 * time.Minute

// logout ends the session of a refresh token, of an access token, or of both. An
// access token may have expired, as long as its key is published: a client that
// slept must be able to log out, and it can do no more with it. One that is bound
// needs its proof, or its thief could end the session. What belongs to no session
// is no error: it is logged out.
func (i *Issuer) logout(w http.ResponseWriter, r *http.Request) error {
	var body map[string]string
	if r.ContentLength != 0 {
		var err error
		if body, err = i.body(w, r, "refresh_token", "refreshToken"); err != nil {
			return err
		}
	}
	token, err := i.presented(r, body)
	if err != nil {
		return err
	}
	sid, failed := i.accessSession(w, r)
	switch reason := jwterrors.ReasonOf(failed); {
	case reason == jwterrors.TokenMissing && token == "":
		return refused(jwterrors.RefreshTokenMissing, "a logout needs a refresh token or an access token")
	case reason == jwterrors.RequestInvalid, reason == jwterrors.ProofInvalid, reason == jwterrors.ProofNonceRequired, reason == jwterrors.StoreUnavailable:
		return failed
	}
	if token != "" {
		t, err := parseRefreshToken(token)
		if err == nil {
			var s Session
			if s, err = i.read(r.Context(), t); err == nil {
				err = i.logoutSession(r, &s)
			}
		}
		if errors.Is(err, jwterrors.StoreUnavailable) {
			return err
		}
	}
	if failed == nil || errors.Is(failed, jwterrors.TokenExpired) {
		s, err := i.named(r.Context(), sid)
		if err == nil {
			err = i.logoutSession(r, &s)
		}
		if errors.Is(err, jwterrors.StoreUnavailable) {
			return err
		}
	}
	i.dropCookie(w, r)
	return noContent(w)
}

// logoutSession ends s for its user.
func (i *Issuer) logoutSession(r *http.Request, s *Session) error {
	return i.endTold(r.Context(), s, EventLogout, "", address(r))
}

// RevokeSession ends a session for the operator: its refresh token is refused
// from now on, and its access tokens are denied where there is a Denylist or a
// StatusList; else they live until they expire. A session that is revoked
// already is no error, and one that does not exist is ErrNoSession. A failure of
// the store or of the denylist is a jwterrors.StoreUnavailable: call again then.
func (i *Issuer) RevokeSession(ctx context.Context, id string) error {
	s, err := i.c.Store.Get(ctx, id)
	switch {
	case errors.Is(err, ErrNoSession):
		return err
	case err != nil:
		return storeFailed("read a session", err)
	}
	return i.endTold(ctx, &s, EventRevoked, jwterrors.SessionRevoked, "")
}

// RevokeSubject ends all sessions of a user for the operator, as RevokeSession
// does, and denies in the same way all access tokens that the user was issued
// before. A login
// that began before and is in flight is refused, as far as the clocks of the
// processes agree on what came first; one that begins later is not concerned.
func (i *Issuer) RevokeSubject(ctx context.Context, subject string) error {
	var denied error
	if now := i.c.Now(); i.denier != nil {
		denied = i.denier.DenySubject(ctx, subject, now, i.deniedUntil(now))
	}
	if err := errors.Join(denied, i.endOthers(ctx, subject, "", "")); err != nil {
		return storeFailed("revoke a user", err)
	}
	return nil
}

// end revokes s and has its access tokens denied. Both are tried; the error of
// either is an error, and then the caller must not say that it was done. For a
// session that was revoked before, the denial is repeated, since it may be what
// failed then.
func (i *Issuer) end(ctx context.Context, s *Session) error {
	now := i.c.Now()
	if !s.RevokedAt.IsZero() {
		return i.denyAgain(ctx, s, now)
	}
	denied := i.deny(ctx, s.ID, now)
	revoked := i.c.Store.Revoke(ctx, s.ID, now)
	if errors.Is(revoked, ErrNoSession) {
		revoked = nil
	}
	if err := errors.Join(denied, revoked); err != nil {
		return storeFailed("revoke session "+s.ID, err)
	}
	return nil
}

// deny denies the access tokens of a session that was revoked at the time given.
func (i *Issuer) deny(ctx context.Context, sid string, at time.Time) error {
	if i.denier == nil {
		return nil
	}
	return i.denier.DenySession(ctx, sid, i.deniedUntil(at))
}

// denialTime is how long a denial lasts.
func (i *Issuer) denialTime() time.Duration {
	return max(i.c.AccessTTL, denyAtLeast) + leewayOfVerifiers
}

// deniedUntil is when no access token issued before at can be alive any more.
func (i *Issuer) deniedUntil(at time.Time) time.Time { return at.Add(i.denialTime()) }

// denyAgain denies what is left of a session that was revoked before.
func (i *Issuer) denyAgain(ctx context.Context, s *Session, now time.Time) error {
	if !now.Before(i.deniedUntil(s.RevokedAt)) {
		return nil
	}
	if err := i.deny(ctx, s.ID, s.RevokedAt); err != nil {
		return storeFailed("deny session "+s.ID, err)
	}
	return nil
}

// endTold ends s, even when the client has left by now, and tells of it unless it
// had ended before.
func (i *Issuer) endTold(ctx context.Context, s *Session, kind EventKind, reason jwterrors.Reason, address string) error {
	ctx, cancel := finishing(ctx)
	defer cancel()
	e := i.about(kind, s, reason, address)
	live := s.Live(i.c.Now())
	if e.Err = i.end(ctx, s); live {
		i.tell(e)
	}
	return e.Err
}

// endReplayed ends the session of a refresh token that two parties hold.
func (i *Issuer) endReplayed(ctx context.Context, s *Session, address string) error {
	i.c.Logger.Warn("issuer: a rotated refresh token came back: two parties hold its session", "sid", s.ID, "sub", s.Subject)
	if err := i.endTold(ctx, s, EventReplay, jwterrors.RefreshTokenReused, address); err != nil {
		return err
	}
	return refused(jwterrors.RefreshTokenReused, "two parties hold the session")
}

// endOthers ends all sessions of subject but one.
func (i *Issuer) endOthers(ctx context.Context, subject, except, address string) error {
	now := i.c.Now()
	ids, err := i.c.Store.RevokeSubject(ctx, subject, except, now)
	return i.ended(ctx, subject, except, ids, err, now, address)
}

// ended brings to its end, though the client may have left, what the store has
// done to the sessions of subject but one: it has revoked those with these ids
// now, or it has failed. It denies them, and with them the ones revoked a moment
// ago, whose denial may have failed then. When the store has failed it denies
// what lives, since the caller means to try again.
func (i *Issuer) ended(ctx context.Context, subject, except string, ids []string, failed error, now time.Time, address string) error {
	ctx, cancel := finishing(ctx)
	defer cancel()
	denials := map[string]time.Time{}
	if i.denier != nil {
		all, err := i.c.Store.List(ctx, subject, now.Add(-i.denialTime()))
		for _, s := range all {
			switch {
			case s.ID == except:
			case !s.RevokedAt.IsZero():
				denials[s.ID] = s.RevokedAt
			case failed != nil && s.Live(now):
				denials[s.ID] = now
			}
		}
		failed = errors.Join(failed, err)
	}
	for _, id := range ids {
		denials[id] = now
	}
	errs := map[string]error{}
	for id, at := range denials {
		errs[id] = i.deny(ctx, id, at)
		failed = errors.Join(failed, errs[id])
	}
	e := Event{Kind: EventRevoked, Subject: subject, Reason: jwterrors.SessionRevoked, Address: address}
	for _, id := range ids {
		e.SessionID, e.Err = id, errs[id]
		i.tell(e)
	}
	if len(ids) == 0 && failed != nil {
		e.Err = failed
		i.tell(e)
	}
	if failed != nil {
		return storeFailed("end the sessions of a user", failed)
	}
	return nil
}

// finishing returns a context for what must be brought to its end although the
// client may have left.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
}
