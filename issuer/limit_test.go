package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

func TestABudgetIsSpentAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{}))
		b := issuer.Budget{Attempts: 3, Every: time.Minute}
		take := func(key string) time.Duration { return must(m.Take(t.Context(), key, b)) }
		for range 3 {
			assert.Zero(t, take("a"))
		}
		assert.Equal(t, time.Minute, take("a"), "the fourth")
		assert.Zero(t, take("b"), "another key")

		time.Sleep(time.Minute - 1)
		assert.EqualValues(t, 1, take("a"), "a moment before the limit")
		time.Sleep(time.Nanosecond)
		assert.Zero(t, take("a"), "at the limit")
		assert.Equal(t, time.Minute, take("a"), "one attempt, not two")
		time.Sleep(time.Minute + 1)
		assert.Zero(t, take("a"), "a moment after it")
		assert.Equal(t, time.Minute-1, take("a"))

		time.Sleep(time.Hour)
		for range 3 {
			assert.Zero(t, take("a"), "the budget is whole, and never more")
		}
		assert.NotZero(t, take("a"))

		require.NoError(t, m.Give(t.Context(), "a", 1, b))
		assert.Zero(t, take("a"))
		assert.NotZero(t, take("a"))
		require.NoError(t, m.Give(t.Context(), "a", 1<<40, b))
		require.NoError(t, m.Give(t.Context(), "a", 1<<40, b))
		require.NoError(t, m.Give(t.Context(), "a", -5, b))
		for range 3 {
			assert.Zero(t, take("a"))
		}
		assert.NotZero(t, take("a"))
		require.NoError(t, m.Give(t.Context(), "nobody", 3, b))
	})
}

func TestAClockThatGoesBackLocksNobodyForLonger(t *testing.T) {
	now := time.Now()
	m := must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Now: func() time.Time { return now }}))
	b := issuer.Budget{Attempts: 2, Every: time.Second}
	for range 2 {
		assert.Zero(t, must(m.Take(t.Context(), "a", b)))
	}
	now = now.Add(-24 * time.Hour)
	assert.Equal(t, time.Second, must(m.Take(t.Context(), "a", b)))
	now = now.Add(time.Second)
	assert.Zero(t, must(m.Take(t.Context(), "a", b)), "what was said is true: an attempt is there again")
	assert.NotZero(t, must(m.Take(t.Context(), "a", b)))
	now = now.Add(24 * time.Hour)
	assert.Zero(t, must(m.Take(t.Context(), "a", b)))
}

// Whoever floods the limiter with other keys does not get his own budget back: what
// is nearest to being whole goes first.
func TestAFloodDoesNotResetASpentBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Entries: 1024}))
		b := issuer.Budget{Attempts: 20, Every: time.Minute}
		for range 20 {
			require.Zero(t, must(m.Take(t.Context(), "victim", b)))
		}
		for n := range 50 * 1024 {
			require.Zero(t, must(m.Take(t.Context(), "flood-"+strconv.Itoa(n), b)))
		}
		assert.NotZero(t, must(m.Take(t.Context(), "victim", b)))
	})
}

func TestALimiterIsSafeForConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{}))
		b := issuer.Budget{Attempts: 50, Every: time.Hour}
		var mu sync.Mutex
		var passed int
		for range 20 {
			go func() {
				for range 10 {
					if must(m.Take(t.Context(), "a", b)) == 0 {
						mu.Lock()
						passed++
						mu.Unlock()
					}
				}
			}()
		}
		synctest.Wait()
		assert.Equal(t, 50, passed)
	})
}

func TestALimiterRefusesMistakes(t *testing.T) {
	for _, n := range []int{-1, 1, 1023, 1<<24 + 1} {
		_, err := issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Entries: n})
		assert.ErrorContains(t, err, "entries")
	}
	m := must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Entries: 1500}))
	for _, b := range []issuer.Budget{{}, {Attempts: 1}, {Every: time.Second}, {Attempts: -1, Every: time.Second}, {Attempts: 1, Every: -1}, {Attempts: 1 << 40, Every: time.Hour}} {
		_, err := m.Take(t.Context(), "a", b)
		assert.Error(t, err, "%+v", b)
		assert.Error(t, m.Give(t.Context(), "a", 1, b), "%+v", b)
	}
	f := newFixture(t, nil)
	c := f.config()
	c.Limits = issuer.Limits{
		Account: issuer.Budget{Attempts: 1}, Address: issuer.Budget{Attempts: -1, Every: time.Second},
		Refresh: issuer.Budget{Attempts: 1 << 30, Every: time.Hour}, InsecureOff: true,
	}
	_, err := issuer.New(c)
	for _, want := range []string{"Limits.Account", "Limits.Address", "Limits.Refresh", "InsecureOff"} {
		assert.ErrorContains(t, err, want)
	}
}

