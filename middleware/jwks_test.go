package middleware_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// An endpoint publishes a JWK Set and counts how often it is fetched. It is its
// clients' RoundTripper, so that it works in a bubble of synctest.
type endpoint struct {
	fetches atomic.Int64
	wait    time.Duration // before it answers

	mu     sync.Mutex
	answer http.HandlerFunc // in place of the set
	body   []byte
}

func (e *endpoint) publish(keys ...object) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.body, e.answer = jwkSet(keys...), nil
}

// fail makes the endpoint answer with this from now on.
func (e *endpoint) fail(answer http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.fetches.Add(1)
	e.mu.Lock()
	answer, body := e.answer, e.body
	e.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	_, _ = w.Write(body)
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	if e.wait > 0 {
		select {
		case <-time.After(e.wait):
		case <-r.Context().Done():
			e.fetches.Add(1)
			return nil, r.Context().Err()
		}
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	if resp.ContentLength > int64(w.Body.Len()) { // it broke off, which a client of net/http tells
		resp.Body = io.NopCloser(io.MultiReader(resp.Body, iotest.ErrReader(io.ErrUnexpectedEOF)))
	}
	return resp, nil
}

func (e *endpoint) keys(change ...func(*middleware.JWKSOptions)) middleware.KeySource {
	o := middleware.JWKSOptions{Client: &http.Client{Transport: e}}
	for _, f := range change {
		f(&o)
	}
	return middleware.JWKS("https://id.example.com/jwks", o)
}

// A named key of an issuer.
type named struct {
	kid string
	*ecdsa.PrivateKey
}

func newNamed(kid string) named   { return named{kid, newEC()} }
func (k named) jwk() object       { return jwk(&k.PublicKey, object{"kid": k.kid}) }
func (k named) header() object    { return object{"alg": "ES256", "typ": "at+jwt", "kid": k.kid} }
func (k named) token() string     { return k.sign(claims()) }
func (k named) sign(c any) string { return sign(jwt.SigningMethodES256, k.PrivateKey, k.header(), c) }

// unavailable checks that err is a 503 that says when to come again.
func unavailable(t testing.TB, err error) {
	t.Helper()
	var e *jwterrors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, jwterrors.KeysUnavailable, e.Reason, "%v", err)
	require.GreaterOrEqual(t, e.RetryAfter, time.Second)
	w := httptest.NewRecorder()
	jwterrors.Responder{}.Respond(w, request(), err)
	require.Equal(t, 503, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}

func TestKeysAreFetchedOnce(t *testing.T) { // DC-03
	synctest.Test(t, func(t *testing.T) {
		e, k := &endpoint{}, newNamed("a")
		e.publish(k.jwk())
		auth := withKeys(t, e.keys())
		assert.Zero(t, e.fetches.Load(), "nothing is fetched before the first token")
		for range 100 {
			require.NoError(t, verify(auth, k.token()))
		}
		assert.EqualValues(t, 1, e.fetches.Load())
	})
}

// What does not depend on keys is decided without them.
func TestAnOutageDoesNotHideWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{}
		e.fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
		auth := withKeys(t, e.keys())
		assert.ErrorIs(t, verify(auth, "x"), jwterrors.TokenFormatInvalid)
		assert.ErrorIs(t, verify(auth, good()), jwterrors.TokenSignatureInvalid, "HS256 is never for public keys")
		assert.ErrorIs(t, verify(auth, newNamed(strings.Repeat("k", 257)).token()), jwterrors.TokenKeyUnknown)
		assert.ErrorIs(t, verify(auth, newNamed("k\x7f").token()), jwterrors.TokenKeyUnknown)
		assert.ErrorIs(t, verify(auth, newNamed("k\x1f").token()), jwterrors.TokenKeyUnknown)
		assert.Zero(t, e.fetches.Load())
		unavailable(t, verify(auth, newNamed("a").token()))
	})
}

func TestConcurrentMissesAreOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNamed("a"), newNamed("b")
		e := &endpoint{wait: time.Second}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys())
		all := func(token string) {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { assert.NoError(t, verify(auth, token)) })
			}
			wg.Wait()
		}
		all(a.token())
		require.EqualValues(t, 1, e.fetches.Load(), "the first load")
		e.publish(a.jwk(), b.jwk())
		all(b.token())
		require.EqualValues(t, 2, e.fetches.Load(), "a new key")
	})
}

