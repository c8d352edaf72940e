package refresher

import (
	"context"
	"sync"
)

// A Store keeps the tokens of one session. Transports, in one process or in
// several, that share a Store share the session: one refreshes, the others take
// over what it saved.
//
// The methods are called from several goroutines. They should return soon after
// ctx is done. A panic in one counts as its failure. What is said here can be
// tested by the package storetest.
type Store interface {
	// Load returns the saved tokens, or zero Tokens when there are none. A
	// store from which the tokens are gone means that the session was ended
	// elsewhere; a store that cannot be read returns an error instead.
	Load(ctx context.Context) (Tokens, error)

	// Save replaces the tokens by these, whole or not at all; of a save that
	// was cut short the access token may be missing, not more. When it fails,
	// the Transport uses the tokens all the same and saves them later: after
	// growing waits, as many as a refresh has, then with the requests that
	// come, unless somebody else has saved other tokens by then.
	Save(ctx context.Context, tokens Tokens) error

	// Clear deletes the tokens. To have none is no error. After a verdict of
	// the server it is called with the lock held and if the tokens are still
	// those that the verdict was about.
	Clear(ctx context.Context) error

	// Lock waits until nobody else who shares the store holds the lock, and
	// takes it. It is held while tokens are read, refreshed and saved. The
	// lock of a process that died must come free. Load, Save and Clear do
	// not take it themselves.
	Lock(ctx context.Context) (unlock func(), err error)
}

// A MemoryStore keeps tokens for as long as the process lives. The zero value
// is ready to use. It may be shared by several Transports.
type MemoryStore struct {
	mu     sync.Mutex
	tokens Tokens
	held   chan struct{} // has one place, taken while the lock is held
}

// Load returns the saved tokens.
func (s *MemoryStore) Load(context.Context) (Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens, nil
}

// Save keeps tokens.
func (s *MemoryStore) Save(_ context.Context, tokens Tokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = tokens
	s.tokens.outcome, s.tokens.lent = nil, nil
	return nil
}

// Clear forgets the tokens.
func (s *MemoryStore) Clear(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = Tokens{}
	return nil
}

// Lock takes the lock, or returns the cause of ctx.
func (s *MemoryStore) Lock(ctx context.Context) (unlock func(), err error) {
	s.mu.Lock()
	if s.held == nil {
		s.held = make(chan struct{}, 1)
	}
	held := s.held
	s.mu.Unlock()
	select {
	case held <- struct{}{}:
		return sync.OnceFunc(func() { <-held }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
