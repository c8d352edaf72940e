package issuer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
)

// publishedKeys returns the kids of a ring's JWK Set.
func publishedKeys(t *testing.T, ring *issuer.KeyRing) (ids []string) {
	t.Helper()
	var set struct{ Keys []struct{ Kid string } }
	require.NoError(t, json.Unmarshal(ring.JWKS(), &set))
	for _, k := range set.Keys {
		ids = append(ids, k.Kid)
	}
	return ids
}

// running runs a schedule until the test ends.
func running(t *testing.T, c issuer.KeyScheduleConfig) {
	t.Helper()
	schedule, err := issuer.NewKeySchedule(c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- schedule.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
}

// keysOf hands out keys in their order.
func keysOf(keys ...*issuer.Key) func(context.Context) (*issuer.Key, error) {
	return func(context.Context) (*issuer.Key, error) {
		if len(keys) == 0 {
			return nil, errors.New("no more keys")
		}
		k := keys[0]
		keys = keys[1:]
		return k, nil
	}
}

var quiet = slog.New(slog.DiscardHandler)

func TestAScheduleAtItsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := newKey(t, issuer.EdDSA), newKey(t, issuer.EdDSA), newKey(t, issuer.EdDSA)
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: a, PublishBefore: 10 * time.Minute, RetireAfter: time.Hour}))
		var saved [][]issuer.KeySlot
		begun := time.Now()
		running(t, issuer.KeyScheduleConfig{
			Ring: ring, Every: 24 * time.Hour, Next: keysOf(b, c), Logger: quiet,
			Save: func(_ context.Context, slots []issuer.KeySlot) error {
				assert.NotContains(t, publishedKeys(t, ring), slots[len(slots)-1].Key.ID(), "saved before it is published")
				assert.NotEmpty(t, ring.Slots(), "Save may look at the ring")
				saved = append(saved, slots)
				return nil
			},
		})
		at := func(d time.Duration, signs string, published ...string) {
			t.Helper()
			time.Sleep(time.Until(begun.Add(d)))
			synctest.Wait()
			assert.Equal(t, published, publishedKeys(t, ring), d)
			assert.Equal(t, signs, signingKey(t, ring), d)
		}
		const day = 24 * time.Hour
		publish := 10*time.Minute + time.Minute
		at(day-publish-1, a.ID(), a.ID())
		at(day-publish, a.ID(), a.ID(), b.ID())
		at(day-1, a.ID(), a.ID(), b.ID())
		at(day, b.ID(), a.ID(), b.ID())
		at(day+time.Hour, b.ID(), a.ID(), b.ID())
		at(day+time.Hour+1, b.ID(), b.ID())
		at(2*day-publish-1, b.ID(), b.ID())
		at(2*day-publish, b.ID(), b.ID(), c.ID())
		at(2*day, c.ID(), b.ID(), c.ID())
		assert.Equal(t, [][]issuer.KeySlot{
			{{Key: a}, {Key: b, From: begun.Add(day)}},
			{{Key: b, From: begun.Add(day)}, {Key: c, From: begun.Add(2 * day)}},
		}, saved)
		at(4*day, c.ID(), c.ID()) // there is no fourth key, and the third goes on
	})
}

func TestAScheduleGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := newKey(t, issuer.EdDSA), newKey(t, issuer.EdDSA), newKey(t, issuer.EdDSA)
		begun := time.Now()
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Slots: []issuer.KeySlot{{Key: a, From: begun.Add(-23 * time.Hour)}}}))
		running(t, issuer.KeyScheduleConfig{Ring: ring, Every: 24 * time.Hour, Next: keysOf(b, c), Logger: quiet})
		time.Sleep(time.Hour - 1)
		assert.Equal(t, a.ID(), signingKey(t, ring))
		time.Sleep(time.Nanosecond)
		assert.Equal(t, b.ID(), signingKey(t, ring), "a day after the first, not after the restart")

		late := must(issuer.NewKeyRing(issuer.KeyRingConfig{Slots: []issuer.KeySlot{{Key: a, From: begun.Add(-99 * time.Hour)}}}))
		again := time.Now()
		running(t, issuer.KeyScheduleConfig{Ring: late, Every: 24 * time.Hour, Next: keysOf(c), Logger: quiet})
		synctest.Wait()
		require.Len(t, late.Slots(), 2)
		assert.Equal(t, again.Add(30*time.Minute), late.Slots()[1].From, "even then it is published before it signs")
	})
}

func TestARotationByHandPutsTheScheduleOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := newKey(t, issuer.EdDSA), newKey(t, issuer.EdDSA), newKey(t, issuer.EdDSA)
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: a}))
		running(t, issuer.KeyScheduleConfig{Ring: ring, Every: 24 * time.Hour, Next: keysOf(c), Logger: quiet})
		time.Sleep(12 * time.Hour)
		from := must(ring.Rotate(b))
		time.Sleep(time.Until(from.Add(24*time.Hour - 30*time.Minute - 1)))
		assert.NotContains(t, publishedKeys(t, ring), c.ID())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Contains(t, publishedKeys(t, ring), c.ID())
	})
}

func TestAKeyThatIsNotSavedIsNotPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newKey(t, issuer.EdDSA), newKey(t, issuer.EdDSA)
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: a}))
		var logs bytes.Buffer
		var calls atomic.Int64
		var published time.Time
		running(t, issuer.KeyScheduleConfig{
			Ring: ring, Every: 24 * time.Hour, Next: keysOf(b), // once: what was made is kept
			Logger: slog.New(slog.NewTextHandler(&logs, nil)),
			Save: func(ctx context.Context, slots []issuer.KeySlot) error {
				switch calls.Add(1) {
				case 1:
					return errors.New("the disk is full")
				case 2: // a hook that heeds its context
					begun := time.Now()
					<-ctx.Done()
					assert.Equal(t, time.Minute, time.Since(begun))
					return ctx.Err()
				case 3: // and one that does not
					time.Sleep(time.Minute + 1)
				case 4:
					time.Sleep(time.Minute)
				}
				published = time.Now()
				return nil
			},
		})
		for calls.Load() < 4 {
			assert.Equal(t, []string{a.ID()}, publishedKeys(t, ring))
			time.Sleep(30 * time.Second)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{a.ID(), b.ID()}, publishedKeys(t, ring))
		assert.Equal(t, 30*time.Minute, ring.Slots()[1].From.Sub(published), "published for the whole time before it signs")
		for _, text := range []string{"the disk is full", "deadline exceeded", "too long"} {
			assert.Contains(t, logs.String(), text)
		}
	})
}

// A schedule that is to end makes no key, and does not complain of its end.
func TestAScheduleThatEnds(t *testing.T) {
	ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Slots: []issuer.KeySlot{{Key: newKey(t, issuer.EdDSA), From: time.Now().Add(-99 * time.Hour)}}}))
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	var logs bytes.Buffer
	schedule := must(issuer.NewKeySchedule(issuer.KeyScheduleConfig{
		Ring: ring, Every: 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(&logs, nil)),
		Next: func(ctx context.Context) (*issuer.Key, error) {
			calls++
			cancel()
			return nil, ctx.Err()
		},
	}))
	assert.ErrorIs(t, schedule.Run(ctx), context.Canceled, "it ends while a key is made")
	assert.ErrorIs(t, schedule.Run(ctx), context.Canceled, "it has ended before a key is due")
	assert.Equal(t, 1, calls)
	assert.Empty(t, logs.String())
}

// A key that comes with an error is not taken.
func TestAKeyThatComesWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Slots: []issuer.KeySlot{{Key: newKey(t, issuer.EdDSA), From: time.Now().Add(-99 * time.Hour)}}}))
		before := ring.JWKS()
		var logs bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		schedule := must(issuer.NewKeySchedule(issuer.KeyScheduleConfig{
			Ring: ring, Every: 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(&logs, nil)),
			Next: func(context.Context) (*issuer.Key, error) {
				return newKey(t, issuer.EdDSA), errors.New("not saved yet")
			},
		}))
		require.ErrorIs(t, schedule.Run(ctx), context.DeadlineExceeded)
		assert.Equal(t, before, ring.JWKS())
		assert.Contains(t, logs.String(), "make the next key: not saved yet")
	})
}

