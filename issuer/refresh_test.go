package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func TestARefreshRotates(t *testing.T) { // AX-14, JG-04, NV-16
	f := newFixture(t, nil)
	first := f.login()
	f.pass(time.Minute)
	second := f.refresh(first.str("refresh_token"))
	require.Equal(t, 200, second.status, second.text)
	assert.NotEqual(t, first.str("refresh_token"), second.str("refresh_token"))
	assert.NotEqual(t, first.str("access_token"), second.str("access_token"))
	assert.Equal(t, sid(t, first), sid(t, second), "it is the same session")
	assert.Equal(t, "no-store", second.header.Get("Cache-Control"))
	assert.Equal(t, []issuer.EventKind{issuer.EventLogin, issuer.EventRefresh}, f.kinds())
}

func TestStrictModeHasNoGrace(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) { c.Grace = issuer.NoGrace })
	first := f.login().str("refresh_token")
	require.Equal(t, 200, f.refresh(first, "Idempotency-Key", "k").status)
	assert.Equal(t, 200, f.refresh(first, "Idempotency-Key", "k").status, "the key still tells a repetition from a theft")
	assert.Equal(t, jwterrors.RefreshTokenReused, f.refresh(first).reason)
}

func TestAForgedTokenChangesNothing(t *testing.T) { // JG-08
	f := newFixture(t, nil)
	login := f.login()
	good := login.str("refresh_token")
	f.pass(time.Minute)
	good2 := f.refresh(good).str("refresh_token")
	before := must(f.store.Get(t.Context(), sid(t, login)))
	f.kinds()
	p := strings.Split(good, ".")
	mac := func(s string) string { return strings.Join([]string{p[0], p[1], p[2], p[3], s}, ".") }
	for name, token := range map[string]string{
		"nothing like one":         "garbage",
		"an access token":          login.str("access_token"), // JG-05
		"another mac":              mac(strings.Repeat("A", 43)),
		"no mac":                   mac(""),
		"a short mac":              mac(p[4][:40]),
		"a second spelling":        mac(p[4][:42] + string(p[4][42]+1)),
		"another generation":       strings.Replace(good, ".0.", ".1.", 1),
		"a generation to come":     strings.Replace(good, ".0.", ".7.", 1),
		"a generation with a zero": strings.Replace(good, ".0.", ".00.", 1),
		"a negative generation":    strings.Replace(good, ".0.", ".-1.", 1),
		"a huge generation":        strings.Replace(good, ".0.", ".99999999999999999999.", 1),
		"an unknown master key":    strings.Replace(good, ".m1.", ".m2.", 1),
		"an unknown session":       strings.Replace(good, p[2], strings.Repeat("A", 22), 1),
		"another version":          "rt2" + good[3:],
		"a part more":              good + ".x",
		"upper and lower case":     strings.ToUpper(good),
		"very long":                good + strings.Repeat("A", 10_000),
		"with a NUL":               good + `\u0000`,
		"of another issuer's master": func() string {
			g := newFixture(t, func(c *issuer.Config) {
				c.MasterKeys = []issuer.MasterKey{{ID: "m1", Secret: []byte(strings.Repeat("x", 32))}}
				c.Store = f.store
			})
			s := g.login().str("refresh_token")
			return strings.Replace(s, strings.Split(s, ".")[2], p[2], 1)
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			r := f.refresh(token)
			assert.Equal(t, 401, r.status)
			assert.Equal(t, jwterrors.RefreshTokenInvalid, r.reason)
			assert.Equal(t, 204, f.do("POST", "/auth/logout", `{"refresh_token":"`+token+`"}`).status)
		})
	}
	assert.Equal(t, before, must(f.store.Get(t.Context(), before.ID)))
	assert.Empty(t, f.kinds())
	f.pass(time.Minute)
	assert.Equal(t, 200, f.refresh(good2).status)
}

func TestAnotherClientsTokenIsRefused(t *testing.T) { // AX-15
	f := newFixture(t, nil)
	token := f.login().str("refresh_token")
	other := newFixture(t, func(c *issuer.Config) { c.Store, c.ClientID = f.store, "other" })
	r := other.refresh(token)
	assert.Equal(t, jwterrors.RefreshTokenInvalid, r.reason)
	assert.Equal(t, 200, f.refresh(token).status)
}

