// Package storetest is the suite that every issuer.Store must pass, ours and
// others':
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) issuer.Store { return newStore(t) })
//	}
//
// Run it with the race detector. With -short the races are a tenth as long. A store
// that processes share has RunProcesses besides, feeds of denials have RunFeed, and
// limiters RunLimiter.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// Run holds the store that newStore makes to the contract of issuer.Store. Each
// call of newStore returns an empty store; clean-up is for t.Cleanup. The clock
// of the suite is time.Now; some tests are up to a month ahead of it, or minutes behind.
func Run(t *testing.T, newStore func(t *testing.T) issuer.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, issuer.Store)
	}{
		{"what is created can be read", createAndGet},
		{"what a session is bound to is kept", confirmation},
		{"times are cut off at the microsecond", truncation},
		{"hostile text survives", hostileText},
		{"text is compared byte by byte", exactText},
		{"an id is taken once", duplicate},
		{"replace adds one and revokes the others", replace}, // JG-12
		{"unknown sessions", unknown},
		{"values are copies", copies},
		{"rotate is a compare-and-swap", compareAndSwap},
		{"a session that has ended does not rotate", rotateEnded},
		{"a rotation moves the idle end", rotateIdle},
		{"revoke wins for ever", revoke},
		{"revoke a subject", revokeSubject},
		{"a login that began before its subject was revoked is refused", mark},
		{"list shows live sessions", list},
		{"expired sessions are deleted in portions", deleteExpired},
		{"old marks are forgotten", forgetMarks},
		{"live sessions are counted by master key", countKeys},
		{"a session ends for its client too", clientsExpiry}, // JG-04, JG-08
		{"processes whose clocks differ lose no session", clocksDiffer},
		{"a write that was lost loses no session", lostWrite},
		{"race: an id is taken once", raceCreate},
		{"race: of many rotations one is made", raceCompareAndSwap},
		{"race: one generation has one successor", raceRotate},
		{"race: nothing survives a revocation", raceRevoke}, // AX-16
		{"race: a subject's revocation holds", raceRevokeSubject},
		{"race: what was replaced does not rotate", raceReplaced},
		{"race: no login outlives the revocation of its subject", raceLogin},
		{"race: of many that replace one another one is left", raceReplace},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newStore(t)) })
	}
}

// now is a time that every engine can keep: microseconds, UTC.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func session(subject string) issuer.Session {
	at := now()
	return issuer.Session{
		ID: newID(), Seed: bytes.Repeat([]byte{7}, 32), KeyID: "k1", Generation: 0, RotatedAt: at,
		Subject: subject, ClientID: "mobile", Scopes: []string{"a", "b"}, AuthTime: at,
		CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}
}

func create(t *testing.T, st issuer.Store, s issuer.Session) issuer.Session {
	t.Helper()
	if err := st.Create(t.Context(), s); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return s
}

func get(t *testing.T, st issuer.Store, id string) issuer.Session {
	t.Helper()
	s, err := st.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return s
}

// equal compares every field. Times are the same instant, and in UTC.
func equal(t *testing.T, got, want issuer.Session) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for n := range g.NumField() {
		if a, b := g.Field(n).Interface(), w.Field(n).Interface(); !same(a, b) {
			t.Errorf("%s of the session is %v, want %v", g.Type().Field(n).Name, a, b)
		}
	}
}

func same(a, b any) bool {
	switch a := a.(type) {
	case time.Time:
		return a.Equal(b.(time.Time)) && a.Location() == time.UTC
	case json.RawMessage:
		return bytes.Equal(a, b.(json.RawMessage))
	case []byte:
		return bytes.Equal(a, b.([]byte))
	case []string:
		return slices.Equal(a, b.([]string))
	}
	return a == b
}

func createAndGet(t *testing.T, st issuer.Store) {
	s := session("alice")
	s.Generation, s.RetryHash = 41, bytes.Repeat([]byte{9}, 32)
	s.Email, s.ACR, s.Device, s.Address, s.UserAgent = "alice@example.com", "mfa", "phone", "127.0.0.1", "agent"
	s.Claims = json.RawMessage(`{"plan": "gold", "n":[1,2.50,9007199254740993], "<é>":"\u00e9", "a":null}`)
	s.IdleUntil = s.CreatedAt.Add(time.Minute)
	s.Confirmation = "x5t#S256:" + strings.Repeat("_x-", 14) + "A"
	create(t, st, s)
	equal(t, get(t, st, s.ID), s)

	bare := session("bob")
	bare.Scopes, bare.UserID = nil, "user123"
	create(t, st, bare)
	equal(t, get(t, st, bare.ID), bare)
}

