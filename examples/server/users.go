package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

// The user that is there from the start.
const (
	userName     = "alice"
	userPassword = "correct horse battery staple"
)

// accounts keep the hash of each user's password by the user's name.
type accounts interface {
	// add adds a user. A name that is taken is a jwterrors.UserExists.
	add(ctx context.Context, name, hash string) error
	// hash returns "" for a name that is nobody's.
	hash(ctx context.Context, name string) (string, error)
}

// users sign up and log in.
type users struct {
	accounts accounts
	hasher   *password.Hasher
	*password.Authenticator
}

// newUsers returns the users in accounts, alice among them.
func newUsers(ctx context.Context, accounts accounts, log *slog.Logger) (*users, error) {
	hasher, err := password.New(password.Config{})
	if err != nil {
		return nil, err
	}
	hash, err := hasher.Hash(ctx, userPassword)
	if err != nil {
		return nil, err
	}
	if err := accounts.add(ctx, userName, hash); err != nil && !errors.Is(err, jwterrors.UserExists) {
		return nil, err
	}
	u := &users{accounts: accounts, hasher: hasher}
	u.Authenticator, err = password.NewAuthenticator(password.AuthenticatorConfig{Hasher: hasher, Logger: log, Lookup: u.lookup})
	return u, err
}

// user is what a user of this server may do.
func user(name string) issuer.User {
	return issuer.User{ID: name, Scopes: scopes}
}

func (u *users) lookup(ctx context.Context, c issuer.Credentials) (password.Account, error) {
	if !isName(c.Username) {
		return password.Account{}, nil
	}
	hash, err := u.accounts.hash(ctx, c.Username)
	if err != nil || hash == "" {
		return password.Account{}, err
	}
	return password.Account{User: user(c.Username), Hash: hash}, nil
}

// Register adds a user. It says that a name is taken, since it is its user's ID.
func (u *users) Register(ctx context.Context, r issuer.Registration) (issuer.User, error) {
	if !isName(r.Username) || r.Email != "" {
		return issuer.User{}, &jwterrors.Error{
			Reason:  jwterrors.RequestInvalid,
			Message: "A signup has a username of 1 to 64 small letters, digits, dots, hyphens and underscores, and no email.",
		}
	}
	for _, c := range clients() {
		if r.Username == c.ID { // a client is the subject of its own tokens
			return issuer.User{}, jwterrors.UserExists
		}
	}
	hash, err := u.hasher.Hash(ctx, r.Password)
	if err != nil {
		return issuer.User{}, err
	}
	if err := u.accounts.add(ctx, r.Username, hash); err != nil {
		return issuer.User{}, err
	}
	return user(r.Username), nil
}

// isName reports whether s can be a user's name: one that every database compares
// in one way.
func isName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune(".-_", c))
	})
}

// memoryAccounts end with the process.
type memoryAccounts struct {
	mu     sync.Mutex
	hashes map[string]string
}

func newMemoryAccounts() *memoryAccounts { return &memoryAccounts{hashes: map[string]string{}} }

func (m *memoryAccounts) add(_ context.Context, name, hash string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hashes[name] != "" {
		return jwterrors.UserExists
	}
	m.hashes[name] = hash
	return nil
}

func (m *memoryAccounts) hash(_ context.Context, name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hashes[name], nil
}

// sqlAccounts are in a table beside the sessions.
type sqlAccounts struct {
	db             *sql.DB
	insert, lookup string
}

func newSQLAccounts(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect) (*sqlAccounts, error) {
	const table = `CREATE TABLE IF NOT EXISTS server_users (name VARCHAR(64) NOT NULL PRIMARY KEY, hash VARCHAR(255) NOT NULL)`
	_, err := db.ExecContext(ctx, table)
	if err != nil { // PostgreSQL says so to one of two that make it at once
		_, err = db.ExecContext(ctx, table)
	}
	a := &sqlAccounts{db: db, insert: `INSERT INTO server_users (name, hash) VALUES (?, ?)`, lookup: `SELECT hash FROM server_users WHERE name = ?`}
	if dialect == sqlstore.PostgreSQL {
		a.insert, a.lookup = `INSERT INTO server_users (name, hash) VALUES ($1, $2)`, `SELECT hash FROM server_users WHERE name = $1`
	}
	return a, err
}

func (a *sqlAccounts) add(ctx context.Context, name, hash string) error {
	_, err := a.db.ExecContext(ctx, a.insert, name, hash)
	if err == nil {
		return nil
	}
	if there, e := a.hash(ctx, name); e == nil && there != "" {
		return jwterrors.UserExists
	}
	return err
}

func (a *sqlAccounts) hash(ctx context.Context, name string) (hash string, err error) {
	err = a.db.QueryRowContext(ctx, a.lookup, name).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return hash, err
}
