package refresher_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
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

// A fault is what a network does to a connection. Those without an answer do it
// where their name says.
type fault struct {
	name   string
	answer string // bytes sent instead of the server's

	// What the Transport makes of it: the reason of a refresh and of a logout,
	// and what a call of the API gets, which is the caller's business: an error,
	// or an answer with that status, of which the body may be cut.
	reason jwterrors.Reason
	status int
	cut    bool
}

func page(status, header, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s", status, len(body), header, body)
}

var faults = []fault{
	{name: "no such host", reason: jwterrors.RefreshUnavailable},
	{name: "nobody listens", reason: jwterrors.RefreshUnavailable},
	{name: "reset when it is opened", reason: jwterrors.RefreshUnavailable},
	{name: "a stranger's certificate", reason: jwterrors.RefreshUnavailable},
	{name: "no TLS", reason: jwterrors.RefreshUnavailable},
	{name: "cut after the request", reason: jwterrors.RefreshUnavailable},
	{name: "reset after the request", reason: jwterrors.RefreshUnavailable},
	{name: "no answer in time", reason: jwterrors.RefreshUnavailable},
	{name: "garbage", answer: "\x00\x01\xff\xfenot HTTP at all\r\n\r\n", reason: jwterrors.RefreshUnavailable},
	{name: "half a header", answer: "HTTP/1.1 200 OK\r\nContent-Le", reason: jwterrors.RefreshUnavailable},
	{name: "half a body", answer: strings.TrimSuffix(page("200 OK", "Content-Type: application/json\r\n", `{"access_token":"eyJhbGciOi"}`), `ciOi"}`), reason: jwterrors.RefreshUnavailable, status: 200, cut: true},
	{name: "a header without end", answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20), reason: jwterrors.RefreshUnavailable},
	{name: "500", answer: page("500 Internal Server Error", "", ""), reason: jwterrors.RefreshUnavailable, status: 500},
	{name: "503 with a date far away", answer: page("503 Service Unavailable", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", ""), reason: jwterrors.RefreshUnavailable, status: 503},
	{name: "429 with an absurd Retry-After", answer: page("429 Too Many Requests", "Retry-After: 9223372036\r\n", ""), reason: jwterrors.RateLimited, status: 429},
	{name: "a captive portal", answer: page("200 OK", "Content-Type: text/html\r\n", "<html><form>Your room number, please</form></html>"), reason: jwterrors.RefreshUnavailable, status: 200},
	{name: "a redirect to a login page", answer: page("302 Found", "Location: {portal}/login?from=here\r\n", ""), reason: jwterrors.RefreshUnavailable, status: 200},
	{name: "a redirect that keeps the method", answer: page("307 Temporary Redirect", "Location: {portal}/login\r\n", ""), reason: jwterrors.RefreshUnavailable, status: 200},
}

// A wire stands between the client and a server, ends the client's TLS, and
// does to each new connection what the fault says.
type wire struct {
	listener   net.Listener
	server     string // host and port, without TLS
	good, evil tls.Certificate
	portal     string

	fault atomic.Pointer[fault]
	wg    sync.WaitGroup
}

func newWire(t *testing.T, server string, good, evil tls.Certificate, portal string) *wire {
	p := &wire{listener: must(net.Listen("tcp", "127.0.0.1:0")), server: server, good: good, evil: evil, portal: portal}
	p.wg.Go(func() {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() {
				defer conn.Close()
				p.serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = p.listener.Close()
		p.wg.Wait()
	})
	return p
}

func (p *wire) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *wire) serve(conn *net.TCPConn) {
	f, name := p.fault.Load(), ""
	if f != nil {
		name = f.name
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	certificate := p.good
	switch name {
	case "reset when it is opened":
		_ = conn.SetLinger(0)
		return
	case "a stranger's certificate":
		certificate = p.evil
	case "no TLS":
		_, _ = io.WriteString(conn, "SSH-2.0-somebody_else\r\n")
		return
	}
	secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
	defer secure.Close()
	req, err := http.ReadRequest(bufio.NewReader(secure))
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	switch {
	case err != nil || name == "cut after the request":
	case name == "reset after the request":
		_ = conn.SetLinger(0)
		_ = conn.Close()
	case name == "no answer in time":
		_, _ = io.Copy(io.Discard, secure) // until the client leaves
	case f != nil:
		_, _ = io.WriteString(secure, strings.ReplaceAll(f.answer, "{portal}", p.portal))
	default:
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		upstream, err := net.Dial("tcp", p.server)
		if err != nil {
			return
		}
		defer upstream.Close()
		if req.Write(upstream) == nil {
			_, _ = io.Copy(secure, upstream) // the client has asked for Connection: close
		}
	}
}

// nameServer answers every question with 127.0.0.1, or says that there is no such
// name (RFC 1035, Section 4.1).
func nameServer(t *testing.T) (resolver *net.Resolver, gone *atomic.Bool) {
	conn := must(net.ListenPacket("udp", "127.0.0.1:0"))
	gone = new(atomic.Bool)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			end := 12
			for end < n && buffer[end] != 0 {
				end += int(buffer[end]) + 1
			}
			if end += 5; end > n {
				continue
			}
			isA := binary.BigEndian.Uint16(buffer[end-4:]) == 1
			answer := append([]byte(nil), buffer[:end]...)
			copy(answer[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
			switch {
			case gone.Load():
				answer[3] |= 3 // NXDOMAIN
			case isA:
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}, gone
}

func selfSigned() tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A world is a service behind two wires, one for the issuer and one for the
// API, and a Transport that uses them.
type world struct {
	s           *service
	issuer, api *wire
	gone        *atomic.Bool // names are
	url         string       // of the API
	tr          *refresher.Transport
	client      *http.Client
	portalSaw   atomic.Int64 // tokens
	calls       atomic.Int64 // of the issuer, whether they reached it or not
	failures    failures
	expired     atomic.Int64
}

// newWorld returns a world, in which issuer and API ask for proofs with nonces if
// proofs is set.
func newWorld(t *testing.T, f *fault, proofs bool) *world {
	b := newBoundService(proofs)
	b.ignores.Store(!proofs)
	w := &world{s: b.service}
	portal := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if body := must(io.ReadAll(r.Body)); r.Header.Get("Authorization") != "" || len(body) > 0 {
			w.portalSaw.Add(1)
		}
		_, _ = io.WriteString(rw, "<html>log in to this network</html>")
	}))
	t.Cleanup(portal.Close)
	good, evil := portal.TLS.Certificates[0], selfSigned()
	server := serve(t, b).Listener.Addr().String()
	w.issuer, w.api = newWire(t, server, good, evil, portal.URL), newWire(t, server, good, evil, portal.URL)
	resolver, gone := nameServer(t)
	w.gone = gone
	roots := x509.NewCertPool()
	roots.AddCert(portal.Certificate())
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&net.Dialer{Resolver: resolver}).DialContext(ctx, network, address)
		},
	}
	w.url = fmt.Sprintf("https://127.0.0.1:%d/api", w.api.port())
	c := refresher.Config{
		AuthURL: fmt.Sprintf("https://example.com:%d/auth", w.issuer.port()), Origins: []string{fmt.Sprintf("https://127.0.0.1:%d", w.api.port()), fmt.Sprintf("https://example.com:%d", w.api.port())},
		MaxRetries: 2, RetryInterval: time.Millisecond, MaxRetryInterval: 20 * time.Millisecond, NoJitter: true,
		OnFailure: w.failures.add, OnSessionExpired: func(*jwterrors.Error) { w.expired.Add(1) },
		Base: tripFunc(func(r *http.Request) (*http.Response, error) {
			if strings.HasPrefix(r.URL.Path, "/auth/") {
				w.calls.Add(1)
			}
			return transport.RoundTrip(r)
		}),
	}
	if proofs {
		c.DPoP = refresher.GenerateDPoPKey()
		b.issuer.Site.Public, b.api.Site.Public = strings.TrimSuffix(c.AuthURL, "/auth"), c.Origins[0]
	}
	if f.name == "no answer in time" {
		c.AttemptTimeout = 500 * time.Millisecond
	}
	w.tr = newTransport(t, c)
	w.client = &http.Client{Transport: w.tr, Timeout: 30 * time.Second}
	for w.tr.Login(t.Context(), alice) != nil { // half a second is not much for a busy machine
	}
	w.calls.Store(0)
	return w
}

