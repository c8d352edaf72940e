package refresher_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// A program that logs resp.Request does not log the token.
func TestTheResponseLeadsToTheCallersRequest(t *testing.T) {
	for name, prepare := range map[string]func(*service){
		"an answer":     func(*service) {},
		"after a retry": (*service).expire,
		"a refusal that no new token mends": func(s *service) {
			s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
				jwterrors.Responder{}.Respond(w, r, jwterrors.TokenAudienceInvalid)
				return true
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			tr := offline(t, s, nil)
			login(t, tr)
			prepare(s)
			req := must(http.NewRequest("GET", api, nil))
			resp, err := tr.RoundTrip(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Same(t, req, resp.Request)
			assert.Empty(t, req.Header)
		})
	}
}

// Two Authorization headers would be refused by a careful server, and a careless
// one might take the wrong one.
func TestACallersAuthorizationIsFoundInEveryCase(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	var seen []string
	s.hookCall(func(_ http.ResponseWriter, r *http.Request) bool {
		for name, values := range r.Header {
			if strings.EqualFold(name, "Authorization") {
				seen = append(seen, values...)
			}
		}
		return true
	})
	req := must(http.NewRequest("GET", api, nil))
	req.Header["authorization"] = []string{"Basic YTpi"}
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, []string{"Basic YTpi"}, seen)
}

// Who adds to a header of the request that is sent does not write into the
// caller's, nor into that of the next request.
func TestHeaderValuesAreNotShared(t *testing.T) {
	var sent *http.Request
	base := tripFunc(func(r *http.Request) (*http.Response, error) {
		r.Header.Add("X-Mine", "added on the way")
		r.Header.Add("Authorization", "added on the way")
		sent = r
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
	})
	tr := newTransport(t, refresher.Config{Origins: []string{"https://api.example.com"}, Push: true, Base: base})
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
	req := must(http.NewRequest("GET", "https://api.example.com/", nil))
	room := make([]string, 1, 4)
	room[0] = "mine"
	req.Header["X-Mine"] = room
	for range 2 {
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, []string{"Bearer opaque", "added on the way"}, sent.Header["Authorization"])
		assert.Equal(t, []string{"mine"}, req.Header["X-Mine"])
		assert.Empty(t, room[:2][1])
	}
}

func TestOnlyOriginsRefusesTheOthers(t *testing.T) {
	s := newService()
	tr := offline(t, s, func(c *refresher.Config) { c.OnlyOrigins = true })
	login(t, tr)
	for _, url := range []string{"http://elsewhere.test/", "https://service.test/", "http://service.test:8080/"} {
		_, err := get(t.Context(), tr.Client(), url)
		assert.ErrorIs(t, err, jwterrors.HostNotAllowed, url)
	}
	assert.Zero(t, s.calls.Load())
	status, err := get(t.Context(), tr.Client(), api)
	require.NoError(t, err)
	assert.Equal(t, 200, status)
}

// Spellings of a host that are not exactly one of the origins get no token.
func TestStrangeSpellingsOfAnOriginGetNoToken(t *testing.T) {
	got := false
	base := tripFunc(func(r *http.Request) (*http.Response, error) {
		got = r.Header.Get("Authorization") != ""
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
	})
	tr := newTransport(t, refresher.Config{Origins: []string{"https://api.Example.com:443", "https://[::1]:9443/"}, Push: true, Base: base})
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
	for url, want := range map[string]bool{
		"https://api.example.com":        true,
		"https://api.example.com:/":      true,
		"https://API.example.com:443/":   true,
		"https://[::1]:9443/":            true,
		"https://api.example.com./":      false,
		"https://api.example.com:0443/":  false,
		"https://[::1]/":                 false,
		"https://[0:0:0:0:0:0:0:1]:9443": false,
		"https://api.e\u212aample.com/":  false,
		"https://api.exam\u017fle.com/":  false,
	} {
		req, err := http.NewRequest("GET", url, nil)
		require.NoError(t, err, url)
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, want, got, url)
	}
	// U+212A is the Kelvin sign, which a comparison without case takes for a k.
	kelvin := newTransport(t, refresher.Config{Origins: []string{"https://k.example.com"}, Push: true, Base: base})
	require.NoError(t, kelvin.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
	resp, err := kelvin.RoundTrip(must(http.NewRequest("GET", "https://\u212a.example.com/", nil)))
	require.NoError(t, err)
	resp.Body.Close()
	assert.False(t, got)
}

// The body of a refusal is read before the refresh. What is too long for that is
// not silently cut.
func TestALongRefusalEndsWithAnError(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		err  error
	}{
		"64 KiB":        {64 << 10, nil},
		"one byte more": {64<<10 + 1, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			tr := offline(t, s, nil)
			login(t, tr)
			s.hookCall(func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(401)
				_, _ = io.WriteString(w, strings.Repeat("x", c.size))
				return true
			})
			for _, read := range []func(io.Reader) (int, error){
				func(r io.Reader) (int, error) { data, err := io.ReadAll(r); return len(data), err },
				func(r io.Reader) (int, error) { n, err := io.Copy(io.Discard, r); return int(n), err },
			} {
				resp, err := tr.Client().Get(api)
				require.NoError(t, err)
				n, err := read(resp.Body)
				assert.Equal(t, c.err, err)
				assert.Equal(t, min(c.size, 64<<10), n)
				assert.NoError(t, resp.Body.Close())
			}
		})
	}
}

func TestABodyThatCannotBeHadAgainHandsBackTheRefusal(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	s.expire()
	req := must(http.NewRequest("POST", api, strings.NewReader("x")))
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, 401, resp.StatusCode)
	assert.Contains(t, string(must(io.ReadAll(resp.Body))), "AUTH_TOKEN_EXPIRED")
}

// AX-03: what the base transport says is what the caller hears.
func TestErrorsOfTheBaseArePassedOn(t *testing.T) {
	boom := errors.New("boom")
	tr := newTransport(t, refresher.Config{
		Origins: []string{"https://api.example.com"}, Push: true,
		Base: tripFunc(func(*http.Request) (*http.Response, error) { return nil, boom }),
	})
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
	_, err := tr.RoundTrip(must(http.NewRequest("GET", "https://api.example.com/", nil)))
	assert.Equal(t, boom, err)
}

// The fast path copies the request and makes a header map, and that is all.
func TestAttachingAllocatesLittle(t *testing.T) {
	answer := &http.Response{StatusCode: 200, Body: http.NoBody}
	tr := newTransport(t, refresher.Config{
		Origins: []string{"https://api.example.com"}, Push: true,
		Base: tripFunc(func(*http.Request) (*http.Response, error) { return answer, nil }),
	})
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
	req := must(http.NewRequest("GET", "https://api.example.com/", nil))
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = tr.RoundTrip(req) }), 4.0)
}
