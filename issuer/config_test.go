package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
)

func TestAConfigThatWouldFailOpenIsRefused(t *testing.T) {
	year := 365 * 24 * time.Hour
	f := newFixture(t, nil)
	for _, c := range []struct {
		name   string
		change func(*issuer.Config)
		want   string
	}{
		{"no issuer", func(c *issuer.Config) { c.Issuer = "" }, `Issuer "": it is required`},
		{"a plain http issuer", func(c *issuer.Config) { c.Issuer = "http://id.example.com" }, "no loopback address"},
		{"a plain http issuer that looks local", func(c *issuer.Config) { c.Issuer = "http://127.0.0.1.example.com" }, "https"},
		{"an issuer with a query", func(c *issuer.Config) { c.Issuer = "https://id.example.com?x" }, "query"},
		{"an issuer that is no URL", func(c *issuer.Config) { c.Issuer = "me" }, "URL"},
		{"an issuer without its scheme", func(c *issuer.Config) { c.Issuer = "id.example.com" }, "begins with https://"},
		{"no audience", func(c *issuer.Config) { c.Audience = nil }, "Audience"},
		{"an empty audience", func(c *issuer.Config) { c.Audience = []string{""} }, "Audience"},
		{"no keys", func(c *issuer.Config) { c.Keys = nil }, "Keys is required"},
		{"no master key", func(c *issuer.Config) { c.MasterKeys = nil }, "MasterKeys is required: 32 random bytes"},
		{"a short master key", func(c *issuer.Config) { c.MasterKeys[0].Secret = make([]byte, 31) }, "31 bytes"},
		{"two master keys of one name", func(c *issuer.Config) { c.MasterKeys = append(c.MasterKeys, c.MasterKeys[0]) }, "stands twice"},
		{"a master key with a dot in its name", func(c *issuer.Config) { c.MasterKeys[0].ID = "a.b" }, "not 1 to 32"},
		{"no store", func(c *issuer.Config) { c.Store = nil }, "Store is required"},
		{"no authenticator (IT-04)", func(c *issuer.Config) { c.Authenticate = nil }, "Authenticate is required"},
		{"a lifetime of a year (IT-09, IT-40)", func(c *issuer.Config) { c.AccessTTL, c.RefreshTTL = year, 2*year }, "less than a year"},
		{"a negative lifetime", func(c *issuer.Config) { c.AccessTTL = -1 }, "AccessTTL"},
		{"a fraction of a second", func(c *issuer.Config) { c.AccessTTL = 1500 * time.Millisecond }, "whole number"},
		{"a session no longer than its tokens (JG-06)", func(c *issuer.Config) { c.AccessTTL, c.RefreshTTL = time.Hour, time.Hour }, "longer than AccessTTL"},
		{"an idle end within the grace", func(c *issuer.Config) { c.IdleTTL = 15*time.Minute + 30*time.Second }, "IdleTTL"},
		{"a negative grace", func(c *issuer.Config) { c.Grace = -2 }, "NoGrace"},
		{"a grace that is no grace any more", func(c *issuer.Config) { c.Grace = 5*time.Minute + 1 }, "at most 5m0s"},
		{"a relative prefix", func(c *issuer.Config) { c.Prefix = "auth" }, "Prefix"},
		{"a prefix with a slash at its end", func(c *issuer.Config) { c.Prefix = "/auth/" }, "Prefix"},
		{"a prefix with a pattern", func(c *issuer.Config) { c.Prefix = "/{x}" }, "Prefix"},
		{"a prefix with a control character", func(c *issuer.Config) { c.Prefix = "/auth\n" }, "Prefix"},
		{"a prefix with a tab", func(c *issuer.Config) { c.Prefix = "/a\tb" }, "Prefix"},
		{"a prefix with an escape", func(c *issuer.Config) { c.Prefix = "/a%2Fb" }, "Prefix"},
		{"a prefix that is not clean", func(c *issuer.Config) { c.Prefix = "/a/../b" }, "Prefix"},
		{"a prefix with two slashes", func(c *issuer.Config) { c.Prefix = "//auth" }, "Prefix"},
		{"a prefix with a backslash", func(c *issuer.Config) { c.Prefix = `/a\b` }, "Prefix"},
		{"a prefix that is not ASCII", func(c *issuer.Config) { c.Prefix = "/ä" }, "Prefix"},
		{"a prefix with a host", func(c *issuer.Config) { c.Prefix = "id.example.com/auth" }, "Prefix"},
		{"a prefix with a method", func(c *issuer.Config) { c.Prefix = "GET /auth" }, "Prefix"},
		{"an issuer with an empty query", func(c *issuer.Config) { c.Issuer = "https://id.example.com?" }, "query"},
		{"an issuer with an empty fragment", func(c *issuer.Config) { c.Issuer = "https://id.example.com#" }, "fragment"},
		{"an issuer with a user", func(c *issuer.Config) { c.Issuer = "https://me@id.example.com" }, "user"},
		{"an issuer without a host", func(c *issuer.Config) { c.Issuer = "https://:8443/x" }, "no host"},
		{"an issuer with a space", func(c *issuer.Config) { c.Issuer = "https://id.example.com/a b" }, "Issuer"},
		{"an issuer with a space in front", func(c *issuer.Config) { c.Issuer = " https://id.example.com" }, "Issuer"},
		{"an issuer with a control character", func(c *issuer.Config) { c.Issuer = "https://id.example.com/\x00" }, "Issuer"},
		{"an issuer with an escape", func(c *issuer.Config) { c.Issuer = "https://id.example.com/%2e" }, "Issuer"},
		{"an issuer with dots", func(c *issuer.Config) { c.Issuer = "https://id.example.com/a/../b" }, "Issuer"},
		{"an issuer in capitals", func(c *issuer.Config) { c.Issuer = "HTTPS://id.example.com" }, "Issuer"},
		{"an issuer with a host in capitals", func(c *issuer.Config) { c.Issuer = "https://ID.example.com" }, "Issuer"},
		{"an issuer with a port that is none", func(c *issuer.Config) { c.Issuer = "https://id.example.com:99999" }, "Issuer"},
		{"keys that retire too early", func(c *issuer.Config) {
			c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.EdDSA), RetireAfter: time.Minute}))
		}, "retires keys"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := f.config()
			c.change(&cfg)
			_, err := issuer.New(cfg)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), string(masterSecret))
		})
	}
	_, err := issuer.New(issuer.Config{})
	for _, field := range []string{"Issuer", "Audience", "Keys", "MasterKeys", "Store", "Authenticate"} {
		assert.ErrorContains(t, err, field, "all mistakes come at once")
	}
	for _, good := range []string{"http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://id.example.com/tenant", "https://id.example.com:8443/", "https://id.example.com/a/b/"} {
		cfg := f.config()
		cfg.Issuer = good
		_, err := issuer.New(cfg)
		assert.NoError(t, err)
	}
	for _, good := range []string{"/auth", "/a/b", "/v1.0/auth_x-y~z", "/a:b@c", "/.well-known"} {
		cfg := f.config()
		cfg.Prefix = good
		iss := must(issuer.New(cfg))
		w := httptest.NewRecorder()
		iss.ServeHTTP(w, httptest.NewRequest("GET", good+"/.well-known/jwks.json", nil))
		assert.Equal(t, 200, w.Code, good)
	}
	cfg := f.config()
	cfg.Grace = 5 * time.Minute
	_, err = issuer.New(cfg)
	assert.NoError(t, err)
	cfg = f.config()
	cfg.AccessTTL = year - time.Second
	cfg.RefreshTTL = year
	cfg.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.EdDSA), RetireAfter: year + time.Minute}))
	_, err = issuer.New(cfg)
	assert.NoError(t, err, "a second less than a year (IT-09)")
}