// breaks lets f happen to every new connection of p from now on. Names are gone
// for both: the API has an address, too, for calls that are to arrive.
func (w *world) breaks(p *wire, f *fault) {
	w.gone.Store(f.name == "no such host")
	if f.name == "nobody listens" {
		_ = p.listener.Close()
	}
	p.fault.Store(f)
}

// mends ends the fault of p.
func (w *world) mends(t *testing.T, p *wire) {
	f := p.fault.Swap(nil)
	w.gone.Store(false)
	if f.name != "nobody listens" {
		return
	}
	again := &wire{server: p.server, good: p.good, evil: p.evil}
	again.listener = must(net.Listen("tcp", p.listener.Addr().String()))
	go func() {
		for {
			conn, err := again.listener.Accept()
			if err != nil {
				return
			}
			go again.serve(conn.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() { _ = again.listener.Close() })
}

// works reports that the session is as good as ever.
func (w *world) works(t *testing.T) {
	t.Helper()
	assert.Eventually(t, func() bool {
		status, err := get(t.Context(), w.client, w.url)
		return err == nil && status == 200
	}, 20*time.Second, 5*time.Millisecond)
	assert.Zero(t, w.expired.Load(), "nobody was logged out")
	assert.Zero(t, w.portalSaw.Load(), "no token and no body went elsewhere")
}

// AX-11, AX-12, AX-20, IT-35, IT-43, NV-13: whatever a network does, the session
// is kept, the number of calls has a limit, and the reason says what to do.
func TestFaultsAtARefresh(t *testing.T) { testFaultsAtARefresh(t, false) }

// The same, at an issuer and an API that ask for proofs and nonces.
func TestFaultsAtARefreshWithProofs(t *testing.T) { testFaultsAtARefresh(t, true) }

func testFaultsAtARefresh(t *testing.T, proofs bool) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, &f, proofs)
			if proofs {
				w.works(t) // so that the nonce of the API is known
			}
			before, _ := w.tr.Tokens()
			w.s.expire()
			w.breaks(w.issuer, &f)
			resp, err := w.client.Get(w.url)
			require.NoError(t, err)
			assert.Equal(t, 401, resp.StatusCode, "the caller gets the answer that came")
			assert.Contains(t, string(must(io.ReadAll(resp.Body))), "AUTH_TOKEN_EXPIRED")
			_ = resp.Body.Close()
			assert.EqualValues(t, 3, w.calls.Load(), "one try and two more")
			assert.Zero(t, w.s.refreshes.Load())
			after, active := w.tr.Tokens()
			assert.True(t, active)
			assert.Equal(t, before, after)
			assert.Eventually(t, func() bool { return len(w.failures.reasons()) == 4 }, 10*time.Second, time.Millisecond)
			assert.Equal(t, []string{"AUTH_TOKEN_EXPIRED", string(f.reason), string(f.reason), string(f.reason)}, w.failures.reasons())

			w.mends(t, w.issuer)
			w.works(t)
			assert.EqualValues(t, 1, w.s.refreshes.Load())
		})
	}
}

