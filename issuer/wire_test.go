package issuer_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func TestALoginAnswersTokens(t *testing.T) { // AX-13, JG-02, JG-13, JG-15
	f := newFixture(t, nil)
	r := f.login()
	assert.Equal(t, "application/json", r.header.Get("Content-Type"))
	assert.Equal(t, "no-store", r.header.Get("Cache-Control"))
	assert.Equal(t, "Bearer", r.body["token_type"])
	assert.Equal(t, "api:read api:write", r.body["scope"])
	assert.Len(t, r.body, 6)

	header := part(t, r.str("access_token"), 0)
	assert.Equal(t, map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": header["kid"]}, header) // RFC 9068, Section 2.1
	claims := part(t, r.str("access_token"), 1)
	now := float64(time.Now().Unix())
	assert.InDelta(t, now, claims["iat"], 5)
	assert.Equal(t, 900.0, claims["exp"].(float64)-claims["iat"].(float64))
	assert.InDelta(t, now, claims["auth_time"], 5)
	for name, want := range map[string]any{
		"iss": issuerURL, "sub": "alice", "aud": "orders", "client_id": "default", "scope": "api:read api:write",
		"email": "alice@example.com", "plan": "gold",
	} {
		assert.Equal(t, want, claims[name], name)
	}
	assert.NotEmpty(t, claims["jti"])
	assert.Len(t, claims["sid"], 22)
	assert.Len(t, claims, 12, "what is signed is listed, and no more")
	assert.NotContains(t, r.text, password)
}

func TestALoginThatIsRefused(t *testing.T) { // IT-04, JG-16
	f := newFixture(t, nil)
	var first string
	for _, c := range []struct {
		name, body string
		status     int
		reason     jwterrors.Reason
	}{
		{"an unknown user", `{"username":"nobody","password":"x"}`, 401, jwterrors.CredentialsInvalid},
		{"a wrong password", `{"username":"alice","password":"x"}`, 401, jwterrors.CredentialsInvalid},
		{"no password", `{"username":"alice"}`, 400, jwterrors.RequestInvalid},
		{"no name", `{"password":"x"}`, 400, jwterrors.RequestInvalid},
		{"two names", `{"username":"alice","email":"alice@example.com","password":"x"}`, 400, jwterrors.RequestInvalid},
		{"a scope that is not to be had", `{"username":"alice","password":"` + password + `","scope":"api:read admin"}`, 400, jwterrors.ScopeInvalid},
		{"nothing", `{}`, 400, jwterrors.RequestInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := f.do("POST", "/auth/login", c.body)
			assert.Equal(t, fmt.Sprint(c.status, c.reason), fmt.Sprint(r.status, r.reason), r.text)
			if c.reason == jwterrors.CredentialsInvalid {
				first = max(first, r.text)
				assert.Equal(t, first, r.text, "one answer for every kind of wrong")
			}
		})
	}
	assert.Equal(t, []issuer.EventKind{issuer.EventLoginFailed, issuer.EventLoginFailed}, f.kinds())
}

func TestALoginAsksForLess(t *testing.T) {
	f := newFixture(t, nil)
	r := f.do("POST", "/auth/login", `{"email":"alice@example.com","password":"`+password+`","scope":" api:write api:write"}`)
	require.Equal(t, 200, r.status, r.text)
	assert.Equal(t, "api:write", r.body["scope"])
}

func TestWhatAuthenticateReturns(t *testing.T) { // IT-08, D12, JG-15
	var user issuer.User
	var fail error
	f := newFixture(t, func(c *issuer.Config) {
		c.Authenticate = func(ctx, issuer.Credentials) (issuer.User, error) { return user, fail }
	})
	for _, c := range []struct {
		name   string
		user   issuer.User
		err    error
		status int
		reason jwterrors.Reason
	}{
		{"a user", issuer.User{ID: "a"}, nil, 200, ""},
		{"a user id (IT-07)", issuer.User{ID: "a", UserID: "user123"}, nil, 200, ""},
		{"email and userId", issuer.User{ID: "a", Email: "a@example.com", UserID: "user123"}, nil, 500, jwterrors.TokenGenerationError},
		{"no id", issuer.User{}, nil, 500, jwterrors.TokenGenerationError},
		{"a reserved claim", issuer.User{ID: "a", Claims: map[string]any{"exp": 1}}, nil, 500, jwterrors.TokenGenerationError},
		{"a reserved claim in another case", issuer.User{ID: "a", Claims: map[string]any{"ISS": "x"}}, nil, 500, jwterrors.TokenGenerationError},
		{"a claim that is no JSON", issuer.User{ID: "a", Claims: map[string]any{"f": func() {}}}, nil, 500, jwterrors.TokenGenerationError},
		{"a scope with a space", issuer.User{ID: "a", Scopes: []string{"a b"}}, nil, 500, jwterrors.TokenGenerationError},
		{"a limit", issuer.User{}, &jwterrors.Error{Reason: jwterrors.RateLimited, RetryAfter: time.Minute}, 429, jwterrors.RateLimited},
		{"an error of its own", issuer.User{}, errors.New("no directory"), 503, jwterrors.StoreUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			user, fail = c.user, c.err
			r := f.do("POST", "/auth/login", `{"username":"a","password":"x"}`)
			assert.Equal(t, fmt.Sprint(c.status, c.reason), fmt.Sprint(r.status, r.reason), r.text)
			if c.reason == jwterrors.RateLimited {
				assert.Equal(t, "60", r.header.Get("Retry-After"))
			}
		})
	}
}

