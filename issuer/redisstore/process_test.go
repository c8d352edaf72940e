package redisstore_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

// What a process that a test starts is told to do.
const (
	envJob    = "REDISSTORE_JOB"
	envURL    = "REDISSTORE_URL"
	envPrefix = "REDISSTORE_PREFIX"
	envID     = "REDISSTORE_ID"
	envRounds = "REDISSTORE_ROUNDS"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(envJob); job != "" {
		if err := work(context.Background(), job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
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

func work(ctx context.Context, job string) error {
	client, err := open(os.Getenv(envURL))
	if err != nil {
		return err
	}
	defer client.Close()
	st, err := redisstore.New(redisstore.Config{Client: client, Prefix: os.Getenv(envPrefix)})
	if err != nil {
		return err
	}
	id := os.Getenv(envID)
	rounds, _ := strconv.ParseUint(os.Getenv(envRounds), 10, 64)
	switch job {
	case "rotate": // prints each generation that it has reached, for ever
		s, err := st.Get(ctx, id)
		for g := s.Generation; err == nil; g++ {
			var ok bool
			if ok, err = st.Rotate(ctx, id, g, rotation(g+1)); err == nil && !ok {
				err = fmt.Errorf("generation %d did not rotate", g)
			}
			if err == nil {
				fmt.Println(g + 1)
			}
		}
		return err
	case "race": // prints the generations that it has won
		var wg sync.WaitGroup
		var failed atomic.Pointer[error]
		for range 8 {
			wg.Go(func() {
				for g := range rounds {
					ok, err := st.Rotate(ctx, id, g, rotation(g+1))
					if err != nil {
						failed.Store(&err)
						return
					}
					if ok {
						fmt.Println(g + 1)
					}
				}
			})
		}
		wg.Wait()
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	case "login": // begins sessions of one subject that replace one another, for ever, and prints them
		for {
			s := newSession(id)
			if _, err := st.Replace(ctx, s); err != nil {
				return err
			}
			fmt.Println(s.ID)
		}
	}
	return fmt.Errorf("no such job: %s", job)
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

func process(t *testing.T, job, url, prefix, id string, rounds int) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), envJob+"="+job, envURL+"="+url, envPrefix+"="+prefix, envID+"="+id, envRounds+"="+strconv.Itoa(rounds))
	return c
}

// times is n, or a tenth of it with -short.
func times(n int) int {
	if testing.Short() {
		return max(n/10, 1)
	}
	return n
}

func TestOneGenerationHasOneSuccessorAcrossProcesses(t *testing.T) {
	client, prefix := shared(t)
	st := newStore(t, client, prefix)
	s := newSession("alice")
	require.NoError(t, st.Create(t.Context(), s))
	rounds := times(150)
	var mu sync.Mutex
	won := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			out, err := process(t, "race", sharedURL(), prefix, s.ID, rounds).Output()
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			for _, g := range strings.Fields(string(out)) {
				won[g]++
			}
		})
	}
	wg.Wait()
	for g := range rounds {
		assert.Equal(t, 1, won[strconv.Itoa(g+1)], "winners of generation %d", g+1)
	}
}

func TestAKilledProcessLosesNoSession(t *testing.T) {
	client, prefix := shared(t)
	st := newStore(t, client, prefix)
	s := newSession("alice")
	require.NoError(t, st.Create(t.Context(), s))
	for n := range times(40) {
		last, _ := killAfter(t, process(t, "rotate", sharedURL(), prefix, s.ID, 0), n)
		reached, err := strconv.ParseUint(last, 10, 64)
		require.NoError(t, err)
		got, err := st.Get(t.Context(), s.ID)
		require.NoError(t, err)
		require.GreaterOrEqual(t, got.Generation, reached, "what was answered is kept")
		require.LessOrEqual(t, got.Generation, reached+1)
		ok, err := st.Rotate(t.Context(), s.ID, got.Generation, rotation(got.Generation+1))
		require.NoError(t, err)
		require.True(t, ok)
	}
}

// killAfter kills the process after n more lines than one, and returns its last
// one and how many there were.
func killAfter(t *testing.T, c *exec.Cmd, n int) (last string, lines int) {
	t.Helper()
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	for seen := bufio.NewScanner(out); seen.Scan(); lines++ {
		last = seen.Text()
		if lines == n {
			require.NoError(t, c.Process.Kill())
		}
	}
	require.Error(t, c.Wait())
	require.NotEmpty(t, last)
	return last, lines
}

// A login that is killed leaves the session before or its own, never both and
// never neither.
func TestALoginThatIsKilledReplacesAllOrNothing(t *testing.T) {
	client, prefix := shared(t)
	st := newStore(t, client, prefix)
	for n := range times(40) {
		last, _ := killAfter(t, process(t, "login", sharedURL(), prefix, "alice", 0), n%7)
		live, err := st.List(t.Context(), "alice", time.Now())
		require.NoError(t, err)
		require.Len(t, live, 1)
		if live[0].ID != last {
			got, err := st.Get(t.Context(), last)
			require.NoError(t, err)
			require.False(t, got.RevokedAt.IsZero(), "another one has replaced it")
		}
	}
}
