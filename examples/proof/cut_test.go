package proof_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

const (
	issuerName = "https://id.example.com"
	audience   = "api"
	user       = "alice"
	password   = "correct horse battery staple"
)

// A world is a server with an issuer and an API, a proxy in front of it, and a
// clock that stands still until it is moved.
type world struct {
	t      *testing.T
	store  *issuer.MemoryStore
	server *httptest.Server
	proxy  *proxy
	client *http.Client // one connection for each request

	mu     sync.Mutex
	time   time.Time
	events []issuer.EventKind
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: issuer.NewMemoryStore(), time: time.Now().Truncate(time.Second)}
	secret := bytes.Repeat([]byte("an obviously fake secret"), 2)
	key, err := issuer.NewSecretKey(secret)
	good(t, err)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, Now: w.now})
	good(t, err)
	denylist := middleware.NewDenylist(middleware.DenylistOptions{Now: w.now})
	iss, err := issuer.New(issuer.Config{
		Issuer: issuerName, Audience: []string{audience}, Keys: ring, Store: w.store, Denylist: denylist, Now: w.now,
		MasterKeys: []issuer.MasterKey{{ID: "m1", Secret: secret}},
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			if c.Password != password {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: c.Username, Scopes: []string{"api:read"}}, nil
		},
		Logger:  slog.New(slog.DiscardHandler),
		OnEvent: func(e issuer.Event) { w.mu.Lock(); defer w.mu.Unlock(); w.events = append(w.events, e.Kind) },
	})
	good(t, err)
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.HS256(secret), Issuer: issuerName, Audience: []string{audience}, Revocations: denylist, Now: w.now,
	})
	good(t, err)
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("/api", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := middleware.FromContext(r.Context())
		fmt.Fprint(w, c.Subject)
	})))
	w.server = httptest.NewUnstartedServer(mux)
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.server.Start()
	t.Cleanup(w.server.Close)
	w.proxy = newProxy(t, w.server.Listener.Addr().String())
	w.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.time
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(d)
}

// told returns the events since the last call.
func (w *world) told() []issuer.EventKind {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.events
	w.events = nil
	return events
}

