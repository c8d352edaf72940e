package issuer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// A client learns from the code alone whether to wait, to refresh or to ask for a
// login, for each way in which a token may be refused.
func TestTheCodesTellWhatToDo(t *testing.T) { // AX-21, JG-07, JG-11
	f := newFixture(t, func(c *issuer.Config) { c.RefreshTTL, c.Grace = 24*time.Hour, issuer.NoGrace })
	replayed, revoked, expired := f.login(), f.login(), f.login()
	require.Equal(t, 200, f.refresh(replayed.str("refresh_token")).status)
	require.NoError(t, f.issuer.RevokeSession(t.Context(), sid(t, revoked)))
	access := "Bearer " + expired.str("access_token")
	got := map[jwterrors.Reason]jwterrors.Action{}
	want := func(r reply, status int, reason jwterrors.Reason, action jwterrors.Action) {
		t.Helper()
		assert.Equal(t, fmt.Sprint(status, reason), fmt.Sprint(r.status, r.reason), r.text)
		assert.Equal(t, action, r.reason.Action(), reason)
		got[reason] = action
	}
	want(f.refresh(replayed.str("refresh_token")), 401, jwterrors.RefreshTokenReused, jwterrors.ActionLogin)
	want(f.refresh(revoked.str("refresh_token")), 401, jwterrors.SessionRevoked, jwterrors.ActionLogin)
	want(f.refresh("x"), 401, jwterrors.RefreshTokenInvalid, jwterrors.ActionLogin)
	want(f.do("POST", "/auth/refresh", "{}"), 400, jwterrors.RefreshTokenMissing, jwterrors.ActionLogin)
	want(f.do("GET", "/auth/sessions", "", "Authorization", "Bearer x.y.z"), 401, jwterrors.TokenFormatInvalid, jwterrors.ActionRefresh)
	want(f.do("GET", "/auth/sessions", "", "Authorization", access[:len(access)-8]+"AAAAAAAA"), 401, jwterrors.TokenSignatureInvalid, jwterrors.ActionRefresh)
	f.pass(16 * time.Minute)
	want(f.do("GET", "/auth/sessions", "", "Authorization", access), 401, jwterrors.TokenExpired, jwterrors.ActionRefresh)
	f.pass(24 * time.Hour)
	want(f.refresh(expired.str("refresh_token")), 401, jwterrors.RefreshTokenExpired, jwterrors.ActionLogin)
	assert.Len(t, got, 8, "each has a code of its own")
}

// The lifetimes that New takes are those that tokens get.
func TestLifetimesOverTheWire(t *testing.T) { // IT-09, IT-40, JG-06, JG-18, NV-09, AX-01
	day := 24 * time.Hour
	year := 365 * day
	for _, c := range []struct {
		access, refresh time.Duration
		want            string // empty: it is good
	}{
		{0, 0, ""},
		{time.Second, 2 * time.Second, ""},
		{10 * time.Second, 20 * time.Second, ""}, // JG-18
		{time.Minute, 90 * day, ""},              // JG-18
		{15 * time.Minute, 7 * day, ""},
		{time.Hour, time.Hour + 1, ""},
		{year - time.Second, 2 * year, ""}, // IT-09: a second less than a year
		{year, 2 * year, "less than a year"},
		{year + time.Second, 2 * year, "less than a year"},
		{time.Hour, time.Hour, "longer than AccessTTL"}, // JG-06
		{time.Hour, time.Minute, "longer than AccessTTL"},
		{0, issuer.DefaultAccessTTL, "longer than AccessTTL"},
		{issuer.DefaultRefreshTTL, 0, "longer than AccessTTL"},
		{time.Second - 1, day, "whole number"},
		{-time.Hour, day, "whole number"},
		{time.Hour, -day, "longer than AccessTTL"},
	} {
		t.Run(fmt.Sprint(c.access, " ", c.refresh), func(t *testing.T) {
			f := &fixture{t: t}
			change := func(cfg *issuer.Config) {
				cfg.AccessTTL, cfg.RefreshTTL = c.access, c.refresh
				cfg.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.EdDSA), RetireAfter: 3 * year}))
			}
			if c.want != "" {
				f = newFixture(t, nil)
				cfg := f.config()
				change(&cfg)
				_, err := issuer.New(cfg)
				require.ErrorContains(t, err, c.want)
				return
			}
			f = newFixture(t, change)
			access, refresh := max(c.access, 0), c.refresh
			if access == 0 {
				access, refresh = issuer.DefaultAccessTTL, issuer.DefaultRefreshTTL
				assert.GreaterOrEqual(t, access, 15*time.Minute) // IT-40
				assert.LessOrEqual(t, access, time.Hour)
				assert.GreaterOrEqual(t, refresh, 7*day) // NV-09, AX-01
			}
			r := f.login()
			assert.EqualValues(t, access/time.Second, r.body["expires_in"])
			assert.EqualValues(t, refresh/time.Second, r.body["refresh_expires_in"])
			claims := part(t, r.str("access_token"), 1)
			assert.Equal(t, access.Seconds(), claims["exp"].(float64)-claims["iat"].(float64))
		})
	}
}

