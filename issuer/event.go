package issuer

import (
	"fmt"
	"log/slog"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// An EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventLogin       EventKind = "login"        // a session began
	EventLoginFailed EventKind = "login_failed" // a login was refused: see Reason, which is StoreUnavailable where it could not be judged
	EventLimited     EventKind = "limited"      // too many logins or signups for an account or an address: see Limits, whose Refresh tells none

	EventSignup       EventKind = "signup"        // a user signed up; the login that follows has an event of its own
	EventSignupFailed EventKind = "signup_failed" // a signup was refused

	EventRefresh     EventKind = "refresh"      // a refresh was answered, with a rotated token where tokens rotate
	EventRepeat      EventKind = "repeat"       // a refresh was repeated within Grace
	EventLateRetry   EventKind = "late_retry"   // a refresh was repeated later, with its retry key or under AnyRetry
	EventReplay      EventKind = "replay"       // a rotated refresh token came back, and the session was revoked
	EventLostWrite   EventKind = "lost_write"   // the store is behind a token that was issued: it has lost a write
	EventOtherDevice EventKind = "other_device" // a refresh token came with another device than its session's
	EventRevoked     EventKind = "revoked"      // a session was revoked for another reason
	EventLogout      EventKind = "logout"       // a session was ended by its user

	// EventProofRefused: a proof of possession was wrong, or missing where it is
	// needed, and nothing has changed; see Config.DPoP. With a SessionID, a genuine
	// token of that session came without the key or certificate that it is bound to.
	EventProofRefused EventKind = "proof_refused"
)

// An Event is something that an audit log should have, told when it has happened
// or failed. It names sessions and users by their ids and never holds a token or
// a password.
type Event struct {
	Kind      EventKind
	Time      time.Time
	Reason    jwterrors.Reason // why, where something was refused
	SessionID string
	Subject   string
	ClientID  string
	Address   string // of the request; empty when not known

	// Account is the beginning of the name that a login was refused for, if
	// Config.TellAccounts is set. It may be anything that a client sent.
	Account string

	// Err is what failed while a session was ended: it, or its access tokens,
	// may live on, unless the client or the operator tries again. Such an
	// event may name a Subject alone. Of a login it means that the session
	// began and the user's others could not be ended, which the client was
	// told as a failure.
	Err error
}

// tell hands an event to the caller's hook, which can break nothing.
func (i *Issuer) tell(e Event) {
	if i.c.OnEvent == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			i.c.Logger.Error("issuer: OnEvent panicked", slog.String("event", string(e.Kind)), slog.String("panic", fmt.Sprintf("%T", p)))
		}
	}()
	e.Time = i.c.Now()
	i.c.OnEvent(e)
}

// shown returns the beginning of the name in c, if the caller wants it: two
// characters, and no more than a third of it, since people write passwords into
// the wrong field.
func (i *Issuer) shown(c Credentials) string {
	if !i.c.TellAccounts {
		return ""
	}
	name := []rune(clip(c.Username + c.Email))
	return string(name[:min(2, len(name)/3)]) + "***"
}

func (i *Issuer) about(kind EventKind, s *Session, reason jwterrors.Reason, address string) Event {
	return Event{Kind: kind, Reason: reason, SessionID: s.ID, Subject: s.Subject, ClientID: s.ClientID, Address: address}
}
