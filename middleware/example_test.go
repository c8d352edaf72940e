package middleware_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// exampleSecret stands for one of 32 random bytes, from a file or a vault.
var exampleSecret = []byte("an example, never to be used 123")

// exampleToken stands for what an issuer gives its client.
func exampleToken(scope string) string {
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "https://id.example.com", "aud": "orders", "sub": "alice", "jti": "token-1", "sid": "session-1",
		"iat": now.Unix(), "exp": now.Add(15 * time.Minute).Unix(), "scope": scope, "tenant": "acme",
	}).SignedString(exampleSecret)
	if err != nil {
		log.Fatal(err)
	}
	return token
}

// exampleAuth is what the examples of methods begin with.
func exampleAuth() *middleware.Middleware {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	if err != nil {
		log.Fatal(err)
	}
	return auth
}

// ask sends a request with a token to h, and prints the answer.
func ask(h http.Handler, token string) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code == http.StatusOK {
		fmt.Println(w.Code, w.Body)
	} else {
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	}
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if claims, ok := middleware.FromContext(r.Context()); ok {
		fmt.Fprint(w, "hello, ", claims.Subject)
	} else {
		fmt.Fprint(w, "hello, whoever you are")
	}
})

func Example() {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		Realm:    "orders",
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", auth.Handler(hello))

	ask(mux, exampleToken("api:read"))
	ask(mux, "")
	ask(mux, "not.a.token")
	// Output:
	// 200 hello, alice
	// 401 Bearer realm="orders"
	// 401 Bearer realm="orders", error="invalid_token", error_description="The token is not a compact JWS.", reason="AUTH_TOKEN_FORMAT_INVALID"
}

func ExampleNew() {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.JWKS("https://id.example.com/.well-known/jwks.json", middleware.JWKSOptions{}),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(auth != nil, err)
	// Output: true <nil>
}

// An issuer from a variable that is not set must not switch its check off.
func ExampleNew_incorrect() {
	_, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256([]byte("too short")),
		Issuer:   "",
		Audience: []string{""},
	})
	fmt.Println(err)
	// Output:
	// middleware: issuer "": its name, Issuer, is empty; it is what its tokens have in "iss"
	// middleware: issuer "": its Audience contains an empty string
	// middleware: issuer "": its Keys: secret 0 of HS256 has 9 bytes, fewer than 32
}

func ExampleNew_severalIssuers() {
	partner := make([]byte, 32) // stands for a secret
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		Issuers: []middleware.Issuer{{
			Issuer:   "https://partner.example",
			Audience: []string{"orders"},
			Keys:     middleware.HS256(partner),
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	ask(auth.Handler(hello), exampleToken(""))
	// Output: 200 hello, alice
}

func ExampleMiddleware_Check() {
	auth := exampleAuth()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	_, err := auth.Check(r)
	fmt.Println(err)
	r.Header.Set("Authorization", "Bearer "+exampleToken("api:read"))
	claims, err := auth.Check(r)
	fmt.Println(claims.Subject, claims.Scopes, err)
	// Output:
	// AUTH_TOKEN_MISSING
	// alice [api:read] <nil>
}

func ExampleMiddleware_Handler() {
	h := exampleAuth().Handler(hello)
	ask(h, exampleToken(""))
	ask(h, "")
	// Output:
	// 200 hello, alice
	// 401 Bearer
}

func ExampleMiddleware_Optional() {
	h := exampleAuth().Optional(hello)
	ask(h, exampleToken(""))
	ask(h, "")
	ask(h, "not.a.token")
	// Output:
	// 200 hello, alice
	// 200 hello, whoever you are
	// 401 Bearer error="invalid_token", error_description="The token is not a compact JWS.", reason="AUTH_TOKEN_FORMAT_INVALID"
}

func ExampleMiddleware_Verify() {
	// The token of a gRPC call, a WebSocket's first message, a queue.
	_, err := exampleAuth().Verify(context.Background(), "not.a.token")
	switch jwterrors.ReasonOf(err) {
	case jwterrors.TokenExpired:
		fmt.Println("come back with a new one")
	case jwterrors.KeysUnavailable, jwterrors.StoreUnavailable:
		fmt.Println("our trouble, try again later")
	default:
		fmt.Println("refused:", jwterrors.ReasonOf(err))
	}
	// Output: refused: AUTH_TOKEN_FORMAT_INVALID
}

func ExampleFromContext() {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, ok := middleware.FromContext(r.Context())
		fmt.Fprint(w, ok, " ", claims.Subject, " ", claims.SessionID)
	})
	ask(exampleAuth().Handler(h), exampleToken(""))
	// Output: 200 true alice session-1
}

