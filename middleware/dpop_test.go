package middleware_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/middleware"
)

// A holder is a client with a key, and a token that is bound to it.
type holder struct {
	*dpop.Key
	private crypto.Signer
	token   string
}

func newHolder(t testing.TB, private crypto.Signer, change ...func(object)) *holder {
	t.Helper()
	key, err := dpop.NewKey(private)
	require.NoError(t, err)
	c := claims().with("cnf", object{"jkt": key.Thumbprint})
	for _, f := range change {
		f(c)
	}
	return &holder{key, private, hs(hsHeader, c)}
}

// proof makes one for a request with the token of h.
func (h *holder) proof(method, url, nonce string) string {
	return must(h.Proof(method, url, dpop.TokenHash(h.token), nonce, time.Now()))
}

// header and payload are those of a good proof, for all that differ from one.
func (h *holder) header() object {
	return object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk(h.private.Public(), nil)}
}

func (h *holder) payload(method, url string) object {
	return object{"jti": encode(random(16)), "htm": method, "htu": url, "iat": time.Now().Unix(), "ath": dpop.TokenHash(h.token)}
}

func (h *holder) made(header, payload object) string {
	return sign(jwt.SigningMethodES256, h.private, header, payload)
}

const publicURL = "https://api.example.com"

func withDPoP(change ...func(*middleware.DPoP)) func(*middleware.Config) {
	return func(c *middleware.Config) {
		c.DPoP = &middleware.DPoP{PublicURL: publicURL}
		for _, f := range change {
			f(c.DPoP)
		}
	}
}

// serveDPoP runs a server whose PublicURL is its own, and answers with the subject.
func serveDPoP(t testing.TB, change ...func(*middleware.Config)) (string, *middleware.Middleware) {
	t.Helper()
	var auth *middleware.Middleware
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _ := middleware.FromContext(r.Context())
			_, _ = io.WriteString(w, c.Subject)
		})).ServeHTTP(w, r)
	}))
	own := "http://" + server.Listener.Addr().String()
	auth = newAuth(t, append([]func(*middleware.Config){withDPoP(func(d *middleware.DPoP) { d.PublicURL = own })}, change...)...)
	server.Start()
	t.Cleanup(server.Close)
	return own, auth
}

// send sends a request with an Authorization, and with proofs.
func send(t testing.TB, method, url, authorization string, proofs ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// RFC 9449, Section 7.1: a token that is bound to a key passes with a proof.
func TestABoundTokenPassesWithAProof(t *testing.T) {
	for _, share := range []bool{false, true} {
		url, _ := serveDPoP(t, func(c *middleware.Config) { c.ShareClaims = share })
		for name, private := range map[string]crypto.Signer{"ES256": ecKey, "EdDSA": edKey, "RS256": rsaKey()} {
			h := newHolder(t, private)
			for range 4 { // the token is in the cache from the third on
				expect(t, send(t, "GET", url+"/me?a=b", "DPoP "+h.token, h.proof("GET", url+"/me", "")), 200, "")
			}
			expect(t, send(t, "POST", url+"/%6de", "dpop  "+h.token, h.proof("POST", url+"/me", "")), 200, "")
			expect(t, send(t, "GET", url, "DPoP "+h.token, h.proof("GET", strings.ToUpper(url[:4])+url[4:]+"/#x", "")), 200, "")
			assert.NotEmpty(t, name)
		}
		expect(t, send(t, "GET", url, "Bearer "+good()), 200, "")
	}
}

// RFC 9449, Sections 4.3, 7.1 and 11: the checks of a proof, and the attacks on it,
// over the network.
func TestProofsThatAreRefused(t *testing.T) {
	url, _ := serveDPoP(t)
	me, h := url+"/me", newHolder(t, newEC())
	thief, other := newHolder(t, newEC()), newHolder(t, h.private, func(c object) { c["jti"] = "j-2" })
	used := h.proof("GET", me, "")
	expect(t, send(t, "GET", me, "DPoP "+h.token, used), 200, "")

	d := must(h.private.(*ecdsa.PrivateKey).Bytes())
	jwkOf := h.header()["jwk"].(object)
	ok, get := h.header(), h.payload("GET", me)
	fresh := func(o object) object { return o.with("jti", encode(random(16))) }
	for _, c := range []struct {
		name   string
		proofs []string
	}{
		{"no proof", nil},
		{"two proofs (check 1)", []string{h.proof("GET", me, ""), h.proof("GET", me, "")}},
		{"the same proof twice (check 1)", []string{h.proof("GET", me, "") + ", " + h.proof("GET", me, "")}},
		{"an empty one (check 2)", []string{""}},
		{"not a JWT (check 2)", []string{"x.y.z"}},
		{"a JWE (check 2)", []string{"a.b.c.d.e"}},
		{"the access token (check 4)", []string{h.token}},
		{"no jti (check 3)", []string{h.made(ok, get.with("jti", nil))}},
		{"no htm (check 3)", []string{h.made(ok, fresh(get).with("htm", nil))}},
		{"no htu (check 3)", []string{h.made(ok, fresh(get).with("htu", nil))}},
		{"no iat (check 3)", []string{h.made(ok, fresh(get).with("iat", nil))}},
		{"no ath (checks 3 and 12)", []string{h.made(ok, fresh(get).with("ath", nil))}},
		{"another typ (check 4)", []string{h.made(ok.with("typ", "JWT"), fresh(get))}},
		{"alg none (check 5)", []string{encode(ok.with("alg", "none")) + "." + encode(fresh(get)) + "."}},
		{"alg none, with a signature (check 5)", []string{h.made(ok.with("alg", "none"), fresh(get))}},
		{"HS256 with the public key (check 5)", []string{sign(jwt.SigningMethodHS256, must(h.private.(*ecdsa.PrivateKey).PublicKey.Bytes()), ok.with("alg", "HS256"), fresh(get))}},
		{"an algorithm that is not allowed (check 5)", []string{h.made(ok.with("alg", "ES512"), fresh(get))}},
		{"another key's signature (check 6)", []string{thief.made(ok, fresh(get))}},
		{"a private key (check 7)", []string{h.made(ok.with("jwk", jwkOf.with("d", encode(d))), fresh(get))}},
		{"a swapped method (check 8)", []string{h.proof("POST", me, "")}},
		{"a method in lower case (check 8)", []string{h.proof("get", me, "")}},
		{"a swapped path (check 9)", []string{h.proof("GET", url+"/you", "")}},
		{"a path with a slash more (check 9)", []string{h.proof("GET", me+"/", "")}},
		{"another host (check 9)", []string{h.proof("GET", "http://127.0.0.1:1/me", "")}},
		{"another scheme (check 9)", []string{h.proof("GET", "https"+strings.TrimPrefix(me, "http"), "")}},
		{"a path alone (check 9)", []string{h.proof("GET", "/me", "")}},
		{"too old (check 11)", []string{h.made(ok, fresh(get).with("iat", time.Now().Unix()-92))}},
		{"made for later (check 11)", []string{h.made(ok, fresh(get).with("iat", time.Now().Unix()+300))}},
		{"of another token (check 12)", []string{other.proof("GET", me, "")}},
		{"the thief's own key (check 12)", []string{must(thief.Proof("GET", me, dpop.TokenHash(h.token), "", time.Now()))}},
		{"used before (Section 11.1)", []string{used}},
		{"used before, for another query (Section 11.1)", []string{used}},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := send(t, "GET", me+"?x=y", "DPoP "+h.token, c.proofs...)
			assert.Contains(t, resp.Header.Get("WWW-Authenticate"), `DPoP algs="ES256 EdDSA Ed25519 ES384 PS256 RS256", error="invalid_dpop_proof"`)
			expect(t, resp, 401, jwterrors.ProofInvalid)
		})
	}
	expect(t, send(t, "GET", me, "DPoP "+h.token, h.proof("GET", me, "")), 200, "")
}

