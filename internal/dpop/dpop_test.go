package dpop_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/internal/jwa"
)

func newKey(t testing.TB) (*dpop.Key, *ecdsa.PrivateKey) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	key, err := dpop.NewKey(private)
	require.NoError(t, err)
	return key, private
}

const api = "https://api.example.com/v1/me"

func TestWhatAKeyMakesIsRead(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	now := time.Unix(1e9, 0)
	for _, signer := range []crypto.Signer{ed, ec, rs} {
		key, err := dpop.NewKey(signer)
		require.NoError(t, err)
		raw, err := key.Proof("GET", api, dpop.TokenHash("token"), "nonce", now)
		require.NoError(t, err)
		p, err := dpop.Read(raw, dpop.Algorithms)
		require.NoError(t, err)
		assert.NotEmpty(t, p.ID)
		p.ID = ""
		assert.Equal(t, &dpop.Proof{
			Thumbprint: key.Thumbprint, Method: "GET", URL: api, IssuedAt: now, TokenHash: dpop.TokenHash("token"), Nonce: "nonce",
		}, p)
		assert.Equal(t, key.Thumbprint, jwa.Thumbprint(signer.Public()))
		_, err = dpop.Read(raw, []string{"ES384"})
		assert.ErrorContains(t, err, "alg")
	}
}

// RFC 9864, Section 2.2: clients write either name of the algorithm.
func TestEdDSAHasTwoNames(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := dpop.NewKey(private)
	require.NoError(t, err)
	raw, err := key.Proof("GET", api, "", "", time.Unix(1e9, 0))
	require.NoError(t, err)
	parts := strings.Split(raw, ".")
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	require.NoError(t, err)
	require.Contains(t, string(header), `"EdDSA"`)
	newer := base64.RawURLEncoding.EncodeToString(bytes.Replace(header, []byte(`"EdDSA"`), []byte(`"Ed25519"`), 1)) + "." + parts[1]
	p, err := dpop.Read(newer+"."+base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(newer))), dpop.Algorithms)
	require.NoError(t, err)
	assert.Equal(t, key.Thumbprint, p.Thumbprint)
	_, err = dpop.Read(newer+"."+parts[2], dpop.Algorithms)
	assert.ErrorContains(t, err, "signature")
}

func TestASignerThatIsUnfitOrFails(t *testing.T) {
	_, err := dpop.NewKey(nil)
	assert.ErrorContains(t, err, "nil")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	key, err := dpop.NewKey(outOfReach{private})
	require.NoError(t, err)
	raw, err := key.Proof("GET", api, "", "", time.Unix(1e9, 0))
	assert.ErrorIs(t, err, errOutOfReach)
	assert.Empty(t, raw)
}

// An outOfReach is a signer whose private key is elsewhere, as that of a KMS is.
type outOfReach struct{ crypto.Signer }

var errOutOfReach = errors.New("no connection")

func (outOfReach) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errOutOfReach
}

