package refresher_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// stream is a body that can be read once. It counts how often it was closed.
type stream struct {
	io.Reader
	reads, closed atomic.Int64
}

func newStream(s string) *stream { return &stream{Reader: strings.NewReader(s)} }

func (s *stream) Read(p []byte) (int, error) { s.reads.Add(1); return s.Reader.Read(p) }

func (s *stream) Close() error {
	if s.closed.Add(1) > 1 {
		return errors.New("closed before")
	}
	return nil
}

// IT-23, AX-05: a stream that the server has not asked for yet can be sent with
// another token (RFC 9110, Section 10.1.1).
func TestAStreamThatWasNotTouchedIsSentAgain(t *testing.T) {
	whenRead := func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		return false
	}
	for _, c := range []struct {
		name    string
		option  bool
		header  string // Expect of the request
		wait    time.Duration
		refusal func(w http.ResponseWriter, r *http.Request) bool
		refresh int // its status
		want    int
		calls   int64
	}{
		{"with the option", true, "", time.Minute, nil, 200, 200, 2},
		{"with the header", false, "100-Continue", time.Minute, nil, 200, 200, 2},
		{"with neither", false, "", time.Minute, nil, 200, 401, 1},
		{"to a server that refuses when it has read it", true, "", time.Minute, whenRead, 200, 401, 1},
		{"over a base that does not wait", true, "", 0, whenRead, 200, 401, 1},
		{"without a new token", true, "", time.Minute, nil, 400, 401, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService()
			server := s.start(t)
			config := config(server.URL)
			config.ExpectContinue, config.MaxRetries = c.option, refresher.NoRetries
			config.Base = &http.Transport{ExpectContinueTimeout: c.wait}
			tr := newTransport(t, config)
			login(t, tr)
			send := func() (*http.Response, *stream) {
				body := newStream(strings.Repeat("x", 100<<10))
				req := must(http.NewRequest("POST", server.URL+"/api", body))
				if c.header != "" {
					req.Header.Set("Expect", c.header)
				}
				resp, err := tr.RoundTrip(req)
				require.NoError(t, err)
				assert.Equal(t, c.header, req.Header.Get("Expect"), "the caller's request is as it was")
				return resp, body
			}
			check := func(resp *http.Response, body *stream, want int) {
				t.Helper()
				data := must(io.ReadAll(resp.Body))
				require.NoError(t, resp.Body.Close())
				assert.Equal(t, want, resp.StatusCode)
				if want == 200 {
					assert.Equal(t, len("ok ")+100<<10, len(data), "the body is whole")
				}
				assert.Eventually(t, func() bool { return body.closed.Load() == 1 }, 10*time.Second, time.Millisecond)
			}
			resp, body := send()
			check(resp, body, 200)
			s.expire()
			if c.refresh != 200 {
				s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(c.refresh); return true })
			}
			before := s.calls.Load()
			if c.refusal != nil {
				s.hookCall(c.refusal)
			}
			resp, body = send()
			check(resp, body, c.want)
			assert.Equal(t, c.calls, s.calls.Load()-before)
			assert.Eventually(t, func() bool { return s.refreshes.Load() == 1 }, 10*time.Second, time.Millisecond, "the refresh starts in any case")
		})
	}
}

// The same over HTTP/2.
func TestAStreamOverHTTP2IsSentAgain(t *testing.T) {
	s := newService()
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	c := config(server.URL)
	base := server.Client().Transport.(*http.Transport)
	base.ExpectContinueTimeout = time.Minute
	c.ExpectContinue, c.Base = true, base
	tr := newTransport(t, c)
	login(t, tr)
	s.expire()
	body := newStream("the body")
	resp, err := tr.RoundTrip(must(http.NewRequest("POST", server.URL+"/api", body)))
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, 2, resp.ProtoMajor)
	assert.Equal(t, "ok the body", string(must(io.ReadAll(resp.Body))))
	assert.EqualValues(t, 1, s.refreshes.Load())
}