// RFC 9449, Section 7.2: a bound token is not a bearer token, wherever it is and
// whatever comes with it.
func TestABoundTokenIsNoBearerToken(t *testing.T) {
	h := newHolder(t, ecKey)
	everywhere := func(c *middleware.Config) {
		c.TokenCookie, c.TokenInQuery, c.TokenInForm = "token", true, true
		c.TokenFrom = func(r *http.Request) (string, error) { return r.Header.Get("Api-Token"), nil }
		c.CookieOrigins = http.NewCrossOriginProtection()
	}
	own := func(*middleware.Config) {}
	for name, dpop := range map[string]func(*middleware.Config){"on": own, "required": func(c *middleware.Config) { c.DPoP.Required = true }, "off": func(c *middleware.Config) { c.DPoP = nil }} {
		base, auth := serveDPoP(t, everywhere, dpop)
		for place, build := range map[string]func() *http.Request{
			"header": func() *http.Request {
				r := must(http.NewRequest("GET", base, nil))
				r.Header.Set("Authorization", "Bearer "+h.token)
				return r
			},
			"cookie": func() *http.Request {
				r := must(http.NewRequest("GET", base, nil))
				r.AddCookie(&http.Cookie{Name: "token", Value: h.token})
				return r
			},
			"query": func() *http.Request { return must(http.NewRequest("GET", base+"?access_token="+h.token, nil)) },
			"form": func() *http.Request {
				r := must(http.NewRequest("POST", base, strings.NewReader(url.Values{"access_token": {h.token}}.Encode())))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				return r
			},
			"the caller's place": func() *http.Request {
				r := must(http.NewRequest("GET", base, nil))
				r.Header.Set("Api-Token", h.token)
				return r
			},
		} {
			t.Run(name+" "+place, func(t *testing.T) {
				for range 3 { // the cache must not change it
					r := build()
					r.Header.Set("DPoP", h.proof(r.Method, base+"/", ""))
					resp, err := http.DefaultClient.Do(r)
					require.NoError(t, err)
					defer resp.Body.Close()
					expect(t, resp, 401, jwterrors.ProofInvalid)
				}
			})
		}
		_, err := auth.Verify(t.Context(), h.token)
		require.ErrorIs(t, err, jwterrors.ProofInvalid, "there is no request")
		if name == "off" {
			assert.ErrorContains(t, err, "Config.DPoP is not set")
			expect(t, send(t, "GET", base, "DPoP "+h.token, h.proof("GET", base+"/", "")), 401, jwterrors.TokenMissing)
		}
	}
}

