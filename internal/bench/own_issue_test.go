package bench_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
)

// BenchmarkRefresh is a whole request to our issuer on the store in memory. No
// peer has a handler like it, so its rows are held to those of BenchmarkIssue.
//
//   - rotate: the refresh token that came with the answer before, in strict mode
//   - repeat: the same young refresh token each time, for which nothing is
//     written, so that it is mostly the new access token
//   - forged: a refresh token of a session that exists, with another MAC
//   - login: a new session, whose password nobody looks at
func BenchmarkRefresh(b *testing.B) {
	for _, alg := range algorithms {
		b.Run("alg="+alg, func(b *testing.B) {
			b.Run("case=rotate/mode=serial/impl=tokenloop", func(b *testing.B) {
				is := newOwnIssuer(b, alg, issuer.NoGrace)
				token := refreshTokenIn(is.login())
				b.ReportAllocs()
				for b.Loop() {
					if token = refreshTokenIn(is.refresh(token)); token == "" {
						b.Fatalf("answered with %d", is.w.status)
					}
				}
			})
			b.Run("case=repeat/mode=serial/impl=tokenloop", func(b *testing.B) {
				is := newOwnIssuer(b, alg, 0)
				token := refreshTokenIn(is.login())
				young := refreshTokenIn(is.refresh(token))
				b.ReportAllocs()
				for b.Loop() {
					if is.refresh(young); is.w.status != 200 {
						b.Fatalf("answered with %d", is.w.status)
					}
				}
			})
			b.Run("case=forged/mode=serial/impl=tokenloop", func(b *testing.B) {
				is := newOwnIssuer(b, alg, 0)
				token := forged(refreshTokenIn(is.login()))
				b.ReportAllocs()
				for b.Loop() {
					if is.refresh(token); is.w.status < 400 || is.w.status >= 500 {
						b.Fatalf("answered with %d", is.w.status)
					}
				}
			})
			b.Run("case=login/mode=serial/impl=tokenloop", func(b *testing.B) {
				is := newOwnIssuer(b, alg, 0)
				b.ReportAllocs()
				for b.Loop() {
					if is.login(); is.w.status != 200 {
						b.Fatalf("answered with %d", is.w.status)
					}
				}
			})
		})
	}
}

// An ownIssuer calls our issuer, with one request that is used again and again.
type ownIssuer struct {
	handler http.Handler
	w       *recorder
	r       *http.Request
	body    strings.Reader
}

func newOwnIssuer(tb testing.TB, alg string, grace time.Duration) *ownIssuer {
	return newOwnIssuerOf(tb, alg, func(c *issuer.Config) { c.Grace = grace })
}

// newOwnIssuerOf is for a Config that change, if there is one, has changed.
func newOwnIssuerOf(tb testing.TB, alg string, change func(*issuer.Config)) *ownIssuer {
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: ownKey(alg)})
	require.NoError(tb, err)
	c := issuer.Config{
		Issuer: issuerName, Audience: []string{audience}, ClientID: clientID,
		Keys:       ring,
		MasterKeys: []issuer.MasterKey{{Secret: []byte("an obviously fake master key, 32+ bytes")}},
		Store:      issuer.NewMemoryStore(),
		Authenticate: func(context.Context, issuer.Credentials) (issuer.User, error) {
			return issuer.User{ID: subject, Scopes: strings.Fields(scope)}, nil
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	handler, err := issuer.New(c)
	require.NoError(tb, err)
	return (&ownIssuer{handler: handler}).beside()
}

// beside returns another caller of the same issuer.
func (is *ownIssuer) beside() *ownIssuer {
	other := &ownIssuer{handler: is.handler, w: &recorder{sink: newSink()}, r: httptest.NewRequest("POST", "/auth/refresh", nil)}
	other.r.Header.Set("Content-Type", "application/json")
	return other
}

func ownKey(alg string) *issuer.Key {
	switch private := keys[alg]().private.(type) {
	case []byte:
		return must(issuer.NewSecretKey(private))
	case crypto.Signer:
		return must(issuer.NewKey(private))
	}
	return nil
}

// signOwn is our Minter. A token of it names its user in "userId", which the serial
// number stands in, and has no id; what the others write anew is beside it
// "auth_time" and "nbf", which are the Minter's fixed claims here, like those that
// do not change. The tokens are as long as the others.
func signOwn(alg string) func(int) string {
	c := issuer.MinterConfig{
		TTL: 15 * time.Minute,
		Claims: map[string]any{
			"iss": issuerName, "sub": subject, "aud": audience, "client_id": clientID, "scope": scope,
			"sid": "c2Vzc2lvbi1vZi1hLXVzZQ", "nbf": time.Now().Unix(), "auth_time": time.Now().Unix(),
		},
	}
	if secret, ok := keys[alg]().private.([]byte); ok {
		c.Secrets = [][]byte{secret}
	} else {
		c.Key = ownKey(alg)
	}
	minter := must(issuer.NewMinter(c))
	ctx := context.Background()
	return func(serial int) string {
		return must(minter.Mint(ctx, issuer.UserID("bench-"+strconv.Itoa(serial+1e16))))
	}
}

// login and refresh return the body of the answer, until the next call.
func (is *ownIssuer) login() []byte {
	return is.post("/auth/login", `{"username":"alice","password":"correct horse battery staple"}`)
}

func (is *ownIssuer) refresh(token string) []byte {
	return is.post("/auth/refresh", `{"refresh_token":"`+token+`"}`)
}

func (is *ownIssuer) post(path, body string) []byte {
	is.w.status = 200
	clear(is.w.header)
	is.w.body.Reset()
	is.body.Reset(body)
	is.r.URL.Path, is.r.Body, is.r.ContentLength = path, io.NopCloser(&is.body), int64(len(body))
	is.handler.ServeHTTP(is.w, is.r)
	return is.w.body.Bytes()
}

// A recorder is a sink that keeps the body.
type recorder struct {
	*sink
	body bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// refreshTokenIn finds the refresh token in an answer, without reading the rest.
func refreshTokenIn(answer []byte) string {
	_, rest, _ := bytes.Cut(answer, []byte(`"refresh_token":"`))
	token, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(token)
}

// forged returns token with another last character but one, since the last may
// have bits that do not count.
func forged(token string) string {
	at := len(token) - 2
	other := "A"
	if token[at] == 'A' {
		other = "B"
	}
	return token[:at] + other + token[at+1:]
}

func TestOurIssuerDoesWhatTheRowsSay(t *testing.T) {
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			strictly := newOwnIssuer(t, alg, issuer.NoGrace)
			first := refreshTokenIn(strictly.login())
			second := refreshTokenIn(strictly.refresh(first))
			third := refreshTokenIn(strictly.refresh(second))
			assert.NotEmpty(t, third)
			assert.NotEqual(t, second, third, "rotate rotates, a young token too")

			is := newOwnIssuer(t, alg, 0)
			young := refreshTokenIn(is.refresh(refreshTokenIn(is.login())))
			answer := is.refresh(young)
			assert.Equal(t, young, refreshTokenIn(answer), "repeat does not")
			var tokens struct {
				Access string `json:"access_token"`
			}
			require.NoError(t, json.Unmarshal(answer, &tokens))
			w := newSink()
			golangJWT(t, alg, ignore).ServeHTTP(w, request("Bearer "+tokens.Access))
			assert.False(t, w.refused(), "the access token is good")

			is.refresh(forged(young))
			assert.Equal(t, http.StatusUnauthorized, is.w.status)
			is.refresh(young)
			assert.Equal(t, http.StatusOK, is.w.status, "a forged token changes nothing")
		})
	}
}
