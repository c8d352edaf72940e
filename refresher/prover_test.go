package refresher_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/refresher"
)

// A boundService is a service that takes proofs (RFC 9449, Section 4.3): the issuer
// binds the session to the key that logs in, and the API takes a token with a proof
// of its key alone. A proof is good once.
type boundService struct {
	*service
	issuer, api *dpop.Checker
	ignores     atomic.Bool // the issuer knows nothing of proofs

	demands, refusals atomic.Int64 // proofs that had no good nonce, and that were wrong
	mu                sync.Mutex
	seen              []*http.Request // without bodies
}

func newBoundService(nonces bool) *boundService {
	b := &boundService{service: newService()}
	for _, checker := range []**dpop.Checker{&b.issuer, &b.api} {
		*checker = &dpop.Checker{
			Algorithms: dpop.Algorithms, MaxAge: time.Minute, Replays: dpop.NewMemory(dpop.MaxProofs, time.Now), Now: time.Now,
		}
		if nonces {
			(*checker).Nonces = dpop.NewNonces(nil)
		}
	}
	return b
}

func (b *boundService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.seen = append(b.seen, r)
	b.mu.Unlock()
	checker, token, jkt := b.api, "", ""
	if value := r.Header.Get("Authorization"); dpop.HasScheme(value) {
		token = strings.TrimLeft(value[len("DPoP "):], " ")
	}
	b.service.mu.Lock()
	if token != "" || r.URL.Path == "/auth/refresh" {
		jkt = b.jkt
	}
	b.service.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/auth/") {
		checker = b.issuer
	} else if token == "" {
		b.service.ServeHTTP(w, r)
		return
	}
	if b.ignores.Load() {
		b.service.ServeHTTP(w, r)
		return
	}
	p, err := checker.Check(r, token, jkt)
	if nonce := checker.Nonce(p, err); nonce != "" {
		w.Header().Set("DPoP-Nonce", nonce)
	}
	if err != nil {
		if jwterrors.ReasonOf(err) == jwterrors.ProofNonceRequired {
			b.demands.Add(1)
		} else {
			b.refusals.Add(1)
		}
		jwterrors.Responder{}.Respond(w, r, err)
		return
	}
	if r.URL.Path == "/auth/login" {
		b.service.mu.Lock()
		b.jkt = p.Thumbprint
		b.service.mu.Unlock()
	}
	b.service.ServeHTTP(w, r)
}

// requests returns those of a path that have come, in their order.
func (b *boundService) requests(path string) (all []*http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.seen {
		if r.URL.Path == path {
			all = append(all, r)
		}
	}
	return all
}

