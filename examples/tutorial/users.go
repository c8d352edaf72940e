package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
)

// The tables of the app, beside those of the sessions. Both databases know this
// form, and $1 for an argument.
const tables = `
CREATE TABLE IF NOT EXISTS tutorial_users (
	username VARCHAR(64) NOT NULL PRIMARY KEY,
	password VARCHAR(255) NOT NULL -- a hash
);
CREATE TABLE IF NOT EXISTS tutorial_activities (
	at BIGINT NOT NULL, -- microseconds since 1970
	username VARCHAR(64) NOT NULL,
	action VARCHAR(16) NOT NULL
)`

// users are who signed up.
type users struct {
	db           *sql.DB
	hasher       *password.Hasher
	check        *password.Authenticator
	tellAccounts bool
}

func newUsers(ctx context.Context, db *sql.DB, tellAccounts bool) (*users, error) {
	for table := range strings.SplitSeq(tables, ";") {
		if _, err := db.ExecContext(ctx, table); err != nil {
			return nil, err
		}
	}
	u := &users{db: db, tellAccounts: tellAccounts}
	var err error
	if u.hasher, err = password.New(password.Config{Algorithm: password.Bcrypt}); err != nil { // of cost 12
		return nil, err
	}
	u.check, err = password.NewAuthenticator(password.AuthenticatorConfig{Hasher: u.hasher, Lookup: u.lookup})
	return u, err
}

// hash returns "" for nobody.
func (u *users) hash(ctx context.Context, username string) (hash string, err error) {
	err = u.db.QueryRowContext(ctx, `SELECT password FROM tutorial_users WHERE username = $1`, username).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return hash, err
}

func (u *users) lookup(ctx context.Context, c issuer.Credentials) (password.Account, error) {
	hash, err := u.hash(ctx, c.Username)
	if err != nil || hash == "" {
		return password.Account{}, err
	}
	return password.Account{User: issuer.User{ID: c.Username}, Hash: hash}, nil
}

// authenticate trims the password, as register does.
func (u *users) authenticate(ctx context.Context, c issuer.Credentials) (issuer.User, error) {
	c.Password = strings.TrimSpace(c.Password)
	user, err := u.check.Authenticate(ctx, c)
	if u.tellAccounts && jwterrors.ReasonOf(err) == jwterrors.CredentialsInvalid {
		message := "Your password is incorrect."
		if hash, lookupErr := u.hash(ctx, c.Username); lookupErr == nil && hash == "" {
			message = "No matching user."
		}
		err = &jwterrors.Error{Reason: jwterrors.CredentialsInvalid, Message: message, Err: err}
	}
	return user, err
}

func (u *users) register(ctx context.Context, r issuer.Registration) (issuer.User, error) {
	if r.Username == "" || len(r.Username) > 64 {
		return issuer.User{}, jwterrors.RequestInvalid
	}
	hash, err := u.hasher.Hash(ctx, strings.TrimSpace(r.Password))
	switch {
	case errors.Is(err, password.ErrTooShort), errors.Is(err, password.ErrTooLong), errors.Is(err, password.ErrNUL):
		return issuer.User{}, &jwterrors.Error{Reason: jwterrors.RequestInvalid, Message: "The password needs 8 characters at least, and 72 bytes at most."}
	case err != nil:
		return issuer.User{}, err
	}
	result, err := u.db.ExecContext(ctx, `INSERT INTO tutorial_users (username, password) VALUES ($1, $2) ON CONFLICT DO NOTHING`, r.Username, hash)
	if err != nil {
		return issuer.User{}, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return issuer.User{}, errors.Join(err, jwterrors.UserExists)
	}
	return issuer.User{ID: r.Username}, nil
}

// all returns everybody's name.
func (u *users) all(ctx context.Context) ([]string, error) {
	rows, err := u.db.QueryContext(ctx, `SELECT username FROM tutorial_users ORDER BY username`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// logActivity keeps who signed up and logged in.
func (u *users) logActivity(e issuer.Event) {
	if e.Kind != issuer.EventSignup && e.Kind != issuer.EventLogin {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := u.db.ExecContext(ctx, `INSERT INTO tutorial_activities (at, username, action) VALUES ($1, $2, $3)`, e.Time.UnixMicro(), e.Subject, string(e.Kind))
	if err != nil {
		slog.Warn("an activity is not logged", "err", err)
	}
}
