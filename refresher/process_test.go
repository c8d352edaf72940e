package refresher_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/refresher"
)

// What a process that a test starts is told to do.
const (
	envURL      = "REFRESHER_TEST_URL"
	envFile     = "REFRESHER_TEST_FILE"
	envRequests = "REFRESHER_TEST_REQUESTS"
)

const processHeader = "X-Process" // of the requests of such a process: its id

func TestMain(m *testing.M) {
	if os.Getenv(envURL) == "" {
		os.Exit(m.Run())
	}
	if err := work(os.Getenv(envURL), os.Getenv(envFile)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work is what a process does: it reads its tokens, waits to be told to go on,
// sends many requests at once, and writes how many were answered with 200. When
// there are none to send it saves until it is killed.
func work(url, path string) error {
	ctx := context.Background()
	store, err := refresher.NewFileStore(path)
	if err != nil {
		return err
	}
	requests, err := strconv.Atoi(os.Getenv(envRequests))
	if err != nil {
		return err
	}
	if url == "key" {
		return makeKey(path)
	}
	if requests == 0 {
		go func() { // whoever started it may end first
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		return saveForEver(store)
	}
	base := &http.Transport{MaxConnsPerHost: 16, MaxIdleConnsPerHost: 16}
	c := config(url)
	c.Store, c.MaxRetries = store, refresher.NoRetries
	c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set(processHeader, strconv.Itoa(os.Getpid()))
		return base.RoundTrip(r)
	})
	tr, err := refresher.New(c)
	if err != nil {
		return err
	}
	if err := tr.Restore(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	fmt.Println(crowd(requests, func(int) bool {
		status, err := get(ctx, tr.Client(), url+"/api")
		return err == nil && status == 200
	}))
	return nil
}

// makeKey loads the DPoP key of path when it is told to go on, and says which it is.
func makeKey(path string) error {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	key, err := refresher.LoadDPoPKey(path)
	if err != nil {
		return err
	}
	fmt.Println(key.Thumbprint())
	return nil
}

// A worker is a process that shares a token file with others.
type worker struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newWorker(t *testing.T, url, path string, requests int) *worker {
	t.Helper()
	w := &worker{Cmd: exec.CommandContext(t.Context(), os.Args[0])}
	w.Env = append(os.Environ(), envURL+"="+url, envFile+"="+path, envRequests+"="+strconv.Itoa(requests))
	w.Stderr = os.Stderr
	w.in = must(w.StdinPipe())
	w.out = bufio.NewReader(must(w.StdoutPipe()))
	require.NoError(t, w.Start())
	return w
}

// said returns the next line of w, or "" at its end.
func (w *worker) said() string {
	line, _ := w.out.ReadString('\n')
	return strings.TrimSpace(line)
}

// expiredFile writes a token file that a login of long ago has left, and returns
// its path. s accepts its refresh token.
func expiredFile(t *testing.T, s *service) string {
	t.Helper()
	path := tokenFile(t)
	s.mu.Lock()
	s.current, s.rotation = 1, 1
	tokens := refresher.Tokens{
		AccessToken: s.access(1), RefreshToken: "refresh-token-number-1", RetryKey: "the key of the first",
		Received: time.Now().Add(-time.Hour), Expiry: time.Now().Add(-time.Minute),
	}
	s.mu.Unlock()
	require.NoError(t, fileStore(t, path).Save(t.Context(), tokens))
	return path
}

// NV-14, AX-07, MO-04, DC-05: 8 processes with 500 requests each find the same
// expired token in the same file, and the issuer is called once. When the one
// that is refreshing is killed it is called once more, at once and with the same
// retry key, by one of the others.
func TestEightProcessesRefreshOnce(t *testing.T) {
	const processes, requests = 8, 500
	for _, c := range []struct {
		name string
		kill bool // the one that calls the issuer first
	}{{"nobody is killed", false}, {"the one that holds the lock is killed", true}} {
		t.Run(c.name, func(t *testing.T) {
			s := newService()
			s.opaque = true
			server := s.start(t)
			path := expiredFile(t, s)
			holder, killed := make(chan string, 1), make(chan struct{})
			s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
				if c.kill && s.refreshes.Load() == 1 {
					holder <- r.Header.Get(processHeader)
					<-killed
					panic(http.ErrAbortHandler)
				}
				return false
			})
			workers := map[string]*worker{}
			for range processes {
				w := newWorker(t, server.URL, path, requests)
				workers[strconv.Itoa(w.Process.Pid)] = w
			}
			for _, w := range workers {
				require.Equal(t, "ready", w.said())
			}
			for _, w := range workers {
				require.NoError(t, must2(io.WriteString(w.in, "go\n")))
			}
			want := int64(1)
			if c.kill {
				pid := <-holder
				require.NoError(t, workers[pid].Process.Kill())
				_ = workers[pid].Wait()
				close(killed)
				delete(workers, pid)
				want = 2
			}
			for _, w := range workers {
				assert.Equal(t, strconv.Itoa(requests), w.said(), "all requests were answered")
				assert.NoError(t, w.Wait())
			}
			assert.Equal(t, want, s.refreshes.Load())
			assert.Zero(t, s.refused.Load(), "no old token was sent")
			used, keys, _ := s.log()
			for i := range used {
				assert.Equal(t, "refresh-token-number-1", used[i])
				assert.Equal(t, "the key of the first", keys[i])
			}
			assert.Equal(t, "refresh-token-number-2", refreshToken(t, fileStore(t, path)))
		})
	}
}

