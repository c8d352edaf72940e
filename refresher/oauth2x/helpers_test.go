package oauth2x_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/tokenloop/tokenloop/refresher"
)

// A server is an authorization server (RFC 6749) with one user and one client, and
// an API behind it. Each refresh token is good for one exchange.
type server struct {
	*httptest.Server
	life time.Duration // of an access token

	mu     sync.Mutex
	number int          // of the tokens that were given out last; the API takes no others
	forms  []url.Values // that the token endpoint got
	keys   []string     // the Idempotency-Keys that came with them
	calls  int          // of the API
	keeps  bool         // a refresh brings no new refresh token
	answer http.HandlerFunc
}

const (
	clientID = "app"
	secret   = "app-secret-app-secret"
)

func newServer(t testing.TB) *server {
	s := &server{life: time.Hour}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("/api", s.api)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// config is the client's, as a program that uses golang.org/x/oauth2 has it.
func (s *server) config() *oauth2.Config {
	return &oauth2.Config{
		ClientID: clientID, ClientSecret: secret,
		Endpoint: oauth2.Endpoint{TokenURL: s.URL + "/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
}

// with changes the server under its lock.
func (s *server) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// seen returns how many tokens were asked for, and how often the API was called.
func (s *server) seen() (grants, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.forms), s.calls
}

// login returns the first token, as Config.Exchange would.
func (s *server) login(life time.Duration) *oauth2.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	return &oauth2.Token{
		AccessToken: fmt.Sprintf("access-%d", s.number), RefreshToken: fmt.Sprintf("refresh-%d", s.number),
		TokenType: "bearer", Expiry: time.Now().Add(life),
	}
}

// revoke makes the API refuse the tokens that were given out so far. Their refresh
// token stays good.
func (s *server) revoke() { s.with(func() { s.number += 100 }) }

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = r.ParseForm()
	s.forms = append(s.forms, r.PostForm)
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	if s.answer != nil {
		s.answer(w, r)
		return
	}
	refuse := func(status int, code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code})
	}
	id, password, ok := r.BasicAuth()
	if !ok {
		id, password = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if id != clientID || password != secret {
		refuse(401, "invalid_client")
		return
	}
	body := map[string]any{"token_type": "bearer", "expires_in": int(s.life / time.Second), "scope": "read write"}
	switch r.PostForm.Get("grant_type") {
	case "client_credentials":
		s.number++
	case "refresh_token":
		if r.PostForm.Get("refresh_token") != fmt.Sprintf("refresh-%d", s.number%100) {
			refuse(400, "invalid_grant")
			return
		}
		s.number = s.number%100 + 1
		body["refresh_token"], body["refresh_expires_in"] = fmt.Sprintf("refresh-%d", s.number), 3600
		if s.keeps {
			delete(body, "refresh_token")
		}
	default:
		refuse(400, "unsupported_grant_type")
		return
	}
	body["access_token"] = fmt.Sprintf("access-%d", s.number)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (s *server) api(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if got := r.Header.Get("Authorization"); got != fmt.Sprintf("Bearer access-%d", s.number) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fmt.Fprint(w, "hello")
}

// newTransport returns a Transport that gets its tokens from source, with tokens to
// begin with.
func (s *server) newTransport(t testing.TB, source refresher.Source, tokens refresher.Tokens, change ...func(*refresher.Config)) *refresher.Transport {
	t.Helper()
	c := refresher.Config{
		Origins: []string{s.URL}, InsecureAllowHTTP: true, Source: source,
		RetryInterval: time.Millisecond, NoJitter: true, MaxRetries: 2,
	}
	for _, f := range change {
		f(&c)
	}
	tr, err := refresher.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tr.Close() })
	require.NoError(t, tr.SetTokens(t.Context(), tokens))
	return tr
}

// get calls the API with client.
func (s *server) get(t testing.TB, client *http.Client) (status int, body string) {
	t.Helper()
	resp, err := client.Get(s.URL + "/api")
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, strings.TrimSpace(string(data))
}