// 10,000 requests with 1,000 forged kids cost at most one fetch per step and
// delay no valid request; a genuine new key is accepted right after that.
func TestForgedKids(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const step = 5 * time.Second // the default
		a, b := newNamed("a"), newNamed("b")
		e := &endpoint{wait: 100 * time.Millisecond}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys())
		valid := a.token()
		require.NoError(t, verify(auth, valid))
		require.EqualValues(t, 1, e.fetches.Load())

		forger := newEC()
		forged := make([]string, 1000)
		for i := range forged {
			forged[i] = named{fmt.Sprint("forged-", i), forger}.token()
		}
		began := time.Now()
		var wg sync.WaitGroup
		for w := range 20 {
			wg.Go(func() {
				for i := range 500 {
					if i%50 == 0 {
						time.Sleep(time.Second) // 10 s in all
					}
					err := verify(auth, forged[(w*500+i)%1000])
					if !assert.ErrorIs(t, err, jwterrors.TokenKeyUnknown) {
						return
					}
					if i%10 == 0 {
						before := time.Now()
						if !assert.NoError(t, verify(auth, valid)) || !assert.Zero(t, time.Since(before), "a valid request waited") {
							return
						}
					}
				}
			})
		}
		wg.Wait()
		steps := int64(time.Since(began)/step) + 1
		forgedFetches := e.fetches.Load() - 1
		assert.LessOrEqual(t, forgedFetches, steps)
		assert.Positive(t, forgedFetches)

		e.publish(a.jwk(), b.jwk())
		before := e.fetches.Load()
		time.Sleep(step)
		require.NoError(t, verify(auth, b.token()))
		require.NoError(t, verify(auth, valid))
		assert.EqualValues(t, before+1, e.fetches.Load())
	})
}

// The first miss is not held up by the load before it, and one miss not for
// longer than a step.
func TestANewKeyRightAfterTheFirstLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := newNamed("a"), newNamed("b"), newNamed("c")
		e := &endpoint{}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys())
		require.NoError(t, verify(auth, a.token()))
		e.publish(a.jwk(), b.jwk())
		require.NoError(t, verify(auth, b.token()))
		e.publish(a.jwk(), b.jwk(), c.jwk())
		require.ErrorIs(t, verify(auth, c.token()), jwterrors.TokenKeyUnknown, "within the step")
		time.Sleep(5*time.Second - 1)
		require.ErrorIs(t, verify(auth, c.token()), jwterrors.TokenKeyUnknown, "still")
		time.Sleep(time.Nanosecond)
		require.NoError(t, verify(auth, c.token()))
		assert.EqualValues(t, 3, e.fetches.Load())
	})
}

// A kid that a fetch did not bring leaves the next step to others for a while.
func TestAForgedKidIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, forged := newNamed("a"), newNamed("forged")
		e := &endpoint{}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys())
		for range 3 {
			require.ErrorIs(t, verify(auth, forged.token()), jwterrors.TokenKeyUnknown)
			time.Sleep(5 * time.Second)
		}
		assert.EqualValues(t, 1, e.fetches.Load(), "the load did not bring it")
		require.ErrorIs(t, verify(auth, newNamed("other").token()), jwterrors.TokenKeyUnknown)
		assert.EqualValues(t, 2, e.fetches.Load())
		time.Sleep(5 * time.Second) // 20 s after it was not found
		require.ErrorIs(t, verify(auth, forged.token()), jwterrors.TokenKeyUnknown)
		assert.EqualValues(t, 3, e.fetches.Load(), "it may have been published since")
	})
}

// A bad signature under a known kid, and a token without kid, fetch nothing.
func TestOnlyAMissingKidFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNamed("a"), newNamed("b")
		e := &endpoint{}
		e.publish(a.jwk(), b.jwk())
		auth := withKeys(t, e.keys())
		require.NoError(t, verify(auth, a.token()))
		require.ErrorIs(t, verify(auth, named{"a", newEC()}.token()), jwterrors.TokenSignatureInvalid)
		require.ErrorIs(t, verify(auth, sign(jwt.SigningMethodES256, a.PrivateKey, object{"alg": "ES256"}, claims())), jwterrors.TokenKeyUnknown)
		require.ErrorIs(t, verify(auth, sign(jwt.SigningMethodRS256, rsaKey(), object{"alg": "RS256", "kid": "a"}, claims())), jwterrors.TokenSignatureInvalid)
		require.ErrorIs(t, verify(auth, good()), jwterrors.TokenSignatureInvalid)
		assert.EqualValues(t, 1, e.fetches.Load())
	})
}