// What the readers of tokens refuse, this issuer's own among them, is not signed.
func TestNothingIsSignedThatNobodyWouldRead(t *testing.T) {
	nested := func(levels int) any {
		var v any = "deep"
		for range levels {
			v = []any{v}
		}
		return v
	}
	good := issuer.User{ID: "alice"}
	user := good
	f := newFixture(t, func(c *issuer.Config) {
		c.Authenticate = func(ctx, issuer.Credentials) (issuer.User, error) { return user, nil }
		c.Reload = func(ctx, issuer.Session) (issuer.User, error) { return user, nil }
		c.Claims = []string{"x", "plan"}
	})
	first := f.login()
	token := first.str("refresh_token")
	for name, c := range map[string]struct {
		user  issuer.User
		cause string // empty: it is signed
	}{
		"names that differ by case":         {issuer.User{ID: "alice", Claims: map[string]any{"plan": 1, "Plan": 2}}, "twice"},
		"a registered name with a long s":   {issuer.User{ID: "alice", Claims: map[string]any{"ſub": "bob"}}, "by the issuer alone"},
		"a name twice, inside":              {issuer.User{ID: "alice", Claims: map[string]any{"x": json.RawMessage(`{"a":1,"a":2}`)}}, "twice"},
		"nested 17 levels deep":             {issuer.User{ID: "alice", Claims: map[string]any{"x": nested(16)}}, "nested"},
		"nested 16 levels deep":             {issuer.User{ID: "alice", Claims: map[string]any{"x": nested(15)}}, ""},
		"a token of more than 8192 bytes":   {issuer.User{ID: "alice", Claims: map[string]any{"x": strings.Repeat("x", 6000)}}, "8192"},
		"a token of a little less":          {issuer.User{ID: "alice", Claims: map[string]any{"x": strings.Repeat("x", 5600)}}, ""},
		"a subject that is not UTF-8":       {issuer.User{ID: "alice\xff"}, "UTF-8"},
		"an email that is not UTF-8":        {issuer.User{ID: "alice", Email: "a\xff@example.com"}, "UTF-8"},
		"a way to log in that is not UTF-8": {issuer.User{ID: "alice", ACR: "mfa\xff"}, "UTF-8"},
		"a userId that is not UTF-8":        {issuer.User{ID: "alice", UserID: "\xff"}, "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			user = c.user
			f.pass(time.Minute)
			before := must(f.store.Get(t.Context(), sid(t, first))).Generation
			login := f.do("POST", "/auth/login", `{"username":"alice","password":"x"}`)
			refresh := f.refresh(token)
			if c.cause == "" {
				require.Equal(t, "200 200", fmt.Sprint(login.status, " ", refresh.status), login.text+refresh.text)
				token = refresh.str("refresh_token")
				own := f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+refresh.str("access_token"))
				assert.Equal(t, 200, own.status, "the issuer reads what it signed")
				return
			}
			assert.Equal(t, fmt.Sprint(500, jwterrors.TokenGenerationError), fmt.Sprint(login.status, login.reason))
			assert.Equal(t, fmt.Sprint(500, jwterrors.TokenGenerationError), fmt.Sprint(refresh.status, refresh.reason))
			assert.Equal(t, before, must(f.store.Get(t.Context(), sid(t, first))).Generation)
			assert.Contains(t, f.logs.String(), c.cause)
			assert.NotContains(t, login.text+refresh.text, c.cause)
			user = good
			refresh = f.refresh(token)
			require.Equal(t, 200, refresh.status, "nothing has changed")
			token = refresh.str("refresh_token")
		})
	}
}

func TestRoutes(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/auth/login", 405, "POST"},
		{"PUT", "/auth/refresh", 405, "POST"},
		{"GET", "/auth/logout", 405, "POST"},
		{"POST", "/auth/sessions", 405, "DELETE, GET, HEAD"},
		{"GET", "/auth/sessions/x", 405, "DELETE"},
		{"POST", "/auth/.well-known/jwks.json", 405, "GET, HEAD"},
		{"GET", "/auth/nothing", 404, ""},
		{"GET", "/auth/", 404, ""},
		{"GET", "/.well-known/nothing", 404, ""},
	} {
		r := f.do(c.method, c.path, "")
		assert.Equal(t, c.status, r.status, "%s %s", c.method, c.path)
		assert.Equal(t, c.allow, r.header.Get("Allow"), "%s %s", c.method, c.path)
		assert.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
		assert.EqualValues(t, c.status, r.body["status"])
		assert.Equal(t, jwterrors.RequestInvalid, r.reason)
	}
}

