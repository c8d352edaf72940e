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

// Two processes share what they know of used proofs. A proof that comes a second
// time is not the first, whoever asks.
func ExampleReplays_Use() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	for range 2 {
		replays, err := redisstore.NewReplays(redisstore.Config{Client: client})
		if err != nil {
			panic(err)
		}
		first, err := replays.Use(context.Background(), "the proof of a request", time.Now().Add(time.Minute))
		fmt.Println(first, err)
	}
	// Output:
	// true <nil>
	// false <nil>
}

// The memory of the DPoP of an issuer, and of that of a Middleware.
func ExampleNewReplays() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	replays, err := redisstore.NewReplays(redisstore.Config{Client: client})
	if err != nil {
		panic(err)
	}
	config := issuer.DPoP{Replays: replays, RequireNonce: true}
	fmt.Println(config)
	// Output: DPoP with Required false and RequireNonce true
}
