package issuer_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
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
	"github.com/tokenloop/tokenloop/issuer"
)

const statusListURI = issuerURL + "/auth/status-list"

// withStatusList returns a fixture with a small list, on its clock.
func withStatusList(t testing.TB, change func(*issuer.Config)) (*fixture, *issuer.StatusList) {
	t.Helper()
	var f *fixture
	var list *issuer.StatusList
	f = newFixture(t, func(c *issuer.Config) {
		list = must(issuer.NewStatusList(issuer.StatusListConfig{Size: 1 << 16, Now: c.Now}))
		c.StatusList = list
		if change != nil {
			change(c)
		}
	})
	return f, list
}

// statuses fetches and verifies the list, and returns its claims and its bits.
func (f *fixture) statuses() (jwt.MapClaims, []byte) {
	f.t.Helper()
	r := f.do("GET", "/auth/status-list", "")
	require.Equal(f.t, 200, r.status, r.text)
	return readStatuses(f.t, r.text, f)
}

func readStatuses(t testing.TB, token string, f *fixture) (jwt.MapClaims, []byte) {
	t.Helper()
	assert.Equal(t, "statuslist+jwt", part(t, token, 0)["typ"])
	c := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return publicKeys(t, f)[part(t, token, 0)["kid"].(string)], nil }, jwt.WithTimeFunc(f.now))
	require.NoError(t, err)
	inner := c["status_list"].(map[string]any)
	require.EqualValues(t, 1, inner["bits"])
	z, err := zlib.NewReader(bytes.NewReader(must(base64.RawURLEncoding.DecodeString(inner["lst"].(string)))))
	require.NoError(t, err)
	return c, must(io.ReadAll(z))
}

// publicKeys returns the keys of ES256 in the JWK Set.
func publicKeys(t testing.TB, f *fixture) map[string]any {
	t.Helper()
	keys := map[string]any{}
	for _, k := range f.do("GET", "/auth/.well-known/jwks.json", "").body["keys"].([]any) {
		m := k.(map[string]any)
		x, y := must(base64.RawURLEncoding.DecodeString(m["x"].(string))), must(base64.RawURLEncoding.DecodeString(m["y"].(string)))
		keys[m["kid"].(string)] = must(ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...)))
	}
	return keys
}

func isSet(bits []byte, entry int) bool { return bits[entry/8]>>(entry%8)&1 == 1 }

func countSet(bits []byte) (n int) {
	for i := range len(bits) * 8 {
		if isSet(bits, i) {
			n++
		}
	}
	return n
}

// entryOf returns the entry that an access token names.
func entryOf(t testing.TB, token string) int {
	t.Helper()
	status := part(t, token, 1)["status"].(map[string]any)["status_list"].(map[string]any)
	require.Equal(t, statusListURI, status["uri"])
	require.Len(t, status, 2)
	return int(status["idx"].(float64))
}

// entriesOf is what the package documentation says about how entries are derived.
func entriesOf(kind, id string, size uint32) (all []int) {
	sum := sha256.Sum256([]byte(kind + "\x00" + id))
	for n := range 4 {
		all = append(all, int(binary.BigEndian.Uint32(sum[4*n:])%size))
	}
	return all
}

func TestALogoutIsInTheStatusList(t *testing.T) {
	f, _ := withStatusList(t, nil)
	alice, other := f.login(), f.login()
	token := alice.str("access_token")
	assert.Equal(t, entriesOf("sid", sid(t, alice), 1<<16)[0], entryOf(t, token))

	c, bits := f.statuses()
	require.Len(t, bits, 1<<16/8)
	assert.Zero(t, countSet(bits))
	assert.Equal(t, issuerURL, c["iss"])
	assert.Equal(t, statusListURI, c["sub"])
	assert.EqualValues(t, 30, c["ttl"])
	assert.EqualValues(t, 900, c["exp"].(float64)-c["iat"].(float64))
	assert.InDelta(t, f.now().Unix(), c["iat"], 5)
	assert.Len(t, c, 6)

	require.Equal(t, 204, f.do("POST", "/auth/logout", `{"refresh_token":"`+alice.str("refresh_token")+`"}`).status)
	f.pass(time.Second)
	_, bits = f.statuses()
	assert.True(t, isSet(bits, entryOf(t, token)), "the token of who logged out")
	for _, n := range entriesOf("sid", sid(t, alice), 1<<16) {
		assert.True(t, isSet(bits, n), "all that the session can have")
	}
	assert.False(t, isSet(bits, entryOf(t, other.str("access_token"))), "another session")

	f.pass(2 * time.Hour) // no token of that time is alive
	_, bits = f.statuses()
	assert.Zero(t, countSet(bits))
}

