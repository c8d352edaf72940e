package password

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// An Account is a user with what is needed to log in.
type Account struct {
	// User is who logs in with the right password.
	User issuer.User

	// Hash is what Hash of a Hasher returned. Empty means that the user cannot
	// log in with a password.
	Hash string `json:"-"`

	// Locked refuses the right password like a wrong one.
	Locked bool
}

func (a Account) text() string { return "account of " + a.User.ID }

// Format names the user and hides the hash, for every verb and flag.
func (a Account) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(a.text())) }

// LogValue returns what Format writes.
func (a Account) LogValue() slog.Value { return slog.StringValue(a.text()) }

// An AuthenticatorConfig describes an Authenticator. Hasher and Lookup are
// required.
type AuthenticatorConfig struct {
	Hasher *Hasher

	// Lookup returns the account that c names; the Password of c is empty. It
	// returns the zero Account, or an error with the reason
	// CredentialsInvalid, if there is none. Another reason, such as
	// RateLimited, is answered as it is, and an error without a reason as
	// StoreUnavailable. It should take as long whether there is one or not.
	Lookup func(ctx context.Context, c issuer.Credentials) (Account, error)

	// Update is called after a login whose hash should be renewed. It sets the
	// hash of the user with the ID to next if it is still old, in one atomic
	// step, as in UPDATE ... WHERE id = ? AND hash = ?: the user may have a new
	// password by now. A hash that is not old any more is no error. Whatever
	// goes wrong is logged, and the login succeeds. Nil means that hashes are
	// not renewed.
	Update func(ctx context.Context, id, old, next string) error

	// Logger gets a record of hashes that cannot be used or renewed. Nil means
	// slog.Default.
	Logger *slog.Logger
}

// An Authenticator tells by their passwords who users are. It is safe for
// concurrent use, as far as the functions of its Config are.
type Authenticator struct{ c AuthenticatorConfig }

// NewAuthenticator checks c and returns its Authenticator, or all the mistakes in
// c at once.
func NewAuthenticator(c AuthenticatorConfig) (*Authenticator, error) {
	var mistakes []error
	if c.Hasher == nil {
		mistakes = append(mistakes, errors.New("password: Hasher is required"))
	}
	if c.Lookup == nil {
		mistakes = append(mistakes, errors.New("password: Lookup is required"))
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Authenticator{c}, nil
}

// Authenticate is for the Authenticate of an issuer.Config. An unknown user, a
// wrong password, a locked account, one without a password and one whose hash
// cannot be used are all refused with CredentialsInvalid after the same work.
func (a *Authenticator) Authenticate(ctx context.Context, c issuer.Credentials) (issuer.User, error) {
	password := c.Password
	c.Password = ""
	account, err := a.c.Lookup(ctx, c)
	var reason jwterrors.Reason
	switch {
	case err == nil:
	case !errors.As(err, &reason):
		return issuer.User{}, &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: fmt.Errorf("password: look up the user: %w", err)}
	case reason == jwterrors.CredentialsInvalid:
		account = Account{}
	default:
		return issuer.User{}, err
	}
	rehash, err := a.c.Hasher.Verify(ctx, account.Hash, password)
	switch {
	case errors.Is(err, ErrHash):
		a.c.Logger.ErrorContext(ctx, "password: a user cannot log in", "sub", account.User.ID, "err", err)
		return issuer.User{}, jwterrors.CredentialsInvalid
	case err != nil:
		return issuer.User{}, err
	case account.Locked:
		return issuer.User{}, jwterrors.CredentialsInvalid
	}
	if rehash && a.c.Update != nil {
		a.renew(ctx, account, password)
	}
	return account.User, nil
}

// renew replaces the hash of an account by a new one of password.
func (a *Authenticator) renew(ctx context.Context, account Account, password string) {
	failed := func(what string) {
		a.c.Logger.WarnContext(ctx, "password: a hash was not renewed", "sub", account.User.ID, "err", what)
	}
	defer func() {
		if p := recover(); p != nil {
			failed(fmt.Sprintf("Update panicked with a %T", p))
		}
	}()
	next, err := a.c.Hasher.Rehash(ctx, password)
	if err != nil {
		failed(err.Error())
		return
	}
	if err := a.c.Update(ctx, account.User.ID, account.Hash, next); err != nil {
		// A store may quote the row that it could not write.
		failed(strings.NewReplacer(account.Hash, "[hash]", next, "[hash]", password, "[password]").Replace(err.Error()))
	}
}