// proofOf returns the proof of a request that has come.
func proofOf(t testing.TB, r *http.Request) *dpop.Proof {
	t.Helper()
	require.Len(t, r.Header["Dpop"], 1)
	p, err := dpop.Read(r.Header["Dpop"][0], dpop.Algorithms)
	require.NoError(t, err)
	return p
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// withProof is a Transport with a new key, for the server at url.
func withProof(t testing.TB, url string, change func(*refresher.Config)) *refresher.Transport {
	t.Helper()
	c := config(url)
	c.DPoP = refresher.GenerateDPoPKey()
	if change != nil {
		change(&c)
	}
	return newTransport(t, c)
}

// RFC 9449, Sections 5 and 7.1: every call of the issuer has a proof, every request
// with the token has one too, and no proof is ever sent twice.
func TestTheLoopWithProofs(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	var failures failures
	tr := withProof(t, server.URL, func(c *refresher.Config) { c.OnFailure = failures.add })
	login(t, tr)
	tokens, _ := tr.Tokens()
	assert.Equal(t, "DPoP", tokens.TokenType)
	for range 3 {
		status, err := get(t.Context(), tr.Client(), server.URL+"/api/things?page=2")
		require.NoError(t, err)
		require.Equal(t, 200, status)
	}
	b.expire()
	resp, err := tr.Client().Post(server.URL+"/api/things", "text/plain", strings.NewReader("the body"))
	require.NoError(t, err)
	assert.Equal(t, "ok the body", string(must(io.ReadAll(resp.Body))))
	resp.Body.Close()
	assert.Empty(t, resp.Request.Header["Dpop"], "it is the caller's request")
	require.NoError(t, tr.Logout(t.Context()))

	assert.Len(t, b.requests("/api/things"), 5, "the last one twice: with the old and the new token")
	for _, r := range b.requests("/api/things") {
		p := proofOf(t, r)
		assert.Equal(t, []string{r.Method, server.URL + "/api/things"}, []string{p.Method, p.URL})
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
		assert.True(t, ok)
		assert.Equal(t, dpop.TokenHash(token), p.TokenHash)
	}
	for _, path := range []string{"/auth/login", "/auth/refresh", "/auth/logout"} {
		require.Len(t, b.requests(path), 1, path)
		r := b.requests(path)[0]
		p := proofOf(t, r)
		assert.Equal(t, "POST", p.Method)
		assert.Equal(t, server.URL+path, p.URL)
		token, bound := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
		assert.Equal(t, path == "/auth/logout", bound, "Logout sends the access token, since the issuer is one of Origins")
		assert.Equal(t, bound, p.TokenHash != "" && p.TokenHash == dpop.TokenHash(token))
	}
	assert.Zero(t, b.refusals.Load())
	assert.Eventually(t, func() bool { return len(failures.reasons()) == 1 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, []string{"AUTH_TOKEN_EXPIRED"}, failures.reasons())
}

// RFC 9449, Sections 8 and 9: a nonce that a server asks for costs one request, of
// the issuer and of the API each, and neither a failure nor a wait.
func TestANonceCostsOneRequest(t *testing.T) {
	b := newBoundService(true)
	server := serve(t, b)
	var failures failures
	tr := withProof(t, server.URL, func(c *refresher.Config) {
		c.OnFailure, c.MaxRetries = failures.add, refresher.NoRetries
	})
	login(t, tr)
	assert.EqualValues(t, 1, b.demands.Load())
	for range 5 {
		resp, err := tr.Client().Post(server.URL+"/api", "text/plain", strings.NewReader("the body"))
		require.NoError(t, err)
		assert.Equal(t, "ok the body", string(must(io.ReadAll(resp.Body))))
		resp.Body.Close()
	}
	assert.EqualValues(t, 2, b.demands.Load(), "the nonces of issuer and API are not mixed up, although the origin is one")
	require.NoError(t, tr.Refresh(t.Context()))
	assert.EqualValues(t, 2, b.demands.Load(), "the nonce is still good")
	b.issuer.Nonces = dpop.NewNonces(nil) // as after a restart: all are old now
	require.NoError(t, tr.Refresh(t.Context()))
	assert.EqualValues(t, 3, b.demands.Load())
	b.issuer.Nonces = dpop.NewNonces(nil)
	require.NoError(t, tr.Logout(t.Context()))
	assert.EqualValues(t, 4, b.demands.Load())
	assert.EqualValues(t, 2, b.refreshes.Load())
	assert.Empty(t, failures.reasons())
	proofs := map[string]bool{}
	for _, r := range b.seen {
		proofs[proofOf(t, r).ID] = true
	}
	assert.Len(t, proofs, len(b.seen), "each try has a proof of its own")
}

// RFC 9449, Section 8.2: a nonce that comes with any answer is used from then on.
func TestANonceOfAnyAnswerIsUsed(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	tr := withProof(t, server.URL, nil)
	login(t, tr)
	for i, status := range []int{200, 204, 403, 500} {
		b.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("DPoP-Nonce", fmt.Sprint("nonce-", i))
			w.WriteHeader(status)
			return true
		})
		for range 2 {
			_, err := get(t.Context(), tr.Client(), server.URL+"/api")
			require.NoError(t, err)
		}
		all := b.requests("/api")
		assert.Equal(t, fmt.Sprint("nonce-", i), proofOf(t, all[len(all)-1]).Nonce)
	}
	assert.Len(t, b.requests("/api"), 8)
}

// 10,000 calls at once, of which most wait for a connection, while the server changes
// its nonce again and again: each call is sent twice at the most, few are, and none
// fails.
func TestTenThousandCallsWithANonceThatChanges(t *testing.T) {
	const calls = 10_000
	b := newBoundService(true)
	var served atomic.Int64
	began := time.Now().Truncate(time.Minute)
	b.api.Now = func() time.Time { return began.Add(time.Duration(served.Load()) * 15 * time.Millisecond) } // a nonce for 4,000 calls, and 4,000 more
	b.api.Replays = dpop.NewMemory(dpop.MaxProofs, b.api.Now)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		b.ServeHTTP(w, r)
	}))
	tr := withProof(t, server.URL, func(c *refresher.Config) {
		c.Base = &http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64}
	})
	login(t, tr)
	status, err := get(t.Context(), tr.Client(), server.URL+"/api") // the first nonce
	require.NoError(t, err)
	require.Equal(t, 200, status)
	b.demands.Store(0)
	client := &http.Client{Transport: tr}
	assert.EqualValues(t, calls, crowd(calls, func(int) bool {
		status, err := get(t.Context(), client, server.URL+"/api")
		return err == nil && status == 200
	}))
	t.Logf("%d calls, %d of them twice", calls, b.demands.Load())
	assert.NotZero(t, b.demands.Load(), "the nonce has changed under them")
	assert.Less(t, b.demands.Load(), int64(calls))
	assert.Zero(t, b.refusals.Load(), "no proof came twice")
	assert.EqualValues(t, calls+1, b.calls.Load())

	// One after the other, they see the nonce change before the old one ends.
	b.demands.Store(0)
	for range 64 {
		served.Add(500) // ten seconds
		status, err := get(t.Context(), client, server.URL+"/api")
		require.NoError(t, err)
		require.Equal(t, 200, status)
	}
	assert.Zero(t, b.demands.Load())
}

// Several servers stand behind one origin, by their paths, each with a nonce of its
// own: who is given one in a refusal uses that one, whatever others are given meanwhile.
func TestNoncesOfSeveralServersOfOneOrigin(t *testing.T) {
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := "nonce-of-" + r.URL.Path[1:]
		w.Header().Set("DPoP-Nonce", own)
		if proofOf(t, r).Nonce != own {
			jwterrors.Responder{}.Respond(w, r, jwterrors.ProofNonceRequired)
		}
	}))
	client := &http.Client{Transport: refresher.GenerateDPoPKey().Transport(nil)}
	req := must(http.NewRequest("POST", server.URL+"/a", newStream("body")))
	req.GetBody = func() (io.ReadCloser, error) { // between the refusal and the second try
		status, err := get(t.Context(), client, server.URL+"/b")
		assert.Equal(t, 200, status)
		return newStream("body"), err
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
}