// A handler is tested without tokens.
func ExampleNewContext() {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(middleware.NewContext(r.Context(), &middleware.Claims{Subject: "bob"}))
	w := httptest.NewRecorder()
	hello(w, r)
	fmt.Println(w.Body)
	// Output: hello, bob
}

func ExampleRequireScopes() {
	auth := exampleAuth()
	h := auth.Handler(middleware.RequireScopes("api:write")(hello))
	ask(h, exampleToken("api:read api:write"))
	ask(h, exampleToken("api:read"))
	// Output:
	// 200 hello, alice
	// 403 Bearer error="insufficient_scope", error_description="The token does not carry the required scope.", reason="AUTH_SCOPE_INSUFFICIENT", scope="api:write"
}

func ExampleClaims_HasScope() {
	claims := &middleware.Claims{Scopes: []string{"api:read"}}
	fmt.Println(claims.HasScope("api:read"), claims.HasScope("api"))
	// Output: true false
}

// Without "jti", a token could not be denied by itself.
func ExampleConfig_requiredClaims() {
	auth, err := middleware.New(middleware.Config{
		Keys:           middleware.HS256(exampleSecret),
		Issuer:         "https://id.example.com",
		Audience:       []string{"orders"},
		RequiredClaims: []string{"jti", "email"},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = auth.Verify(context.Background(), exampleToken(""))
	fmt.Println(err)
	// Output: AUTH_TOKEN_PAYLOAD_INVALID: "email" is missing
}

func ExampleClaims_Decode() {
	claims, err := exampleAuth().Verify(context.Background(), exampleToken(""))
	if err != nil {
		log.Fatal(err)
	}
	var own struct {
		Tenant string `json:"tenant"`
	}
	if err := claims.Decode(&own); err != nil {
		log.Fatal(err)
	}
	fmt.Println(own.Tenant)
	// Output: acme
}

func ExampleClaims_LogValue() {
	claims := &middleware.Claims{Issuer: "https://id.example.com", Subject: "alice", ClientID: "app", ID: "token-1", Email: "alice@example.com"}
	fmt.Println(claims.LogValue())
	// Output: [iss=https://id.example.com sub=alice client_id=app jti=token-1]
}

// Two secrets, while the issuer changes from one to the other.
func ExampleHS256() {
	next := make([]byte, 32) // stands for a secret
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(next, exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	if err != nil {
		log.Fatal(err)
	}
	ask(auth.Handler(hello), exampleToken(""))
	// Output: 200 hello, alice
}

// The longer the hash, the longer the secret.
func ExampleHS384() {
	_, err := middleware.New(middleware.Config{
		Keys:     middleware.HS384(make([]byte, 48)), // stands for a secret
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(err)
	// Output: <nil>
}

// A secret of HS256 may be too short for HS512.
func ExampleHS512_incorrect() {
	_, err := middleware.New(middleware.Config{
		Keys:     middleware.HS512(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(err)
	// Output: middleware: issuer "https://id.example.com": its Keys: secret 0 of HS512 has 32 bytes, fewer than 64
}

func ExampleHS512() {
	_, err := middleware.New(middleware.Config{
		Keys:     middleware.HS512(make([]byte, 64)), // stands for a secret
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExamplePublicKeys() {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), examplePoint)
	if err != nil {
		log.Fatal(err)
	}
	_, err = middleware.New(middleware.Config{
		Keys:     middleware.PublicKeys(middleware.PublicKey{ID: "2026-01", Key: key}),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(err)
	// Output: <nil>
}

var examplePoint = func() []byte {
	x, _ := base64.RawURLEncoding.DecodeString("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4")
	y, _ := base64.RawURLEncoding.DecodeString("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM")
	return append(append([]byte{4}, x...), y...)
}()

func ExampleJWKS() {
	_, err := middleware.New(middleware.Config{
		Keys: middleware.JWKS("https://id.example.com/.well-known/jwks.json", middleware.JWKSOptions{
			RefreshAfter: 5 * time.Minute,
			MaxStale:     time.Hour,
		}),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(err)
	// Output: <nil>
}

// Whoever can change what passes over plain HTTP can sign tokens.
func ExampleJWKS_incorrect() {
	_, err := middleware.New(middleware.Config{
		Keys:     middleware.JWKS("http://id.example.com/jwks.json", middleware.JWKSOptions{}),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(err)
	// Output: middleware: issuer "https://id.example.com": its Keys: JWKS: the URL is not one of https, and InsecureAllowHTTP is not set
}

func ExampleLocalJWKS() {
	// The issuer's method that returns its current set has this signature.
	current := func() []byte { return exampleSet }
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.LocalJWKS(current),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	if err != nil {
		log.Fatal(err)
	}
	ask(auth.Handler(hello), exampleToken("")) // signed with a secret
	// Output: 401 Bearer error="invalid_token", error_description="The signature of the token is not valid.", reason="AUTH_TOKEN_SIGNATURE_INVALID"
}

// exampleSet stands for what an issuer publishes.
var exampleSet = func() []byte {
	set, _ := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "EC", "crv": "P-256", "kid": "2026-01", "alg": "ES256", "use": "sig",
		"x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
	}}})
	return set
}()

func ExampleNewDenylist() {
	denied := middleware.NewDenylist(middleware.DenylistOptions{MaxEntries: 100_000})
	auth, err := middleware.New(middleware.Config{
		Keys:        middleware.HS256(exampleSecret),
		Issuer:      "https://id.example.com",
		Audience:    []string{"orders"},
		Revocations: denied,
	})
	if err != nil {
		log.Fatal(err)
	}
	h := auth.Handler(hello)
	ask(h, exampleToken(""))
	if err := denied.DenySession(context.Background(), "session-1", time.Now().Add(15*time.Minute)); err != nil {
		log.Fatal(err)
	}
	ask(h, exampleToken(""))
	// Output:
	// 200 hello, alice
	// 401 Bearer error="invalid_token", error_description="The token was revoked.", reason="AUTH_TOKEN_INVALIDATED"
}

func ExampleDenylist_DenySession() {
	var denied middleware.Denylist
	now, ctx := time.Now(), context.Background()
	fmt.Println(denied.DenySession(ctx, "session-1", now.Add(15*time.Minute)))
	fmt.Println(denied.Revoked(ctx, "session-1", "token-1", "alice", now))
	fmt.Println(denied.Revoked(ctx, "session-2", "token-2", "alice", now))
	// Output:
	// <nil>
	// true <nil>
	// false <nil>
}

func ExampleDenylist_DenyToken() {
	var denied middleware.Denylist
	now, ctx := time.Now(), context.Background()
	fmt.Println(denied.DenyToken(ctx, "token-1", now.Add(15*time.Minute)))
	fmt.Println(denied.Revoked(ctx, "session-1", "token-1", "alice", now))
	// Output:
	// <nil>
	// true <nil>
}

// All that alice has until now; what she gets after the next login is good.
func ExampleDenylist_DenySubject() {
	var denied middleware.Denylist
	now, ctx := time.Now(), context.Background()
	fmt.Println(denied.DenySubject(ctx, "alice", now, now.Add(15*time.Minute)))
	fmt.Println(denied.Revoked(ctx, "session-1", "token-1", "alice", now.Add(-time.Minute)))
	fmt.Println(denied.Revoked(ctx, "session-2", "token-2", "alice", now.Add(time.Minute)))
	// Output:
	// <nil>
	// true <nil>
	// false <nil>
}

func ExampleDenylist_Revoked() {
	var empty middleware.Denylist
	fmt.Println(empty.Revoked(context.Background(), "session-1", "token-1", "alice", time.Now()))
	// Output: false <nil>
}

// A feed copies what is denied elsewhere, and says until when it has everything.
func ExampleDenylist_Synced() {
	denied := middleware.NewDenylist(middleware.DenylistOptions{MaxAge: time.Minute})
	auth, err := middleware.New(middleware.Config{
		Keys:        middleware.HS256(exampleSecret),
		Issuer:      "https://id.example.com",
		Audience:    []string{"orders"},
		Revocations: denied,
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = auth.Verify(context.Background(), exampleToken(""))
	fmt.Println(err)
	denied.Synced(time.Now())
	_, err = auth.Verify(context.Background(), exampleToken(""))
	fmt.Println(err)
	// Output:
	// AUTH_STORE_UNAVAILABLE: AUTH_STORE_UNAVAILABLE: middleware: the denylist was never in step with its origin
	// <nil>
}

func ExampleDenylist_Age() {
	var denied middleware.Denylist
	fmt.Println(denied.Age())
	denied.Synced(time.Now().Add(-time.Hour))
	age, ok := denied.Age()
	fmt.Println(age.Round(time.Minute), ok)
	// Output:
	// 0s false
	// 1h0m0s true
}

func ExampleConfig_validate() {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		Validate: func(_ context.Context, c *middleware.Claims) error {
			if c.Subject == "alice" {
				return &jwterrors.Error{Reason: jwterrors.TokenUserKeyInvalid, Err: errors.New("alice has left")}
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = auth.Verify(context.Background(), exampleToken(""))
	fmt.Println(err)
	// Output: AUTH_TOKEN_USER_KEY_INVALID: alice has left
}

// A browser keeps the token in a cookie, a download link has it in the query.
func ExampleConfig_sources() {
	auth, err := middleware.New(middleware.Config{
		Keys:         middleware.HS256(exampleSecret),
		Issuer:       "https://id.example.com",
		Audience:     []string{"orders"},
		TokenCookie:  "__Host-token",
		TokenInQuery: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/?access_token="+exampleToken(""), nil)
	w := httptest.NewRecorder()
	auth.Handler(hello).ServeHTTP(w, r)
	fmt.Println(w.Body, w.Header().Get("Cache-Control"))

	r.AddCookie(&http.Cookie{Name: "__Host-token", Value: exampleToken("")})
	_, err = auth.Check(r)
	fmt.Println(err)
	// Output:
	// hello, alice no-store, private
	// AUTH_REQUEST_INVALID: a token in a cookie and another in the query
}

func ExampleRequireAnyScope() {
	h := exampleAuth().Handler(middleware.RequireAnyScope("api:write", "admin")(hello))
	ask(h, exampleToken("admin"))
	ask(h, exampleToken("api:read"))
	// Output:
	// 200 hello, alice
	// 403 Bearer error="insufficient_scope", error_description="The token does not carry the required scope.", reason="AUTH_SCOPE_INSUFFICIENT", scope="api:write admin"
}

func ExampleRequireClaim() {
	auth := exampleAuth()
	ask(auth.Handler(middleware.RequireClaim("tenant", "acme")(hello)), exampleToken(""))
	ask(auth.Handler(middleware.RequireClaim("tenant", "globex")(hello)), exampleToken(""))
	// Output:
	// 200 hello, alice
	// 403 Bearer error="insufficient_scope", error_description="The token does not carry the required claim.", reason="AUTH_SCOPE_INSUFFICIENT"
}

// Money moves only within five minutes of a login.
func ExampleRequireAuthentication() {
	recent := middleware.RequireAuthentication(middleware.Authentication{MaxAge: 5 * time.Minute})
	ask(exampleAuth().Handler(recent(hello)), exampleToken(""))
	// Output: 401 Bearer error="insufficient_user_authentication", error_description="A stronger or more recent login is required.", reason="AUTH_AUTHENTICATION_INSUFFICIENT", max_age="300"
}

// Before enforcement is turned on, the log tells what it would refuse.
func ExampleMiddleware_Observe() {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		Logger: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey || a.Key == "time" {
					return slog.Attr{}
				}
				return a
			},
		})),
	})
	if err != nil {
		log.Fatal(err)
	}
	ask(auth.Observe(hello), "")
	// Output:
	// level=INFO msg="middleware: request would be refused" error.reason=AUTH_TOKEN_MISSING
	// 200 hello, whoever you are
}

// A counter counts decisions by their reason. In a program, it would be a counter
// with a label of the metrics library.
type counter struct {
	mu       sync.Mutex
	byReason map[jwterrors.Reason]int
}

func (c *counter) Checked(_ context.Context, outcome middleware.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byReason[outcome.Reason]++
}

func ExampleObserver() {
	metrics := &counter{byReason: map[jwterrors.Reason]int{}}
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		Observer: metrics,
	})
	if err != nil {
		log.Fatal(err)
	}
	h := auth.Handler(middleware.RequireScopes("api:write")(hello))
	for _, token := range []string{exampleToken("api:write"), exampleToken("api:read"), "not.a.token"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	for _, reason := range slices.Sorted(maps.Keys(metrics.byReason)) {
		fmt.Printf("%q %d\n", reason, metrics.byReason[reason])
	}
	// Output:
	// "" 2
	// "AUTH_SCOPE_INSUFFICIENT" 1
	// "AUTH_TOKEN_FORMAT_INVALID" 1
}

// Traffic comes when there are keys to verify it with.
func ExampleMiddleware_Ready() {
	document := []byte("{}") // of an issuer that has not started yet
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.LocalJWKS(func() []byte { return document }),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := auth.Ready(ctx); err != nil {
			jwterrors.Responder{}.Respond(w, r, err)
			return
		}
		fmt.Fprint(w, "ready")
	})
	probe := func() {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		fmt.Println(w.Code, w.Header().Get("Retry-After"))
	}
	probe()
	document = exampleSet
	probe()
	// Output:
	// 503 1
	// 200
}

func ExampleMiddleware_KeyStates() {
	auth := exampleAuth()
	for _, state := range auth.KeyStates() {
		fmt.Println(state.Issuer, state.Keys, state.Stale, state.Err)
	}
	// Output: https://id.example.com 1 false <nil>
}

// A client that knows nothing but the address of a service, as those of the Model
// Context Protocol do, learns from a refusal where to get a token.
func ExampleProtectedResourceMetadata() {
	about := middleware.ProtectedResourceMetadata{
		Resource:             "https://api.example.com/orders",
		AuthorizationServers: []string{"https://id.example.com"},
		ScopesSupported:      []string{"api:read", "api:write"},
	}
	metadata, err := about.Handler()
	if err != nil {
		log.Fatal(err)
	}
	auth, err := middleware.New(middleware.Config{
		Keys:             middleware.HS256(exampleSecret),
		Issuer:           "https://id.example.com",
		Audience:         []string{about.Resource},
		ResourceMetadata: about.URL(),
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/.well-known/oauth-protected-resource/orders", metadata)
	mux.Handle("/orders", auth.Handler(hello))

	for _, path := range []string{"/orders", "/.well-known/oauth-protected-resource/orders"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	}
	// Output:
	// 401 Bearer resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/orders"
	// 200
}

func ExampleProtectedResourceMetadata_Handler() {
	metadata, err := middleware.ProtectedResourceMetadata{
		Resource:             "https://api.example.com",
		AuthorizationServers: []string{"https://id.example.com"},
	}.Handler()
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	metadata.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/oauth-protected-resource", nil))
	fmt.Println(w.Body)
	// Output: {"resource":"https://api.example.com","authorization_servers":["https://id.example.com"]}
}

// A resource is an address that clients can compare, and not a name.
func ExampleProtectedResourceMetadata_Handler_incorrect() {
	_, err := middleware.ProtectedResourceMetadata{
		Resource:             "orders",
		AuthorizationServers: []string{"http://id.example.com"},
	}.Handler()
	fmt.Println(err)
	// Output:
	// middleware: metadata of the resource: Resource: the URL is not one of https
	// middleware: metadata of the resource: AuthorizationServers 0: the URL is not one of https, and InsecureAllowHTTP is not set
}

func ExampleProtectedResourceMetadata_URL() {
	fmt.Println(middleware.ProtectedResourceMetadata{Resource: "https://api.example.com/orders"}.URL())
	// Output: https://api.example.com/.well-known/oauth-protected-resource/orders
}

// Each project has a secret of its own, which its API key selects. The tokens of
// its users name neither an issuer nor an audience.
func ExampleConfig_resolve() {
	projects := map[string]middleware.Issuer{ // made once, so that each has one source of keys
		"key-one": {Keys: middleware.HS256(exampleSecret), InsecureAnyIssuer: true, InsecureAnyAudience: true},
	}
	auth, err := middleware.New(middleware.Config{
		Resolve: func(_ context.Context, r *http.Request, _ string) (middleware.Issuer, error) {
			if r == nil { // Verify has no request
				return middleware.Issuer{}, nil
			}
			return projects[r.Header.Get("Api-Key")], nil
		},
		UserKey: &middleware.UserKeyRule{},
	})
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now().Unix()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"email": "alice@example.com", "iat": now, "exp": now + 900,
	}).SignedString(exampleSecret)
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range []string{"key-one", "key-two"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Api-Key", key)
		r.Header.Set("Authorization", "Bearer "+token)
		_, err := auth.Check(r)
		fmt.Println(key, err)
	}
	// Output:
	// key-one <nil>
	// key-two AUTH_TOKEN_KEY_UNKNOWN: there is no issuer for the request
}

func ExampleConfig_skip() {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		Skip:     func(r *http.Request) bool { return r.URL.Path == "/login" },
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, path := range []string{"/login", "/login/", "/orders"} {
		w := httptest.NewRecorder()
		auth.Handler(hello).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(path, w.Code)
	}
	// Output:
	// /login 200
	// /login/ 401
	// /orders 401
}

// Tokens of a JWT-enabled API key, for the user whose address is in the path.
func ExampleUserKeyRule() {
	auth, err := middleware.New(middleware.Config{
		Keys:                middleware.HS256(exampleSecret),
		InsecureAnyIssuer:   true, // such tokens name neither,
		InsecureAnyAudience: true, // so the secret must be for this alone
		UserKey: &middleware.UserKeyRule{
			Matches: func(_ context.Context, r *http.Request, key middleware.UserKey) (bool, error) {
				return r != nil && r.URL.Path == "/users/"+key.Email, nil
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now().Unix()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"email": "alice@example.com", "iat": now, "exp": now + 900,
	}).SignedString(exampleSecret)
	if err != nil {
		log.Fatal(err)
	}
	for _, path := range []string{"/users/alice@example.com", "/users/bob@example.com"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		_, err := auth.Check(r)
		fmt.Println(path, err)
	}
	// Output:
	// /users/alice@example.com <nil>
	// /users/bob@example.com AUTH_TOKEN_USER_KEY_INVALID: the request is about another user
}

func ExampleDiscover() {
	_, err := middleware.New(middleware.Config{
		Keys:     middleware.Discover("https://id.example.com", middleware.JWKSOptions{}),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(err)
	// Output: <nil>
}

// The name of an issuer counts byte by byte.
func ExampleDiscover_incorrect() {
	_, err := middleware.New(middleware.Config{
		Keys:     middleware.Discover("https://id.example.com/", middleware.JWKSOptions{}),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
	})
	fmt.Println(err)
	// Output: middleware: issuer "https://id.example.com": its Keys are discovered of another issuer, "https://id.example.com/"
}

// Tokens that are bound to a key of their client, beside bearer tokens: a client
// learns from a refusal that it may use them.
func ExampleDPoP() {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		DPoP:     &middleware.DPoP{PublicURL: "https://api.example.com", RequireNonce: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	auth.Handler(hello).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer, DPoP algs="ES256 EdDSA Ed25519 ES384 PS256 RS256"
}

// What weakens the check of proofs is refused, all at once.
func ExampleDPoP_Format() {
	fmt.Println(middleware.DPoP{RequireNonce: true, NonceSecret: []byte("an obviously fake nonce secret 32")})
	// Output: DPoP with Required false and RequireNonce true
}

func ExampleDPoP_incorrect() {
	_, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		DPoP:     &middleware.DPoP{Algorithms: []string{"HS256"}, RequireNonce: true, NonceSecret: []byte("short")},
	})
	fmt.Println(err)
	// Output:
	// middleware: DPoP: Algorithms contains "HS256", which is none of a public key
	// middleware: DPoP: NonceSecret has 5 bytes, and needs 32
	// middleware: DPoP: PublicURL is empty; it is what clients call "/" by
}

// Tokens that are bound to a client's certificate, behind a proxy that ends TLS.
func ExampleCertificateHeader() {
	fromProxy, err := middleware.CertificateHeader("Client-Cert", netip.MustParsePrefix("10.0.0.0/8"))
	if err != nil {
		log.Fatal(err)
	}
	auth, err := middleware.New(middleware.Config{
		Keys:              middleware.HS256(exampleSecret),
		Issuer:            "https://id.example.com",
		Audience:          []string{"orders"},
		ClientCertificate: fromProxy,
	})
	if err != nil {
		log.Fatal(err)
	}
	certificate := []byte("the DER of a certificate")
	thumbprint := sha256.Sum256(certificate)
	now := time.Now().Unix()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "https://id.example.com", "aud": "orders", "iat": now, "exp": now + 900,
		"cnf": map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(thumbprint[:])},
	}).SignedString(exampleSecret)
	if err != nil {
		log.Fatal(err)
	}
	for _, from := range []string{"10.0.0.1:443", "192.0.2.1:443"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = from
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Client-Cert", ":"+base64.StdEncoding.EncodeToString(certificate)+":")
		_, err := auth.Check(r)
		fmt.Println(from, err)
	}
	// Output:
	// 10.0.0.1:443 <nil>
	// 192.0.2.1:443 AUTH_PROOF_INVALID: the token is bound to a certificate, and the client showed none
}
