package middleware_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

var _ middleware.Revocations = (*middleware.Denylist)(nil)

// The writing side, as an issuer sees it.
var _ interface {
	DenySession(ctx context.Context, sid string, until time.Time) error
	DenyToken(ctx context.Context, jti string, until time.Time) error
	DenySubject(ctx context.Context, subject string, issuedBefore, until time.Time) error
} = (*middleware.Denylist)(nil)

func TestDenylist(t *testing.T) { // NV-19, IT-31.06
	var d middleware.Denylist
	auth := newAuth(t, func(c *middleware.Config) { c.Revocations = &d })
	now := time.Now()
	until := now.Add(time.Hour)
	token := func(sid, jti, sub string, iat time.Time) string {
		return hs(hsHeader, claims().with("sid", sid).with("jti", jti).with("sub", sub).with("iat", iat.Unix()))
	}
	ctx := t.Context()
	require.NoError(t, verify(auth, good()))
	require.NoError(t, d.DenySession(ctx, "s-9", until))
	require.NoError(t, d.DenyToken(ctx, "j-9", until))
	require.NoError(t, d.DenySubject(ctx, "mallory", now.Truncate(time.Second), until))
	for _, c := range []struct {
		name   string
		token  string
		reason jwterrors.Reason
	}{
		{"nothing that is denied", good(), ""},
		{"the session", token("s-9", "j-1", "alice", now), jwterrors.TokenInvalidated},
		{"the token", token("s-1", "j-9", "alice", now), jwterrors.TokenInvalidated},
		{"the subject, issued before", token("s-1", "j-1", "mallory", now.Add(-2*time.Second)), jwterrors.TokenInvalidated},
		{"the subject, issued at the time", token("s-1", "j-1", "mallory", now), ""},
		{"the id of another kind", token("j-9", "mallory", "s-9", now), ""},
		{"no ids", hs(hsHeader, claims().with("sid", nil).with("jti", nil).with("sub", nil)), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.reason, jwterrors.ReasonOf(verify(auth, c.token)))
		})
	}
	assert.Error(t, d.DenySession(ctx, "", until))
	assert.Error(t, d.DenyToken(ctx, "", until))
	assert.Error(t, d.DenySubject(ctx, "", now, until))
	require.NoError(t, verify(auth, hs(hsHeader, claims().with("sid", nil).with("jti", nil).with("sub", nil))))
}

func TestAnEntryOutlivesEveryLeeway(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	d := middleware.NewDenylist(middleware.DenylistOptions{Now: func() time.Time { return now }})
	ctx := t.Context()
	issued, until := now, now.Add(time.Minute)
	revoked := func(sid, jti, sub string) bool {
		yes, err := d.Revoked(ctx, sid, jti, sub, issued.Add(-time.Second))
		require.NoError(t, err)
		return yes
	}
	require.NoError(t, d.DenySession(ctx, "s", until))
	require.NoError(t, d.DenySession(ctx, "s", until.Add(-time.Minute)), "an earlier end changes nothing")
	require.NoError(t, d.DenyToken(ctx, "j", until))
	require.NoError(t, d.DenySubject(ctx, "u", issued, until))
	require.NoError(t, d.DenySubject(ctx, "u", issued.Add(-time.Hour), until.Add(-time.Hour)))
	now = until.Add(5*time.Minute - 1)
	assert.True(t, revoked("s", "", ""))
	assert.True(t, revoked("", "j", ""))
	assert.True(t, revoked("", "", "u"))
	now = now.Add(1)
	assert.False(t, revoked("s", "j", "u"))
}