// limited returns a fixture with small budgets, whose client addresses are those
// of the field Test-Address.
func limited(t *testing.T, change func(*issuer.Config)) *fixture {
	return newFixture(t, func(c *issuer.Config) {
		c.Limits.Account = issuer.Budget{Attempts: 3, Every: time.Minute}
		c.Limits.Address = issuer.Budget{Attempts: 10, Every: time.Second}
		c.ClientAddress = func(r *http.Request) netip.Addr {
			a, _ := netip.ParseAddr(r.Header.Get("Test-Address"))
			return a
		}
		if change != nil {
			change(c)
		}
	})
}

// Where Authenticate takes several names for one account, one who guesses has no more
// tries with them than with one.
func TestTheNamesOfAnAccountShareItsBudget(t *testing.T) {
	f := limited(t, func(c *issuer.Config) {
		c.Limits.AccountKey = func(c issuer.Credentials) string { return strings.ReplaceAll(c.Username, ".", "") }
	})
	for n, name := range []string{"alice", "al.ice", "a.l.i.c.e"} {
		assert.Equal(t, 401, f.tryFrom(fmt.Sprintf("192.0.2.%d", n), name, "wrong").status)
	}
	for n, name := range []string{"alice", "ali.ce"} {
		assert.Equal(t, 429, f.tryFrom(fmt.Sprintf("192.0.2.%d", 10+n), name, password).status)
	}
	assert.Equal(t, 200, f.tryFrom("192.0.2.20", "bob", password).status, "another account")
}

func (f *fixture) tryFrom(address, name, password string) reply {
	f.t.Helper()
	return f.do("POST", "/auth/login", fmt.Sprintf(`{"username":%q,"password":%q}`, name, password), "Test-Address", address)
}

func TestAnAccountIsLimited(t *testing.T) { // IT-04
	f := limited(t, nil)
	from := func(n int) string { return fmt.Sprintf("192.0.2.%d", n) }
	for n, name := range []string{"alice", " ALICE", "Alice "} { // spellings of one account
		assert.Equal(t, 401, f.tryFrom(from(n), name, "wrong").status)
	}
	r := f.tryFrom(from(9), "alice", password)
	assert.Equal(t, "429 AUTH_RATE_LIMITED", fmt.Sprint(r.status, " ", r.reason), "the right password is not looked at either")
	after := must(strconv.Atoi(r.header.Get("Retry-After")))
	assert.InDelta(t, 60, after, 1)
	assert.Equal(t, 200, f.tryFrom(from(9), "bob", password).status, "another account")
	f.kinds()

	f.pass(time.Duration(after) * time.Second)
	assert.Equal(t, 200, f.tryFrom(from(9), "alice", password).status, "who waits for Retry-After may try")
	for range 3 {
		assert.Equal(t, 401, f.tryFrom(from(9), "alice", "wrong").status, "a success gave the whole budget back")
	}
	assert.Equal(t, 429, f.tryFrom(from(9), "alice", "wrong").status)
	assert.Equal(t, []issuer.EventKind{
		issuer.EventLogin, issuer.EventLoginFailed, issuer.EventLoginFailed, issuer.EventLoginFailed, issuer.EventLimited,
	}, f.kinds())
}

// Nobody learns from a limit whether there is an account.
func TestAnUnknownAccountIsLimitedLikeAnother(t *testing.T) {
	f := limited(t, nil)
	var texts []string
	for _, name := range []string{"alice", "nobody"} {
		for range 3 {
			assert.Equal(t, 401, f.tryFrom("192.0.2.1", name, "wrong").status)
		}
		r := f.tryFrom("192.0.2.1", name, "wrong")
		assert.Equal(t, 429, r.status)
		texts = append(texts, r.text)
	}
	assert.Equal(t, texts[0], texts[1])
}