// RFC 7800, Section 3: what is not understood in "cnf" is not left out.
func TestWhatATokenIsBoundTo(t *testing.T) {
	h := newHolder(t, ecKey)
	url, auth := serveDPoP(t)
	for _, c := range []struct {
		name   string
		claims object
		reason jwterrors.Reason
	}{
		{"a key", claims().with("cnf", object{"jkt": h.Thumbprint}), ""},
		{"null", claims().with("cnf", jsonNull), jwterrors.ProofInvalid},
		{"empty", claims().with("cnf", object{}), jwterrors.ProofInvalid},
		{"a string", claims().with("cnf", h.Thumbprint), jwterrors.ProofInvalid},
		{"a list", claims().with("cnf", []object{{"jkt": h.Thumbprint}}), jwterrors.ProofInvalid},
		{"an unknown member", claims().with("cnf", object{"kid": "x"}), jwterrors.ProofInvalid},
		{"an unknown member beside the key", claims().with("cnf", object{"jkt": h.Thumbprint, "jwe": "x"}), jwterrors.ProofInvalid},
		{"the key itself", claims().with("cnf", object{"jwk": jwk(ecKey.Public(), nil)}), jwterrors.ProofInvalid},
		{"a name in another case", claims().with("cnf", object{"JKT": h.Thumbprint}), jwterrors.ProofInvalid},
		{"an empty thumbprint", claims().with("cnf", object{"jkt": ""}), jwterrors.ProofInvalid},
		{"null for a thumbprint", claims().with("cnf", object{"jkt": jsonNull}), jwterrors.ProofInvalid},
		{"a thumbprint with padding", claims().with("cnf", object{"jkt": h.Thumbprint + "="}), jwterrors.ProofInvalid},
		{"a thumbprint of another hash", claims().with("cnf", object{"jkt": encode(random(48))}), jwterrors.ProofInvalid},
		{"another key", claims().with("cnf", object{"jkt": encode(random(32))}), jwterrors.ProofInvalid},
		{"the key, and a certificate that is not there", claims().with("cnf", object{"jkt": h.Thumbprint, "x5t#S256": encode(random(32))}), jwterrors.ProofInvalid},
		{"a certificate alone", claims().with("cnf", object{"x5t#S256": encode(random(32))}), jwterrors.ProofInvalid},
		{"nothing", claims(), jwterrors.ProofInvalid},
		{"the claim in another case", claims().with("CNF", object{"jkt": h.Thumbprint}), jwterrors.TokenPayloadInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &holder{h.Key, h.private, hs(hsHeader, c.claims)}
			for range 3 {
				status := 200
				if c.reason != "" {
					status = 401
				}
				expect(t, send(t, "GET", url, "DPoP "+h.token, h.proof("GET", url+"/", "")), status, c.reason)
			}
			e := agree(t, auth, h.token)
			if c.name == "nothing" {
				assert.Empty(t, e.Reason)
				return
			}
			expect(t, send(t, "GET", url, "Bearer "+h.token, h.proof("GET", url+"/", "")), 401, e.Reason)
		})
	}
	twice := hs(hsHeader, strings.Replace(string(must(json.Marshal(claims().with("cnf", object{})))), `"cnf":{}`, `"cnf":{"jkt":"a","jkt":"`+h.Thumbprint+`"}`, 1))
	expect(t, send(t, "GET", url, "DPoP "+twice, h.proof("GET", url+"/", "")), 401, jwterrors.TokenPayloadInvalid)
}

func TestOnlyBoundTokensWhereThatIsRequired(t *testing.T) {
	url, auth := serveDPoP(t, func(c *middleware.Config) { c.DPoP.Required = true })
	h := newHolder(t, ecKey)
	for range 3 {
		resp := send(t, "GET", url, "Bearer "+good())
		assert.Equal(t, `DPoP algs="ES256 EdDSA Ed25519 ES384 PS256 RS256", error="invalid_token", error_description="The proof of possession is not valid.", reason="AUTH_PROOF_INVALID"`, resp.Header.Get("WWW-Authenticate"))
		expect(t, resp, 401, jwterrors.ProofInvalid)
	}
	expect(t, send(t, "GET", url, "DPoP "+h.token, h.proof("GET", url+"/", "")), 200, "")
	resp := send(t, "GET", url, "")
	assert.Equal(t, `DPoP algs="ES256 EdDSA Ed25519 ES384 PS256 RS256"`, resp.Header.Get("WWW-Authenticate"))
	assert.Equal(t, jwterrors.TokenMissing, jwterrors.FromResponse(resp).Reason)
	agree(t, auth, good())
	agree(t, auth, h.token)
}

