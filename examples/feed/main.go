// Feed plays an issuer and a service that share nothing but a Redis: when a user
// logs out at the one, the other refuses the access token, which has not expired.
// The service asks nobody on the path of a request: a feed keeps a list in its
// memory in step.
//
//	go run ./examples/feed -redis redis://127.0.0.1:6379
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
	"github.com/tokenloop/tokenloop/middleware"
)

// newIssuer is one process: it keeps sessions and denials in Redis.
func newIssuer(client redis.UniversalClient, prefix, url string) (*issuer.Issuer, error) {
	store, err := redisstore.New(redisstore.Config{Client: client, Prefix: prefix})
	if err != nil {
		return nil, err
	}
	// An issuer that verifies no tokens itself needs no Run.
	feed, err := redisstore.NewFeed(redisstore.FeedConfig{Client: client, Prefix: prefix, Mirror: &middleware.Denylist{}})
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
	return issuer.New(issuer.Config{
		Issuer: url, Audience: []string{"orders"}, Keys: ring, MasterKeys: []issuer.MasterKey{{Secret: master}},
		Store: store, Denylist: feed, RefreshTTL: time.Hour,
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			if c.Password != "correct horse battery staple" {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: c.Username}, nil
		},
	})
}

// maxAge is how long the service goes on without the list: then it refuses with
// 503 rather than let pass who may have logged out.
const maxAge = 10 * time.Second

// newService is another process. Its feed is to be run.
func newService(client redis.UniversalClient, prefix, issuerURL string, maxAge time.Duration, log *slog.Logger) (http.Handler, *redisstore.Feed, error) {
	denied := middleware.NewDenylist(middleware.DenylistOptions{MaxAge: maxAge})
	feed, err := redisstore.NewFeed(redisstore.FeedConfig{
		Client: client, Prefix: prefix, Mirror: denied, Interval: min(time.Second, maxAge/5), Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuerURL+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}), // on loopback
		Issuer: issuerURL, Audience: []string{"orders"}, Revocations: denied,
	})
	if err != nil {
		return nil, nil, err
	}
	return auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprintf(w, "the orders of %s", claims.Subject)
	})), feed, nil
}

func main() {
	where := flag.String("redis", "redis://127.0.0.1:6379", "the `URL` of a Redis")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch err := play(ctx, os.Stdout, *where, "example:"+rand.Text()+":"); {
	case errors.Is(err, jwterrors.StoreUnavailable):
		log.Fatal(err, ": is there a Redis where -redis says?")
	case err != nil:
		log.Fatal(err)
	}
}

// forget removes what the example has written.
func forget(ctx context.Context, client *redis.Client, prefix string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator(); keys.Next(ctx); {
		client.Del(ctx, keys.Val())
	}
}

// play runs both, and is their client.
func play(ctx context.Context, out io.Writer, where, prefix string) error {
	options, err := redis.ParseURL(where)
	if err != nil {
		return err
	}
	options.ContextTimeoutEnabled = true
	forIssuer, forService := redis.NewClient(options), redis.NewClient(options)
	defer forIssuer.Close()
	defer forService.Close()
	defer forget(context.WithoutCancel(ctx), forIssuer, prefix)

	issuerAt, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer issuerAt.Close()
	issuerURL := "http://" + issuerAt.Addr().String()
	iss, err := newIssuer(forIssuer, prefix, issuerURL)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("/.well-known/", iss.WellKnown())
	go func() { _ = http.Serve(issuerAt, mux) }() // until it is closed

	serviceAt, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer serviceAt.Close()
	service, feed, err := newService(forService, prefix, issuerURL, maxAge, slog.Default())
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(serviceAt, service) }() // until it is closed
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- feed.Run(ctx) }()
	defer func() {
		stop()
		<-ended
	}()

	orders := "http://" + serviceAt.Addr().String()
	tokens, err := login(ctx, issuerURL, "alice")
	if err != nil {
		return err
	}
	if err := shows(ctx, out, orders, tokens.Access, http.StatusOK); err != nil {
		return err
	}
	fmt.Fprintln(out, "alice logs out at the issuer")
	if err := logout(ctx, issuerURL, tokens.Refresh); err != nil {
		return err
	}
	return shows(ctx, out, orders, tokens.Access, http.StatusUnauthorized)
}

// shows asks the service until it answers so, for five seconds: its list takes a
// moment to be in step, and a logout some milliseconds to arrive.
func shows(ctx context.Context, out io.Writer, url, token string, status int) error {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	for {
		got, answer, err := get(ctx, url, token)
		if err != nil {
			return err
		}
		if got == status {
			fmt.Fprintf(out, "the service answers %d: %s\n", got, answer)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the service answers %d: %s", got, answer)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// get returns the status and, of what the service answers, the text or the reason.
func get(ctx context.Context, url, token string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, string(jwterrors.ReasonOf(jwterrors.FromResponse(resp))), nil
	}
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func login(ctx context.Context, url, user string) (t tokens, err error) {
	resp, err := post(ctx, url+"/auth/login", `{"username":"`+user+`","password":"correct horse battery staple"}`)
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return t, jwterrors.FromResponse(resp)
	}
	err = json.NewDecoder(resp.Body).Decode(&t)
	return t, err
}

func logout(ctx context.Context, url, token string) error {
	resp, err := post(ctx, url+"/auth/logout", `{"refresh_token":"`+token+`"}`)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return errors.Join(errors.New("logout"), jwterrors.FromResponse(resp))
	}
	return nil
}

func post(ctx context.Context, url, body string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return http.DefaultClient.Do(r)
}
