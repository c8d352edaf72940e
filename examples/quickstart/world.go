package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite", in Go alone

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
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
	folder  string // of the database; removed by close
	master  []byte // what refresh tokens are derived with: it outlives the server, as its sessions do
	server  *http.Server
	db      *sql.DB
	network *network
	ring    *issuer.KeyRing
	client  *refresher.Transport
	http    *http.Client

	stolen  string       // the refresh token of the first login
	old     string       // an access token that has expired by now
	expired atomic.Int64 // how often OnSessionExpired was called
}

func newWorld(ctx context.Context) (*world, error) {
	w := &world{master: make([]byte, 32), network: &network{}}
	rand.Read(w.master)
	var err error
	if w.folder, err = os.MkdirTemp("", "tokenloop-"); err != nil {
		return nil, err
	}
	if err := w.start(ctx, "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, w.close())
	}
	if w.client, err = w.newClient(nil); err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.http = w.client.Client()
	return w, nil
}

// start begins to serve, on the sessions that are there.
func (w *world) start(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	w.url = "http://" + listener.Addr().String()
	if w.network.next, err = w.service(ctx); err != nil {
		return errors.Join(err, listener.Close())
	}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // connections are cut on purpose
	w.server = &http.Server{Handler: w.network, ReadHeaderTimeout: 5 * time.Second, ErrorLog: quiet}
	go func() { _ = w.server.Serve(listener) }() // until stop
	return nil
}

// stop ends the server and all that it had in memory.
func (w *world) stop(ctx context.Context) error {
	var err error
	if w.server != nil {
		err = w.server.Shutdown(ctx)
		w.server = nil
	}
	if w.db != nil {
		err = errors.Join(err, w.db.Close())
		w.db = nil
	}
	return err
}

// restart puts another server in the place of the one that there is.
func (w *world) restart(ctx context.Context) error {
	if err := w.stop(ctx); err != nil {
		return err
	}
	return w.start(ctx, strings.TrimPrefix(w.url, "http://"))
}

// service is what a user of the library writes: the issuer, and the API behind
// the middleware.
func (w *world) service(ctx context.Context) (http.Handler, error) {
	store, err := w.openStore(ctx)
	if err != nil {
		return nil, err
	}
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return nil, err
	}
	// The middleware below asks this ring itself, so a new key may sign at once.
	w.ring, err = issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, PublishBefore: issuer.NoDelay})
	if err != nil {
		return nil, err
	}
	denylist := middleware.NewDenylist(middleware.DenylistOptions{})
	iss, err := issuer.New(issuer.Config{
		Issuer: w.url, Audience: []string{"api"}, Keys: w.ring,
		MasterKeys: []issuer.MasterKey{{Secret: w.master}}, Store: store,
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

// openStore opens the database, and makes it where it is not there.
func (w *world) openStore(ctx context.Context) (issuer.Store, error) {
	var err error
	if w.db, err = sqlstore.OpenSQLite("sqlite", filepath.Join(w.folder, "sessions.db")); err != nil {
		return nil, err
	}
	store, err := sqlstore.New(sqlstore.Config{DB: w.db, Dialect: sqlstore.SQLite})
	if err != nil {
		return nil, err
	}
	return store, store.Migrate(ctx)
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

// close ends the world and leaves nothing behind.
func (w *world) close() error {
	var err error
	if w.client != nil {
		err = w.client.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(err, w.stop(ctx), os.RemoveAll(w.folder))
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
func kid(token string) string { return member(token, 0, "kid") }

// sid returns the session of a token.
func sid(token string) string { return member(token, 1, "sid") }

// member returns a text in the header (0) or the payload (1) of a token, which is
// not verified: the story only looks at what it was given.
func member(token string, part int, name string) string {
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(token+"..", ".")[part])
	if err != nil {
		return ""
	}
	var members map[string]any
	if json.Unmarshal(data, &members) != nil {
		return ""
	}
	value, _ := members[name].(string)
	return value
}