func TestAnAddressIsLimited(t *testing.T) { // IT-04
	f := limited(t, nil)
	for n := range 10 {
		assert.Equal(t, 401, f.tryFrom(fmt.Sprintf("2001:db8:1:2::%d", n), fmt.Sprint("user", n), "wrong").status)
	}
	assert.Equal(t, 429, f.tryFrom("2001:db8:1:2:ffff::1", "alice", password).status, "the same /64")
	assert.Equal(t, 200, f.tryFrom("2001:db8:1:3::1", "alice", password).status, "the next /64")
	assert.Equal(t, 401, f.tryFrom("192.0.2.1", "x", "wrong").status)
	for n := range 9 {
		assert.Equal(t, 401, f.tryFrom("::ffff:192.0.2.1", fmt.Sprint("user", n), "wrong").status, "IPv4 in IPv6 is IPv4")
	}
	assert.Equal(t, 429, f.tryFrom("192.0.2.1", "alice", password).status)
	assert.Equal(t, 200, f.tryFrom("192.0.2.2", "alice", password).status)
	f.pass(time.Second)
	for range 30 {
		assert.Equal(t, 200, f.tryFrom("192.0.2.1", "alice", password).status, "what succeeds costs an address nothing")
	}
	for n := range 30 {
		assert.Equal(t, 401, f.tryFrom("", fmt.Sprint("somebody", n), "wrong").status, "an address that is not known has no limit")
	}
}

func TestARefreshLocksNobody(t *testing.T) {
	for name, refresh := range map[string]issuer.Budget{"no limit": {}, "a limit": {Attempts: 5, Every: time.Second}} {
		t.Run(name, func(t *testing.T) {
			f := limited(t, func(c *issuer.Config) { c.Limits.Refresh = refresh })
			token := f.login().str("refresh_token")
			forged := token[:len(token)-43] + strings.Repeat("A", 43)
			statuses := map[int]int{}
			for range 50 {
				statuses[f.refresh(forged, "Test-Address", "192.0.2.66").status]++
			}
			if refresh.Attempts == 0 {
				assert.Equal(t, map[int]int{401: 50}, statuses)
			} else {
				assert.GreaterOrEqual(t, statuses[429], 40)
				assert.GreaterOrEqual(t, statuses[401], 5)
				assert.Zero(t, statuses[200])
			}
			for range 4 { // no account's budget was touched by a refresh, and what succeeds does not count
				for range 5 {
					assert.Equal(t, 200, f.refresh(token, "Test-Address", "192.0.2.1").status)
				}
				assert.Equal(t, 200, f.tryFrom("192.0.2.1", "alice", password).status)
			}
			for range 4 { // and a locked account refreshes
				f.tryFrom("192.0.2.66", "alice", "wrong")
			}
			assert.Equal(t, 429, f.tryFrom("192.0.2.1", "alice", password).status)
			assert.Equal(t, 200, f.refresh(token, "Test-Address", "192.0.2.1").status)
		})
	}
}

func TestTheAddressIsThatOfTheConnectionByDefault(t *testing.T) {
	f := newFixture(t, func(c *issuer.Config) { c.Limits.Address = issuer.Budget{Attempts: 1, Every: time.Minute} })
	try := func(remote string) int {
		r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(`{"username":"`+remote+`","password":"x"}`))
		r.RemoteAddr = remote
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Forwarded-For", remote)
		w := httptest.NewRecorder()
		f.issuer.ServeHTTP(w, r)
		return w.Code
	}
	assert.Equal(t, 401, try("192.0.2.1:1"))
	assert.Equal(t, 429, try("192.0.2.1:2"), "another port")
	assert.Equal(t, 429, try("[::ffff:192.0.2.1]:3"), "IPv4 in IPv6")
	assert.Equal(t, 401, try("[fe80::1%eth0]:1"))
	assert.Equal(t, 429, try("[fe80::2%eth1]:1"), "another zone")
	for n, want := range []int{401, 429, 429} {
		body := fmt.Sprintf(`{"username":"y%d","password":"x"}`, n)
		assert.Equal(t, want, f.do("POST", "/auth/login", body, "X-Forwarded-For", fmt.Sprint("192.0.2.", n)).status, "a field that nobody trusts is not read")
	}
}