// A denial by any way ends up in the list: of one session, of all of a user, of a
// token without session.
func TestWhatIsDeniedIsInTheStatusList(t *testing.T) {
	f, _ := withStatusList(t, func(c *issuer.Config) {
		c.Denylist = nil
		c.Clients = []issuer.Client{{ID: "app", Secrets: []string{appSecret}, Grants: []string{issuer.GrantClientCredentials}, Scopes: []string{"api:read"}}}
		c.Grants, c.Revocation = []string{issuer.GrantClientCredentials}, true
	})
	first, second, third := f.login(), f.login(), f.login()
	machine := f.form("/token", app, "grant_type=client_credentials").str("access_token")
	set := func(token string) bool {
		f.pass(time.Second)
		_, bits := f.statuses()
		return isSet(bits, entryOf(t, token))
	}
	require.False(t, set(first.str("access_token")))
	require.NoError(t, f.issuer.RevokeSession(t.Context(), sid(t, first)))
	assert.True(t, set(first.str("access_token")))
	require.False(t, set(second.str("access_token")))
	require.NoError(t, f.issuer.RevokeSubject(t.Context(), "alice"))
	assert.True(t, set(second.str("access_token")))
	assert.True(t, set(third.str("access_token")))
	require.False(t, set(machine))
	require.Equal(t, 200, f.form("/revoke", app, "token="+machine).status)
	assert.True(t, set(machine))
}

// Both are told where there are both, and the failure of either is a failure.
func TestTheStatusListBesideADenylist(t *testing.T) {
	f, _ := withStatusList(t, func(c *issuer.Config) {
		c.Clients = []issuer.Client{{ID: "app", Secrets: []string{appSecret}, Grants: []string{issuer.GrantClientCredentials}, Scopes: []string{"api:read"}}}
		c.Grants, c.Revocation = []string{issuer.GrantClientCredentials}, true
	})
	alice := f.login()
	machine := f.form("/token", app, "grant_type=client_credentials").str("access_token")
	f.denied.failing(errors.New("the denylist does not answer"))
	require.Error(t, f.issuer.RevokeSession(t.Context(), sid(t, alice)))
	require.Equal(t, 503, f.form("/revoke", app, "token="+machine).status)
	require.Error(t, f.issuer.RevokeSubject(t.Context(), "alice"))
	f.pass(time.Second)
	_, bits := f.statuses()
	assert.True(t, isSet(bits, entryOf(t, alice.str("access_token"))))
	assert.True(t, isSet(bits, entryOf(t, machine)))
	f.denied.failing(nil)
	require.NoError(t, f.issuer.RevokeSession(t.Context(), sid(t, alice)))
	assert.True(t, f.denied.has(sid(t, alice)))
	require.Equal(t, 200, f.form("/revoke", app, "token="+machine).status)
	assert.Equal(t, part(t, machine, 1)["jti"], f.denied.token)
	require.NoError(t, f.issuer.RevokeSubject(t.Context(), "alice"))
	assert.Contains(t, f.denied.subjects, "alice")
}

// collides returns the ID of a session that shares an entry with another.
func collides(t testing.TB, entry int, size uint32) string {
	t.Helper()
	for n := range 10 * int(size) {
		id := "session-" + strconv.Itoa(n)
		for _, e := range entriesOf("sid", id, size) {
			if e == entry {
				return id
			}
		}
	}
	t.Fatal("no session shares the entry")
	return ""
}