// Whoever sends a request that cannot work is told what to mend.
func TestARefusalOfTheFormSaysWhatIsWrong(t *testing.T) {
	b := newTab(t, nil)
	listed := newTab(t, func(c *issuer.Config) { c.Origins = []string{appOrigin} })
	const origin = "is not among the Origins of this issuer."
	for _, c := range []struct {
		name    string
		got     reply
		status  int
		details string
	}{
		{"no JSON", b.from("", "", "POST", "/auth/login", "username=alice"), 400, "The request is malformed: the body is not a JSON object with every name once."},
		{"a member is missing", b.from("", "", "POST", "/auth/login", `{"user":"alice"}`), 400, "The request is malformed: a login needs a username or an email, and a password."},
		{"another type", b.from("", "", "POST", "/auth/login", "username=alice", "Content-Type", "application/x-www-form-urlencoded"), 415, "The body must be application/json."},
		{"another origin", b.from("cross-site", "https://evil.example", "POST", "/auth/login", "{}"), 403, origin},
		{"its preflight", b.from("cross-site", "https://evil.example", "OPTIONS", "/auth/login", "", "Access-Control-Request-Method", "POST"), 405, origin},
		{"the preflight of one that is not listed", listed.from("cross-site", "https://evil.example", "OPTIONS", "/auth/login", "", "Access-Control-Request-Method", "POST"), 403, origin},
		{"another method", b.from("", "", "OPTIONS", "/auth/login", ""), 405, "The method is not one of: POST."},
	} {
		assert.Equal(t, c.status, c.got.status, c.name)
		assert.Equal(t, jwterrors.RequestInvalid, c.got.reason, c.name)
		assert.True(t, strings.HasSuffix(c.got.str("detail"), c.details), "%s: %s", c.name, c.got.text)
	}
}

func TestTheResponderIsTheCallers(t *testing.T) { // D1, JG-10
	f := newFixture(t, func(c *issuer.Config) {
		c.Respond = func(w http.ResponseWriter, _ *http.Request, err error) {
			var e *jwterrors.Error
			status := 418
			if errors.As(err, &e) && e.Status != 0 {
				status = e.Status
			}
			w.WriteHeader(status)
			fmt.Fprint(w, jwterrors.ReasonOf(err))
		}
	})
	for _, c := range []struct {
		method, path, body, contentType, want string
	}{
		{"POST", "/auth/refresh", `{"refresh_token":"x"}`, "application/json", "418 AUTH_REFRESH_TOKEN_INVALID"},
		{"POST", "/auth/refresh", `{}`, "text/plain", "415 AUTH_REQUEST_INVALID"},
		{"POST", "/auth/refresh", strings.Repeat("x", 64<<10+1), "application/json", "413 AUTH_REQUEST_INVALID"},
		{"GET", "/auth/refresh", "", "", "405 AUTH_REQUEST_INVALID"},
		{"GET", "/auth/nothing", "", "", "404 AUTH_REQUEST_INVALID"},
	} {
		r := f.do(c.method, c.path, c.body, "Content-Type", c.contentType)
		assert.Equal(t, c.want, fmt.Sprint(r.status, " ", r.text))
	}
}

func TestALogoutKillsEverything(t *testing.T) { // NV-18, NV-19, AX-16, AX-23, JG-11
	for _, c := range []struct {
		name string
		send func(f *fixture, access, refresh string) reply
	}{
		{"by the refresh token", func(f *fixture, _, refresh string) reply {
			return f.do("POST", "/auth/logout", `{"refresh_token":"`+refresh+`"}`)
		}},
		{"by the refresh token in camel case", func(f *fixture, _, refresh string) reply {
			return f.do("POST", "/auth/logout", `{"refreshToken":"`+refresh+`"}`)
		}},
		{"by the access token", func(f *fixture, access, _ string) reply {
			return f.do("POST", "/auth/logout", "", "Authorization", "Bearer "+access)
		}},
		{"by both", func(f *fixture, access, refresh string) reply {
			return f.do("POST", "/auth/logout", `{"refresh_token":"`+refresh+`"}`, "Authorization", "bearer "+access)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			login, other := f.login(), f.login()
			f.kinds()
			r := c.send(f, login.str("access_token"), login.str("refresh_token"))
			assert.Equal(t, 204, r.status, r.text)
			assert.Equal(t, []issuer.EventKind{issuer.EventLogout}, f.kinds())
			assert.Equal(t, jwterrors.SessionRevoked, f.refresh(login.str("refresh_token")).reason)
			assert.True(t, f.denied.has(sid(t, login)))
			assert.False(t, f.denied.has(sid(t, other)))
			assert.Equal(t, 204, c.send(f, login.str("access_token"), login.str("refresh_token")).status, "again")
			assert.Equal(t, 200, f.refresh(other.str("refresh_token")).status, "another device stays (D11)")
			r = f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+login.str("access_token"))
			assert.Equal(t, jwterrors.TokenInvalidated, r.reason)
		})
	}
	f := newFixture(t, nil)
	r := f.do("POST", "/auth/logout", "")
	assert.Equal(t, fmt.Sprint(400, jwterrors.RefreshTokenMissing), fmt.Sprint(r.status, r.reason))
	r = f.do("POST", "/auth/logout", `{}`)
	assert.Equal(t, fmt.Sprint(400, jwterrors.RefreshTokenMissing), fmt.Sprint(r.status, r.reason))
	r = f.do("POST", "/auth/logout", "", "Authorization", "Bearer garbage")
	assert.Equal(t, 204, r.status, "what belongs to no session is logged out")
}

