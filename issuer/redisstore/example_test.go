package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

func ExampleNew() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	options.ContextTimeoutEnabled = true // a request that ends waits no longer
	client := redis.NewClient(options)
	defer client.Close()
	store, err := redisstore.New(redisstore.Config{Client: client})
	if err != nil {
		panic(err)
	}

	// The store is the Store of an issuer.Config, which calls it like this.
	ctx, now := context.Background(), time.Now()
	err = store.Create(ctx, issuer.Session{
		ID: "c2Vzc2lvbiBvZiBhbGljZQ", Seed: make([]byte, 32), Subject: "alice", RotatedAt: now,
		AuthTime: now, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		panic(err)
	}
	sessions, err := store.List(ctx, "alice", now)
	fmt.Println(len(sessions), err)
	// Output: 1 <nil>
}

func ExampleCheck() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	// When the service starts:
	fmt.Println(redisstore.Check(context.Background(), client))
	// Output: <nil>
}

// A master key that no live session has may be dropped: see issuer.Config.
func ExampleStore_CountKeys() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	store, err := redisstore.New(redisstore.Config{Client: client, Prefix: "example of CountKeys:"})
	if err != nil {
		panic(err)
	}
	ctx, now := context.Background(), time.Now()
	err = store.Create(ctx, issuer.Session{
		ID: "c2Vzc2lvbiBvZiBhbGljZQ", Seed: make([]byte, 32), KeyID: "2026", Subject: "alice", RotatedAt: now,
		AuthTime: now, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(store.CountKeys(ctx, now))
	// Output: map[2026:1] <nil>
}