// With the endpoint down, valid tokens pass until the limit, then 503, and all
// is well again without a restart.
func TestTheEndpointGoesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNamed("a"), newNamed("b")
		e := &endpoint{}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys(func(o *middleware.JWKSOptions) { o.RefreshAfter, o.MaxStale = time.Minute, time.Hour }))
		began := time.Now()
		token := func() string { return a.token() }
		require.NoError(t, verify(auth, token()))
		e.fail(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) })
		for time.Since(began) < time.Hour-time.Second {
			before := time.Now()
			require.NoError(t, verify(auth, token()))
			require.Zero(t, time.Since(before))
			synctest.Wait()
			time.Sleep(10 * time.Second)
		}
		assert.Less(t, e.fetches.Load(), int64(400), "the endpoint is left in peace, too")
		assert.Greater(t, e.fetches.Load(), int64(50), "and is tried again")
		unavailable(t, verify(auth, b.token()))

		time.Sleep(time.Until(began.Add(time.Hour)))
		unavailable(t, verify(auth, token()))
		fetches := e.fetches.Load()
		for range 100 {
			unavailable(t, verify(auth, token()))
		}
		assert.LessOrEqual(t, e.fetches.Load(), fetches+1, "a failure is remembered")

		e.publish(a.jwk(), b.jwk())
		time.Sleep(16 * time.Second) // the longest time between two tries
		require.NoError(t, verify(auth, token()))
		require.NoError(t, verify(auth, b.token()))
	})
}

func TestTheEndpointIsDownFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newNamed("a")
		e := &endpoint{}
		e.fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		auth := withKeys(t, e.keys())
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { assert.ErrorIs(t, verify(auth, a.token()), jwterrors.KeysUnavailable) })
		}
		wg.Wait()
		assert.EqualValues(t, 1, e.fetches.Load())
		e.publish(a.jwk())
		time.Sleep(time.Second)
		require.NoError(t, verify(auth, a.token()))
		assert.EqualValues(t, 2, e.fetches.Load())
	})
}

// An answer that is no set changes nothing.
func TestAnAnswerThatIsNoSet(t *testing.T) {
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = w.Write([]byte(body)) }
	}
	cutOff := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "4096")
			say(200, body)(w, r)
		}
	}
	k := newNamed("x")
	for name, answer := range map[string]http.HandlerFunc{
		"empty":              say(200, ""),
		"an empty set":       say(200, `{"keys":[]}`),
		"null":               say(200, `null`),
		"keys null":          say(200, `{"keys":null}`),
		"keys an object":     say(200, `{"keys":{}}`),
		"an error object":    say(200, `{"error":"server_error"}`),
		"a page":             say(200, `<html>maintenance</html>`),
		"cut":                say(200, string(jwkSet(k.jwk()))[:50]),
		"two sets":           say(200, string(jwkSet(k.jwk()))+string(jwkSet(k.jwk()))),
		"keys twice":         say(200, `{"keys":[],`+string(jwkSet(k.jwk()))[1:]),
		"only unknown keys":  say(200, `{"keys":[{"kty":"AKP","kid":"x"}]}`),
		"only a secret":      say(200, `{"keys":[{"kty":"oct","kid":"x","k":"`+encode(secret)+`"}]}`),
		"keys that are none": say(200, `{"keys":[1,"a",null,[]]}`),
		"not found":          say(404, string(jwkSet(k.jwk()))),
		"no content":         say(204, ""),
		"an error":           say(500, string(jwkSet(k.jwk()))),
		"too long":           say(200, string(jwkSet(k.jwk()))+strings.Repeat(" ", 512<<10)),
		"too many keys":      say(200, string(jwkSet(slices.Repeat([]object{k.jwk()}, 257)...))),
		"broken off":         cutOff(string(jwkSet(k.jwk()))),
		"a panic":            func(http.ResponseWriter, *http.Request) { panic("no") },
		"an exit":            func(http.ResponseWriter, *http.Request) { runtime.Goexit() },
		"never":              func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newNamed("a"), newNamed("b")
				e := &endpoint{}
				e.publish(a.jwk())
				auth := withKeys(t, e.keys())
				require.NoError(t, verify(auth, a.token()))

				e.fail(answer)
				time.Sleep(15 * time.Minute) // refresh
				require.NoError(t, verify(auth, a.token()))
				synctest.Wait()
				time.Sleep(5 * time.Second) // the timeout
				synctest.Wait()
				require.EqualValues(t, 2, e.fetches.Load())
				require.NoError(t, verify(auth, a.token()))
				unavailable(t, verify(auth, b.token())) // whether b is a key is not known
				require.NoError(t, verify(auth, a.token()))

				e.publish(a.jwk(), b.jwk())
				time.Sleep(16 * time.Second)
				require.NoError(t, verify(auth, b.token()))
			})
		})
	}
}