// However often it is refreshed, a session ends when it was to end, and its access
// tokens with it.
func TestASessionHasAnAbsoluteEnd(t *testing.T) { // AX-22, JG-14
	begin := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	now := begin
	f := newFixture(t, func(c *issuer.Config) {
		c.RefreshTTL, c.AccessTTL, c.Now = 24*time.Hour, time.Hour, func() time.Time { return now }
	})
	login := f.login()
	token, authTime := login.str("refresh_token"), part(t, login.str("access_token"), 1)["auth_time"]
	for now = begin.Add(50 * time.Minute); now.Before(begin.Add(24 * time.Hour)); now = now.Add(50 * time.Minute) {
		r := f.refresh(token)
		require.Equal(t, 200, r.status, now)
		token = r.str("refresh_token")
		claims := part(t, r.str("access_token"), 1)
		assert.Equal(t, authTime, claims["auth_time"], "a refresh is no login: who asks for a fresh one is not fooled")
		assert.LessOrEqual(t, int64(claims["exp"].(float64)), begin.Add(24*time.Hour).Unix())
		assert.EqualValues(t, begin.Add(24*time.Hour).Sub(now)/time.Second, r.body["refresh_expires_in"])
	}
	now = begin.Add(24 * time.Hour)
	r := f.refresh(token)
	assert.Equal(t, fmt.Sprint(401, jwterrors.RefreshTokenExpired), fmt.Sprint(r.status, r.reason), "it is not renewed in silence (JG-14)")
}

// One secret for everything, as in the tutorial: still no token passes for the
// other kind.
func TestWithOneSecretTokensKeepTheirKind(t *testing.T) { // JG-05, JG-23
	secret := []byte("one obviously fake secret for everything")
	f := newFixture(t, func(c *issuer.Config) {
		c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.NewSecretKey(secret))}))
		c.MasterKeys = []issuer.MasterKey{{Secret: secret}}
	})
	login := f.login()
	access, refresh := login.str("access_token"), login.str("refresh_token")
	assert.Equal(t, jwterrors.RefreshTokenInvalid, f.refresh(access).reason)
	assert.Equal(t, jwterrors.TokenFormatInvalid, f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+refresh).reason)
	minted := must(must(issuer.NewMinter(issuer.MinterConfig{Secrets: [][]byte{secret}})).Mint(t.Context(), issuer.UserID("alice")))
	r := f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+minted)
	assert.Equal(t, 401, r.status, "nor does a token without session")
	assert.Equal(t, jwterrors.RefreshTokenInvalid, f.refresh(minted).reason)
	assert.Equal(t, 200, f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+access).status)
	assert.Equal(t, 200, f.refresh(refresh).status)
	assert.NotContains(t, f.do("GET", "/.well-known/jwks.json", "").text, "kid", "a secret is not published")
}

