package middleware_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
	"github.com/tokenloop/tokenloop/middleware"
)

const listURL = "https://id.example.com/auth/status-list"

// raw is JSON as it is written.
func raw(s string) json.RawMessage { return json.RawMessage(s) }

func deflated(packed []byte) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write(packed)
	_ = z.Close()
	return encode(b.Bytes())
}

// listClaims returns those of a good list, which was signed now.
func listClaims(bits any, lst string) object {
	now := time.Now().Unix()
	return object{"sub": listURL, "iat": now, "exp": now + 900, "ttl": 30, "status_list": object{"bits": bits, "lst": lst}}
}

func (k named) list(claims any) string {
	return sign(jwt.SigningMethodES256, k.PrivateKey, object{"alg": "ES256", "typ": "statuslist+jwt", "kid": k.kid}, claims)
}

// at makes a token that names an entry.
func (k named) at(entry any) string { return k.sign(withStatus(entry, listURL)) }

func withStatus(entry, uri any) object {
	return claims().with("status", object{"status_list": object{"idx": entry, "uri": uri}})
}

// A lister is an issuer with a list: its endpoint answers the list.
type lister struct {
	endpoint
	named
}

func newLister() *lister { return &lister{named: newNamed("a")} }

// publish lets the endpoint answer a list from now on, with its validator.
func (l *lister) publish(list string) {
	tag := fmt.Sprintf("%q", list[len(list)-40:])
	l.fail(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(list))
	})
}

// revoke publishes a list of 64 entries, of which these are 1.
func (l *lister) revoke(entries ...int) {
	packed := make([]byte, 8)
	for _, n := range entries {
		packed[n/8] |= 1 << (n % 8)
	}
	l.publish(l.list(listClaims(1, deflated(packed))))
}

func (l *lister) keySource() middleware.KeySource {
	document := jwkSet(l.jwk())
	return middleware.LocalJWKS(func() []byte { return document })
}

func (l *lister) statusList(change ...func(*middleware.StatusListOptions)) *middleware.StatusList {
	o := middleware.StatusListOptions{Client: &http.Client{Transport: l}}
	for _, f := range change {
		f(&o)
	}
	return middleware.NewStatusList(listURL, l.keySource(), o)
}

func (l *lister) auth(t testing.TB, change ...func(*middleware.StatusListOptions)) *middleware.Middleware {
	t.Helper()
	return newAuth(t, func(c *middleware.Config) { c.Keys, c.StatusList = l.keySource(), l.statusList(change...) })
}

// unknownStatus checks that err is a 503 that says when to come again.
func unknownStatus(t testing.TB, err error) {
	t.Helper()
	var e *jwterrors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, jwterrors.StoreUnavailable, e.Reason, "%v", err)
	require.GreaterOrEqual(t, e.RetryAfter, time.Second)
	require.NotContains(t, err.Error(), "/auth/") // what may be a secret of the URL
}

// The test vectors of draft-ietf-oauth-status-list, Sections 4.1 and C.
func TestTheVectorsOfTheDraft(t *testing.T) {
	long := 1 << 20
	for _, v := range []struct {
		name     string
		bits     int
		lst      string
		entries  int
		statuses map[int]int // the others are 0
	}{
		{"one bit", 1, "eNrbuRgAAhcBXQ", 16, map[int]int{0: 1, 3: 1, 4: 1, 5: 1, 7: 1, 8: 1, 9: 1, 13: 1, 15: 1}},
		{"two bits", 2, "eNo76fITAAPfAgc", 12, map[int]int{0: 1, 1: 2, 3: 3, 5: 1, 7: 1, 8: 1, 9: 2, 10: 3, 11: 3}},
		{
			"one bit of a million", 1,
			"eNrt3AENwCAMAEGogklACtKQPg9LugC9k_ACvreiogEAAKkeCQAAAAAAAAAAAAAAAAAAAIBylgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAXG9IAAAAAAAAAPwsJAAAAAAAAAAAAAAAvhsSAAAAAAAAAAAA7KpLAAAAAAAAAAAAAAAAAAAAAJsLCQAAAAAAAAAAADjelAAAAAAAAAAAKjDMAQAAAACAZC8L2AEb",
			long, map[int]int{0: 1, 1993: 1, 25460: 1, 159495: 1, 495669: 1, 554353: 1, 645645: 1, 723232: 1, 854545: 1, 934534: 1, 1000345: 1},
		},
		{
			"two bits of a million", 2,
			"eNrt2zENACEQAEEuoaBABP5VIO01fCjIHTMStt9ovGVIAAAAAABAbiEBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEB5WwIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAID0ugQAAAAAAAAAAAAAAAAAQG12SgAAAAAAAAAAAAAAAAAAAAAAAAAAAOCSIQEAAAAAAAAAAAAAAAAAAAAAAAD8ExIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwJEuAQAAAAAAAAAAAAAAAAAAAAAAAMB9SwIAAAAAAAAAAAAAAAAAAACoYUoAAAAAAAAAAAAAAEBqH81gAQw",
			long, map[int]int{0: 1, 1993: 2, 25460: 1, 159495: 3, 495669: 1, 554353: 1, 645645: 2, 723232: 1, 854545: 1, 934534: 2, 1000345: 3},
		},
		{
			"four bits of a million", 4,
			"eNrt0EENgDAQADAIHwImkIIEJEwCUpCEBBQRHOy35Li1EjoOQGabAgAAAAAAAAAAAAAAAAAAACC1SQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABADrsCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADoxaEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIIoCgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACArpwKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAGhqVkAzlwIAAAAAiGVRAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABx3AoAgLpVAQAAAAAAAAAAAAAAwM89rwMAAAAAAAAAAAjsA9xMBMA",
			long, map[int]int{
				0: 1, 1993: 2, 35460: 3, 459495: 4, 595669: 5, 754353: 6, 845645: 7, 923232: 8, 924445: 9, 934534: 10, 1004534: 11,
				1000345: 12, 1030203: 13, 1030204: 14, 1030205: 15,
			},
		},
		{"eight bits", 8, deflated([]byte{0, 255, 2, 0}), 4, map[int]int{1: 255, 2: 2}}, // ours
	} {
		t.Run(v.name, func(t *testing.T) {
			l := newLister()
			l.publish(l.list(listClaims(v.bits, v.lst)))
			auth := l.auth(t)
			for n, status := range v.statuses {
				err := verify(auth, l.at(n))
				require.ErrorIs(t, err, jwterrors.TokenInvalidated, "%d", n)
				require.ErrorContains(t, err, fmt.Sprintf("its status is %d", status))
				for _, n := range []int{n - 1, n + 1} {
					if _, other := v.statuses[n]; n >= 0 && n < v.entries && !other {
						require.NoError(t, verify(auth, l.at(n)), "%d", n)
					}
				}
			}
			err := verify(auth, l.at(v.entries))
			require.ErrorIs(t, err, jwterrors.TokenPayloadInvalid)
			require.ErrorContains(t, err, "no entry")
			assert.EqualValues(t, 1, l.fetches.Load())
		})
	}
}