// A clock that is wrong costs one request at each server that looks at "iat": what
// time it is there stands in its refusal.
func TestProofsOfAWrongClock(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"an hour ahead": time.Hour, "an hour behind": -time.Hour, "a little ahead": 1200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			b := newBoundService(false)
			server := serve(t, b)
			var failures failures
			tr := withProof(t, server.URL, func(c *refresher.Config) {
				c.Now = func() time.Time { return time.Now().Add(wrong) }
				c.OnFailure = failures.add
			})
			login(t, tr)
			assert.EqualValues(t, 1, b.refusals.Load())
			for range 3 {
				status, err := get(t.Context(), tr.Client(), server.URL+"/api")
				require.NoError(t, err)
				assert.Equal(t, 200, status)
				require.NoError(t, tr.Refresh(t.Context()))
			}
			assert.LessOrEqual(t, b.refusals.Load(), int64(2), "the API goes by the clock of the issuer, or is asked once")
			assert.Empty(t, failures.reasons())
		})
	}
}

// The clock is put right, or the server's is put wrong, while a session is in use.
func TestAClockThatIsPutRight(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	var wrong atomic.Int64
	wrong.Store(int64(-time.Hour))
	tr := withProof(t, server.URL, func(c *refresher.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }
	})
	login(t, tr)
	for _, now := range []time.Duration{-time.Hour, 0, -2 * time.Hour} {
		wrong.Store(int64(now))
		before := b.refusals.Load()
		for range 2 {
			status, err := get(t.Context(), tr.Client(), server.URL+"/api")
			require.NoError(t, err)
			assert.Equal(t, 200, status)
		}
		assert.LessOrEqual(t, b.refusals.Load()-before, int64(1))
	}
}

// RFC 9449, Section 8: what can be sent again is, and of the rest the caller gets the
// answer. A stream that nobody has read can be sent for a nonce and for a new token.
func TestWhichBodiesAreSentAgainForANonce(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   func() io.Reader
		option bool
		status int
	}{
		{"none", func() io.Reader { return nil }, false, 200},
		{"NoBody", func() io.Reader { return http.NoBody }, false, 200},
		{"one that can be read again", func() io.Reader { return strings.NewReader("the body") }, false, 200},
		{"a stream", func() io.Reader { return newStream("the body") }, false, 401},
		{"a stream that waits to be asked for", func() io.Reader { return newStream("the body") }, true, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBoundService(true)
			server := serve(t, b)
			base := &http.Transport{ExpectContinueTimeout: time.Minute}
			tr := withProof(t, server.URL, func(config *refresher.Config) { config.ExpectContinue, config.Base = c.option, base })
			login(t, tr)
			status, err := get(t.Context(), tr.Client(), server.URL+"/api")
			require.NoError(t, err)
			require.Equal(t, 200, status)
			for _, alsoExpired := range []bool{false, true} {
				body := c.body()
				b.api.Nonces = dpop.NewNonces(nil) // which no proof has yet
				if alsoExpired {
					b.expire()
				}
				before := b.calls.Load()
				resp, err := tr.Client().Do(must(http.NewRequest("POST", server.URL+"/api", body)))
				require.NoError(t, err)
				data := string(must(io.ReadAll(resp.Body)))
				resp.Body.Close()
				assert.Equal(t, c.status, resp.StatusCode)
				if s, ok := body.(*stream); ok {
					assert.Eventually(t, func() bool { return s.closed.Load() == 1 }, 10*time.Second, time.Millisecond)
				}
				if c.status != 200 {
					assert.Contains(t, data, "AUTH_PROOF_NONCE_REQUIRED", "the answer is whole")
					assert.Zero(t, b.calls.Load()-before)
					continue
				}
				if body != nil && body != http.NoBody {
					assert.Equal(t, "ok the body", data)
				}
				want := int64(1)
				if alsoExpired {
					want = 2
				}
				assert.Equal(t, want, b.calls.Load()-before)
			}
		})
	}
}

// RFC 9449, Section 7.1: each hop of a redirect has a proof of its own, and another
// origin gets neither token nor proof.
func TestRedirectsWithProofs(t *testing.T) {
	b := newBoundService(true)
	server := serve(t, b)
	var strangers atomic.Int64
	var seen http.Header
	other := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		strangers.Add(1)
		seen = r.Header.Clone()
	}))
	b.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		to := r.URL.Query().Get("to")
		if to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
		return to != ""
	})
	tr := withProof(t, server.URL, nil)
	login(t, tr)
	for to, token := range map[string]bool{server.URL + "/api/there": true, other.URL + "/": false} {
		resp, err := tr.Client().Post(server.URL+"/api?to="+to, "text/plain", strings.NewReader("x"))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 200, resp.StatusCode)
		if token {
			assert.Equal(t, server.URL+"/api/there", proofOf(t, b.requests("/api/there")[0]).URL)
		}
	}
	assert.EqualValues(t, 1, strangers.Load())
	assert.Empty(t, seen["Authorization"])
	assert.Empty(t, seen["Dpop"])
	_, err := get(t.Context(), tr.Client(), other.URL) // not by a redirect
	require.NoError(t, err)
	assert.Empty(t, seen["Dpop"])
	assert.Zero(t, b.refusals.Load())
}

