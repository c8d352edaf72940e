package proof_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// A route that requires a stronger login (RFC 9470) is called ten times at once with
// the token of a weaker one. The user is asked once, logs in with a second factor at
// the issuer, and all ten calls get through, with their bodies.
func TestAStrongerLoginFromEndToEnd(t *testing.T) {
	const parallel, code = 10, " 123456"
	secret := bytes.Repeat([]byte("an obviously fake secret"), 2)
	key, err := issuer.NewSecretKey(secret)
	good(t, err)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	good(t, err)
	iss, err := issuer.New(issuer.Config{
		Issuer: issuerName, Audience: []string{audience}, Keys: ring, Store: issuer.NewMemoryStore(),
		MasterKeys: []issuer.MasterKey{{ID: "m1", Secret: secret}}, Logger: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			switch c.Password {
			case password:
				return issuer.User{ID: c.Username, ACR: "pwd"}, nil
			case password + code:
				return issuer.User{ID: c.Username, ACR: "mfa"}, nil
			}
			return issuer.User{}, jwterrors.CredentialsInvalid
		},
	})
	good(t, err)
	auth, err := middleware.New(middleware.Config{Keys: middleware.HS256(secret), Issuer: issuerName, Audience: []string{audience}})
	good(t, err)
	strong := middleware.RequireAuthentication(middleware.Authentication{ACRValues: []string{"mfa"}, MaxAge: time.Hour})
	var calls atomic.Int64
	refused := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("/transfer", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if calls.Add(1) == parallel { // all have been refused
				close(refused)
			}
		}()
		auth.Handler(strong(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))).ServeHTTP(w, r)
	}))
	server := httptest.NewServer(mux)
	defer server.Close()

	var asked atomic.Int64
	var transport *refresher.Transport
	transport, err = refresher.New(refresher.Config{
		AuthURL: server.URL + "/auth", Origins: []string{server.URL}, InsecureAllowHTTP: true,
		StepUp: func(ctx context.Context, required *jwterrors.Error) error {
			asked.Add(1)
			if strings.Join(required.ACRValues, " ") != "mfa" || required.MaxAge != time.Hour {
				t.Errorf("the challenge asks for %v within %v", required.ACRValues, required.MaxAge)
			}
			<-refused
			return transport.Login(ctx, refresher.Credentials{Username: user, Password: password + code})
		},
	})
	good(t, err)
	defer transport.Close()
	good(t, transport.Login(t.Context(), refresher.Credentials{Username: user, Password: password}))
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			resp, err := transport.Client().Post(server.URL+"/transfer", "text/plain", strings.NewReader("the body"))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if data, err := io.ReadAll(resp.Body); err != nil || string(data) != "the body" {
				t.Errorf("%d %s %v", resp.StatusCode, data, err)
			}
		})
	}
	all.Wait()
	hold(t, asked.Load() == 1, "the user was asked %d times", asked.Load())
	hold(t, calls.Load() == 2*parallel, "%d calls", calls.Load())
}
