// Command gateway is a reverse proxy with a token on either side: in front, the
// middleware verifies the callers' tokens; behind, the refresher adds the gateway's
// own, which it gets by client credentials (RFC 6749, Section 4.4). No token crosses
// it, and no refusal that is about the other side's token: see gateway.go.
//
// The program starts two issuers, an upstream and the gateway on loopback, plays
// what happens, checks what it tells, and ends within seconds.
//
//	go run ./examples/gateway
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

func main() { story.Main("gateway", run) }

// run tells the story to out. Its error is the first thing that did not happen.
func run(ctx context.Context, out io.Writer) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	return story.Play(ctx, out, w, "A token on either side of a gateway, which is "+w.gateway,
		through, refusedInFront, refusedBehind, crowd, outage, misconfigured)
}

const (
	accessTTL = 15 * time.Minute
	password  = "correct horse battery staple"
	secret    = "an-obviously-fake-client-secret-of-32-bytes"
)

// A world is the servers, and the client of a user.
type world struct {
	clock    story.Clock
	gateway  string       // its URL
	renewals atomic.Int64 // how often the users' issuer renewed a token
	services atomic.Int64 // how often the services' issuer was asked for one
	down     atomic.Bool  // the services' issuer
	client   *http.Client // of alice, with a refresher of her own
	alice    *refresher.Transport
	own      *refresher.Transport // of the gateway
	denylist *middleware.Denylist // of the upstream
	servers  []*httptest.Server

	mu   sync.Mutex
	seen []seen // what came to the upstream
}

// seen is a request as the upstream got it.
type seen struct {
	token, jti, cookie string
}

func newWorld() (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	w.denylist = middleware.NewDenylist(middleware.DenylistOptions{Now: w.clock.Now})

	// Users log in at one issuer, services at another.
	users, err := w.issuer("gateway", "/auth/refresh", &w.renewals, new(atomic.Bool))
	if err != nil {
		return w, err
	}
	services, err := w.issuer("upstream", "/auth/token", &w.services, &w.down)
	if err != nil {
		return w, err
	}

	behind, err := w.middleware(services, "upstream", w.denylist)
	if err != nil {
		return w, err
	}
	upstream := w.serve(behind.Handler(middleware.RequireScopes("orders")(http.HandlerFunc(w.orders))))

	w.own, err = refresher.New(refresher.Config{
		Source: refresher.ClientCredentials{
			TokenURL: services + "/auth/token", ClientID: "gateway", ClientSecret: secret, Scopes: []string{"orders"},
		},
		Origins: []string{upstream}, InsecureAllowHTTP: true, // on loopback
		RetryInterval: 10 * time.Millisecond, MaxRetries: 2, Pause: time.Second,
		Now: w.clock.Now,
	})
	if err != nil {
		return w, err
	}
	front, err := w.middleware(users, "gateway", nil)
	if err != nil {
		return w, err
	}
	target, err := url.Parse(upstream)
	if err != nil {
		return w, err
	}
	w.gateway = w.serve(newGateway(front, w.own, target))

	w.alice, err = refresher.New(refresher.Config{
		AuthURL: users + "/auth", Origins: []string{w.gateway}, InsecureAllowHTTP: true, Now: w.clock.Now,
	})
	if err != nil {
		return w, err
	}
	w.client = w.alice.Client()
	return w, nil
}

// issuer starts an issuer and returns its URL. It knows alice, and the client
// "gateway". What comes to one of its paths is counted.
func (w *world) issuer(audience, path string, count *atomic.Int64, down *atomic.Bool) (string, error) {
	server := httptest.NewUnstartedServer(nil)
	w.servers = append(w.servers, server)
	name := "http://" + server.Listener.Addr().String()
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		return "", err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		return "", err
	}
	master := make([]byte, 32)
	rand.Read(master)
	iss, err := issuer.New(issuer.Config{
		Issuer: name, Audience: []string{audience}, Keys: ring, MasterKeys: []issuer.MasterKey{{Secret: master}},
		Store: issuer.NewMemoryStore(), AccessTTL: accessTTL, Now: w.clock.Now, Logger: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			if c.Username != "alice" || c.Password != password {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: "alice"}, nil
		},
		Grants: []string{issuer.GrantClientCredentials},
		Clients: []issuer.Client{{
			ID: "gateway", Secrets: []string{secret}, Grants: []string{issuer.GrantClientCredentials}, Scopes: []string{"orders"},
		}},
	})
	if err != nil {
		return "", err
	}
	server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			count.Add(1)
		}
		if down.Load() {
			http.Error(rw, "down for maintenance", http.StatusServiceUnavailable)
			return
		}
		iss.ServeHTTP(rw, r)
	})
	server.Start()
	return name, nil
}

// middleware returns one that trusts the issuer of that URL.
func (w *world) middleware(name, audience string, revocations middleware.Revocations) (*middleware.Middleware, error) {
	return middleware.New(middleware.Config{
		Keys:   middleware.JWKS(name+"/auth/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}),
		Issuer: name, Audience: []string{audience}, TokenTypes: []string{"at+jwt"}, Revocations: revocations, Now: w.clock.Now,
		CheckPreflights: true, // none may pass with the gateway's token: CORS rules belong in front of this
	})
}

// orders is the upstream. It believes the gateway, and nobody else, whose order
// it is.
func (w *world) orders(rw http.ResponseWriter, r *http.Request) {
	claims, _ := middleware.FromContext(r.Context())
	if claims.ClientID != "gateway" || claims.Subject != "gateway" {
		http.Error(rw, "only for the gateway", http.StatusForbidden)
		return
	}
	user := r.Header.Get("X-User")
	w.mu.Lock()
	w.seen = append(w.seen, seen{r.Header.Get("Authorization"), claims.ID, r.Header.Get("Cookie")})
	w.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(rw, "where is the rest?", http.StatusBadRequest)
		return
	}
	switch r.URL.Path {
	case "/orders":
		fmt.Fprintf(rw, "%s %s %s", r.Method, user, body)
	case "/admin":
		rw.Header().Set("WWW-Authenticate", `Basic realm="upstream"`) // for whoever calls it directly
		http.Error(rw, user+" is no administrator", http.StatusForbidden)
	default:
		http.NotFound(rw, r)
	}
}

// last returns what came to the upstream last, and how much came in all.
func (w *world) last() (seen, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return seen{}, 0
	}
	return w.seen[len(w.seen)-1], len(w.seen)
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

// An answer is what the gateway says.
type answer struct {
	status int
	reason jwterrors.Reason
	header http.Header
	body   string
}

// ask calls the gateway.
func (w *world) ask(ctx context.Context, client *http.Client, method, path, body string, header ...string) (answer, error) {
	return w.stream(ctx, client, method, path, strings.NewReader(body), header...)
}

func (w *world) stream(ctx context.Context, client *http.Client, method, path string, body io.Reader, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.gateway+path, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if e := jwterrors.FromResponse(resp); e != nil {
		a.reason = e.Reason
	}
	data, err := io.ReadAll(resp.Body)
	a.body = strings.TrimSpace(string(data))
	return a, err
}
