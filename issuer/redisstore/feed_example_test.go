package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

// printed is the mirror of these examples. A service has a Denylist of the package
// middleware, with a MaxAge of some Intervals.
type printed struct{ told, synced chan struct{} }

func (p printed) DenySession(_ context.Context, sid string, _ time.Time) error {
	fmt.Println("refuse the session", sid)
	p.told <- struct{}{}
	return nil
}

func (p printed) DenyToken(_ context.Context, jti string, _ time.Time) error {
	fmt.Println("refuse the token", jti)
	p.told <- struct{}{}
	return nil
}

func (p printed) DenySubject(_ context.Context, subject string, _, _ time.Time) error {
	fmt.Println("refuse the tokens of", subject)
	p.told <- struct{}{}
	return nil
}

func (p printed) Synced(time.Time) {
	select {
	case p.synced <- struct{}{}:
	default:
	}
}

func newPrinted() printed { return printed{make(chan struct{}, 10), make(chan struct{}, 1)} }

func ExampleNewFeed() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	defer client.Close()

	// In the process of the issuer this is the Denylist of its Config.
	feed, err := redisstore.NewFeed(redisstore.FeedConfig{Client: client, Prefix: "example of NewFeed:", Mirror: newPrinted()})
	if err != nil {
		panic(err)
	}
	fmt.Println(feed.DenySession(context.Background(), "c2Vzc2lvbiBvZiBhbGljZQ", time.Now().Add(time.Hour)))
	// Output:
	// refuse the session c2Vzc2lvbiBvZiBhbGljZQ
	// <nil>
}

// The feed of an issuer writes, and that of another process reads.
func ExampleFeed_Run() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())

	fmt.Println("the issuer:")
	writer, err := redisstore.NewFeed(redisstore.FeedConfig{Client: client, Mirror: newPrinted()})
	if err != nil {
		panic(err)
	}
	if err := writer.DenySession(ctx, "c2Vzc2lvbiBvZiBhbGljZQ", time.Now().Add(time.Hour)); err != nil {
		panic(err)
	}

	// In the process of a service the mirror belongs to its Middleware.
	fmt.Println("the service:")
	mirror := newPrinted()
	reader, err := redisstore.NewFeed(redisstore.FeedConfig{Client: client, Mirror: mirror})
	if err != nil {
		panic(err)
	}
	ended := make(chan error)
	go func() { ended <- reader.Run(ctx) }()
	<-mirror.synced // nothing is missing
	<-mirror.told
	if err := writer.DenySubject(ctx, "bob", time.Now(), time.Now().Add(time.Hour)); err != nil {
		panic(err)
	}
	<-mirror.told
	cancel()
	fmt.Println(<-ended)
	// Output:
	// the issuer:
	// refuse the session c2Vzc2lvbiBvZiBhbGljZQ
	// the service:
	// refuse the session c2Vzc2lvbiBvZiBhbGljZQ
	// refuse the tokens of bob
	// refuse the tokens of bob
	// context canceled
}

func ExampleFeed_DenyToken() {
	feed, closed := exampleFeed("example of DenyToken:")
	defer closed()
	fmt.Println(feed.DenyToken(context.Background(), "aWQgb2YgYSB0b2tlbg", time.Now().Add(time.Hour)))
	// Output:
	// refuse the token aWQgb2YgYSB0b2tlbg
	// <nil>
}

func ExampleFeed_DenySubject() {
	feed, closed := exampleFeed("example of DenySubject:")
	defer closed()
	fmt.Println(feed.DenySubject(context.Background(), "alice", time.Now(), time.Now().Add(time.Hour)))
	// Output:
	// refuse the tokens of alice
	// <nil>
}

func exampleFeed(prefix string) (*redisstore.Feed, func() error) {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	feed, err := redisstore.NewFeed(redisstore.FeedConfig{Client: client, Prefix: prefix, Mirror: newPrinted()})
	if err != nil {
		panic(err)
	}
	return feed, client.Close
}