// RFC 9449, Sections 8.2 and 9, and 11.2: nobody makes proofs for later.
func TestNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []jwterrors.Reason
		auth := newAuth(t, withDPoP(func(d *middleware.DPoP) { d.RequireNonce, d.Required = true, true }))
		h := newHolder(t, newEC())
		do := func(nonce string, iat time.Time) (*httptest.ResponseRecorder, string) {
			r := httptest.NewRequest("GET", publicURL+"/me", nil)
			r.Header.Set("Authorization", "DPoP "+h.token)
			r.Header.Set("DPoP", must(h.Proof("GET", publicURL+"/me", dpop.TokenHash(h.token), nonce, iat)))
			w := httptest.NewRecorder()
			auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
			e := jwterrors.FromResponse(w.Result())
			if e != nil {
				told = append(told, e.Reason)
				assert.Equal(t, w.Header().Get("DPoP-Nonce"), e.Nonce)
			}
			return w, w.Header().Get("DPoP-Nonce")
		}
		w, first := do("", time.Now()) // at the beginning of a minute
		assert.Equal(t, 401, w.Code)
		assert.Contains(t, w.Header().Get("WWW-Authenticate"), `error="use_dpop_nonce"`)
		require.NotEmpty(t, first)
		w, next := do(first, time.Now().Add(-time.Hour))
		assert.Equal(t, 200, w.Code, "the clock of the client does not matter")
		assert.Empty(t, next)
		w, _ = do(first+"A", time.Now())
		assert.Equal(t, 401, w.Code)

		kept := must(h.Proof("GET", publicURL+"/me", dpop.TokenHash(h.token), first, time.Now()))
		time.Sleep(time.Minute)
		w, second := do(first, time.Now())
		assert.Equal(t, 200, w.Code)
		assert.NotEmpty(t, second, "the client learns of the next one before it needs it")
		assert.NotEqual(t, first, second)
		w, _ = do(second, time.Now())
		assert.Equal(t, 200, w.Code)

		time.Sleep(time.Minute)
		r := httptest.NewRequest("GET", publicURL+"/me", nil)
		r.Header.Set("Authorization", "DPoP "+h.token)
		r.Header.Set("DPoP", kept) // made before, for later
		_, err := auth.Check(r)
		require.ErrorIs(t, err, jwterrors.ProofNonceRequired)
		var e *jwterrors.Error
		require.ErrorAs(t, err, &e)
		assert.NotEmpty(t, e.Nonce, "for who answers after Check")
		w, _ = do(e.Nonce, time.Now())
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, []jwterrors.Reason{jwterrors.ProofNonceRequired, jwterrors.ProofNonceRequired}, told)
	})
}

// RFC 9449, Section 4.3, check 11, at its limits.
func TestTheAgeOfAProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHolder(t, newEC())
		for _, c := range []struct {
			name   string
			change func(*middleware.Config)
			iat    time.Duration // from now
			passes bool
		}{
			{"as old as may be", func(*middleware.Config) {}, -90 * time.Second, true},
			{"too old", func(*middleware.Config) {}, -91 * time.Second, false},
			{"as far ahead as may be", func(*middleware.Config) {}, 30 * time.Second, true},
			{"too far ahead", func(*middleware.Config) {}, 31 * time.Second, false},
			{"a shorter age", func(c *middleware.Config) { c.DPoP.MaxAge, c.Leeway = 5*time.Second, middleware.NoLeeway }, -5 * time.Second, true},
			{"a shorter age, too old", func(c *middleware.Config) { c.DPoP.MaxAge, c.Leeway = 5*time.Second, middleware.NoLeeway }, -6 * time.Second, false},
			{"no leeway, too far ahead", func(c *middleware.Config) { c.Leeway = middleware.NoLeeway }, time.Second, false},
		} {
			auth := newAuth(t, withDPoP(), c.change)
			r := httptest.NewRequest("GET", publicURL, nil)
			r.Header.Set("Authorization", "DPoP "+h.token)
			r.Header.Set("DPoP", must(h.Proof("GET", publicURL, dpop.TokenHash(h.token), "", time.Now().Add(c.iat))))
			_, err := auth.Check(r)
			assert.Equal(t, c.passes, err == nil, "%s: %v", c.name, err)
		}
	})
}

// Processes with one secret take one another's nonces, and others do not.
func TestTheSecretOfNonces(t *testing.T) {
	shared := random(32)
	nonces := func(secret []byte) *middleware.Middleware {
		return newAuth(t, withDPoP(func(d *middleware.DPoP) { d.RequireNonce, d.NonceSecret = true, secret }))
	}
	h := newHolder(t, ecKey)
	check := func(auth *middleware.Middleware, nonce string) (string, error) {
		r := httptest.NewRequest("GET", publicURL, nil)
		r.Header.Set("Authorization", "DPoP "+h.token)
		r.Header.Set("DPoP", h.proof("GET", publicURL, nonce))
		_, err := auth.Check(r)
		var e *jwterrors.Error
		if errors.As(err, &e) {
			return e.Nonce, err
		}
		return "", nil
	}
	nonce, _ := check(nonces(shared), "")
	_, err := check(nonces(shared), nonce)
	require.NoError(t, err)
	_, err = check(nonces(nil), nonce)
	require.ErrorIs(t, err, jwterrors.ProofNonceRequired)
}

