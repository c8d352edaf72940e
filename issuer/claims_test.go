package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// Of what a directory knows of a user, the listed claims are signed and stored,
// at the login and at each refresh.
func TestOnlyListedClaimsAreSigned(t *testing.T) { // JG-15
	const hash = "$2a$12$obviouslyafakehash"
	record := map[string]any{"plan": "gold", "password_hash": hash, "Plan2": 1, "roles": []string{"clerk"}}
	user := issuer.User{ID: "alice", Claims: record}
	authenticate := func(c *issuer.Config) {
		c.Authenticate = func(ctx, issuer.Credentials) (issuer.User, error) { return user, nil }
		c.Claims = []string{"plan", "roles"}
	}
	f := newFixture(t, func(c *issuer.Config) {
		authenticate(c)
		c.Reload = func(ctx, issuer.Session) (issuer.User, error) { return user, nil }
	})
	login := f.login()
	f.pass(time.Minute)
	refresh := f.refresh(login.str("refresh_token"))
	require.Equal(t, 200, refresh.status, refresh.text)
	for _, r := range []reply{login, refresh} {
		claims := part(t, r.str("access_token"), 1)
		assert.Equal(t, "gold", claims["plan"])
		assert.Equal(t, []any{"clerk"}, claims["roles"])
		assert.NotContains(t, claims, "password_hash")
		assert.NotContains(t, claims, "Plan2")
	}
	stored := must(f.store.Get(t.Context(), sid(t, login)))
	assert.NotContains(t, string(stored.Claims), hash, "nor is it stored")

	// A session that began before the list was shortened follows it.
	f.pass(time.Minute)
	shorter := newFixture(t, func(c *issuer.Config) { authenticate(c); c.Store, c.Claims = f.store, []string{"roles"} })
	shorter.pass(time.Hour)
	again := shorter.refresh(refresh.str("refresh_token"))
	require.Equal(t, 200, again.status, again.text)
	claims := part(t, again.str("access_token"), 1)
	assert.Equal(t, []any{"clerk"}, claims["roles"])
	assert.NotContains(t, claims, "plan")

	none := newFixture(t, func(c *issuer.Config) { authenticate(c); c.Claims = nil })
	assert.NotContains(t, part(t, none.login().str("access_token"), 1), "plan", "no list, no claims")
}

// The user is asked about before the refresh token is rotated.
func TestClaimsThatCannotBeSignedCostNoRefreshToken(t *testing.T) { // IT-08, JG-15
	user := issuer.User{ID: "alice", Email: "alice@example.com"}
	f := newFixture(t, func(c *issuer.Config) {
		c.Authenticate = func(ctx, issuer.Credentials) (issuer.User, error) { return issuer.User{ID: "alice"}, nil }
		c.Reload = func(ctx, issuer.Session) (issuer.User, error) { return user, nil }
	})
	login := f.login()
	token := login.str("refresh_token")
	for name, bad := range map[string]issuer.User{
		"email and userId":               {ID: "alice", Email: "alice@example.com", UserID: "user123"},
		"an email among the claims":      {ID: "alice", UserID: "user123", Claims: map[string]any{"email": "alice@example.com"}},
		"a userid among the claims":      {ID: "alice", Email: "alice@example.com", Claims: map[string]any{"userid": "user123"}},
		"a claim that cannot be written": {ID: "alice", Claims: map[string]any{"plan": make(chan int)}},
	} {
		f.pass(time.Hour)
		good := user
		user = bad
		r := f.refresh(token)
		assert.Equal(t, fmt.Sprint(500, jwterrors.TokenGenerationError), fmt.Sprint(r.status, r.reason), name)
		assert.NotContains(t, r.text, "userId", name)
		user = good
		r = f.refresh(token)
		require.Equal(t, 200, r.status, name)
		token = r.str("refresh_token")
		claims := part(t, r.str("access_token"), 1)
		assert.Equal(t, "alice@example.com", claims["email"])
		assert.NotContains(t, claims, "userId")
	}
}

// However a claim is called, it is one member of the token, or is refused.
func TestHostileClaimNamesStayOneMember(t *testing.T) {
	names := []string{
		`x","sub":"admin`, "", "__proto__", "constructor", "a\u0000b", "a\nb", "a\\", `\u0073ub`, "</script>", "a.b", "\u2028", "\U0001F512",
		"ſ", "subject", "is s",
	}
	claims := map[string]any{}
	for n, name := range names {
		claims[name] = float64(n)
	}
	f := newFixture(t, func(c *issuer.Config) {
		c.Authenticate = func(ctx, issuer.Credentials) (issuer.User, error) {
			return issuer.User{ID: `al"ice`, Claims: claims}, nil
		}
		c.Claims = names
	})
	login := f.login()
	got := part(t, login.str("access_token"), 1)
	assert.Equal(t, `al"ice`, got["sub"])
	for n, name := range names {
		assert.Equal(t, float64(n), got[name], "%q", name)
	}
	assert.Len(t, got, len(names)+9)
	own := f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+login.str("access_token"))
	assert.Equal(t, 200, own.status, "the issuer reads what it signed")

	for _, name := range []string{"sub", "SUB", "ſub", "exp", "userID", "EMAIL", "Scope", "a\xff"} {
		cfg := f.config()
		cfg.Claims = []string{"plan", name}
		_, err := issuer.New(cfg)
		assert.ErrorContains(t, err, "Claims[1]", "%q", name)
	}
	cfg := f.config()
	cfg.Claims = []string{"plan", "plan", "PLAN", "exp"}
	_, err := issuer.New(cfg)
	for _, want := range []string{"Claims[1]", "Claims[2]", "Claims[3]"} {
		assert.ErrorContains(t, err, want)
	}
}