// What a token must say of its status, and that nothing is fetched because of it.
func TestTheStatusOfAToken(t *testing.T) {
	l := newLister()
	l.revoke(7)
	var elsewhere atomic.Int32
	auth := l.auth(t, func(o *middleware.StatusListOptions) {
		o.Client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.String() != listURL {
				elsewhere.Add(1)
			}
			return l.RoundTrip(r)
		})}
	})
	lenient := l.auth(t, func(o *middleware.StatusListOptions) { o.InsecureAllowNoStatus = true })
	for _, c := range []struct {
		name   string
		claims any
		want   jwterrors.Reason
	}{
		{"an entry that is 0", withStatus(6, listURL), ""},
		{"an entry that is 1", withStatus(7, listURL), jwterrors.TokenInvalidated},
		{"the last entry", withStatus(63, listURL), ""},
		{"an entry behind it", withStatus(64, listURL), jwterrors.TokenPayloadInvalid},
		{"the largest number", withStatus(uint64(1<<63-1), listURL), jwterrors.TokenPayloadInvalid},
		{"a larger number", withStatus(raw("18446744073709551616"), listURL), jwterrors.TokenPayloadInvalid},
		{"a negative entry", withStatus(-1, listURL), jwterrors.TokenPayloadInvalid},
		{"half an entry", withStatus(6.5, listURL), jwterrors.TokenPayloadInvalid},
		{"an entry with an exponent", withStatus(raw("6e0"), listURL), jwterrors.TokenPayloadInvalid},
		{"a string as entry", withStatus("6", listURL), jwterrors.TokenPayloadInvalid},
		{"null as entry", withStatus(raw("null"), listURL), jwterrors.TokenPayloadInvalid},
		{"another list", withStatus(6, "https://evil.example/list"), jwterrors.TokenPayloadInvalid},
		{"a list of the same beginning", withStatus(6, listURL+"/2"), jwterrors.TokenPayloadInvalid},
		{"no list", withStatus(6, ""), jwterrors.TokenPayloadInvalid},
		{"an array of lists", withStatus(6, []string{listURL}), jwterrors.TokenPayloadInvalid},
		{"a word", claims().with("status", "active"), jwterrors.TokenPayloadInvalid},
		{"another mechanism", claims().with("status", object{"identifier_list": object{}}), jwterrors.TokenPayloadInvalid},
		{"an empty reference", claims().with("status", object{"status_list": object{}}), jwterrors.TokenPayloadInvalid},
		{"two statuses", strings.Replace(string(must(json.Marshal(withStatus(7, listURL)))), `{"`, `{"status":{"status_list":{"idx":6,"uri":"`+listURL+`"}},"`, 1), jwterrors.TokenPayloadInvalid},
		{"two entries", claims().with("status", raw(`{"status_list":{"idx":7,"idx":6,"uri":"`+listURL+`"}}`)), jwterrors.TokenPayloadInvalid},
		{"none, beside another case", claims().with("Status", object{}), jwterrors.TokenPayloadInvalid},
		{"a token that expired, and was revoked", withStatus(7, listURL).with("exp", time.Now().Unix()-3600).with("iat", time.Now().Unix()-3700), jwterrors.TokenExpired},
		{"a token for another service, and without status", claims().with("aud", "invoices"), jwterrors.TokenAudienceInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 3 { // as a stranger, and from the cache
				err := verify(auth, l.sign(c.claims))
				assert.Equal(t, c.want, jwterrors.ReasonOf(err), "%v", err)
			}
		})
	}
	assert.ErrorIs(t, verify(auth, l.token()), jwterrors.TokenPayloadInvalid, "without status")
	assert.NoError(t, verify(lenient, l.token()))
	assert.ErrorIs(t, verify(lenient, l.sign(claims().with("status", "active"))), jwterrors.TokenPayloadInvalid)
	assert.ErrorIs(t, verify(lenient, l.at(7)), jwterrors.TokenInvalidated)
	assert.Zero(t, elsewhere.Load())
	assert.EqualValues(t, 2, l.fetches.Load(), "one for each Middleware")
	assert.NoError(t, verify(newAuth(t, func(c *middleware.Config) { c.Keys = l.keySource() }), l.sign(claims().with("status", "active"))), "of no concern without a list")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Lists that are none are failed fetches: there is nothing to go by.
