package password

import (
	"context"
	"errors"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// turn waits until one more hash may be worked on, and returns what ends that.
func (h *Hasher) turn(ctx context.Context) (release func(), err error) {
	if h.slots == nil {
		return nil, busy(errors.New("password: the Hasher was not made with New"))
	}
	if err := ctx.Err(); err != nil {
		return nil, busy(err)
	}
	select {
	case h.admitted <- struct{}{}:
	default:
		return nil, busy(ErrBusy)
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; <-h.admitted }, nil
	case <-ctx.Done():
		<-h.admitted
		return nil, busy(ctx.Err())
	}
}

func busy(cause error) error {
	return &jwterrors.Error{
		Reason: jwterrors.StoreUnavailable, Err: cause, RetryAfter: time.Second,
		Message: "Passwords cannot be checked at the moment.",
	}
}