// Who shares an entry with somebody who logged out is refused once: the token of the
// next refresh has another entry, also when that is within Grace, and keeps off the
// old one until no list can have it any more.
func TestATokenDoesNotGetAnEntryThatIsSet(t *testing.T) {
	f, list := withStatusList(t, nil)
	alice := f.login()
	entry := entryOf(t, alice.str("access_token"))
	until := f.now().Add(time.Hour)
	require.NoError(t, list.DenySession(t.Context(), collides(t, entry, 1<<16), until))
	_, bits := f.statuses()
	require.True(t, isSet(bits, entry), "an innocent token is refused")

	r := f.refresh(alice.str("refresh_token"))
	next := entryOf(t, r.str("access_token"))
	assert.Equal(t, entriesOf("sid", sid(t, alice), 1<<16)[1], next)
	assert.False(t, isSet(bits, next))
	r = f.refresh(r.str("refresh_token")) // young: nothing is rotated
	assert.False(t, isSet(bits, entryOf(t, r.str("access_token"))))

	f.pass(time.Until(until.Add(5 * time.Minute)).Truncate(time.Second)) // when the bit is set for the last time
	_, bits = f.statuses()
	require.True(t, isSet(bits, entry))
	f.pass(15 * time.Minute) // when the list of then expires
	assert.Equal(t, next, entryOf(t, f.refresh(r.str("refresh_token")).str("access_token")))
	f.pass(3 * time.Second)
	assert.Equal(t, entry, entryOf(t, f.refresh(r.str("refresh_token")).str("access_token")))
	require.NoError(t, list.DenySession(t.Context(), sid(t, alice), f.now()))
	f.pass(time.Second)
	_, bits = f.statuses()
	assert.True(t, isSet(bits, entry) && isSet(bits, next), "whichever its tokens have")
}

// Where all four are set, by four who logged out, the token has the first, and is
// refused: the list has no room for it.
func TestATokenWhoseEntriesAreAllSet(t *testing.T) {
	f, list := withStatusList(t, nil)
	alice := f.login()
	all := entriesOf("sid", sid(t, alice), 1<<16)
	for _, entry := range all {
		require.NoError(t, list.DenySession(t.Context(), collides(t, entry, 1<<16), f.now().Add(time.Hour)))
	}
	next := f.refresh(alice.str("refresh_token")).str("access_token")
	assert.Equal(t, all[0], entryOf(t, next))
}

// How often two tokens meet is as the package documentation says: each revocation
// hits each live token with the probability of 4 entries of Size, and no token is
// born with an entry that is set.
func TestHowOftenTokensMeet(t *testing.T) {
	const size, live, revoked = 1 << 16, 4000, 1000
	list := must(issuer.NewStatusList(issuer.StatusListConfig{Size: size}))
	random := func() string { return rand.Text() }
	f := newFixture(t, func(c *issuer.Config) { c.StatusList = list })
	until := time.Now().Add(time.Hour)
	for range revoked {
		require.NoError(t, list.DenySession(t.Context(), random(), until))
	}
	var entries []int
	for range 200 { // of real tokens, which are slower
		entries = append(entries, entryOf(t, f.loginDirect()))
	}
	_, bits := f.statuses()
	for _, n := range entries {
		assert.False(t, isSet(bits, n), "a token is born with an entry that is set")
	}
	for len(entries) < live {
		entries = append(entries, entriesOf("sid", random(), size)[0])
	}
	hit := func() (n int) {
		f.pass(time.Second)
		_, bits := f.statuses()
		for _, e := range entries {
			if isSet(bits, e) {
				n++
			}
		}
		return n
	}
	before := hit()
	for range revoked {
		require.NoError(t, list.DenySession(t.Context(), random(), until))
	}
	want := float64(live*revoked*4) / size // 244; its deviation is about 16
	assert.InDelta(t, want, hit()-before, 100)
}

// The list is signed once for each change, and not for each request.
func TestHowOftenTheStatusListIsSigned(t *testing.T) {
	signer := &countingSigner{Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), gate: make(chan struct{})}
	f, list := withStatusList(t, func(c *issuer.Config) {
		c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.NewKey(signer)), Now: c.Now}))
	})
	get := func() string { return f.do("GET", "/auth/status-list", "").header.Get("ETag") }
	var tags sync.Map
	var wg sync.WaitGroup
	var asked atomic.Int32
	for range 50 {
		wg.Go(func() { asked.Add(1); tags.Store(get(), true) })
	}
	for asked.Load() < 50 { // most of them wait for the signature, then
		runtime.Gosched()
	}
	close(signer.gate)
	wg.Wait()
	assert.EqualValues(t, 1, signer.signed.Load())
	first := get()
	tags.Range(func(tag, _ any) bool { return assert.Equal(t, first, tag) })

	until := f.now().Add(time.Hour)
	require.NoError(t, list.DenySession(t.Context(), "a session", until))
	assert.Equal(t, first, get(), "not within a second")
	f.pass(time.Second)
	second := get()
	assert.NotEqual(t, first, second)
	require.NoError(t, list.DenySession(t.Context(), "a session", until)) // as a feed may say it again
	require.NoError(t, list.DenySession(t.Context(), "another", f.now().Add(-time.Hour)))
	f.pass(time.Second)
	assert.Equal(t, second, get())
	f.pass(7 * time.Minute)
	assert.Equal(t, second, get())
	f.pass(30 * time.Second) // half of its time is over
	assert.NotEqual(t, second, get())
	assert.EqualValues(t, 3, signer.signed.Load())
}

