package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// apart is how far the clocks of two servers are apart at most, and a little more.
const apart = 2*maxClock + 200*time.Millisecond

// A holder has a session of its own and no refresher: a thief, or one who races.
type holder struct {
	*world
	person
	rng *rand.Rand
}

// begin logs in, however long it takes.
func (p *holder) begin(ctx context.Context) pair {
	for ctx.Err() == nil {
		got, err := p.login(ctx, p.url())
		if err == nil {
			p.count("logins")
			return got
		}
		p.count("logins" + failure(jwterrors.ReasonOf(err)))
		wait(ctx, 100*time.Millisecond)
	}
	return pair{}
}

// rotate is a refresh by who the session belongs to, repeated with one key until it
// is answered.
func (p *holder) rotate(ctx context.Context, from pair) pair {
	key := p.key()
	for ctx.Err() == nil {
		got, err := p.refresh(ctx, p.url(), from.Refresh, key)
		if err == nil {
			p.count("refreshes")
			return got
		}
		if why := jwterrors.ReasonOf(err); !harmless[why] {
			p.violate("somebody has a valid session, and its refreshes fail: %v", why)
		}
		wait(ctx, 50*time.Millisecond)
	}
	return pair{}
}

// key draws a retry key.
func (p *holder) key() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	key := make([]byte, 26)
	for i := range key {
		key[i] = letters[p.rng.IntN(len(letters))]
	}
	return string(key)
}

// steal plays both the owner of a session and a thief who has an old refresh token
// of it, until ctx is done. The thief comes when the grace is over, or with a token
// of two generations ago, and is to be found out: then the session is over for both.
func (p *holder) steal(ctx context.Context) {
	for ctx.Err() == nil {
		stolen := p.begin(ctx)
		current := p.rotate(ctx, stolen)
		if !wait(ctx, grace+apart) {
			return
		}
		if p.rng.IntN(2) == 0 {
			current = p.rotate(ctx, current) // the stolen one is two generations old
		}
		key := "" // a thief may send one, but not the owner's
		if p.rng.IntN(2) == 0 {
			key = p.key()
		}
		if !p.replay(ctx, stolen.Refresh, key) {
			return
		}
		p.count("replays found")
		p.revoked(current.Access)
		if !p.over(ctx, current.Refresh) {
			return
		}
	}
}

// replay presents an old refresh token until there is an answer, which is to be that
// it was used before.
func (p *holder) replay(ctx context.Context, token, key string) bool {
	for ctx.Err() == nil {
		_, err := p.refresh(ctx, p.url(), token, key)
		switch why := jwterrors.ReasonOf(err); {
		case err == nil:
			p.violate("a replay outside the window was not found: it was answered with tokens")
			return false
		case why == jwterrors.RefreshTokenReused, why == jwterrors.SessionRevoked: // the latter when the first answer was lost
			return true
		case !harmless[why]:
			p.violate("a replay is refused with %v", why)
			return false
		}
		wait(ctx, 50*time.Millisecond)
	}
	return false
}

// over sees to it that the session has ended for its owner, too.
func (p *holder) over(ctx context.Context, token string) bool {
	for ctx.Err() == nil {
		_, err := p.refresh(ctx, p.url(), token, "")
		switch why := jwterrors.ReasonOf(err); {
		case err == nil:
			p.violate("a session goes on after a replay")
			return false
		case why == jwterrors.SessionRevoked, why == jwterrors.RefreshTokenReused:
			return true
		}
		wait(ctx, 50*time.Millisecond)
	}
	return false
}

// race refreshes one session from several processes at once, at both servers, until
// ctx is done: they share one retry key, as processes with one store do. All who are
// answered get the same successor.
func (p *holder) race(ctx context.Context) {
	current := p.begin(ctx)
	for key := p.key(); ctx.Err() == nil; {
		var got [4]pair
		var errs [4]error
		var all sync.WaitGroup
		for i := range got {
			server := p.url()
			if s := p.servers[i%2].server.Load(); s != nil && i < 3 {
				server = s.URL
			}
			all.Go(func() { got[i], errs[i] = p.refresh(ctx, server, current.Refresh, key) })
		}
		all.Wait()
		next := current
		for i, err := range errs {
			switch why := jwterrors.ReasonOf(err); {
			case err == nil && got[i].Refresh != current.Refresh: // the witness knows that there is only one
				next = got[i]
			case err != nil && !harmless[why] && ctx.Err() == nil:
				p.violate("somebody has a valid session, and its refreshes fail: %v", why)
			}
		}
		p.count("races")
		if next.Refresh == current.Refresh { // nobody was answered: the same once more
			wait(ctx, 50*time.Millisecond)
			continue
		}
		if at, ok := readRefreshToken(next.Refresh); ok {
			p.settled(at)
		}
		current, key = next, p.key()
		wait(ctx, grace+apart)
	}
}