func TestSessionsEnd(t *testing.T) { // JG-07, JG-14, JG-18, NV-09
	f := newFixture(t, func(c *issuer.Config) {
		c.AccessTTL, c.RefreshTTL, c.IdleTTL, c.Grace = 10*time.Second, 60*time.Second, 20*time.Second, issuer.NoGrace
	})
	r := f.login()
	assert.EqualValues(t, 10, r.body["expires_in"])
	assert.EqualValues(t, 20, r.body["refresh_expires_in"])
	token := r.str("refresh_token")
	for range 3 { // each refresh puts the idle end off, and none the absolute one
		f.pass(19 * time.Second)
		r = f.refresh(token)
		require.Equal(t, 200, r.status, r.text)
		token = r.str("refresh_token")
	}
	claims := part(t, r.str("access_token"), 1)
	assert.LessOrEqual(t, claims["exp"].(float64)-claims["iat"].(float64), 4.0, "no access token outlives its session")
	f.pass(4 * time.Second)
	r = f.refresh(token)
	assert.Equal(t, 401, r.status)
	assert.Equal(t, jwterrors.RefreshTokenExpired, r.reason)
	assert.Equal(t, jwterrors.ActionLogin, r.reason.Action())

	idle := f.login().str("refresh_token")
	f.pass(20 * time.Second)
	assert.Equal(t, jwterrors.RefreshTokenExpired, f.refresh(idle).reason)
}

// At the end of a session, one step before it, and in the second before, in
// which an access token would be born dead.
func TestTheLastMomentsOfASession(t *testing.T) {
	begin := time.Date(2026, 11, 21, 12, 0, 0, 300e6, time.UTC) // it ends at 13:00:00.3
	for at, want := range map[time.Duration]int{
		time.Hour - 300*time.Millisecond - 1: 200, time.Hour - 300*time.Millisecond: 401, time.Hour - 1: 401, time.Hour: 401,
	} {
		now := begin
		f := newFixture(t, func(c *issuer.Config) { c.RefreshTTL, c.Now = time.Hour, func() time.Time { return now } })
		token := f.login().str("refresh_token")
		now = begin.Add(at)
		r := f.refresh(token)
		assert.Equal(t, want, r.status, at)
		if want == 200 {
			assert.EqualValues(t, 1, r.body["expires_in"])
		} else {
			assert.Equal(t, jwterrors.RefreshTokenExpired, r.reason, at)
		}
	}
}

// A repetition is answered and puts off no end, and what it is answered with does
// not outlive the session.
func TestNoAccessTokenOutlivesTheIdleEnd(t *testing.T) {
	begin := time.Date(2026, 11, 21, 12, 0, 0, 300e6, time.UTC)
	now := begin
	f := newFixture(t, func(c *issuer.Config) { c.IdleTTL, c.Now = time.Hour, func() time.Time { return now } })
	login := f.login()
	first := login.str("refresh_token")
	require.Equal(t, 200, f.refresh(first, "Idempotency-Key", "k").status) // the idle end is 13:00:00.3
	for at, want := range map[time.Duration]float64{
		44 * time.Minute: 900, 50 * time.Minute: 600, time.Hour - time.Second: 1, time.Hour - 300*time.Millisecond: 0, time.Hour: 0,
	} {
		now = begin.Add(at)
		r := f.refresh(first, "Idempotency-Key", "k")
		if want == 0 {
			assert.Equal(t, jwterrors.RefreshTokenExpired, r.reason, at)
			continue
		}
		require.Equal(t, 200, r.status, r.text)
		assert.Equal(t, want, r.body["expires_in"], at)
		claims := part(t, r.str("access_token"), 1)
		assert.LessOrEqual(t, int64(claims["exp"].(float64)), begin.Add(time.Hour).Unix())
		assert.Equal(t, begin.Add(time.Hour), must(f.store.Get(t.Context(), sid(t, login))).IdleUntil)
	}
}

func TestTheTimesOfASessionNeverGoBack(t *testing.T) {
	ahead := newFixture(t, func(c *issuer.Config) { c.IdleTTL = time.Hour })
	ahead.pass(10 * time.Minute)
	login := ahead.login()
	created := must(ahead.store.Get(t.Context(), sid(t, login)))
	behind := newFixture(t, func(c *issuer.Config) { c.Store, c.IdleTTL = ahead.store, time.Hour })
	require.Equal(t, 200, behind.refresh(login.str("refresh_token")).status)
	rotated := must(ahead.store.Get(t.Context(), created.ID))
	assert.EqualValues(t, 1, rotated.Generation)
	assert.Equal(t, created.RotatedAt, rotated.RotatedAt)
	assert.Equal(t, created.IdleUntil, rotated.IdleUntil, "nobody loses by the clock of another process")
}

