// Command moengage is a service that takes reports from apps, in the manner of
// MoEngage: each app has public keys that are managed at run time, its own server
// signs tokens with the private key, and the client is handed tokens by the app,
// which is told when it needs another one.
//
//   - api.go: the service and its dashboard.
//   - sdk.go: the client, on the refresher in push mode.
//
// The program plays what happens to them, checks what it tells, and ends within
// seconds.
//
//	go run ./examples/moengage
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

func main() { story.Main("moengage", run) }

// run tells the story to out. Its error is the first thing that did not happen.
func run(ctx context.Context, out io.Writer) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	return story.Play(ctx, out, w, "Tokens that the app hands in: the service is "+w.api+" and the app's own server "+w.server,
		switchedOn, instances, listener, laterLaunch, severalKeys, enforcement, tenFailures, loggedOut)
}

// The two apps: the test one and the live one. What they have in common is code.
const (
	testApp = "TEST_APP"
	liveApp = "LIVE_APP"

	tokenTTL     = 15 * time.Minute
	dashboardKey = "an obviously fake password of the dashboard"
)

// A world is the service, the server of the app, and what they saw.
type world struct {
	clock    story.Clock
	accounts map[string]*account
	keys     map[string]*issuer.Key // the app's server signs with these, by app
	minters  [2]atomic.Pointer[issuer.Minter]
	asked    atomic.Int64 // how often the app's server made a token

	api, server string // URLs
	requests    atomic.Int64
	observed    tally
	servers     []*httptest.Server
}

func newWorld() (*world, error) {
	w := &world{
		accounts: map[string]*account{testApp: {enforce: true}, liveApp: {enforce: true}},
		keys:     map[string]*issuer.Key{},
	}
	service, err := newAPI(w.accounts, dashboardKey, &w.observed, w.clock.Now)
	if err != nil {
		return nil, err
	}
	w.api = w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sdk/report" {
			w.requests.Add(1)
		}
		service.ServeHTTP(rw, r)
	}))
	w.server = w.serve(http.HandlerFunc(w.mint))
	for _, app := range []string{testApp, liveApp} {
		key, err := w.newKey(app)
		if err != nil {
			return nil, err
		}
		if err := w.signWith(app, key); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) serve(h http.Handler) string {
	server := httptest.NewServer(h)
	w.servers = append(w.servers, server)
	return server.URL
}

func (w *world) close() {
	for _, server := range w.servers {
		server.Close()
	}
}

// newKey makes a private key and tells the dashboard its public half.
func (w *world) newKey(app string) (*issuer.Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	key, err := issuer.NewKey(private)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{
		"kid": key.ID(), "public_key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	})
	if err != nil {
		return nil, err
	}
	return key, w.dashboard(app, http.MethodPost, "/dashboard/keys", string(body))
}

// dashboard does what an operator does in the dashboard.
func (w *world) dashboard(app, method, path, body string) error {
	status, err := w.call(app, dashboardKey, method, path, body)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("the dashboard answered %d", status)
	}
	return err
}

func (w *world) call(app, bearer, method, path, body string) (int, error) {
	req, err := http.NewRequest(method, w.api+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("App-Key", app)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// signWith makes the app's server sign with key.
func (w *world) signWith(app string, key *issuer.Key) error {
	m, err := issuer.NewMinter(issuer.MinterConfig{Key: key, TTL: tokenTTL, Claims: map[string]any{"aud": app}, Now: w.clock.Now})
	if err != nil {
		return err
	}
	w.keys[app] = key
	w.minter(app).Store(m)
	return nil
}

func (w *world) minter(app string) *atomic.Pointer[issuer.Minter] {
	if app == liveApp {
		return &w.minters[1]
	}
	return &w.minters[0]
}

// mint is the app's own server: it gives a token to who is logged in with it.
func (w *world) mint(rw http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user == "" || password != "the password of "+user {
		http.Error(rw, "who are you?", http.StatusForbidden)
		return
	}
	token, err := w.minter(r.Header.Get("App-Key")).Load().Mint(r.Context(), issuer.UserID(user))
	if err != nil {
		http.Error(rw, "no token", http.StatusInternalServerError)
		return
	}
	w.asked.Add(1)
	fmt.Fprint(rw, token)
}

// fetch is how the app gets a token from its own server.
func (w *world) fetch(ctx context.Context, app, user string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server+"/token", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("App-Key", app)
	req.SetBasicAuth(user, "the password of "+user)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the app's own server answered %d", resp.StatusCode)
	}
	token, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	return string(token), err
}

// sdk returns an instance for one of the apps.
func (w *world) sdk(app string, change func(*sdkConfig)) (*sdk, error) {
	config := sdkConfig{api: w.api, appKey: app, jwt: true, patience: 5 * time.Second, now: w.clock.Now}
	if change != nil {
		change(&config)
	}
	return newSDK(config)
}

// A tally counts what the middleware decided, by reason.
type tally struct {
	mu sync.Mutex
	n  map[jwterrors.Reason]int
}

func (t *tally) Checked(_ context.Context, o middleware.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[jwterrors.Reason]int{}
	}
	t.n[o.Reason]++
}

func (t *tally) of(reason jwterrors.Reason) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[reason]
}
