package issuer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func TestASignupAnswersTokens(t *testing.T) { // JG-02, JG-13, JG-16, JG-17, JG-19
	var got issuer.Registration
	f := newFixture(t, func(c *issuer.Config) {
		c.Register = func(_ ctx, r issuer.Registration) (issuer.User, error) {
			got = r
			if r.Username == "alice" {
				return issuer.User{}, jwterrors.UserExists
			}
			return issuer.User{ID: r.Username, Scopes: []string{"api:read"}, Claims: map[string]any{"plan": "free"}}, nil
		}
	})
	// No token is asked for: who signs up has none (JG-19).
	r := f.do("POST", "/auth/signup", `{"username":"carol","email":"carol@example.com","password":"`+password+`","device":"phone","name":"Carol","age":42,"admin":true,"tags":["a"]}`)
	require.Equal(t, 201, r.status, r.text)
	assert.Equal(t, "no-store", r.header.Get("Cache-Control"))
	assert.Equal(t, "application/json", r.header.Get("Content-Type"))
	assert.Len(t, r.body, 6, "the same as a login answers")
	claims := part(t, r.str("access_token"), 1)
	assert.Equal(t, "carol", claims["sub"])
	assert.Equal(t, "free", claims["plan"])
	assert.NotContains(t, claims, "admin", "what a client says of itself is not signed")
	assert.Equal(t, []issuer.EventKind{issuer.EventSignup, issuer.EventLogin}, f.kinds())
	assert.Equal(t, 200, f.refresh(r.str("refresh_token")).status, "it began a session")

	assert.Equal(t, "carol carol@example.com "+password+" phone 127.0.0.1", strings.Join([]string{got.Username, got.Email, got.Password, got.Device, got.Address}, " "))
	assert.Equal(t, map[string]json.RawMessage{"name": json.RawMessage(`"Carol"`), "age": json.RawMessage("42"), "admin": json.RawMessage("true"), "tags": json.RawMessage(`["a"]`)}, got.Fields)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v %s", got, got, got, &got), password)

	assert.NotContains(t, f.logs.String()+fmt.Sprint(f.events), password)

	f.kinds()
	r = f.do("POST", "/auth/signup", `{"username":"alice","password":"another password"}`)
	assert.Equal(t, fmt.Sprint(409, jwterrors.UserExists), fmt.Sprint(r.status, r.reason), r.text)
	assert.NotContains(t, r.text, "alice")
	assert.Equal(t, []issuer.EventKind{issuer.EventSignupFailed}, f.kinds())
	assert.Equal(t, 401, f.do("POST", "/auth/login", `{"username":"alice","password":"another password"}`).status, "nobody is logged in by it")
}

