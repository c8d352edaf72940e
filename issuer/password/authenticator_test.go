package password_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/password"
)

func TestNewAuthenticatorNamesEveryMistakeAtOnce(t *testing.T) {
	a, err := password.NewAuthenticator(password.AuthenticatorConfig{})
	assert.Nil(t, a)
	assert.ErrorContains(t, err, "Hasher is required")
	assert.ErrorContains(t, err, "Lookup is required")
}

// users is a directory of users, and what was asked of it.
type users struct {
	t        *testing.T
	accounts map[string]password.Account // by name
	asked    []issuer.Credentials
	updates  []string // id, old, next
	fail     error    // of Lookup
	update   func() error
	log      bytes.Buffer
}

func (u *users) authenticator(c password.Config) *password.Authenticator {
	u.t.Helper()
	a, err := password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: newHasher(u.t, c),
		Lookup: func(_ context.Context, c issuer.Credentials) (password.Account, error) {
			u.asked = append(u.asked, c)
			return u.accounts[c.Username+c.Email], u.fail
		},
		Update: func(_ context.Context, id, old, next string) error {
			u.updates = append(u.updates, id, old, next)
			if u.update != nil {
				return u.update()
			}
			return nil
		},
		Logger: slog.New(slog.NewTextHandler(&u.log, nil)),
	})
	require.NoError(u.t, err)
	return a
}

func newUsers(t *testing.T, c password.Config) *users {
	encoded := hash(t, newHasher(t, c), secret)
	return &users{t: t, accounts: map[string]password.Account{
		"alice":    {User: issuer.User{ID: "1", Email: "alice@example.com", Scopes: []string{"read"}}, Hash: encoded},
		"locked":   {User: issuer.User{ID: "2"}, Hash: encoded, Locked: true},
		"nohash":   {User: issuer.User{ID: "3"}},
		"unusable": {User: issuer.User{ID: "4"}, Hash: "$1$abcdefgh$0123456789012345678901"},
		"hostile":  {User: issuer.User{ID: "5"}, Hash: "$argon2id$v=19$m=4294967295,t=16,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"},
	}}
}

func TestEveryKindOfWrongIsOneError(t *testing.T) { // JG-16
	for _, c := range []password.Config{cheapArgon2id, cheapBcrypt, cheapPreHash} {
		u := newUsers(t, c)
		a := u.authenticator(c)
		for _, test := range []struct{ name, user, password string }{
			{"unknown user", "bob", secret},
			{"wrong password", "alice", secret + "x"},
			{"no password", "alice", ""},
			{"a password of 1025 bytes", "alice", strings.Repeat("x", 1025)},
			{"a password of 1025 bytes, unknown user", "bob", strings.Repeat("x", 1025)},
			{"locked, right password", "locked", secret},
			{"locked, wrong password", "locked", "wrong"},
			{"user without a password", "nohash", secret},
			{"user without a password, empty password", "nohash", ""},
			{"unusable hash", "unusable", secret},
			{"unusable hash as the password", "unusable", "$1$abcdefgh$0123456789012345678901"},
			{"hostile hash", "hostile", secret},
		} {
			got, err := a.Authenticate(t.Context(), issuer.Credentials{Username: test.user, Password: test.password})
			assert.Equal(t, error(jwterrors.CredentialsInvalid), err, test.name)
			assert.Equal(t, issuer.User{}, got, test.name)
		}
		assert.Equal(t, 3, strings.Count(u.log.String(), "a user cannot log in"), "the operator is told")
		assert.Empty(t, u.updates)

		got, err := a.Authenticate(t.Context(), issuer.Credentials{Username: "alice", Password: secret})
		require.NoError(t, err)
		assert.Equal(t, u.accounts["alice"].User, got)
		assert.Empty(t, u.updates, "the hash is as strong as it should be")
	}
}

func TestLookupGetsEverythingButThePassword(t *testing.T) {
	u := newUsers(t, cheapArgon2id)
	c := issuer.Credentials{Email: "alice", Password: secret, Device: "phone", Address: "192.0.2.1"}
	_, err := u.authenticator(cheapArgon2id).Authenticate(t.Context(), c)
	require.NoError(t, err)
	c.Password = ""
	assert.Equal(t, []issuer.Credentials{c}, u.asked)
}