// RFC 9449, Section 4.2: "htu" is the URL as it is sent, whatever that is.
func TestTheURLOfAProofIsTheOneThatIsSent(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	host := strings.TrimPrefix(server.URL, "http://")
	tr := withProof(t, server.URL, func(c *refresher.Config) {
		c.Origins = append(c.Origins, "http://virtual.test", "http://[fe80::1%25eth0]:8080")
	})
	login(t, tr)
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{"a query and a fragment", func(r *http.Request) { r.URL.RawQuery, r.URL.Fragment = "a=b?c", "top" }, server.URL + "/api"},
		{"no path", func(r *http.Request) { r.URL.Path = "" }, server.URL + "/"},
		{"a path with escapes", func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/api/a/b c", "/api/a%2fb%20c" }, server.URL + "/api/a%2fb%20c"},
		{"a path that is not ASCII", func(r *http.Request) { r.URL.Path = "/api/\u00e9" }, server.URL + "/api/%C3%A9"},
		{"dots", func(r *http.Request) { r.URL.Path = "/x/../api" }, server.URL + "/x/../api"},
		{"another Host", func(r *http.Request) { r.Host = "virtual.test" }, "http://virtual.test/api"},
		{"a Host with a zone", func(r *http.Request) { r.Host = "[fe80::1%eth0]:8080" }, "http://[fe80::1]:8080/api"},
		{"an opaque path", func(r *http.Request) { r.URL.Opaque = "/api/%2e?x" }, server.URL + "/api/%2e"},
		{"an opaque URL", func(r *http.Request) { r.URL.Opaque = "//" + host + "/api/%41?x" }, server.URL + "/api/%41"},
		{"no method", func(r *http.Request) { r.Method = "" }, server.URL + "/api"},
	} {
		req := must(http.NewRequest("GET", server.URL+"/api", nil))
		c.change(req)
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err, c.name)
		resp.Body.Close()
		assert.Equal(t, 200, resp.StatusCode, c.name)
		last := b.seen[len(b.seen)-1]
		assert.Equal(t, c.want, proofOf(t, last).URL, c.name)
		assert.Equal(t, "GET", proofOf(t, last).Method, c.name)
	}
	assert.Zero(t, b.refusals.Load())
}

// A header DPoP of the caller, however it is written, is not sent beside ours.
func TestACallersProofIsReplaced(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	tr := withProof(t, server.URL, nil)
	login(t, tr)
	for _, name := range []string{"Dpop", "DPoP", "dpop"} {
		req := must(http.NewRequest("GET", server.URL+"/api", nil))
		req.Header[name] = []string{"not a proof"}
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 200, resp.StatusCode, name)
		assert.Equal(t, http.Header{name: {"not a proof"}}, req.Header, "the caller's request is as it was")
	}
}

// One refresh for a thousand calls whose token has ended, at an issuer and an API
// that both have just changed their nonces.
func TestARefreshWithProofsHappensOnce(t *testing.T) {
	b := newBoundService(true)
	server := serve(t, b)
	tr := withProof(t, server.URL, nil)
	login(t, tr)
	_, err := get(t.Context(), tr.Client(), server.URL+"/api")
	require.NoError(t, err)
	b.expire()
	b.issuer.Nonces, b.api.Nonces = dpop.NewNonces(nil), dpop.NewNonces(nil)
	b.demands.Store(0)
	client := &http.Client{Transport: tr}
	assert.EqualValues(t, 1000, crowd(1000, func(int) bool {
		status, err := get(t.Context(), client, server.URL+"/api")
		return err == nil && status == 200
	}))
	assert.EqualValues(t, 1, b.refreshes.Load())
	assert.LessOrEqual(t, b.demands.Load(), int64(1001))
	assert.Zero(t, b.refusals.Load())
}

// A proof that is refused is nothing that a new token mends.
func TestARefusedProofStartsNoRefresh(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	tr := withProof(t, server.URL, nil)
	login(t, tr)
	for _, reason := range []jwterrors.Reason{jwterrors.ProofInvalid, jwterrors.ProofNonceRequired} {
		before := len(b.requests("/api"))
		b.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header()["Date"] = nil // which a client may find to be another than its own by chance
			jwterrors.Responder{}.Respond(w, r, reason)
			return true
		})
		for range 3 {
			resp, err := tr.Client().Get(server.URL + "/api")
			require.NoError(t, err)
			assert.Equal(t, 401, resp.StatusCode)
			assert.Equal(t, reason, jwterrors.FromResponse(resp).Reason, "the answer can be read")
			resp.Body.Close()
		}
		assert.Len(t, b.requests("/api"), before+3, "there is no other proof to make: no nonce came, and no time")
	}
	assert.Zero(t, b.refreshes.Load())
}

