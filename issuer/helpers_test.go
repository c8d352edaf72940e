package issuer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

const (
	issuerURL = "https://id.example.com"
	password  = "correct horse battery staple"
)

var masterSecret = []byte("an obviously fake master key, 32+ bytes")

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A fixture is an Issuer behind a real server, with a clock in hand.
type fixture struct {
	t      testing.TB
	server *httptest.Server
	issuer *issuer.Issuer
	ring   *issuer.KeyRing
	store  *issuer.MemoryStore
	denied *denylist
	logs   *safeBuffer

	mu     sync.Mutex
	offset time.Duration
	events []issuer.Event
}

// safeBuffer collects logs.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type denylist struct {
	mu       sync.Mutex
	sessions map[string]time.Time
	subjects map[string]time.Time // issued before
	token    string               // the last one
	fail     error
}

func (d *denylist) DenySession(_ context.Context, sid string, until time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.sessions[sid] = until
	return nil
}

func (d *denylist) DenyToken(_ context.Context, jti string, _ time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.token = jti
	return nil
}

func (d *denylist) DenySubject(_ context.Context, subject string, issuedBefore, _ time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.subjects = map[string]time.Time{subject: issuedBefore}
	return nil
}

// failing makes the denylist fail with err, or work again.
func (d *denylist) failing(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

func (d *denylist) has(sid string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.sessions[sid]
	return ok
}

func authenticate(_ context.Context, c issuer.Credentials) (issuer.User, error) {
	name := c.Username + c.Email
	if name != "alice" && name != "bob" && name != "alice@example.com" || c.Password != password {
		return issuer.User{}, jwterrors.CredentialsInvalid
	}
	return issuer.User{ID: name, Scopes: []string{"api:read", "api:write"}, Email: name + "@example.com", Claims: map[string]any{"plan": "gold"}}, nil
}

func newKey(t testing.TB, algorithm string) *issuer.Key {
	t.Helper()
	k, err := issuer.GenerateKey(algorithm)
	require.NoError(t, err)
	return k
}

// config returns a good Config on the fixture's store and clock.
func (f *fixture) config() issuer.Config {
	return issuer.Config{
		Issuer: issuerURL, Audience: []string{"orders"}, Keys: f.ring,
		MasterKeys: []issuer.MasterKey{{ID: "m1", Secret: masterSecret}}, Store: f.store,
		Authenticate: authenticate, Denylist: f.denied, Now: f.now, Claims: []string{"plan"},
		Logger:  slog.New(slog.NewTextHandler(f.logs, nil)),
		OnEvent: func(e issuer.Event) { f.mu.Lock(); defer f.mu.Unlock(); f.events = append(f.events, e) },
	}
}

func newFixture(t testing.TB, change func(*issuer.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, store: issuer.NewMemoryStore(), denied: &denylist{sessions: map[string]time.Time{}}, logs: &safeBuffer{}}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.ES256), Now: f.now})
	require.NoError(t, err)
	f.ring = ring
	c := f.config()
	if change != nil {
		change(&c)
	}
	f.issuer, err = issuer.New(c)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/auth/", f.issuer)
	mux.Handle("/.well-known/", f.issuer.WellKnown())
	f.server = httptest.NewServer(mux)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(f.offset)
}

// pass lets time pass.
func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset += d
}

// kinds returns the kinds of the events since the last call.
func (f *fixture) kinds() []issuer.EventKind {
	f.mu.Lock()
	defer f.mu.Unlock()
	var kinds []issuer.EventKind
	for _, e := range f.events {
		kinds = append(kinds, e.Kind)
	}
	f.events = nil
	return kinds
}

// A reply is an answer of the server.
type reply struct {
	status int
	header http.Header
	reason jwterrors.Reason
	body   map[string]any
	text   string
}

func (r reply) str(name string) string { s, _ := r.body[name].(string); return s }

func (f *fixture) do(method, path, body string, headers ...string) reply {
	f.t.Helper()
	req, err := http.NewRequest(method, f.server.URL+path, strings.NewReader(body))
	require.NoError(f.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return send(f.t, f.server.Client(), req)
}

// send sends a request and reads the answer.
func send(t testing.TB, client *http.Client, req *http.Request) reply {
	t.Helper()
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode, header: resp.Header}
	if e := jwterrors.FromResponse(resp); e != nil {
		r.reason = e.Reason
	}
	r.text = string(must(io.ReadAll(resp.Body)))
	_ = json.Unmarshal([]byte(r.text), &r.body)
	return r
}

