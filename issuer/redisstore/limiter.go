package redisstore

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tokenloop/tokenloop/issuer"
)

// A Limiter counts attempts for all processes that share a server. It keeps one
// timestamp for each key, when its budget will be whole again (the generic cell
// rate algorithm, GCRA), and forgets it then. It is safe for concurrent use.
type Limiter struct {
	client redis.UniversalClient
	prefix string
	now    func() time.Time // nil for the clock of the server
}

var _ issuer.Limiter = (*Limiter)(nil)

// NewLimiter returns a limiter on c.Client. Where c.Now is nil, the clock is that
// of the server, so that the clocks of the processes need not agree.
func NewLimiter(c Config) (*Limiter, error) {
	now := c.Now
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Limiter{client: c.Client, prefix: c.Prefix, now: now}, nil
}

// What both scripts begin with: key, now or nothing, all in microseconds.
const clock = `
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local whole = tonumber(redis.call('GET', KEYS[1]) or now)
local function set()
  redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', string.format('%.0f', math.ceil((whole - now) / 1000)))
end
`

// take answers how long it is until there is an attempt, or 0 and takes it. A clock
// that was set back locks nobody for longer than all.
//
//	key: now, every, all
var take = redis.NewScript(clock + `
local every, all = tonumber(ARGV[2]), tonumber(ARGV[3])
local ahead = whole > now + all
if ahead then whole = now + all end
local next = math.max(whole, now) + every
if next - now > all then
  if ahead then set() end
  return next - now - all
end
whole = next
set()
return 0`)

// give makes a budget whole sooner.
//
//	key: now, by
var give = redis.NewScript(clock + `
whole = whole - tonumber(ARGV[2])
if whole > now then set() else redis.call('DEL', KEYS[1]) end
return 0`)

// Take implements issuer.Limiter. A command that the client sends again, because
// its answer was lost, may take two attempts.
func (l *Limiter) Take(ctx context.Context, key string, b issuer.Budget) (time.Duration, error) {
	every, err := l.every(b)
	if err != nil {
		return 0, err
	}
	wait, err := take.Run(ctx, l.client, []string{l.key(key)}, l.time(), every, every*int64(b.Attempts)).Int64()
	if err != nil {
		return 0, failed("count an attempt", err)
	}
	return time.Duration(wait) * time.Microsecond, nil
}

// Give implements issuer.Limiter.
func (l *Limiter) Give(ctx context.Context, key string, n int, b issuer.Budget) error {
	every, err := l.every(b)
	if err != nil {
		return err
	}
	n = max(min(n, b.Attempts), 0)
	if err := give.Run(ctx, l.client, []string{l.key(key)}, l.time(), every*int64(n)).Err(); err != nil {
		return failed("give an attempt back", err)
	}
	return nil
}

func (l *Limiter) key(key string) string { return l.prefix + "l:" + key }

func (l *Limiter) time() string {
	if l.now == nil {
		return ""
	}
	return micros(l.now())
}

// every returns b.Every in microseconds, or what is wrong with b.
func (l *Limiter) every(b issuer.Budget) (int64, error) {
	if b.Attempts < 1 || b.Every < time.Millisecond || b.Attempts > int(issuer.MaxBudget/b.Every) {
		return 0, fmt.Errorf("redisstore: a budget of %d attempts, one more every %v, is none", b.Attempts, b.Every)
	}
	return int64((b.Every + time.Microsecond - 1) / time.Microsecond), nil
}