func TestTheCauseOfASetThatIsRefused(t *testing.T) {
	k := newNamed("a")
	set := func(keys ...object) string { return string(jwkSet(keys...)) }
	for _, test := range []struct{ name, document, want string }{
		{"a page", `<html>`, "not a JSON object"},
		{"keys twice", `{"keys":[],"keys":[]}`, "not a JSON object"},
		{"keys an object", `{"keys":{}}`, `no array "keys"`},
		{"an empty set", `{"keys":[]}`, "the set is empty"},
		{"too many keys", set(slices.Repeat([]object{k.jwk()}, 257)...), "257 keys, more than the limit of 256"},
		{"a number as key", `{"keys":[1]}`, "none of the set's 1 keys can be used; of the last, the JSON is wrong"},
		{"a kid that is a number", set(k.jwk().with("kid", 7)), `"kid" is not a string`},
		{"a private key", set(k.jwk().with("d", "AA")), "not a public one"},
		{"a key for encryption", set(k.jwk().with("use", "enc")), "not for signatures"},
		{"a key for signing", set(k.jwk().with("key_ops", []string{"sign"})), "not for verifying"},
		{"a kind that is not known", `{"keys":[{"kty":"AKP"}]}`, "cannot be decoded"},
		{"a key of another algorithm", set(k.jwk().with("alg", "ES384")), "ES384"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &endpoint{}
				e.fail(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(test.document)) })
				err := verify(withKeys(t, e.keys()), k.token())
				unavailable(t, err)
				assert.ErrorContains(t, err, test.want)
			})
		})
	}
}

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNamed("a"), newNamed("b")
		e := &endpoint{wait: time.Second}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys())
		require.NoError(t, verify(auth, a.token()))
		e.publish(b.jwk()) // and a is gone
		time.Sleep(13 * time.Minute)
		require.NoError(t, verify(auth, a.token()))
		synctest.Wait()
		require.EqualValues(t, 1, e.fetches.Load(), "it is not old yet")
		time.Sleep(2 * time.Minute)
		for range 10 {
			before := time.Now()
			require.NoError(t, verify(auth, a.token()), "behind the requests")
			require.Zero(t, time.Since(before))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.EqualValues(t, 2, e.fetches.Load())
		require.NoError(t, verify(auth, b.token()))
		// What was remembered of a's header went with its key.
		require.ErrorIs(t, verify(auth, a.token()), jwterrors.TokenKeyUnknown)
	})
}

// A caller that leaves does not take the fetch along.
func TestALookupCanBeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newNamed("a")
		e := &endpoint{wait: 3 * time.Second}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error)
		go func() { done <- verify(auth, a.token()) }()
		synctest.Wait()
		_, err := auth.Verify(ctx, a.token())
		require.ErrorIs(t, err, jwterrors.KeysUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, <-done)
		require.EqualValues(t, 1, e.fetches.Load())
	})
}

// A fetch that began before a request did may be too old to have its key.
func TestAKeyThatIsPublishedDuringAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNamed("a"), newNamed("b")
		e := &endpoint{}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys())
		require.NoError(t, verify(auth, a.token()))
		old := jwkSet(a.jwk())
		e.fail(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(2 * time.Second)
			_, _ = w.Write(old)
			e.publish(a.jwk(), b.jwk())
		})
		time.Sleep(15 * time.Minute)
		require.NoError(t, verify(auth, a.token())) // starts the refresh
		synctest.Wait()
		require.NoError(t, verify(auth, b.token()))
		require.EqualValues(t, 3, e.fetches.Load())
	})
}

