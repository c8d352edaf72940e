package refresher_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// What a base transport and an http.Client do stays theirs: cookies, HTTP/2,
// proxies, connections that are kept.

// counted counts the connections that server accepts. Call it before the server
// starts.
func counted(server *httptest.Server) *atomic.Int64 {
	var n atomic.Int64
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
	return &n
}

// A jar belongs to the client: its cookies are on both tries, those of the answer
// that the client gets are kept, and the issuer gets none.
func TestACookieJar(t *testing.T) {
	s := newService()
	var mu sync.Mutex
	var seen []string // path, cookie
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.URL.Path+" "+r.Header.Get("Cookie"))
		http.SetCookie(w, &http.Cookie{Name: "n", Value: string(rune('0' + len(seen)))})
		mu.Unlock()
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	tr := newTransport(t, config(server.URL))
	login(t, tr)
	s.expire()
	client := tr.Client()
	client.Jar = must(cookiejar.New(nil))
	client.Jar.SetCookies(must(url.Parse(server.URL)), []*http.Cookie{{Name: "mine", Value: "x"}})
	for range 2 {
		status, err := get(t.Context(), client, server.URL+"/api")
		require.NoError(t, err)
		require.Equal(t, 200, status)
	}
	assert.Equal(t, []string{
		"/auth/login ",
		"/api mine=x", // refused; the cookie n=2 is nobody's, as the answer is
		"/auth/refresh ",
		"/api mine=x",
		"/api mine=x; n=4",
	}, seen)
}

// Everything is on one connection: the calls, the refusals, the one refresh, and the
// calls again.
func TestHTTP2(t *testing.T) {
	s := newService()
	var protocols sync.Map
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols.Store(r.Proto, true)
		s.ServeHTTP(w, r)
	}))
	connections := counted(server)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	c := config(server.URL)
	c.InsecureAllowHTTP, c.Base = false, server.Client().Transport
	tr := newTransport(t, c)
	login(t, tr)
	// A hundred calls are on their way before the first of them is refused.
	var waiting sync.WaitGroup
	waiting.Add(100)
	s.hookCall(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Together") != "" && number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) == 1 {
			waiting.Done()
			waiting.Wait()
		}
		return false
	})
	s.expire()
	client := &http.Client{Transport: tr}
	ok := crowd(100, func(int) bool {
		req := must(http.NewRequestWithContext(t.Context(), "POST", server.URL+"/api", strings.NewReader("body")))
		req.Header.Set("Together", "1")
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == 200 && string(body) == "ok body"
	})
	assert.EqualValues(t, 100, ok)
	assert.EqualValues(t, 1, s.refreshes.Load())
	assert.EqualValues(t, 100, s.refused.Load())
	assert.EqualValues(t, 1, connections.Load())
	var all []any
	protocols.Range(func(p, _ any) bool { all = append(all, p); return true })
	assert.Equal(t, []any{"HTTP/2.0"}, all)
}

// The connection of a refusal is used for the refresh and for the call again,
// unless the refusal is longer than anybody would read.
func TestConnectionsAreKept(t *testing.T) {
	for name, c := range map[string]struct {
		refusal     int // the size of its body
		connections int64
	}{
		"a refusal as usual":       {200, 1},
		"a refusal of 64 KiB":      {64 << 10, 1},
		"a refusal of 4 MiB":       {4 << 20, 2},
		"a refusal without a body": {0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			server := httptest.NewUnstartedServer(s)
			connections := counted(server)
			server.Start()
			t.Cleanup(server.Close)
			config := config(server.URL)
			config.Base = &http.Transport{MaxConnsPerHost: 1} // so that one that is not given back is missed
			tr := newTransport(t, config)
			login(t, tr)
			s.expire()
			s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
				if number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) != 1 {
					return false
				}
				w.WriteHeader(401)
				_, _ = io.WriteString(w, strings.Repeat("x", c.refusal))
				return true
			})
			for range 5 {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				status, err := get(ctx, tr.Client(), server.URL+"/api")
				cancel()
				require.NoError(t, err)
				require.Equal(t, 200, status)
			}
			assert.EqualValues(t, 1, s.refreshes.Load())
			assert.Equal(t, c.connections, connections.Load())
		})
	}
}

// A proxy is a forward proxy: it tunnels CONNECT and passes on what comes in plain.
type proxy struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	password string // in Proxy-Authorization; empty asks for none
}

