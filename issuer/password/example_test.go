package password_test

import (
	"context"
	"errors"
	"fmt"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
)

func ExampleNew() {
	hasher, err := password.New(password.Config{})
	fmt.Println(hasher, err)
	// Output: password.Hasher(argon2id, m=19456,t=2,p=1) <nil>
}

func ExampleNew_incorrect() {
	_, err := password.New(password.Config{Algorithm: password.Bcrypt, Cost: 4, MinLength: 4})
	fmt.Println(err)
	// Output:
	// password: Cost is 4; it is 10 to 14
	// password: MinLength is 4; it is 8 to 64
}

func ExampleHasher_Hash() {
	hasher, err := password.New(password.Config{Algorithm: password.Bcrypt, Cost: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	encoded, err := hasher.Hash(context.Background(), "correct horse battery staple")
	fmt.Println(encoded[:7], len(encoded), err)

	_, err = hasher.Hash(context.Background(), "horse")
	var e *jwterrors.Error
	fmt.Println(errors.Is(err, password.ErrTooShort), errors.As(err, &e), e.Message)
	// Output:
	// $2a$10$ 60 <nil>
	// true true The password needs at least 8 characters.
}

func ExampleHasher_Verify() {
	hasher, err := password.New(password.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	stored := "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW" // of another system
	fmt.Println(hasher.Verify(ctx, stored, "U*U"))
	fmt.Println(hasher.Verify(ctx, stored, "U*V"))
	fmt.Println(hasher.Verify(ctx, "", "U*U")) // there is no such user
	// Output:
	// true <nil>
	// false AUTH_CREDENTIALS_INVALID
	// false AUTH_CREDENTIALS_INVALID
}

func ExampleHasher_Rehash() {
	hasher, err := password.New(password.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	stored := "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	if rehash, err := hasher.Verify(ctx, stored, "U*U"); err == nil && rehash {
		stored, err = hasher.Rehash(ctx, "U*U")
		fmt.Println(stored[:30], err)
	}
	fmt.Println(hasher.Verify(ctx, stored, "U*U"))
	// Output:
	// $argon2id$v=19$m=19456,t=2,p=1 <nil>
	// false <nil>
}

func ExampleHasher_Format() {
	hasher, err := password.New(password.Config{Algorithm: password.Bcrypt})
	fmt.Println(hasher, err)
	// Output: password.Hasher(bcrypt, cost 12) <nil>
}

func ExampleAccount_Format() {
	fmt.Println(password.Account{User: issuer.User{ID: "4711"}, Hash: "$2a$12$..."})
	// Output: account of 4711
}

func ExampleNewAuthenticator() {
	hasher, err := password.New(password.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	table := map[string]password.Account{ // of a database
		"alice": {User: issuer.User{ID: "4711"}, Hash: "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	}
	users, err := password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: hasher,
		Lookup: func(_ context.Context, c issuer.Credentials) (password.Account, error) {
			return table[c.Username], nil // the zero Account if there is none
		},
		Update: func(_ context.Context, id, old, next string) error {
			fmt.Println("UPDATE users SET hash =", next[:9], "WHERE id =", id, "AND hash =", old[:6])
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	config := issuer.Config{Authenticate: users.Authenticate} // and more
	_, err = config.Authenticate(context.Background(), issuer.Credentials{Username: "bob", Password: "U*U"})
	fmt.Println(err)
	user, err := config.Authenticate(context.Background(), issuer.Credentials{Username: "alice", Password: "U*U"})
	fmt.Println(user.ID, err)
	// Output:
	// AUTH_CREDENTIALS_INVALID
	// UPDATE users SET hash = $argon2id WHERE id = 4711 AND hash = $2y$05
	// 4711 <nil>
}

func ExampleAuthenticator_Authenticate() {
	hasher, err := password.New(password.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	users, err := password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: hasher,
		Lookup: func(context.Context, issuer.Credentials) (password.Account, error) {
			return password.Account{}, errors.New("the database does not answer")
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = users.Authenticate(context.Background(), issuer.Credentials{Username: "alice", Password: "U*U"})
	fmt.Println(err)
	// Output: AUTH_STORE_UNAVAILABLE: password: look up the user: the database does not answer
}
