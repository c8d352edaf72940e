package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

func main() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	url := "http://" + listener.Addr().String()

	// The issuer: who may log in is for you to say, where sessions live as well.
	master := make([]byte, 32) // in a real service both keys come from its configuration
	rand.Read(master)
	ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.GenerateKey(issuer.ES256))}))
	iss := must(issuer.New(issuer.Config{
		Issuer: url, Audience: []string{"orders"}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: issuer.NewMemoryStore(),
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			if c.Username != "alice" || c.Password != "correct horse battery staple" {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: "alice", Scopes: []string{"orders:read"}}, nil
		},
	}))

	// The service: handlers behind the middleware find verified claims.
	auth := must(middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(iss.JWKS), Issuer: url, Audience: []string{"orders"},
		Logger: slog.Default(), // says why a token is refused
	}))
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("GET /orders", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprintf(w, "the orders of %s\n", claims.Subject)
	})))
	go func() { log.Fatal(http.Serve(listener, mux)) }()

	// The client: after a login it is an ordinary http.Client.
	t := must(refresher.New(refresher.Config{
		AuthURL: url + "/auth", Origins: []string{url}, InsecureAllowHTTP: true, // on loopback
	}))
	defer t.Close()
	ctx := context.Background()
	if err := t.Login(ctx, refresher.Credentials{Username: "alice", Password: "correct horse battery staple"}); err != nil {
		log.Fatal(err)
	}
	resp := must(t.Client().Get(url + "/orders"))
	defer resp.Body.Close()
	fmt.Print(string(must(io.ReadAll(resp.Body)))) // the orders of alice
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