func TestListsThatAreRefused(t *testing.T) {
	l, now := newLister(), time.Now().Unix()
	stranger, other := newNamed("a"), newNamed("other")
	good := listClaims(1, deflated(make([]byte, 8)))
	header := object{"alg": "ES256", "typ": "statuslist+jwt", "kid": "a"}
	es := func(header, payload any) string {
		return sign(jwt.SigningMethodES256, l.PrivateKey, header, payload)
	}
	status := func(bits, lst any) string {
		return l.list(listClaims(bits, "").with("status_list", object{"bits": bits, "lst": lst}))
	}
	truncated := must(base64.RawURLEncoding.DecodeString(deflated(bytes.Repeat([]byte("revoked "), 100))))
	damaged := bytes.Clone(truncated)
	damaged[len(damaged)-1] ^= 1
	for _, c := range []struct{ name, list, want string }{
		{"an access token", l.token(), "type"},
		{"of no type", es(object{"alg": "ES256", "kid": "a"}, good), "type"},
		{"of another type", es(header.with("typ", "jwt"), good), "type"},
		{"of another key", stranger.list(good), "signature"},
		{"of an unknown key", other.list(good), "no key"},
		{"unsigned", encode(object{"alg": "none", "typ": "statuslist+jwt"}) + "." + encode(good) + ".", "algorithm"},
		{"signed with the public key as secret", sign(jwt.SigningMethodHS256, must(l.PublicKey.Bytes()), header.with("alg", "HS256"), good), "algorithm"},
		{"with an extension", es(header.with("crit", []string{"x"}), good), "not allowed"},
		{"of another URL", l.list(good.with("sub", "https://id.example.com/list")), `"sub"`},
		{"of no URL", l.list(good.with("sub", nil)), `"sub"`},
		{"without a date", l.list(good.with("iat", nil)), `"iat"`},
		{"of the future", l.list(good.with("iat", now+600)), `"iat"`},
		{"for the future", l.list(good.with("nbf", now+600)), `"nbf"`},
		{"expired", l.list(good.with("iat", now-3600).with("exp", now-31)), "expired"},
		{"with a word as expiry", l.list(good.with("exp", "tomorrow")), `"exp"`},
		{"with null as expiry", l.list(good.with("exp", raw("null"))), `"exp"`},
		{"with a ttl of 0", l.list(good.with("ttl", 0)), `"ttl"`},
		{"with a negative ttl", l.list(good.with("ttl", -30)), `"ttl"`},
		{"with a word as ttl", l.list(good.with("ttl", "30")), `"ttl"`},
		{"with null as ttl", l.list(good.with("ttl", raw("null"))), `"ttl"`},
		{"without a list", l.list(good.with("status_list", nil)), `"status_list"`},
		{"with an array", l.list(good.with("status_list", []int{1})), `"status_list"`},
		{"of three bits", status(3, deflated([]byte{0})), `"bits"`},
		{"of no bits", status(0, deflated([]byte{0})), `"bits"`},
		{"of 16 bits", status(16, deflated([]byte{0})), `"bits"`},
		{"of bits in a string", status("1", deflated([]byte{0})), `"bits"`},
		{"of bits with a point", status(raw("1.0"), deflated([]byte{0})), `"bits"`},
		{"without a string", status(1, 7), `"lst" is not a string`},
		{"empty", status(1, ""), `"lst"`},
		{"with padding", status(1, deflated([]byte{0})+"="), "base64url"},
		{"not compressed", status(1, encode("revoked")), `"lst"`},
		{"compressed in another way", status(1, encode(gzipped("revoked"))), `"lst"`},
		{"cut off", status(1, encode(truncated[:len(truncated)-6])), `"lst"`},
		{"damaged", status(1, encode(damaged)), `"lst"`},
		{"a bomb", status(1, deflated(make([]byte, 8<<20))), "more than 4194304 bytes"},
		{"too long", strings.Repeat("a", 5<<20), "more than 4194304 bytes"},
		{"two lists", l.list(strings.Replace(string(must(json.Marshal(good))), `{"`, `{"status_list":{"bits":1,"lst":"eNrbuRgAAhcBXQ"},"`, 1)), "twice"},
		{"a page", "<html>", "three parts"},
		{"nothing", "", "three parts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.fail(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(c.list)) })
			var log bytes.Buffer
			auth := l.auth(t, func(o *middleware.StatusListOptions) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			err := verify(auth, l.at(0))
			unknownStatus(t, err)
			assert.ErrorContains(t, err, c.want)
			assert.NotErrorIs(t, err, jwterrors.TokenSignatureInvalid, "which a token would be refused for")
			assert.Contains(t, log.String(), "fetch the status list")
			assert.NotContains(t, log.String(), "/auth/status-list")
		})
	}
	now = time.Now().Unix()
	var log bytes.Buffer
	logger := func(o *middleware.StatusListOptions) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) }
	l.publish(l.list(good.with("iat", now+25).with("exp", now-10).with("ttl", 0.5).with("iss", issuer).with("more", object{})))
	assert.NoError(t, verify(l.auth(t), l.at(0)), "at the limits of the leeway, with claims that have no meaning here")
	l.publish(l.list(good.with("iat", now).with("exp", nil).with("ttl", nil)))
	assert.NoError(t, verify(l.auth(t, logger), l.at(0)), "what is not required")
	assert.Empty(t, log.String(), "a fetch that did not fail")
}

