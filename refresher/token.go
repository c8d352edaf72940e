package refresher

import (
	"cmp"
	"context"
	"errors"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Token returns tokens whose access token can be used now. It waits for a
// refresh when a request would, as long as ctx allows, and starts one in the
// background when a request would. It is for what is not sent through t: gRPC
// metadata, a WebSocket handshake, another library. What it returns is secret,
// and belongs in requests to Origins alone. An access token with the TokenType "DPoP"
// is bound to Config.DPoP: each request with it, each try too, takes a proof that
// the caller makes with DPoPKey.Proof.
//
// Without a session the error has the reason AUTH_LOGGED_OUT. Other errors are
// those of RoundTrip.
func (t *Transport) Token(ctx context.Context) (Tokens, error) {
	st := t.state.Load()
	if now := t.now(); !now.Before(st.lookAt) {
		var err error
		if st, err = t.ready(ctx, st, now); err != nil {
			return Tokens{}, err
		}
	}
	return st.lend()
}

// Refused is for what RoundTrip does by itself after a 401: it notes that a
// server has refused tokens, which Token has returned, for the reason that err
// has, and returns the tokens to try once more with. It waits for them as long
// as ctx allows. Any number of calls with the same tokens cost one refresh, and
// after a newer token has come they return that one.
//
// It returns an error when there is no use in trying again: err itself where a
// newer token would not help or was refused as well, AUTH_LOGGED_OUT where the
// session is over, else that of the refresh. An err without a reason stands for
// AUTH_TOKEN_GENERIC_ERROR.
func (t *Transport) Refused(ctx context.Context, tokens Tokens, err error) (Tokens, error) {
	st := tokens.lent
	if st == nil {
		return Tokens{}, invalid("the tokens that were refused are not from Token")
	}
	e := &jwterrors.Error{Reason: cmp.Or(jwterrors.ReasonOf(err), jwterrors.TokenGenericError), Err: err}
	if said := (*jwterrors.Error)(nil); errors.As(err, &said) && said.Reason == e.Reason {
		e = said
	}
	if e.Reason.Action() != jwterrors.ActionRefresh {
		return Tokens{}, e
	}
	t.refused(st, e)
	if t.futile(st) {
		return Tokens{}, e
	}
	next, failed := t.successor(ctx, st)
	if failed != nil {
		return Tokens{}, failed
	}
	return next.lend()
}

// Accepted notes that a server has accepted tokens, which Token has returned, as
// RoundTrip does after an answer of 2xx or 3xx. Without it a token that replaced
// a refused one counts as untried: when it is refused as well, no other is got
// until it has expired.
func (t *Transport) Accepted(tokens Tokens) {
	if tokens.lent != nil {
		t.accepted(tokens.lent)
	}
}

// lend returns the tokens of st to somebody who uses them without t.
func (st *state) lend() (Tokens, error) {
	if st.header == nil {
		if st.failure != nil { // of reading the store
			return Tokens{}, st.failure.err
		}
		return Tokens{}, &jwterrors.Error{Reason: jwterrors.LoggedOut, Err: errors.New("refresher: there is no session")}
	}
	tokens := st.tokens
	tokens.outcome, tokens.lent = nil, st
	return tokens, nil
}