// The proofs of RFC 9449, Sections 4.1 and 7.1, and the values that it names.
func TestTheExamplesOfTheRFC(t *testing.T) {
	first, err := dpop.Read("eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik"+
		"VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR"+
		"nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE"+
		"QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIj"+
		"oiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia"+
		"WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg"+
		"4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg", dpop.Algorithms)
	require.NoError(t, err)
	assert.Equal(t, &dpop.Proof{
		Thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", ID: "-BwC3ESc6acc2lTc",
		Method: "POST", URL: "https://server.example.com/token", IssuedAt: time.Unix(1562262616, 0),
	}, first)

	second, err := dpop.Read("eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik"+
		"VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR"+
		"nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE"+
		"QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj"+
		"oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z"+
		"WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF"+
		"c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E"+
		"OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA", dpop.Algorithms)
	require.NoError(t, err)
	assert.Equal(t, dpop.TokenHash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"), second.TokenHash)
	assert.Equal(t, "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo", second.TokenHash)
}

// sign makes a proof of any header and payload, signed with ES256.
func sign(t testing.TB, private *ecdsa.PrivateKey, header, payload map[string]any) string {
	encode := func(v any) string {
		data, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return signInput(t, private, encode(header)+"."+encode(payload))
}

// signInput is sign for what is encoded.
func signInput(t testing.TB, private *ecdsa.PrivateKey, input string) string {
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	require.NoError(t, err)
	sig := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func jwkOf(t testing.TB, private *ecdsa.PrivateKey) map[string]any {
	point, err := private.PublicKey.Bytes()
	require.NoError(t, err)
	e := base64.RawURLEncoding.EncodeToString
	return map[string]any{"kty": "EC", "crv": "P-256", "x": e(point[1:33]), "y": e(point[33:])}
}

func with(m map[string]any, name string, value any) map[string]any {
	c := maps.Clone(m)
	if c[name] = value; value == nil {
		delete(c, name)
	}
	return c
}

// RFC 9449, Section 4.3: what a proof must be by itself.
func TestReadRefuses(t *testing.T) {
	_, private := newKey(t)
	jwk := jwkOf(t, private)
	d, err := private.Bytes()
	require.NoError(t, err)
	header := map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}
	payload := map[string]any{"jti": "1", "htm": "GET", "htu": api, "iat": 1e9}
	_, err = dpop.Read(sign(t, private, header, payload), dpop.Algorithms)
	require.NoError(t, err, "the proof that all others differ from")

	_, other := newKey(t)
	good := sign(t, private, header, payload)
	cut := strings.LastIndexByte(good, '.')
	first, rest, _ := strings.Cut(good, ".")
	for _, test := range []struct{ name, raw, want string }{
		{"nothing", "", "no three parts"},
		{"two parts", "a.b", "no three parts"},
		{"no signature", good[:cut+1], "no three parts"},
		{"another spelling", good + "=", "is not base64url"},
		{"stray bits in the signature", good[:len(good)-1] + "_", "not canonical base64url"},
		{"stray bits in the header", "MR." + rest, "not canonical base64url"},
		{"stray bits in the payload", signInput(t, private, first+".MR"), "not canonical base64url"},
		{"a payload that is no object", signInput(t, private, first+".MQ"), "not a set of claims"},
		{"a header that is no object", "MQ." + rest, "header is not an unambiguous"},
		{"too long", sign(t, private, header, with(payload, "more", strings.Repeat("x", dpop.MaxBytes))), "limit of 4096"},
		{"no typ", sign(t, private, with(header, "typ", nil), payload), `"typ" is not`},
		{"typ of another JWT", sign(t, private, with(header, "typ", "at+jwt"), payload), `"typ" is not`},
		{"alg none", sign(t, private, with(header, "alg", "none"), payload), `"alg" is not allowed`},
		{"alg HS256", sign(t, private, with(header, "alg", "HS256"), payload), `"alg" is not allowed`},
		{"alg of another key", sign(t, private, with(header, "alg", "EdDSA"), payload), `"EdDSA" is not for this key`},
		{"alg of another curve", sign(t, private, with(header, "alg", "ES384"), payload), `"ES384" is not for this key`},
		{"no alg", sign(t, private, with(header, "alg", nil), payload), `"alg" is not allowed`},
		{"crit", sign(t, private, with(header, "crit", []string{"b64"}), payload), "extension"},
		{"no jwk", sign(t, private, with(header, "jwk", nil), payload), "JWK is not an unambiguous"},
		{"jwk is text", sign(t, private, with(header, "jwk", "x"), payload), "JWK is not an unambiguous"},
		{"jwk is private", sign(t, private, with(header, "jwk", with(jwk, "d", base64.RawURLEncoding.EncodeToString(d))), payload), "not a public one"},
		{"jwk is symmetric", sign(t, private, with(header, "jwk", map[string]any{"kty": "oct", "k": "c2VjcmV0"}), payload), "not a public one"},
		{"jwk is another key", sign(t, private, with(header, "jwk", jwkOf(t, other)), payload), "signature is not that of its key"},
		{"jwk is no point", sign(t, private, with(header, "jwk", with(jwk, "y", jwk["x"])), payload), "no point of its curve"},
		{"jwk of an unknown curve", sign(t, private, with(header, "jwk", with(jwk, "crv", "secp256k1")), payload), `"crv" is none of`},
		{"jwk with a short number", sign(t, private, with(header, "jwk", with(jwk, "x", "AA")), payload), `"x" is not base64url of the right length`},
		{"jwk with a number missing", sign(t, private, with(header, "jwk", with(jwk, "y", nil)), payload), `"y" is not base64url of the right length`},
		{"weak RSA", sign(t, private, with(with(header, "alg", "RS256"), "jwk", map[string]any{"kty": "RSA", "e": "AQAB", "n": strings.Repeat("g", 170)}), payload), "2048 to 8192 bits"},
		{"signed by another key", sign(t, other, header, payload), "signature is not that of its key"},
		{"no jti", sign(t, private, header, with(payload, "jti", nil)), `"jti" is missing`},
		{"empty jti", sign(t, private, header, with(payload, "jti", "")), `"jti" is not a string, or empty`},
		{"long jti", sign(t, private, header, with(payload, "jti", strings.Repeat("x", 257))), `"jti" is missing, or longer`},
		{"jti is a number", sign(t, private, header, with(payload, "jti", 1)), `"jti" is not a string`},
		{"no htm", sign(t, private, header, with(payload, "htm", nil)), `"htm" or "htu" is missing`},
		{"htm is a list", sign(t, private, header, with(payload, "htm", []string{"GET"})), `"htm" is not a string`},
		{"no htu", sign(t, private, header, with(payload, "htu", nil)), `"htm" or "htu" is missing`},
		{"no iat", sign(t, private, header, with(payload, "iat", nil)), `"iat" is missing`},
		{"iat is text", sign(t, private, header, with(payload, "iat", "1000000000")), `"iat" is missing, or no date`},
		{"empty ath", sign(t, private, header, with(payload, "ath", "")), `"ath" is not a string, or empty`},
		{"nonce is a number", sign(t, private, header, with(payload, "nonce", 7)), `"nonce" is not a string`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := dpop.Read(test.raw, append([]string{"none", "HS256"}, dpop.Algorithms...))
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestNormalize(t *testing.T) {
	for raw, want := range map[string]string{
		"https://api.example.com/v1/me":             api,
		"HTTPS://API.Example.COM/v1/me":             api,
		"https://api.example.com:443/v1/me":         api,
		"https://api.example.com:/v1/me":            api,
		"https://api.example.com/v1/me?a=b#c":       api,
		"https://api.example.com/v1/%6de":           api,
		"https://api.example.com/v1/./x/../me":      api,
		"https://api.example.com/../v1/me":          api,
		"https://api.example.com/v1/%2e%2e/v1/me":   api,
		"https://api.example.com":                   "https://api.example.com/",
		"https://api.example.com/a%2fb":             "https://api.example.com/a%2Fb",
		"https://api.example.com/a/..":              "https://api.example.com/",
		"https://api.example.com//a//":              "https://api.example.com//a//",
		"https://api.example.com/ME":                "https://api.example.com/ME",
		"http://127.0.0.1:80/":                      "http://127.0.0.1/",
		"http://127.0.0.1:443/":                     "http://127.0.0.1:443/",
		"http://[::1]:80/":                          "http://[::1]/",
		"http://[::1]:8080/":                        "http://[::1]:8080/",
		"https://api.example.com/caf%c3%a9":         "https://api.example.com/caf%C3%A9",
		"https://api.example.com/%7Euser/%41%2D%5f": "https://api.example.com/~user/A-_",
	} {
		got, err := dpop.Normalize(raw)
		assert.NoError(t, err, raw)
		assert.Equal(t, want, got, raw)
	}
	for _, raw := range []string{"", "/v1/me", "api.example.com/v1", "ftp://a/b", "https:///x", "https://user@a/b", "https:opaque", "https://a/%zz"} {
		_, err := dpop.Normalize(raw)
		assert.Error(t, err, raw)
	}
}

// FuzzNormalize: what is normal stays so.
func FuzzNormalize(f *testing.F) {
	f.Add("https://api.example.com/a/%2e%2E/b//c?d#e")
	f.Add("http://[::1]:80/%7e/.")
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := dpop.Normalize(raw)
		if err != nil {
			return
		}
		twice, err := dpop.Normalize(once)
		if err != nil || once != twice {
			t.Fatalf("%q became %q, then %q, %v", raw, once, twice, err)
		}
	})
}

func FuzzRead(f *testing.F) {
	key, _ := newKey(f)
	raw, err := key.Proof("GET", api, "", "", time.Unix(1e9, 0))
	require.NoError(f, err)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := dpop.Read(raw, dpop.Algorithms)
		if err == nil && (p.Thumbprint == "" || p.ID == "" || p.Method == "" || p.URL == "" || p.IssuedAt.IsZero()) {
			t.Fatalf("%+v", p)
		}
	})
}

func TestSite(t *testing.T) {
	request := func(change func(*http.Request)) *http.Request {
		r := httptest.NewRequest("GET", "http://API.example.com/v1/me?x=1", nil)
		r.RequestURI, r.RemoteAddr = "/v1/me?x=1", "10.0.0.1:1234"
		r.URL.Path = "/me" // as http.StripPrefix leaves it
		if change != nil {
			change(r)
		}
		return r
	}
	forwarded := func(r *http.Request) {
		r.Header.Set("X-Forwarded-Proto", "http, https")
		r.Header.Set("X-Forwarded-Host", "evil.example, api.example.com")
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	assert.Equal(t, "http://api.example.com/v1/me", dpop.Site{}.URL(request(nil)))
	assert.Equal(t, "http://api.example.com/v1/me", dpop.Site{}.URL(request(forwarded)), "nobody is believed by default")
	assert.Equal(t, api, dpop.Site{Proxies: proxies}.URL(request(forwarded)), "the last element is the proxy's")
	assert.Equal(t, "http://api.example.com/v1/me", dpop.Site{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}.URL(request(forwarded)))
	assert.Equal(t, "http://api.example.com/v1/me", dpop.Site{Proxies: proxies}.URL(request(nil)), "a proxy that adds nothing")
	assert.Equal(t, "https://public.example/base/v1/me", dpop.Site{Public: "https://public.example/base/", Proxies: proxies}.URL(request(forwarded)))
}

func checker(now func() time.Time) *dpop.Checker {
	return &dpop.Checker{Algorithms: dpop.Algorithms, MaxAge: time.Minute, Leeway: 10 * time.Second, Site: dpop.Site{Public: "https://api.example.com"}, Replays: dpop.NewMemory(dpop.MaxProofs, now), Now: now}
}

func requestWith(proofs ...string) *http.Request {
	r := httptest.NewRequest("GET", "/v1/me", nil)
	r.Header[dpop.Header] = proofs
	return r
}

// RFC 9449, Section 4.3, as a whole.
func TestCheck(t *testing.T) {
	now := time.Unix(1e9, 0)
	key, _ := newKey(t)
	other, _ := newKey(t)
	proof := func(k *dpop.Key, method, url, token string, at time.Time) string {
		hash := ""
		if token != "" {
			hash = dpop.TokenHash(token)
		}
		raw, err := k.Proof(method, url, hash, "", at)
		require.NoError(t, err)
		return raw
	}
	good := func() string { return proof(key, "GET", api, "token", now) }
	c := checker(func() time.Time { return now })
	used := good()
	for _, test := range []struct {
		name   string
		proofs []string
		ok     bool
	}{
		{"one proof", []string{used}, true},
		{"the same again", []string{used}, false},
		{"another", []string{good()}, true},
		{"none", nil, false},
		{"two", []string{good(), good()}, false},
		{"a list", []string{good() + ", " + good()}, false},
		{"another method", []string{proof(key, "POST", api, "token", now)}, false},
		{"the method in lower case", []string{proof(key, "get", api, "token", now)}, false},
		{"another path", []string{proof(key, "GET", api+"/x", "token", now)}, false},
		{"another host", []string{proof(key, "GET", "https://evil.example/v1/me", "token", now)}, false},
		{"http", []string{proof(key, "GET", "http://api.example.com/v1/me", "token", now)}, false},
		{"another spelling of the URL", []string{proof(key, "GET", "https://API.example.com:443/v1/%6De?q", "token", now)}, true},
		{"another token", []string{proof(key, "GET", api, "another", now)}, false},
		{"no ath", []string{proof(key, "GET", api, "", now)}, false},
		{"another key", []string{proof(other, "GET", api, "token", now)}, false},
		{"as old as can be", []string{proof(key, "GET", api, "token", now.Add(-70*time.Second))}, true},
		{"too old", []string{proof(key, "GET", api, "token", now.Add(-71*time.Second))}, false},
		{"as new as can be", []string{proof(key, "GET", api, "token", now.Add(10*time.Second))}, true},
		{"made in advance", []string{proof(key, "GET", api, "token", now.Add(11*time.Second))}, false},
	} {
		p, err := c.Check(requestWith(test.proofs...), "token", key.Thumbprint)
		if test.ok {
			assert.NoError(t, err, test.name)
			continue
		}
		assert.Nil(t, p, test.name)
		assert.ErrorIs(t, err, jwterrors.ProofInvalid, test.name)
		for _, raw := range test.proofs {
			assert.NotContains(t, err.Error(), raw, test.name)
		}
	}
}

func TestNonces(t *testing.T) {
	now := time.Unix(1e9, 0)
	key, _ := newKey(t)
	c := checker(func() time.Time { return now })
	c.Nonces = dpop.NewNonces(nil)
	check := func(nonce string) (*dpop.Proof, error) {
		raw, err := key.Proof("GET", api, "", nonce, time.Unix(5e8, 0)) // the clock of the client is wrong
		require.NoError(t, err)
		return c.Check(requestWith(raw), "", "")
	}
	_, err := check("")
	assert.ErrorIs(t, err, jwterrors.ProofNonceRequired)
	nonce := c.Nonce(nil, err)
	assert.Len(t, nonce, 24)
	for range 2 { // for any number of requests
		p, err := check(nonce)
		require.NoError(t, err)
		assert.Empty(t, c.Nonce(p, nil), "it is good for a while")
	}
	now = now.Add(time.Minute)
	p, err := check(nonce)
	require.NoError(t, err)
	next := c.Nonce(p, nil)
	assert.NotEmpty(t, next, "the next one comes before it is needed")
	assert.NotEqual(t, nonce, next)
	now = now.Add(time.Minute)
	_, err = check(nonce)
	assert.ErrorIs(t, err, jwterrors.ProofNonceRequired)
	_, err = check(next)
	assert.NoError(t, err)
	_, err = check(dpop.NewNonces(nil).Current(now))
	assert.ErrorIs(t, err, jwterrors.ProofNonceRequired, "another server's")
	assert.Equal(t, dpop.NewNonces([]byte("s")).Current(now), dpop.NewNonces([]byte("s")).Current(now), "processes that share the secret")
	assert.Empty(t, c.Nonce(nil, jwterrors.ProofInvalid))
}

func TestAMemoryThatIsFullCannotTell(t *testing.T) {
	now := time.Unix(1e9, 0)
	key, _ := newKey(t)
	c := checker(func() time.Time { return now })
	c.Replays = dpop.NewMemory(1, c.Now)
	var err error
	for n := 0; n < 1000 && err == nil; n++ {
		raw, wrong := key.Proof("GET", api, "", "", now)
		require.NoError(t, wrong)
		_, err = c.Check(requestWith(raw), "", "")
	}
	assert.ErrorIs(t, err, jwterrors.StoreUnavailable)
	assert.ErrorIs(t, err, dpop.ErrFull)
	assert.Empty(t, c.Nonce(nil, jwterrors.ProofNonceRequired), "there are none")
}

func TestOneOfManyUses(t *testing.T) {
	m := dpop.NewMemory(dpop.MaxProofs, time.Now)
	var first atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if ok, err := m.Use(t.Context(), "proof", time.Now().Add(time.Minute)); err == nil && ok {
				first.Add(1)
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, first.Load())
}

// Nothing is forgotten before its end, and everything a while after.
func TestMemory(t *testing.T) {
	now := time.Unix(1e9, 0)
	m := dpop.NewMemory(dpop.MaxProofs, func() time.Time { return now })
	const life = time.Minute
	uses := map[string]time.Time{}
	for n := range 10000 {
		now = now.Add(37 * time.Millisecond)
		id := fmt.Sprint(n)
		ok, err := m.Use(t.Context(), id, now.Add(life))
		require.NoError(t, err)
		require.True(t, ok)
		uses[id] = now.Add(life)
		if old := fmt.Sprint(n - 1500); uses[old].After(now) {
			ok, err := m.Use(t.Context(), old, uses[old])
			require.NoError(t, err)
			require.False(t, ok, "%s has not ended", old)
		}
	}
	now = now.Add(10 * life)
	for range 2 { // it is cleared by use, two halves at a time
		for n := range 10000 {
			_, _ = m.Use(t.Context(), fmt.Sprint("later", n), now.Add(life))
		}
		now = now.Add(2 * life)
	}
	ok, err := m.Use(t.Context(), "0", now.Add(life))
	assert.NoError(t, err)
	assert.True(t, ok)
}

func TestAFullMemoryForgetsNothing(t *testing.T) {
	now := time.Unix(1e9, 0)
	m := dpop.NewMemory(1<<12, func() time.Time { return now })
	var full int
	for n := range 1 << 13 {
		ok, err := m.Use(t.Context(), fmt.Sprint(n), now.Add(time.Minute))
		if err != nil {
			require.ErrorIs(t, err, dpop.ErrFull)
			full++
		} else {
			require.True(t, ok)
		}
	}
	assert.Positive(t, full)
	ok, err := m.Use(t.Context(), "0", now.Add(time.Minute))
	assert.NoError(t, err)
	assert.False(t, ok)
	now = now.Add(time.Minute + 1)
	ok, err = m.Use(t.Context(), "new", now.Add(time.Minute))
	assert.NoError(t, err)
	assert.True(t, ok, "there is room again")
}

// Whoever can choose the names of proofs cannot fill one part of a Memory, and shut
// out those whose proofs happen to be in it.
func TestTheNamesOfProofsFillNoPart(t *testing.T) {
	now := time.Unix(1e9, 0)
	m := dpop.NewMemory(1<<12, func() time.Time { return now })
	for n, found := 0, 0; found < 256; n++ { // an eighth of those that there is room for
		id := fmt.Sprint(n)
		if sum := sha256.Sum256([]byte(id)); sum[16]%64 != 0 {
			continue
		}
		found++
		ok, err := m.Use(t.Context(), id, now.Add(time.Minute))
		require.NoError(t, err)
		require.True(t, ok)
	}
}

// A clock that was a day ahead and is set right leaves no Memory that is full for a
// day, nor one that forgets what it was told since.
func TestAMemoryWhoseClockIsSetBack(t *testing.T) {
	now := time.Unix(1e9, 0)
	m := dpop.NewMemory(1<<13, func() time.Time { return now })
	use := func(id string) (bool, error) { return m.Use(t.Context(), id, now.Add(time.Minute)) }
	now = now.Add(24 * time.Hour)
	for n := range 1 << 10 {
		_, err := use(fmt.Sprint("ahead", n))
		require.NoError(t, err)
	}
	now = now.Add(-24 * time.Hour)
	for n := range 1 << 14 { // twice as many as there is room for, in a quarter of an hour
		id := fmt.Sprint(n)
		first, err := use(id)
		require.NoError(t, err)
		require.True(t, first)
		now = now.Add(55 * time.Millisecond)
		first, err = use(id)
		require.NoError(t, err)
		require.False(t, first)
	}
}

// Of two processes one has a clock that is a minute ahead. Each takes the nonces of
// the other.
func TestNoncesOfAClockThatIsAhead(t *testing.T) {
	now := time.Unix(1e9, 0)
	n := dpop.NewNonces([]byte("shared"))
	until, current, ok := n.Check(n.Current(now.Add(time.Minute)), now)
	assert.True(t, ok)
	assert.True(t, current, "no other one is needed")
	assert.WithinDuration(t, now.Add(3*time.Minute), until, time.Minute)
	_, current, ok = n.Check(n.Current(now), now.Add(time.Minute))
	assert.True(t, ok)
	assert.False(t, current)
	_, _, ok = n.Check(n.Current(now.Add(2*time.Minute)), now)
	assert.False(t, ok, "two minutes are more than a difference of clocks")
}