func TestErrorsOfLookup(t *testing.T) {
	u := newUsers(t, cheapArgon2id)
	a := u.authenticator(cheapArgon2id)
	limited := fmt.Errorf("wait: %w", &jwterrors.Error{Reason: jwterrors.RateLimited})
	for _, test := range []struct{ fail, want error }{
		{errors.New("no connection"), jwterrors.StoreUnavailable},
		{context.DeadlineExceeded, jwterrors.StoreUnavailable},
		{limited, jwterrors.RateLimited},
		{jwterrors.CredentialsInvalid, jwterrors.CredentialsInvalid},
		{&jwterrors.Error{Reason: jwterrors.CredentialsInvalid, Err: errors.New("no such user")}, jwterrors.CredentialsInvalid},
	} {
		u.fail = test.fail // alice comes with it, and may not log in
		_, err := a.Authenticate(t.Context(), issuer.Credentials{Username: "alice", Password: secret})
		assert.ErrorIs(t, err, test.want)
		if test.want != jwterrors.CredentialsInvalid {
			assert.ErrorIs(t, err, test.fail, "the cause is kept for logs")
		} else {
			assert.Equal(t, test.want, err, "the same error as for a wrong password")
		}
	}
}

func TestAHashIsRenewedAfterTheLogin(t *testing.T) {
	stronger := cheapArgon2id
	stronger.Time = 2
	for name, test := range map[string]struct {
		update func() error
		logged string
	}{
		"updated":  {nil, ""},
		"failed":   {func() error { return errors.New("disk full") }, "disk full"},
		"panicked": {func() error { panic(secret) }, "panicked with a string"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUsers(t, cheapBcrypt)
			u.update = test.update
			a := u.authenticator(stronger)
			_, err := a.Authenticate(t.Context(), issuer.Credentials{Username: "alice", Password: "wrong"})
			require.ErrorIs(t, err, jwterrors.CredentialsInvalid)
			_, err = a.Authenticate(t.Context(), issuer.Credentials{Username: "locked", Password: secret})
			require.ErrorIs(t, err, jwterrors.CredentialsInvalid)
			require.Empty(t, u.updates, "nobody has logged in")

			got, err := a.Authenticate(t.Context(), issuer.Credentials{Username: "alice", Password: secret})
			require.NoError(t, err, "whatever the update does")
			assert.Equal(t, "1", got.ID)
			require.Len(t, u.updates, 3)
			assert.Equal(t, []string{"1", u.accounts["alice"].Hash}, u.updates[:2])
			next := u.updates[2]
			rehash, err := newHasher(t, stronger).Verify(t.Context(), next, secret)
			require.NoError(t, err)
			assert.False(t, rehash)
			if test.logged == "" {
				assert.Empty(t, u.log.String())
			} else {
				assert.Contains(t, u.log.String(), test.logged)
			}
			assert.NotContains(t, u.log.String(), secret)

			u.update, u.updates = nil, nil
			u.accounts["alice"] = password.Account{User: issuer.User{ID: "1"}, Hash: next}
			_, err = a.Authenticate(t.Context(), issuer.Credentials{Username: "alice", Password: secret})
			require.NoError(t, err)
			assert.Empty(t, u.updates, "once is enough")
		})
	}
}

func TestWithoutUpdateHashesStayAsTheyAre(t *testing.T) {
	encoded := hash(t, newHasher(t, cheapBcrypt), secret)
	var log bytes.Buffer
	a, err := password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: newHasher(t, cheapArgon2id), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Lookup: func(context.Context, issuer.Credentials) (password.Account, error) {
			return password.Account{User: issuer.User{ID: "1"}, Hash: encoded}, nil
		},
	})
	require.NoError(t, err)
	_, err = a.Authenticate(t.Context(), issuer.Credentials{Username: "alice", Password: secret})
	assert.NoError(t, err)
	assert.Empty(t, log.String())
}

func TestABusyHasherAnswersUnavailable(t *testing.T) {
	c := cheapArgon2id
	c.Concurrency, c.Queue = 1, 1
	h := newHasher(t, c)
	a, err := password.NewAuthenticator(password.AuthenticatorConfig{
		Hasher: h,
		Lookup: func(context.Context, issuer.Credentials) (password.Account, error) { return password.Account{}, nil },
	})
	require.NoError(t, err)
	defer h.Hold()()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.Authenticate(ctx, issuer.Credentials{Username: "bob", Password: secret})
	assert.ErrorIs(t, err, jwterrors.StoreUnavailable)
}