// countingSigner is a KMS that can fail.
type countingSigner struct {
	crypto.Signer
	signed atomic.Int64
	broken atomic.Bool
	gate   chan struct{} // nil, or closed when it answers
}

func (s *countingSigner) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if s.gate != nil {
		<-s.gate
	}
	if s.signed.Add(1); s.broken.Load() {
		return nil, errors.New("the KMS does not answer")
	}
	return s.Signer.Sign(r, digest, o)
}

// slowSigner is a KMS that keeps one caller waiting when told to.
type slowSigner struct {
	crypto.Signer
	slow         atomic.Bool
	called, gate chan struct{}
}

func (s *slowSigner) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if s.slow.CompareAndSwap(true, false) {
		close(s.called)
		<-s.gate
	}
	return s.Signer.Sign(r, digest, o)
}

// While a list is signed, the one before is answered.
func TestASlowSignerOfTheStatusListKeepsNobodyWaiting(t *testing.T) {
	signer := &slowSigner{Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), called: make(chan struct{}), gate: make(chan struct{})}
	f, list := withStatusList(t, func(c *issuer.Config) {
		c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.NewKey(signer)), Now: c.Now}))
	})
	get := func() string { return f.do("GET", "/auth/status-list", "").text }
	first := get()
	require.NoError(t, list.DenySession(t.Context(), "a session", f.now().Add(time.Hour)))
	f.pass(time.Second)
	signer.slow.Store(true)
	second := make(chan string)
	go func() { second <- get() }()
	<-signer.called
	assert.Equal(t, first, get())
	close(signer.gate)
	assert.NotEqual(t, first, <-second)
}

// While the KMS does not answer, the last list is answered until it expires, and the
// KMS is asked once in a second.
func TestAStatusListThatCannotBeSigned(t *testing.T) {
	signer := &countingSigner{Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	f, _ := withStatusList(t, func(c *issuer.Config) {
		c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.NewKey(signer)), Now: c.Now}))
	})
	get := func() reply { return f.do("GET", "/auth/status-list", "") }
	first := get()
	require.Equal(t, 200, first.status)
	signer.broken.Store(true)
	f.pass(8 * time.Minute)
	for range 20 {
		assert.Equal(t, first.text, get().text)
	}
	assert.LessOrEqual(t, signer.signed.Load(), int64(4))
	assert.Contains(t, f.logs.String(), "the last one is answered")
	f.pass(8 * time.Minute)
	r := get()
	assert.Equal(t, 500, r.status)
	assert.Equal(t, jwterrors.TokenGenerationError, r.reason)
	asked := signer.signed.Load()
	for range 20 {
		assert.Equal(t, jwterrors.TokenGenerationError, get().reason)
	}
	assert.LessOrEqual(t, signer.signed.Load(), asked+2, "without a list, too, it is asked once in a second")
	signer.broken.Store(false)
	f.pass(time.Second)
	assert.Equal(t, 200, get().status)
}

// A list that a feed keeps in step is not answered when that is too long ago.
func TestAStatusListThatIsAMirror(t *testing.T) {
	var list *issuer.StatusList
	f := newFixture(t, func(c *issuer.Config) {
		list = must(issuer.NewStatusList(issuer.StatusListConfig{MaxAge: time.Minute, Now: c.Now}))
		c.StatusList = list
	})
	get := func() reply { return f.do("GET", "/auth/status-list", "") }
	r := get()
	assert.Equal(t, jwterrors.StoreUnavailable, r.reason)
	assert.Equal(t, 503, r.status)
	assert.NotEmpty(t, r.header.Get("Retry-After"))
	list.Synced(f.now().Add(time.Hour)) // of a clock that is wrong
	assert.Equal(t, 200, get().status)
	f.pass(59 * time.Second)
	list.Synced(f.now().Add(-time.Hour)) // changes nothing
	assert.Equal(t, 200, get().status)
	f.pass(2 * time.Second)
	assert.Equal(t, 503, get().status)
	list.Synced(f.now())
	assert.Equal(t, 200, get().status)
}