// After a failed fetch for a kid, the next is not held up by the step.
func TestAFailureIsNotCountedAsAMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNamed("a"), newNamed("b")
		e := &endpoint{}
		e.publish(a.jwk())
		auth := withKeys(t, e.keys(func(o *middleware.JWKSOptions) { o.MissInterval = time.Hour }))
		require.NoError(t, verify(auth, a.token()))
		e.fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
		unavailable(t, verify(auth, b.token()))
		e.publish(a.jwk(), b.jwk())
		time.Sleep(time.Second)
		require.NoError(t, verify(auth, b.token()))
	})
}

// Two issuers, each with its endpoint: neither's keys are the other's, and the
// forgeries at one do not hold up the other.
func TestTwoEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const second = "https://b.example"
		a, b := newNamed("k"), newNamed("k")
		ea, eb := &endpoint{}, &endpoint{}
		ea.publish(a.jwk())
		eb.publish(b.jwk())
		auth := newAuth(t, func(c *middleware.Config) {
			c.Keys = ea.keys()
			c.Issuers = []middleware.Issuer{{Issuer: second, Audience: []string{audience}, Keys: eb.keys()}}
		})
		claimsB := claims().with("iss", second)
		require.NoError(t, verify(auth, a.token()))
		require.NoError(t, verify(auth, b.sign(claimsB)))
		require.ErrorIs(t, verify(auth, a.sign(claimsB)), jwterrors.TokenSignatureInvalid)
		require.ErrorIs(t, verify(auth, b.token()), jwterrors.TokenSignatureInvalid)
		for i := range 10 {
			require.ErrorIs(t, verify(auth, newNamed(fmt.Sprint(i)).token()), jwterrors.TokenKeyUnknown)
		}
		next := newNamed("next")
		eb.publish(b.jwk(), next.jwk())
		require.NoError(t, verify(auth, next.sign(claimsB)))
		require.ErrorIs(t, verify(auth, next.token()), jwterrors.TokenKeyUnknown)
	})
}

// Rotation, forgeries and traffic at once, over real sockets.
func TestRotationUnderTraffic(t *testing.T) {
	keys := [4]named{newNamed("0"), newNamed("1"), newNamed("2"), newNamed("3")}
	e := &endpoint{}
	server := httptest.NewTLSServer(e)
	defer server.Close()
	var offset atomic.Int64 // of the clock, which the test moves
	auth := newAuth(t, func(c *middleware.Config) {
		c.Keys = middleware.JWKS(server.URL, middleware.JWKSOptions{Client: server.Client(), MaxStale: 24 * time.Hour})
		c.MaxLifetime = 48 * time.Hour
		c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	})
	e.publish(keys[0].jwk())
	long := claims().with("exp", time.Now().Add(24*time.Hour).Unix())
	require.NoError(t, verify(auth, keys[0].sign(long)))
	var wg sync.WaitGroup
	for i := 1; i < len(keys); i++ {
		// The new key is published beside the old one, then used.
		e.publish(keys[i-1].jwk(), keys[i].jwk())
		offset.Add(int64(5 * time.Second))
		for range 4 {
			wg.Go(func() {
				for n := range 50 {
					assert.NoError(t, verify(auth, keys[i].sign(long)))
					assert.NoError(t, verify(auth, keys[i-1].sign(long)))
					err := verify(auth, named{fmt.Sprint("forged-", rand.Int()), keys[0].PrivateKey}.sign(long))
					assert.ErrorIs(t, err, jwterrors.TokenKeyUnknown, n)
				}
			})
		}
		wg.Wait()
	}
	assert.LessOrEqual(t, e.fetches.Load(), int64(len(keys)))
}

func TestWhereTheSetComesFrom(t *testing.T) { // IT-03
	a := newNamed("a")
	set := jwkSet(a.jwk())
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(set) }))
	defer elsewhere.Close()
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) {
		assert.Contains(t, r.Header.Get("Accept"), "application/jwk-set+json")
		_, _ = w.Write(set)
	})
	mux.Handle("/moved", http.RedirectHandler("/jwks", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.Handle("/elsewhere", http.RedirectHandler(elsewhere.URL, http.StatusFound))
	for path, ok := range map[string]bool{"/jwks": true, "/moved": true, "/loop": false, "/elsewhere": false, "/none": false} {
		t.Run(path, func(t *testing.T) {
			client := server.Client()
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil } // is not asked
			auth := withKeys(t, middleware.JWKS(server.URL+path+"?key=hidden-in-the-query", middleware.JWKSOptions{Client: client}))
			err := verify(auth, a.token())
			if ok {
				require.NoError(t, err)
				return
			}
			unavailable(t, err)
			assert.NotContains(t, err.Error(), "hidden", "the URL's query is nobody's business")
		})
	}
	t.Run("an untrusted certificate", func(t *testing.T) {
		unavailable(t, verify(withKeys(t, middleware.JWKS(server.URL+"/jwks", middleware.JWKSOptions{})), a.token()))
	})
	t.Run("plain http", func(t *testing.T) {
		plain := httptest.NewServer(mux)
		defer plain.Close()
		require.NoError(t, verify(withKeys(t, middleware.JWKS(plain.URL+"/jwks", middleware.JWKSOptions{InsecureAllowHTTP: true})), a.token()))
	})
}