// confirmation: a session that forgets what it is bound to is anybody's.
func confirmation(t *testing.T, st issuer.Store) {
	ctx := t.Context()
	key, certificate := session("alice"), session("alice")
	key.Confirmation, certificate.Confirmation = "jkt:"+newID()+newID()[1:], "x5t#S256:"+newID()+newID()[1:]
	create(t, st, key)
	for _, s := range []issuer.Session{key, certificate} {
		if s.ID == certificate.ID {
			if _, err := st.Replace(ctx, s); err != nil {
				t.Fatalf("Replace: %v", err)
			}
		}
		if ok, err := st.Rotate(ctx, s.ID, 0, issuer.Rotation{Generation: 1, KeyID: "k2", RotatedAt: now()}); !ok || err != nil {
			t.Fatalf("Rotate = %v, %v, want true", ok, err)
		}
		all, err := st.List(ctx, "alice", now())
		if err != nil || len(all) != 1 || all[0].Confirmation != s.Confirmation {
			t.Errorf("List = %d sessions, %v, want one of Confirmation %q", len(all), err, s.Confirmation)
		}
	}
	if err := st.Revoke(ctx, certificate.ID, now()); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	for _, s := range []issuer.Session{key, certificate} { // both were revoked
		if got := get(t, st, s.ID).Confirmation; got != s.Confirmation {
			t.Errorf("the Confirmation is %q, want %q", got, s.Confirmation)
		}
	}
}

// truncation: rounding up would let a session outlive its end by clocks that
// agree, and a mark refuse a login that began after it.
func truncation(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	zone := time.FixedZone("elsewhere", 5*3600)
	fine := func(d time.Duration) time.Time { return at.Add(d + 999*time.Nanosecond).In(zone) }
	s := session("alice")
	want := s
	s.RotatedAt, s.AuthTime, s.CreatedAt, s.ExpiresAt, s.IdleUntil = fine(0), fine(1000), fine(2000), fine(time.Hour), fine(time.Minute)
	want.RotatedAt, want.AuthTime, want.CreatedAt = at, at.Add(1000), at.Add(2000)
	want.ExpiresAt, want.IdleUntil = at.Add(time.Hour), at.Add(time.Minute)
	create(t, st, s)
	equal(t, get(t, st, s.ID), want)
	update := issuer.Rotation{Generation: 1, KeyID: "k1", RotatedAt: fine(3000), IdleUntil: fine(time.Minute)}
	if ok, err := st.Rotate(ctx, s.ID, 0, update); !ok || err != nil {
		t.Fatalf("Rotate = %v, %v, want true", ok, err)
	}
	want.Generation, want.RotatedAt = 1, at.Add(3000)
	equal(t, get(t, st, s.ID), want)
	late := issuer.Rotation{Generation: 2, KeyID: "k1", RotatedAt: fine(time.Minute)} // the end itself, cut off
	if ok, err := st.Rotate(ctx, s.ID, 1, late); ok || err != nil {
		t.Errorf("Rotate at the end = %v, %v, want false", ok, err)
	}
	if err := st.Revoke(ctx, s.ID, fine(4000)); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	want.RevokedAt = at.Add(4000)
	equal(t, get(t, st, s.ID), want)
	if _, err := st.RevokeSubject(ctx, "alice", "", fine(0)); err != nil {
		t.Fatalf("RevokeSubject: %v", err)
	}
	next := session("alice")
	next.AuthTime = at.Add(1000)
	create(t, st, next) // later than the mark, if that was cut off too
}

func hostileText(t *testing.T, st issuer.Store) {
	for _, text := range []string{
		`'; DROP TABLE sessions; --`, `"quotes" and \backslashes\`, "ünï — 日本語 🔑", "%s %n $1 ? :x @x", strings.Repeat("x", 1024),
		"*", "{}[]", " spaces at both ends ", "tab\tand\nline", "-1", "null",
	} {
		s := session(text)
		s.Device, s.Address, s.UserAgent, s.ClientID, s.ACR, s.Email = text, text, text, text, text, text
		s.Claims, _ = json.Marshal(map[string]string{text: text})
		s.Scopes = []string{`!#$%&'()*+,-./:;<=>?@[]^_{|}~` + "`", "b"} // all that a scope may hold
		create(t, st, s)
		equal(t, get(t, st, s.ID), s)
		all, err := st.List(t.Context(), text, now())
		if err != nil || len(all) != 1 {
			t.Errorf("List(%q) = %d sessions, %v", text, len(all), err)
		}
	}
}

// exactText: a collation that folds letters would mix up users and sessions.
func exactText(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	subjects := []string{"alice", "Alice", "alice ", " alice", "álice", "a\u0301lice", "alice\u00ad"}
	ids := map[string]string{}
	for _, subject := range subjects {
		ids[subject] = create(t, st, session(subject)).ID
	}
	for _, subject := range subjects {
		all, err := st.List(ctx, subject, at)
		if err != nil || len(all) != 1 || all[0].ID != ids[subject] {
			t.Errorf("List(%q) = %d sessions, %v", subject, len(all), err)
		}
		revoked, err := st.RevokeSubject(ctx, subject, "", at)
		if err != nil || !slices.Equal(revoked, []string{ids[subject]}) {
			t.Errorf("RevokeSubject(%q) = %v, %v", subject, revoked, err)
		}
	}
	lower, upper := session("bob"), session("bob")
	lower.ID, upper.ID = strings.Repeat("a", 22), strings.Repeat("A", 22)
	create(t, st, lower)
	create(t, st, upper)
	equal(t, get(t, st, lower.ID), lower)
}

