package keyring

import (
	"context"
	"errors"
	"fmt"

	gokeyring "github.com/zalando/go-keyring"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// maxBytes is how much a Store puts into the keychain, in bytes of what
// refresher.EncodeTokens returns: as much as that of Windows takes.
const maxBytes = 2560

// Config says where a Store keeps the tokens of one session. Service, User and
// File are required.
type Config struct {
	// Service is the name of the program, and User says whose tokens they are.
	// Together they name the entry in the keychain; both can be seen there.
	Service, User string

	// File is a path as refresher.NewFileStore takes it, one for each entry. Beside it
	// lies the lock, since a keychain has none. The file itself is used with
	// FallbackToFile only.
	File string

	// FallbackToFile keeps the tokens in File, not encrypted, where no keychain
	// answers. One that has not answered when the context of Open ends counts as
	// none: it may be waiting for the user's password.
	FallbackToFile bool
}

// A Store is a refresher.Store in the operating system's keychain. It is safe for
// concurrent use.
//
// A keychain may ask the user for a password and answer only after that. A
// method whose context ends earlier returns; what it has asked for may still
// happen, before anything that is asked of the same Store later.
type Store struct {
	service, user string
	file          *refresher.FileStore
	mayFallBack   bool
	fallback      error         // why the file was in use when the Store was opened
	absent        bool          // no keychain has answered then
	turn          chan struct{} // has one place, taken while the keychain is asked
}

// Open returns the Store that config describes, once the keychain has answered.
// Where none does, the error has the reason AUTH_STORE_UNAVAILABLE, unless
// FallbackToFile is set.
func Open(ctx context.Context, config Config) (*Store, error) {
	var mistakes []error
	if config.Service == "" {
		mistakes = append(mistakes, errors.New("keyring: Service is empty"))
	}
	if config.User == "" {
		mistakes = append(mistakes, errors.New("keyring: User is empty"))
	}
	file, err := refresher.NewFileStore(config.File)
	if err != nil {
		mistakes = append(mistakes, fmt.Errorf("keyring: File: %w", err))
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	s := &Store{
		service: config.Service, user: config.User, file: file, mayFallBack: config.FallbackToFile, turn: make(chan struct{}, 1),
	}
	switch _, _, err := s.get(ctx); {
	case err == nil:
	case !s.mayFallBack:
		return nil, &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: err}
	default:
		s.absent, s.fallback = true, err
		return s, nil
	}
	switch used, err := s.usesFile(ctx); {
	case err != nil:
		s.fallback = err
	case used:
		s.fallback = errInFile
	}
	return s, nil
}

var (
	errInFile   = errors.New("keyring: the tokens were saved to the file when no keychain answered, and are kept there")
	errPanicked = errors.New("keyring: a panic or Goexit while the keychain was asked")
)

// Fallback returns why tokens are kept in the file, as it was when s was opened,
// and nil when they are in the keychain.
func (s *Store) Fallback() error { return s.fallback }

// Load returns the saved tokens.
func (s *Store) Load(ctx context.Context) (refresher.Tokens, error) {
	if s.mayFallBack {
		if tokens, err := s.file.Load(ctx); err != nil || !tokens.IsZero() {
			return tokens, err
		}
	}
	data, found, err := s.get(ctx)
	switch {
	case err != nil && s.absent: // where nothing was to be had, nothing has been put
		return refresher.Tokens{}, nil
	case err != nil:
		return refresher.Tokens{}, err
	case !found:
		return refresher.Tokens{}, nil
	}
	tokens, err := refresher.DecodeTokens([]byte(data))
	if err != nil {
		return refresher.Tokens{}, fmt.Errorf("keyring: the entry holds no tokens that can be used: delete it or log in again (%w)", err)
	}
	return tokens, nil
}

// Save replaces the tokens.
func (s *Store) Save(ctx context.Context, tokens refresher.Tokens) error {
	if used, err := s.usesFile(ctx); used || err != nil {
		return s.file.Save(ctx, tokens) // also over a file that cannot be read
	}
	err := s.set(ctx, tokens)
	if err != nil && s.absent {
		return s.file.Save(ctx, tokens)
	}
	return err
}

// Clear deletes the tokens, wherever they are.
func (s *Store) Clear(ctx context.Context) error {
	err := s.ask(ctx, func() error { return gokeyring.Delete(s.service, s.user) })
	if errors.Is(err, gokeyring.ErrNotFound) || s.absent {
		err = nil
	}
	if s.mayFallBack {
		err = errors.Join(s.file.Clear(ctx), err)
	}
	return err
}

// Lock takes the lock beside Config.File.
func (s *Store) Lock(ctx context.Context) (unlock func(), err error) { return s.file.Lock(ctx) }

// usesFile reports whether the file has tokens: then they are the newest, and
// all who share the store go on with the file.
func (s *Store) usesFile(ctx context.Context) (bool, error) {
	if !s.mayFallBack {
		return false, nil
	}
	tokens, err := s.file.Load(ctx)
	return !tokens.IsZero(), err
}

// get returns what the entry holds, and whether there is one.
func (s *Store) get(ctx context.Context) (data string, found bool, err error) {
	var got string
	err = s.ask(ctx, func() (err error) {
		got, err = gokeyring.Get(s.service, s.user)
		return err
	})
	switch {
	case errors.Is(err, gokeyring.ErrNotFound):
		return "", false, nil
	case err != nil: // got may still be written to
		return "", false, fmt.Errorf("keyring: read the keychain: %w", err)
	}
	return got, true, nil
}

func (s *Store) set(ctx context.Context, tokens refresher.Tokens) error {
	data, err := refresher.EncodeTokens(tokens)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	if len(data) > maxBytes {
		return fmt.Errorf("keyring: the tokens take %d bytes and a keychain no more than %d: use a refresher.SplitStore, "+
			"so that only the refresh token is kept here", len(data), maxBytes)
	}
	if err := s.ask(ctx, func() error { return gokeyring.Set(s.service, s.user, string(data)) }); err != nil {
		return fmt.Errorf("keyring: write the keychain: %w", err)
	}
	return nil
}

// ask calls fn, which asks the keychain, when nobody else of s is asking. It
// leaves fn alone when ctx ends.
func (s *Store) ask(ctx context.Context, fn func() error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	answered := make(chan error, 1)
	go func() {
		err := errPanicked
		defer func() {
			_ = recover() // its value may hold a secret
			<-s.turn
			answered <- err
		}()
		err = fn()
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
