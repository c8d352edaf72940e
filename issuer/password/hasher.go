package password

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// What a Hasher refuses. Ask with errors.Is.
var (
	// ErrTooShort: a new password has fewer characters than MinLength.
	ErrTooShort = errors.New("password: the password is too short")

	// ErrTooLong: a new password has more than 1024 bytes, or than the 72
	// that bcrypt takes.
	ErrTooLong = errors.New("password: the password is too long")

	// ErrNUL: a new password holds a NUL byte, which bcrypt cannot take.
	ErrNUL = errors.New("password: the password holds a NUL byte")

	// ErrHash: a stored hash has an unknown form, or asks for more than it may.
	ErrHash = errors.New("password: the stored hash cannot be used")

	// ErrBusy: too many calls wait for their turn.
	ErrBusy = errors.New("password: too many passwords are being hashed")
)

// A Hasher makes and verifies hashes of passwords. Make it with New; the zero
// value refuses every password. It is safe for concurrent use.
//
// Hash, Rehash and Verify wait for their turn as long as their context lets them.
// Work that has begun is not broken off. A call that does not get its turn fails
// with a *jwterrors.Error with the reason StoreUnavailable, which is answered
// with 503 and Retry-After: the client did nothing wrong, as RateLimited would
// say. Its cause is ErrBusy or that of the context.
type Hasher struct {
	c        Config
	dummy    stored
	admitted chan struct{} // a place for each call that works or waits
	slots    chan struct{} // a place for each call that works
}

// stored is a hash that was read and is within the bounds.
type stored interface {
	matches(password string) bool // works as hard whatever the answer
	outdated(c *Config) bool
	encode() string
}

func (h *Hasher) newDummy() stored {
	if h.c.Algorithm == Bcrypt {
		return dummyBcrypt(&h.c)
	}
	return newArgon2id(&h.c)
}

// Hash returns the hash of a new password, to be stored. A password that is too
// short, too long or not for bcrypt is refused with a *jwterrors.Error with the
// reason RequestInvalid, a message for the user, and ErrTooShort, ErrTooLong or
// ErrNUL as its cause.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	return h.hash(ctx, password, h.c.MinLength)
}

// Rehash is Hash without the minimum length: for a password that was right, when
// Verify says that its hash is to be renewed.
func (h *Hasher) Rehash(ctx context.Context, password string) (string, error) {
	return h.hash(ctx, password, 0)
}

func (h *Hasher) hash(ctx context.Context, password string, minLength int) (string, error) {
	if err := h.check(password, minLength); err != nil {
		return "", err
	}
	release, err := h.turn(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if h.c.Algorithm == Bcrypt {
		b, err := newBcrypt(&h.c, password)
		if err != nil {
			return "", err
		}
		return b.encode(), nil
	}
	a := newArgon2id(&h.c)
	a.sum = a.of(password)
	return a.encode(), nil
}

// check says why there can be no hash of password.
func (h *Hasher) check(password string, minLength int) error {
	refused := func(cause error, format string, args ...any) error {
		return &jwterrors.Error{Reason: jwterrors.RequestInvalid, Err: cause, Message: fmt.Sprintf(format, args...)}
	}
	plain := h.c.Algorithm == Bcrypt && !h.c.PreHash
	switch {
	case len(password) > maxLength:
		return refused(ErrTooLong, "The password is longer than %d bytes.", maxLength)
	case utf8.RuneCountInString(password) < minLength:
		return refused(ErrTooShort, "The password needs at least %d characters.", minLength)
	case plain && len(password) > maxBcrypt:
		return refused(ErrTooLong, "The password is longer than %d bytes.", maxBcrypt)
	case plain && !fitsBcrypt(password, false):
		return refused(ErrNUL, "The password holds a NUL character.")
	}
	return nil
}

// Verify returns no error if encoded is the hash of password, and the reason
// CredentialsInvalid if it is not. It reports whether the hash should be renewed
// with Rehash, because it is weaker than Config asks for, or another algorithm's.
//
// An empty encoded stands for a user who has no password, or does not exist: it
// is refused like a wrong password, after the same work. A hash of an unknown
// form, or one that asks for more than it may, takes that work too, and is
// ErrHash. A password of no bytes or of more than 1024 is refused before any
// work, whoever the user is.
func (h *Hasher) Verify(ctx context.Context, encoded, password string) (rehash bool, err error) {
	if password == "" || len(password) > maxLength {
		return false, jwterrors.CredentialsInvalid
	}
	s, unusable := h.parse(encoded)
	if unusable != nil {
		s = h.dummy
	}
	release, err := h.turn(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	right := s.matches(password)
	switch {
	case unusable != nil:
		return false, unusable
	case !right:
		return false, jwterrors.CredentialsInvalid
	}
	return s.outdated(&h.c) && h.check(password, 0) == nil, nil
}

// parse reads a stored hash. It does no work that the hash asks for.
func (h *Hasher) parse(encoded string) (stored, error) {
	const longest = 256 // bytes; 64 of salt and 64 of hash are 172 in base64
	switch {
	case encoded == "":
		return nil, jwterrors.CredentialsInvalid
	case len(encoded) > longest:
		return nil, malformed("it is too long")
	case strings.HasPrefix(encoded, argon2idPrefix):
		return nilOnError(parseArgon2id(encoded, h.c.MaxMemory))
	case strings.HasPrefix(encoded, bcryptPrefix):
		return nilOnError(parseBcrypt(encoded, false))
	}
	if rest, ok := strings.CutPrefix(encoded, preHashPrefix); ok {
		return nilOnError(parseBcrypt(rest, true))
	}
	return nil, malformed("it has an unknown form")
}

func nilOnError[S stored](s S, err error) (stored, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// malformed says what is wrong with a stored hash, and nothing that stands in it.
func malformed(what string) error { return fmt.Errorf("%w: %s", ErrHash, what) }
