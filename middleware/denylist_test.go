package middleware_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
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
