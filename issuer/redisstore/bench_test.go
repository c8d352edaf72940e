package redisstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

func benchmarked(b *testing.B) (*redis.Client, string) {
	client, err := open(sharedURL())
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Ping(b.Context()).Err(); err != nil {
		b.Skip("no Redis answers")
	}
	const prefix = "benchmark:"
	b.Cleanup(func() {
		ctx := context.Background()
		for keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator(); keys.Next(ctx); {
			client.Del(ctx, keys.Val())
		}
		client.Close()
	})
	return client, prefix
}

// BenchmarkUse is a proof that comes for the first time, and in turn the same SET by
// the same client.
func BenchmarkUse(b *testing.B) {
	client, prefix := benchmarked(b)
	r, err := redisstore.NewReplays(redisstore.Config{Client: client, Prefix: prefix})
	if err != nil {
		b.Fatal(err)
	}
	ctx, end := b.Context(), time.Now().Add(time.Minute)
	var whole, part time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		name := fmt.Sprintf("%040d", rounds)
		began := time.Now()
		if first, err := r.Use(ctx, name, end); !first || err != nil {
			b.Fatal(first, err)
		}
		between := time.Now()
		whole += between.Sub(began)
		if err := client.SetNX(ctx, prefix+name, "nonce", time.Minute).Err(); err != nil {
			b.Fatal(err)
		}
		part += time.Since(between)
	}
	b.ReportMetric(float64(whole.Nanoseconds())/float64(rounds), "use-ns/op")
	b.ReportMetric(float64(part.Nanoseconds())/float64(rounds), "bare-ns/op")
	b.ReportMetric(100*float64(part)/float64(whole), "%-of-bare")
}
