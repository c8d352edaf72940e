package refresher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A SplitStore keeps the access token in one Store and the rest in another:
// Access gets the access token with its type and expiry, Secure the refresh
// token and all that belongs to it. Secure may be a keychain that takes little,
// as in the module refresher/keyring, and Access a FileStore. The lock is that
// of Secure.
//
// Of the two saves the second may be lost. Access therefore notes, as a digest,
// which refresh token its token came with, and a token that came with another is
// not used. Then there is only the refresh token, and the Transport refreshes
// before it sends anything. Secure has the owner of the refresh token as well, by
// which a process tells a refresh of its session from the login of another user.
// A session without a refresh token is kept by Access alone.
//
// Where Access is nil the access token is kept in memory: each process begins
// with a refresh, and so does each of several processes that share Secure
// whenever another has refreshed.
type SplitStore struct {
	Secure Store // required
	Access Store

	memory MemoryStore
}

var errNoSecure = errors.New("refresher: a SplitStore has no Secure")

// pairPrefix begins the retry key of what Access has, which is none.
const pairPrefix = "pair-sha256:"

// pair returns what tells the refresh token and the retry key of tokens from all
// others, and says nothing about them.
func pair(tokens Tokens) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(tokens.RefreshToken), tokens.RefreshToken, tokens.RetryKey))
	return pairPrefix + hex.EncodeToString(sum[:])
}

func (s *SplitStore) access() Store {
	if s.Access == nil {
		return &s.memory
	}
	return s.Access
}

// Load returns the tokens of both. An Access that cannot be read counts as one
// without a token, unless there is nothing in Secure either.
func (s *SplitStore) Load(ctx context.Context) (Tokens, error) {
	if s.Secure == nil {
		return Tokens{}, errNoSecure
	}
	tokens, err := s.Secure.Load(ctx)
	if err != nil {
		return Tokens{}, err
	}
	access, err := s.access().Load(ctx)
	paired := strings.HasPrefix(access.RetryKey, pairPrefix)
	switch {
	case tokens.IsZero() && err == nil && !paired:
		return access, nil
	case tokens.IsZero():
		return Tokens{}, err
	case err == nil && access.RetryKey == pair(tokens):
		tokens.AccessToken, tokens.TokenType, tokens.Expiry = access.AccessToken, access.TokenType, access.Expiry
	}
	return tokens, nil
}

// Save saves to Secure first.
func (s *SplitStore) Save(ctx context.Context, tokens Tokens) error {
	switch {
	case s.Secure == nil:
		return errNoSecure
	case tokens.RefreshToken == "":
		if err := s.Secure.Clear(ctx); err != nil {
			return err
		}
		return s.access().Save(ctx, tokens)
	}
	secure := tokens
	secure.AccessToken, secure.TokenType, secure.Expiry = "", "", time.Time{}
	if err := s.Secure.Save(ctx, secure); err != nil {
		return err
	}
	if tokens.AccessToken == "" {
		return s.access().Clear(ctx)
	}
	return s.access().Save(ctx, Tokens{
		AccessToken: tokens.AccessToken, TokenType: tokens.TokenType, Expiry: tokens.Expiry, RetryKey: pair(tokens),
	})
}

// Clear clears Secure first, and Access also when that fails.
func (s *SplitStore) Clear(ctx context.Context) error {
	if s.Secure == nil {
		return errNoSecure
	}
	return errors.Join(s.Secure.Clear(ctx), s.access().Clear(ctx))
}

// Lock takes the lock of Secure.
func (s *SplitStore) Lock(ctx context.Context) (unlock func(), err error) {
	if s.Secure == nil {
		return nil, errNoSecure
	}
	return s.Secure.Lock(ctx)
}
