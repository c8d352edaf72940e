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

// The limiter is the Limiter of issuer.Limits, which calls it like this.
func ExampleNewLimiter() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	limiter, err := redisstore.NewLimiter(redisstore.Config{Client: client})
	if err != nil {
		panic(err)
	}
	ctx, budget := context.Background(), issuer.Budget{Attempts: 2, Every: time.Minute}
	for range 3 {
		wait, err := limiter.Take(ctx, "login-address:192.0.2.1", budget)
		fmt.Println(wait > 0, err)
	}
	// Output:
	// false <nil>
	// false <nil>
	// true <nil>
}

func ExampleLimiter_Give() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	limiter, err := redisstore.NewLimiter(redisstore.Config{Client: client})
	if err != nil {
		panic(err)
	}
	ctx, budget := context.Background(), issuer.Budget{Attempts: 1, Every: time.Minute}
	for range 2 {
		wait, err := limiter.Take(ctx, "login-address:192.0.2.2", budget)
		fmt.Println(wait, err)
		if err := limiter.Give(ctx, "login-address:192.0.2.2", 1, budget); err != nil { // the login was right
			panic(err)
		}
	}
	// Output:
	// 0s <nil>
	// 0s <nil>
}