func TestDefaultsAreThoseOfThePractice(t *testing.T) { // IT-40, NV-09, AX-01
	assert.GreaterOrEqual(t, issuer.DefaultAccessTTL, 15*time.Minute)
	assert.LessOrEqual(t, issuer.DefaultAccessTTL, time.Hour)
	assert.GreaterOrEqual(t, issuer.DefaultRefreshTTL, 24*time.Hour)
	r := newFixture(t, nil).login()
	assert.EqualValues(t, 900, r.body["expires_in"])
	assert.EqualValues(t, 30*24*3600, r.body["refresh_expires_in"])
}

func TestWeakKeysAreRefused(t *testing.T) {
	_, err := issuer.NewSecretKey(make([]byte, 31))
	assert.ErrorContains(t, err, "31")
	_, err = issuer.NewKey(must(rsa.GenerateKey(rand.Reader, 1024)))
	assert.ErrorContains(t, err, "1024")
	_, err = issuer.NewKey(must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)))
	assert.ErrorContains(t, err, "P-256")
	_, err = issuer.NewKey(nil)
	assert.Error(t, err)
	_, err = issuer.GenerateKey("none")
	assert.ErrorContains(t, err, "none")
	for _, text := range []string{"", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		_, err = issuer.ParseKey([]byte(text))
		assert.ErrorContains(t, err, "PRIVATE KEY")
	}
	assert.False(t, strings.Contains(err.Error(), "AAAA"))
}

// FuzzPrefixAndIssuer: whatever they are, New returns, and what it takes works.
func FuzzPrefixAndIssuer(f *testing.F) {
	fx := newFixture(f, nil)
	f.Add("/auth", issuerURL)
	f.Add("/{x...}", "https://[::1")
	f.Add("/a/{$}", "http://localhost:0x1")
	f.Add("/\x00", "https://a/\x7f")
	f.Fuzz(func(t *testing.T, prefix, url string) {
		cfg := fx.config()
		cfg.Prefix, cfg.Issuer = prefix, url
		if _, err := issuer.New(cfg); err == nil && (strings.ContainsAny(prefix+url, " %\t\n#?\\{}") || strings.HasSuffix(prefix, "/") && prefix != "/") {
			t.Errorf("New takes the prefix %q and the issuer %q", prefix, url)
		}
	})
}