// The URL of the list is fetched over https alone, and its status counts.
func TestAnswersThatAreNoList(t *testing.T) {
	l := newLister()
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"404", http.NotFound},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }},
		{"304 without being asked", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }},
		{"another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/", http.StatusFound)
		}},
		{"a panic", func(http.ResponseWriter, *http.Request) { panic("client") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.fail(c.answer)
			auth := l.auth(t)
			unknownStatus(t, verify(auth, l.at(0)))
			before := l.fetches.Load()
			for range 20 {
				unknownStatus(t, verify(auth, l.at(0)))
			}
			assert.Equal(t, before, l.fetches.Load(), "not at once again")
		})
	}
}

// One list serves all requests until its ttl, then one fetch brings the next one in
// the background.
func TestTheListIsFetchedByItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLister()
		l.wait = time.Second
		l.revoke(1)
		auth := l.auth(t)
		began := time.Now()
		storm := func() {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { assert.NoError(t, verify(auth, l.at(0))) })
			}
			wg.Wait()
		}
		storm()
		assert.Equal(t, time.Second, time.Since(began), "all wait for one fetch")
		storm()
		assert.EqualValues(t, 1, l.fetches.Load())
		l.revoke(0)
		time.Sleep(25 * time.Second) // not yet 30 less a tenth
		storm()
		assert.EqualValues(t, 1, l.fetches.Load())
		time.Sleep(5 * time.Second)
		storm() // of the old list, since nobody waits
		time.Sleep(time.Second)
		synctest.Wait()
		assert.EqualValues(t, 2, l.fetches.Load())
		assert.ErrorIs(t, verify(auth, l.at(0)), jwterrors.TokenInvalidated)
		assert.NoError(t, verify(auth, l.at(1)))
	})
}

// A service that had no requests for a while does not go by an old list.
func TestAListThatIsOverdueIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLister()
		l.wait = time.Second
		l.revoke()
		auth := l.auth(t)
		require.NoError(t, verify(auth, l.at(0)))
		time.Sleep(time.Minute) // twice its ttl
		l.revoke(0)
		began := time.Now()
		assert.ErrorIs(t, verify(auth, l.at(0)), jwterrors.TokenInvalidated)
		assert.Equal(t, time.Second, time.Since(began))
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		_, err := auth.Verify(ctx, l.at(1))
		assert.ErrorIs(t, err, jwterrors.StoreUnavailable, "no longer than the context allows")
		time.Sleep(time.Second) // the fetch goes on
	})
}