// works reports whether the API takes an access token.
func (w *world) works(access string) bool {
	w.t.Helper()
	req, err := http.NewRequest("GET", w.server.URL+"/api", nil)
	good(w.t, err)
	req.Header.Set("Authorization", "Bearer "+access)
	resp, err := w.server.Client().Do(req)
	good(w.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	good(w.t, err)
	return resp.StatusCode == 200 && string(body) == user
}

// session returns the one session that there is.
func (w *world) session() issuer.Session {
	w.t.Helper()
	all, err := w.store.List(w.t.Context(), user, w.now())
	good(w.t, err)
	hold(w.t, len(all) == 1, "%d sessions are alive, and not one", len(all))
	return all[0]
}

// forget empties the store, so that the next session is alone.
func (w *world) forget() {
	_, err := w.store.DeleteExpired(w.t.Context(), w.now().Add(issuer.DefaultRefreshTTL*2), 1<<30)
	good(w.t, err)
	w.told()
}

// A device is a client that logs in, refreshes once and says what it has.
type device interface {
	login() error
	refresh() error // the error is that of the connection
	access() string
	refreshToken() string
	late() time.Duration // how long after a cut it tries again
	over() bool          // whether it believes that its session has ended
}

// A simple device is what somebody writes in an afternoon.
type simple struct {
	w        *world
	withKey  bool
	wait     time.Duration
	key      string
	expired  bool
	received struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
}

func (d *simple) post(path string, body map[string]string) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest("POST", d.w.proxy.url()+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if d.withKey {
		req.Header.Set("Idempotency-Key", d.key)
	}
	resp, err := d.w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == 401:
		d.expired = true
		return fmt.Errorf("status 401: %s", answer)
	case resp.StatusCode != 200:
		return fmt.Errorf("status %d: %s", resp.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, &d.received); err != nil {
		return err
	}
	d.key = rand.Text() // for the refresh of what came
	return nil
}

func (d *simple) login() error {
	d.expired = false
	return d.post("/auth/login", map[string]string{"username": user, "password": password})
}

func (d *simple) refresh() error {
	return d.post("/auth/refresh", map[string]string{"refresh_token": d.received.Refresh})
}

func (d *simple) access() string       { return d.received.Access }
func (d *simple) refreshToken() string { return d.received.Refresh }
func (d *simple) late() time.Duration  { return d.wait }
func (d *simple) over() bool           { return d.expired }

// An ours device is the refresher. Its refreshes happen because an access token
// has expired and a request needs one.
type ours struct {
	w         *world
	transport *refresher.Transport
	store     *refresher.MemoryStore
	ended     bool
	mu        sync.Mutex
}

func (d *ours) login() error {
	if d.transport != nil {
		if err := d.transport.Close(); err != nil {
			return err
		}
	}
	d.store, d.ended = &refresher.MemoryStore{}, false
	var err error
	d.transport, err = refresher.New(refresher.Config{
		AuthURL: d.w.proxy.url() + "/auth", Origins: []string{d.w.server.URL}, InsecureAllowHTTP: true, Store: d.store, Now: d.w.now,
		Base:       d.w.client.Transport,
		MaxRetries: refresher.NoRetries, // so that what comes after the cut comes when the test says
		OnSessionExpired: func(*jwterrors.Error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.ended = true
		},
	})
	if err != nil {
		return err
	}
	return d.transport.Login(d.w.t.Context(), refresher.Credentials{Username: user, Password: password})
}

func (d *ours) refresh() error {
	req, err := http.NewRequestWithContext(d.w.t.Context(), "GET", d.w.server.URL+"/api", nil)
	if err != nil {
		return err
	}
	resp, err := d.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != 200 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return err
}

func (d *ours) tokens() refresher.Tokens {
	tokens, err := d.store.Load(d.w.t.Context())
	good(d.w.t, err)
	return tokens
}

func (d *ours) access() string       { return d.tokens().AccessToken }
func (d *ours) refreshToken() string { return d.tokens().RefreshToken }
func (d *ours) late() time.Duration  { return 5 * time.Hour }
func (d *ours) over() bool           { d.mu.Lock(); defer d.mu.Unlock(); return d.ended }

// The connection of a refresh is cut at every byte of the request and of the
// answer. The next attempt brings a token that works, the session has moved on by
// one, and nobody is logged out: a device with a retry key may try hours later,
// one without must within the grace.
func TestACutAtAnyByteLosesNobody(t *testing.T) { // AX-11, AX-14
	for _, c := range []struct {
		name   string
		device func(*world) device
	}{
		{"the refresher", func(w *world) device { return &ours{w: w} }},
		{"a client with a retry key, hours later", func(w *world) device { return &simple{w: w, withKey: true, wait: 5 * time.Hour} }},
		{"a client without one, at the end of the grace", func(w *world) device { return &simple{w: w, wait: issuer.DefaultGrace} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := c.device(w)

			// How long are request and answer?
			good(t, d.login())
			<-w.proxy.last
			w.pass(time.Hour)
			good(t, d.refresh())
			whole := <-w.proxy.last
			hold(t, strings.Contains(string(whole.request), "POST /auth/refresh"), "this is no refresh: %q", whole.request)
			hold(t, len(whole.request) > 200, "the request has %d bytes", len(whole.request))
			hold(t, len(whole.answer) > 400, "the answer has %d bytes", len(whole.answer))
			w.forget()

			step := 1
			if raceEnabled || testing.Short() {
				step = 7 // every byte in the run without the race detector
			}
			cuts := 0
			for n := 0; n <= len(whole.request); n += step {
				afterCut(t, w, d, cut{after: n}, len(whole.request))
				cuts++
			}
			for n := 0; n <= len(whole.answer); n += step {
				afterCut(t, w, d, cut{answer: true, after: n}, len(whole.answer))
				cuts++
			}
			if t.Failed() {
				return
			}
			t.Logf("%d cuts: %d bytes of the request, %d bytes of the answer", cuts, len(whole.request), len(whole.answer))
		})
	}
}

func afterCut(t *testing.T, w *world, d device, c cut, all int) {
	t.Helper()
	at := fmt.Sprintf("cut after byte %d of %d, answer=%t", c.after, all, c.answer)
	defer w.forget()
	good(t, d.login(), at)
	<-w.proxy.last
	first := d.refreshToken()
	w.pass(time.Hour) // the access token has expired
	w.proxy.cutNext(c)
	err := d.refresh()
	seen := <-w.proxy.last
	received := err == nil // what came before the cut was enough
	session := w.session()
	switch {
	case c.after < all:
		hold(t, err != nil, "%s: the client noticed nothing", at)
		hold(t, first == d.refreshToken(), "%s: the client has another refresh token", at)
		fallthrough
	case !received:
		hold(t, !d.over(), "%s: the client gave up", at)
	}
	switch {
	case c.answer:
		hold(t, session.Generation == 1, "%s: the server had answered, and is at generation %d", at, session.Generation)
	case c.after < all:
		hold(t, session.Generation == 0, "%s: the server cannot have understood, and is at generation %d", at, session.Generation)
	}

	w.pass(d.late())
	good(t, d.refresh(), at)
	<-w.proxy.last
	hold(t, w.works(d.access()), "%s: the new access token is refused", at)
	session = w.session()
	want := uint64(1)
	if received {
		want = 2 // the answer had come through, so this was the refresh behind it
	}
	hold(t, session.Generation == want, "%s: generation %d, and not %d: one successor", at, session.Generation, want)
	if lost := refreshTokenIn(seen.answer); c.answer && !received {
		hold(t, lost != "", "%s: the answer had no refresh token", at)
		hold(t, lost == d.refreshToken(), "%s: the successor that got lost is not the one that came", at)
	}

	// And the session goes on.
	w.pass(time.Hour)
	good(t, d.refresh(), at)
	<-w.proxy.last
	hold(t, w.works(d.access()), "%s: the access token after that is refused", at)
	hold(t, w.session().Generation == want+1, "%s: the session does not go on", at)
	hold(t, !d.over(), "%s: the client gave up later", at)
	for _, kind := range w.told() {
		harmless := []issuer.EventKind{issuer.EventLogin, issuer.EventRefresh, issuer.EventRepeat, issuer.EventLateRetry}
		hold(t, slices.Contains(harmless, kind), "%s: there was the event %s", at, kind)
	}
}

func refreshTokenIn(answer []byte) string {
	_, rest, _ := strings.Cut(string(answer), `"refresh_token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	return token
}

// The test above can fail: a client that repeats itself without a key one step
// after the grace is taken for a thief.
func TestWithoutAKeyTheGraceIsTheLimit(t *testing.T) {
	w := newWorld(t)
	d := &simple{w: w, wait: issuer.DefaultGrace + 1}
	good(t, d.login())
	<-w.proxy.last
	w.pass(time.Hour)
	w.proxy.cutNext(cut{answer: true})
	hold(t, d.refresh() != nil, "the cut is not noticed")
	<-w.proxy.last
	w.pass(d.late())
	hold(t, d.refresh() != nil, "a late repetition succeeds")
	hold(t, d.over(), "the session goes on")
	hold(t, slices.Contains(w.told(), issuer.EventReplay), "there was no replay")
}

// hold ends the test unless ok.
func hold(t testing.TB, ok bool, format string, args ...any) {
	t.Helper()
	if !ok {
		t.Fatalf(format, args...)
	}
}

// good ends the test when there is an error.
func good(t testing.TB, err error, at ...any) {
	t.Helper()
	if err != nil {
		t.Fatal(append(at, err)...)
	}
}