func TestAStoreThatLostAWriteLosesNobody(t *testing.T) {
	f := newFixture(t, nil)
	login := f.login()
	token := login.str("refresh_token")
	backup := must(f.store.Get(t.Context(), sid(t, login)))
	for range 3 {
		f.pass(time.Hour)
		token = f.refresh(token).str("refresh_token")
	}
	// The engine falls back to the backup.
	f = newFixture(t, nil)
	f.pass(3 * time.Hour)
	require.NoError(t, f.store.Create(t.Context(), backup))
	r := f.refresh(token)
	require.Equal(t, 200, r.status, r.text)
	assert.Equal(t, []issuer.EventKind{issuer.EventLostWrite, issuer.EventRefresh}, f.kinds())
	assert.EqualValues(t, 4, must(f.store.Get(t.Context(), backup.ID)).Generation)
	assert.Contains(t, f.logs.String(), "lost a write")
	f.pass(time.Hour)
	assert.Equal(t, 200, f.refresh(r.str("refresh_token")).status)
}

func TestMasterKeysRotate(t *testing.T) {
	f := newFixture(t, nil)
	token := f.login().str("refresh_token")
	secret2 := []byte(strings.Repeat("2", 32))
	both := newFixture(t, func(c *issuer.Config) {
		c.Store = f.store
		c.MasterKeys = []issuer.MasterKey{{ID: "m2", Secret: secret2}, {ID: "m1", Secret: masterSecret}}
	})
	both.pass(time.Hour)
	r := both.refresh(token)
	require.Equal(t, 200, r.status, r.text)
	assert.True(t, strings.HasPrefix(r.str("refresh_token"), "rt1.m2."), "each rotation moves to the newest")
	assert.Equal(t, r.str("refresh_token"), both.refresh(token).str("refresh_token"), "the old one still has one successor")
	newest := newFixture(t, func(c *issuer.Config) {
		c.Store = f.store
		c.MasterKeys = []issuer.MasterKey{{ID: "m2", Secret: secret2}}
	})
	newest.pass(2 * time.Hour)
	assert.Equal(t, 200, newest.refresh(r.str("refresh_token")).status)
	assert.Equal(t, jwterrors.RefreshTokenInvalid, newest.refresh(token).reason)
}

// While master keys change, processes with the old and the new list of them work
// side by side, and none of them may end what it cannot judge.
func TestAProcessWithoutTheMasterKeyOfASessionAsksForARetry(t *testing.T) {
	m1 := issuer.MasterKey{ID: "m1", Secret: masterSecret}
	m2 := issuer.MasterKey{ID: "m2", Secret: []byte(strings.Repeat("2", 32))}
	old := newFixture(t, nil)
	with := func(keys ...issuer.MasterKey) *fixture {
		return newFixture(t, func(c *issuer.Config) { c.Store, c.MasterKeys = old.store, keys })
	}
	ahead, appended := with(m2, m1), with(m1, m2)
	logout := func(f *fixture, token string) reply {
		return f.do("POST", "/auth/logout", `{"refresh_token":"`+token+`"}`)
	}
	later := func(r reply) {
		t.Helper()
		assert.Equal(t, fmt.Sprint(503, jwterrors.StoreUnavailable), fmt.Sprint(r.status, r.reason), r.text)
		assert.NotEmpty(t, r.header.Get("Retry-After"))
	}

	begun := ahead.login().str("refresh_token")
	require.True(t, strings.HasPrefix(begun, "rt1.m2."))
	later(old.refresh(begun))
	later(logout(old, begun))
	assert.Contains(t, old.logs.String(), `master key \"m2\"`, "the operator learns which key is missing")
	assert.NotContains(t, old.logs.String(), strings.Split(begun, ".")[4])
	assert.Equal(t, 200, ahead.refresh(begun).status, "the session is as it was")

	first := old.login().str("refresh_token")
	second := ahead.refresh(first).str("refresh_token")
	require.True(t, strings.HasPrefix(second, "rt1.m2."))
	later(old.refresh(second))
	later(old.refresh(first)) // genuine and within the grace, but its answer cannot be made here
	assert.Equal(t, second, appended.refresh(first).str("refresh_token"), "a key that stands last makes what it has begun")
	assert.Equal(t, 204, logout(old, first).status, "a token of a key that is there logs out")
	assert.Equal(t, jwterrors.SessionRevoked, ahead.refresh(second).reason)

	_, rest, _ := strings.Cut(strings.TrimPrefix(first, "rt1."), ".")
	forged := "rt1.m3." + rest
	assert.Equal(t, jwterrors.RefreshTokenInvalid, old.refresh(forged).reason, "a key that the session does not use is no key")
	assert.Equal(t, 204, logout(old, forged).status)

	// What has ended needs no retry, or clients would try for ever when the
	// old key has been dropped.
	revoked, expired := ahead.login().str("refresh_token"), ahead.login().str("refresh_token")
	require.Equal(t, 204, logout(ahead, revoked).status)
	assert.Equal(t, jwterrors.RefreshTokenInvalid, old.refresh(revoked).reason)
	old.pass(issuer.DefaultRefreshTTL)
	assert.Equal(t, jwterrors.RefreshTokenInvalid, old.refresh(expired).reason)
	assert.Equal(t, 204, logout(old, expired).status)
}

