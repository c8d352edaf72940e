package issuertest

import (
	"cmp"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/issuer"
)

// Config describes a Fake. The zero value is ready to use.
type Config struct {
	// Algorithm is what tokens are signed with: issuer.ES256, RS256, EdDSA or
	// HS256. Empty means ES256. An RSA key takes a while to make.
	Algorithm string

	// Issuer is the name of the issuer, for a verifier that has it written
	// down. Empty means the URL of the server, or "https://issuer.test" without
	// one.
	Issuer string

	// Audience is who the tokens are for. Empty means "test-audience".
	Audience string

	// Lifetime is the time between "iat" and "exp", in whole seconds. Zero means 15
	// minutes.
	Lifetime time.Duration

	// NoServer starts no server, so that nothing listens. The JWK Set and the
	// metadata are had by Client or Handler then.
	NoServer bool
}

// What zero means in a Config.
const (
	defaultAlgorithm = issuer.ES256
	defaultIssuer    = "https://issuer.test"
	defaultAudience  = "test-audience"
	defaultLifetime  = 15 * time.Minute
)

// A Fake is an issuer for tests. It is safe for concurrent use.
type Fake struct {
	tb   testing.TB
	c    Config
	base string // URL of the documents, without a slash at the end

	client *dpop.Key // what Bound tokens are bound to

	mu        sync.Mutex
	offset    time.Duration
	signing   *key
	published []*key          // the signing key is the last
	foreign   map[string]*key // what forgeries are signed with, by algorithm
	down      bool
	fetches   int
}

// New returns a fake issuer. It ends the test if c is wrong. Its server, on
// loopback, is closed when the test ends.
func New(tb testing.TB, c Config) *Fake {
	tb.Helper()
	if err := c.check(); err != nil {
		tb.Fatalf("%v", err)
		return nil
	}
	client, err := newClientKey()
	if err != nil {
		tb.Fatalf("issuertest: make a key: %v", err)
		return nil
	}
	f := &Fake{tb: tb, c: c, client: client, foreign: map[string]*key{}}
	f.c.Algorithm = cmp.Or(c.Algorithm, defaultAlgorithm)
	f.c.Audience = cmp.Or(c.Audience, defaultAudience)
	f.c.Lifetime = cmp.Or(c.Lifetime, defaultLifetime)
	f.signing = f.newKey(f.c.Algorithm)
	f.published = []*key{f.signing}
	f.base = cmp.Or(f.issuerOrigin(), defaultIssuer)
	if !c.NoServer {
		server := httptest.NewServer(f.Handler())
		tb.Cleanup(server.Close)
		f.base = server.URL
	}
	f.c.Issuer = cmp.Or(c.Issuer, f.base)
	return f
}

// check returns every mistake in c.
func (c Config) check() error {
	var mistakes []error
	if c.Algorithm != "" && !slices.Contains(algorithms, c.Algorithm) {
		mistakes = append(mistakes, fmt.Errorf("issuertest: Algorithm %q is not one of %s", c.Algorithm, strings.Join(algorithms, ", ")))
	}
	if c.Lifetime < 0 || c.Lifetime%time.Second != 0 {
		mistakes = append(mistakes, fmt.Errorf("issuertest: Lifetime is %v, and can be whole seconds", c.Lifetime))
	}
	return errors.Join(mistakes...)
}

// Issuer returns the name of the issuer, the "iss" of its tokens.
func (f *Fake) Issuer() string { return f.c.Issuer }

// Audience returns who the tokens are for, their "aud".
func (f *Fake) Audience() string { return f.c.Audience }

func (f *Fake) text() string { return "issuertest.Fake(" + f.c.Issuer + ")" }

// Format names the fake by its issuer, without its keys, for every verb and flag.
func (f *Fake) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(f.text())) }

// Now returns the time of the fake: time.Now, moved on by Advance.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(f.offset)
}

// Advance moves the clock of Now on by d, or back if d is negative.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset += d
}

// KeyID returns the "kid" of the key that signs now.
func (f *Fake) KeyID() string { return f.signer().id }

// PublicKey returns the public key of the key that signs now: an
// *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey; nil for HS256.
func (f *Fake) PublicKey() crypto.PublicKey { return f.signer().public }

// Secret returns the secret of HS256 that signs now; nil for other algorithms.
func (f *Fake) Secret() []byte {
	secret, _ := f.signer().private.([]byte)
	return slices.Clone(secret)
}

func (f *Fake) signer() *key {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.signing
}

// JWKS returns the JWK Set (RFC 7517, Section 5) that is published now, empty for
// HS256.
func (f *Fake) JWKS() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := []json.RawMessage{}
	for _, k := range f.published {
		if k.jwk != nil {
			keys = append(keys, k.jwk)
		}
	}
	set, _ := json.Marshal(map[string]any{"keys": keys}) // made by json.Marshal before
	return set
}

// Rotate makes a new key, which signs from now on. Those before it stay
// published.
func (f *Fake) Rotate() {
	f.tb.Helper()
	next := f.newKey(f.c.Algorithm)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signing = next
	f.published = append(f.published, next)
}

// Unpublish takes all keys out of the JWK Set but the one that signs now.
func (f *Fake) Unpublish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.published = []*key{f.signing}
}

// Down makes the server, Handler and Client answer everything with 503, or as
// usual again. Tokens are minted meanwhile.
func (f *Fake) Down(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Fetches returns how often the JWK Set was asked for, by the server, Handler and
// Client, whether it was down or not.
func (f *Fake) Fetches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetches
}

// JWKSURL returns the URL of the JWK Set.
func (f *Fake) JWKSURL() string { return f.base + jwksPath }

// Client returns a client that is answered by Handler, without a socket, at the
// origins of JWKSURL and of Issuer. Requests to others fail.
func (f *Fake) Client() *http.Client { return &http.Client{Transport: transport{f}} }
