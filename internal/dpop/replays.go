package dpop

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash/maphash"
	"sync"
	"time"
)

// Replays remembers which proofs were used. Rooms have an interface of their own
// with the same method.
type Replays interface {
	// Use remembers a proof until then, and reports whether it was not used
	// before. An error means that this is not known.
	Use(ctx context.Context, proof string, until time.Time) (first bool, err error)
}

// name returns what Replays know p by: a hash of its key and its "jti", whatever
// the URL was.
func (p *Proof) name() string {
	sum := sha256.Sum256([]byte(p.Thumbprint + "|" + p.ID))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}

// A Memory is Replays of one process. It is bounded, and safe for concurrent use.
type Memory struct {
	now    func() time.Time
	most   int // of a shard's half
	seed   maphash.Seed
	shards [64]shard
}

// A shard holds what was used lately in two halves, of which the older one is
// dropped when the younger one has lasted for so long that all in the older is
// over. So nothing is ever searched for what has ended.
type shard struct {
	mu    sync.Mutex
	young map[[16]byte]struct{}
	old   map[[16]byte]struct{}
	turn  time.Time // after it young becomes old; not before all in old has ended
	end   time.Time // when all in young has ended
}

// MaxProofs is how many proofs a Memory holds at most, where nobody says another
// number.
const MaxProofs = 1 << 21

// longest is more than any proof lasts.
const longest = time.Hour

// NewMemory returns a Memory of most proofs, or nearly so many, by the clock now.
func NewMemory(most int, now func() time.Time) *Memory {
	m := &Memory{now: now, seed: maphash.MakeSeed()}
	m.most = max(1, most/2/len(m.shards))
	return m
}

// ErrFull is the error of a Memory that holds as many proofs as it can: to forget
// one that has not ended would let it be used again.
var ErrFull = errors.New("dpop: too many proofs in a short time")

// Use implements Replays.
func (m *Memory) Use(_ context.Context, proof string, until time.Time) (bool, error) {
	sum := sha256.Sum256([]byte(proof))
	key := [16]byte(sum[:16])
	s := &m.shards[maphash.Bytes(m.seed, key[:])%uint64(len(m.shards))] // nobody can choose which
	now := m.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn.Sub(until) > longest { // the clock was ahead, and was set right
		s.turn, s.end = until, until
	}
	if now.After(s.turn) {
		s.old, s.turn = s.young, s.end
		s.young = make(map[[16]byte]struct{}, len(s.old)/2)
	}
	if _, used := s.young[key]; used {
		return false, nil
	}
	if _, used := s.old[key]; used {
		return false, nil
	}
	if len(s.young) >= m.most {
		return false, ErrFull
	}
	s.young[key] = struct{}{}
	if until.After(s.end) {
		s.end = until
	}
	return true, nil
}