// A host that answers on both schemes, and redirects from the one to the other.
func TestRedirects(t *testing.T) {
	a := newNamed("a")
	for name, c := range map[string]struct {
		to       string
		requests int
	}{
		"from https to http": {"http://id.example.com/set", 1},
		"to another port":    {"https://id.example.com:8443/set", 1},
		"to another host":    {"https://evil.example/set", 1},
		"to itself":          {"https://id.example.com/jwks", 4},
		"to another path":    {"https://id.example.com/set", 2},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				requests++
				w := httptest.NewRecorder()
				if r.URL.Path == "/set" {
					_, _ = w.Write(jwkSet(a.jwk()))
				} else {
					http.Redirect(w, r, c.to, http.StatusFound)
				}
				resp := w.Result()
				resp.Request = r
				return resp, nil
			})}
			err := verify(withKeys(t, middleware.JWKS("https://id.example.com/jwks", middleware.JWKSOptions{Client: client})), a.token())
			if c.requests == 2 {
				require.NoError(t, err)
			} else {
				unavailable(t, err)
			}
			assert.Equal(t, c.requests, requests)
		})
	}
}

func TestFailedFetchesAreLogged(t *testing.T) {
	var log bytes.Buffer
	auth := withKeys(t, middleware.JWKS("https://id.example.com/jwks?key=hidden", middleware.JWKSOptions{
		Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}))
	unavailable(t, verify(auth, newNamed("a").token()))
	assert.Contains(t, log.String(), "level=WARN")
	assert.Contains(t, log.String(), "no route to host")
	assert.NotContains(t, log.String(), "hidden")

	log.Reset()
	a, e := newNamed("a"), &endpoint{}
	e.publish(a.jwk())
	auth = withKeys(t, e.keys(func(o *middleware.JWKSOptions) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) }))
	require.NoError(t, verify(auth, a.token()))
	assert.Empty(t, log.String(), "a fetch that did not fail")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A set that has not changed is not sent again.
func TestTheETag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, a, b := &endpoint{}, newNamed("a"), newNamed("b")
		var asked []string
		set, etag := jwkSet(a.jwk()), `"1"`
		e.fail(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Header.Get("If-None-Match"))
			w.Header().Set("ETag", etag)
			if r.Header.Get("If-None-Match") == etag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write(set)
		})
		auth := withKeys(t, e.keys())
		for range 3 {
			require.NoError(t, verify(auth, a.token()))
			synctest.Wait()
			time.Sleep(16 * time.Minute)
		}
		assert.Equal(t, []string{"", `"1"`, `"1"`}, asked)
		// Each of these answers counts as a fetch: the set does not grow too old.
		time.Sleep(5*time.Hour + 30*time.Minute)
		require.NoError(t, verify(auth, a.token()))
		synctest.Wait()
		set, etag = jwkSet(b.jwk()), `"2"`
		time.Sleep(time.Minute)
		require.NoError(t, verify(auth, b.token()))
		require.ErrorIs(t, verify(auth, a.token()), jwterrors.TokenKeyUnknown)
		assert.Equal(t, []string{"", `"1"`, `"1"`, `"1"`, `"1"`}, asked[:5])
	})
}

// One of 1024 bytes is kept, and a longer one is not.
func TestALongETag(t *testing.T) {
	for length, want := range map[int]int{1024: 1024, 1025: 0} {
		synctest.Test(t, func(t *testing.T) {
			e, a := &endpoint{}, newNamed("a")
			var asked []int
			e.fail(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, len(r.Header.Get("If-None-Match")))
				w.Header().Set("ETag", `"`+strings.Repeat("x", length-2)+`"`)
				_, _ = w.Write(jwkSet(a.jwk()))
			})
			auth := withKeys(t, e.keys())
			for range 2 {
				require.NoError(t, verify(auth, a.token()))
				synctest.Wait()
				time.Sleep(16 * time.Minute)
			}
			assert.Equal(t, []int{0, want}, asked, "an ETag of %d bytes", length)
		})
	}
}