func TestAStoreThatFailsLosesNothing(t *testing.T) {
	st := &flaky{}
	f := newFixture(t, func(c *issuer.Config) { st.Store = c.Store; c.Store = st })
	login := f.login()
	token, access := login.str("refresh_token"), login.str("access_token")
	down := errors.New("connection refused")
	for _, c := range []struct{ method, request, path, body string }{
		{"Create", "POST", "/auth/login", `{"username":"alice","password":"` + password + `"}`},
		{"Get", "POST", "/auth/refresh", `{"refresh_token":"` + token + `"}`},
		{"Rotate", "POST", "/auth/refresh", `{"refresh_token":"` + token + `"}`},
		{"Get", "POST", "/auth/logout", `{"refresh_token":"` + token + `"}`},
		{"Revoke", "POST", "/auth/logout", `{"refresh_token":"` + token + `"}`},
		{"Get", "POST", "/auth/logout", ""},
		{"List", "GET", "/auth/sessions", ""},
		{"Get", "GET", "/auth/sessions", ""},
		{"RevokeSubject", "DELETE", "/auth/sessions?others=true", ""},
	} {
		t.Run(c.method+" during "+c.request+" "+c.path, func(t *testing.T) {
			st.set(c.method, down)
			r := f.do(c.request, c.path, c.body, "Authorization", "Bearer "+access)
			assert.Equal(t, 503, r.status)
			assert.Equal(t, jwterrors.StoreUnavailable, r.reason)
			assert.NotEmpty(t, r.header.Get("Retry-After"))
			assert.NotContains(t, r.text, "connection refused")
			st.set("", nil)
		})
	}
	assert.Equal(t, 200, f.refresh(token).status, "the session is as it was")
}

func TestAReplayThatCannotBeRevokedIsNotSaidToBe(t *testing.T) {
	st := &flaky{}
	f := newFixture(t, func(c *issuer.Config) { st.Store = c.Store; c.Store = st })
	login := f.login()
	first := login.str("refresh_token")
	f.pass(time.Hour)
	require.Equal(t, 200, f.refresh(first).status)
	f.pass(time.Hour)
	st.set("Revoke", errors.New("down"))
	assert.Equal(t, 503, f.refresh(first).status)
	st.set("", nil)
	clear(f.denied.sessions)
	f.denied.failing(errors.New("down"))
	assert.Equal(t, 503, f.refresh(first).status, "nor when its access tokens could not be denied")
	assert.Equal(t, 503, f.refresh(first).status, "however often")
	assert.False(t, f.denied.has(sid(t, login)))
	f.denied.failing(nil)
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(first).reason)
	assert.True(t, f.denied.has(sid(t, login)), "the denial is made up for")
}