func TestASignupThatIsRefused(t *testing.T) { // JG-16
	var user issuer.User
	var fail error
	calls := 0
	f := newFixture(t, func(c *issuer.Config) {
		c.Register = func(ctx, issuer.Registration) (issuer.User, error) { calls++; return user, fail }
	})
	members := func(n int) string {
		body := `{"username":"carol","password":"x"`
		for n := range n {
			body += fmt.Sprintf(`,"f%d":%d`, n, n)
		}
		return body + "}"
	}
	const body = `{"username":"carol","password":"x"}`
	good := issuer.User{ID: "carol"}
	for _, c := range []struct {
		name, body string
		user       issuer.User
		err        error
		status     int
		reason     jwterrors.Reason
		calls      int
	}{
		{"a good one", body, good, nil, 201, "", 1},
		{"by email", `{"email":"carol@example.com","password":"x"}`, good, nil, 201, "", 1},
		{"no name", `{"password":"x"}`, good, nil, 400, jwterrors.RequestInvalid, 0},
		{"no password", `{"username":"carol"}`, good, nil, 400, jwterrors.RequestInvalid, 0},
		{"an empty password", `{"username":"carol","password":""}`, good, nil, 400, jwterrors.RequestInvalid, 0},
		{"a password that is no string", `{"username":"carol","password":{}}`, good, nil, 400, jwterrors.RequestInvalid, 0},
		{"no object", `[]`, good, nil, 400, jwterrors.RequestInvalid, 0},
		{"a field twice", `{"username":"carol","password":"x","a":1,"a":2}`, good, nil, 400, jwterrors.RequestInvalid, 0},
		{"a password in two cases", `{"username":"carol","password":"x","Password":"y"}`, good, nil, 400, jwterrors.RequestInvalid, 0},
		{"64 further fields", members(64), good, nil, 201, "", 1},
		{"65 further fields", members(65), good, nil, 400, jwterrors.RequestInvalid, 0},
		{"fields nested 16 levels deep", `{"username":"carol","password":"x","a":` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + `}`, good, nil, 201, "", 1},
		{"fields nested 17 levels deep", `{"username":"carol","password":"x","a":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`, good, nil, 400, jwterrors.RequestInvalid, 0},
		{"a large body", `{"username":"carol","password":"x","a":"` + strings.Repeat("x", 64<<10) + `"}`, good, nil, 413, jwterrors.RequestInvalid, 0},
		{"a user without an ID", body, issuer.User{}, nil, 500, jwterrors.TokenGenerationError, 1},
		{"email and userId (IT-08)", body, issuer.User{ID: "carol", Email: "a", UserID: "b"}, nil, 500, jwterrors.TokenGenerationError, 1},
		{"a weak password", body, good, &jwterrors.Error{Reason: jwterrors.RequestInvalid, Message: "The password is too short."}, 400, jwterrors.RequestInvalid, 1},
		{"a limit", body, good, &jwterrors.Error{Reason: jwterrors.RateLimited, RetryAfter: time.Minute}, 429, jwterrors.RateLimited, 1},
		{"a directory that is down", body, good, errors.New("no directory: secret detail"), 503, jwterrors.StoreUnavailable, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			user, fail, calls = c.user, c.err, 0
			r := f.do("POST", "/auth/signup", c.body)
			assert.Equal(t, fmt.Sprint(c.status, c.reason), fmt.Sprint(r.status, r.reason), r.text)
			assert.Equal(t, c.calls, calls)
			assert.NotContains(t, r.text, "secret detail")
			if c.name == "a weak password" {
				assert.Contains(t, r.text, "too short")
			}
		})
	}
	r := f.do("GET", "/auth/signup", "")
	assert.Equal(t, "405 POST", fmt.Sprint(r.status, " ", r.header.Get("Allow")))
	assert.Equal(t, 415, f.do("POST", "/auth/signup", body, "Content-Type", "text/plain").status)
	closed := newFixture(t, nil)
	assert.Equal(t, 404, closed.do("POST", "/auth/signup", body).status, "nobody signs up where there is no Register")
}

// A service that confirms addresses tells nobody who has an account.
func TestASignupThatWaitsTellsNothing(t *testing.T) { // JG-16
	f := newFixture(t, func(c *issuer.Config) {
		c.Register = func(_ ctx, r issuer.Registration) (issuer.User, error) {
			if r.Email == "alice@example.com" { // told by mail that somebody tried
				return issuer.User{ID: "alice"}, fmt.Errorf("taken: %w", issuer.ErrSignupPending)
			}
			return issuer.User{}, issuer.ErrSignupPending
		}
	})
	taken := f.do("POST", "/auth/signup", `{"email":"alice@example.com","password":"x"}`)
	free := f.do("POST", "/auth/signup", `{"email":"carol@example.com","password":"x"}`)
	assert.Equal(t, 202, free.status)
	assert.Equal(t, "{}\n", free.text)
	free.header.Del("Date")
	taken.header.Del("Date")
	assert.Equal(t, free, taken)
	assert.Empty(t, f.kinds(), "and no session began")
	assert.Empty(t, must(f.store.List(t.Context(), "alice", f.now())))
}

// A user who was added and has no session can log in.
func TestASignupWithoutASessionIsMendedByALogin(t *testing.T) {
	users := map[string]string{}
	store := &flaky{}
	f := newFixture(t, func(c *issuer.Config) {
		store.Store, c.Store = c.Store, store
		c.Register = func(_ ctx, r issuer.Registration) (issuer.User, error) {
			if users[r.Username] != "" {
				return issuer.User{}, jwterrors.UserExists
			}
			users[r.Username] = r.Password
			return issuer.User{ID: r.Username}, nil
		}
		c.Authenticate = func(_ ctx, c issuer.Credentials) (issuer.User, error) {
			if users[c.Username] != c.Password {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: c.Username}, nil
		}
	})
	const body = `{"username":"carol","password":"an obviously fake one"}`
	store.set("Create", errors.New("down"))
	r := f.do("POST", "/auth/signup", body)
	assert.Equal(t, fmt.Sprint(503, jwterrors.StoreUnavailable), fmt.Sprint(r.status, r.reason))
	assert.Equal(t, []issuer.EventKind{issuer.EventSignup}, f.kinds(), "there is a user, and no session")
	assert.NotContains(t, f.logs.String(), "an obviously fake one")
	store.set("", nil)
	assert.Equal(t, jwterrors.UserExists, f.do("POST", "/auth/signup", body).reason)
	assert.Equal(t, 200, f.do("POST", "/auth/login", body).status)
}