// While the endpoint is away the list counts until MaxStale, then tokens are refused
// with 503, and when it is back all is well. Nobody waits for it but the first.
func TestAnOutageOfTheList(t *testing.T) {
	for _, c := range []struct {
		name     string
		insecure bool
		exp      any
		lasts    time.Duration
	}{
		{"MaxStale", false, nil, 15 * time.Minute},
		{"the list expires before", false, int64(600), 10*time.Minute + 30*time.Second},
		{"the list expires after", false, int64(86400), 15 * time.Minute},
		{"InsecurePassWhenStale", true, nil, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLister()
				list := listClaims(1, deflated([]byte{1}))
				if list = list.with("exp", nil); c.exp != nil {
					list = list.with("exp", time.Now().Unix()+c.exp.(int64))
				}
				l.publish(l.list(list))
				auth := l.auth(t, func(o *middleware.StatusListOptions) { o.InsecurePassWhenStale = c.insecure })
				require.NoError(t, verify(auth, l.at(1)))
				began := time.Now()
				l.wait = time.Hour // every fetch ends with Timeout
				waited := time.Duration(0)
				for time.Since(began) < c.lasts-10*time.Second {
					before := time.Now()
					require.NoError(t, verify(auth, l.at(1)), "%v", time.Since(began))
					require.ErrorIs(t, verify(auth, l.at(0)), jwterrors.TokenInvalidated)
					waited += time.Since(before)
					time.Sleep(5 * time.Second)
				}
				assert.LessOrEqual(t, waited, 5*time.Second)
				assert.Less(t, l.fetches.Load(), int64(c.lasts/(16*time.Second)+10))
				if time.Sleep(time.Until(began.Add(c.lasts))); !c.insecure {
					unknownStatus(t, verify(auth, l.at(1)))
					assert.ErrorIs(t, verify(auth, l.token()), jwterrors.TokenPayloadInvalid, "what is known")
				}
				l.wait = 0
				l.revoke(1)
				time.Sleep(22 * time.Second) // a fetch that hangs, and the longest pause
				_ = verify(auth, l.at(0))
				synctest.Wait()
				assert.NoError(t, verify(auth, l.at(0)))
				assert.ErrorIs(t, verify(auth, l.at(1)), jwterrors.TokenInvalidated)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := newLister()
		l.fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
		auth := l.auth(t, func(o *middleware.StatusListOptions) { o.InsecurePassWhenStale = true })
		assert.NoError(t, verify(auth, l.at(0)), "without a list")
	})
}

// A list that was confirmed counts for longer, but not beyond its own end.
func TestAListThatIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLister()
		l.publish(l.list(listClaims(1, deflated([]byte{1})).with("exp", time.Now().Unix()+3600)))
		list := l.statusList()
		_, ever := list.Age()
		assert.False(t, ever)
		auth := newAuth(t, func(c *middleware.Config) { c.Keys, c.StatusList = l.keySource(), list })
		began := time.Now()
		for time.Since(began) < 55*time.Minute {
			require.NoError(t, verify(auth, l.at(1)))
			require.ErrorIs(t, verify(auth, l.at(0)), jwterrors.TokenInvalidated)
			time.Sleep(20 * time.Second)
			age, ever := list.Age()
			assert.True(t, ever)
			assert.LessOrEqual(t, age, 41*time.Second)
		}
		time.Sleep(6 * time.Minute) // it is confirmed to the end, and then fetched in whole
		unknownStatus(t, verify(auth, l.at(1)))
	})
}