func TestTheStatusListOverHTTP(t *testing.T) {
	f, _ := withStatusList(t, func(c *issuer.Config) {
		c.Clients = []issuer.Client{{ID: "app", Secrets: []string{appSecret}, Grants: []string{issuer.GrantRefreshToken}}}
		c.Grants = []string{issuer.GrantRefreshToken}
	})
	plain := f.do("GET", "/auth/status-list", "", "Accept-Encoding", "gzip;q=0, br")
	require.Equal(t, 200, plain.status)
	assert.Equal(t, "application/statuslist+jwt", plain.header.Get("Content-Type"))
	assert.Equal(t, "public, max-age=30", plain.header.Get("Cache-Control"))
	assert.Equal(t, "Accept-Encoding", plain.header.Get("Vary"))
	assert.Empty(t, plain.header.Get("Content-Encoding"))
	packed := f.do("GET", "/auth/status-list", "", "Accept-Encoding", "br, GZIP;q=0.5")
	assert.Equal(t, "gzip", packed.header.Get("Content-Encoding"))
	assert.Less(t, len(packed.text), len(plain.text))
	assert.NotEqual(t, plain.header.Get("ETag"), packed.header.Get("ETag"))
	assert.Equal(t, plain.text, f.do("GET", "/auth/status-list", "").text, "which the transport unpacks")
	for _, r := range []reply{plain, packed} {
		same := f.do("GET", "/auth/status-list", "", "If-None-Match", r.header.Get("ETag"), "Accept-Encoding", "identity, "+r.header.Get("Content-Encoding"))
		assert.Equal(t, http.StatusNotModified, same.status)
		assert.Empty(t, same.text)
	}
	head := f.do("HEAD", "/auth/status-list", "")
	assert.Equal(t, 200, head.status)
	assert.Empty(t, head.text)
	assert.Equal(t, 501, f.do("GET", "/auth/status-list?time=1686925000", "").status)
	assert.Equal(t, 405, f.do("POST", "/auth/status-list", "").status)

	all := f.do("GET", "/auth/status-list/aggregation", "")
	assert.JSONEq(t, `{"status_lists":["`+statusListURI+`"]}`, all.text)
	assert.Equal(t, "application/json", all.header.Get("Content-Type"))
	assert.Equal(t, statusListURI+"/aggregation", f.do("GET", "/auth/.well-known/oauth-authorization-server", "").str("status_list_aggregation_endpoint"))
	none := newFixture(t, nil)
	assert.Equal(t, 404, none.do("GET", "/auth/status-list", "").status)
	assert.NotContains(t, part(t, none.login().str("access_token"), 1), "status")
}

// A list is no access token.
func TestAStatusListIsNoAccessToken(t *testing.T) {
	f, _ := withStatusList(t, nil)
	r := f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+f.do("GET", "/auth/status-list", "").text)
	assert.Equal(t, jwterrors.TokenTypeInvalid, r.reason)
}

