package redisstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrNotDurable is in the error of Check for a server without an append-only file.
var ErrNotDurable = errors.New("redisstore: the server has no append-only file: after a restart it has no session, or old ones")

// Check asks the servers whether they can be trusted with sessions, and returns
// all that is wrong: a server that does not answer, that is a replica, that may
// evict keys when its memory is full, or that forgets them when it restarts
// (ErrNotDurable, which who replicates may let pass). Call it when the service
// starts: the store itself works as long as the server does.
func (s *Store) Check(ctx context.Context) error { return check(ctx, s.client) }

// Check is [Store.Check] for the servers that remember proofs. One that restarts
// without an append-only file (ErrNotDurable) takes once more the proofs of the last
// minute or so, by who has their key or copied them.
func (r *Replays) Check(ctx context.Context) error { return check(ctx, r.client) }

func check(ctx context.Context, client redis.UniversalClient) error {
	var mistakes []error
	err := each(ctx, client, func(ctx context.Context, node redis.Cmdable) error {
		text, err := node.Info(ctx).Result()
		if err != nil {
			return err
		}
		info := map[string]string{}
		for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
			name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
			info[name] = value
		}
		if role := info["role"]; role != "master" {
			mistakes = append(mistakes, fmt.Errorf("redisstore: the server is a %s, and takes no writes", role))
		}
		if policy := info["maxmemory_policy"]; policy != "noeviction" {
			mistakes = append(mistakes, fmt.Errorf("redisstore: maxmemory-policy is %q, want noeviction: the server may throw sessions, revocations and used proofs away", policy))
		}
		if info["aof_enabled"] != "1" {
			mistakes = append(mistakes, ErrNotDurable)
		}
		return nil
	})
	if err != nil {
		mistakes = append(mistakes, failed("ask the server about itself", err))
	}
	return errors.Join(mistakes...)
}