// What Authenticate could not decide costs nothing, unless the client did not wait.
func TestAnAttemptThatIsNotDecidedIsGivenBack(t *testing.T) {
	var fail error
	f := limited(t, func(c *issuer.Config) {
		c.Authenticate = func(context.Context, issuer.Credentials) (issuer.User, error) { return issuer.User{}, fail }
	})
	for _, fail = range []error{errors.New("no directory"), jwterrors.StoreUnavailable, jwterrors.RateLimited} {
		for range 10 {
			r := f.tryFrom("192.0.2.1", "alice", "x")
			assert.NotContains(t, []int{200, 401}, r.status)
			require.NotContains(t, r.text, "no attempt")
		}
	}
	fail = jwterrors.CredentialsInvalid
	for range 3 {
		assert.Equal(t, 401, f.tryFrom("192.0.2.1", "alice", "x").status)
	}
	assert.Equal(t, 429, f.tryFrom("192.0.2.1", "alice", "x").status)

	fail = errors.New("canceled")
	f.pass(time.Hour)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, "POST", "/auth/login", strings.NewReader(`{"username":"alice","password":"x"}`))
		r.Header.Set("Content-Type", "application/json")
		f.issuer.ServeHTTP(httptest.NewRecorder(), r)
	}
	assert.Equal(t, 429, f.tryFrom("192.0.2.1", "alice", "x").status, "who leaves pays")
}

type brokenLimiter struct{ err error }

func (b brokenLimiter) Take(context.Context, string, issuer.Budget) (time.Duration, error) {
	return 0, b.err
}
func (b brokenLimiter) Give(context.Context, string, int, issuer.Budget) error { return b.err }

// A onewayLimiter takes attempts, and fails to take them back.
type onewayLimiter struct{ brokenLimiter }

func (onewayLimiter) Take(context.Context, string, issuer.Budget) (time.Duration, error) {
	return 0, nil
}