func TestMistakesInAStatusListConfig(t *testing.T) {
	for _, c := range []struct {
		name   string
		config issuer.StatusListConfig
		want   string
	}{
		{"a size that is no power of two", issuer.StatusListConfig{Size: 100_000}, "Size is 100000"},
		{"a small size", issuer.StatusListConfig{Size: 1 << 15}, "Size"},
		{"a large size", issuer.StatusListConfig{Size: 1 << 25}, "Size"},
		{"a negative size", issuer.StatusListConfig{Size: -1 << 20}, "Size"},
		{"half a second", issuer.StatusListConfig{TTL: time.Second / 2}, "TTL"},
		{"a negative TTL", issuer.StatusListConfig{TTL: -time.Second}, "TTL"},
		{"a short lifetime", issuer.StatusListConfig{TTL: time.Minute, Lifetime: 119 * time.Second}, "Lifetime is 1m59s"},
		{"a long lifetime", issuer.StatusListConfig{Lifetime: 25 * time.Hour}, "Lifetime"},
		{"a negative age", issuer.StatusListConfig{MaxAge: -1}, "MaxAge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := issuer.NewStatusList(c.config)
			require.ErrorContains(t, err, "StatusListConfig."+c.want)
		})
	}
	_, err := issuer.NewStatusList(issuer.StatusListConfig{Size: 1, TTL: 1, Lifetime: 1, MaxAge: -1})
	assert.Len(t, strings.Split(err.Error(), "\n"), 4, "all at once")

	f := newFixture(t, nil)
	c := f.config()
	c.Claims = []string{"plan", "Status"}
	_, err = issuer.New(c)
	require.NoError(t, err)
	c.StatusList = must(issuer.NewStatusList(issuer.StatusListConfig{}))
	_, err = issuer.New(c)
	require.ErrorContains(t, err, `"Status" is set by the issuer alone`)
	c.Claims, c.Routes.Login = nil, "/status-list/login"
	_, err = issuer.New(c)
	require.ErrorContains(t, err, "Routes.Login")
}

// A list that is a quarter full takes no more, and says so, until some are over.
func TestAStatusListThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := must(issuer.NewStatusList(issuer.StatusListConfig{Size: 1 << 16}))
		deny := func(n int) error {
			return list.DenySession(t.Context(), "session-"+strconv.Itoa(n), time.Now().Add(time.Minute))
		}
		taken := 0
		for ; taken < 10_000; taken++ {
			if err := deny(taken); err != nil {
				require.ErrorIs(t, err, jwterrors.StoreUnavailable)
				require.NotContains(t, err.Error(), "session-")
				break
			}
		}
		assert.InDelta(t, 1<<16/4/4, taken, 1<<16/4/4/5)
		time.Sleep(time.Minute + 5*time.Minute + 15*time.Minute)
		require.Error(t, deny(0), "a list may still have them")
		time.Sleep(3 * time.Second)
		require.NoError(t, deny(0))
	})
}

// What ended long ago, or names nobody, sets nothing.
func TestDenialsThatSetNothing(t *testing.T) {
	f, list := withStatusList(t, nil)
	require.NoError(t, list.DenySession(t.Context(), "a session", f.now().Add(-time.Hour)))
	require.NoError(t, list.DenySubject(t.Context(), "alice", f.now(), f.now().Add(time.Hour)))
	require.ErrorContains(t, list.DenySession(t.Context(), "", f.now().Add(time.Hour)), "the identifier is empty")
	require.ErrorContains(t, list.DenyToken(t.Context(), "", f.now().Add(time.Hour)), "the identifier is empty")
	_, bits := f.statuses()
	assert.Zero(t, countSet(bits))
	require.NoError(t, list.DenySession(t.Context(), "a session", f.now().Add(-time.Minute))) // within the leeway of verifiers
	f.pass(time.Second)
	_, bits = f.statuses()
	assert.Equal(t, 4, countSet(bits))
	require.NoError(t, list.DenySession(t.Context(), "a session", f.now().Add(time.Hour)))
	require.NoError(t, list.DenySession(t.Context(), "a session", f.now())) // a denial does not shrink
	f.pass(10 * time.Minute)
	_, bits = f.statuses()
	assert.Equal(t, 4, countSet(bits))
}

// Logins, denials and readers at once: what was denied before a list was asked for
// is in it.
func TestRaceForTheStatusList(t *testing.T) {
	f, list := withStatusList(t, nil)
	var wg sync.WaitGroup
	var revoked sync.Map
	for range 8 {
		wg.Go(func() {
			for range 10 {
				token := f.loginDirect()
				id, _ := part(t, token, 1)["sid"].(string)
				assert.NoError(t, list.DenySession(context.Background(), id, f.now().Add(time.Hour)))
				revoked.Store(entryOf(t, token), true)
				f.do("GET", "/auth/status-list", "")
			}
		})
	}
	wg.Wait()
	f.pass(time.Second)
	_, bits := f.statuses()
	n := 0
	revoked.Range(func(entry, _ any) bool { n++; return assert.True(t, isSet(bits, entry.(int))) })
	assert.Greater(t, n, 70)
}
