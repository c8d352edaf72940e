package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

// wire carries requests to a handler without a network, in 20 ms there and back.
type wire struct {
	handler http.Handler
	fetches atomic.Int64
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.fetches.Add(1)
	time.Sleep(10 * time.Millisecond)
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	time.Sleep(10 * time.Millisecond)
	return answer.Result(), nil
}

// load is what a run of rotationUnderLoad counted.
type load struct {
	keys, tokens, checks, refused int
	reason                        jwterrors.Reason // of one that was refused
	fetches                       int64
}

// rotationUnderLoad lets 4 clients log in and use each token at 4 verifiers, from
// the moment that it is issued to its last, while the signing key changes every
// 200 ms for a minute. The verifiers fetch the key set when it is old, and hardly
// ever for a kid that they do not know: that it is there in time is up to the
// issuer.
func rotationUnderLoad(t *testing.T, ring issuer.KeyRingConfig) load {
	const (
		issuerURL, audience  = "https://id.example.com", "orders"
		every, run           = 200 * time.Millisecond, time.Minute
		accessTTL, leeway    = 2 * time.Second, 100 * time.Millisecond
		verifiers, clients   = 4, 4
		clientStep, fetchAge = 100 * time.Millisecond, time.Second
	)
	quiet := slog.New(slog.DiscardHandler)
	next := func(context.Context) (*issuer.Key, error) { return issuer.GenerateKey(issuer.ES256) }
	var err error
	ring.Key, err = next(t.Context())
	check(t, err)
	ring.MaxAge, ring.Leeway = fetchAge, leeway
	keys, err := issuer.NewKeyRing(ring)
	check(t, err)
	iss, err := issuer.New(issuer.Config{
		Issuer: issuerURL, Audience: []string{audience}, Keys: keys, Store: issuer.NewMemoryStore(), AccessTTL: accessTTL, Logger: quiet,
		MasterKeys:   []issuer.MasterKey{{Secret: []byte(strings.Repeat("fake", 8))}},
		Authenticate: func(context.Context, issuer.Credentials) (issuer.User, error) { return issuer.User{ID: "alice"}, nil },
	})
	check(t, err)
	schedule, err := issuer.NewKeySchedule(issuer.KeyScheduleConfig{Ring: keys, Every: every, Next: next, Logger: quiet})
	check(t, err)

	network := &wire{handler: iss}
	var auths []*middleware.Middleware
	for range verifiers {
		auth, err := middleware.New(middleware.Config{
			Issuer: issuerURL, Audience: []string{audience}, Leeway: leeway,
			Keys: middleware.JWKS(issuerURL+"/auth/.well-known/jwks.json", middleware.JWKSOptions{
				Client: &http.Client{Transport: network}, RefreshAfter: fetchAge, MissInterval: time.Hour,
			}),
		})
		check(t, err)
		auths = append(auths, auth)
	}

	ctx, cancel := context.WithTimeout(t.Context(), run)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { _ = schedule.Run(ctx) }) // ends with ctx
	var mu sync.Mutex
	var n load
	headers := map[string]bool{} // of tokens: one for each key
	use := func(token string, exp time.Time) {
		for first := true; first || time.Now().Before(exp); first = false {
			for _, auth := range auths {
				_, err := auth.Verify(ctx, token)
				if ctx.Err() != nil {
					return // the run is over
				}
				mu.Lock()
				if n.checks++; err != nil {
					n.refused, n.reason = n.refused+1, jwterrors.ReasonOf(err)
				}
				mu.Unlock()
			}
			time.Sleep(clientStep)
		}
	}
	for client := range clients {
		all.Go(func() {
			time.Sleep(time.Duration(client) * every / clients)
			for ; ctx.Err() == nil; time.Sleep(every) {
				token, header, exp := logIn(t, iss)
				mu.Lock()
				n.tokens++
				headers[header] = true
				mu.Unlock()
				all.Go(func() { use(token, exp) })
			}
		})
	}
	all.Wait()
	n.keys = len(headers)
	n.fetches = network.fetches.Load()
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logIn returns a new access token, its header and its end.
func logIn(t *testing.T, iss *issuer.Issuer) (token, header string, exp time.Time) {
	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(`{"username":"alice","password":"x"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	iss.ServeHTTP(w, r)
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		t.Errorf("the login answers %d, %v", w.Code, err)
	}
	header, _, _ = strings.Cut(answer.AccessToken, ".")
	return answer.AccessToken, header, time.Now().Add(time.Duration(answer.ExpiresIn) * time.Second).Truncate(time.Second)
}

func TestNoValidTokenIsRefusedWhileKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := rotationUnderLoad(t, issuer.KeyRingConfig{PublishBefore: 2 * time.Second, RetireAfter: 3 * time.Second})
		t.Logf("%+v", n)
		if n.refused != 0 || n.checks < 50_000 || n.tokens < 1_000 || n.keys < 250 || n.fetches < 4*50 {
			t.Errorf("%d of %d checks of %d tokens under %d keys were refused (%v), with %d fetches of the keys",
				n.refused, n.checks, n.tokens, n.keys, n.reason, n.fetches)
		}
	})
}

// What the test above relies on: it sees a key that is published too late.
func TestTokensAreRefusedWhoseKeyIsPublishedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := rotationUnderLoad(t, issuer.KeyRingConfig{PublishBefore: issuer.NoDelay, RetireAfter: 3 * time.Second})
		if n.refused == 0 || n.reason != jwterrors.TokenKeyUnknown {
			t.Errorf("%d of %d were refused (%q)", n.refused, n.checks, n.reason)
		}
	})
}
