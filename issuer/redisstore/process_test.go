package redisstore_test

import (
	"context"
	"crypto/rand"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

func TestMain(m *testing.M) {
	storetest.Work(func(where string) (issuer.Store, error) {
		url, prefix, _ := strings.Cut(where, "\n")
		client, err := open(url)
		if err != nil {
			return nil, err
		}
		return redisstore.New(redisstore.Config{Client: client, Prefix: prefix})
	})
	flag.Parse()
	redis.SetLogger(silent{})
	os.Exit(withExampleServer(m.Run))
}

// withExampleServer starts a server for the examples, which find its address where
// a service would. Where none is installed there are no examples.
func withExampleServer(run func() int) int {
	dir, err := os.MkdirTemp("", "redisstore")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	socket := dir + "/redis.sock"
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "yes")
	if err := server.Start(); err != nil {
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			panic(err)
		}
		_ = flag.Set("test.skip", "^Example")
		return run()
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	os.Setenv("REDIS_URL", "unix://"+socket)
	client, err := open(os.Getenv("REDIS_URL"))
	if err != nil {
		panic(err)
	}
	for range 500 {
		if client.Ping(context.Background()).Err() == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	client.Close()
	return run()
}

func rotation(g uint64) issuer.Rotation {
	return issuer.Rotation{Generation: g, KeyID: "k1", RotatedAt: time.Now()}
}

func newSession(subject string) issuer.Session { return newSessionAt(subject, time.Now()) }

func newSessionAt(subject string, at time.Time) issuer.Session {
	return issuer.Session{
		ID: rand.Text()[:22], Seed: make([]byte, 32), KeyID: "k1", RotatedAt: at, Subject: subject, AuthTime: at,
		CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}
}

// times is n, or a tenth of it with -short.
func times(n int) int {
	if testing.Short() {
		return max(n/10, 1)
	}
	return n
}

func TestProcesses(t *testing.T) {
	client, prefix := shared(t)
	storetest.RunProcesses(t, sharedURL()+"\n"+prefix, newStore(t, client, prefix))
}