func TestALimiterThatFailsIsClosedUnlessToldOtherwise(t *testing.T) {
	for open, want := range map[bool]int{false: 503, true: 200} {
		f := newFixture(t, func(c *issuer.Config) {
			c.Limits = issuer.Limits{Limiter: brokenLimiter{errors.New("no redis")}, InsecureFailOpen: open, Refresh: issuer.Budget{Attempts: 200, Every: 5 * time.Second}}
		})
		r := f.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`)
		assert.Equal(t, want, r.status)
		assert.Contains(t, f.logs.String(), "no redis")
		assert.NotContains(t, r.text, "no redis")
	}
	f := newFixture(t, func(c *issuer.Config) { c.Limits.Limiter = onewayLimiter{brokenLimiter{errors.New("no redis")}} })
	f.login()
	assert.Contains(t, f.logs.String(), "no redis", "what could not be given back is told, and is no reason to refuse")
	f = newFixture(t, func(c *issuer.Config) { c.Limits.InsecureOff = true })
	for range 300 {
		require.Equal(t, 401, f.do("POST", "/auth/login", `{"username":"alice","password":"x"}`).status)
	}
}

func TestLoginsAreLimitedByDefault(t *testing.T) { // IT-04
	f := newFixture(t, nil)
	statuses := map[int]int{}
	for range 30 {
		statuses[f.do("POST", "/auth/login", `{"username":"alice","password":"x"}`).status]++
	}
	assert.Equal(t, map[int]int{401: 20, 429: 10}, statuses)
}

// A limiter sees what it needs to count, and no name.
type recordingLimiter struct {
	issuer.Limiter
	keys []string
}

func (l *recordingLimiter) Take(ctx context.Context, key string, b issuer.Budget) (time.Duration, error) {
	l.keys = append(l.keys, key)
	return l.Limiter.Take(ctx, key, b)
}

func (l *recordingLimiter) Give(ctx context.Context, key string, n int, b issuer.Budget) error {
	l.keys = append(l.keys, key)
	return l.Limiter.Give(ctx, key, n, b)
}

// All whose address is not known would have one budget, and each could use it up.
func TestAnAddressThatIsNotKnownHasNoBudget(t *testing.T) {
	rec := &recordingLimiter{Limiter: must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{}))}
	f := limited(t, func(c *issuer.Config) {
		c.Limits.Limiter, c.Limits.Refresh = rec, issuer.Budget{Attempts: 1, Every: time.Minute}
	})
	token := f.login().str("refresh_token")
	for range 3 {
		assert.Equal(t, 401, f.refresh("x").status)
	}
	assert.Equal(t, 200, f.refresh(token).status)
	assert.NotEmpty(t, rec.keys, "of the account")
	assert.NotContains(t, rec.keys, "")
}

func TestTheKeysOfALimiterAreShortAndNameNobody(t *testing.T) {
	rec := &recordingLimiter{Limiter: must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{}))}
	f := limited(t, func(c *issuer.Config) { c.Limits.Limiter = rec })
	f.tryFrom("192.0.2.1", "alice", "wrong")
	f.tryFrom("2001:db8::1", strings.Repeat("ä", 20000), "wrong")
	require.Len(t, rec.keys, 4)
	for _, key := range rec.keys {
		assert.LessOrEqual(t, len(key), 64)
		assert.NotContains(t, key, "alice")
	}
	assert.Equal(t, "login-address:192.0.2.1", rec.keys[0])
	assert.Equal(t, "login-address:2001:db8::/64", rec.keys[2])
}

func TestEventsNameAccountsOnlyWhenAsked(t *testing.T) {
	for _, asked := range []bool{false, true} {
		f := limited(t, func(c *issuer.Config) { c.TellAccounts = asked })
		for range 4 {
			f.tryFrom("192.0.2.1", "alice@example.com", "wrong")
		}
		f.tryFrom("192.0.2.1", "x", "wrong")
		f.mu.Lock()
		require.Len(t, f.events, 5)
		for n, e := range f.events {
			assert.Equal(t, "192.0.2.1", e.Address)
			want := ""
			if asked {
				want = "al***"
				if n == 4 {
					want = "***"
				}
			}
			assert.Equal(t, want, e.Account)
		}
		assert.Equal(t, issuer.EventLimited, f.events[3].Kind)
		assert.Equal(t, jwterrors.RateLimited, f.events[3].Reason)
		f.mu.Unlock()
	}
}

func TestTheClientBehindProxies(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48")}
	from := must(issuer.TrustedProxies("x-forwarded-for", networks...))
	for _, c := range []struct {
		name, remote string
		fields       []string
		want         string
	}{
		{"no proxy", "192.0.2.1:80", nil, "192.0.2.1"},
		{"no proxy, and a claim", "192.0.2.1:80", []string{"198.51.100.1"}, "192.0.2.1"},
		{"a proxy", "10.0.0.1:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a proxy of IPv6", "[2001:db8:f::1]:80", []string{"2001:db8::5"}, "2001:db8::5"},
		{"a proxy and a claim", "10.0.0.1:80", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies", "10.0.0.1:80", []string{"203.0.113.9, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"two fields", "10.0.0.1:80", []string{"203.0.113.9", "198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"two fields, the end in the first", "10.0.0.1:80", []string{"203.0.113.9", "10.0.0.2"}, "203.0.113.9"},
		{"proxies alone", "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"a port", "10.0.0.1:80", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6 in brackets", "10.0.0.1:80", []string{"[2001:db8::5]"}, "2001:db8::5"},
		{"IPv6 with a port", "10.0.0.1:80", []string{"[2001:db8::5]:4711"}, "2001:db8::5"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:80", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"no field", "10.0.0.1:80", nil, "10.0.0.1"},
		{"an empty field", "10.0.0.1:80", []string{""}, "10.0.0.1"},
		{"garbage", "10.0.0.1:80", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"a socket", "@", []string{"198.51.100.1"}, "invalid IP"},
		{"an address that is too long", "10.0.0.1:80", []string{"fe80::1%" + strings.Repeat("e", 60)}, "10.0.0.1"},
		{"too many", "10.0.0.1:80", []string{"198.51.100.1" + strings.Repeat(",10.0.0.9", 100)}, "10.0.0.9"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.fields}}
		assert.Equal(t, c.want, from(r).String(), c.name)
	}
	_, err := issuer.TrustedProxies("Forwarded", netip.Prefix{}, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::ffff:10.0.0.0/104"))
	for _, want := range []string{"Forwarded", "not valid", "everybody", "form of IPv6"} {
		assert.ErrorContains(t, err, want)
	}
	_, err = issuer.TrustedProxies("")
	assert.ErrorContains(t, err, "no proxy")

	f := newFixture(t, func(c *issuer.Config) {
		c.ClientAddress = must(issuer.TrustedProxies("X-Forwarded-For", netip.MustParsePrefix("127.0.0.0/8")))
		c.Limits.Address = issuer.Budget{Attempts: 1, Every: time.Minute}
	})
	try := func(forwarded, password string) int {
		return f.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`, "X-Forwarded-For", forwarded).status
	}
	assert.Equal(t, 401, try("192.0.2.1", "wrong"))
	assert.Equal(t, 429, try("192.0.2.1", password))
	assert.Equal(t, 429, try("192.0.2.99, 192.0.2.1", password), "what a client claims helps it nothing")
	assert.Equal(t, 200, try("192.0.2.2", password))
	assert.Equal(t, "192.0.2.2", must(f.store.List(t.Context(), "alice", f.now()))[0].Address)
}

func TestMemoryLimiterIsALimiter(t *testing.T) {
	storetest.RunLimiter(t, func(t *testing.T, now func() time.Time) issuer.Limiter {
		return must(issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Now: now}))
	})
}