func newProxy(t *testing.T) *proxy {
	p := &proxy{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// base is a transport like inner that goes through the proxy.
func (p *proxy) base(t *testing.T, inner http.RoundTripper) *http.Transport {
	b := inner.(*http.Transport).Clone()
	b.Proxy = http.ProxyURL(must(url.Parse(p.URL)))
	t.Cleanup(b.CloseIdleConnections)
	return b
}

func (p *proxy) ask(password string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.password = password
}

// seen returns what the proxy was asked.
func (p *proxy) seen() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests = append(p.requests, r.Clone(context.Background()))
	refused := p.password != "" && r.Header.Get("Proxy-Authorization") != p.password
	p.mu.Unlock()
	switch {
	case refused:
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	default:
		r.RequestURI = ""
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}
}

func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	there, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	w.WriteHeader(http.StatusOK)
	here, rest, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	go func() {
		_, _ = io.Copy(there, rest)
		_ = there.Close()
	}()
	_, _ = io.Copy(here, there)
}

const proxyPassword = "Basic cHJveHk6cHJveHk="

// Through a tunnel the proxy sees where a connection goes, and no token.
func TestAProxyGetsNoToken(t *testing.T) {
	s := newService()
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	p := newProxy(t)
	p.ask(proxyPassword)
	base := p.base(t, server.Client().Transport)
	base.ProxyConnectHeader = http.Header{"Proxy-Authorization": {proxyPassword}}
	base.DisableKeepAlives = true // a tunnel for each request
	c := config(server.URL)
	c.InsecureAllowHTTP, c.Base = false, base
	tr := newTransport(t, c)
	login(t, tr)
	s.expire()
	status, err := get(t.Context(), tr.Client(), server.URL+"/api")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	assert.Equal(t, http.Header{"Proxy-Authorization": {proxyPassword}}, base.ProxyConnectHeader, "it is the caller's")
	require.Len(t, p.seen(), 4) // login, the call, the refresh, the call
	for _, r := range p.seen() {
		assert.Equal(t, http.MethodConnect, r.Method)
		assert.Equal(t, strings.TrimPrefix(server.URL, "https://"), r.Host)
		for name, values := range r.Header {
			assert.NotContains(t, strings.Join(values, " "), "Bearer", name)
		}
	}
}

// In plain, which takes InsecureAllowHTTP, a proxy is one of those on the way. Its
// own password is none of the session's business.
func TestAPlainProxy(t *testing.T) {
	s := newService()
	server := s.start(t)
	p := newProxy(t)
	p.ask(proxyPassword)
	base := p.base(t, &http.Transport{})
	base.Proxy = http.ProxyURL(must(url.Parse(strings.Replace(p.URL, "http://", "http://proxy:proxy@", 1))))
	c := config(server.URL)
	c.Base = base
	tr := newTransport(t, c)
	login(t, tr)
	s.expire()
	status, err := get(t.Context(), tr.Client(), server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	require.Len(t, p.seen(), 4)
	for _, r := range p.seen() {
		assert.Equal(t, strings.TrimPrefix(server.URL, "http://"), r.Host)
		assert.Equal(t, []string{proxyPassword}, r.Header["Proxy-Authorization"])
		assert.Equal(t, r.URL.Path == "/api", r.Header.Get("Authorization") != "", r.URL.Path)
	}
}

// A proxy that refuses its own password says nothing about the session.
func TestAProxyThatRefuses(t *testing.T) {
	for name, secure := range map[string]bool{"a tunnel": true, "in plain": false} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			server := httptest.NewUnstartedServer(s)
			if secure {
				server.StartTLS()
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			p := newProxy(t)
			c := config(server.URL)
			c.Base, c.MaxRetries = p.base(t, server.Client().Transport), refresher.NoRetries
			tr := newTransport(t, c)
			login(t, tr)
			p.ask("another")
			tr.CloseIdleConnections()

			resp, err := tr.Client().Get(server.URL + "/api")
			want := jwterrors.RefreshUnavailable
			if secure {
				assert.Error(t, err)
			} else {
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, 407, resp.StatusCode)
				want = jwterrors.Paused // a 4xx that explains nothing
			}
			assert.ErrorIs(t, tr.Refresh(t.Context()), want)
			assert.Zero(t, s.refreshes.Load())
			_, active := tr.Tokens()
			assert.True(t, active, "the session is as it was")
		})
	}
}