func must2(_ int, err error) error { return err }

// AX-18, MO-02: two users in one process, each with a Transport and a file, never
// share a refresh or a token.
func TestTwoUsersOfOneProcessShareNothing(t *testing.T) {
	const requests = 500
	var calls, strangers atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth/refresh" {
			calls.Add(1)
			data, _ := io.ReadAll(r.Body)
			for _, user := range []string{"alice", "bob"} {
				if strings.Contains(string(data), user) {
					fmt.Fprintf(w, `{"access_token":"token-of-%s","refresh_token":"next-of-%s","expires_in":600}`, user, user)
				}
			}
			return
		}
		if r.Header.Get("Authorization") != "Bearer token-of-"+r.URL.Query().Get("user") {
			strangers.Add(1)
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	transports := map[string]*refresher.Transport{}
	for _, user := range []string{"alice", "bob"} {
		store := fileStore(t, filepath.Join(dir, "app", user+".json"))
		require.NoError(t, store.Save(t.Context(), refresher.Tokens{
			AccessToken: "old", RefreshToken: "refresh-token-of-" + user, Expiry: time.Now().Add(-time.Minute),
		}))
		c := config(server.URL)
		c.Store = store
		transports[user] = newTransport(t, c)
	}
	var wg sync.WaitGroup
	for user, tr := range transports {
		wg.Go(func() {
			assert.EqualValues(t, requests, crowd(requests, func(int) bool {
				status, err := get(t.Context(), tr.Client(), server.URL+"/api?user="+user)
				return err == nil && status == 200
			}))
		})
	}
	wg.Wait()
	assert.EqualValues(t, 2, calls.Load(), "one refresh for each user")
	assert.Zero(t, strangers.Load())
	for user := range transports {
		assert.Equal(t, "next-of-"+user, refreshToken(t, fileStore(t, filepath.Join(dir, "app", user+".json"))))
	}
}

// A process that is killed while it saves, at any moment, leaves the tokens of
// the save before or the new ones, and a lock that comes free.
func TestAProcessThatIsKilledWhileItSaves(t *testing.T) {
	path := tokenFile(t)
	store := fileStore(t, path)
	for round := range 10 {
		w := newWorker(t, "none", path, 0)
		last := ""
		for range 5 * (round + 1) {
			last = w.said()
		}
		require.NoError(t, w.Process.Kill())
		for line := w.said(); line != ""; line = w.said() {
			last = line
		}
		_ = w.Wait()
		tokens, err := store.Load(t.Context())
		require.NoError(t, err)
		saved, found := must(strconv.Atoi(last)), must(strconv.Atoi(tokens.RefreshToken))
		assert.Contains(t, []int{saved, saved + 1}, found)
		assert.Len(t, tokens.AccessToken, 10_000)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		unlock, err := store.Lock(ctx)
		cancel()
		require.NoError(t, err)
		unlock()
	}
	require.NoError(t, store.Save(t.Context(), somebody))
	assert.Len(t, must(os.ReadDir(filepath.Dir(path))), 2, "the file and its lock: what was left halfway is gone")
}

// saveForEver saves one set after the other and writes the number of each that
// was saved.
func saveForEver(store refresher.Store) error {
	ctx := context.Background()
	for n := 1; ; n++ {
		unlock, err := store.Lock(ctx)
		if err != nil {
			return err
		}
		tokens := refresher.Tokens{AccessToken: strings.Repeat("a", 10_000), RefreshToken: strconv.Itoa(n)}
		if err := store.Save(ctx, tokens); err != nil {
			return err
		}
		fmt.Println(n)
		unlock()
	}
}
