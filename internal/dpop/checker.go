package dpop

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Header and NonceHeader are the fields of proofs and nonces (RFC 9449, Sections
// 4.1 and 8), as net/http spells them.
const (
	Header      = "Dpop"
	NonceHeader = "Dpop-Nonce"
)

// A Checker judges the proofs of requests to one server (RFC 9449, Section 4.3). It
// is safe for concurrent use.
type Checker struct {
	Algorithms []string
	MaxAge     time.Duration // how old a proof may be
	Leeway     time.Duration // the difference between clocks that is tolerated
	Site       Site
	Nonces     *Nonces // nil: a proof needs none
	Replays    Replays
	Now        func() time.Time

	known headers
}

// Check returns the proof of r, or a *jwterrors.Error: ProofInvalid,
// ProofNonceRequired, or StoreUnavailable where Replays cannot tell. token is the
// access token that comes with it, and jkt the thumbprint that it is bound to; each
// may be empty. A proof that has passed is used: it does not pass again.
//
// Where nonces are needed they tell the age of a proof, and its "iat" does not
// count (Section 4.3, check 11), so that a client's clock may be wrong.
func (c *Checker) Check(r *http.Request, token, jkt string) (*Proof, error) {
	values := r.Header[Header]
	switch {
	case len(values) == 0:
		return nil, invalid("there is no proof")
	case len(values) > 1:
		return nil, invalid("there is more than one proof")
	}
	p, err := read(values[0], c.Algorithms, &c.known)
	if err != nil {
		return nil, invalid("the proof cannot be taken: %w", err)
	}
	now := c.Now()
	htu, err := Normalize(p.URL)
	switch own := c.Site.URL(r); {
	case p.Method != r.Method:
		return nil, invalid(`the proof's "htm" is not the method of the request`)
	case err != nil || htu != own:
		return nil, invalid(`the proof's "htu" is not the URL of the request, which is %s here`, own)
	}
	until := p.IssuedAt.Add(c.MaxAge + c.Leeway)
	if c.Nonces != nil {
		var good bool
		if until, _, good = c.Nonces.Check(p.Nonce, now); !good {
			return nil, &jwterrors.Error{Reason: jwterrors.ProofNonceRequired, Err: errors.New("the proof has no nonce, or an old one")}
		}
	} else if now.After(until) || p.IssuedAt.After(now.Add(c.Leeway)) {
		return nil, invalid(`the proof's "iat" is %v from now: are the clocks right?`, p.IssuedAt.Sub(now).Round(time.Second))
	}
	switch {
	case token != "" && subtle.ConstantTimeCompare([]byte(p.TokenHash), []byte(TokenHash(token))) != 1:
		return nil, invalid(`the proof's "ath" is not the hash of the access token`)
	case jkt != "" && subtle.ConstantTimeCompare([]byte(p.Thumbprint), []byte(jkt)) != 1:
		return nil, invalid("the proof's key is not the one that is bound")
	}
	until = until.Add(c.Leeway) // it may be good for longer elsewhere, by another clock
	switch first, err := c.Replays.Use(r.Context(), p.name(), until); {
	case err != nil:
		return nil, &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: fmt.Errorf("ask whether a proof was used: %w", err)}
	case !first:
		return nil, invalid("the proof was used before")
	}
	return p, nil
}

// Nonce returns the nonce to send with the answer to r, or "": one is sent to who
// needs one, and to who has one that is about to end (RFC 9449, Section 8.2).
func (c *Checker) Nonce(p *Proof, err error) string {
	if c.Nonces == nil {
		return ""
	}
	now := c.Now()
	if p != nil {
		if _, current, ok := c.Nonces.Check(p.Nonce, now); ok && current {
			return ""
		}
	} else if jwterrors.ReasonOf(err) != jwterrors.ProofNonceRequired {
		return ""
	}
	return c.Nonces.Current(now)
}

func invalid(format string, args ...any) error {
	return &jwterrors.Error{Reason: jwterrors.ProofInvalid, Err: fmt.Errorf(format, args...)}
}

// Scheme is the scheme of Authorization for bound tokens (RFC 9449, Section 7.1).
const Scheme = "DPoP"

// HasScheme reports whether the value of an Authorization field is of the scheme.
func HasScheme(value string) bool {
	return len(value) >= len(Scheme) && strings.EqualFold(value[:len(Scheme)], Scheme) && (len(value) == len(Scheme) || value[len(Scheme)] == ' ')
}
