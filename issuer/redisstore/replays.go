package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Replays remembers which DPoP proofs were used (RFC 9449, Section 11.1), for all
// processes that share a server. It keeps one key for each proof until the proof is
// over. It is safe for concurrent use.
type Replays struct {
	client redis.UniversalClient
	prefix string
	now    func() time.Time
}

// NewReplays returns Replays on c.Client. How long a proof has left is counted by
// c.Now, and from then on by the server: its clock need not agree with that of the
// processes. It asks the server nothing: see Check.
func NewReplays(c Config) (*Replays, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Replays{client: c.Client, prefix: c.Prefix, now: c.Now}, nil
}

const (
	useTime   = 2 * time.Second // for one Use: a request waits for it
	leastLeft = time.Second     // a proof that is over is remembered for so long
)

// Use remembers a proof until then, and reports whether it was not used before: of
// any number of calls with one proof, one is the first. The proof may be any string;
// the server gets a hash of it. An error means that this is not known, and comes
// after two seconds at the latest, if the client has ContextTimeoutEnabled. A command
// that the client sends again, because its answer was lost, is still the first.
func (r *Replays) Use(ctx context.Context, proof string, until time.Time) (first bool, err error) {
	ctx, stop := context.WithTimeout(ctx, useTime)
	defer stop()
	nonce := rand.Text()[:nonceLength]
	left := max(until.Sub(r.now()), leastLeft).Truncate(time.Millisecond) + time.Millisecond
	key := r.key(proof)
	first, err = r.client.SetNX(ctx, key, nonce, left).Result()
	if err != nil {
		return false, failed("remember a proof", err)
	}
	if first {
		return true, nil
	}
	by, err := r.client.Get(ctx, key).Result()
	if err != nil && !errors.Is(err, redis.Nil) { // it is over by now
		return false, failed("tell who used a proof", err)
	}
	return by == nonce, nil
}

func (r *Replays) key(proof string) string {
	sum := sha256.Sum256([]byte(proof))
	return r.prefix + "p:" + base64.RawURLEncoding.EncodeToString(sum[:24])
}