// A validator that stays the same while the list is signed anew confirms no list
// beyond its end.
func TestAValidatorThatOutlivesItsList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLister()
		l.fail(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"of what is in it"`)
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write([]byte(l.list(listClaims(1, deflated([]byte{1})).with("exp", time.Now().Unix()+60))))
		})
		auth := l.auth(t)
		for range 100 {
			require.NoError(t, verify(auth, l.at(1)))
			time.Sleep(10 * time.Second)
		}
	})
}

// One of 1024 bytes is kept, and a longer one is not.
func TestALongValidatorOfAList(t *testing.T) {
	for length, want := range map[int]int{1024: 1024, 1025: 0} {
		synctest.Test(t, func(t *testing.T) {
			l := newLister()
			var asked []int
			l.fail(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, len(r.Header.Get("If-None-Match")))
				w.Header().Set("ETag", `"`+strings.Repeat("x", length-2)+`"`)
				_, _ = w.Write([]byte(l.list(listClaims(1, deflated([]byte{1})))))
			})
			auth := l.auth(t)
			for range 2 {
				require.NoError(t, verify(auth, l.at(1)))
				synctest.Wait()
				time.Sleep(time.Minute) // beyond twice its ttl
			}
			assert.Equal(t, []int{0, want}, asked, "a validator of %d bytes", length)
		})
	}
}

// A list from before, out of a cache on the way, does not bring back what was revoked
// since.
func TestAListThatIsOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLister()
		l.revoke()
		var old string
		l.fail(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(old)) })
		old = l.list(listClaims(1, deflated(make([]byte, 8))))
		auth := l.auth(t)
		require.NoError(t, verify(auth, l.at(0)))
		time.Sleep(time.Minute)
		l.revoke(0)
		require.ErrorIs(t, verify(auth, l.at(0)), jwterrors.TokenInvalidated)
		l.fail(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(old)) })
		fetches := l.fetches.Load()
		for range 10 {
			time.Sleep(time.Minute)
			require.ErrorIs(t, verify(auth, l.at(0)), jwterrors.TokenInvalidated)
		}
		assert.Greater(t, l.fetches.Load(), fetches+5)
	})
	synctest.Test(t, func(t *testing.T) { // but one that has expired holds off none
		l := newLister()
		older := l.list(listClaims(1, deflated([]byte{1})))
		time.Sleep(time.Second)
		l.publish(l.list(listClaims(1, deflated([]byte{0})).with("exp", time.Now().Unix()+60)))
		auth := l.auth(t)
		require.NoError(t, verify(auth, l.at(0)))
		l.publish(older)
		time.Sleep(2 * time.Minute)
		assert.ErrorIs(t, verify(auth, l.at(0)), jwterrors.TokenInvalidated)
	})
}

// A list that asks to be fetched all the time is not.
func TestTheLeastTimeBetweenFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLister()
		l.publish(l.list(listClaims(1, deflated([]byte{0})).with("ttl", 0.001).with("exp", nil)))
		auth := l.auth(t)
		for range 1000 {
			require.NoError(t, verify(auth, l.at(0)))
			time.Sleep(10 * time.Millisecond)
		}
		assert.LessOrEqual(t, l.fetches.Load(), int64(12))
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLister()
		l.publish(l.list(listClaims(1, deflated([]byte{0})).with("ttl", 43200).with("exp", nil)))
		auth := l.auth(t)
		for range 60 {
			require.NoError(t, verify(auth, l.at(0)))
			time.Sleep(time.Minute)
		}
		assert.GreaterOrEqual(t, l.fetches.Load(), int64(10), "and one that is to be kept for long is not, either")
	})
}

// The keys of the list may have changed: a kid that is new causes a fetch of them.
func TestTheKeysOfAListChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, e, next := newLister(), &endpoint{}, newNamed("b")
		e.publish(l.jwk())
		keys := e.keys()
		l.revoke()
		auth := newAuth(t, func(c *middleware.Config) {
			c.Keys = keys
			c.StatusList = middleware.NewStatusList(listURL, keys, middleware.StatusListOptions{Client: &http.Client{Transport: l}})
		})
		require.NoError(t, verify(auth, l.at(0)))
		e.publish(l.jwk(), next.jwk())
		l.publish(next.list(listClaims(1, deflated([]byte{1}))))
		time.Sleep(time.Minute)
		assert.ErrorIs(t, verify(auth, l.at(0)), jwterrors.TokenInvalidated)
		assert.EqualValues(t, 2, e.fetches.Load())
	})
}

// Each issuer has its list, and Resolve brings one along.
func TestTheListsOfSeveralIssuers(t *testing.T) {
	a, b := newLister(), newLister()
	a.revoke(1)
	b.revoke(2)
	const nameOfB = "https://b.example.com"
	ofB := func(entry int) string { return b.sign(withStatus(entry, listURL).with("iss", nameOfB)) }
	plain := newLister()
	const nameOfPlain = "https://plain.example.com"
	listed := []middleware.Issuer{
		{Issuer: issuer, Audience: []string{audience}, Keys: a.keySource(), StatusList: a.statusList()},
		{Issuer: nameOfB, Audience: []string{audience}, Keys: b.keySource(), StatusList: b.statusList()},
		{Issuer: nameOfPlain, Audience: []string{audience}, Keys: plain.keySource()},
	}
	for name, auth := range map[string]*middleware.Middleware{
		"Issuers": newAuth(t, func(c *middleware.Config) {
			c.Keys, c.StatusList, c.Issuers = listed[0].Keys, listed[0].StatusList, listed[1:]
		}),
		"Resolve": must(middleware.New(middleware.Config{Resolve: func(_ context.Context, _ *http.Request, name string) (middleware.Issuer, error) {
			for _, is := range listed {
				if is.Issuer == name {
					return is, nil
				}
			}
			return middleware.Issuer{}, nil
		}})),
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				assert.ErrorIs(t, verify(auth, a.at(1)), jwterrors.TokenInvalidated)
				assert.NoError(t, verify(auth, a.at(2)))
				assert.NoError(t, verify(auth, ofB(1)))
				assert.ErrorIs(t, verify(auth, ofB(2)), jwterrors.TokenInvalidated)
				assert.NoError(t, verify(auth, plain.sign(claims().with("iss", nameOfPlain))))
			}
		})
	}
}

// A tenant whose list is another one by now is judged by that.
func TestATenantGetsAList(t *testing.T) {
	l := newLister()
	l.revoke(0)
	keys := l.keySource()
	var list atomic.Pointer[middleware.StatusList]
	auth := must(middleware.New(middleware.Config{Resolve: func(context.Context, *http.Request, string) (middleware.Issuer, error) {
		return middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: keys, StatusList: list.Load()}, nil
	}}))
	token := l.at(0)
	for range 3 { // and is remembered
		require.NoError(t, verify(auth, token))
	}
	list.Store(l.statusList())
	assert.ErrorIs(t, verify(auth, token), jwterrors.TokenInvalidated)
	list.Store(middleware.NewStatusList("ftp://id.example.com", keys, middleware.StatusListOptions{}))
	assert.ErrorIs(t, verify(auth, token), jwterrors.KeysUnavailable)
}

// A tenant's token without a status is remembered like one that has it.
func TestATenantsTokenWithoutAStatusIsRemembered(t *testing.T) {
	l := newLister()
	keys, list := l.keySource(), l.statusList(func(o *middleware.StatusListOptions) { o.InsecureAllowNoStatus = true })
	auth := must(middleware.New(middleware.Config{ShareClaims: true, Resolve: func(context.Context, *http.Request, string) (middleware.Issuer, error) {
		return middleware.Issuer{Issuer: issuer, Audience: []string{audience}, Keys: keys, StatusList: list}, nil
	}}))
	token := l.token()
	var seen []*middleware.Claims
	for range 4 {
		c, err := auth.Verify(t.Context(), token)
		require.NoError(t, err)
		seen = append(seen, c)
	}
	assert.Same(t, seen[2], seen[3])
}

// A token that is remembered is judged by the list, for nothing but a look.
func TestALookAtTheListAllocatesNothing(t *testing.T) {
	l := newLister()
	l.revoke()
	with, without := l.auth(t), newAuth(t, func(c *middleware.Config) { c.Keys = l.keySource() })
	token, ctx := l.at(5), t.Context()
	for range 3 {
		require.NoError(t, verify(with, token))
		require.NoError(t, verify(without, token))
	}
	allocations := func(auth *middleware.Middleware) float64 {
		return testing.AllocsPerRun(100, func() { _, _ = auth.Verify(ctx, token) })
	}
	assert.Equal(t, allocations(without), allocations(with))
}

// Readers and a list that changes: what a list revoked that a reader has seen stays
// revoked.
func TestRaceForTheList(t *testing.T) {
	l := newLister()
	l.revoke()
	auth := l.auth(t, func(o *middleware.StatusListOptions) { o.RefreshAfter = time.Millisecond })
	tokens := make([]string, 64)
	for n := range tokens {
		tokens[n] = l.at(n)
	}
	var revoked atomic.Int64 // entries below are
	var wg sync.WaitGroup
	done := make(chan struct{})
	var judged atomic.Int64
	for range 8 {
		wg.Go(func() {
			var seen [64]bool
			for n := 0; ; n = (n + 1) % 64 {
				select {
				case <-done:
					return
				default:
				}
				err := verify(auth, tokens[n])
				judged.Add(1)
				if !assert.False(t, seen[n] && err == nil, "came back") || err != nil && !assert.ErrorIs(t, err, jwterrors.TokenInvalidated) {
					return
				}
				seen[n] = err != nil
				if err != nil {
					assert.Less(t, int64(n), revoked.Load())
				}
			}
		})
	}
	var entries []int
	for n := range 8 {
		entries = append(entries, n)
		revoked.Add(1)
		l.revoke(entries...)
		for fetches := l.fetches.Load(); l.fetches.Load() < fetches+2; {
			_ = verify(auth, tokens[63])
		}
	}
	close(done)
	wg.Wait()
	assert.Greater(t, judged.Load(), int64(100))
}

func TestMistakesInAStatusList(t *testing.T) {
	l := newLister()
	keys := l.keySource()
	for _, c := range []struct {
		name, url string
		keys      middleware.KeySource
		options   middleware.StatusListOptions
		want      string
	}{
		{"no URL", "", keys, middleware.StatusListOptions{}, "not one of https"},
		{"http", "http://id.example.com/list", keys, middleware.StatusListOptions{}, "InsecureAllowHTTP"},
		{"a user in the URL", "https://u:p@id.example.com/list", keys, middleware.StatusListOptions{}, "a user"},
		{"no keys", listURL, nil, middleware.StatusListOptions{}, "the keys are nil"},
		{"bad keys", listURL, middleware.HS256(nil), middleware.StatusListOptions{}, "the keys: secret 0"},
		{"a negative age", listURL, keys, middleware.StatusListOptions{MaxStale: -1}, "MaxStale is negative"},
		{"a negative time", listURL, keys, middleware.StatusListOptions{Timeout: -1}, "Timeout is negative"},
		{"stale before it is fetched again", listURL, keys, middleware.StatusListOptions{RefreshAfter: time.Hour}, "MaxStale, 15m0s, is not longer"},
		{"a negative length", listURL, keys, middleware.StatusListOptions{MaxBytes: -1}, "MaxBytes is negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := middleware.New(middleware.Config{
				Keys: keys, Issuer: issuer, Audience: []string{audience}, StatusList: middleware.NewStatusList(c.url, c.keys, c.options),
			})
			require.ErrorContains(t, err, "its StatusList: ")
			assert.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "u:p")
		})
	}
	_, err := middleware.New(middleware.Config{Keys: keys, Issuer: issuer, Audience: []string{audience}, StatusList: &middleware.StatusList{}})
	require.ErrorContains(t, err, "NewStatusList")
	list := l.statusList()
	_, err = middleware.New(middleware.Config{
		Keys: keys, Issuer: issuer, Audience: []string{audience}, StatusList: list,
		Issuers: []middleware.Issuer{{Issuer: "https://b.example.com", Audience: []string{audience}, Keys: newLister().keySource(), StatusList: list}},
	})
	require.ErrorContains(t, err, "has the StatusList of issuer")
	_, err = middleware.New(middleware.Config{StatusList: list, Resolve: func(context.Context, *http.Request, string) (middleware.Issuer, error) {
		return middleware.Issuer{}, nil
	}})
	require.ErrorContains(t, err, "StatusList, which Resolve returns")
}

func TestReadyWithAStatusList(t *testing.T) {
	l := newLister()
	l.fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	auth := l.auth(t)
	err := auth.Ready(t.Context())
	unknownStatus(t, err)
	assert.ErrorContains(t, err, `issuer "`+issuer+`"`)
	l.revoke()
	auth = l.auth(t)
	require.NoError(t, auth.Ready(t.Context()))
	before := l.fetches.Load()
	require.NoError(t, verify(auth, l.at(0)))
	assert.Equal(t, before, l.fetches.Load())
}

// Explain says what the list says, as Verify does.
func TestExplainWithAStatusList(t *testing.T) {
	l := newLister()
	l.revoke(1)
	auth := l.auth(t)
	for _, c := range []struct {
		token string
		want  jwterrors.Reason
		text  string
	}{
		{l.at(0), "", "it is not"},
		{l.at(1), jwterrors.TokenInvalidated, "it is revoked"},
		{l.at(99), jwterrors.TokenPayloadInvalid, "no entry 99"},
		{l.token(), jwterrors.TokenPayloadInvalid, `"status" is missing`},
	} {
		e := auth.Explain(t.Context(), c.token)
		assert.Equal(t, c.want, e.Reason)
		assert.Equal(t, c.want, jwterrors.ReasonOf(verify(auth, c.token)))
		assert.Contains(t, e.String(), c.text)
	}
}

// Over a real connection, with the coding that the transport asks for.
func TestAListOverTCP(t *testing.T) {
	l := newLister()
	var accept atomic.Value
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept.Store(r.Header.Get("Accept") + " " + r.Header.Get("Accept-Encoding"))
		list := l.list(listClaims(1, deflated([]byte{2})).with("sub", "https://"+r.Host+"/list"))
		w.Header().Set("Content-Type", "application/statuslist+jwt")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(gzipped(list))
	}))
	t.Cleanup(server.Close)
	url := server.URL + "/list"
	auth := newAuth(t, func(c *middleware.Config) {
		c.Keys = l.keySource()
		c.StatusList = middleware.NewStatusList(url, c.Keys, middleware.StatusListOptions{Client: server.Client()})
	})
	assert.NoError(t, verify(auth, l.sign(withStatus(0, url))))
	assert.ErrorIs(t, verify(auth, l.sign(withStatus(1, url))), jwterrors.TokenInvalidated)
	assert.Equal(t, "application/statuslist+jwt gzip", accept.Load())

	// A bomb in the coding is one in the document.
	bomb := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(gzipped(strings.Repeat("a", 8<<20)))
	}))
	t.Cleanup(bomb.Close)
	auth = newAuth(t, func(c *middleware.Config) {
		c.Keys = l.keySource()
		c.StatusList = middleware.NewStatusList(bomb.URL, c.Keys, middleware.StatusListOptions{Client: bomb.Client(), MaxBytes: 1 << 20})
	})
	err := verify(auth, l.sign(withStatus(0, bomb.URL)))
	unknownStatus(t, err)
	assert.ErrorContains(t, err, "more than 1048576 bytes")
}

func gzipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.Bytes()
}

// Whatever a list and a token say, there is no panic, no acceptance of an entry that
// is not 0, and no other reason than these.
func FuzzStatusList(f *testing.F) {
	f.Add(`{"bits":1,"lst":"eNrbuRgAAhcBXQ"}`, `{"status_list":{"idx":1,"uri":"`+listURL+`"}}`)
	f.Add(`{"bits":2,"lst":"eNo76fITAAPfAgc"}`, `{"status_list":{"idx":11,"uri":"`+listURL+`"}}`)
	f.Add(`{"bits":8,"lst":"`+deflated([]byte{0, 1, 2})+`"}`, `{"status_list":{"idx":0,"uri":"`+listURL+`","more":[]}}`)
	f.Add(`{"bits":4,"lst":"`+deflated(make([]byte, 1<<20))+`"}`, `{"status_list":{"idx":9223372036854775807,"uri":"`+listURL+`"}}`)
	f.Add(`null`, `"active"`)
	keys := middleware.HS256(secret)
	f.Fuzz(func(t *testing.T, list, status string) {
		now := itoa(time.Now().Unix())
		document := hs(object{"alg": "HS256", "typ": "statuslist+jwt"}, `{"sub":"`+listURL+`","iat":`+now+`,"status_list":`+list+`}`)
		auth := must(middleware.New(middleware.Config{
			Keys: keys, Issuer: issuer, Audience: []string{audience},
			StatusList: middleware.NewStatusList(listURL, keys, middleware.StatusListOptions{
				MaxBytes: 1 << 16, Client: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
					w := httptest.NewRecorder()
					_, _ = w.Write([]byte(document))
					return w.Result(), nil
				})},
			}),
		}))
		payload := strings.TrimSuffix(string(must(json.Marshal(claims()))), "}") + `,"status":` + status + `}`
		err := verify(auth, hs(hsHeader, payload))
		switch {
		case err == nil, errors.Is(err, jwterrors.TokenInvalidated):
			if !strings.Contains(list, "bits") || !strings.Contains(status, "idx") && !strings.Contains(status, `\`) {
				t.Errorf("%v for %q and %q", err, list, status)
			}
		case errors.Is(err, jwterrors.TokenPayloadInvalid), errors.Is(err, jwterrors.StoreUnavailable):
		case errors.Is(err, jwterrors.TokenFormatInvalid): // too long
		default:
			t.Error(err)
		}
	})
}