// login posts credentials to an issuer and returns what it answers.
func login(iss *issuer.Issuer, name, pw string) *httptest.ResponseRecorder {
	body, _ := json.Marshal(map[string]string{"username": name, "password": pw})
	r := httptest.NewRequest("POST", "/auth/login", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	iss.ServeHTTP(w, r)
	return w
}

// IT-04, JG-15, JG-16: one answer for every kind of wrong, and a hash in none.
// Nothing that is printed, logged or answered holds a password, or a piece of a
// hash.
func TestAnIssuerAnswersOneThingAndShowsNoSecret(t *testing.T) {
	const canary = "canary in a coal mine"
	stronger := cheapArgon2id
	stronger.Time = 2
	u := newUsers(t, cheapArgon2id)
	encoded := hash(t, newHasher(t, cheapArgon2id), canary)
	u.accounts["carol"] = password.Account{User: issuer.User{ID: "6"}, Hash: encoded}
	u.update = func() error { return fmt.Errorf("cannot write %s for %s over %s", u.updates[2], canary, u.updates[1]) }
	a := u.authenticator(stronger)

	key, err := issuer.GenerateKey(issuer.ES256)
	require.NoError(t, err)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	require.NoError(t, err)
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	iss, err := issuer.New(issuer.Config{
		Issuer: "https://id.example.com", Audience: []string{"orders"}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: bytes.Repeat([]byte("fake"), 8)}}, Store: issuer.NewMemoryStore(),
		Authenticate: a.Authenticate, Logger: log,
		OnEvent: func(e issuer.Event) { fmt.Fprintf(&out, "%+v\n", e) },
	})
	require.NoError(t, err)

	wrong := login(iss, "carol", canary+"x")
	require.Equal(t, 401, wrong.Code)
	require.Contains(t, wrong.Body.String(), "AUTH_CREDENTIALS_INVALID")
	for _, name := range []string{"bob", "locked", "nohash", "unusable", "hostile"} {
		w := login(iss, name, canary)
		assert.Equal(t, wrong.Code, w.Code, name)
		assert.Equal(t, wrong.Body.String(), w.Body.String(), name)
		assert.Equal(t, wrong.Header(), w.Header(), name)
	}
	right := login(iss, "carol", canary)
	require.Equal(t, 200, right.Code)
	require.Len(t, u.updates, 3)
	next := u.updates[2]
	u.fail = errors.New("no connection")
	require.Equal(t, 503, login(iss, "carol", canary).Code)
	u.fail = nil

	// Everything that can be printed.
	h := newHasher(t, stronger)
	account := u.accounts["carol"]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		assert.Equal(t, fmt.Sprint(h), fmt.Sprintf(verb, h), "not the dummy hash")
		fmt.Fprintf(&out, verb+verb+verb+verb+"\n", h, account, &account, []password.Account{account})
	}
	log.Info("x", "hasher", h, "account", account, "accounts", []password.Account{account})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "hasher", h, "account", account)
	for _, pw := range []string{canary[:3], canary + strings.Repeat("x", 1024)} {
		_, err := h.Hash(t.Context(), pw)
		require.Error(t, err)
		fmt.Fprintf(&out, "%v %+v %#v\n", err, err, err)
		log.Info("x", "err", err)
	}
	for _, bad := range []string{encoded + "!", encoded[1:], strings.Replace(encoded, "m=64", "m=65537", 1)} {
		_, err := h.Verify(t.Context(), bad, canary)
		require.ErrorIs(t, err, password.ErrHash)
		fmt.Fprintf(&out, "%v %+v %#v\n", err, err, err)
	}
	all := out.String() + u.log.String() + wrong.Body.String() + right.Body.String() + decoded(t, right.Body.Bytes())
	require.Contains(t, all, `"account":"account of 6"`)
	require.Contains(t, all, "cannot write [hash] for [password] over [hash]")
	require.Contains(t, all, `"sub":"6"`, "the claims were looked at")
	for _, secret := range []string{canary, canary[:9], encoded, next} {
		for part := range strings.SplitSeq(secret, "$") {
			if len(part) > 8 && !strings.HasPrefix(part, "argon2id") && !strings.HasPrefix(part, "m=") {
				assert.NotContains(t, all, part)
				assert.NotContains(t, all, fmt.Sprintf("%x", part))
			}
		}
	}
}

// decoded returns the claims of the access token in an answer.
func decoded(t *testing.T, body []byte) string {
	t.Helper()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(body, &tokens))
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(tokens.AccessToken, ".")[1])
	require.NoError(t, err)
	return string(claims)
}