// A nonce is told whoever answers: the caller's Respond, a guard, the handler.
func TestANonceIsToldWhoeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := newAuth(t, withDPoP(func(d *middleware.DPoP) { d.RequireNonce = true }), func(c *middleware.Config) {
			c.Respond = func(w http.ResponseWriter, _ *http.Request, err error) { w.WriteHeader(418) }
		})
		h := newHolder(t, newEC())
		do := func(next http.Handler, nonce string, wrap func(http.Handler) http.Handler) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", publicURL, nil)
			r.Header.Set("Authorization", "DPoP "+h.token)
			r.Header.Set("DPoP", h.proof("GET", publicURL, nonce))
			w := httptest.NewRecorder()
			wrap(next).ServeHTTP(w, r)
			return w
		}
		ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
		w := do(ok, "", auth.Handler)
		assert.Equal(t, 418, w.Code)
		nonce := w.Header().Get("DPoP-Nonce")
		require.NotEmpty(t, nonce)
		time.Sleep(time.Minute)
		for name, c := range map[string]struct {
			next http.Handler
			wrap func(http.Handler) http.Handler
			want int
		}{
			"guard":    {middleware.RequireScopes("nobody has it")(ok), auth.Handler, 418},
			"handler":  {ok, auth.Handler, 204},
			"optional": {ok, auth.Optional, 204},
			"observe":  {ok, auth.Observe, 204},
		} {
			w := do(c.next, nonce, c.wrap)
			assert.Equal(t, c.want, w.Code, name)
			assert.NotEmpty(t, w.Header().Get("DPoP-Nonce"), name)
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), name)
		}
		w = do(ok, "", auth.Observe)
		assert.Equal(t, 204, w.Code)
		assert.NotEmpty(t, w.Header().Get("DPoP-Nonce"))
	})
}

// RFC 9449, Section 11.1: of many requests with one proof, one passes.
func TestOneProofManyTimesAtOnce(t *testing.T) {
	const requests = 64
	url, _ := serveDPoP(t)
	h := newHolder(t, ecKey)
	for range 4 {
		proof := h.proof("GET", url+"/", "")
		var passed, refused atomic.Int32
		var all sync.WaitGroup
		for range requests {
			all.Go(func() {
				r := must(http.NewRequest("GET", url, nil))
				r.Header.Set("Authorization", "DPoP "+h.token)
				r.Header.Set("DPoP", proof)
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				switch resp.StatusCode {
				case 200:
					passed.Add(1)
				case 401:
					refused.Add(1)
				}
			})
		}
		all.Wait()
		assert.EqualValues(t, 1, passed.Load())
		assert.EqualValues(t, requests-1, refused.Load())
	}
}

// sharedReplays are those of several processes.
type sharedReplays struct {
	mu   sync.Mutex
	used map[string]time.Time
	err  error
}

func (s *sharedReplays) Use(_ context.Context, proof string, until time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return true, s.err
	}
	_, used := s.used[proof]
	s.used[proof] = until
	return !used, nil
}

func TestProcessesThatShareReplays(t *testing.T) {
	shared := &sharedReplays{used: map[string]time.Time{}}
	replays := func(c *middleware.Config) { c.DPoP.Replays = shared }
	one, _ := serveDPoP(t, replays)
	// The other process serves the same URL.
	two, _ := serveDPoP(t, replays, func(c *middleware.Config) { c.DPoP.PublicURL = one })
	h := newHolder(t, ecKey)
	proof := h.proof("GET", one+"/", "")
	expect(t, send(t, "GET", one, "DPoP "+h.token, proof), 200, "")
	expect(t, send(t, "GET", two, "DPoP "+h.token, proof), 401, jwterrors.ProofInvalid)
	require.Len(t, shared.used, 1)
	for name, until := range shared.used {
		assert.NotContains(t, proof, name)
		assert.WithinDuration(t, time.Now().Add(120*time.Second), until, 5*time.Second, "MaxAge, and Leeway for two clocks")
	}
	shared.err = errors.New("the store is away")
	resp := send(t, "GET", one, "DPoP "+h.token, h.proof("GET", one+"/", ""))
	assert.NotEmpty(t, resp.Header.Get("Retry-After"))
	assert.Equal(t, 503, resp.StatusCode)
	assert.Equal(t, jwterrors.StoreUnavailable, jwterrors.FromResponse(resp).Reason)
}

// leftReplays keeps a proof for as long as the process that used it says is left, as
// a server does that has a clock of its own.
type leftReplays struct {
	ends    map[string]time.Time // by the right clock
	process func() time.Time     // the clock of the process
}

func (s leftReplays) Use(_ context.Context, proof string, until time.Time) (bool, error) {
	if time.Now().Before(s.ends[proof]) {
		return false, nil
	}
	s.ends[proof] = time.Now().Add(until.Sub(s.process()) + time.Millisecond)
	return true, nil
}

