package storetest

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// longestGrace is the longest Config.Grace there is.
const longestGrace = 5 * time.Minute

// clientsExpiry looks at the end of a session as its client does.
func clientsExpiry(t *testing.T, st issuer.Store) {
	s := newService(t, st, issuer.NoGrace)
	token := s.login().RefreshToken
	s.ahead.Store(int64(issuer.DefaultRefreshTTL - time.Minute))
	a := s.refresh(token)
	if a.status != http.StatusOK {
		t.Fatalf("a minute before the end: %d %s", a.status, a.Reason)
	}
	s.ahead.Store(int64(issuer.DefaultRefreshTTL))
	if a := s.refresh(a.RefreshToken); a.status != http.StatusUnauthorized || a.Reason != "AUTH_REFRESH_TOKEN_EXPIRED" {
		t.Errorf("at the end: %d %s", a.status, a.Reason)
	}
	if n, err := st.DeleteExpired(t.Context(), now().Add(issuer.DefaultRefreshTTL), 10); n != 1 || err != nil {
		t.Errorf("DeleteExpired = %d, %v, want 1", n, err)
	}
	if a := s.refresh(a.RefreshToken); a.status != http.StatusUnauthorized || a.Reason != "AUTH_REFRESH_TOKEN_INVALID" {
		t.Errorf("when it was removed: %d %s", a.status, a.Reason)
	}
}

// clocksDiffer: a client is answered by processes whose clocks are minutes apart,
// in turns and by all of them at once.
func clocksDiffer(t *testing.T, st issuer.Store) {
	const apart = 3 * time.Minute
	all := newServices(t, issuer.DefaultGrace, st, st, st)
	all[1].ahead.Store(int64(apart))
	all[2].ahead.Store(-int64(apart))
	token := all[0].login().RefreshToken
	var last time.Time
	for round := range rounds(30) {
		for n := range 3 { // a later time comes to each
			all[n].ahead.Add(int64(issuer.DefaultGrace))
		}
		asked := all[round%3 : round%3+1]
		if round%4 == 3 {
			asked = all
		}
		var wg sync.WaitGroup
		answers := make([]answer, 4*len(asked))
		for n := range answers {
			wg.Go(func() { answers[n] = asked[n%len(asked)].refresh(token) })
		}
		wg.Wait()
		next := map[string]bool{}
		for _, a := range answers {
			if a.status != http.StatusOK {
				t.Fatalf("round %d: %d %s", round, a.status, a.Reason)
			}
			next[a.RefreshToken] = true
		}
		if len(next) > 2 || len(next) == 2 && !next[token] {
			t.Fatalf("round %d: %d tokens were answered", round, len(next))
		}
		for other := range next {
			if other != token {
				token = other
				break
			}
		}
		live, err := st.List(t.Context(), "alice", now())
		if err != nil || len(live) != 1 {
			t.Fatalf("round %d: %d sessions live, %v", round, len(live), err)
		}
		if live[0].RotatedAt.Before(last) {
			t.Errorf("round %d: the time of the rotation went back by %v", round, last.Sub(live[0].RotatedAt))
		}
		last = live[0].RotatedAt
	}
}

// A forgetful store loses its next rotation, and says that it was made: a server
// that took over without it.
type forgetful struct {
	issuer.Store
	forget bool
}

func (f *forgetful) Rotate(ctx context.Context, id string, from uint64, update issuer.Rotation) (bool, error) {
	if f.forget {
		f.forget = false
		return true, nil
	}
	return f.Store.Rotate(ctx, id, from, update)
}

// lostWrite lets a client come with a token that the store has forgotten, in one
// request or in many at once: it moves on, and so does everybody to one successor.
func lostWrite(t *testing.T, st issuer.Store) {
	losing := &forgetful{Store: st}
	s := newService(t, losing, longestGrace)
	token := s.login().RefreshToken
	for round := range rounds(20) {
		s.ahead.Add(int64(longestGrace))
		losing.forget = true
		a := s.refresh(token) // its generation is ahead of the store's by now
		if a.status != http.StatusOK || a.RefreshToken == token {
			t.Fatalf("round %d: %d %s", round, a.status, a.Reason)
		}
		lost := a.RefreshToken
		var wg sync.WaitGroup
		answers := make([]answer, 1+15*(round%2))
		for n := range answers {
			wg.Go(func() { answers[n] = s.refresh(lost) })
		}
		wg.Wait()
		for _, a := range answers {
			if a.status != http.StatusOK || a.RefreshToken != answers[0].RefreshToken || a.RefreshToken == lost {
				t.Fatalf("round %d: a token that was lost: %d %s, or another successor", round, a.status, a.Reason)
			}
		}
		token = answers[0].RefreshToken
	}
}
