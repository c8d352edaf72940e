package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// Lifetimes are short, so that the whole story passes within seconds.
const (
	user, password = "alice", "correct horse battery staple"
	accessTTL      = 2 * time.Second
	grace          = time.Second
)

// A world is a server with an issuer and an API, the network in front of it,
// and a client.
type world struct {
	url     string
	server  *http.Server
	network *network
	ring    *issuer.KeyRing
	client  *refresher.Transport
	http    *http.Client

	stolen  string       // the refresh token of the first login
	old     string       // an access token that has expired by now
	expired atomic.Int64 // how often OnSessionExpired was called
}

func newWorld() (*world, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &world{url: "http://" + listener.Addr().String()}
	handler, err := w.service()
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	w.network = &network{next: handler}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // connections are cut on purpose
	w.server = &http.Server{Handler: w.network, ReadHeaderTimeout: 5 * time.Second, ErrorLog: quiet}
	go func() { _ = w.server.Serve(listener) }() // until close

	w.client, err = w.newClient(nil)
	if err != nil {
		return nil, errors.Join(err, w.server.Close())
	}
	w.http = w.client.Client()
	return w, nil
}

// service is what a user of the library writes: the issuer, and the API behind
// the middleware.
func (w *world) service() (http.Handler, error) {
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return nil, err
	}
	// The middleware below asks this ring itself, so a new key may sign at once.
	w.ring, err = issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, PublishBefore: issuer.NoDelay})
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32)
	rand.Read(master)
	denylist := middleware.NewDenylist(middleware.DenylistOptions{})
	iss, err := issuer.New(issuer.Config{
		Issuer: w.url, Audience: []string{"api"}, Keys: w.ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: issuer.NewMemoryStore(),
		Authenticate: authenticate, Denylist: denylist, AccessTTL: accessTTL, Grace: grace,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(iss.JWKS), Issuer: w.url, Audience: []string{"api"},
		Leeway: middleware.NoLeeway, Revocations: denylist,
	})
	if err != nil {
		return nil, err
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s\n", claims.Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("GET /api/me", auth.Handler(hello))
	mux.Handle("GET /api/admin", auth.Handler(middleware.RequireScopes("admin")(hello)))
	return mux, nil
}

func authenticate(_ context.Context, c issuer.Credentials) (issuer.User, error) {
	if c.Username != user || c.Password != password {
		return issuer.User{}, jwterrors.CredentialsInvalid
	}
	return issuer.User{ID: user, Scopes: []string{"api:read"}}, nil
}

func (w *world) newClient(change func(*refresher.Config)) (*refresher.Transport, error) {
	c := refresher.Config{
		AuthURL: w.url + "/auth", Origins: []string{w.url}, InsecureAllowHTTP: true, // loopback
		Base:          &http.Transport{MaxIdleConnsPerHost: crowd},
		RetryInterval: 50 * time.Millisecond, Skew: refresher.NoSkew, RefreshWindow: time.Millisecond,
		OnSessionExpired: func(*jwterrors.Error) { w.expired.Add(1) },
	}
	if change != nil {
		change(&c)
	}
	return refresher.New(c)
}

func (w *world) close() {
	_ = w.client.Close()
	_ = w.server.Close()
}

// get calls the API through the client.
func (w *world) get(ctx context.Context) (status int, err error) {
	return w.getBy(ctx, w.http)
}

func (w *world) getBy(ctx context.Context, client *http.Client) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api/me", nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// plainGet calls the API as anybody could, and returns what it says.
func (w *world) plainGet(ctx context.Context, path, token string) (int, error, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return said(req)
}

// post sends JSON as anybody could, and returns what the server says.
func (w *world) post(ctx context.Context, path, body string) (int, error, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return said(req)
}

// said returns the status of the answer and the reason in it.
func said(req *http.Request) (status int, reason, err error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if e := jwterrors.FromResponse(resp); e != nil {
		reason = e
	}
	return resp.StatusCode, reason, nil
}

// sleepUntilExpiry waits until the access token of a client has expired, and
// the grace of its last rotation has passed.
func (w *world) sleepUntilExpiry(ctx context.Context, t *refresher.Transport) error {
	tokens, ok := t.Tokens()
	if !ok {
		return errors.New("there are no tokens")
	}
	w.old = tokens.AccessToken
	return sleep(ctx, time.Until(tokens.Expiry)+50*time.Millisecond)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rotateKey lets a new key sign.
func (w *world) rotateKey() error {
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return err
	}
	_, err = w.ring.Rotate(key)
	return err
}

// kid returns the name of the key that signed a token.
func kid(token string) string {
	header, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return ""
	}
	var members struct{ Kid string }
	if json.Unmarshal(data, &members) != nil {
		return ""
	}
	return members.Kid
}

// until waits for something that happens on another goroutine.
func until(ctx context.Context, happened func() bool) error {
	for range 100 {
		if happened() {
			return nil
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("it did not happen within a second")
}