// A full list says so, and has room again when entries have expired.
func TestDenylistIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	d := middleware.NewDenylist(middleware.DenylistOptions{MaxEntries: 3, Now: func() time.Time { return now }})
	ctx := t.Context()
	until := now.Add(time.Minute)
	require.NoError(t, d.DenySession(ctx, "a", until))
	require.NoError(t, d.DenyToken(ctx, "a", until))
	require.NoError(t, d.DenySubject(ctx, "a", now, until))
	require.ErrorIs(t, d.DenySession(ctx, "b", until), jwterrors.StoreUnavailable)
	yes, err := d.Revoked(ctx, "a", "", "", now)
	require.NoError(t, err)
	require.True(t, yes, "nothing was forgotten for it")
	now = until.Add(5 * time.Minute)
	require.NoError(t, d.DenySession(ctx, "c", now.Add(-5*time.Minute)), "of what has expired, nothing is kept")
	for i := range 3 {
		require.NoError(t, d.DenySession(ctx, fmt.Sprint(i), now.Add(time.Minute)))
	}
	require.ErrorIs(t, d.DenySession(ctx, "d", now.Add(time.Minute)), jwterrors.StoreUnavailable)

	d = middleware.NewDenylist(middleware.DenylistOptions{MaxEntries: 1})
	require.NoError(t, d.DenySession(ctx, "a", time.Now().Add(time.Hour)))
	require.ErrorIs(t, d.DenySession(ctx, "b", time.Now().Add(time.Hour)), jwterrors.StoreUnavailable, "full of one kind")
}

// A mirror answers as long as it is known to be in step, to the instant.
func TestAMirrorThatIsNotInStep(t *testing.T) { // NV-19
	for _, c := range []struct {
		name   string
		pass   bool
		maxAge time.Duration
		after  time.Duration // after the last sync; less than zero for no sync
		reason jwterrors.Reason
	}{
		{"never in step", false, time.Minute, -1, jwterrors.StoreUnavailable},
		{"in step now", false, time.Minute, 0, ""},
		{"before the limit", false, time.Minute, time.Minute - 1, ""},
		{"at the limit", false, time.Minute, time.Minute, ""},
		{"beyond the limit", false, time.Minute, time.Minute + 1, jwterrors.StoreUnavailable},
		{"a limit that nothing meets", false, -1, 0, jwterrors.StoreUnavailable},
		{"never in step, and that is allowed", true, time.Minute, -1, ""},
		{"beyond the limit, and that is allowed", true, time.Minute, time.Hour, ""},
		{"no mirror", false, 0, -1, ""},
		{"no mirror, with a sync long ago", false, 0, time.Hour, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := middleware.NewDenylist(middleware.DenylistOptions{MaxAge: c.maxAge, InsecurePassWhenStale: c.pass})
				auth := newAuth(t, func(c *middleware.Config) { c.Revocations = d })
				revoked := hs(hsHeader, claims().with("sid", "s-9").with("exp", time.Now().Unix()+7200))
				token := hs(hsHeader, claims().with("exp", time.Now().Unix()+7200))
				if c.after >= 0 {
					d.Synced(time.Now())
					time.Sleep(c.after)
				}
				err := verify(auth, token)
				require.Equal(t, c.reason, jwterrors.ReasonOf(err), "with an empty list")
				require.NoError(t, d.DenySession(t.Context(), "s-9", time.Now().Add(time.Hour)))
				require.Equal(t, c.reason, jwterrors.ReasonOf(verify(auth, token)))
				if c.reason == "" {
					require.ErrorIs(t, verify(auth, revoked), jwterrors.TokenInvalidated)
					return
				}
				require.ErrorContains(t, err, "in step with its origin")
				require.ErrorIs(t, verify(auth, revoked), c.reason)
				d.Synced(time.Now())
				if c.maxAge > 0 {
					require.NoError(t, verify(auth, token), "it has caught up")
					require.ErrorIs(t, verify(auth, revoked), jwterrors.TokenInvalidated)
				}
			})
		})
	}
}

func TestTheAgeOfAMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d middleware.Denylist
		expect := func(want time.Duration, known bool) {
			t.Helper()
			age, ok := d.Age()
			assert.Equal(t, want, age)
			assert.Equal(t, known, ok)
		}
		expect(0, false)
		d.Synced(time.Now().Add(-time.Minute))
		expect(time.Minute, true)
		d.Synced(time.Now().Add(-time.Hour)) // of a feed that was overtaken
		expect(time.Minute, true)
		d.Synced(time.Now().Add(time.Hour)) // of a clock that is wrong
		expect(0, true)
		time.Sleep(time.Second)
		expect(time.Second, true)
	})
}

