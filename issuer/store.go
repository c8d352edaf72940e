package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// A Session is what a Store keeps of one login. Nothing in it can be used as a
// token, and nothing in it makes one without the master key. Printed it shows its
// ID alone, and its JSON has no Seed and no RetryHash: a Store that keeps JSON
// has them beside it.
type Session struct {
	ID   string // sid: 128 random bits in base64url, 22 characters
	Seed []byte `json:"-"` // 256 random bits that refresh tokens are derived from

	// Generation counts the rotations. KeyID is the master key that the
	// refresh token of this generation is derived with.
	Generation uint64
	KeyID      string

	// RotatedAt is when Generation was reached; when it is 0, CreatedAt. It
	// never goes back, whatever the clocks say.
	// RetryHash is the SHA-256 of the Idempotency-Key that came with that
	// rotation; nil when none came.
	RotatedAt time.Time
	RetryHash []byte `json:"-"`

	Subject  string   // sub
	ClientID string   // client_id
	Scopes   []string // what was granted at login
	Email    string   // the claims email or userId; never both
	UserID   string
	Claims   json.RawMessage // further claims of the access token, an object or nil
	ACR      string          // how the user logged in
	AuthTime time.Time       // when the login began; of /login at most MaxLoginTime before CreatedAt

	// Confirmation is what the session is bound to, so that a refresh must prove
	// it: "jkt:" and the thumbprint of a key (RFC 9449, Section 6.1), "x5t#S256:"
	// and that of a certificate (RFC 8705, Section 3.1), or empty. It never
	// changes, and has 64 ASCII characters at most.
	Confirmation string

	Device    string // for the user's list of sessions; each may be empty
	Address   string
	UserAgent string

	CreatedAt time.Time
	ExpiresAt time.Time // the absolute end
	IdleUntil time.Time // the end unless it is used before; zero means never
	RevokedAt time.Time // zero means that it is not revoked
}

// end returns the end that comes first.
func (s *Session) end() time.Time {
	if s.IdleUntil.IsZero() || s.ExpiresAt.Before(s.IdleUntil) {
		return s.ExpiresAt
	}
	return s.IdleUntil
}

// expired reports whether the session has reached an end of its own.
func (s *Session) expired(now time.Time) bool { return !now.Before(s.end()) }

// Live reports whether the session is neither revoked nor expired at now.
func (s *Session) Live(now time.Time) bool {
	return s.RevokedAt.IsZero() && !s.expired(now)
}

// A Rotation is what changes in a session when its refresh token is rotated.
type Rotation struct {
	Generation uint64 // the new one
	KeyID      string
	RotatedAt  time.Time
	RetryHash  []byte `json:"-"`
	IdleUntil  time.Time
}

// Errors of a Store. Every other error means that the store could not answer.
var (
	ErrNoSession     = errors.New("issuer: no such session")
	ErrSessionExists = errors.New("issuer: a session of this id exists")

	// ErrSubjectRevoked: the subject was revoked after its login had begun.
	ErrSubjectRevoked = errors.New("issuer: the subject was revoked since this login began")
)

// A Store keeps sessions. It is safe for concurrent use, by several processes
// where the engine is shared. The package storetest holds an implementation to
// what is said here.
//
// Times are kept to the microsecond, what is below it is cut off, and come out in
// UTC; the zero time stays zero. Text and Claims come out as they went in, and
// text is compared byte by byte, in any case and language. Values that go in and
// come out are copies: who changes one changes nothing in the store. A method
// that returns an error other than those above may or may not have had its
// effect, and can be called again.
type Store interface {
	// Create adds a session. ErrSessionExists when its ID is taken;
	// ErrSubjectRevoked when RevokeSubject has marked its subject at its
	// AuthTime or later, and then the session is not there, or is revoked.
	// A Create that meets RevokeSubject is refused by its mark or revoked by
	// it: none is overlooked by both.
	Create(ctx context.Context, s Session) error

	// Replace adds a session as Create does and revokes the other sessions of
	// its subject at s.CreatedAt, in one atomic step: of the sessions that any
	// number of calls for a subject add, the last one alone is not revoked.
	// It returns the IDs of those that it revoked. An error means that both
	// parts were done or neither.
	Replace(ctx context.Context, s Session) ([]string, error)

	// Get returns a session, revoked and expired ones too, or ErrNoSession.
	Get(ctx context.Context, id string) (Session, error)

	// Rotate makes update in one atomic step, if the session exists, is at the
	// generation from, which is less than update.Generation, is not revoked
	// and has not reached one of its ends at update.RotatedAt; else it changes
	// nothing and reports false. Of any number of calls with the same from,
	// one reports true.
	Rotate(ctx context.Context, id string, from uint64, update Rotation) (bool, error)

	// Revoke marks a session as revoked at the time given. After it has
	// returned nil, no Rotate of the session reports true. An earlier
	// revocation stays as it is. ErrNoSession when there is none.
	Revoke(ctx context.Context, id string, at time.Time) error

	// RevokeSubject revokes all sessions of subject except the one with the
	// ID except, which may be empty, and returns the IDs of those that it
	// revoked now. It marks the subject at the time given, unless a later
	// mark is there, for the logins that are in flight: see Create.
	RevokeSubject(ctx context.Context, subject, except string, at time.Time) ([]string, error)

	// List returns the sessions of subject that have not ended at the time
	// given: that were not revoked and had reached no end of their own by
	// then. The newest comes first, by CreatedAt, and of one time the one with
	// the least ID.
	List(ctx context.Context, subject string, at time.Time) ([]Session, error)

	// DeleteExpired removes up to limit sessions whose absolute or idle end
	// is before the time given, and returns how many it removed. It also
	// forgets the marks made more than twice MaxLoginTime before that time,
	// and no others.
	DeleteExpired(ctx context.Context, before time.Time, limit int) (int, error)
}