func duplicate(t *testing.T, st issuer.Store) {
	s := create(t, st, session("alice"))
	other := session("mallory")
	other.ID = s.ID
	if err := st.Create(t.Context(), other); !errors.Is(err, issuer.ErrSessionExists) {
		t.Errorf("Create again: %v, want ErrSessionExists", err)
	}
	equal(t, get(t, st, s.ID), s)
}

func replace(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	old, gone := create(t, st, session("alice")), create(t, st, session("alice"))
	bob := create(t, st, session("bob"))
	if err := st.Revoke(ctx, gone.ID, at); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	s := session("alice")
	s.CreatedAt = at.Add(time.Second)
	s.Claims, s.RetryHash = json.RawMessage(`{"plan":"gold"}`), bytes.Repeat([]byte{3}, 32)
	ids, err := st.Replace(ctx, s)
	if err != nil || !slices.Equal(ids, []string{old.ID}) {
		t.Errorf("Replace = %v, %v, want %v", ids, err, old.ID)
	}
	equal(t, get(t, st, s.ID), s)
	equal(t, get(t, st, bob.ID), bob)
	gone.RevokedAt, old.RevokedAt = at, s.CreatedAt
	equal(t, get(t, st, gone.ID), gone)
	equal(t, get(t, st, old.ID), old)

	again := session("alice")
	again.ID = bob.ID
	if _, err := st.Replace(ctx, again); !errors.Is(err, issuer.ErrSessionExists) {
		t.Errorf("Replace with an id that is taken: %v, want ErrSessionExists", err)
	}
	equal(t, get(t, st, s.ID), s) // nothing was done by halves
	equal(t, get(t, st, bob.ID), bob)
}

func unknown(t *testing.T, st issuer.Store) {
	ctx := t.Context()
	create(t, st, session("alice"))
	if _, err := st.Get(ctx, newID()); !errors.Is(err, issuer.ErrNoSession) {
		t.Errorf("Get: %v, want ErrNoSession", err)
	}
	if ok, err := st.Rotate(ctx, newID(), 0, issuer.Rotation{Generation: 1, KeyID: "k1", RotatedAt: now()}); ok || err != nil {
		t.Errorf("Rotate = %v, %v, want false", ok, err)
	}
	if err := st.Revoke(ctx, newID(), now()); !errors.Is(err, issuer.ErrNoSession) {
		t.Errorf("Revoke: %v, want ErrNoSession", err)
	}
	if ids, err := st.RevokeSubject(ctx, "nobody", "", now()); len(ids) != 0 || err != nil {
		t.Errorf("RevokeSubject = %v, %v", ids, err)
	}
	if all, err := st.List(ctx, "nobody", now()); len(all) != 0 || err != nil {
		t.Errorf("List = %v, %v", all, err)
	}
}

func copies(t *testing.T, st issuer.Store) {
	s := session("alice")
	s.Claims = json.RawMessage(`{"a":1}`)
	s.RetryHash = bytes.Repeat([]byte{1}, 32)
	want := s
	want.Seed, want.Scopes, want.Claims, want.RetryHash = bytes.Clone(s.Seed), slices.Clone(s.Scopes), bytes.Clone(s.Claims), bytes.Clone(s.RetryHash)
	create(t, st, s)
	spoil := func(s issuer.Session) {
		clear(s.Seed)
		clear(s.RetryHash)
		clear(s.Claims)
		s.Scopes[0] = "spoilt"
	}
	spoil(s)
	spoil(get(t, st, s.ID))
	equal(t, get(t, st, s.ID), want)
}

