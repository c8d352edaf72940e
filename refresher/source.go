package refresher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A Source gets the next tokens of a session. The Transport never calls it
// twice for one set of tokens at the same time.
//
// Refresh returns tokens with an access token in them; where RefreshToken is
// empty, the current one is kept. It should return soon after ctx is done: ctx
// belongs to the refresh, not to a request. A panic counts as an error.
//
// The reason of an error decides what it means, by its Action: login ends the
// session, none pauses refreshing, everything else, and an error without a
// reason, is tried again with backoff. So is AUTH_TOKEN_NULL.
type Source interface {
	Refresh(ctx context.Context, current Tokens) (Tokens, error)
}

// A bindable is a Source that makes calls of its own. New has it make them like
// those of the Transport.
type bindable interface {
	bind(p *endpoint, allowHTTP bool) (Source, error)
}

// standalone returns what a Source makes its calls with outside of a Transport.
func standalone() *endpoint {
	return &endpoint{answers: AnswerNames{}.withDefaults(), base: http.DefaultTransport, now: time.Now, timeout: attemptTimeout, clock: new(clock)}
}

// An AuthHandler gets an access token for the user id from the caller's own
// server. An error without a reason, or a panic, is a TokenGenerationError, an empty
// token a TokenNull; both are tried again with backoff. A reason means what it means
// to a Source.
type AuthHandler func(ctx context.Context, id Identity) (AuthResponse, error)

// An AuthResponse is an access token, and whom to tell about it. Of OnSuccess
// and OnFailure one is called, and that once: OnSuccess when a request was
// answered, OnFailure when the token was refused, here or by a server, and when
// it has expired or its session has ended before anybody knew. Neither is called
// for an empty Token, and for one that was replaced before its time and never
// used. Either may be nil.
type AuthResponse struct {
	Token     string
	OnSuccess func()
	OnFailure func(jwterrors.Reason)
}

// Refresh makes an AuthHandler a Source.
func (h AuthHandler) Refresh(ctx context.Context, current Tokens) (Tokens, error) {
	resp, err := h(ctx, current.Identity)
	if err != nil {
		if errors.As(err, new(jwterrors.Reason)) {
			return Tokens{}, err
		}
		return Tokens{}, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: err}
	}
	out := &outcome{accepted: resp.OnSuccess, refused: resp.OnFailure}
	return Tokens{AccessToken: resp.Token, outcome: out}, nil
}

// An outcome is told once whether a token was accepted.
type outcome struct {
	once     sync.Once
	accepted func()
	refused  func(jwterrors.Reason)
}

// tell tells o, through the queue of events, that the token was refused for
// reason, or accepted if reason is empty.
func (o *outcome) tell(q *events, reason jwterrors.Reason) {
	if o == nil {
		return
	}
	o.once.Do(func() {
		switch {
		case reason == "" && o.accepted != nil:
			q.post(o.accepted)
		case reason != "" && o.refused != nil:
			q.post(func() { o.refused(reason) })
		}
	})
}

// asError returns err with a reason: its own, or TokenGenerationError.
func asError(err error) *jwterrors.Error {
	var known *jwterrors.Error
	if errors.As(err, &known) {
		return known
	}
	var reason jwterrors.Reason
	if errors.As(err, &reason) && reason != "" {
		return &jwterrors.Error{Reason: reason, Err: err}
	}
	return &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("refresher: get a token: %w", err)}
}