// A request that is not sent at all, or that ends with an error, closes its body,
// and does not read it.
func TestAHeldBodyIsClosedInAnyCase(t *testing.T) {
	boom := errors.New("boom")
	for name, base := range map[string]func(r *http.Request) (*http.Response, error){
		"an error before it was read": func(r *http.Request) (*http.Response, error) { _ = r.Body.Close(); return nil, boom },
		"an error after it was read": func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
			return nil, boom
		},
		"an error, and closed later": func(r *http.Request) (*http.Response, error) {
			go func() { time.Sleep(time.Millisecond); _ = r.Body.Close() }()
			return nil, boom
		},
		"closed twice": func(r *http.Request) (*http.Response, error) {
			_ = r.Body.Close()
			go func() { time.Sleep(time.Millisecond); _ = r.Body.Close() }()
			return nil, boom
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t, refresher.Config{
				Origins: []string{"https://api.example.com"}, Push: true, ExpectContinue: true, Base: tripFunc(base),
			})
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
			body := newStream("x")
			_, err := tr.RoundTrip(must(http.NewRequest("POST", remote, body)))
			assert.ErrorIs(t, err, boom)
			assert.Eventually(t, func() bool { return body.closed.Load() == 1 }, 10*time.Second, time.Millisecond)
		})
	}
}

// What the first try is doing with the body when the answer comes does not reach
// the second: either has all of it, or nothing.
func TestABodyIsNeverSharedByTwoTries(t *testing.T) {
	s := newService()
	late := make(chan func(), 1)
	tr := offline(t, s, func(c *refresher.Config) {
		c.ExpectContinue = true
		c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
			if r.Body == nil || s.refreshes.Load() > 0 || strings.Contains(r.URL.Path, "/auth/") {
				return handlerTransport{s}.RoundTrip(r)
			}
			body := r.Body
			late <- func() { // what a base may do after RoundTrip
				n, err := body.Read(make([]byte, 10))
				assert.Zero(t, n)
				assert.Error(t, err)
				assert.NoError(t, body.Close())
			}
			r = r.Clone(r.Context())
			r.Body = nil
			return handlerTransport{s}.RoundTrip(r)
		})
	})
	login(t, tr)
	s.expire()
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		if s.refreshes.Load() > 0 {
			(<-late)()
		}
		return false
	})
	body := newStream("the body")
	resp, err := tr.RoundTrip(must(http.NewRequest("POST", api, body)))
	require.NoError(t, err)
	assert.Equal(t, "ok the body", string(must(io.ReadAll(resp.Body))))
}

// 100 clients over one connection, with bodies of every kind: the refusal is read
// and its connection is free before the refresh needs one.
func TestAPoolOfOneConnectionTakesAllBodies(t *testing.T) {
	s := newService()
	server := s.start(t)
	c := config(server.URL)
	c.ExpectContinue = true
	c.Base = &http.Transport{MaxConnsPerHost: 1, ExpectContinueTimeout: time.Minute}
	tr := newTransport(t, c)
	login(t, tr)
	client := &http.Client{Transport: tr, Timeout: 30 * time.Second}
	for round := range 3 {
		s.expire()
		assert.EqualValues(t, 100, crowd(100, func(i int) bool {
			var body io.Reader
			text := fmt.Sprintf("body %d", i)
			switch i % 4 {
			case 0:
				text = ""
			case 1:
				body = strings.NewReader(text)
			case 2:
				text = strings.Repeat(text, 10_000)
				body = strings.NewReader(text)
			default:
				body = newStream(text)
			}
			resp, err := client.Do(must(http.NewRequestWithContext(t.Context(), "POST", server.URL+"/api", body)))
			if err != nil {
				t.Error(err)
				return false
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			return err == nil && resp.StatusCode == 200 && string(data) == "ok "+text
		}))
		assert.EqualValues(t, round+1, s.refreshes.Load())
	}
}

// A refusal whose body never ends costs what is kept of it, and a connection, not
// the request.
func TestARefusalWithoutEndIsCut(t *testing.T) {
	s := newService()
	server := s.start(t)
	tr := newTransport(t, config(server.URL))
	login(t, tr)
	s.expire()
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		if s.refreshes.Load() > 0 {
			return false
		}
		w.Header().Set("WWW-Authenticate", jwterrors.Responder{}.Challenge(jwterrors.TokenExpired))
		w.WriteHeader(401)
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				break
			}
		}
		return true
	})
	status, err := get(t.Context(), tr.Client(), server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 200, status)
}