// RFC 9449, Section 5: the refresh of a session needs its key. With another one, it
// is for a person to mend: the session is not ended by that.
func TestAnotherKeyCannotRefresh(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	store := fileStore(t, tokenFile(t))
	with := func(c *refresher.Config) { c.Store = store }
	first := withProof(t, server.URL, with)
	login(t, first)
	b.expire()
	tokens, _ := first.Tokens()
	var failures failures
	var ended atomic.Int64
	thief := withProof(t, server.URL, func(c *refresher.Config) {
		with(c)
		c.OnFailure, c.OnSessionExpired = failures.add, func(*jwterrors.Error) { ended.Add(1) }
	})
	status, err := get(t.Context(), thief.Client(), server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 401, status, "a stolen token with a key of one's own")
	assert.ErrorIs(t, thief.Refresh(t.Context()), jwterrors.ProofInvalid)
	assert.ErrorIs(t, thief.Refresh(t.Context()), jwterrors.Paused)
	assert.Len(t, b.requests("/auth/refresh"), 1, "it is not tried again and again")
	assert.Zero(t, b.refreshes.Load())
	after, active := thief.Tokens()
	assert.True(t, active)
	assert.Equal(t, tokens.RefreshToken, after.RefreshToken)
	assert.Equal(t, tokens.RefreshToken, refreshToken(t, store))
	assert.Zero(t, ended.Load())
	status, err = get(t.Context(), first.Client(), server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 200, status, "the session goes on with its key")
}

// A session and its key outlive the process together.
func TestASessionGoesOnWithItsKey(t *testing.T) {
	b := newBoundService(true)
	server := serve(t, b)
	dir := filepath.Join(t.TempDir(), "app")
	for launch := range 3 {
		tr := withProof(t, server.URL, func(c *refresher.Config) {
			c.Store = must(refresher.NewFileStore(filepath.Join(dir, "session.json")))
			c.DPoP = must(refresher.LoadDPoPKey(filepath.Join(dir, "dpop.pem")))
		})
		if launch == 0 {
			login(t, tr)
		}
		status, err := get(t.Context(), tr.Client(), server.URL+"/api")
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		require.NoError(t, tr.Refresh(t.Context()))
	}
	assert.EqualValues(t, 3, b.refreshes.Load())
	assert.EqualValues(t, 1, b.logins.Load())
}

// RFC 9449, Section 5: an answer of token_type Bearer says that the proof was passed
// over. What the caller's own back end answers may name no type, and then the token
// says whose it is.
func TestNewTokensAreBoundToTheKey(t *testing.T) {
	key := refresher.GenerateDPoPKey()
	ours, others := `{"sub":"alice","cnf":{"jkt":"`+key.Thumbprint()+`"}}`, `{"sub":"alice","cnf":{"jkt":"another"}}`
	for _, c := range []struct {
		name     string
		key      *refresher.DPoPKey
		insecure bool
		kind     string
		payload  string // empty: an opaque token
		want     jwterrors.Reason
		scheme   string
	}{
		{"bound", key, false, "DPoP", ours, "", "DPoP"},
		{"bound, in lower case", key, false, "dpop", ours, "", "DPoP"},
		{"opaque", key, false, "DPoP", "", "", "DPoP"},
		{"a JWT that says nothing", key, false, "DPoP", `{"sub":"alice"}`, "", "DPoP"},
		{"no type, with our key", key, false, "", ours, "", "DPoP"},
		{"no type, with another key", key, false, "", others, jwterrors.TokenTypeInvalid, ""},
		{"no type, opaque", key, false, "", "", jwterrors.TokenTypeInvalid, ""},
		{"Bearer", key, false, "Bearer", `{"sub":"alice"}`, jwterrors.TokenTypeInvalid, ""},
		{"Bearer, with our key", key, false, "Bearer", ours, jwterrors.TokenTypeInvalid, ""},
		{"bound to another key", key, false, "DPoP", others, jwterrors.ProofInvalid, ""},
		{"bound to a certificate", key, false, "DPoP", `{"sub":"alice","cnf":{"x5t#S256":"x"}}`, jwterrors.ProofInvalid, ""},
		{"Bearer, where that is allowed", key, true, "Bearer", `{"sub":"alice"}`, "", "Bearer"},
		{"no type, where that is allowed", key, true, "", "", "", "Bearer"},
		{"bound to another key, where Bearer is allowed", key, true, "DPoP", others, jwterrors.ProofInvalid, ""},
		{"bound, without a key", nil, false, "DPoP", ours, jwterrors.TokenTypeInvalid, ""},
		{"a type that nobody knows", key, true, "mac", "", jwterrors.TokenTypeInvalid, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := "opaque"
			if c.payload != "" {
				token = jwtOf(c.payload)
			}
			tokens := refresher.Tokens{AccessToken: token, TokenType: c.kind, RefreshToken: "refresh"}
			sent := ""
			config := refresher.Config{
				Origins: []string{"https://api.example.com"}, DPoP: c.key, InsecureAllowBearer: c.insecure, MaxRetries: refresher.NoRetries,
				Base: tripFunc(func(r *http.Request) (*http.Response, error) {
					sent, _, _ = strings.Cut(r.Header.Get("Authorization"), " ")
					assert.Equal(t, sent == "DPoP", len(r.Header["Dpop"]) == 1)
					return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
				}),
				Source: sourceFunc(func(context.Context, refresher.Tokens) (refresher.Tokens, error) { return tokens, nil }), Unattended: true,
			}
			check := func(err error, tr *refresher.Transport) {
				t.Helper()
				assert.Equal(t, c.want, jwterrors.ReasonOf(err))
				if c.want == "" {
					_, err := tr.RoundTrip(must(http.NewRequest("GET", "https://api.example.com/", nil)))
					require.NoError(t, err)
					assert.Equal(t, c.scheme, sent)
				}
			}
			pushed := newTransport(t, config)
			check(pushed.SetTokens(t.Context(), tokens), pushed)
			fetched := newTransport(t, config)
			check(fetched.Refresh(t.Context()), fetched)
		})
	}
}

