package middleware

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// LocalJWKS returns a source for an issuer in the same process. document
// returns the issuer's current JWK Set as JSON; it is called for each token,
// must be quick and safe for concurrent use. The set is read again only when
// the bytes differ from those before.
//
// Of the set, the same keys count as for [JWKS]. A document that is not a set
// with at least one such key changes nothing; before the first good one, tokens
// are refused with AUTH_KEYS_UNAVAILABLE.
func LocalJWKS(document func() []byte) KeySource {
	return &localJWKS{document: document}
}

type localJWKS struct {
	document func() []byte
	mu       sync.Mutex // one reading at a time
	state    atomic.Pointer[localState]
}

// localState is what came of the document that was seen last.
type localState struct {
	seen string
	set  *keySet // of the last good document, which may be an earlier one; may be nil
	err  error   // why seen is not good
}

func (s *localJWKS) check() error {
	if s.document == nil {
		return errors.New("LocalJWKS needs a function")
	}
	return nil
}

func (s *localJWKS) allows(alg *algorithm) bool { return alg.public() }

func (s *localJWKS) snapshot(time.Time) *keySet { return s.current().set }

func (s *localJWKS) lookup(context.Context, time.Time, string) (*keySet, error) {
	state := s.current()
	if state.set == nil {
		return nil, &jwterrors.Error{Reason: jwterrors.KeysUnavailable, Err: state.err}
	}
	return state.set, nil
}

func (s *localJWKS) inspect(time.Time) KeyState {
	current := s.current()
	state := KeyState{Err: current.err}
	if current.set != nil {
		state.Keys = len(current.set.keys)
	}
	return state
}

func (s *localJWKS) current() *localState {
	document := s.document()
	if state := s.state.Load(); state != nil && state.seen == string(document) {
		return state
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.state.Load()
	if last != nil && last.seen == string(document) {
		return last
	}
	next := &localState{seen: string(document)}
	if next.set, next.err = parseKeySet([]byte(next.seen), "RS256"); next.err != nil && last != nil {
		next.set = last.set
	}
	s.state.Store(next)
	return next
}