// A client that slept has an access token that expired, and no other way to name
// its session when the refresh token is in a cookie or lost.
func TestALogoutTakesAnExpiredAccessToken(t *testing.T) { // NV-18
	f := newFixture(t, func(c *issuer.Config) { c.AccessTTL = time.Minute })
	login := f.login()
	bearer := []string{"Authorization", "Bearer " + login.str("access_token")}
	f.pass(24 * time.Hour)
	f.kinds()
	p := strings.Split(login.str("access_token"), ".")
	forged := "Bearer " + p[0] + "." + p[1] + "." + strings.Repeat("A", 86)
	assert.Equal(t, 204, f.do("POST", "/auth/logout", "", "Authorization", forged).status)
	assert.Empty(t, f.kinds(), "a forged one ends nothing")
	for _, path := range []string{"/auth/sessions", "/auth/sessions?others=true", "/auth/sessions/" + sid(t, login)} {
		method := "DELETE"
		if path == "/auth/sessions" {
			method = "GET"
		}
		assert.Equal(t, jwterrors.TokenExpired, f.do(method, path, "", bearer...).reason, "it is good for nothing else")
	}
	assert.Equal(t, 204, f.do("POST", "/auth/logout", "", bearer...).status)
	assert.Equal(t, []issuer.EventKind{issuer.EventLogout}, f.kinds())
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(login.str("refresh_token")).reason)
	assert.True(t, f.denied.has(sid(t, login)))
}

func TestALogoutThatFailedHalfwayIsRepeated(t *testing.T) {
	f := newFixture(t, nil)
	phone, laptop := f.login(), f.login()
	bearer := []string{"Authorization", "Bearer " + laptop.str("access_token")}
	for _, c := range []struct {
		name, method, path, body string
		ends                     reply
	}{
		{"the others", "DELETE", "/auth/sessions?others=true", "", phone},
		{"one", "DELETE", "/auth/sessions/" + sid(t, phone), "", phone},
		{"a refresh token", "POST", "/auth/logout", `{"refresh_token":"` + laptop.str("refresh_token") + `"}`, laptop},
		{"a bearer token", "POST", "/auth/logout", "", laptop},
	} {
		t.Run(c.name, func(t *testing.T) {
			clear(f.denied.sessions)
			f.denied.failing(errors.New("down"))
			assert.Equal(t, 503, f.do(c.method, c.path, c.body, bearer...).status)
			f.denied.failing(nil)
			assert.Equal(t, 204, f.do(c.method, c.path, c.body, bearer...).status)
			assert.True(t, f.denied.has(sid(t, c.ends)), "the denial that failed is made up for")
			assert.False(t, must(f.store.Get(t.Context(), sid(t, c.ends))).RevokedAt.IsZero())
		})
	}
	f.pass(2 * time.Hour)
	clear(f.denied.sessions)
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(laptop.str("refresh_token")).reason)
	assert.False(t, f.denied.has(sid(t, laptop)), "there is nothing left to deny")
}

