// Command axios plays the flow of an axios client with interceptors, in Go: a
// token that has expired under many requests at once, and a session that ends. The
// folder client has the same in JavaScript, for a server such as examples/server.
//
//	go run ./examples/axios
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

func main() {
	if err := play(context.Background(), os.Stdout.WriteString); err != nil {
		log.Fatal(err)
	}
}

// play is the story. It returns an error where it is not true.
func play(ctx context.Context, write func(string) (int, error)) error {
	var clock story.Clock
	server, err := newServer(&clock)
	if err != nil {
		return err
	}
	defer server.close()
	var expired atomic.Int32
	a, err := newAPI(server.url, func(c *refresher.Config) {
		c.Now = clock.Now
		c.RetryInterval = 10 * time.Millisecond // nobody shall wait for the end of the story
		c.OnSessionExpired = func(*jwterrors.Error) { expired.Add(1) }
	})
	if err != nil {
		return err
	}
	defer a.session.Close()
	tell := func(format string, args ...any) { write(fmt.Sprintf(format, args...)) }

	if err := a.login(ctx, "alice", "correct horse battery staple"); err != nil {
		return err
	}
	status, body, err := a.get(ctx, "/profile")
	if err != nil || status != 200 {
		return fmt.Errorf("after the login: %d, %w", status, err)
	}
	tell("alice logs in and reads her profile: %d %s\n", status, body)

	clock.Advance(time.Hour)
	good := a.many(ctx, 200, 200)
	if n := server.refreshes.Load(); good != 200 || n != 1 {
		return fmt.Errorf("%d answers and %d refreshes", good, n)
	}
	tell("an hour later, 200 requests at once: %d answers, and %d refresh\n", good, server.refreshes.Load())

	if status, _, err = a.get(ctx, "/admin"); err != nil || status != 403 || server.refreshes.Load() != 1 {
		return fmt.Errorf("a missing permission: %d, %w", status, err)
	}
	tell("what alice may not see: %d, and no refresh, which would not help\n", status)

	clock.Advance(time.Hour)
	server.down.Store(true)
	status, _, err = a.get(ctx, "/profile")
	if reason := jwterrors.ReasonOf(err); reason != jwterrors.RefreshUnavailable || expired.Load() != 0 {
		return fmt.Errorf("an outage: %d, %w", status, err)
	}
	tell("the server is down when the token has expired: %s, and alice stays logged in\n", jwterrors.ReasonOf(err))
	server.down.Store(false)
	clock.Advance(time.Minute) // nobody asks again at once: RetryAfter of the error says when
	if good = a.many(ctx, 10, 200); good != 10 {
		return fmt.Errorf("after the outage: %d answers", good)
	}
	tell("a minute later it is back: %d requests, %d answers\n", 10, good)

	clock.Advance(time.Hour)
	if err := server.issuer.RevokeSubject(ctx, "alice"); err != nil {
		return err
	}
	if good = a.many(ctx, 20, 200); good != 0 || expired.Load() != 1 {
		return fmt.Errorf("a revoked session: %d answers, told %d times", good, expired.Load())
	}
	tell("the operator ends her sessions: 20 requests fail, and the app is told %d time to show its login\n", expired.Load())
	return nil
}

// many sends n requests at once and counts the answers with the status.
func (a *api) many(ctx context.Context, n, status int) int {
	var all sync.WaitGroup
	var count atomic.Int32
	for range n {
		all.Go(func() {
			if got, _, err := a.get(ctx, "/profile"); err == nil && got == status {
				count.Add(1)
			}
		})
	}
	all.Wait()
	return int(count.Load())
}

// A server is an API and its issuer.
type server struct {
	url       string
	issuer    *issuer.Issuer
	refreshes atomic.Int32
	down      atomic.Bool
	http      *http.Server
}

func newServer(clock *story.Clock) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + listener.Addr().String()}
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return nil, err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, Now: clock.Now})
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32) // in a real service both keys come from its configuration
	rand.Read(master)
	s.issuer, err = issuer.New(issuer.Config{
		Issuer: s.url, Audience: []string{"api"}, Keys: ring, Now: clock.Now,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: issuer.NewMemoryStore(),
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			if c.Username != "alice" || c.Password != "correct horse battery staple" {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: "alice", Scopes: []string{"profile"}}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(s.issuer.JWKS), Issuer: s.url, Audience: []string{"api"}, Now: clock.Now,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/auth/", func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			panic(http.ErrAbortHandler) // the connection is closed without an answer
		}
		if r.URL.Path == "/auth/refresh" {
			s.refreshes.Add(1)
		}
		s.issuer.ServeHTTP(w, r)
	})
	mux.Handle("GET /profile", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprintf(w, "the profile of %s", claims.Subject)
	})))
	mux.Handle("GET /admin", auth.Handler(middleware.RequireScopes("admin")(http.NotFoundHandler())))
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go s.http.Serve(listener) // until close
	return s, nil
}

func (s *server) close() { _ = s.http.Close() }