// A session from before there was a key goes on, and is bound by its next refresh.
func TestASessionFromBeforeTheKeyIsNotEnded(t *testing.T) {
	b := newBoundService(false)
	b.ignores.Store(true)
	server := serve(t, b)
	store := &refresher.MemoryStore{}
	c := config(server.URL)
	c.Store = store
	login(t, newTransport(t, c))
	tr := withProof(t, server.URL, func(c *refresher.Config) { c.Store = store })
	status, err := get(t.Context(), tr.Client(), server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 200, status, "it is sent as it was")
	first := b.requests("/api")[0]
	assert.True(t, strings.HasPrefix(first.Header.Get("Authorization"), "Bearer "))
	assert.Empty(t, first.Header["Dpop"])

	err = tr.Refresh(t.Context())
	assert.ErrorIs(t, err, jwterrors.TokenTypeInvalid, "the issuer took no notice")
	_, active := tr.Tokens()
	assert.True(t, active)
	b.ignores.Store(false)
	b.jkt = proofOf(t, b.requests("/auth/refresh")[0]).Thumbprint
	tr.Resume()
	require.NoError(t, tr.Refresh(t.Context()), "the refresh token of the answer that was refused was kept")
	tokens, _ := tr.Tokens()
	assert.Equal(t, "DPoP", tokens.TokenType)
	status, err = get(t.Context(), tr.Client(), server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 200, status)
}

// What is not sent through a Transport proves what it sends by itself.
func TestABoundTokenForAnotherTransport(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	key := refresher.GenerateDPoPKey()
	tr := withProof(t, server.URL, func(c *refresher.Config) { c.DPoP = key })
	login(t, tr)
	call := func(tokens refresher.Tokens, proof string) int {
		req := must(http.NewRequest("GET", server.URL+"/api", nil))
		req.Header.Set("Authorization", tokens.TokenType+" "+tokens.AccessToken)
		req.Header.Set("DPoP", proof)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	tokens := must(tr.Token(t.Context()))
	proof := must(key.Proof("GET", server.URL+"/api", tokens.AccessToken, ""))
	assert.Equal(t, 200, call(tokens, proof))
	assert.Equal(t, 401, call(tokens, proof), "a proof is good once")
	assert.Equal(t, 401, call(tokens, must(key.Proof("POST", server.URL+"/api", tokens.AccessToken, ""))))
	assert.Equal(t, 401, call(tokens, must(key.Proof("GET", server.URL+"/api", "another token", ""))))
	assert.Equal(t, 401, call(tokens, must(refresher.GenerateDPoPKey().Proof("GET", server.URL+"/api", tokens.AccessToken, ""))))
	tr.Accepted(tokens)
	b.expire()
	next := must(tr.Refused(t.Context(), tokens, jwterrors.TokenExpired))
	assert.Equal(t, 200, call(next, must(key.Proof("GET", server.URL+"/api", next.AccessToken, ""))))
}

// A key that fails, as one of a device does that was taken away, is an error of the
// request, or a failure of the refresh that is tried again.
func TestAKeyThatFails(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	signer := &device{must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), nil}
	tr := withProof(t, server.URL, func(c *refresher.Config) {
		c.DPoP, c.MaxRetries = must(refresher.NewDPoPKey(signer)), refresher.NoRetries
	})
	login(t, tr)
	signer.err = errors.New("out of reach")
	body := newStream("x")
	_, err := tr.RoundTrip(must(http.NewRequest("POST", server.URL+"/api", body)))
	assert.ErrorIs(t, err, jwterrors.TokenGenerationError)
	assert.ErrorIs(t, err, signer.err)
	assert.EqualValues(t, 1, body.closed.Load())
	assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.RefreshUnavailable)
	assert.Len(t, b.seen, 1)
	signer.err = nil
	tr.Resume()
	require.NoError(t, tr.Refresh(t.Context()))
}

