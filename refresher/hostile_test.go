package refresher_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// net/http writes URL.Opaque into the request line as it is, and a proxy goes by
// that: a request that names another host there is not for the origin.
func TestAnOpaqueURLThatNamesAnotherHostGetsNoToken(t *testing.T) {
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization"))
	}))
	t.Cleanup(other.Close)
	s := newService()
	server := s.start(t)
	p := newProxy(t)
	c := config(server.URL)
	c.Base = p.base(t, &http.Transport{})
	tr := newTransport(t, c)
	login(t, tr)
	host := strings.TrimPrefix(server.URL, "http://")
	for opaque, status := range map[string]int{
		strings.TrimPrefix(other.URL, "http:") + "/x": 200,
		other.URL + "/x":     200,
		"//" + host + "/api": 200,
		server.URL + "/api":  401, // spelled in a way that is not understood
	} {
		req := must(http.NewRequestWithContext(t.Context(), "GET", server.URL, nil))
		req.URL = &url.URL{Scheme: "http", Host: host, Opaque: opaque}
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err, opaque)
		resp.Body.Close()
		assert.Equal(t, status, resp.StatusCode, opaque)
	}
	assert.Equal(t, []string{"", ""}, elsewhere)

	var got string
	sees := newTransport(t, refresher.Config{
		Origins: []string{"https://api.example.com"}, Push: true,
		Base: tripFunc(func(r *http.Request) (*http.Response, error) {
			got = r.Header.Get("Authorization")
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
		}),
	})
	require.NoError(t, sees.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
	for opaque, want := range map[string]string{
		"":                                "Bearer opaque",
		"/a%2Fb":                          "Bearer opaque",
		"//api.example.com":               "Bearer opaque",
		"//api.example.com/a%2Fb":         "Bearer opaque",
		"//api.example.com.evil.test/":    "",
		"//api.example.com:evil@evil.com": "",
		"//api.example.com@evil.test/":    "",
		"//evil.test/":                    "",
		"https://evil.test/":              "",
		"evil.test:443":                   "",
	} {
		req := must(http.NewRequest("GET", "https://api.example.com/", nil))
		req.URL.Opaque = opaque
		resp, err := sees.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, want, got, opaque)
	}
}

// Request.Host goes into the header Host, by which servers with several sites tell
// them apart, and for a plain proxy into the request line: a reverse proxy may have
// it from whoever called. Such a request is for an origin if both names are.
func TestAHostThatIsNotOfTheOriginsGetsNoToken(t *testing.T) {
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization"))
	}))
	t.Cleanup(other.Close)
	s := newService()
	server := s.start(t)
	p := newProxy(t)
	c := config(server.URL)
	c.Base = p.base(t, &http.Transport{})
	tr := newTransport(t, c)
	login(t, tr)
	req := must(http.NewRequestWithContext(t.Context(), "GET", server.URL+"/api", nil))
	req.Host = strings.TrimPrefix(other.URL, "http://")
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, []string{""}, elsewhere)

	var got string
	for _, only := range []bool{false, true} {
		sees := newTransport(t, refresher.Config{
			Origins: []string{"https://api.example.com", "https://10.0.0.1:8443"}, Push: true, OnlyOrigins: only,
			Base: tripFunc(func(r *http.Request) (*http.Response, error) {
				got = r.Header.Get("Authorization")
				return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
			}),
		})
		require.NoError(t, sees.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
		for host, want := range map[string]string{
			"":                     "Bearer opaque",
			"10.0.0.1:8443":        "Bearer opaque",
			"api.example.com":      "Bearer opaque", // listed as well: the name of what is behind the address
			"API.example.com:443":  "Bearer opaque",
			"api.example.com:8443": "",
			"evil.test":            "",
		} {
			req := must(http.NewRequest("GET", "https://10.0.0.1:8443/", nil))
			req.Host = host
			resp, err := sees.RoundTrip(req)
			if want == "" && only {
				assert.ErrorIs(t, err, jwterrors.HostNotAllowed)
				continue
			}
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, want, got, host)
		}
	}
}

// A line break at the end of what an environment variable holds, for one. What no
// request can be made with is refused by New, and no error shows the query.
func TestTheURLOfAnEndpointIsCheckedAsAWhole(t *testing.T) {
	for _, u := range []string{
		"https://id.example.com/token?key=hidden\n", "https://id.example.com/token?key=hidden\x7f",
		"https://id.example.com/token?key=hidden#%zz", "https://id.example.com/%zz?key=hidden",
	} {
		for _, source := range []refresher.Source{
			refresher.OAuth{TokenURL: u}, refresher.ClientCredentials{TokenURL: u, ClientID: "a"}, refresher.Fetcher{URL: u},
		} {
			_, err := refresher.New(refresher.Config{Origins: []string{"https://api.example.com"}, Source: source})
			require.Error(t, err, "%q", u)
			assert.NotContains(t, err.Error(), "hidden")
			_, err = source.Refresh(t.Context(), refresher.Tokens{RefreshToken: "x", Identity: refresher.Email("a@example.com")})
			require.Error(t, err, "%q", u)
			assert.NotContains(t, err.Error(), "hidden")
		}
	}
	_, err := refresher.New(refresher.Config{
		Origins: []string{"https://api.example.com"}, Source: refresher.OAuth{TokenURL: "https://id.example.com/token?key=hidden"},
	})
	assert.NoError(t, err)
}

// oneLogout is a queue that has one logout, which does not go away.
type oneLogout struct{ logout refresher.PendingLogout }

func (q oneLogout) Put(context.Context, refresher.PendingLogout) error { return nil }
func (q oneLogout) List(context.Context) ([]refresher.PendingLogout, error) {
	return []refresher.PendingLogout{q.logout}, nil
}
func (q oneLogout) Remove(context.Context, string) error { return nil }

// A logout that waits is sent on a goroutine of the Transport's, where nobody could
// recover from a base transport that panics.
func TestABaseThatPanicsAtLogoutTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		calls := 0
		tr := offline(t, s, func(c *refresher.Config) {
			c.Logouts = oneLogout{pending("A", time.Now())}
			c.AuthURL = "https://id.example.com/auth"
			c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "/logout") {
					calls++
					panic("boom")
				}
				return handlerTransport{s}.RoundTrip(r)
			})
		})
		login(t, tr)
		synctest.Wait()
		assert.Equal(t, 1, calls)
		status, err := get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, 200, status)

		err = tr.Logout(t.Context())
		assert.ErrorIs(t, err, jwterrors.TokenGenerationError)
		assert.NotContains(t, err.Error(), "boom")
		_, active := tr.Tokens()
		assert.False(t, active)
	})
}

// stuckLock panics when it is given back.
type stuckLock struct{ refresher.MemoryStore }

func (s *stuckLock) Lock(ctx context.Context) (func(), error) {
	unlock, err := s.MemoryStore.Lock(ctx)
	return func() { unlock(); panic("boom") }, err
}

func TestALockThatPanicsWhenItIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, func(c *refresher.Config) { c.Store, c.MaxRetries = &stuckLock{}, refresher.NoRetries })
		err := tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: s.access(0), RefreshToken: "refresh-token-number-0"})
		require.ErrorIs(t, err, jwterrors.StoreUnavailable)
		require.NoError(t, tr.Refresh(t.Context()), "the new tokens are used all the same")
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
		assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.RefreshUnavailable)
		synctest.Wait()
		assert.EqualValues(t, 2, s.refreshes.Load())
	})
}