// A feed and requests at once.
func TestAMirrorWhileInUse(t *testing.T) {
	d := middleware.NewDenylist(middleware.DenylistOptions{MaxAge: time.Hour})
	d.Synced(time.Now())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				before := time.Now()
				d.Synced(before)
				_, err := d.Revoked(context.Background(), "s", "j", "u", before)
				age, ok := d.Age()
				if !assert.NoError(t, err) || !assert.True(t, ok) || !assert.LessOrEqual(t, age, time.Since(before)) {
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestDenylistWhileInUse(t *testing.T) {
	d := middleware.NewDenylist(middleware.DenylistOptions{})
	until := time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				sid := fmt.Sprint(w, "-", i)
				assert.NoError(t, d.DenySession(context.Background(), sid, until))
				yes, err := d.Revoked(context.Background(), sid, "", "", time.Now())
				if !assert.NoError(t, err) || !assert.True(t, yes) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// A list grows and is swept while it is asked: nothing that is denied is missed, and
// nothing else is taken for it.
func TestALongDenylist(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var later atomic.Int64
	d := middleware.NewDenylist(middleware.DenylistOptions{Now: func() time.Time { return now.Add(time.Duration(later.Load())) }})
	ctx, n := t.Context(), 50_000
	var denied atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := 0; denied.Load() < int64(n); i++ {
				known := int(denied.Load())
				if known == 0 {
					continue
				}
				sid := i % known
				if yes, err := d.Revoked(ctx, fmt.Sprint("s-", sid), fmt.Sprint("s-", sid), fmt.Sprint("s-", sid), now); err != nil || !yes {
					assert.Fail(t, "a session that was denied is not", "%d of %d: %v", sid, known, err)
					return
				}
				if yes, _ := d.Revoked(ctx, fmt.Sprint("other-", i), fmt.Sprint("s-", sid), fmt.Sprint("s-", sid), now); yes {
					assert.Fail(t, "a session that was not denied is")
					return
				}
			}
		})
	}
	for i := range n {
		require.NoError(t, d.DenySession(ctx, fmt.Sprint("s-", i), now.Add(time.Hour)))
		denied.Store(int64(i + 1))
	}
	wg.Wait()
	// Those that have expired make room, and those that were denied again stay.
	for i := range n / 2 {
		require.NoError(t, d.DenySession(ctx, fmt.Sprint("s-", i), now.Add(3*time.Hour)))
	}
	later.Store(int64(2 * time.Hour))
	for i := range 2 * n {
		require.NoError(t, d.DenyToken(ctx, fmt.Sprint("j-", i), now.Add(3*time.Hour)))
	}
	for i := range n {
		yes, err := d.Revoked(ctx, fmt.Sprint("s-", i), "", "", now)
		require.NoError(t, err)
		require.Equal(t, i < n/2, yes, i)
	}
}

// Dates that no clock reaches are dates, too.
func TestADenialForEver(t *testing.T) {
	d := middleware.NewDenylist(middleware.DenylistOptions{})
	ctx, never := t.Context(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, d.DenySession(ctx, "s", never))
	require.NoError(t, d.DenySubject(ctx, "u", never, never))
	for _, issued := range []time.Time{{}, time.Unix(0, 0), time.Now()} {
		yes, err := d.Revoked(ctx, "s", "", "", issued)
		require.NoError(t, err)
		assert.True(t, yes)
		yes, err = d.Revoked(ctx, "", "", "u", issued)
		require.NoError(t, err)
		assert.True(t, yes, issued)
	}
	long := time.Date(1677, 1, 1, 0, 0, 0, 0, time.UTC) // before what fits in nanoseconds
	for _, before := range []time.Time{{}, long} {
		require.NoError(t, d.DenySubject(ctx, "v", before, never))
		yes, err := d.Revoked(ctx, "", "", "v", time.Unix(0, 0))
		require.NoError(t, err)
		assert.False(t, yes, before)
	}
	require.NoError(t, d.DenySubject(ctx, "w", time.Now(), never))
	yes, err := d.Revoked(ctx, "", "", "w", long)
	require.NoError(t, err)
	assert.True(t, yes, "a token that says it is very old")
}
