package middleware

import (
	"errors"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A refusal is what one check found wrong. What leaves the package is the
// *jwterrors.Error that explain makes of it. It never changes, and may be shared.
type refusal struct {
	reason jwterrors.Reason
	cause  error // for logs; may be nil
}

func (r *refusal) Error() string { return explain(r, "", nil, time.Time{}).Error() }

// refuse returns the error of one check.
func refuse(reason jwterrors.Reason, cause error) error {
	return &refusal{reason, cause}
}

// reasonOf is jwterrors.ReasonOf for errors that may be refusals.
func reasonOf(err error) jwterrors.Reason {
	if r, ok := err.(*refusal); ok {
		return r.reason
	}
	return jwterrors.ReasonOf(err)
}

// explain makes a *jwterrors.Error of err, and adds whose token it was, and when
// it was refused.
func explain(err error, token string, claims *Claims, now time.Time) error {
	var e *jwterrors.Error
	if r, ok := err.(*refusal); ok {
		e = &jwterrors.Error{Reason: r.reason, Err: r.cause}
	} else {
		e = foreign(err)
	}
	if e.Token == "" {
		e.Token = jwterrors.Redact(token)
	}
	if e.Identity == "" && claims != nil {
		e.Identity = claims.Subject
	}
	if e.Time.IsZero() {
		e.Time = now
	}
	return e
}

// foreign makes a *jwterrors.Error of an error of the caller's making, which may
// be shared and is not changed.
func foreign(err error) *jwterrors.Error {
	e := &jwterrors.Error{Reason: jwterrors.ReasonOf(err), Err: err}
	if inner := (*jwterrors.Error)(nil); errors.As(err, &inner) && inner != nil {
		*e = *inner
		if error(inner) != err {
			e.Err = err // what is around it is part of the cause
		}
	} else if err == error(e.Reason) {
		e.Err = nil
	}
	if e.Reason == "" {
		e.Reason = jwterrors.TokenGenericError
	}
	return e
}