// NV-17, NV-20, AX-23: the tokens are gone whatever the network does, and the
// issuer hears of it in the end, once.
func TestFaultsAtALogout(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, &f, false)
			tokens, _ := w.tr.Tokens()
			w.breaks(w.issuer, &f)
			err := w.tr.Logout(t.Context())
			assert.Equal(t, f.reason, jwterrors.ReasonOf(err))
			assert.EqualValues(t, 1, w.calls.Load())
			_, active := w.tr.Tokens()
			assert.False(t, active)
			_, err = get(t.Context(), w.client, w.url)
			assert.ErrorIs(t, err, jwterrors.LoggedOut)
			assert.Zero(t, w.s.calls.Load())
			w.mends(t, w.issuer)
			assert.Eventually(t, func() bool { return w.tr.Flush(t.Context()) == nil }, 20*time.Second, time.Millisecond)
			assert.Equal(t, []string{tokens.RefreshToken}, revoked(w.s))
			assert.Zero(t, w.portalSaw.Load())
			assert.Zero(t, w.expired.Load(), "a logout is no expiry")
		})
	}
}

// AX-03, AX-11, NV-12: what happens to a call is the caller's: no refresh, no
// second try, and the error or the answer as it came.
func TestFaultsAtACall(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, &f, false)
			w.url = fmt.Sprintf("https://example.com:%d/api", w.api.port())
			before, _ := w.tr.Tokens()
			w.breaks(w.api, &f)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if f.name == "no answer in time" {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			resp, err := w.client.Do(must(http.NewRequestWithContext(ctx, "POST", w.url, strings.NewReader("x"))))
			if f.status == 0 {
				require.Error(t, err)
				var ours *jwterrors.Error
				assert.False(t, errors.As(err, &ours), "it is the error of the base transport")
			} else {
				require.NoError(t, err)
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				assert.Equal(t, f.status, resp.StatusCode)
				assert.Equal(t, f.cut, errors.Is(err, io.ErrUnexpectedEOF))
			}
			if f.name == "a redirect that keeps the method" {
				assert.EqualValues(t, 1, w.portalSaw.Swap(0), "the body, as the caller's client follows it; the token is none of it")
			}
			assert.Zero(t, w.calls.Load(), "the issuer is not asked")
			after, _ := w.tr.Tokens()
			assert.Equal(t, before, after)
			assert.Empty(t, w.failures.reasons())
			w.mends(t, w.api)
			w.works(t)
		})
	}
}
