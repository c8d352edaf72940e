package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A server is a process of the test's own.
type server struct {
	port string
	args []string
	mu   sync.Mutex
	cmd  *exec.Cmd
}

func (s *server) address() string { return "127.0.0.1:" + s.port }
func (s *server) url() string     { return "redis://" + s.address() }

// newServer starts a server, or skips the test where none is installed. Its files
// are in a folder of its own.
func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		missing(t, "no redis-server is installed", err)
	}
	s := &server{port: freePort(t), args: append([]string{"--dir", t.TempDir()}, args...)}
	t.Cleanup(func() { s.kill(t) })
	s.start(t)
	return s
}

// freePort leaves room for the port of a Cluster's own talk, 10000 above.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port < 55000 {
			return strconv.Itoa(port)
		}
	}
	t.Fatal("no port is free")
	return ""
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	args := append([]string{"--port", s.port, "--bind", "127.0.0.1", "--save", "", "--daemonize", "no", "--loglevel", "warning"}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	require.NoError(t, s.cmd.Start())
	until(t, "the server answers", func(ctx context.Context) bool {
		client := redis.NewClient(&redis.Options{Addr: s.address(), MaxRetries: -1})
		defer client.Close()
		err := client.Ping(ctx).Err()
		return err == nil || redis.IsAuthError(err)
	})
}

// kill is kill -9.
func (s *server) kill(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(t, err)
	}
	_ = s.cmd.Wait() // says that it was killed
	s.cmd = nil
}

// until waits for something that another process does, 20 s at most.
func until(t *testing.T, what string, done func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for !done(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 20 s: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// newCluster starts a Cluster of three servers.
func newCluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	const slots, nodes = 16384, 3
	var addresses []string
	var first *server
	for n := range nodes {
		s := newServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		addresses = append(addresses, s.address())
		client := connect(t, s.url())
		require.NoError(t, client.ClusterAddSlotsRange(t.Context(), n*slots/nodes, (n+1)*slots/nodes-1).Err())
		require.NoError(t, client.Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", n+1).Err())
		if first == nil {
			first = s
			continue
		}
		require.NoError(t, client.ClusterMeet(t.Context(), "127.0.0.1", first.port).Err())
	}
	for _, address := range addresses {
		client := connect(t, "redis://"+address)
		until(t, "the cluster is whole", func(ctx context.Context) bool {
			info, err := client.ClusterInfo(ctx).Result()
			return err == nil && has(info, "cluster_state:ok") && has(info, fmt.Sprintf("cluster_known_nodes:%d", nodes))
		})
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses, ContextTimeoutEnabled: true})
	t.Cleanup(func() { cluster.Close() })
	return cluster
}
