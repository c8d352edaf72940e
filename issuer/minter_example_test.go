package issuer_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

func ExampleNewMinter() {
	minter, err := issuer.NewMinter(issuer.MinterConfig{
		Secrets: [][]byte{[]byte("the secret of the API key, from the configuration")},
		TTL:     time.Hour,
	})
	fmt.Println(minter, err)
	// Output: issuer.Minter(HS256) <nil>
}

func ExampleNewMinter_incorrect() {
	_, err := issuer.NewMinter(issuer.MinterConfig{
		Secrets: [][]byte{[]byte("password")},
		TTL:     365 * 24 * time.Hour,
		Claims:  map[string]any{"email": "user@example.com"},
	})
	fmt.Println(err)
	// Output:
	// issuer: MinterConfig.Secrets[0] has 8 bytes; it needs at least 32
	// issuer: MinterConfig.TTL is 8760h0m0s; it must be less than a year
	// issuer: MinterConfig.Claims: "email" is set by the Minter, or by nobody
}

// The route that calls Mint knows who its user is: it stands behind a login.
func ExampleMinter_Mint() {
	minter, err := issuer.NewMinter(issuer.MinterConfig{
		Secrets: [][]byte{[]byte("the secret of the API key, from the configuration")},
		TTL:     24 * time.Hour,
		Reuse:   12 * time.Hour,
		Now:     func() time.Time { return time.Unix(1640000000, 0) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := minter.Mint(context.Background(), issuer.Email("user@example.com"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, part := range strings.Split(token, ".")[:2] {
		text, _ := base64.RawURLEncoding.DecodeString(part)
		fmt.Println(string(text))
	}
	again, err := minter.Mint(context.Background(), issuer.Email("user@example.com"))
	fmt.Println(again == token, err)
	// Output:
	// {"alg":"HS256","typ":"JWT"}
	// {"email":"user@example.com","iat":1640000000,"exp":1640086400}
	// true <nil>
}

func ExampleUserID() {
	minter, err := issuer.NewMinter(issuer.MinterConfig{Secrets: [][]byte{[]byte("the secret of the API key, from the configuration")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = minter.Mint(context.Background(), issuer.UserID(""))
	fmt.Println(err != nil)
	// Output: true
}