// A proof that was used where the clock is ahead is remembered for as long as it is
// good where the clock is right, and so by the clocks of clients and by nonces.
func TestProcessesWithDifferentClocksShareReplays(t *testing.T) {
	for name, nonces := range map[string]bool{"by iat": false, "by nonce": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends, secret := map[string]time.Time{}, random(32)
				process := func(ahead time.Duration) *middleware.Middleware {
					now := func() time.Time { return time.Now().Add(ahead) }
					return newAuth(t, withDPoP(func(d *middleware.DPoP) { d.Replays = leftReplays{ends, now} }), func(c *middleware.Config) {
						if c.Now = now; nonces {
							c.DPoP.RequireNonce, c.DPoP.NonceSecret = true, secret
						}
					})
				}
				right, ahead := process(0), process(30*time.Second) // the default Leeway
				h := newHolder(t, ecKey)
				request := func(nonce string) *http.Request {
					r := httptest.NewRequest("GET", publicURL, nil)
					r.Header.Set("Authorization", "DPoP "+h.token)
					r.Header.Set("DPoP", h.proof("GET", publicURL, nonce))
					return r
				}
				nonce := ""
				if nonces {
					var e *jwterrors.Error
					_, err := right.Check(request(""))
					require.ErrorAs(t, err, &e)
					nonce = e.Nonce
				}
				r := request(nonce)
				_, err := ahead.Check(r)
				require.NoError(t, err)
				for range 300 {
					_, err := right.Check(r)
					require.Error(t, err)
					time.Sleep(time.Second)
				}
			})
		})
	}
}

func TestMoreProofsThanAreRemembered(t *testing.T) {
	auth := newAuth(t, withDPoP(func(d *middleware.DPoP) { d.MaxProofs = 128 }))
	h := newHolder(t, ecKey)
	var full int
	for range 256 {
		r := httptest.NewRequest("GET", publicURL, nil)
		r.Header.Set("Authorization", "DPoP "+h.token)
		r.Header.Set("DPoP", h.proof("GET", publicURL, ""))
		if _, err := auth.Check(r); err != nil {
			require.ErrorIs(t, err, jwterrors.StoreUnavailable)
			full++
		}
	}
	assert.GreaterOrEqual(t, full, 128)
}

// A proof is remembered to the last moment at which it counts.
func TestAProofAtItsLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := newAuth(t, withDPoP(func(d *middleware.DPoP) { d.MaxAge = 5 * time.Second }), func(c *middleware.Config) { c.Leeway = middleware.NoLeeway })
		h := newHolder(t, ecKey)
		r := httptest.NewRequest("GET", publicURL, nil)
		r.Header.Set("Authorization", "DPoP "+h.token)
		r.Header.Set("DPoP", h.proof("GET", publicURL, ""))
		_, err := auth.Check(r)
		require.NoError(t, err)
		for n := range 10 {
			_, err = auth.Check(r)
			require.ErrorIs(t, err, jwterrors.ProofInvalid, "after %d seconds", n)
			time.Sleep(time.Second)
		}
	})
}

// The order of the reasons: what the token says, the proof, what others say.
func TestThePlaceOfPossession(t *testing.T) {
	revoked := true
	var asked int
	observed := new(recorder)
	auth := newAuth(t, withDPoP(), func(c *middleware.Config) {
		c.Observer = observed
		c.Revocations = revocations(func(string, string, string, time.Time) (bool, error) { asked++; return revoked, nil })
	})
	check := func(h *holder, proof string) jwterrors.Reason {
		r := httptest.NewRequest("GET", publicURL, nil)
		r.Header.Set("Authorization", "DPoP "+h.token)
		r.Header.Set("DPoP", proof)
		_, err := auth.Check(r)
		return jwterrors.ReasonOf(err)
	}
	h := newHolder(t, ecKey)
	expired := newHolder(t, ecKey, func(c object) { c["iat"], c["exp"] = 1, 2 })
	foreign := newHolder(t, ecKey, func(c object) { c["aud"] = "x" })
	wrong := h.proof("POST", publicURL, "")
	assert.Equal(t, jwterrors.TokenExpired, check(expired, wrong))
	assert.Equal(t, jwterrors.TokenAudienceInvalid, check(foreign, wrong))
	assert.Zero(t, asked)
	assert.Equal(t, jwterrors.ProofInvalid, check(h, wrong))
	assert.Zero(t, asked, "nobody is asked about a token without its proof")
	assert.Equal(t, jwterrors.TokenInvalidated, check(h, h.proof("GET", publicURL, "")))
	revoked = false
	assert.EqualValues(t, "", check(h, h.proof("GET", publicURL, "")))
	assert.Equal(t, []jwterrors.Reason{
		jwterrors.TokenExpired, jwterrors.TokenAudienceInvalid, jwterrors.ProofInvalid, jwterrors.TokenInvalidated, "",
	}, observed.take())
	agree(t, auth, expired.token)
	agree(t, auth, foreign.token)
	assert.Equal(t, jwterrors.ProofInvalid, agree(t, auth, h.token).Reason)
}