// What came before an answer broke off is no set, even where it looks like one.
func TestAnAnswerThatBreaksOff(t *testing.T) {
	a := newNamed("a")
	auth := withKeys(t, middleware.JWKS("https://id.example.com/jwks", middleware.JWKSOptions{
		Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			body := io.MultiReader(bytes.NewReader(jwkSet(a.jwk())), iotest.ErrReader(io.ErrUnexpectedEOF))
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body)}, nil
		})},
	}))
	err := verify(auth, a.token())
	unavailable(t, err)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// A validator is that of one URL, and of a length that is worth to be kept.
func TestTheETagOfAnotherSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, a, b := &endpoint{}, newNamed("a"), newNamed("b")
		sets := map[string][]byte{"/jwks/1": jwkSet(a.jwk()), "/jwks/2": jwkSet(b.jwk())}
		where, etag := "/jwks/1", `"1"`
		var asked []string
		e.fail(func(w http.ResponseWriter, r *http.Request) {
			set, ok := sets[r.URL.Path]
			if !ok {
				_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"https://id.example.com%s"}`, issuer, where)
				return
			}
			asked = append(asked, r.Header.Get("If-None-Match"))
			w.Header().Set("ETag", etag)
			if r.Header.Get("If-None-Match") == etag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write(set)
		})
		auth := withKeys(t, middleware.Discover(issuer, middleware.JWKSOptions{Client: &http.Client{Transport: e}}))
		require.NoError(t, verify(auth, a.token()))
		refresh := func(k named) {
			time.Sleep(16 * time.Minute)
			require.NoError(t, verify(auth, k.token()))
			synctest.Wait()
		}
		where = "/jwks/2"
		refresh(a)
		require.NoError(t, verify(auth, b.token()), "it is in the set of now")
		asked, etag = nil, `"`+strings.Repeat("1", 1024)+`"`
		refresh(b)
		refresh(b)
		assert.Equal(t, []string{`"1"`, ""}, asked)
	})
}

// A 304 to a request that did not ask for one is no set.
func TestNotModifiedFromTheStart(t *testing.T) {
	e := &endpoint{}
	e.fail(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotModified) })
	err := verify(withKeys(t, e.keys()), newNamed("a").token())
	unavailable(t, err)
	require.ErrorContains(t, err, "status 304", "it is an answer to a question that was not asked")
}

// An endpoint can ask to be asked more often, and not more seldom.
func TestCacheControl(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		after  time.Duration // when the set is fetched again
	}{
		{nil, 15 * time.Minute},
		{http.Header{"Cache-Control": {"public, max-age=300"}}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"public", "MAX-AGE=\"300\""}}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=600"}, "Age": {"300"}}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=600"}, "Age": {"900"}}, time.Minute},
		{http.Header{"Cache-Control": {"max-age=300", "max-age=600"}}, 5 * time.Minute},
		{http.Header{"Age": {"300"}}, 15 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=86400"}}, 15 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=0"}}, time.Minute},
		{http.Header{"Cache-Control": {"no-store"}}, time.Minute},
		{http.Header{"Cache-Control": {"max-age=600, no-cache"}}, time.Minute},
		{http.Header{"Cache-Control": {"max-age=-1"}}, 15 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, 15 * time.Minute},
		{http.Header{"Cache-Control": {"s-maxage=60"}}, 15 * time.Minute},
	} {
		t.Run(fmt.Sprint(c.header), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, a := &endpoint{}, newNamed("a")
				set := jwkSet(a.jwk())
				e.fail(func(w http.ResponseWriter, r *http.Request) {
					for name, values := range c.header {
						w.Header()[name] = values
					}
					_, _ = w.Write(set)
				})
				auth := withKeys(t, e.keys())
				require.NoError(t, verify(auth, a.token()))
				time.Sleep(c.after*9/10 - time.Second)
				require.NoError(t, verify(auth, a.token()))
				synctest.Wait()
				assert.EqualValues(t, 1, e.fetches.Load())
				time.Sleep(c.after/10 + time.Second)
				require.NoError(t, verify(auth, a.token()))
				synctest.Wait()
				assert.EqualValues(t, 2, e.fetches.Load())
			})
		})
	}
}