// A replay is found whether or not a good refresh could be answered now.
func TestAReplayIsSeenWhateverElseFails(t *testing.T) {
	for name, broken := range map[string]func(*issuer.Config){
		"the user directory": func(c *issuer.Config) {
			c.Reload = func(ctx, issuer.Session) (issuer.User, error) { return issuer.User{}, errors.New("down") }
		},
		"the signer": func(c *issuer.Config) {
			c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.NewKey(brokenSigner{}))}))
		},
		"a process without the master key of the session": func(c *issuer.Config) { c.MasterKeys = c.MasterKeys[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			keys := []issuer.MasterKey{{ID: "m2", Secret: []byte(strings.Repeat("2", 32))}, {ID: "m1", Secret: masterSecret}}
			f := newFixture(t, nil)
			login := f.login()
			first := login.str("refresh_token")
			after := newFixture(t, func(c *issuer.Config) { c.Store, c.MasterKeys = f.store, keys })
			second := after.refresh(first).str("refresh_token")
			g := newFixture(t, func(c *issuer.Config) { c.Store, c.MasterKeys = f.store, keys; broken(c) })
			assert.Contains(t, []int{500, 503}, g.refresh(first).status, "within the grace it is none")
			g.pass(time.Minute)
			r := g.refresh(first)
			assert.Equal(t, fmt.Sprint(401, jwterrors.RefreshTokenReused), fmt.Sprint(r.status, r.reason), r.text)
			assert.Equal(t, []issuer.EventKind{issuer.EventReplay}, g.kinds())
			assert.Equal(t, jwterrors.SessionRevoked, after.refresh(second).reason)
		})
	}
}

// leaving is a store that honours contexts, and whose client leaves as soon as
// its session was read.
type leaving struct {
	issuer.Store
	leave context.CancelFunc
}

func (l *leaving) Get(ctx ctx, id string) (issuer.Session, error) {
	defer l.leave()
	return l.Store.Get(ctx, id)
}

func (l *leaving) Revoke(ctx ctx, id string, at time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.Store.Revoke(ctx, id, at)
}

func TestNobodyPreventsARevocationByLeaving(t *testing.T) {
	gone := func(issuer.Session) {}
	for name, c := range map[string]struct {
		path   string
		reload func(s issuer.Session)
	}{"replay": {"/auth/refresh", nil}, "logout": {"/auth/logout", nil}, "a user who may not go on": {"/auth/refresh", gone}} {
		t.Run(name, func(t *testing.T) {
			st := &leaving{leave: func() {}}
			f := newFixture(t, func(cfg *issuer.Config) {
				st.Store, cfg.Store, cfg.Grace = cfg.Store, st, issuer.NoGrace
				if c.reload != nil {
					cfg.Reload = func(ctx, issuer.Session) (issuer.User, error) { return issuer.User{}, jwterrors.CredentialsInvalid }
				}
			})
			login := f.login()
			token := login.str("refresh_token")
			if name == "replay" {
				require.Equal(t, 200, f.refresh(token).status)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			st.leave = cancel
			r := httptest.NewRequestWithContext(ctx, "POST", c.path, strings.NewReader(`{"refresh_token":"`+token+`"}`))
			r.Header.Set("Content-Type", "application/json")
			f.issuer.ServeHTTP(httptest.NewRecorder(), r)
			require.Error(t, ctx.Err())
			assert.False(t, must(f.store.Get(t.Context(), sid(t, login))).RevokedAt.IsZero())
			assert.True(t, f.denied.has(sid(t, login)))
		})
	}
}

func TestARotationThatNeverWinsIsBounded(t *testing.T) {
	st := &flaky{}
	f := newFixture(t, func(c *issuer.Config) { st.Store = c.Store; c.Store = loser{st} })
	r := f.refresh(f.login().str("refresh_token"))
	assert.Equal(t, 503, r.status)
}

// loser is a store in which somebody else is always faster and nothing is seen
// of it.
type loser struct{ *flaky }

func (loser) Rotate(_ ctx, _ string, _ uint64, _ issuer.Rotation) (bool, error) { return false, nil }

func TestSigningFailsBeforeAnythingHasChanged(t *testing.T) { // IT-31.04
	f := newFixture(t, nil)
	login := f.login()
	broken := newFixture(t, func(c *issuer.Config) {
		c.Store = f.store
		c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.NewKey(brokenSigner{}))}))
	})
	r := broken.refresh(login.str("refresh_token"))
	assert.Equal(t, 500, r.status)
	assert.Equal(t, jwterrors.TokenGenerationError, r.reason)
	assert.Zero(t, must(f.store.Get(t.Context(), sid(t, login))).Generation)
	assert.Equal(t, 200, f.refresh(login.str("refresh_token")).status)
}