func compareAndSwap(t *testing.T, st issuer.Store) {
	ctx := t.Context()
	s := session("alice")
	s.Confirmation = "jkt:" + strings.Repeat("x", 43)
	create(t, st, s)
	at := now().Add(time.Second)
	first := issuer.Rotation{Generation: 1, KeyID: "k2", RotatedAt: at, RetryHash: bytes.Repeat([]byte{5}, 32), IdleUntil: at.Add(time.Minute)}
	for _, from := range []uint64{1, 2, 1 << 40} {
		update := first
		update.Generation = from + 1
		if ok, err := st.Rotate(ctx, s.ID, from, update); ok || err != nil {
			t.Errorf("Rotate from %d = %v, %v, want false", from, ok, err)
		}
	}
	equal(t, get(t, st, s.ID), s)
	if ok, err := st.Rotate(ctx, s.ID, 0, first); !ok || err != nil {
		t.Fatalf("Rotate = %v, %v, want true", ok, err)
	}
	s.Generation, s.KeyID, s.RotatedAt, s.RetryHash, s.IdleUntil = 1, "k2", at, first.RetryHash, first.IdleUntil
	equal(t, get(t, st, s.ID), s)
	if ok, err := st.Rotate(ctx, s.ID, 0, first); ok || err != nil {
		t.Errorf("Rotate again = %v, %v, want false", ok, err)
	}
	for _, generation := range []uint64{1, 0} {
		if ok, err := st.Rotate(ctx, s.ID, 1, issuer.Rotation{Generation: generation, KeyID: "k2", RotatedAt: at}); ok || err != nil {
			t.Errorf("Rotate from 1 to %d = %v, %v, want false", generation, ok, err)
		}
	}
	equal(t, get(t, st, s.ID), s)
	far := issuer.Rotation{Generation: 1 << 53, KeyID: "k2", RotatedAt: at}
	if ok, err := st.Rotate(ctx, s.ID, 1, far); !ok || err != nil {
		t.Fatalf("Rotate far = %v, %v, want true", ok, err)
	}
	s.Generation, s.RetryHash, s.IdleUntil = 1<<53, nil, time.Time{}
	equal(t, get(t, st, s.ID), s)
}

func rotateEnded(t *testing.T, st issuer.Store) {
	for _, end := range []struct {
		name string
		set  func(s *issuer.Session, at time.Time)
	}{
		{"absolute", func(s *issuer.Session, at time.Time) { s.ExpiresAt = at }},
		{"idle", func(s *issuer.Session, at time.Time) { s.IdleUntil = at }},
	} {
		at := now().Add(time.Minute)
		s := session("alice")
		end.set(&s, at)
		create(t, st, s)
		for _, late := range []time.Duration{0, time.Microsecond, time.Hour} {
			update := issuer.Rotation{Generation: 1, KeyID: "k1", RotatedAt: at.Add(late), IdleUntil: at.Add(2 * time.Hour)}
			if ok, err := st.Rotate(t.Context(), s.ID, 0, update); ok || err != nil {
				t.Errorf("Rotate %v after the %s end = %v, %v, want false", late, end.name, ok, err)
			}
		}
		equal(t, get(t, st, s.ID), s)
		update := issuer.Rotation{Generation: 1, KeyID: "k1", RotatedAt: at.Add(-time.Microsecond)}
		if ok, err := st.Rotate(t.Context(), s.ID, 0, update); !ok || err != nil {
			t.Errorf("Rotate before the %s end = %v, %v, want true", end.name, ok, err)
		}
	}
}

// rotateIdle: the end that a rotation sets is the one that holds, in every method,
// and never outlives the absolute one.
func rotateIdle(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	s := session("alice")
	s.IdleUntil = at.Add(time.Minute)
	create(t, st, s)
	generation := uint64(0)
	rotated := func(when, idle time.Time) bool {
		t.Helper()
		ok, err := st.Rotate(ctx, s.ID, generation, issuer.Rotation{Generation: generation + 1, KeyID: "k1", RotatedAt: when, IdleUntil: idle})
		if err != nil {
			t.Fatalf("Rotate: %v", err)
		}
		if ok {
			generation++
		}
		return ok
	}
	listed := func(when time.Time) bool {
		t.Helper()
		all, err := st.List(ctx, "alice", when)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		return len(all) == 1
	}
	for _, step := range []struct {
		name      string
		when, end time.Duration // of the rotation, and of the idle end that it sets, zero for none
		until     time.Duration // when the session ends
	}{
		{"later", 0, 10 * time.Minute, 10 * time.Minute},
		{"sooner", 2 * time.Minute, 5 * time.Minute, 5 * time.Minute},
		{"beyond the absolute end", 3 * time.Minute, 2 * time.Hour, time.Hour},
		{"no more", 4 * time.Minute, 0, time.Hour},
	} {
		idle := time.Time{}
		if step.end != 0 {
			idle = at.Add(step.end)
		}
		if !rotated(at.Add(step.when), idle) {
			t.Fatalf("an end that moves %s: it did not rotate", step.name)
		}
		end := at.Add(step.until)
		if step.until == time.Hour {
			end = s.ExpiresAt
		}
		if !listed(end.Add(-time.Microsecond)) || listed(end) {
			t.Errorf("an end that moves %s: List does not know it", step.name)
		}
		if n, err := st.DeleteExpired(ctx, end, 10); n != 0 || err != nil {
			t.Fatalf("an end that moves %s: DeleteExpired at the end = %d, %v, want none", step.name, n, err)
		}
		if rotated(end, time.Time{}) {
			t.Errorf("an end that moves %s: it rotates at its end", step.name)
		}
	}
}