// What the store can do is done, whatever the denylist says, and the denial that
// failed is made up for at the next attempt.
func TestTheStoreRevokesWhateverTheDenylistSays(t *testing.T) {
	st := &flaky{}
	var single bool
	for name, end := range map[string]func(f *fixture, own reply) bool{
		"the user's other sessions": func(f *fixture, own reply) bool {
			r := f.do("DELETE", "/auth/sessions?others=true", "", "Authorization", "Bearer "+own.str("access_token"))
			assert.Contains(t, []int{204, 503}, r.status)
			return r.status == 204
		},
		"the operator": func(f *fixture, _ reply) bool { return f.issuer.RevokeSubject(t.Context(), "alice") == nil },
		"a single session": func(f *fixture, _ reply) bool {
			return f.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`).status == 200
		},
	} {
		t.Run(name, func(t *testing.T) {
			single = name == "a single session"
			f := newFixture(t, func(c *issuer.Config) { st.Store, c.Store, c.SingleSession = c.Store, st, single })
			phone := f.login()
			own := phone
			if !single {
				own = f.login()
			}
			f.denied.failing(errors.New("down"))
			assert.False(t, end(f, own), "what was not denied is not said to be")
			assert.Equal(t, jwterrors.StoreUnavailable, f.refresh(phone.str("refresh_token")).reason, "nor here")
			assert.False(t, must(f.store.Get(t.Context(), sid(t, phone))).RevokedAt.IsZero())
			f.denied.failing(nil)
			st.set("List", errors.New("down"))
			assert.False(t, end(f, own), "nor when nobody knows what there is to deny")
			st.set("", nil)
			assert.False(t, f.denied.has(sid(t, phone)))
			assert.True(t, end(f, own))
			assert.True(t, f.denied.has(sid(t, phone)), "the denial is made up for")
		})
	}
}

func TestWhatTheStoreCannotRevokeIsDenied(t *testing.T) {
	st := &flaky{}
	f := newFixture(t, func(c *issuer.Config) { st.Store, c.Store = c.Store, st })
	phone, own := f.login(), f.login()
	st.set("RevokeSubject", errors.New("down"))
	r := f.do("DELETE", "/auth/sessions?others=true", "", "Authorization", "Bearer "+own.str("access_token"))
	assert.Equal(t, 503, r.status)
	assert.True(t, f.denied.has(sid(t, phone)))
	assert.False(t, f.denied.has(sid(t, own)))
}

// blind is a store in which a session begins between List and RevokeSubject.
type blind struct{ issuer.Store }

func (blind) List(ctx, string, time.Time) ([]issuer.Session, error) { return nil, nil }

func TestASessionThatBeginsMeanwhileIsDeniedToo(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) { c.Store = blind{c.Store} })
	old, own := f.login(), f.login()
	logout := func() int {
		return f.do("DELETE", "/auth/sessions?others=true", "", "Authorization", "Bearer "+own.str("access_token")).status
	}
	assert.Equal(t, 204, logout())
	assert.True(t, f.denied.has(sid(t, old)))
	assert.False(t, f.denied.has(sid(t, own)))
	f.login()
	f.denied.failing(errors.New("down"))
	assert.Equal(t, 503, logout())
}

// picky is a store on an engine that takes no NUL and nothing too long.
type picky struct{ issuer.Store }

func (p picky) Get(ctx ctx, id string) (issuer.Session, error) {
	if !utf8.ValidString(id) || strings.ContainsAny(id, "\x00'") || len(id) > 64 {
		return issuer.Session{}, errors.New("invalid byte sequence")
	}
	return p.Store.Get(ctx, id)
}

func TestOnlyIDsReachTheStore(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) { c.Store = picky{c.Store} })
	auth := []string{"Authorization", "Bearer " + f.login().str("access_token")}
	for _, id := range []string{"%00", "'", "%FF", strings.Repeat("x", 100)} {
		assert.Equal(t, 404, f.do("DELETE", "/auth/sessions/"+id, "", auth...).status, id)
	}
	for _, id := range []string{`\u0000`, "'", strings.Repeat("x", 100)} {
		token := "rt1.m1." + id + ".0." + strings.Repeat("A", 43)
		assert.Equal(t, jwterrors.RefreshTokenInvalid, f.refresh(token).reason, id)
	}
}

func TestTheOperatorRevokes(t *testing.T) { // AX-16, JG-11
	f := newFixture(t, nil)
	a, b := f.login(), f.login()
	bob := f.do("POST", "/auth/login", `{"username":"bob","password":"`+password+`"}`)
	f.kinds()
	require.NoError(t, f.issuer.RevokeSession(t.Context(), sid(t, a)))
	require.NoError(t, f.issuer.RevokeSession(t.Context(), sid(t, a)), "again")
	assert.Equal(t, []issuer.EventKind{issuer.EventRevoked}, f.kinds())
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(a.str("refresh_token")).reason)
	assert.True(t, f.denied.has(sid(t, a)))
	assert.False(t, f.denied.has(sid(t, b)))
	assert.ErrorIs(t, f.issuer.RevokeSession(t.Context(), "unknown"), issuer.ErrNoSession)

	f.denied.failing(errors.New("down"))
	assert.ErrorIs(t, f.issuer.RevokeSubject(t.Context(), "alice"), jwterrors.StoreUnavailable)
	f.denied.failing(nil)
	require.NoError(t, f.issuer.RevokeSubject(t.Context(), "alice"))
	assert.Equal(t, []issuer.EventKind{issuer.EventRevoked}, f.kinds())
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(b.str("refresh_token")).reason)
	assert.True(t, f.denied.has(sid(t, b)))
	assert.WithinDuration(t, time.Now(), f.denied.subjects["alice"], time.Minute)
	assert.Equal(t, 200, f.refresh(bob.str("refresh_token")).status)
	assert.Equal(t, 200, f.refresh(f.login().str("refresh_token")).status, "a new login is not concerned")
}

// The operator ends a user while a password is being checked: what began before
// does not survive it.
func TestALoginInFlightDoesNotSurviveARevocation(t *testing.T) { // AX-16
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprint("single session: ", single), func(t *testing.T) {
			var during func()
			f := newFixture(t, func(c *issuer.Config) {
				c.SingleSession = single
				c.Authenticate = func(ctx ctx, c issuer.Credentials) (issuer.User, error) {
					end, ok := ctx.Deadline()
					assert.True(t, ok && time.Until(end) <= issuer.MaxLoginTime)
					u, err := authenticate(ctx, c) // the account is good still
					during()
					return u, err
				}
			})
			login := func() reply {
				return f.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`)
			}
			during = func() { require.NoError(t, f.issuer.RevokeSubject(t.Context(), "alice")) }
			r := login()
			assert.Equal(t, fmt.Sprint(401, jwterrors.SessionRevoked), fmt.Sprint(r.status, r.reason), r.text)
			assert.NotContains(t, r.body, "access_token")
			assert.Empty(t, must(f.store.List(t.Context(), "alice", f.now())))
			assert.Equal(t, []issuer.EventKind{issuer.EventLoginFailed}, f.kinds())

			during = func() { require.NoError(t, f.issuer.RevokeSubject(t.Context(), "bob")) }
			assert.Equal(t, 200, login().status, "another user is not concerned, nor is a login that begins later")
			during = func() { f.pass(issuer.MaxLoginTime + time.Second) }
			assert.Equal(t, 503, login().status, "a login that takes longer than a store remembers is given up")
		})
	}
}

func TestAMarkIsForgottenWhenNoLoginCanBeInFlight(t *testing.T) {
	st := issuer.NewMemoryStore()
	at := time.Now().Truncate(time.Microsecond)
	must(st.RevokeSubject(t.Context(), "alice", "", at))
	in := func(after time.Duration) error {
		must(st.DeleteExpired(t.Context(), at.Add(after), 100))
		s := memorySession("alice", 1, at.Add(time.Hour))
		s.AuthTime = at
		return st.Create(t.Context(), s)
	}
	assert.ErrorIs(t, in(2*issuer.MaxLoginTime), issuer.ErrSubjectRevoked)
	assert.NoError(t, in(2*issuer.MaxLoginTime+time.Microsecond))
}

