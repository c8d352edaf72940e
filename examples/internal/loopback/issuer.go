// Package loopback is what stands beside an example that is about a service: an issuer
// at which alice can log in, and a server that says what to try. In real life the issuer
// is somewhere else, and the service knows its URL alone.
package loopback

import (
	"context"
	"crypto/rand"
	"log"
	"net"
	"net/http"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// password is that of alice, whose tokens have the scope "api:read".
const password = "correct horse battery staple"

// audience is what the tokens are for.
const audience = "api"

// Issuer starts an issuer on a free port and returns its URL. It ends with the
// program, and the program ends with status 1 where it cannot start.
func Issuer() string {
	url, err := startIssuer()
	if err != nil {
		log.Fatal("the issuer of this example: ", err)
	}
	return url
}

func startIssuer() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	url := "http://" + listener.Addr().String()
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return "", err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		return "", err
	}
	master := make([]byte, 32)
	rand.Read(master)
	iss, err := issuer.New(issuer.Config{
		Issuer: url, Audience: []string{audience}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: issuer.NewMemoryStore(),
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			if c.Username != "alice" || c.Password != password {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: "alice", Scopes: []string{"api:read"}}, nil
		},
	})
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("/.well-known/", iss.WellKnown())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { log.Print(server.Serve(listener)) }()
	return url, nil
}
