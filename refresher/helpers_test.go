package refresher_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A service plays the issuer and the API, with counters. Its tokens are JWTs
// that nobody signed; the API accepts the newest one.
type service struct {
	now func() time.Time
	ttl time.Duration

	mu       sync.Mutex
	current  int  // the number of the access token that the API accepts
	rotation int  // the number of the refresh token that /refresh accepts
	opaque   bool // access tokens are no JWTs
	subject  string
	jkt      string   // tokens are bound to the key with that thumbprint; empty: to none
	revoked  []string // refresh tokens that /logout got
	keys     []string // Idempotency-Keys that /refresh got
	used     []string // refresh tokens that /refresh got

	logins, refreshes, calls atomic.Int64
	refused                  atomic.Int64 // calls answered 401

	// onRefresh answers a refresh in the service's place when it returns true.
	onRefresh atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	onCall    atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func newService() *service { return &service{now: time.Now, ttl: 10 * time.Minute, subject: "alice"} }

func (s *service) hookRefresh(f func(w http.ResponseWriter, r *http.Request) bool) {
	if f == nil {
		s.onRefresh.Store(nil)
		return
	}
	s.onRefresh.Store(&f)
}

func (s *service) hookCall(f func(w http.ResponseWriter, r *http.Request) bool) { s.onCall.Store(&f) }

// access returns access token n.
func (s *service) access(n int) string {
	if s.opaque {
		return fmt.Sprintf("opaque-access-token-number-%d", n)
	}
	now := s.now()
	payload := fmt.Sprintf(`{"iss":"https://id.example.com","aud":"api","sub":%q,"iat":%d,"exp":%d,"n":%d`,
		s.subject, now.Unix(), now.Add(s.ttl).Unix(), n)
	if s.jkt != "" {
		payload += fmt.Sprintf(`,"cnf":{"jkt":%q}`, s.jkt)
	}
	return jwtOf(payload + "}")
}

func jwtOf(payload string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." + e([]byte(payload)) + "." + e([]byte(strings.Repeat("x", 64)))
}

// number returns n of an access token, or -1.
func number(token string) int {
	var n int
	if _, err := fmt.Sscanf(token, "opaque-access-token-number-%d", &n); err == nil {
		return n
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return -1
	}
	var claims struct{ N int }
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(data, &claims) != nil {
		return -1
	}
	return claims.N
}

// expire makes the API refuse every token given out so far.
func (s *service) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current++
}

func (s *service) tokens(w http.ResponseWriter) {
	s.mu.Lock()
	s.current++
	s.rotation++
	body := map[string]any{
		"access_token": s.access(s.current), "token_type": s.scheme(), "expires_in": int(s.ttl.Seconds()),
		"refresh_token": fmt.Sprintf("refresh-token-number-%d", s.rotation), "refresh_expires_in": 3600, "scope": "a",
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (s *service) scheme() string {
	if s.jkt != "" {
		return "DPoP"
	}
	return "Bearer"
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(reason jwterrors.Reason) { jwterrors.Responder{}.Respond(w, r, reason) }
	switch r.URL.Path {
	case "/auth/login":
		s.logins.Add(1)
		var body struct{ Username, Password string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		if body.Password != "right" {
			refuse(jwterrors.CredentialsInvalid)
			return
		}
		s.tokens(w)
	case "/auth/refresh":
		s.refreshes.Add(1)
		data, _ := io.ReadAll(r.Body)
		var body struct {
			RefreshToken string `json:"refresh_token"`
		}
		_ = json.Unmarshal(data, &body)
		s.mu.Lock()
		s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
		s.used = append(s.used, body.RefreshToken)
		good := body.RefreshToken == fmt.Sprintf("refresh-token-number-%d", s.rotation)
		s.mu.Unlock()
		if f := s.onRefresh.Load(); f != nil && (*f)(w, r) {
			return
		}
		if !good {
			refuse(jwterrors.RefreshTokenReused)
			return
		}
		s.tokens(w)
	case "/auth/logout":
		data, _ := io.ReadAll(r.Body)
		var body struct {
			RefreshToken string `json:"refresh_token"`
		}
		_ = json.Unmarshal(data, &body)
		s.mu.Lock()
		s.revoked = append(s.revoked, body.RefreshToken)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	default:
		s.calls.Add(1)
		if f := s.onCall.Load(); f != nil && (*f)(w, r) {
			return
		}
		s.mu.Lock()
		current, scheme := s.current, s.scheme()
		s.mu.Unlock()
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), scheme+" ")
		switch {
		case !ok:
			s.refused.Add(1)
			refuse(jwterrors.TokenMissing)
		case number(token) != current:
			s.refused.Add(1)
			refuse(jwterrors.TokenExpired)
		default:
			data, _ := io.ReadAll(r.Body)
			_, _ = w.Write(append([]byte("ok "), data...))
		}
	}
}

func (s *service) log() (used, keys, revoked []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.used...), append([]string(nil), s.keys...), append([]string(nil), s.revoked...)
}

// start serves s on loopback.
func (s *service) start(t testing.TB) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server
}

func config(url string) refresher.Config {
	return refresher.Config{
		AuthURL: url + "/auth", Origins: []string{url}, InsecureAllowHTTP: true,
		Base: &http.Transport{MaxIdleConnsPerHost: 64}, RetryInterval: time.Millisecond, NoJitter: true,
	}
}

func newTransport(t testing.TB, c refresher.Config) *refresher.Transport {
	t.Helper()
	tr, err := refresher.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

func login(t testing.TB, tr *refresher.Transport) {
	t.Helper()
	require.NoError(t, tr.Login(t.Context(), refresher.Credentials{Username: "alice", Password: "right"}))
}

// get calls url and returns the status, or 0 and the error.
func get(ctx context.Context, client *http.Client, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
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

// handlerTransport calls a handler without a network, so that fake time works.
// A handler that panics with http.ErrAbortHandler gives no answer.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, io.ErrUnexpectedEOF
		}
	}()
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp = w.Result()
	resp.Request = r
	return resp, nil
}

// offline is a Transport on s without a network.
func offline(t testing.TB, s *service, change func(*refresher.Config)) *refresher.Transport {
	t.Helper()
	c := config("http://service.test")
	c.Base = handlerTransport{s}
	if change != nil {
		change(&c)
	}
	return newTransport(t, c)
}

const api = "http://service.test/api"

// parse reads a token response.
func parse(data []byte) refresher.Tokens {
	var wire struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal(data, &wire)
	return refresher.Tokens{AccessToken: wire.AccessToken, RefreshToken: wire.RefreshToken}
}
