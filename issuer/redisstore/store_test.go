package redisstore_test

import (
	"context"
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

func sharedURL() string {
	if s := os.Getenv("TOKENLOOP_TEST_REDIS"); s != "" {
		return s
	}
	return "redis://127.0.0.1:6379"
}

// open returns a client of the server at url.
func open(url string) (*redis.Client, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	options.ContextTimeoutEnabled = true
	return redis.NewClient(options), nil
}

func connect(t *testing.T, url string) *redis.Client {
	t.Helper()
	client, err := open(url)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

// impatient returns a client that tries nothing twice.
func impatient(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	options.MaxRetries, options.DialerRetries = -1, 1
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// silent is for go-redis, which tells of each connection that it does not get.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// shared returns a client of the server that tests share, and a prefix of the
// test's own, whose keys are removed after it. It skips the test when no server
// answers.
func shared(t *testing.T) (*redis.Client, string) {
	t.Helper()
	client := connect(t, sharedURL())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		missing(t, "no Redis answers", err)
	}
	prefix := "test:" + rand.Text() + ":"
	t.Cleanup(func() { // runs before the client is closed
		ctx := context.Background()
		keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
		for keys.Next(ctx) {
			client.Del(ctx, keys.Val())
		}
	})
	return client, prefix
}

// missing skips a test for want of something, or fails it where nothing may be.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skip(what)
}

func newStore(t *testing.T, client redis.UniversalClient, prefix string) *redisstore.Store {
	t.Helper()
	st, err := redisstore.New(redisstore.Config{Client: client, Prefix: prefix})
	require.NoError(t, err)
	return st
}

func sharedStore(t *testing.T) *redisstore.Store {
	t.Helper()
	client, prefix := shared(t)
	return newStore(t, client, prefix)
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) issuer.Store { return sharedStore(t) })
}