func TestTheUserIsAskedAboutAtEveryRefresh(t *testing.T) { // AX-16, AX-22
	user := issuer.User{ID: "alice", Scopes: []string{"api:read", "admin"}, UserID: "u-1", ACR: "mfa"}
	var fail error
	f := newFixture(t, func(c *issuer.Config) {
		c.Reload = func(_ ctx, s issuer.Session) (issuer.User, error) {
			assert.Equal(t, "alice phone", s.Subject+" "+s.Device)
			assert.Empty(t, string(s.Seed)+string(s.RetryHash), "what it does not need it does not get")
			s.Scopes[0] = "spoilt"
			return user, fail
		}
	})
	login := f.login()
	token := login.str("refresh_token")
	r := f.refresh(token)
	require.Equal(t, 200, r.status, r.text)
	claims := part(t, r.str("access_token"), 1)
	assert.Equal(t, "api:read", claims["scope"], "a permission that was taken away is gone, and none is new")
	assert.NotContains(t, claims, "acr", "a refresh is no login")
	assert.Equal(t, "u-1", claims["userId"])
	assert.NotContains(t, claims, "email")

	fail = errors.New("user directory down")
	assert.Equal(t, 503, f.refresh(r.str("refresh_token")).status)
	fail, user.ID = nil, "mallory"
	assert.Equal(t, 500, f.refresh(r.str("refresh_token")).status, "a session never changes hands")
	user.ID, fail = "alice", jwterrors.SessionRevoked
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(r.str("refresh_token")).reason)
	fail = nil
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(r.str("refresh_token")).reason, "and stays so")
	assert.True(t, f.denied.has(sid(t, login)))
}

func TestTheRequestOfARefresh(t *testing.T) { // JG-08, AX-13, D5
	f := newFixture(t, nil)
	token := f.login().str("refresh_token")
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		reason     jwterrors.Reason
	}{
		{"camel case", `{"refreshToken":"` + token + `"}`, nil, 200, ""},
		{"both names, one token", `{"refreshToken":"` + token + `","refresh_token":"` + token + `"}`, nil, 200, ""},
		{"both names, two tokens", `{"refreshToken":"a","refresh_token":"` + token + `"}`, nil, 400, jwterrors.RequestInvalid},
		{"no token", `{}`, nil, 400, jwterrors.RefreshTokenMissing},
		{"an empty token", `{"refresh_token":""}`, nil, 400, jwterrors.RefreshTokenMissing},
		{"null", `{"refresh_token":null}`, nil, 400, jwterrors.RefreshTokenMissing},
		{"a number", `{"refresh_token":7}`, nil, 400, jwterrors.RequestInvalid},
		{"not JSON", `refresh_token=x`, nil, 400, jwterrors.RequestInvalid},
		{"an array", `["x"]`, nil, 400, jwterrors.RequestInvalid},
		{"a name twice", `{"refresh_token":"a","refresh_token":"` + token + `"}`, nil, 400, jwterrors.RequestInvalid},
		{"a long key", `{"refresh_token":"` + token + `"}`, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, jwterrors.RequestInvalid},
		{"a form", `{"refresh_token":"` + token + `"}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, jwterrors.RequestInvalid},
		{"no content type", `{"refresh_token":"` + token + `"}`, []string{"Content-Type", ""}, 415, jwterrors.RequestInvalid},
		{"with a charset", `{"refresh_token":"` + token + `"}`, []string{"Content-Type", "application/json; charset=utf-8"}, 200, ""},
		{"too large", `{"x":"` + strings.Repeat("x", 64<<10) + `"}`, nil, 413, jwterrors.RequestInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := f.do("POST", "/auth/refresh", c.body, c.headers...)
			assert.Equal(t, fmt.Sprint(c.status, c.reason), fmt.Sprint(r.status, r.reason), r.text)
		})
	}
}

// FuzzRefresh: no refresh token but the genuine ones does anything.
func FuzzRefresh(f *testing.F) {
	fx := newFixture(f, nil)
	good := fx.login().str("refresh_token")
	f.Add(good)
	f.Add("rt1.m1.AAAAAAAAAAAAAAAAAAAAAA.0." + strings.Repeat("A", 43))
	f.Add("rt1....")
	f.Fuzz(func(t *testing.T, token string) {
		_, status := fx.direct(token)
		if token != good && status != 401 && status != 400 {
			t.Errorf("%q was answered %d", token, status)
		}
	})
}
