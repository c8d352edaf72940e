package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A kind of fault.
type kind string

const (
	killServer kind = "server killed"   // and started again, with another clock
	cutWire    kind = "wire cut"        // the next connections of clients end after some bytes
	rotateKey  kind = "key rotated"     // both servers go on with a new signing key
	removeKey  kind = "key removed"     // both servers are replaced, and know the new key alone
	cutKeys    kind = "JWKS away"       // nobody can fetch the keys
	cutStore   kind = "store cut off"   // the servers lose their connections to the store, and get no new ones
	killStore  kind = "store restarted" // the store is killed and started again
)

// everywhere are the kinds that there are with every store, in their proportion. Keys
// are removed seldom: tokens are to live long enough to be revoked.
var everywhere = []kind{
	killServer, killServer, killServer, cutWire, cutWire, cutWire, cutWire, cutWire, cutKeys, cutKeys, rotateKey, rotateKey, removeKey,
}

// A fault is what goes wrong at one moment of a run.
type fault struct {
	at     time.Duration // since the beginning
	kind   kind
	server int           // which one is killed
	down   time.Duration // until the end of the fault
	clock  time.Duration // of the server afterwards, against the others
	cuts   []cut
}

// A cut ends a connection.
type cut struct {
	answer bool // count the bytes of the answer, and not of the request
	after  int  // so many bytes
}

const (
	maxStep  = time.Second            // between two faults, and half of it on average
	minDown  = 50 * time.Millisecond  // of a server, a store or the JWKS
	maxDown  = 800 * time.Millisecond // the same, beyond minDown
	maxClock = 300 * time.Millisecond // that a server is ahead or behind
	maxCut   = 1200                   // bytes: what a request or an answer has, or more
)

func (f fault) String() string {
	s := fmt.Sprintf("%6.2f s  %s", f.at.Seconds(), f.kind)
	switch f.kind {
	case killServer:
		s += fmt.Sprintf(": %c, for %v, then with its clock at %+d ms", 'A'+f.server, f.down, f.clock.Milliseconds())
	case cutWire:
		s += fmt.Sprintf(": %d connections", len(f.cuts))
	case cutKeys, cutStore, killStore:
		s += fmt.Sprintf(": for %v", f.down)
	}
	return s
}

// schedule draws the faults of a run. The same arguments give the same faults. Each
// kind comes up as often as it is listed before any comes up again.
func schedule(seed uint64, duration time.Duration, kinds []kind) []fault {
	rng := rand.New(rand.NewPCG(seed, 0))
	var all []fault
	var left []kind
	for at := draw(rng, maxStep); at < duration; at += draw(rng, maxStep) {
		if len(left) == 0 {
			left = append(left, kinds...)
			rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		f := fault{at: at, kind: left[0], server: rng.IntN(2), down: minDown + draw(rng, maxDown), clock: draw(rng, 2*maxClock) - maxClock}
		left = left[1:]
		if f.kind == cutWire {
			for range 5 + rng.IntN(30) {
				f.cuts = append(f.cuts, cut{answer: rng.IntN(2) == 0, after: rng.IntN(maxCut)})
			}
		}
		all = append(all, f)
	}
	return all
}

func draw(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most))).Truncate(time.Millisecond)
}