func revoke(t *testing.T, st issuer.Store) {
	ctx := t.Context()
	s, other := create(t, st, session("alice")), create(t, st, session("alice"))
	at := now()
	for _, when := range []time.Time{at, at.Add(time.Hour)} { // the second changes nothing
		if err := st.Revoke(ctx, s.ID, when); err != nil {
			t.Fatalf("Revoke: %v", err)
		}
	}
	s.RevokedAt = at
	if ok, err := st.Rotate(ctx, s.ID, 0, issuer.Rotation{Generation: 1, KeyID: "k1", RotatedAt: at}); ok || err != nil {
		t.Errorf("Rotate a revoked session = %v, %v, want false", ok, err)
	}
	equal(t, get(t, st, s.ID), s)
	equal(t, get(t, st, other.ID), other)
}

func revokeSubject(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	a, b, c := create(t, st, session("alice")), create(t, st, session("alice")), create(t, st, session("alice"))
	bob := create(t, st, session("bob"))
	if err := st.Revoke(ctx, c.ID, at); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	ids, err := st.RevokeSubject(ctx, "alice", a.ID, at)
	if err != nil || !slices.Equal(ids, []string{b.ID}) {
		t.Errorf("RevokeSubject = %v, %v, want %v", ids, err, b.ID)
	}
	for _, s := range []issuer.Session{a, bob} {
		if got := get(t, st, s.ID); !got.RevokedAt.IsZero() {
			t.Errorf("session of %s is revoked", s.Subject)
		}
	}
	if ids, err = st.RevokeSubject(ctx, "alice", "", at); err != nil || !slices.Equal(ids, []string{a.ID}) {
		t.Errorf("RevokeSubject = %v, %v, want %v", ids, err, a.ID)
	}
	if got := get(t, st, b.ID); !got.RevokedAt.Equal(at) {
		t.Errorf("revoked at %v, want %v", got.RevokedAt, at)
	}
}

func mark(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	own := create(t, st, session("alice"))
	for _, when := range []time.Time{at.Add(-time.Hour), at, at.Add(-time.Minute)} { // the latest counts
		if _, err := st.RevokeSubject(ctx, "alice", own.ID, when); err != nil {
			t.Fatalf("RevokeSubject: %v", err)
		}
	}
	if _, err := st.DeleteExpired(ctx, at, 1000); err != nil { // no mark is old enough
		t.Fatalf("DeleteExpired: %v", err)
	}
	adders := map[string]func(issuer.Session) error{
		"Create":  func(s issuer.Session) error { return st.Create(ctx, s) },
		"Replace": func(s issuer.Session) error { _, err := st.Replace(ctx, s); return err },
	}
	for name, add := range adders {
		for _, before := range []time.Duration{0, time.Microsecond, time.Second} {
			s := session("alice")
			s.AuthTime = at.Add(-before)
			s.CreatedAt = at.Add(time.Second) // a long login
			if err := add(s); !errors.Is(err, issuer.ErrSubjectRevoked) {
				t.Errorf("%s of a login that began %v before: %v, want ErrSubjectRevoked", name, before, err)
			}
			if got, err := st.Get(ctx, s.ID); err == nil && got.RevokedAt.IsZero() {
				t.Errorf("%s has refused a session, and it is there", name)
			} else if err != nil && !errors.Is(err, issuer.ErrNoSession) {
				t.Errorf("Get: %v", err)
			}
		}
	}
	equal(t, get(t, st, own.ID), own) // nobody has replaced it
	for _, subject := range []string{"alice", "Alice", "bob"} {
		s := session(subject)
		if s.AuthTime = at; subject == "alice" {
			s.AuthTime = at.Add(time.Microsecond)
		}
		equal(t, get(t, st, create(t, st, s).ID), s)
	}
}

func forgetMarks(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	for _, subject := range []string{"alice", "bob"} {
		when := at
		if subject == "bob" {
			when = at.Add(time.Second)
		}
		if _, err := st.RevokeSubject(ctx, subject, "", when); err != nil {
			t.Fatalf("RevokeSubject: %v", err)
		}
	}
	login := func(subject string) error {
		s := session(subject)
		s.AuthTime = at
		return st.Create(ctx, s)
	}
	for _, c := range []struct {
		after      time.Duration // twice MaxLoginTime
		alice, bob error
	}{
		{0, issuer.ErrSubjectRevoked, issuer.ErrSubjectRevoked},
		{time.Microsecond, nil, issuer.ErrSubjectRevoked},
		{time.Second, nil, issuer.ErrSubjectRevoked},
		{time.Second + time.Microsecond, nil, nil},
	} {
		if _, err := st.DeleteExpired(ctx, at.Add(2*issuer.MaxLoginTime+c.after), 1000); err != nil {
			t.Fatalf("DeleteExpired: %v", err)
		}
		if err := login("alice"); !errors.Is(err, c.alice) {
			t.Errorf("a login of alice %v after that: %v, want %v", c.after, err, c.alice)
		}
		if err := login("bob"); !errors.Is(err, c.bob) {
			t.Errorf("a login of bob %v after that: %v, want %v", c.after, err, c.bob)
		}
	}
}

