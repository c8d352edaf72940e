package middleware

import (
	"context"
	"errors"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Revocations knows which tokens were revoked before they expired. It is asked
// for each token, after everything that the token itself can tell, so it should
// answer from memory. It must be safe for concurrent use.
type Revocations interface {
	// Revoked reports whether a token is revoked: its session (sid), itself
	// (jti), or all tokens of its subject that were issued before some time.
	// An absent claim is empty, and matches nothing. An error means that the
	// state is not known: the token is then refused with
	// AUTH_STORE_UNAVAILABLE.
	Revoked(ctx context.Context, sid, jti, subject string, issuedAt time.Time) (bool, error)
}

// judgeRevocation asks revoked.
func judgeRevocation(ctx context.Context, revoked Revocations, c *Claims) error {
	if revoked == nil {
		return nil
	}
	yes, err := revoked.Revoked(ctx, c.SessionID, c.ID, c.Subject, c.IssuedAt)
	switch {
	case err != nil:
		return unknown(err)
	case yes:
		return refuse(jwterrors.TokenInvalidated, nil)
	default:
		return nil
	}
}

// unknown is the refusal for want of an answer.
func unknown(err error) error {
	e := &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: err}
	if inner := (*jwterrors.Error)(nil); errors.As(err, &inner) && inner != nil {
		e.RetryAfter = inner.RetryAfter
	}
	return e
}