func TestARefreshTokenIsBoundToItsDevice(t *testing.T) { // AX-15
	f := newFixture(t, func(c *issuer.Config) { c.BindDevice, c.Register = true, register })
	login := f.login() // on "phone"
	token := login.str("refresh_token")
	f.kinds()
	f.pass(time.Minute)
	before := must(f.store.Get(t.Context(), sid(t, login)))
	for name, device := range map[string]string{
		"none": ``, "an empty one": `,"device":""`, "another": `,"device":"laptop"`, "another case": `,"device":"Phone"`, "null": `,"device":null`,
	} {
		r := f.do("POST", "/auth/refresh", `{"refresh_token":"`+token+`"`+device+`}`)
		assert.Equal(t, fmt.Sprint(401, jwterrors.RefreshTokenInvalid), fmt.Sprint(r.status, r.reason), name)
		assert.Equal(t, []issuer.EventKind{issuer.EventOtherDevice}, f.kinds(), name)
	}
	assert.Equal(t, before, must(f.store.Get(t.Context(), before.ID)), "nothing has changed")
	r := f.do("POST", "/auth/refresh", `{"refresh_token":"`+token+`","device":"phone"}`)
	assert.Equal(t, 200, r.status, r.text)
	assert.Equal(t, 204, f.do("POST", "/auth/logout", `{"refresh_token":"`+token+`"}`).status, "a logout needs none")

	for _, path := range []string{"/auth/login", "/auth/signup"} {
		for _, device := range []string{"", `,"device":""`, `,"device":"\u0001"`} {
			r := f.do("POST", path, `{"username":"alice","password":"`+password+`"`+device+`}`)
			assert.Equal(t, fmt.Sprint(400, jwterrors.RequestInvalid), fmt.Sprint(r.status, r.reason), path+device)
		}
	}
	long := strings.Repeat("d", 300) // is cut for display, and so is what is compared
	login = f.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`","device":"`+long+`"}`)
	r = f.do("POST", "/auth/refresh", `{"refresh_token":"`+login.str("refresh_token")+`","device":"`+long+`"}`)
	assert.Equal(t, 200, r.status, r.text)

	earlier := newFixture(t, func(c *issuer.Config) { c.Store = f.store })
	none := earlier.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`).str("refresh_token")
	assert.Equal(t, 401, f.do("POST", "/auth/refresh", `{"refresh_token":"`+none+`","device":"phone"}`).status)
	assert.Equal(t, 200, f.refresh(none).status, "a session that began without a device goes on without")

	unbound := newFixture(t, nil)
	token = unbound.login().str("refresh_token")
	assert.Equal(t, 200, unbound.do("POST", "/auth/refresh", `{"refresh_token":"`+token+`","device":"laptop"}`).status, "off by default")
}

// Every login and every signup is told to the activity log, with who it was.
func TestActivityIsTold(t *testing.T) { // JG-17
	f := newFixture(t, func(c *issuer.Config) { c.Register = register })
	login := f.login()
	signup := f.do("POST", "/auth/signup", `{"username":"carol","password":"x"}`)
	f.do("POST", "/auth/login", `{"username":"alice","password":"x"}`)
	f.mu.Lock()
	events := slices.Clone(f.events)
	f.mu.Unlock()
	var got []string
	for _, e := range events {
		got = append(got, strings.TrimSpace(fmt.Sprint(e.Kind, " ", e.Subject, " ", e.Reason)))
		assert.Equal(t, "127.0.0.1", e.Address)
		assert.Equal(t, "default", e.ClientID)
		assert.WithinDuration(t, time.Now(), e.Time, time.Minute)
	}
	assert.Equal(t, []string{"login alice", "signup carol", "login carol", "login_failed  AUTH_CREDENTIALS_INVALID"}, got)
	assert.Equal(t, sid(t, login), events[0].SessionID)
	assert.Equal(t, sid(t, signup), events[2].SessionID)
}

// What Encode is given does not print, and what it returns is what is answered.
func TestTheTokensOfAnAnswerDoNotPrint(t *testing.T) {
	var printed []string
	f := newFixture(t, func(c *issuer.Config) {
		c.Encode = func(route string, t issuer.Tokens) any {
			printed = append(printed, fmt.Sprintf("%s %v %+v %#v %s %s", route, t, t, &t, t.String(), t.LogValue()))
			return map[string]any{"kind": route, "data": t}
		}
	})
	login := f.login()
	data, _ := login.body["data"].(map[string]any)
	require.Equal(t, "login", login.body["kind"])
	refresh := f.refresh(fmt.Sprint(data["refresh_token"]))
	require.Equal(t, "refresh", refresh.body["kind"])
	for _, token := range []string{fmt.Sprint(data["access_token"]), fmt.Sprint(data["refresh_token"])} {
		require.Greater(t, len(token), 50)
		assert.NotContains(t, strings.Join(printed, "\n"), token)
	}
	assert.Len(t, printed, 4, "two of them for New")
}

// An Encode that fails one day has cost nobody a session.
func TestAnAnswerThatCannotBeWrittenIsRepeated(t *testing.T) {
	broken := false
	f := newFixture(t, func(c *issuer.Config) {
		c.Encode = func(_ string, t issuer.Tokens) any {
			if broken {
				return make(chan int)
			}
			return t
		}
	})
	first := f.login().str("refresh_token")
	f.pass(time.Hour)
	broken = true
	r := f.refresh(first, "Idempotency-Key", "k")
	assert.Equal(t, fmt.Sprint(500, jwterrors.TokenGenerationError), fmt.Sprint(r.status, r.reason))
	assert.Contains(t, f.logs.String(), "chan int")
	broken = false
	f.pass(time.Hour)
	assert.Equal(t, 200, f.refresh(first, "Idempotency-Key", "k").status)
}