func list(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	var want []string
	for n := range 3 {
		s := session("alice")
		s.CreatedAt = at.Add(time.Duration(n) * time.Second)
		create(t, st, s)
		want = append([]string{s.ID}, want...)
	}
	// Of one time, the least ID comes first, byte by byte.
	for _, first := range []string{"a", "_", "Z", "A", "9", "-"} {
		s := session("alice")
		s.ID, s.CreatedAt = first+s.ID[1:], at.Add(-time.Second)
		create(t, st, s)
		want = slices.Insert(want, 3, s.ID)
	}
	revoked, expired, idle := session("alice"), session("alice"), session("alice")
	expired.ExpiresAt, idle.IdleUntil = at.Add(-time.Second), at.Add(-time.Second)
	for _, s := range []issuer.Session{revoked, expired, idle, session("bob")} {
		create(t, st, s)
	}
	if err := st.Revoke(ctx, revoked.ID, at); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	all, err := st.List(ctx, "alice", at)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	var got []string
	for _, s := range all {
		got = append(got, s.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("List = %v, want the newest first: %v", got, want)
	}
	before, err := st.List(ctx, "alice", at.Add(-time.Minute))
	if err != nil || len(before) != 12 {
		t.Errorf("List of a minute ago = %d sessions, %v, want those that have ended since as well", len(before), err)
	}
	if last, err := st.List(ctx, "alice", at.Add(-time.Microsecond)); err != nil || len(last) != 10 {
		t.Errorf("List just before a revocation = %d sessions, %v", len(last), err)
	}
}

func deleteExpired(t *testing.T, st issuer.Store) {
	ctx, at := t.Context(), now()
	live, edge, revoked := create(t, st, session("alice")), session("alice"), session("alice")
	edge.ExpiresAt = at // not before
	create(t, st, edge)
	create(t, st, revoked) // is kept until its end, so that its client learns why
	if err := st.Revoke(ctx, revoked.ID, at); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	revoked.RevokedAt = at
	for n := range 7 {
		s := session("alice")
		s.ExpiresAt = at.Add(-time.Minute)
		if n%2 == 1 {
			s.ExpiresAt, s.IdleUntil = at.Add(time.Hour), at.Add(-time.Minute)
		}
		create(t, st, s)
	}
	total := 0
	for range 10 {
		n, err := st.DeleteExpired(ctx, at, 3)
		if err != nil || n > 3 {
			t.Fatalf("DeleteExpired = %d, %v", n, err)
		}
		total += n
	}
	if total != 7 {
		t.Errorf("%d sessions were deleted, want 7", total)
	}
	for _, s := range []issuer.Session{live, edge, revoked} {
		equal(t, get(t, st, s.ID), s)
	}
	if n, err := st.DeleteExpired(ctx, at.Add(time.Microsecond), 0); n != 0 || err != nil {
		t.Errorf("DeleteExpired of none = %d, %v", n, err)
	}
	if n, err := st.DeleteExpired(ctx, at.Add(time.Microsecond), 10); n != 1 || err != nil {
		t.Errorf("DeleteExpired just after an end = %d, %v, want 1", n, err)
	}
	if _, err := st.Get(ctx, edge.ID); !errors.Is(err, issuer.ErrNoSession) {
		t.Errorf("Get of what was deleted: %v, want ErrNoSession", err)
	}
}

// rounds is n, or a tenth of it with -short.
func rounds(n int) int {
	if testing.Short() {
		return max(n/10, 1)
	}
	return n
}

// service is an Issuer on the store, asked over its handler.
type service struct {
	t       *testing.T
	handler http.Handler
	ahead   atomic.Int64 // of time.Now, a time.Duration
}

func newService(t *testing.T, st issuer.Store, grace time.Duration) *service {
	t.Helper()
	return newServices(t, grace, st)[0]
}

// newServices returns a service on each store, as processes of one issuer have them.
func newServices(t *testing.T, grace time.Duration, stores ...issuer.Store) (all []*service) {
	t.Helper()
	key, err := issuer.GenerateKey(issuer.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	for _, st := range stores {
		s := &service{t: t}
		s.handler, err = issuer.New(issuer.Config{
			Now:    func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
			Issuer: "https://id.example.com", Audience: []string{"storetest"}, Keys: ring, Grace: grace,
			MasterKeys: []issuer.MasterKey{{Secret: secret}}, Store: st, Logger: slog.New(slog.DiscardHandler),
			Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
				return issuer.User{ID: c.Username}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

type answer struct {
	status       int
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	Reason       string `json:"reason"`
}

func (s *service) post(path, body string) answer {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	a := answer{status: w.Code}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			s.t.Errorf("%s answered what is no JSON: %v", path, err)
		}
	}
	return a
}

func (s *service) login() answer {
	s.t.Helper()
	a := s.post("/auth/login", `{"username":"alice","password":"x"}`)
	if a.status != http.StatusOK {
		s.t.Fatalf("login: %d %s", a.status, a.Reason)
	}
	return a
}

func (s *service) refresh(token string) answer {
	return s.post("/auth/refresh", `{"refresh_token":"`+token+`"}`)
}

// raceCreate lets 32 goroutines take one id, 20 times.
func raceCreate(t *testing.T, st issuer.Store) {
	for range rounds(20) {
		id := newID()
		var taken atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 32 {
			wg.Go(func() {
				<-start
				s := session("alice")
				s.ID = id
				switch err := st.Create(t.Context(), s); {
				case err == nil:
					taken.Add(1)
				case !errors.Is(err, issuer.ErrSessionExists):
					t.Errorf("Create: %v, want ErrSessionExists", err)
				}
			})
		}
		close(start)
		wg.Wait()
		if n := taken.Load(); n != 1 {
			t.Fatalf("the id was taken %d times", n)
		}
	}
}

// raceCompareAndSwap lets 32 goroutines make different rotations of one
// generation, 50 times: one of them reports true, and the row is as it said.
func raceCompareAndSwap(t *testing.T, st issuer.Store) {
	s := create(t, st, session("alice"))
	for g := range uint64(rounds(50)) {
		var made atomic.Int32
		var winner atomic.Int64
		var wg sync.WaitGroup
		start := make(chan struct{})
		for n := range 32 {
			wg.Go(func() {
				<-start
				update := issuer.Rotation{Generation: g + 1, KeyID: "k1", RotatedAt: now(), RetryHash: bytes.Repeat([]byte{byte(n)}, 32)}
				ok, err := st.Rotate(t.Context(), s.ID, g, update)
				if err != nil {
					t.Errorf("Rotate: %v", err)
				}
				if ok {
					made.Add(1)
					winner.Store(int64(n))
				}
			})
		}
		close(start)
		wg.Wait()
		got := get(t, st, s.ID)
		want := bytes.Repeat([]byte{byte(winner.Load())}, 32)
		if made.Load() != 1 || got.Generation != g+1 || !bytes.Equal(got.RetryHash, want) {
			t.Fatalf("generation %d: %d rotations were made, and the row is at %d", g, made.Load(), got.Generation)
		}
	}
}

// raceRotate lets 32 goroutines refresh one generation, for 100 generations:
// each generation must have exactly one successor.
func raceRotate(t *testing.T, st issuer.Store) {
	s := newService(t, st, longestGrace)
	token := s.login().RefreshToken
	for generation := range rounds(100) {
		// A young token would be answered again instead of rotated.
		s.ahead.Add(int64(longestGrace))
		var wg sync.WaitGroup
		start := make(chan struct{})
		answers := make([]answer, 32)
		for n := range answers {
			wg.Go(func() {
				<-start
				answers[n] = s.refresh(token)
			})
		}
		close(start)
		wg.Wait()
		successors := map[string]bool{}
		for _, a := range answers {
			if a.status != http.StatusOK {
				t.Fatalf("generation %d: %d %s", generation, a.status, a.Reason)
			}
			successors[a.RefreshToken] = true
		}
		if len(successors) != 1 || successors[token] {
			t.Fatalf("generation %d has %d successors", generation, len(successors))
		}
		for next := range successors {
			token = next
		}
	}
}

// raceRevoke lets refreshes race with a logout, 100 times: when both are done,
// no token of the session works.
func raceRevoke(t *testing.T, st issuer.Store) {
	s := newService(t, st, issuer.NoGrace)
	for race := range rounds(100) {
		token := s.login().RefreshToken
		var wg sync.WaitGroup
		start := make(chan struct{})
		var latest atomic.Pointer[string]
		latest.Store(&token)
		wg.Go(func() {
			<-start
			for range 5 {
				a := s.refresh(*latest.Load())
				if a.status != http.StatusOK {
					return
				}
				latest.Store(&a.RefreshToken)
			}
		})
		wg.Go(func() {
			<-start
			if a := s.post("/auth/logout", `{"refresh_token":"`+token+`"}`); a.status != http.StatusNoContent {
				t.Errorf("race %d: logout: %d %s", race, a.status, a.Reason)
			}
		})
		close(start)
		wg.Wait()
		if a := s.refresh(*latest.Load()); a.status != http.StatusUnauthorized || a.Reason != "AUTH_SESSION_REVOKED" {
			t.Fatalf("race %d: a token survived: %d %s", race, a.status, a.Reason)
		}
	}
}

// raceRevokeSubject lets rotations race with the revocation of their subject.
func raceRevokeSubject(t *testing.T, st issuer.Store) {
	ctx := t.Context()
	for race := range rounds(50) {
		subject := fmt.Sprintf("subject-%d", race)
		var ids []string
		for range 8 {
			ids = append(ids, create(t, st, session(subject)).ID)
		}
		var wg sync.WaitGroup
		start := make(chan struct{})
		for _, id := range ids {
			wg.Go(func() {
				<-start
				for g := uint64(0); ; g++ {
					ok, err := st.Rotate(ctx, id, g, issuer.Rotation{Generation: g + 1, KeyID: "k1", RotatedAt: now()})
					if err != nil {
						t.Errorf("Rotate: %v", err)
					}
					if !ok || err != nil || g > 1000 {
						return
					}
				}
			})
		}
		wg.Go(func() {
			<-start
			if _, err := st.RevokeSubject(ctx, subject, "", now()); err != nil {
				t.Errorf("RevokeSubject: %v", err)
			}
		})
		close(start)
		wg.Wait()
		for _, id := range ids {
			s := get(t, st, id)
			ok, err := st.Rotate(ctx, id, s.Generation, issuer.Rotation{Generation: s.Generation + 1, KeyID: "k1", RotatedAt: now()})
			if ok || err != nil || s.RevokedAt.IsZero() {
				t.Fatalf("race %d: a session lives on: %v, %v", race, ok, err)
			}
		}
	}
}

// raceReplaced lets rotations of a session race with a login that replaces it.
func raceReplaced(t *testing.T, st issuer.Store) {
	ctx := t.Context()
	for race := range rounds(50) {
		s := create(t, st, session(fmt.Sprintf("replaced-while-used-%d", race)))
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 2 {
			wg.Go(func() {
				<-start
				for g := uint64(0); g < 50; g++ {
					_, err := st.Rotate(ctx, s.ID, g, issuer.Rotation{Generation: g + 1, KeyID: "k1", RotatedAt: now()})
					if err != nil {
						t.Errorf("Rotate: %v", err)
					}
				}
			})
		}
		wg.Go(func() {
			<-start
			ids, err := st.Replace(ctx, session(s.Subject))
			if err != nil || !slices.Equal(ids, []string{s.ID}) {
				t.Errorf("Replace = %v, %v", ids, err)
				return
			}
			got := get(t, st, s.ID)
			ok, err := st.Rotate(ctx, s.ID, got.Generation, issuer.Rotation{Generation: got.Generation + 1, KeyID: "k1", RotatedAt: now()})
			if ok || err != nil || got.RevokedAt.IsZero() {
				t.Errorf("race %d: a session that was replaced lives on: %v, %v", race, ok, err)
			}
		})
		close(start)
		wg.Wait()
	}
}

// raceReplace lets 16 goroutines replace the sessions of one subject, 50 times.
// Each session but the last is revoked, by one of them.
func raceReplace(t *testing.T, st issuer.Store) {
	for race := range rounds(50) {
		subject := fmt.Sprintf("replaced-%d", race)
		var revoked atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 16 {
			wg.Go(func() {
				<-start
				ids, err := st.Replace(t.Context(), session(subject))
				if err != nil {
					t.Errorf("Replace: %v", err)
				}
				revoked.Add(int32(len(ids)))
			})
		}
		close(start)
		wg.Wait()
		live, err := st.List(t.Context(), subject, now())
		if err != nil || len(live) != 1 || revoked.Load() != 15 {
			t.Fatalf("race %d: %d sessions are left and %d were revoked, %v", race, len(live), revoked.Load(), err)
		}
	}
}

// raceLogin lets logins that began before race with the revocation of their
// subject: when all are done, none of them has left a session.
func raceLogin(t *testing.T, st issuer.Store) {
	ctx := t.Context()
	for race := range rounds(100) {
		subject, at := fmt.Sprintf("login-%d", race), now()
		var wg sync.WaitGroup
		start := make(chan struct{})
		for n := range 8 {
			wg.Go(func() {
				<-start
				s := session(subject)
				s.AuthTime = at
				var err error
				if n%2 == 0 {
					err = st.Create(ctx, s)
				} else {
					_, err = st.Replace(ctx, s)
				}
				if err != nil && !errors.Is(err, issuer.ErrSubjectRevoked) {
					t.Errorf("a login: %v, want nil or ErrSubjectRevoked", err)
				}
			})
		}
		wg.Go(func() {
			<-start
			if _, err := st.RevokeSubject(ctx, subject, "", at); err != nil {
				t.Errorf("RevokeSubject: %v", err)
			}
		})
		close(start)
		wg.Wait()
		if live, err := st.List(ctx, subject, now()); err != nil || len(live) > 0 {
			t.Fatalf("race %d: %d sessions live on, %v", race, len(live), err)
		}
	}
}
