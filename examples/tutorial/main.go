// Command tutorial is a server in the wire format of a well-known tutorial, which
// mobile apps in the field still speak: POST /signup, /login and /refreshToken
// with {"success", "authToken", "refreshToken"}, and refusals with
// {"success", "message", "code"}. All of it is configuration.
//
//	go run ./examples/tutorial -addr 127.0.0.1:8080
//
// In one thing it is not the tutorial: an unknown user and a wrong password have
// one message, since two tell who has an account.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
	"github.com/tokenloop/tokenloop/middleware"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	flag.Parse()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := newServer("http://" + listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on http://" + listener.Addr().String())
	log.Fatal(http.Serve(listener, handler))
}

func newServer(url string) (http.Handler, error) {
	users, err := newUsers()
	if err != nil {
		return nil, err
	}
	key, err := issuer.GenerateKey(issuer.ES256) // a real service has both from its configuration
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32)
	rand.Read(master)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		return nil, err
	}
	iss, err := issuer.New(issuer.Config{
		Issuer: url, Audience: []string{"app"}, Keys: ring, Store: issuer.NewMemoryStore(),
		MasterKeys:   []issuer.MasterKey{{Secret: master}},
		Authenticate: users.authenticate, Register: users.register,

		// The wire format.
		Prefix: "/",
		Routes: issuer.Routes{Refresh: "/refreshToken", Sessions: issuer.RouteOff},
		Encode: encode, Respond: respond,
		// The client keeps the refresh token of its login, which a refresh does
		// not answer. Clients that can store another one should get it: drop
		// this, and the case in encode.
		InsecureNoRotation: true,
	})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(iss.JWKS), Issuer: url, Audience: []string{"app"}, Respond: respond,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/signup", "/login", "/refreshToken", "/logout"} {
		mux.Handle(path, iss)
	}
	mux.Handle("/", auth.Handler(http.HandlerFunc(profile))) // everything else wants a token
	return mux, nil
}

// profile is what the app shows when somebody is logged in.
func profile(w http.ResponseWriter, r *http.Request) {
	claims, _ := middleware.FromContext(r.Context())
	write(w, http.StatusOK, map[string]any{"success": true, "username": claims.Subject})
}

// encode is the form of an answer with tokens.
func encode(kind issuer.AnswerKind, t issuer.Tokens) any {
	answer := struct {
		Success      bool   `json:"success"`
		AuthToken    string `json:"authToken"`
		RefreshToken string `json:"refreshToken,omitempty"`
	}{true, t.AccessToken, t.RefreshToken}
	if kind == issuer.AnswerRefresh {
		answer.RefreshToken = ""
	}
	return answer
}

// respond is the form of a refusal. Those that the app acts on have a code and the
// status 403; the others have a message, and 400.
func respond(w http.ResponseWriter, r *http.Request, err error) {
	answer := struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		Code    string `json:"code,omitempty"`
	}{}
	status := http.StatusBadRequest
	var e *jwterrors.Error
	switch reason := jwterrors.ReasonOf(err); {
	case reason == jwterrors.RefreshTokenMissing:
		answer.Message = "There is no refresh token to check."
	case reason == jwterrors.UserExists:
		answer.Message = "A user with that username already exists."
	case reason == jwterrors.CredentialsInvalid:
		answer.Message = "The username or the password is incorrect."
	case reason == jwterrors.RequestInvalid && errors.As(err, &e) && e.Message != "":
		answer.Message = e.Message
	case reason == jwterrors.RequestInvalid && r.URL.Path == "/login":
		answer.Message = "You must send the username and the password."
	case reason == jwterrors.RequestInvalid && r.URL.Path == "/signup":
		answer.Message = "You must send all details."
	case strings.HasPrefix(string(reason), "AUTH_TOKEN_") && reason.Status() == http.StatusUnauthorized:
		status, answer.Code, answer.Message = http.StatusForbidden, "invalidToken", "Your access token is invalid."
	case reason.Action() == jwterrors.ActionLogin:
		status, answer.Code, answer.Message = http.StatusForbidden, "refreshExpired", "Refresh token expired - session ended."
	default:
		answer.Message = "The has been an unexpected error, please try again later"
	}
	write(w, status, answer)
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left needs no answer
}

// users are who signed up. A real service has them in a database.
type users struct {
	hasher *password.Hasher
	check  *password.Authenticator

	mu     sync.Mutex
	hashes map[string]string
}

func newUsers() (*users, error) {
	u := &users{hashes: map[string]string{}}
	var err error
	if u.hasher, err = password.New(password.Config{Algorithm: password.Bcrypt}); err != nil { // of cost 12
		return nil, err
	}
	u.check, err = password.NewAuthenticator(password.AuthenticatorConfig{Hasher: u.hasher, Lookup: u.lookup})
	return u, err
}

func (u *users) lookup(_ context.Context, c issuer.Credentials) (password.Account, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	hash, ok := u.hashes[c.Username]
	if !ok {
		return password.Account{}, nil
	}
	return password.Account{User: issuer.User{ID: c.Username}, Hash: hash}, nil
}

// authenticate trims the password, as register does.
func (u *users) authenticate(ctx context.Context, c issuer.Credentials) (issuer.User, error) {
	c.Password = strings.TrimSpace(c.Password)
	return u.check.Authenticate(ctx, c)
}

func (u *users) register(ctx context.Context, r issuer.Registration) (issuer.User, error) {
	if r.Username == "" {
		return issuer.User{}, jwterrors.RequestInvalid
	}
	hash, err := u.hasher.Hash(ctx, strings.TrimSpace(r.Password))
	switch {
	case errors.Is(err, password.ErrTooShort), errors.Is(err, password.ErrTooLong), errors.Is(err, password.ErrNUL):
		return issuer.User{}, &jwterrors.Error{Reason: jwterrors.RequestInvalid, Message: "The password needs 8 characters at least, and 72 bytes at most."}
	case err != nil:
		return issuer.User{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, taken := u.hashes[r.Username]; taken {
		return issuer.User{}, jwterrors.UserExists
	}
	u.hashes[r.Username] = hash
	return issuer.User{ID: r.Username}, nil
}
