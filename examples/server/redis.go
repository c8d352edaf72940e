package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

// openRedis opens a Redis. Besides the parameters of the client the URL may have a
// "prefix", which begins the names of all keys.
func openRedis(ctx context.Context, u url.URL, now func() time.Time, log *slog.Logger) (*storage, error) {
	query := u.Query()
	prefix := query.Get("prefix") // empty means the default
	query.Del("prefix")
	u.RawQuery = query.Encode()
	options, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, err
	}
	options.ContextTimeoutEnabled = true
	logging.Disable() // what it says is in the errors, too
	client := redis.NewClient(options)
	store, err := redisstore.New(redisstore.Config{Client: client, Prefix: prefix, Now: now})
	if err == nil {
		err = client.Ping(ctx).Err()
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	limiter, err := redisstore.NewLimiter(redisstore.Config{Client: client, Prefix: prefix, Now: now})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	used, err := redisstore.NewReplays(redisstore.Config{Client: client, Prefix: prefix, Now: now})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	denials := func(mirror issuer.Mirror) (feed, error) {
		return redisstore.NewFeed(redisstore.FeedConfig{Client: client, Prefix: prefix, Mirror: mirror, Logger: log, Now: now})
	}
	return &storage{
		Store: store, accounts: &redisAccounts{client, prefix + "server-users"}, limiter: limiter, replays: used, feed: denials, close: client.Close,
	}, nil
}

// redisAccounts are in one hash.
type redisAccounts struct {
	client *redis.Client
	key    string
}

func (a *redisAccounts) add(ctx context.Context, name, hash string) error {
	added, err := a.client.HSetNX(ctx, a.key, name, hash).Result()
	if err == nil && !added {
		return jwterrors.UserExists
	}
	return err
}

func (a *redisAccounts) hash(ctx context.Context, name string) (string, error) {
	hash, err := a.client.HGet(ctx, a.key, name).Result()
	if err == redis.Nil {
		return "", nil
	}
	return hash, err
}