// RFC 9449, Section 8.1, and worse: whatever a server says of nonces, a request is
// sent twice at the most, and the answer is the caller's.
func TestHostileNonces(t *testing.T) {
	var count atomic.Int64
	for name, c := range map[string]struct {
		nonce []string
		sent  int64 // requests
	}{
		"a new one each time":     {nil, 2},
		"none":                    {[]string{}, 1},
		"an empty one":            {[]string{""}, 1},
		"two":                     {[]string{"one", "two"}, 1},
		"a very long one":         {[]string{strings.Repeat("n", 513)}, 1},
		"a long one":              {[]string{strings.Repeat("n", 512)}, 2},
		"quotes":                  {[]string{`a"b`}, 1},
		"a backslash":             {[]string{`a\b`}, 1},
		"a space":                 {[]string{"a b"}, 1},
		"what is not ASCII":       {[]string{"\u00e9"}, 1},
		"the same again":          {[]string{"same"}, 2},
		"with what JSON escapes":  {[]string{"<&>'"}, 2},
		"one of which no more is": {[]string{"!#$%()*+,-./:;=?@[]^_`{|}~"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				values := c.nonce
				if values == nil {
					values = []string{fmt.Sprint("nonce-", count.Add(1))}
				}
				w.Header()["Dpop-Nonce"] = values
				if calls.Load() == 2 && c.sent == 2 {
					p, err := dpop.Read(r.Header.Get("Dpop"), dpop.Algorithms)
					if assert.NoError(t, err) && c.nonce != nil {
						assert.Equal(t, c.nonce[0], p.Nonce)
					}
				}
				jwterrors.Responder{}.Respond(w, r, jwterrors.ProofNonceRequired)
			}))
			tr := withProof(t, server.URL, func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries })
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque", RefreshToken: "r", TokenType: "DPoP"}))
			resp, err := tr.Client().Get(server.URL + "/api")
			require.NoError(t, err)
			assert.Equal(t, jwterrors.ProofNonceRequired, jwterrors.FromResponse(resp).Reason)
			resp.Body.Close()
			assert.Equal(t, c.sent, calls.Load())
			calls.Store(1)
			_, err = get(t.Context(), tr.Client(), server.URL+"/api")
			require.NoError(t, err)
			if c.nonce == nil {
				assert.EqualValues(t, 3, calls.Load())
			} else {
				assert.EqualValues(t, 2, calls.Load(), "what is known already is nothing new")
			}
			calls.Store(0)
			assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.ProofNonceRequired)
			assert.Equal(t, c.sent, calls.Load())
			_, active := tr.Tokens()
			assert.True(t, active)
		})
	}
}

// A foreign authorization server asks for a nonce in the way of RFC 9449, Section 8.
func TestANonceAtATokenEndpoint(t *testing.T) {
	for name, source := range map[string]func(url string) refresher.Source{
		"a refresh": func(url string) refresher.Source {
			return refresher.OAuth{TokenURL: url + "/token", RevokeURL: url + "/revoke", ClientID: "app", ClientSecret: "app-secret"}
		},
		"client credentials": func(url string) refresher.Source {
			return refresher.ClientCredentials{TokenURL: url + "/token", RevokeURL: url + "/revoke", ClientID: "app", ClientSecret: "app-secret"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var forms, proofs []string
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				forms = append(forms, r.URL.Path+" "+r.PostForm.Get("grant_type")+r.PostForm.Get("token_type_hint"))
				p := proofOf(t, r)
				proofs = append(proofs, p.ID)
				w.Header().Set("Content-Type", "application/json")
				if w.Header().Set("DPoP-Nonce", "eyJ7S_zG.eyJH0-Z.HX4w-7v"); p.Nonce == "" {
					w.WriteHeader(400)
					_, _ = io.WriteString(w, `{"error":"use_dpop_nonce","error_description":"Authorization server requires nonce in DPoP proof"}`)
					return
				}
				_, _ = io.WriteString(w, `{"access_token":"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU","token_type":"DPoP","expires_in":2677,"refresh_token":"Q..Zkm29lexi8VnWg2zPW1x-tgGad0Ibc3s3EwM_Ni4-g"}`)
			}))
			tr := withProof(t, server.URL, func(c *refresher.Config) {
				c.AuthURL, c.Source, c.MaxRetries = "", source(server.URL), refresher.NoRetries
			})
			if name == "a refresh" {
				require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{RefreshToken: "first"}))
			}
			require.NoError(t, tr.Refresh(t.Context()))
			require.NoError(t, tr.Logout(t.Context()))
			grant := map[bool]string{true: "refresh_token", false: "client_credentials"}[name == "a refresh"]
			assert.Equal(t, []string{"/token " + grant, "/token " + grant, "/revoke refresh_token"}, forms, "the body is the same, and the nonce is kept")
			assert.Len(t, map[string]bool{proofs[0]: true, proofs[1]: true, proofs[2]: true}, 3)
		})
	}
}

// The back end of a Fetcher is no issuer: it gets no proof.
func TestAFetcherMakesNoProofs(t *testing.T) {
	key := refresher.GenerateDPoPKey()
	proofs := 0
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proofs += len(r.Header["Dpop"])
		_, _ = io.WriteString(w, jwtOf(`{"userId":"alice","cnf":{"jkt":"`+key.Thumbprint()+`"}}`))
	}))
	tr := withProof(t, server.URL, func(c *refresher.Config) {
		c.AuthURL, c.Source, c.DPoP = "", refresher.Fetcher{URL: server.URL + "/mint"}, key
	})
	require.NoError(t, tr.Identify(t.Context(), refresher.UserID("alice")))
	assert.Zero(t, proofs)
	_, err := get(t.Context(), tr.Client(), server.URL+"/api")
	require.NoError(t, err)
	assert.Equal(t, 1, proofs, "the token is bound by its own words")
}