// RFC 9449, Section 4.3, check 9, for what stands between client and handler.
func TestTheURLOfAProof(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	anyHost := func(d *middleware.DPoP) { d.PublicURL, d.InsecureAnyHost, d.TrustedProxies = "", true, proxies }
	under := func(d *middleware.DPoP) { d.PublicURL = publicURL + "/v1/" }
	public := func(*middleware.DPoP) {}
	h := newHolder(t, ecKey)
	for _, c := range []struct {
		name    string
		dpop    func(*middleware.DPoP)
		request func(*http.Request)
		htu     string
		passes  bool
	}{
		{"its own", public, nil, "https://api.example.com/me", true},
		{"behind StripPrefix", public, func(r *http.Request) { r.URL.Path = "/" }, "https://api.example.com/me", true},
		{"a proof for another server, passed on with its name", public, func(r *http.Request) { r.Host = "evil.example" }, "https://evil.example/me", false},
		{"forwarded by who may not", public, func(r *http.Request) {
			r.Header.Set("X-Forwarded-Host", "evil.example")
		}, "https://evil.example/me", false},
		{"under a path", under, nil, "https://api.example.com/v1/me", true},
		{"under a path that is left out", under, nil, "https://api.example.com/me", false},
		{"any host", anyHost, func(r *http.Request) { r.Host = "b.example" }, "http://b.example/me", true},
		{"any host, forwarded by a proxy", anyHost, func(r *http.Request) {
			r.RemoteAddr = "10.1.2.3:4"
			r.Header.Set("X-Forwarded-Proto", "https")
			r.Header.Set("X-Forwarded-Host", "c.example")
		}, "https://c.example/me", true},
		{"any host, forwarded by anybody", anyHost, func(r *http.Request) {
			r.RemoteAddr = "192.0.2.1:4"
			r.Header.Set("X-Forwarded-Proto", "https")
		}, "https://api.example.com/me", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			auth := newAuth(t, withDPoP(c.dpop))
			r := httptest.NewRequest("GET", "/me", nil)
			r.Host = "api.example.com"
			if c.request != nil {
				c.request(r)
			}
			r.Header.Set("Authorization", "DPoP "+h.token)
			r.Header.Set("DPoP", h.proof("GET", c.htu, ""))
			_, err := auth.Check(r)
			if c.passes {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, jwterrors.ProofInvalid)
			}
		})
	}
}

// RFC 9449, Section 7.1: the header field is read as that of a bearer token.
func TestTheSchemeOfDPoP(t *testing.T) {
	url, _ := serveDPoP(t, func(c *middleware.Config) { c.TokenCookie = "token" })
	h := newHolder(t, ecKey)
	for _, c := range []struct {
		name, value string
		status      int
		reason      jwterrors.Reason
	}{
		{"in lower case", "dpop " + h.token, 200, ""},
		{"with spaces", "DPoP   " + h.token, 200, ""},
		{"with no token", "DPoP", 401, jwterrors.TokenFormatInvalid},
		{"with a tab", "DPoP\t" + h.token, 400, jwterrors.RequestInvalid},
		{"with two tokens", "DPoP " + h.token + " " + h.token, 400, jwterrors.RequestInvalid},
		{"with a list", "DPoP " + h.token + ", Bearer " + h.token, 400, jwterrors.RequestInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, send(t, "GET", url, c.value, h.proof("GET", url+"/", "")), c.status, c.reason)
		})
	}
	resp := send(t, "GET", url, "DPoPs "+h.token, h.proof("GET", url+"/", ""))
	assert.Equal(t, `Bearer, DPoP algs="ES256 EdDSA Ed25519 ES384 PS256 RS256"`, resp.Header.Get("WWW-Authenticate"), "a longer one is another one")
	assert.Equal(t, jwterrors.TokenMissing, jwterrors.FromResponse(resp).Reason)

	r := must(http.NewRequest("GET", url, nil))
	r.Header.Set("Authorization", "DPoP "+h.token)
	r.Header.Set("DPoP", h.proof("GET", url+"/", ""))
	r.AddCookie(&http.Cookie{Name: "token", Value: good()})
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	expect(t, resp, 400, jwterrors.RequestInvalid)
}

