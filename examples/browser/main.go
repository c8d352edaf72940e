// Command browser serves a single-page app: its refresh token is in a cookie that no
// script can read, and its access token in the memory of the page. The page shows
// both at work: silent refreshes, the user's devices, logouts, and what is in a token.
//
//	go run ./examples/browser
//
// Open the URL that it prints, in two tabs or more. It runs until it is interrupted,
// and forgets everything then.
package main

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
	"github.com/tokenloop/tokenloop/middleware"
)

//go:embed page
var page embed.FS

func main() {
	addr := flag.String("addr", "localhost:8080", "loopback address to listen on; browsers take the cookie without TLS there alone")
	ttl := flag.Duration("access-ttl", time.Minute, "lifetime of an access token")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err, ": -addr localhost:0 takes a port that is free")
	}
	url := fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	handler, err := newHandler(ctx, url, *ttl)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("listening on %s\nCtrl-C stops it\n", url)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// newHandler returns the page, the issuer and the API.
func newHandler(ctx context.Context, url string, ttl time.Duration) (http.Handler, error) {
	authenticate, err := newUsers(ctx)
	if err != nil {
		return nil, err
	}
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return nil, err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32) // in a real service both keys come from its configuration
	rand.Read(master)
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	iss, err := issuer.New(issuer.Config{
		Issuer: url, Audience: []string{"app"}, Keys: ring, MasterKeys: []issuer.MasterKey{{Secret: master}},
		Store: issuer.NewMemoryStore(), Authenticate: authenticate, Denylist: denied,
		AccessTTL: ttl, Cookie: issuer.DefaultCookie,
	})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(iss.JWKS), Issuer: url, Audience: []string{"app"}, Revocations: denied,
	})
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("GET /api/me", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"sub": claims.Subject}) // a client that left needs no answer
	})))
	static := http.FileServerFS(files)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		// A script from elsewhere would have the access token, so there is none.
		w.Header().Set("Content-Security-Policy",
			"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		static.ServeHTTP(w, r)
	})
	return mux, nil
}

// newUsers returns the check of the only user, alice.
func newUsers(ctx context.Context) (func(context.Context, issuer.Credentials) (issuer.User, error), error) {
	hasher, err := password.New(password.Config{})
	if err != nil {
		return nil, err
	}
	hash, err := hasher.Hash(ctx, "correct horse battery staple")
	if err != nil {
		return nil, err
	}
	check, err := password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: hasher,
		Lookup: func(_ context.Context, c issuer.Credentials) (password.Account, error) {
			if c.Username != "alice" {
				return password.Account{}, nil
			}
			return password.Account{User: issuer.User{ID: "alice", Scopes: []string{"profile"}}, Hash: hash}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return check.Authenticate, nil
}
