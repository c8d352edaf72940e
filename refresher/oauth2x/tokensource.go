package oauth2x

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"golang.org/x/oauth2"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// TokenSource returns an oauth2.TokenSource that gives out the access tokens of t,
// for libraries that ask for one. It is safe for concurrent use. Token waits for a
// refresh when a request through t would, as long as ctx allows.
//
// The tokens have no refresh token, since two who use one end the session. Their
// Extra knows "scope". They are secret, and no Origins guard where they go: hand
// the TokenSource to clients of those origins alone. A token that is bound to a key
// (refresher.Config.DPoP) needs proofs: the client's transport goes through
// DPoPKey.Transport of that key, below an oauth2.Transport.
//
// t keeps the token and knows when it is due. Around it, ReuseTokenSource, and
// NewClient, which uses it, would go on giving out a token until 10 seconds before
// its expiry, whatever has become of the session. An oauth2.Transport does not.
//
// A refusal that a login or a person must cure is an *oauth2.RetrieveError, with
// the code "invalid_grant" when the session is over. Every error has the reason
// that t gives, for jwterrors.ReasonOf.
func TokenSource(ctx context.Context, t *refresher.Transport) oauth2.TokenSource {
	return &transportSource{ctx, t}
}

type transportSource struct {
	ctx       context.Context // an oauth2.TokenSource gets none
	transport *refresher.Transport
}

func (s *transportSource) Token() (*oauth2.Token, error) {
	tokens, err := s.transport.Token(s.ctx)
	if err != nil {
		return nil, refusal(err)
	}
	token := &oauth2.Token{AccessToken: tokens.AccessToken, TokenType: cmp.Or(tokens.TokenType, "Bearer"), Expiry: tokens.Expiry}
	if tokens.Scope != "" {
		token = token.WithExtra(map[string]any{"scope": tokens.Scope})
	}
	return token, nil
}

// refusal returns err, from a Transport, as an *oauth2.RetrieveError if it is a
// refusal.
func refusal(err error) error {
	var retrieve *oauth2.RetrieveError
	if errors.As(err, &retrieve) {
		return err // from a source of this package
	}
	reason := jwterrors.ReasonOf(err)
	code := reason.OAuthCode()
	switch reason.Action() {
	case jwterrors.ActionLogin:
		code = "invalid_grant"
	case jwterrors.ActionNone:
	default:
		code = ""
	}
	if code == "" {
		return err
	}
	return newRefused(err, http.StatusBadRequest, code)
}