func TestMistakesInDPoP(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*middleware.DPoP)
		want   string // "" for none
	}{
		{"none", func(*middleware.DPoP) {}, ""},
		{"no URL, as from an unset variable", func(d *middleware.DPoP) { d.PublicURL = "" }, "PublicURL is empty"},
		{"a URL without a scheme", func(d *middleware.DPoP) { d.PublicURL = "api.example.com" }, "PublicURL is not"},
		{"a URL with a query", func(d *middleware.DPoP) { d.PublicURL += "?x" }, "PublicURL is not"},
		{"a URL with a user", func(d *middleware.DPoP) { d.PublicURL = "https://user@api.example.com" }, "PublicURL is not"},
		{"a URL and any host", func(d *middleware.DPoP) { d.InsecureAnyHost = true }, "InsecureAnyHost and PublicURL"},
		{"no algorithm", func(d *middleware.DPoP) { d.Algorithms = []string{} }, "no proof could pass"},
		{"an algorithm twice", func(d *middleware.DPoP) { d.Algorithms = []string{"ES256", "ES256"} }, "twice"},
		{"none as an algorithm", func(d *middleware.DPoP) { d.Algorithms = []string{"none"} }, `"none", which is none of a public key`},
		{"an algorithm with a secret", func(d *middleware.DPoP) { d.Algorithms = []string{"HS256"} }, `"HS256"`},
		{"an algorithm in another case", func(d *middleware.DPoP) { d.Algorithms = []string{"es256"} }, `"es256"`},
		{"an age of 5 minutes", func(d *middleware.DPoP) { d.MaxAge = 5 * time.Minute }, ""},
		{"an age beyond", func(d *middleware.DPoP) { d.MaxAge = 5*time.Minute + 1 }, "MaxAge"},
		{"a negative age", func(d *middleware.DPoP) { d.MaxAge = -1 }, "MaxAge"},
		{"a secret without a nonce", func(d *middleware.DPoP) { d.NonceSecret = random(32) }, "RequireNonce is not"},
		{"a short secret", func(d *middleware.DPoP) { d.RequireNonce, d.NonceSecret = true, random(31) }, "31 bytes"},
		{"an empty secret, as from an unset variable", func(d *middleware.DPoP) { d.RequireNonce, d.NonceSecret = true, []byte{} }, "0 bytes"},
		{"proxies beside a URL", func(d *middleware.DPoP) { d.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, "where InsecureAnyHost is"},
		{"everybody as a proxy", func(d *middleware.DPoP) { d.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }, "everybody"},
		{"everybody of IPv6 as a proxy", func(d *middleware.DPoP) { d.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("::/0")} }, "everybody"},
		{"IPv4 in IPv6", func(d *middleware.DPoP) {
			d.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/96")}
		}, "written as one"},
		{"no network", func(d *middleware.DPoP) { d.TrustedProxies = []netip.Prefix{{}} }, "no network"},
		{"a negative limit", func(d *middleware.DPoP) { d.MaxProofs = -1 }, "MaxProofs"},
		{"a limit of another's memory", func(d *middleware.DPoP) { d.MaxProofs, d.Replays = 1, &sharedReplays{} }, "MaxProofs and Replays"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := middleware.Config{Keys: middleware.HS256(secret), Issuer: issuer, Audience: []string{audience}}
			withDPoP(c.change)(&config)
			_, err := middleware.New(config)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, c.want)
		})
	}
	_, err := middleware.New(middleware.Config{
		Keys: middleware.HS256(secret), Issuer: issuer,
		DPoP: &middleware.DPoP{Algorithms: []string{"none", "HS256"}, MaxAge: -1, NonceSecret: []byte("x"), TrustedProxies: []netip.Prefix{{}}, MaxProofs: -1},
	})
	for _, want := range []string{"Audience", "none", "HS256", "MaxAge", "NonceSecret", "PublicURL", "TrustedProxies", "MaxProofs"} {
		assert.ErrorContains(t, err, want)
	}
}

// The log of a service has neither tokens nor proofs nor nonces.
func TestNoProofIsShown(t *testing.T) {
	var log bytes.Buffer
	auth := newAuth(t, withDPoP(func(d *middleware.DPoP) { d.RequireNonce = true }), func(c *middleware.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	h := newHolder(t, ecKey)
	proof := h.proof("GET", publicURL, "no-such-nonce")
	r := httptest.NewRequest("GET", publicURL+"/me?secret=x", nil)
	r.Header.Set("Authorization", "DPoP "+h.token)
	for _, p := range []string{proof, h.proof("GET", publicURL+"/me", "no-such-nonce"), h.proof("GET", publicURL+"/?secret=y", ""), h.token, "x.y." + encode(random(64))} {
		r.Header.Set("DPoP", p)
		w := httptest.NewRecorder()
		auth.Handler(nil).ServeHTTP(w, r)
		assert.Equal(t, 401, w.Code)
		shown := log.String() + w.Body.String()
		for _, secret := range []string{p, p[len(p)-20:], "no-such-nonce", "secret=", h.token[len(h.token)-20:]} {
			assert.NotContains(t, shown, secret)
		}
		if nonce := w.Header().Get("DPoP-Nonce"); nonce != "" {
			assert.NotContains(t, shown, nonce)
		}
	}
	assert.Contains(t, log.String(), "AUTH_PROOF_NONCE_REQUIRED")
}

func TestPrintingShowsNoSecretOfNonces(t *testing.T) {
	secret := []byte("an obviously fake nonce secret 32")
	d := middleware.DPoP{PublicURL: publicURL, RequireNonce: true, NonceSecret: secret}
	auth := newAuth(t, func(c *middleware.Config) { c.DPoP = &d })
	var log bytes.Buffer
	for _, v := range []any{d, &d, middleware.Config{DPoP: &d}, struct{ DPoP *middleware.DPoP }{&d}, auth} {
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&log, verb+"\n", v)
		}
	}
	for _, form := range []string{"obviously", hex.EncodeToString(secret[:8]), strings.ToUpper(hex.EncodeToString(secret[:8])), "97 110 32", "0x61, 0x6e", base64.StdEncoding.EncodeToString(secret)[:12]} {
		assert.NotContains(t, log.String(), form)
	}
}
