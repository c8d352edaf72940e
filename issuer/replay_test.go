package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// The replay matrix over the wire: a session stands at generation 2, an hour after
// it was at 1, and a refresh token comes. Each row says what it is answered with,
// which events there are, and what has become of the session.
func TestTheReplayMatrix(t *testing.T) { // AX-14, AX-16, JG-07, JG-08, JG-11, NV-16
	const (
		at      = 2                   // the generation of the session
		grace   = issuer.DefaultGrace // since its last rotation
		late    = 5 * time.Hour
		right   = "the key of that rotation" // sent with generation at-1
		earlier = "the key of the one before"
		wrong   = "another key"
	)
	type outcome struct {
		status     int
		reason     jwterrors.Reason
		events     string
		generation uint64 // of the session
		revoked    bool
		denied     bool
		answer     int // the generation answered with; -1 means none
	}
	moves := outcome{200, "", "refresh", at + 1, false, false, at + 1}
	repeats := outcome{200, "", "repeat", at, false, false, at}
	retries := outcome{200, "", "late_retry", at, false, false, at}
	ends := outcome{401, jwterrors.RefreshTokenReused, "replay", at, true, true, -1}
	lost := func(to int) outcome { return outcome{200, "", "lost_write refresh", uint64(to), false, false, to} }
	nothing := func(reason jwterrors.Reason) outcome { return outcome{401, reason, "", at, false, false, -1} }
	invalid, over := nothing(jwterrors.RefreshTokenInvalid), nothing(jwterrors.RefreshTokenExpired)
	gone := outcome{401, jwterrors.SessionRevoked, "", at, true, true, -1}
	longGone := outcome{401, jwterrors.SessionRevoked, "", at, true, false, -1} // no access token can be alive

	const ( // what else there is
		plain = iota
		forge
		otherClient
		revoked
		revokedAndForged
		revokedAndExpired
		otherSession
		strict
	)
	const expired = issuer.DefaultRefreshTTL
	for _, c := range []struct {
		name    string
		present int           // the generation presented
		after   time.Duration // since the last rotation
		key     string
		more    int
		want    outcome
	}{
		{"current, young", 2, 0, "", plain, repeats},
		{"current, young, by a clock that is behind", 2, -time.Hour, "", plain, repeats},
		{"current, young, with the right key", 2, 0, right, plain, repeats},
		{"current, one step before the end of the window", 2, grace - time.Microsecond, "", plain, repeats},
		{"current, at the end of the window", 2, grace, "", plain, moves},
		{"current, later", 2, late, "", plain, moves},
		{"current, later, with the last key", 2, late, right, plain, moves},
		{"current, later, with a new key", 2, late, wrong, plain, moves},
		{"current, young, strict", 2, 0, "", strict, moves},

		{"one behind, inside the window, no key", 1, 0, "", plain, repeats},
		{"one behind, inside the window, by a clock that is behind", 1, -time.Hour, "", plain, repeats},
		{"one behind, inside the window, right key", 1, 0, right, plain, repeats},
		{"one behind, inside the window, wrong key", 1, 0, wrong, plain, repeats},
		{"one behind, at the end of the window, no key", 1, grace, "", plain, repeats},
		{"one behind, at the end of the window, wrong key", 1, grace, wrong, plain, repeats},
		{"one behind, one step outside the window, no key", 1, grace + time.Microsecond, "", plain, ends},
		{"one behind, one step outside the window, right key", 1, grace + time.Microsecond, right, plain, retries},
		{"one behind, one step outside the window, wrong key", 1, grace + time.Microsecond, wrong, plain, ends},
		{"one behind, hours later, no key", 1, late, "", plain, ends},
		{"one behind, hours later, right key", 1, late, right, plain, retries},
		{"one behind, hours later, the key of the rotation before", 1, late, earlier, plain, ends},
		{"one behind, strict, no key", 1, 0, "", strict, ends},
		{"one behind, strict, right key", 1, 0, right, strict, retries},

		{"two behind, inside the window, no key", 0, 0, "", plain, ends},
		{"two behind, inside the window, the last key", 0, 0, right, plain, ends},
		{"two behind, inside the window, its own key", 0, 0, earlier, plain, ends},
		{"two behind, hours later", 0, late, "", plain, ends},

		{"one ahead", 3, late, "", plain, lost(4)},
		{"one ahead, inside the window", 3, 0, "", plain, lost(4)},
		{"two ahead, with a key", 4, late, wrong, plain, lost(5)},

		{"forged, current", 2, late, "", forge, invalid},
		{"forged, one behind, right key", 1, 0, right, forge, invalid},
		{"forged, two behind", 0, late, "", forge, invalid},
		{"forged, from the future", 3, late, "", forge, invalid},
		{"of another session", 2, late, "", otherSession, invalid},

		{"another client's, current", 2, late, "", otherClient, invalid},
		{"another client's, one behind, right key", 1, 0, right, otherClient, invalid},
		{"another client's, two behind", 0, late, "", otherClient, invalid},
		{"another client's, from the future", 3, late, "", otherClient, invalid},

		{"after revoke, current, while its access tokens may be alive", 2, time.Hour, "", revoked, gone},
		{"after revoke, current, later", 2, late, "", revoked, longGone},
		{"after revoke, current, young", 2, 0, "", revoked, gone},
		{"after revoke, one behind, right key", 1, 0, right, revoked, gone},
		{"after revoke, two behind", 0, time.Hour, "", revoked, gone},
		{"after revoke, from the future", 3, time.Hour, "", revoked, gone},
		{"after revoke, forged", 2, 0, "", revokedAndForged, outcome{401, jwterrors.RefreshTokenInvalid, "", at, true, false, -1}},

		{"one step before expiry", 2, expired - 2*time.Hour - time.Second, "", plain, moves},
		{"after expiry, current", 2, expired - 2*time.Hour, "", plain, over},
		{"after expiry, one behind, right key", 1, expired - 2*time.Hour, right, plain, over},
		{"after expiry, two behind", 0, expired, "", plain, over},
		{"after expiry, from the future", 3, expired, "", plain, over},
		{"after expiry, forged", 2, expired, "", forge, invalid},
		{"after revoke and expiry", 2, expired, "", revokedAndExpired, longGone},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
			f := newFixture(t, func(cfg *issuer.Config) {
				cfg.Now = func() time.Time { return now }
				if c.more == strict {
					cfg.Grace = issuer.NoGrace
				}
			})
			r := f.login()
			id := sid(t, r)
			tokens := []string{r.str("refresh_token")}
			var then issuer.Session
			for generation, key := range []string{earlier, right, "a key to come", "another one"} {
				now = now.Add(time.Hour)
				r = f.refresh(tokens[generation], "Idempotency-Key", key)
				require.Equal(t, 200, r.status, r.text)
				tokens = append(tokens, r.str("refresh_token"))
				if generation+1 == at {
					then = must(f.store.Get(t.Context(), id))
				}
			}

			// The session is again as it was at that generation. If the
			// token is a later one, the store has lost writes.
			now = then.RotatedAt.Add(c.after)
			if c.more == revoked || c.more == revokedAndForged || c.more == revokedAndExpired {
				then.RevokedAt = then.RotatedAt
			}
			store := issuer.NewMemoryStore()
			require.NoError(t, store.Create(t.Context(), then))
			f = newFixture(t, func(cfg *issuer.Config) {
				cfg.Store, cfg.Now = store, func() time.Time { return now }
				switch c.more {
				case strict:
					cfg.Grace = issuer.NoGrace
				case otherClient:
					cfg.ClientID = "other"
				}
			})
			token := tokens[c.present]
			switch c.more {
			case forge, revokedAndForged:
				token = otherMAC(token)
			case otherSession:
				other := then
				other.ID, other.Seed = "AAAAAAAAAAAAAAAAAAAAAA", make([]byte, 32)
				require.NoError(t, store.Create(t.Context(), other))
				token = token[:len("rt1.m1.")] + other.ID + token[len("rt1.m1.")+len(id):]
			}
			var headers []string
			if c.key != "" {
				headers = []string{"Idempotency-Key", c.key}
			}

			got := f.refresh(token, headers...)
			after := must(store.Get(t.Context(), id))
			events := ""
			for n, kind := range f.kinds() {
				events += " "[:min(n, 1)] + string(kind)
			}
			answer := -1
			if got.status == 200 {
				_, err := fmt.Sscanf(got.str("refresh_token"), "rt1.m1."+id+".%d.", &answer)
				require.NoError(t, err)
			}
			assert.Equal(t, c.want, outcome{
				got.status, got.reason, events, after.Generation, !after.RevokedAt.IsZero(), f.denied.has(id), answer,
			})
			switch {
			case answer >= 0 && answer < len(tokens):
				assert.Equal(t, tokens[answer], got.str("refresh_token"), "one successor for each generation")
				assert.Equal(t, id, sid(t, got))
			case got.status != 200:
				assert.NotContains(t, got.text, "token\":", "there is nothing in a refusal")
			}
			switch {
			case events == "replay":
				now = then.RotatedAt
				assert.Equal(t, jwterrors.SessionRevoked, f.refresh(tokens[at]).reason, "the owner is out as well")
			case events == "", events == "repeat", events == "late_retry":
				assert.Equal(t, then, after, "the session is as it was")
			}
		})
	}
}

// otherMAC returns a refresh token with another character in its MAC, and not the
// last one, which has bits that do not count.
func otherMAC(token string) string {
	n := len(token) - 2
	c := "A"
	if token[n] == 'A' {
		c = "B"
	}
	return token[:n] + c + token[n+1:]
}
