package refresher

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
)

// A prover sends requests with proofs of one key (RFC 9449), each made for the one
// try that it goes with.
type prover struct {
	key   *dpop.Key
	base  http.RoundTripper
	codes jwterrors.Codes
	now   func() time.Time
	clock *clock // the issuer's

	mu      sync.Mutex
	servers map[string]server // by origin; no more than maxServers
}

// A server is what the answers from one origin have told.
type server struct {
	nonce string
	ahead time.Duration // of our clock, where timed; else that of the issuer's is
	timed bool
}

const (
	maxServers = 64
	maxNonce   = 512 // bytes
)

// RoundTrip is that of DPoPKey.Transport.
func (p *prover) RoundTrip(req *http.Request) (*http.Response, error) {
	if strays(req) {
		return p.base.RoundTrip(req)
	}
	again := func() (io.ReadCloser, bool) {
		if !replayable(req) {
			return nil, false
		}
		body, err := bodyAgain(req)
		return body, err == nil
	}
	resp, err := p.send(req, boundToken(req.Header), again)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

// strays reports whether req follows a redirect from another origin.
func strays(req *http.Request) bool {
	for r := req; r.Response != nil && r.Response.Request != nil; {
		if r = r.Response.Request; originOf(r.URL) != originOf(req.URL) {
			return true
		}
	}
	return false
}

// boundToken returns the hash of the token in Authorization, or "" where there is
// none that is bound.
func boundToken(header http.Header) string {
	value := header.Get("Authorization")
	if !dpop.HasScheme(value) {
		return ""
	}
	return dpop.TokenHash(strings.TrimLeft(value[len(dpop.Scheme):], " "))
}

// send sends req with a proof. tokenHash is that of the access token in it, or "".
// Where the server asks for a nonce, or did not take our time, and has said which
// one it would take, req is sent once more, with the body that again returns; that
// one reports false where there is none. So is a request that net/http has sent a
// second time by itself, after a connection broke, if that proof was refused: it may
// have been used. req itself does not change.
func (p *prover) send(req *http.Request, tokenHash string, again func() (io.ReadCloser, bool)) (*http.Response, error) {
	origin, url := target(req)
	known := p.known(origin)
	for repeated := false; ; repeated = true {
		sent := p.now()
		proof, err := p.key.Proof(cmp.Or(req.Method, http.MethodGet), url, tokenHash, known.nonce, sent.Add(known.ahead))
		if err != nil {
			closeBody(req)
			return nil, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("refresher: %w", err), Time: sent}
		}
		var connections atomic.Int32
		resp, err := p.base.RoundTrip(withProof(req, proof, &connections))
		if err != nil || resp == nil {
			return resp, err
		}
		next, refused := p.learn(origin, known, resp, sent)
		if repeated || next == known && !(refused && connections.Load() > 1) {
			return resp, nil
		}
		known = next // and not what others have learned since: it may be of another server
		body, ok := again()
		if !ok {
			return resp, nil
		}
		keep(resp)                           // so that the connection can be used again
		req = req.WithContext(req.Context()) // a shallow copy
		req.Body = body
	}
}

// target returns the origin that req is sent to and its "htu": the URL as it is
// sent, without query and fragment (RFC 9449, Section 4.2).
func target(req *http.Request) (origin, url string) {
	origin = req.URL.Scheme + "://" + cmp.Or(req.Host, req.URL.Host)
	path := req.URL.EscapedPath()
	if opaque := req.URL.Opaque; opaque != "" { // net/http puts it into the request line
		path, _, _ = strings.Cut(strings.TrimPrefix(opaque, "//"+req.URL.Host), "?")
	}
	return origin, withoutZone(origin) + cmp.Or(path, "/")
}

// withoutZone returns an origin without the zone of an IPv6 address, which is a matter
// of this machine and not sent (RFC 6874, Section 4).
func withoutZone(origin string) string {
	if at, end := strings.IndexByte(origin, '%'), strings.IndexByte(origin, ']'); 0 <= at && at < end {
		return origin[:at] + origin[end:]
	}
	return origin
}

// withProof returns a copy of req with proof in the place of any that was there. The
// connections that it is sent on are counted.
func withProof(req *http.Request, proof string, connections *atomic.Int32) *http.Request {
	h := make(http.Header, len(req.Header)+1)
	for name, values := range req.Header {
		if len(name) != len(dpop.Header) || !strings.EqualFold(name, dpop.Header) {
			h[name] = values[:len(values):len(values)]
		}
	}
	h[dpop.Header] = []string{proof}
	with := req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connections.Add(1) },
	}))
	with.Header = h
	return with
}

// known returns what the next proof for origin is made with.
func (p *prover) known(origin string) server {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.servers[origin]
	if !s.timed {
		s.ahead = time.Duration(p.clock.ahead.Load())
	}
	return s
}

// learn notes the nonce in an answer (RFC 9449, Section 8.2) and, where it refuses a
// proof, what time it is there. It reports whether the answer refuses the proof that
// was made with used, at sent, and what to make the next one with: with used again,
// unless the answer says what it was lacking.
func (p *prover) learn(origin string, used server, resp *http.Response, sent time.Time) (next server, refused bool) {
	nonce, reason := nonceOf(resp.Header), jwterrors.Reason("")
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusBadRequest {
		if e := p.codes.FromResponse(resp); e != nil {
			reason = e.Reason
		}
	}
	refused = reason == jwterrors.ProofNonceRequired || reason == jwterrors.ProofInvalid
	ahead, late := used.ahead, false
	if refused {
		ahead, late = timeOf(resp.Header, used.ahead, sent, p.now())
	}
	next = used
	newNonce := nonce != "" && nonce != used.nonce
	if newNonce {
		next.nonce = nonce
	}
	if late {
		next.ahead = ahead
	}
	if newNonce || late {
		p.mu.Lock()
		s := p.servers[origin]
		if newNonce {
			s.nonce = nonce
		}
		if late {
			s.ahead, s.timed = ahead, true
		}
		p.note(origin, s)
		p.mu.Unlock()
	}
	if reason == jwterrors.ProofNonceRequired && newNonce || reason == jwterrors.ProofInvalid && late {
		return next, refused
	}
	return used, refused
}

// note keeps s. Where there are too many, some other one is forgotten: it costs that
// server another answer. The caller has the mutex.
func (p *prover) note(origin string, s server) {
	if p.servers == nil {
		p.servers = make(map[string]server)
	}
	if _, ok := p.servers[origin]; !ok && len(p.servers) >= maxServers {
		for other := range p.servers {
			delete(p.servers, other)
			break
		}
	}
	p.servers[origin] = s
}

// nonceOf returns the nonce in the header of an answer, or "" where there is none
// that can be used (RFC 9449, Section 8.1).
func nonceOf(header http.Header) string {
	values := header[dpop.NonceHeader]
	if len(values) != 1 || len(values[0]) > maxNonce {
		return ""
	}
	for _, c := range []byte(values[0]) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return ""
		}
	}
	return values[0]
}

// timeOf returns how far ahead of ours the clock is of who refused a proof that was
// made at sent with used, and whether that is so much less or more that it may be
// why. A second is taken off, since Date has no fractions and a proof of the future
// is refused where one that is a second old is not.
func timeOf(header http.Header, used time.Duration, sent, received time.Time) (ahead time.Duration, other bool) {
	ahead, _, ok := offset(header, sent, received)
	ahead -= time.Second
	return ahead, ok && (ahead-used).Abs() > 3*time.Second/2
}
