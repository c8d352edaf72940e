package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/MicahParks/keyfunc/v3"

	"github.com/tokenloop/tokenloop/issuer"
)

// Every algorithm, through golang-jwt and keyfunc as foreign verifiers.
func TestAccessTokensVerifyElsewhere(t *testing.T) { // IT-02, IT-06, MO-14
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	secret := []byte("an obviously fake secret, 32 bytes")
	for name, key := range map[string]*issuer.Key{
		"HS256": must(issuer.NewSecretKey(secret)), "RS256": must(issuer.NewKey(rsaKey)), "ES256": must(issuer.NewKey(ecKey)),
		"EdDSA": must(issuer.NewKey(edPrivate)), "RS256 in a KMS": must(issuer.NewKey(kms{rsaKey})),
		"ES256 in a KMS": must(issuer.NewKey(kms{ecKey})), "EdDSA in a KMS": must(issuer.NewKey(kms{edPrivate})),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c *issuer.Config) { c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})) })
			for range 20 { // an ECDSA signature has leading zeros now and then
				access := f.login().str("access_token")
				assert.Equal(t, key.ID(), part(t, access, 0)["kid"])
				assert.Equal(t, key.Algorithm(), part(t, access, 0)["alg"])
				if key.Algorithm() == issuer.HS256 {
					verified(t, access, secret)
					continue
				}
				set := must(keyfunc.NewJWKSetJSON(f.issuer.JWKS()))
				_, err := jwt.Parse(access, set.Keyfunc, jwt.WithValidMethods([]string{key.Algorithm()}))
				require.NoError(t, err)
			}
			if key.Algorithm() == issuer.HS256 {
				assert.JSONEq(t, `{"keys":[]}`, string(f.issuer.JWKS()), "a secret is never published")
			}
		})
	}
}

func TestTheKeyIDIsItsThumbprint(t *testing.T) { // RFC 7638, Section 3.1
	der := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(edPrivate))})
	a, b := must(issuer.ParseKey(der)), must(issuer.NewKey(edPrivate))
	assert.Equal(t, a.ID(), b.ID())
	assert.Len(t, a.ID(), 43)
	assert.NotEqual(t, a.ID(), newKey(t, issuer.EdDSA).ID())
}

func TestTheJWKSRoute(t *testing.T) {
	f := newFixture(t, nil)
	for _, path := range []string{"/auth/.well-known/jwks.json", "/.well-known/jwks.json"} {
		r := f.do("GET", path, "")
		require.Equal(t, 200, r.status)
		assert.Equal(t, "application/jwk-set+json", r.header.Get("Content-Type"))
		assert.Equal(t, "public, max-age=300", r.header.Get("Cache-Control"))
		tag := r.header.Get("ETag")
		require.NotEmpty(t, tag)
		key := r.body["keys"].([]any)[0].(map[string]any)
		assert.NotContains(t, key, "d")
		assert.Equal(t, "sig", key["use"])
		for value, want := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200} {
			assert.Equal(t, want, f.do("GET", path, "", "If-None-Match", value).status, value)
		}
		assert.Equal(t, 200, f.do("HEAD", path, "").status)
		must(f.ring.Rotate(newKey(t, issuer.EdDSA)))
		assert.Equal(t, 200, f.do("GET", path, "", "If-None-Match", tag).status, "a new key is a new document")
	}
}

func TestAKeyIsPublishedBeforeItSignsAndAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newKey(t, issuer.EdDSA), newKey(t, issuer.ES256)
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: first, PublishBefore: 10 * time.Minute, RetireAfter: time.Hour}))
		kids := func() (ids []string) {
			var set struct{ Keys []struct{ Kid string } }
			require.NoError(t, json.Unmarshal(ring.JWKS(), &set))
			for _, k := range set.Keys {
				ids = append(ids, k.Kid)
			}
			return ids
		}
		signer := func() string { return signingKey(t, ring) }
		from, err := ring.Rotate(second)
		require.NoError(t, err)
		assert.Equal(t, 10*time.Minute, time.Until(from))
		assert.Equal(t, []string{first.ID(), second.ID()}, kids())
		assert.Equal(t, first.ID(), signer())
		time.Sleep(10*time.Minute - time.Nanosecond)
		assert.Equal(t, first.ID(), signer())
		time.Sleep(time.Nanosecond)
		assert.Equal(t, second.ID(), signer())
		time.Sleep(time.Hour)
		assert.Equal(t, []string{first.ID(), second.ID()}, kids(), "a token of the first may still be alive")
		time.Sleep(time.Nanosecond)
		assert.Equal(t, []string{second.ID()}, kids())
		assert.Equal(t, second.ID(), signer())
		_, err = ring.Rotate(second)
		assert.ErrorContains(t, err, "already")
		_, err = ring.Rotate(nil)
		assert.Error(t, err)
		_, err = ring.Rotate(first)
		assert.NoError(t, err, "a retired key may come back")
	})
}

func TestARingGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := []*issuer.Key{newKey(t, issuer.EdDSA), newKey(t, issuer.ES256), newKey(t, issuer.EdDSA)}
		c := issuer.KeyRingConfig{Key: keys[0], PublishBefore: 10 * time.Minute, RetireAfter: time.Hour}
		ring := must(issuer.NewKeyRing(c))
		begun := time.Now()
		must(ring.Rotate(keys[1]))
		time.Sleep(30 * time.Minute)
		must(ring.Rotate(keys[2]))
		slots := ring.Slots()
		assert.Equal(t, []issuer.KeySlot{{keys[0], time.Time{}}, {keys[1], begun.Add(10 * time.Minute)}, {keys[2], begun.Add(40 * time.Minute)}}, slots)

		c.Key, c.Slots = nil, slots
		restarted := must(issuer.NewKeyRing(c))
		slots[0].Key = keys[2] // both have a copy
		for range 100 {
			require.Equal(t, string(ring.JWKS()), string(restarted.JWKS()), time.Since(begun))
			require.Equal(t, signingKey(t, ring), signingKey(t, restarted), time.Since(begun))
			time.Sleep(time.Minute)
		}
		assert.Equal(t, []issuer.KeySlot{{keys[2], begun.Add(40 * time.Minute)}}, restarted.Slots(), "what is retired is gone")
	})
}

func TestATokenOutlivesARestart(t *testing.T) {
	f := newFixture(t, nil)
	access := f.login().str("access_token")
	must(f.ring.Rotate(newKey(t, issuer.ES256)))
	second := newFixture(t, func(c *issuer.Config) {
		c.Store, c.Keys = f.store, must(issuer.NewKeyRing(issuer.KeyRingConfig{Slots: f.ring.Slots()}))
	})
	assert.Equal(t, 200, second.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+access).status)
}

func TestAKeyStaysPublishedHoweverLateOneAsks(t *testing.T) {
	now := time.Now()
	ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{
		Key: newKey(t, issuer.EdDSA), PublishBefore: issuer.NoDelay, RetireAfter: time.Hour, Now: func() time.Time { return now },
	}))
	published := func() int { return strings.Count(string(ring.JWKS()), `"kid"`) }
	must(ring.Rotate(newKey(t, issuer.EdDSA)))
	now = now.Add(time.Hour)
	assert.Equal(t, 2, published())
	must(ring.Rotate(newKey(t, issuer.EdDSA)))
	assert.Equal(t, 3, published())
	now = now.Add(time.Hour + time.Nanosecond)
	assert.Equal(t, 1, published())
}

func TestAClockThatGoesBackPutsNoKeyOutOfOrder(t *testing.T) {
	now := time.Now()
	ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{
		Key: newKey(t, issuer.EdDSA), PublishBefore: issuer.NoDelay, Now: func() time.Time { return now },
	}))
	first := must(ring.Rotate(newKey(t, issuer.EdDSA)))
	now = now.Add(-time.Hour)
	assert.Equal(t, first, must(ring.Rotate(newKey(t, issuer.EdDSA))))
}

// signingKey returns the id of the key that ring signs with now.
func signingKey(t *testing.T, ring *issuer.KeyRing) string {
	t.Helper()
	f := &fixture{t: t, ring: ring, store: issuer.NewMemoryStore(), denied: &denylist{sessions: map[string]time.Time{}}, logs: &safeBuffer{}}
	c := f.config()
	c.Now, c.AccessTTL = time.Now, time.Minute
	f.issuer = must(issuer.New(c))
	access := f.loginDirect()
	return fmt.Sprint(part(t, access, 0)["kid"])
}

func TestAKeyRingRefusesMistakes(t *testing.T) {
	key := newKey(t, issuer.EdDSA)
	many := make([]issuer.KeySlot, 65)
	for n := range many {
		many[n].Key = newKey(t, issuer.EdDSA)
	}
	now := time.Now()
	for want, c := range map[string]issuer.KeyRingConfig{
		"Key and Slots":      {Key: key, Slots: []issuer.KeySlot{{Key: key}}},
		"Slots[1] has no":    {Slots: []issuer.KeySlot{{Key: key}, {}}},
		"Slots[1]: key":      {Slots: []issuer.KeySlot{{Key: key}, {Key: key}}},
		"Slots[1] begins":    {Slots: []issuer.KeySlot{{key, now}, {newKey(t, issuer.EdDSA), now.Add(-1)}}},
		"64 keys at most":    {Slots: many},
		"Key or Slots is re": {}, "NoDelay": {Key: key, PublishBefore: -2}, "may keep the keys": {Key: key, PublishBefore: 5 * time.Minute},
		"RetireAfter is negative": {Key: key, RetireAfter: -1},
	} {
		_, err := issuer.NewKeyRing(c)
		assert.ErrorContains(t, err, want)
	}
	ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: key}))
	for range 63 {
		_, err := ring.Rotate(newKey(t, issuer.EdDSA))
		require.NoError(t, err)
	}
	_, err := ring.Rotate(newKey(t, issuer.EdDSA))
	assert.ErrorContains(t, err, "64 keys")
}

func TestKeysRotateUnderTraffic(t *testing.T) {
	ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.EdDSA), PublishBefore: issuer.NoDelay}))
	f := newFixture(t, func(c *issuer.Config) { c.Keys = ring })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				access := f.loginDirect()
				set, err := keyfunc.NewJWKSetJSON(f.issuer.JWKS())
				if err == nil {
					_, err = jwt.Parse(access, set.Keyfunc)
				}
				if err != nil {
					t.Errorf("a fresh token is refused: %v", err)
				}
			}
		})
	}
	for range 20 {
		_, err := ring.Rotate(newKey(t, issuer.EdDSA))
		require.NoError(t, err)
	}
	wg.Wait()
}
