package issuer

import (
	"context"
	"errors"
	"time"
)

// newDenier returns who is told of denials: the Denylist, the StatusList, or both, or
// nil for neither.
func newDenier(c *Config) Denier {
	switch {
	case c.StatusList == nil:
		return c.Denylist
	case c.Denylist == nil:
		return c.StatusList
	default:
		return both{c.StatusList, c.Denylist}
	}
}

// both tells two, whatever the first one answers.
type both [2]Denier

func (b both) DenySession(ctx context.Context, sid string, until time.Time) error {
	return errors.Join(b[0].DenySession(ctx, sid, until), b[1].DenySession(ctx, sid, until))
}

func (b both) DenyToken(ctx context.Context, jti string, until time.Time) error {
	return errors.Join(b[0].DenyToken(ctx, jti, until), b[1].DenyToken(ctx, jti, until))
}

func (b both) DenySubject(ctx context.Context, subject string, issuedBefore, until time.Time) error {
	return errors.Join(b[0].DenySubject(ctx, subject, issuedBefore, until), b[1].DenySubject(ctx, subject, issuedBefore, until))
}