func TestADenialLastsAsLongAsTheLongestToken(t *testing.T) { // NV-19
	f := newFixture(t, func(c *issuer.Config) { c.AccessTTL = time.Hour })
	login := f.login()
	f.do("POST", "/auth/logout", `{"refresh_token":"`+login.str("refresh_token")+`"}`)
	until := f.denied.sessions[sid(t, login)]
	assert.False(t, until.Before(time.Unix(int64(part(t, login.str("access_token"), 1)["exp"].(float64)), 0)))
	assert.Less(t, time.Until(until), 2*time.Hour, "and does not stay for ever")
}

func TestADenialOutlastsALoweredLifetime(t *testing.T) {
	before := newFixture(t, func(c *issuer.Config) { c.AccessTTL = time.Hour })
	login := before.login()
	end := time.Unix(int64(part(t, login.str("access_token"), 1)["exp"].(float64)), 0)
	f := newFixture(t, func(c *issuer.Config) { c.Store, c.AccessTTL = before.store, time.Minute })
	require.NoError(t, f.issuer.RevokeSession(t.Context(), sid(t, login)))
	assert.False(t, f.denied.sessions[sid(t, login)].Before(end), "the token of before is denied until it has expired")
	require.NoError(t, f.issuer.RevokeSubject(t.Context(), "alice"))
	f.pass(50 * time.Minute)
	clear(f.denied.sessions)
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(login.str("refresh_token")).reason)
	assert.True(t, f.denied.has(sid(t, login)), "a denial is repeated for as long")
}

func TestALogoutWithAnOldRefreshTokenEndsTheSession(t *testing.T) {
	f := newFixture(t, nil)
	first := f.login().str("refresh_token")
	f.pass(time.Hour)
	second := f.refresh(first).str("refresh_token")
	assert.Equal(t, 204, f.do("POST", "/auth/logout", `{"refresh_token":"`+first+`"}`).status)
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(second).reason)
}

func TestSessionsOfAUser(t *testing.T) { // D11, AX-22
	f := newFixture(t, nil)
	phone := f.login()
	f.pass(time.Second)
	laptop := f.login()
	bob := f.do("POST", "/auth/login", `{"username":"bob","password":"`+password+`"}`)
	auth := []string{"Authorization", "Bearer " + laptop.str("access_token")}
	list := func() []any { return f.do("GET", "/auth/sessions", "", auth...).body["sessions"].([]any) }

	all := list()
	require.Len(t, all, 2)
	newest := all[0].(map[string]any)
	assert.Equal(t, sid(t, laptop), newest["id"])
	assert.Equal(t, true, newest["current"])
	assert.Equal(t, "phone", newest["device"])
	assert.Equal(t, "127.0.0.1", newest["address"])
	assert.NotEmpty(t, newest["user_agent"])
	assert.Equal(t, false, all[1].(map[string]any)["current"])

	assert.Equal(t, 404, f.do("DELETE", "/auth/sessions/"+sid(t, bob), "", auth...).status, "nobody else's")
	for _, id := range []string{"unknown", strings.Repeat("A", 22), "%00", "'", strings.Repeat("x", 10_000)} {
		assert.Equal(t, 404, f.do("DELETE", "/auth/sessions/"+id, "", auth...).status, id)
	}
	assert.Equal(t, 400, f.do("DELETE", "/auth/sessions", "", auth...).status)
	assert.Equal(t, 204, f.do("DELETE", "/auth/sessions/"+sid(t, phone), "", auth...).status)
	assert.Len(t, list(), 1)
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(phone.str("refresh_token")).reason)

	skewed := f.login() // and then revoked by a clock that is ahead
	require.NoError(t, f.store.Revoke(t.Context(), sid(t, skewed), f.now().Add(time.Minute)))
	assert.Len(t, list(), 1)

	third := f.login()
	assert.Equal(t, 204, f.do("DELETE", "/auth/sessions?others=true", "", auth...).status)
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(third.str("refresh_token")).reason)
	assert.True(t, f.denied.has(sid(t, third)))
	assert.Equal(t, 200, f.refresh(laptop.str("refresh_token")).status)
	assert.Equal(t, 200, f.refresh(bob.str("refresh_token")).status)
}

func TestOneSessionForEachUser(t *testing.T) { // JG-12, D11
	f := newFixture(t, func(c *issuer.Config) { c.SingleSession = true })
	first, second := f.login(), f.login()
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(first.str("refresh_token")).reason)
	assert.True(t, f.denied.has(sid(t, first)))
	assert.Equal(t, 200, f.refresh(second.str("refresh_token")).status)

	until := f.denied.sessions[sid(t, first)]
	f.pass(time.Minute)
	f.login()
	assert.WithinDuration(t, until, f.denied.sessions[sid(t, first)], time.Millisecond, "a denial that is repeated lasts no longer")
	f.pass(2 * time.Hour)
	clear(f.denied.sessions)
	f.login()
	assert.Len(t, f.denied.sessions, 1, "and it is not repeated for ever")
}

