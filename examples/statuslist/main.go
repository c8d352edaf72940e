// Command statuslist plays an issuer and a service of another organisation, which
// share no database and no feed. The service fetches the Token Status List of the
// issuer, and so refuses an access token whose user logged out.
//
//	go run ./examples/statuslist
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

func main() { story.Main("statuslist", play) }

// newIssuer is the one organisation.
func newIssuer(url string, now func() time.Time) (*issuer.Issuer, error) {
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return nil, err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, Now: now})
	if err != nil {
		return nil, err
	}
	// An issuer of several processes has a feed keep the list in step: MaxAge.
	list, err := issuer.NewStatusList(issuer.StatusListConfig{Now: now})
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32) // in a real service both keys come from its configuration
	rand.Read(master)
	return issuer.New(issuer.Config{
		Issuer: url, Audience: []string{"orders"}, Keys: ring, MasterKeys: []issuer.MasterKey{{Secret: master}},
		Store: issuer.NewMemoryStore(), StatusList: list, Now: now, Logger: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			if c.Password != "correct horse battery staple" {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: c.Username}, nil
		},
	})
}

// newPartner is the other one. All that it knows is the issuer's URL.
func newPartner(issuerURL string, now func() time.Time) (http.Handler, error) {
	keys := middleware.JWKS(issuerURL+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}) // on loopback
	auth, err := middleware.New(middleware.Config{
		Keys: keys, Issuer: issuerURL, Audience: []string{"orders"}, Now: now,
		StatusList: middleware.NewStatusList(issuerURL+"/auth/status-list", keys, middleware.StatusListOptions{InsecureAllowHTTP: true}),
	})
	if err != nil {
		return nil, err
	}
	return auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprintf(w, "the orders of %s", claims.Subject)
	})), nil
}

// A world is both, on servers of their own.
type world struct {
	clock           story.Clock
	issuer, partner *httptest.Server
	down            atomic.Bool // the issuer does not answer
	lists           atomic.Int64
}

func newWorld() (*world, error) {
	w := &world{issuer: httptest.NewUnstartedServer(nil)}
	url := "http://" + w.issuer.Listener.Addr().String()
	iss, err := newIssuer(url, w.clock.Now)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("/.well-known/", iss.WellKnown())
	w.issuer.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/status-list") {
			w.lists.Add(1)
		}
		if w.down.Load() {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(rw, r)
	})
	w.issuer.Start()
	partner, err := newPartner(url, w.clock.Now)
	if err != nil {
		w.issuer.Close()
		return nil, err
	}
	w.partner = httptest.NewServer(partner)
	return w, nil
}

func (w *world) close() {
	w.partner.Close()
	w.issuer.Close()
}

// tokens are what a login answers.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (w *world) login(ctx context.Context, user string) (t tokens, err error) {
	status, body, err := w.send(ctx, "POST", w.issuer.URL+"/auth/login", "", `{"username":"`+user+`","password":"correct horse battery staple"}`)
	if err == nil && status != 200 {
		err = fmt.Errorf("a login was answered with %d", status)
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &t)
	}
	return t, err
}

// orders asks the partner, and returns the status and the reason of a refusal.
func (w *world) orders(ctx context.Context, t tokens) (int, jwterrors.Reason) {
	r, err := http.NewRequestWithContext(ctx, "GET", w.partner.URL+"/orders", nil)
	if err != nil {
		return 0, ""
	}
	r.Header.Set("Authorization", "Bearer "+t.Access)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	if e := jwterrors.FromResponse(resp); e != nil {
		return resp.StatusCode, e.Reason
	}
	return resp.StatusCode, ""
}

func (w *world) send(ctx context.Context, method, url, bearer, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// play tells the story, and ends with the first thing that did not happen.
func play(ctx context.Context, out io.Writer) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	return story.Play(ctx, out, w, "A logout that another organisation hears of.", logout, outage)
}

func logout(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Alice and Bob log in, and a service of another organisation takes their tokens.")
	alice, err := w.login(ctx, "alice")
	s.Must(err)
	bob, err := w.login(ctx, "bob")
	s.Must(err)
	for range 100 {
		status, _ := w.orders(ctx, alice)
		if status != 200 {
			s.Must(fmt.Errorf("the service answered %d", status))
		}
	}
	status, _ := w.orders(ctx, bob)
	s.Tell(status == 200 && w.lists.Load() == 1, "101 requests, and the status list was fetched once")

	s.Begin("Alice logs out. Her token is good for a quarter of an hour.")
	status, _, err = w.send(ctx, "POST", w.issuer.URL+"/auth/logout", "", `{"refresh_token":"`+alice.Refresh+`"}`)
	s.Must(err)
	s.Tell(status == 204, "the issuer answers 204")
	w.clock.Advance(31 * time.Second)
	var reason jwterrors.Reason
	s.Until(ctx, func() bool { status, reason = w.orders(ctx, alice); return status == 401 }, "half a minute later the service refuses it: 401")
	s.Tell(reason == jwterrors.TokenInvalidated, "its reason is %s", reason)
	status, _ = w.orders(ctx, bob)
	s.Tell(status == 200, "Bob goes on: 200")
}

func outage(ctx context.Context, s *story.Story, w *world) {
	s.Begin("The issuer does not answer any more.")
	carol, err := w.login(ctx, "carol")
	s.Must(err)
	w.down.Store(true)
	w.clock.Advance(10 * time.Minute)
	status, _ := w.orders(ctx, carol)
	s.Tell(status == 200, "ten minutes later the service goes by the list that it has: 200")
	w.clock.Advance(5*time.Minute + 10*time.Second) // Carol's token counts for 30 seconds more, by the leeway
	status, reason := w.orders(ctx, carol)
	s.Tell(status == 503 && reason == jwterrors.StoreUnavailable, "after a quarter of an hour it does not know who logged out: %d %s", status, reason)
}
