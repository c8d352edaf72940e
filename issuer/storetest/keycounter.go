package storetest

import (
	"maps"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// countKeys holds a store that is an issuer.KeyCounter to its contract.
func countKeys(t *testing.T, st issuer.Store) {
	counter, ok := st.(issuer.KeyCounter)
	if !ok {
		t.Skip("the store does not count: it is no issuer.KeyCounter")
	}
	at := now()
	counted := func(at time.Time, want map[string]int) {
		t.Helper()
		got, err := counter.CountKeys(t.Context(), at)
		if err != nil {
			t.Fatalf("CountKeys: %v", err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("CountKeys: %v, want %v", got, want)
		}
	}
	counted(at, nil)
	add := func(change func(*issuer.Session)) issuer.Session {
		s := session("alice")
		s.CreatedAt, s.RotatedAt, s.AuthTime, s.ExpiresAt = at, at, at, at.Add(time.Hour)
		change(&s)
		return create(t, st, s)
	}
	first := add(func(*issuer.Session) {})
	add(func(s *issuer.Session) { s.KeyID, s.Subject = "K1", "bob" }) // another key: case counts
	add(func(s *issuer.Session) { s.KeyID, s.IdleUntil = "k2", at.Add(time.Minute) })
	revoked := add(func(*issuer.Session) {})
	counted(at, map[string]int{"k1": 2, "K1": 1, "k2": 1})

	if err := st.Revoke(t.Context(), revoked.ID, at); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	counted(at, map[string]int{"k1": 1, "K1": 1, "k2": 1})

	if ok, err := st.Rotate(t.Context(), first.ID, 0, issuer.Rotation{Generation: 1, KeyID: "k3", RotatedAt: at}); !ok || err != nil {
		t.Fatalf("Rotate: %v, %v", ok, err)
	}
	counted(at, map[string]int{"k3": 1, "K1": 1, "k2": 1})
	counted(at.Add(time.Minute-time.Microsecond), map[string]int{"k3": 1, "K1": 1, "k2": 1})
	counted(at.Add(time.Minute), map[string]int{"k3": 1, "K1": 1})
	counted(at.Add(time.Hour-time.Microsecond), map[string]int{"k3": 1, "K1": 1})
	counted(at.Add(time.Hour), nil)
}
