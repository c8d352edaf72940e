package password_test

import (
	"context"
	"errors"
	"fmt"

	jwterrors "github.com/tokenloop/tokenloop/errors"
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

func ExampleHasher_String() {
	hasher, err := password.New(password.Config{Algorithm: password.Bcrypt})
	fmt.Println(hasher, err)
	// Output: password.Hasher(bcrypt, cost 12) <nil>
}
