package password_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
)

// Whatever is wrong with a login, the answer is the same to the byte: nobody
// learns which users exist, or which of them are locked.
func TestEveryKindOfWrongIsAnsweredAlike(t *testing.T) { // IT-04, JG-16
	for name, c := range map[string]password.Config{"argon2id": cheapArgon2id, "bcrypt": cheapBcrypt} {
		t.Run(name, func(t *testing.T) {
			h := newHasher(t, c)
			known := hash(t, h, secret)
			accounts := map[string]password.Account{
				"alice":    {User: issuer.User{ID: "1"}, Hash: known},
				"locked":   {User: issuer.User{ID: "2"}, Hash: known, Locked: true},
				"nameless": {User: issuer.User{ID: "3"}}, // without a password
				"unusable": {User: issuer.User{ID: "4"}, Hash: "$1$abcdefgh$0123456789012345678901"},
			}
			var events []issuer.Event
			server := serve(t, h, func(_ context.Context, c issuer.Credentials) (password.Account, error) {
				if c.Username == "refused" {
					return password.Account{}, jwterrors.CredentialsInvalid
				}
				return accounts[c.Username+c.Email], nil
			}, func(e issuer.Event) { e.Time = time.Time{}; events = append(events, e) })
			login := func(name, user, pw string) (int, http.Header, string) {
				body, err := json.Marshal(map[string]string{name: user, "password": pw})
				require.NoError(t, err)
				resp, err := server.Client().Post(server.URL+"/auth/login", "application/json", strings.NewReader(string(body)))
				require.NoError(t, err)
				defer resp.Body.Close()
				data, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				resp.Header.Del("Date")
				return resp.StatusCode, resp.Header, string(data)
			}

			status, header, body := login("username", "alice", "wrong")
			require.Equal(t, 401, status)
			require.Contains(t, body, string(jwterrors.CredentialsInvalid))
			require.Len(t, events, 1)
			first := events[0]
			for _, c := range []struct{ what, name, user, pw string }{
				{"an unknown user", "username", "nobody", secret},
				{"an unknown address", "email", "nobody@example.com", secret},
				{"a user that the directory refuses", "username", "refused", secret},
				{"a locked user with the right password", "username", "locked", secret},
				{"a locked user with a wrong password", "username", "locked", "wrong"},
				{"a user without a password", "username", "nameless", secret},
				{"a user whose hash cannot be used", "username", "unusable", secret},
				{"another case of the name", "username", "ALICE", secret},
				{"another case of the password", "username", "alice", strings.ToUpper(secret)},
				{"a password with a space behind it", "username", "alice", secret + " "},
				{"a password of 80 bytes", "username", "alice", strings.Repeat("x", 80)},
				{"a password of 5000 bytes", "username", "alice", strings.Repeat("x", 5000)},
				{"a password with a NUL", "username", "alice", secret + "\x00"},
				{"a stored hash as the password", "username", "alice", known},
				{"a name with quotes", "username", `alice' OR '1'='1`, secret},
			} {
				events = nil
				gotStatus, gotHeader, gotBody := login(c.name, c.user, c.pw)
				assert.Equal(t, status, gotStatus, c.what)
				assert.Equal(t, header, gotHeader, c.what)
				assert.Equal(t, body, gotBody, c.what)
				assert.Equal(t, []issuer.Event{first}, events, c.what)
			}
			status, _, _ = login("username", "alice", secret)
			assert.Equal(t, 200, status, "the right one")
		})
	}
}

// serve starts an issuer whose users are those of lookup.
func serve(t *testing.T, h *password.Hasher, lookup func(context.Context, issuer.Credentials) (password.Account, error), onEvent func(issuer.Event)) *httptest.Server {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	users, err := password.NewAuthenticator(password.AuthenticatorConfig{Hasher: h, Lookup: lookup, Logger: logger})
	require.NoError(t, err)
	key, err := issuer.GenerateKey(issuer.EdDSA)
	require.NoError(t, err)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	require.NoError(t, err)
	iss, err := issuer.New(issuer.Config{
		Issuer: "https://id.example.com", Audience: []string{"orders"}, Keys: ring, Store: issuer.NewMemoryStore(),
		MasterKeys:   []issuer.MasterKey{{Secret: []byte("an obviously fake master key, 32+ bytes")}},
		Authenticate: users.Authenticate, OnEvent: onEvent, Logger: logger,
	})
	require.NoError(t, err)
	server := httptest.NewServer(iss)
	t.Cleanup(server.Close)
	return server
}
