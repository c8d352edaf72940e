package redisstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

// typical is a session with an email address, two scopes, a small claim and the
// user agent of a browser.
func typical(n int) issuer.Session {
	s := newSession(fmt.Sprintf("user-%08d", n))
	s.ClientID, s.Scopes, s.Email = "mobile", []string{"orders:read", "orders:write"}, fmt.Sprintf("user-%08d@example.com", n)
	s.Claims, s.Address, s.Device = []byte(`{"plan":"gold"}`), "192.0.2.17", "phone"
	s.UserAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	s.ExpiresAt = s.CreatedAt.Add(30 * 24 * time.Hour)
	return s
}

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

// BenchmarkRefresh is what a refresh asks of the store, and in turn the same hash
// read and written by the same client with nothing decided, so that both have the
// same machine.
func BenchmarkRefresh(b *testing.B) {
	client, prefix := benchmarked(b)
	st, err := redisstore.New(redisstore.Config{Client: client, Prefix: prefix})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	s, bare := typical(1), typical(2)
	for _, s := range []issuer.Session{s, bare} {
		if err := st.Create(ctx, s); err != nil {
			b.Fatal(err)
		}
	}
	key := prefix + "s:" + bare.ID
	var whole, part time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		began := time.Now()
		v, err := st.Get(ctx, s.ID)
		if err != nil {
			b.Fatal(err)
		}
		if ok, err := st.Rotate(ctx, s.ID, v.Generation, rotation(v.Generation+1)); !ok || err != nil {
			b.Fatal(ok, err)
		}
		between := time.Now()
		whole += between.Sub(began)
		if err := client.HGetAll(ctx, key).Err(); err != nil {
			b.Fatal(err)
		}
		if err := client.HSet(ctx, key, "g", rounds, "r", between.UnixMicro(), "k", "k1").Err(); err != nil {
			b.Fatal(err)
		}
		part += time.Since(between)
	}
	b.ReportMetric(float64(whole.Nanoseconds())/float64(rounds), "store-ns/op")
	b.ReportMetric(float64(part.Nanoseconds())/float64(rounds), "bare-ns/op")
	b.ReportMetric(100*float64(part)/float64(whole), "%-of-bare")
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
