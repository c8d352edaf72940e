package proof_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// reasons counts what a Middleware decides.
type reasons struct {
	mu    sync.Mutex
	count map[jwterrors.Reason]int
}

func (o *reasons) Checked(_ context.Context, outcome middleware.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count[outcome.Reason]++
}

// RFC 9449, Sections 8 and 9: 10,000 calls at once with a bound token, most of which
// wait for a connection while the nonce of the API changes three times or so. Each is
// sent twice at the most, many are not, none fails, and no proof comes twice.
func TestManyCallsWhileTheNonceChanges(t *testing.T) {
	calls := map[bool]int{false: 10_000, true: 1_000}[raceEnabled]
	began := time.Now().Truncate(time.Minute).Add(time.Minute) // a nonce begins, and the token is there
	var served atomic.Int64
	now := func() time.Time { // 150 seconds for all of them
		return began.Add(time.Duration(served.Load()) * 150 * time.Second / time.Duration(calls))
	}
	secret := bytes.Repeat([]byte("an obviously fake secret"), 2)
	key, err := issuer.NewSecretKey(secret)
	good(t, err)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	good(t, err)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	iss, err := issuer.New(issuer.Config{
		Issuer: server.URL, Audience: []string{audience}, Keys: ring, Store: issuer.NewMemoryStore(), Logger: slog.New(slog.DiscardHandler),
		MasterKeys:   []issuer.MasterKey{{ID: "m1", Secret: secret}},
		Authenticate: func(context.Context, issuer.Credentials) (issuer.User, error) { return issuer.User{ID: user}, nil },
		DPoP:         &issuer.DPoP{Required: true, RequireNonce: true},
	})
	good(t, err)
	seen := &reasons{count: map[jwterrors.Reason]int{}}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.HS256(secret), Issuer: server.URL, Audience: []string{audience}, Observer: seen, Now: now,
		DPoP: &middleware.DPoP{Required: true, RequireNonce: true, PublicURL: server.URL},
	})
	good(t, err)
	mux.Handle("/auth/", iss)
	api := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, user) }))
	mux.Handle("/api", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		api.ServeHTTP(w, r)
	}))

	session, err := refresher.New(refresher.Config{
		AuthURL: server.URL + "/auth", Origins: []string{server.URL}, InsecureAllowHTTP: true, DPoP: refresher.GenerateDPoPKey(),
		Base: &http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64}, MaxRetries: refresher.NoRetries,
	})
	good(t, err)
	defer session.Close()
	good(t, session.Login(t.Context(), refresher.Credentials{Username: user, Password: password}))
	call := func() bool {
		resp, err := session.Client().Get(server.URL + "/api")
		if err != nil {
			t.Error(err)
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && string(body) == user
	}
	hold(t, call(), "the first call") // which learns the nonce
	var passed atomic.Int64
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			if call() {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	hold(t, passed.Load() == int64(calls), "%d of %d calls passed", passed.Load(), calls)
	t.Logf("%d calls, of which the API has seen %v", calls, seen.count)
	again := seen.count[jwterrors.ProofNonceRequired]
	hold(t, again > 1 && again < calls && seen.count[""] == calls+1 && len(seen.count) == 2, "the API has seen %v", seen.count)
}