func (f *fixture) login() reply {
	f.t.Helper()
	r := f.do("POST", "/auth/login", fmt.Sprintf(`{"username":"alice","password":%q,"device":"phone"}`, password))
	require.Equal(f.t, 200, r.status, r.text)
	return r
}

func (f *fixture) refresh(token string, headers ...string) reply {
	f.t.Helper()
	return f.do("POST", "/auth/refresh", `{"refresh_token":"`+token+`"}`, headers...)
}

// part decodes the n-th part of a token.
func part(t testing.TB, token string, n int) map[string]any {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(data, &m))
	return m
}

func sid(t testing.TB, r reply) string {
	s, _ := part(t, r.str("access_token"), 1)["sid"].(string)
	return s
}

// verified parses an access token with golang-jwt and a public key.
func verified(t testing.TB, token string, key any) jwt.MapClaims {
	t.Helper()
	c := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return key, nil })
	require.NoError(t, err)
	return c
}

// kms is a crypto.Signer whose private key is hidden, like one in a KMS.
type kms struct{ crypto.Signer }

// flaky is a store whose methods fail when told to.
type flaky struct {
	issuer.Store
	mu   sync.Mutex
	fail map[string]error
	hook func(method string)
}

func (f *flaky) err(method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hook != nil {
		f.hook(method)
	}
	return f.fail[method]
}

func (f *flaky) set(method string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = map[string]error{method: err}
}

func (f *flaky) Create(ctx context.Context, s issuer.Session) error {
	if err := f.err("Create"); err != nil {
		return err
	}
	return f.Store.Create(ctx, s)
}

func (f *flaky) Replace(ctx context.Context, s issuer.Session) ([]string, error) {
	if err := f.err("Replace"); err != nil {
		return nil, err
	}
	return f.Store.Replace(ctx, s)
}

func (f *flaky) Get(ctx context.Context, id string) (issuer.Session, error) {
	if err := f.err("Get"); err != nil {
		return issuer.Session{}, err
	}
	return f.Store.Get(ctx, id)
}

func (f *flaky) Rotate(ctx context.Context, id string, from uint64, u issuer.Rotation) (bool, error) {
	if err := f.err("Rotate"); err != nil {
		return false, err
	}
	return f.Store.Rotate(ctx, id, from, u)
}

func (f *flaky) Revoke(ctx context.Context, id string, at time.Time) error {
	if err := f.err("Revoke"); err != nil {
		return err
	}
	return f.Store.Revoke(ctx, id, at)
}

func (f *flaky) List(ctx context.Context, subject string, now time.Time) ([]issuer.Session, error) {
	if err := f.err("List"); err != nil {
		return nil, err
	}
	return f.Store.List(ctx, subject, now)
}

func (f *flaky) RevokeSubject(ctx context.Context, subject, except string, at time.Time) ([]string, error) {
	if err := f.err("RevokeSubject"); err != nil {
		return nil, err
	}
	return f.Store.RevokeSubject(ctx, subject, except, at)
}

type ctx = context.Context

// brokenSigner is a signer that cannot be reached.
type brokenSigner struct{}

func (brokenSigner) Public() crypto.PublicKey { return edPublic }
func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the KMS does not answer")
}

var edPublic, edPrivate, _ = ed25519.GenerateKey(rand.Reader)

// direct refreshes without a network.
func (f *fixture) direct(token string) (string, int) {
	body := string(must(json.Marshal(map[string]string{"refresh_token": token})))
	r := httptest.NewRequest("POST", "/auth/refresh", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.issuer.ServeHTTP(w, r)
	return w.Body.String(), w.Code
}

// loginDirect logs in without a network and returns the access token.
func (f *fixture) loginDirect() string {
	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(fmt.Sprintf(`{"username":"alice","password":%q}`, password)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.issuer.ServeHTTP(w, r)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return answer.AccessToken
}
