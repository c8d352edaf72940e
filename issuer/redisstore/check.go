package redisstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrNotDurable is the error of Check for a server without an append-only file, where
// nothing worse is wrong.
var ErrNotDurable = errors.New("redisstore: the server has no append-only file: after a restart it has no session, or old ones")

// Check asks the servers of client whether they can be trusted with what is kept here,
// and returns all that is wrong: a client that New refuses, a server that does not answer, that is a replica,
// that may evict keys when its memory is full, or that forgets them when it restarts.
// The last, alone, is ErrNotDurable, which who replicates may let pass. With used
// proofs it means that those of the last minute or so are taken once more, by who has
// their key or copied them. Call Check when the service starts: what is here works as
// long as the servers do.
func Check(ctx context.Context, client redis.UniversalClient) error {
	if err := (&Config{Client: client}).check(); err != nil {
		return err
	}
	var mistakes []error
	durable := true
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
			durable = false
		}
		return nil
	})
	if err != nil {
		mistakes = append(mistakes, failed("ask the server about itself", err))
	}
	switch {
	case durable:
	case len(mistakes) == 0:
		return ErrNotDurable
	default: // in words alone, for nobody to let the others pass with it
		mistakes = append(mistakes, errors.New(ErrNotDurable.Error()))
	}
	return errors.Join(mistakes...)
}
