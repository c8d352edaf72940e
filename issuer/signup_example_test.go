package issuer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func ExampleRegistration() {
	config := exampleConfig()
	users := map[string]string{"alice": "Alice"} // and hashes of passwords, in a database
	config.Register = func(_ context.Context, r issuer.Registration) (issuer.User, error) {
		var name string
		if err := json.Unmarshal(r.Fields["name"], &name); err != nil || name == "" {
			return issuer.User{}, &jwterrors.Error{Reason: jwterrors.RequestInvalid, Message: "A name is missing."}
		}
		if _, taken := users[r.Username]; taken {
			return issuer.User{}, jwterrors.UserExists
		}
		users[r.Username] = name
		return issuer.User{ID: r.Username, Scopes: []string{"orders:read"}}, nil
	}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	status, tokens := post(iss, "/auth/signup", `{"username":"carol","password":"a long password","name":"Carol"}`)
	fmt.Println(status, tokens["token_type"], tokens["scope"])
	status, refused := post(iss, "/auth/signup", `{"username":"alice","password":"a long password","name":"Alice"}`)
	fmt.Println(status, refused["reason"])
	status, refused = post(iss, "/auth/signup", `{"username":"bob","password":"a long password"}`)
	fmt.Println(status, refused["detail"])
	// Output:
	// 201 Bearer orders:read
	// 409 AUTH_USER_EXISTS
	// 400 A name is missing.
}

// Where nobody is to find out who has an account, all signups are answered alike.
func Example_errSignupPending() {
	config := exampleConfig()
	config.Register = func(_ context.Context, r issuer.Registration) (issuer.User, error) {
		// Write to r.Email, in the background: a link to go on, or, if there is
		// such an account, that somebody tried to make another one.
		return issuer.User{}, issuer.ErrSignupPending
	}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(post(iss, "/auth/signup", `{"email":"alice@example.com","password":"a long password"}`))
	// Output: 202 map[]
}

func ExampleRoutes() {
	config := exampleConfig()
	config.Routes = issuer.Routes{Login: "/v1/sign-in", Sessions: issuer.RouteOff}
	config.Names = issuer.Names{Username: "user"}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	status, _ := post(iss, "/auth/v1/sign-in", `{"user":"alice","password":"correct horse battery staple"}`)
	fmt.Println(status)
	status, _ = post(iss, "/auth/login", exampleLogin)
	fmt.Println(status)
	// Output:
	// 200
	// 404
}

func ExampleTokens() {
	config := exampleConfig()
	config.Encode = func(_ string, t issuer.Tokens) any {
		slog.New(slog.DiscardHandler).Info("answered", "tokens", t) // shows none
		return map[string]any{"ok": true, "access": t.AccessToken, "refresh": t.RefreshToken}
	}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, answer := post(iss, "/auth/login", exampleLogin)
	fmt.Println(answer["ok"], answer["access"] != "", len(answer))
	// Output: true true 3
}

// A client that never learns its new refresh token presents the old one again,
// and is taken for a thief.
func ExampleTokens_incorrect() {
	config := exampleConfig()
	config.Encode = func(route string, t issuer.Tokens) any {
		if route == "refresh" {
			return map[string]any{"authToken": t.AccessToken}
		}
		return t
	}
	_, err := issuer.New(config)
	fmt.Println(err)
	// Output: issuer: Encode leaves out the refresh token of a refresh; a client that keeps the old one loses its session, unless InsecureNoRotation is set
}