// The access token of a logout that waits is sent in the way that it is bound.
func TestALogoutThatWaitsHasItsProof(t *testing.T) {
	b := newBoundService(true)
	server := serve(t, b)
	queue := fileLogouts(t)
	var down atomic.Bool
	key := refresher.GenerateDPoPKey()
	with := func(c *refresher.Config) {
		c.Logouts, c.DPoP = queue, key
		base := c.Base
		c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
			if down.Load() {
				return nil, errUnplugged
			}
			return base.RoundTrip(r)
		})
	}
	tr := withProof(t, server.URL, with)
	login(t, tr)
	tokens, _ := tr.Tokens()
	down.Store(true)
	require.Error(t, tr.Logout(t.Context()))
	down.Store(false)
	require.NoError(t, withProof(t, server.URL, with).Flush(t.Context())) // as after a restart
	assert.Contains(t, revoked(b.service), tokens.RefreshToken)
	all := b.requests("/auth/logout")
	last := all[len(all)-1]
	assert.Equal(t, "DPoP "+tokens.AccessToken, last.Header.Get("Authorization"))
	assert.Equal(t, dpop.TokenHash(tokens.AccessToken), proofOf(t, last).TokenHash)
	assert.Zero(t, b.refusals.Load())
}

// RFC 9449, Section 5: what comes before a session, the exchange of a code for one,
// is under the same key with DPoPKey.Transport.
func TestAClientOfAKey(t *testing.T) {
	b := newBoundService(true)
	server := serve(t, b)
	key := refresher.GenerateDPoPKey()
	client := &http.Client{Transport: key.Transport(nil)}
	var strange http.Header
	other := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strange = r.Header.Clone(); r.URL.Path == "/" {
			http.Redirect(w, r, "/again", http.StatusFound)
		}
	}))
	resp, err := client.Post(server.URL+"/auth/login", "application/json", strings.NewReader(`{"username":"alice","password":"right"}`))
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
	tokens := parse(must(io.ReadAll(resp.Body)))
	resp.Body.Close()
	assert.Equal(t, key.Thumbprint(), b.jkt)

	call := func(body io.Reader, authorization string) int {
		req := must(http.NewRequest("POST", server.URL+"/api", body))
		req.Header.Set("Authorization", authorization)
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Same(t, req, resp.Request)
		assert.Len(t, req.Header, 1, "the caller's request is as it was")
		return resp.StatusCode
	}
	b.api.Nonces = dpop.NewNonces(nil)
	assert.Equal(t, 401, call(newStream("cannot be sent again"), "DPoP "+tokens.AccessToken))
	assert.Equal(t, 200, call(newStream("need not be"), "DPoP "+tokens.AccessToken), "the nonce of the refusal is known")
	b.api.Nonces = dpop.NewNonces(nil)
	assert.Equal(t, 200, call(strings.NewReader("can be"), "DPoP "+tokens.AccessToken))
	assert.Equal(t, 401, call(nil, "Bearer "+tokens.AccessToken))

	tr := withProof(t, server.URL, func(c *refresher.Config) { c.DPoP = key })
	tokens.TokenType = "DPoP"
	require.NoError(t, tr.SetTokens(t.Context(), tokens))
	require.NoError(t, tr.Refresh(t.Context()))

	b.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.URL, http.StatusFound)
		return true
	})
	req := must(http.NewRequest("GET", server.URL+"/api", nil))
	now, _ := tr.Tokens()
	req.Header.Set("Authorization", "DPoP "+now.AccessToken)
	resp, err = client.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	assert.NotNil(t, strange)
	assert.Empty(t, strange["Dpop"], "neither the first hop elsewhere nor the next has a proof")
}

// A client of many servers remembers no more of them than it must.
func TestAClientOfAKeyForManyServers(t *testing.T) {
	asked := map[string]int{}
	client := &http.Client{Transport: refresher.GenerateDPoPKey().Transport(tripFunc(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.Header().Set("DPoP-Nonce", "nonce-of-"+r.URL.Host)
		if p := proofOf(t, r); p.Nonce == "" {
			asked[r.URL.Host]++
			jwterrors.Responder{}.Respond(w, r, jwterrors.ProofNonceRequired)
		} else {
			assert.Equal(t, "nonce-of-"+r.URL.Host, p.Nonce)
		}
		return w.Result(), nil
	}))}
	for range 3 {
		for i := range 200 {
			resp, err := client.Get(fmt.Sprintf("https://host-%d.example.com/", i))
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
		}
	}
	total := 0
	for _, n := range asked {
		total += n
	}
	assert.GreaterOrEqual(t, total, 600-3*64, "those that were forgotten ask again")
}

// net/http sends a request a second time by itself where a connection breaks that was
// used before. The server may have taken the proof by then, and the second is a replay
// (RFC 9449, Section 11.1). The caller gets the answer to a proof that is new.
func TestAProofThatWentOutTwice(t *testing.T) {
	b := newBoundService(false)
	server := serve(t, b)
	var cut atomic.Bool
	b.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		if cut.CompareAndSwap(true, false) {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	tr := withProof(t, server.URL, nil)
	login(t, tr)
	for range 5 {
		cut.Store(true)
		before := b.refusals.Load()
		status, err := get(t.Context(), tr.Client(), server.URL+"/api")
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.EqualValues(t, 1, b.refusals.Load()-before)
	}
}