func TestOfLoginsAtOnceOneSessionSurvives(t *testing.T) { // JG-12
	f := newFixture(t, func(c *issuer.Config) { c.SingleSession = true })
	const pairs = 200
	for pair := range pairs {
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 2 {
			wg.Go(func() {
				<-start
				f.loginDirect()
			})
		}
		close(start)
		wg.Wait()
		live := must(f.store.List(t.Context(), "alice", f.now()))
		require.Len(t, live, 1, "pair %d", pair)
		assert.False(t, f.denied.has(live[0].ID), "nobody has ended the one that is left")
	}
	count := map[issuer.EventKind]int{}
	for _, kind := range f.kinds() {
		count[kind]++
	}
	assert.Equal(t, map[issuer.EventKind]int{issuer.EventLogin: 2 * pairs, issuer.EventRevoked: 2*pairs - 1}, count)
}

func TestAFailedLoginLeavesTheOldSessionOrTheNewOne(t *testing.T) {
	st := &flaky{}
	f := newFixture(t, func(c *issuer.Config) {
		st.Store, c.Store, c.SingleSession = c.Store, st, true
	})
	login := func() int {
		return f.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`).status
	}
	live := func() []issuer.Session { return must(f.store.List(t.Context(), "alice", f.now())) }
	old := sid(t, f.login())

	for _, method := range []string{"Create", "Replace", "Revoke", "RevokeSubject", "List"} {
		st.set(method, errors.New("down"))
		status := login()
		st.set("", nil)
		require.Len(t, live(), 1, method)
		assert.False(t, f.denied.has(live()[0].ID), "a session that goes on is not denied")
		if method == "Replace" {
			assert.Equal(t, 503, status)
			assert.Equal(t, old, live()[0].ID)
		}
		old = live()[0].ID
	}

	f.denied.failing(errors.New("down"))
	assert.Equal(t, 503, login())
	f.denied.failing(nil)
	require.Len(t, live(), 1)
	assert.NotEqual(t, old, live()[0].ID)
}

func TestTheBearerOfTheIssuersOwnRoutes(t *testing.T) { // JG-05
	f := newFixture(t, nil)
	login := f.login()
	access := login.str("access_token")
	p := strings.Split(access, ".")
	stranger := newFixture(t, nil).login()
	get := func(authorization ...string) reply {
		return f.do("GET", "/auth/sessions", "", authorization...)
	}
	for name, c := range map[string]struct {
		value string
		want  jwterrors.Reason
	}{
		"none":               {"", jwterrors.TokenMissing},
		"Basic":              {"Basic YTpi", jwterrors.TokenMissing},
		"a refresh token":    {"Bearer " + login.str("refresh_token"), jwterrors.TokenFormatInvalid},
		"another signature":  {"Bearer " + p[0] + "." + p[1] + "." + strings.Repeat("A", 86), jwterrors.TokenSignatureInvalid},
		"another issuer key": {"Bearer " + stranger.str("access_token"), jwterrors.TokenKeyUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			r := get("Authorization", c.value)
			assert.Equal(t, 401, r.status)
			assert.Equal(t, c.want, r.reason)
		})
	}
	orders := newFixture(t, nil)
	stock := newFixture(t, func(c *issuer.Config) { c.Store, c.Keys, c.Audience = orders.store, orders.ring, []string{"stock"} })
	for _, path := range []string{"/auth/sessions", "/auth/logout"} {
		method := map[string]string{"/auth/sessions": "GET", "/auth/logout": "POST"}[path]
		r := stock.do(method, path, "", "Authorization", "Bearer "+orders.login().str("access_token"))
		assert.NotEqual(t, 200, r.status, "a token for another audience")
	}
	assert.Empty(t, stock.kinds(), "ends nothing here")
	two := httptest.NewRequest("GET", "/auth/sessions", nil)
	two.Header["Authorization"] = []string{"Bearer " + access, "Bearer " + access}
	w := httptest.NewRecorder()
	f.issuer.ServeHTTP(w, two)
	assert.Equal(t, 400, w.Code, "of two tokens nobody knows which counts")

	assert.Equal(t, 200, get("Authorization", "Bearer "+access).status)
	for range 2 { // the second is yet to sign
		must(f.ring.Rotate(newKey(t, issuer.EdDSA)))
		f.pass(7 * time.Minute)
		assert.Equal(t, 200, get("Authorization", "Bearer "+access).status, "its key is still published")
	}
	f.pass(time.Minute)
	assert.Equal(t, jwterrors.TokenExpired, get("Authorization", "Bearer "+access).reason)
}

// An event of a revocation comes when it has been tried, and says so when it
// failed.
func TestARevocationIsToldWhenItIsDone(t *testing.T) {
	const login = `{"username":"alice","password":"` + password + `"}`
	for _, c := range []struct {
		name   string
		kind   issuer.EventKind
		method string // of the store, that fails
		change func(*issuer.Config)
		do     func(f *fixture, old, own reply)
	}{
		{"replay", issuer.EventReplay, "Revoke", nil, func(f *fixture, old, _ reply) {
			f.refresh(old.str("refresh_token"))
			f.pass(time.Hour)
			f.refresh(old.str("refresh_token"))
		}},
		{"a user who may not go on", issuer.EventRevoked, "Revoke", func(c *issuer.Config) {
			c.Reload = func(ctx, issuer.Session) (issuer.User, error) { return issuer.User{}, jwterrors.CredentialsInvalid }
		}, func(f *fixture, old, _ reply) { f.refresh(old.str("refresh_token")) }},
		{"logout", issuer.EventLogout, "Revoke", nil, func(f *fixture, old, _ reply) {
			f.do("POST", "/auth/logout", `{"refresh_token":"`+old.str("refresh_token")+`"}`)
		}},
		{"one session", issuer.EventLogout, "Revoke", nil, func(f *fixture, old, own reply) {
			f.do("DELETE", "/auth/sessions/"+sid(t, old), "", "Authorization", "Bearer "+own.str("access_token"))
		}},
		{"the others", issuer.EventRevoked, "RevokeSubject", nil, func(f *fixture, _, own reply) {
			f.do("DELETE", "/auth/sessions?others=true", "", "Authorization", "Bearer "+own.str("access_token"))
		}},
		{"the operator", issuer.EventRevoked, "Revoke", nil, func(f *fixture, old, _ reply) { _ = f.issuer.RevokeSession(t.Context(), sid(t, old)) }},
		{"another login", issuer.EventRevoked, "", func(c *issuer.Config) { c.SingleSession = true }, func(f *fixture, _, _ reply) {
			f.do("POST", "/auth/login", login)
		}},
	} {
		for _, broken := range []string{"", "store", "denylist"} {
			if broken == "store" && c.method == "" {
				continue // then nothing was revoked
			}
			t.Run(c.name+", broken: "+broken, func(t *testing.T) {
				st := &flaky{}
				var f *fixture
				var told []issuer.Event
				f = newFixture(t, func(cfg *issuer.Config) {
					st.Store, cfg.Store = cfg.Store, st
					cfg.OnEvent = func(e issuer.Event) {
						if told = append(told, e); e.Kind != c.kind || broken != "" {
							return
						}
						assert.False(t, must(f.store.Get(t.Context(), e.SessionID)).RevokedAt.IsZero(), "it has been revoked")
						assert.True(t, f.denied.has(e.SessionID), "it has been denied")
					}
					if c.change != nil {
						c.change(cfg)
					}
				})
				old := f.login()
				own := old
				if c.name != "another login" {
					own = f.login()
				}
				down := errors.New(broken)
				switch told = nil; broken {
				case "store":
					st.set(c.method, down)
				case "denylist":
					f.denied.failing(down)
				}
				c.do(f, old, own)
				at := slices.IndexFunc(told, func(e issuer.Event) bool { return e.Kind == c.kind })
				require.GreaterOrEqual(t, at, 0, "%v", told)
				if broken == "" {
					assert.NoError(t, told[at].Err)
				} else {
					assert.ErrorIs(t, told[at].Err, down)
				}
				assert.Equal(t, "alice", told[at].Subject)
			})
		}
	}
}

func TestNoSecretIsLoggedOrTold(t *testing.T) {
	st := &flaky{}
	var events []string
	f := newFixture(t, func(c *issuer.Config) {
		st.Store, c.Store = c.Store, st
		c.OnEvent = func(e issuer.Event) { events = append(events, fmt.Sprintf("%+v", e)); panic(password) }
	})
	var secrets, answers []string
	note := func(r reply) reply {
		if s := r.str("refresh_token"); s != "" {
			secrets = append(secrets, s, strings.Split(s, ".")[4], r.str("access_token"))
		} else {
			answers = append(answers, r.text)
		}
		return r
	}
	login := note(f.login())
	first := login.str("refresh_token")
	f.pass(time.Hour)
	note(f.refresh(first, "Idempotency-Key", "a-retry-key"))
	note(f.do("POST", "/auth/login", `{"username":"alice","password":"wrong-password"}`))
	note(f.refresh(first[:len(first)-2] + "AA"))
	st.set("Get", fmt.Errorf("lost"))
	note(f.refresh(first))
	st.set("", nil)
	f.pass(time.Hour)
	note(f.refresh(first))
	note(f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+login.str("access_token")))
	require.NotEmpty(t, events)
	everything := f.logs.String() + strings.Join(events, "\n") + strings.Join(answers, "\n")
	for _, secret := range append(secrets, password, "wrong-password", "a-retry-key", string(masterSecret)) {
		assert.NotContains(t, everything, secret)
	}
	assert.Contains(t, everything, "panicked")

}

func TestValuesThatHoldSecretsHideThem(t *testing.T) {
	secret := strings.Repeat("s3cret", 6)
	credentials := issuer.Credentials{Username: "alice", Password: secret}
	master := issuer.MasterKey{ID: "m1", Secret: []byte(secret)}
	key := must(issuer.NewSecretKey([]byte(secret)))
	for name, v := range map[string]any{
		"credentials": credentials, "master key": master, "key": key, "config": issuer.Config{MasterKeys: []issuer.MasterKey{master}},
		"key ring": issuer.KeyRingConfig{Key: key},
	} {
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		forms := fmt.Sprintf("%v %+v %#v ", v, v, v) + log.String()
		if name != "config" && name != "key ring" { // functions have no JSON
			forms += string(must(json.Marshal(v)))
		}
		for _, form := range []string{secret, fmt.Sprint([]byte(secret)), "0x73, 0x33, 0x63", base64.StdEncoding.EncodeToString([]byte(secret))} {
			assert.NotContains(t, forms, form, name)
		}
	}
}