func TestAScheduleRefusesMistakes(t *testing.T) {
	ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.EdDSA)}))
	_, err := issuer.NewKeySchedule(issuer.KeyScheduleConfig{})
	for _, name := range []string{"Ring", "Every", "Next"} {
		assert.ErrorContains(t, err, "KeyScheduleConfig."+name)
	}
	_, err = issuer.NewKeySchedule(issuer.KeyScheduleConfig{Ring: ring, Every: 25 * time.Minute, Next: keysOf()})
	assert.ErrorContains(t, err, "64 at most")
	_, err = issuer.NewKeySchedule(issuer.KeyScheduleConfig{Ring: ring, Every: 26 * time.Minute, Next: keysOf()})
	assert.NoError(t, err)
}

func TestAShortScheduleNeverRunsOutOfRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.EdDSA)}))
		var logs bytes.Buffer
		running(t, issuer.KeyScheduleConfig{
			Ring: ring, Every: 26 * time.Minute, Logger: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelError})),
			Next: func(context.Context) (*issuer.Key, error) { return issuer.GenerateKey(issuer.EdDSA) },
			Save: func(context.Context, []issuer.KeySlot) error { return nil },
		})
		time.Sleep(7 * 24 * time.Hour)
		synctest.Wait()
		assert.Empty(t, logs.String())
		assert.LessOrEqual(t, len(ring.Slots()), 64)
	})
}

func TestTheKeySetSaysHowLongItMayBeKept(t *testing.T) {
	for age, want := range map[time.Duration]string{0: "public, max-age=300", time.Second: "public, max-age=1", 24 * time.Hour: "public, max-age=86400"} {
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.EdDSA), MaxAge: age}))
		f := newFixture(t, func(c *issuer.Config) { c.Keys = ring })
		r := f.do("GET", "/auth/.well-known/jwks.json", "")
		assert.Equal(t, want, r.header.Get("Cache-Control"))
		assert.Equal(t, want, f.do("GET", "/auth/.well-known/jwks.json", "", "If-None-Match", r.header.Get("ETag")).header.Get("Cache-Control"))
	}
	key := newKey(t, issuer.EdDSA)
	for _, age := range []time.Duration{-1, time.Millisecond, 24*time.Hour + time.Second} {
		_, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, MaxAge: age})
		assert.ErrorContains(t, err, "MaxAge")
	}
	_, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, Leeway: -1})
	assert.ErrorContains(t, err, "Leeway")
	c := issuer.KeyRingConfig{Key: key, MaxAge: time.Minute, Leeway: 10 * time.Second, PublishBefore: 70 * time.Second}
	_, err = issuer.NewKeyRing(c)
	assert.ErrorContains(t, err, "PublishBefore")
	c.PublishBefore++
	_, err = issuer.NewKeyRing(c)
	assert.NoError(t, err)
}

func TestAKeyIsPublishedForTheLongestTokenAndTheLeeway(t *testing.T) {
	f := &fixture{t: t, store: issuer.NewMemoryStore(), denied: &denylist{}, logs: &safeBuffer{}}
	for after, ok := range map[time.Duration]bool{time.Hour + 10*time.Second: false, time.Hour + 10*time.Second + 1: true} {
		f.ring = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.EdDSA), Leeway: 10 * time.Second, RetireAfter: after}))
		c := f.config()
		c.AccessTTL = time.Hour
		_, err := issuer.New(c)
		assert.Equal(t, ok, err == nil, fmt.Sprint(after, err))
	}
}

func TestNoSecretIsEverInTheKeySet(t *testing.T) { // IT-02
	secret := []byte("an obviously fake secret, 32 bytes")
	shared := must(issuer.NewSecretKey(secret))
	ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: newKey(t, issuer.ES256), PublishBefore: issuer.NoDelay}))
	f := newFixture(t, func(c *issuer.Config) { c.Keys = ring })
	must(ring.Rotate(shared))
	require.Equal(t, shared.ID(), part(t, f.login().str("access_token"), 0)["kid"], "it signs")
	must(ring.Rotate(newKey(t, issuer.EdDSA)))
	for _, path := range []string{"/auth/.well-known/jwks.json", "/.well-known/jwks.json"} {
		text := f.do("GET", path, "").text
		for _, hidden := range []string{string(secret), b64(secret), shared.ID(), "oct", `"k"`, "HS256"} {
			assert.NotContains(t, text, hidden)
		}
		assert.Len(t, publishedKeys(t, ring), 2)
	}
}
