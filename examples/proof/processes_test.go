package proof_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/refresher"
)

// What a process that a test starts is told to do.
const (
	envServer = "PROOF_SERVER"
	envFile   = "PROOF_FILE"
)

const (
	processes = 8
	pidHeader = "X-Process"
)

// requests is how many each process sends at once.
var requests = map[bool]int{false: 500, true: 100}[raceEnabled]

func TestMain(m *testing.M) {
	if os.Getenv(envServer) == "" {
		os.Exit(m.Run())
	}
	if err := work(os.Getenv(envServer), os.Getenv(envFile)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work is what a process does: it reads its tokens, waits to be told to go on,
// sends many requests at once, and writes how many were answered with 200.
func work(server, path string) error {
	transport, err := fileTransport(server, path)
	if err != nil {
		return err
	}
	if err := transport.Restore(context.Background()); err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var answered atomic.Int64
	for range requests {
		wg.Go(func() {
			resp, err := transport.Client().Get(server + "/api")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode == 200 && string(body) == user {
				answered.Add(1)
			}
		})
	}
	wg.Wait()
	fmt.Println(answered.Load())
	return nil
}

func fileTransport(server, path string) (*refresher.Transport, error) {
	store, err := refresher.NewFileStore(path)
	if err != nil {
		return nil, err
	}
	return refresher.New(refresher.Config{
		AuthURL: server + "/auth", Origins: []string{server}, InsecureAllowHTTP: true, Store: store,
		Base: withPID{&http.Transport{MaxConnsPerHost: 16, MaxIdleConnsPerHost: 16}}, MaxRetries: refresher.NoRetries,
	})
}

// withPID says which process a request comes from.
type withPID struct{ base http.RoundTripper }

func (p withPID) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(pidHeader, strconv.Itoa(os.Getpid()))
	return p.base.RoundTrip(r)
}

// NV-14, AX-07, AX-14, DC-05: 8 processes share a session through a file and find
// the access token expired at the same moment. The issuer is called once. When
// the process that called it is killed before the answer comes, it is called
// once more, however much later: with the retry key that lies in the file, that
// is no replay, and the session goes on.
func TestProcessesThatShareAFile(t *testing.T) {
	for _, c := range []struct {
		name      string
		kill      bool
		rotates   bool          // the issuer rotates before the process is killed
		late      time.Duration // until the other processes get the lock
		refreshes int64
	}{
		{"nobody is killed", false, true, 0, 1},
		{"one is killed before the issuer has heard of it", true, false, 0, 2},
		{"one is killed after the issuer has rotated", true, true, 0, 2},
		{"one is killed after the issuer has rotated, and hours pass", true, true, 5 * time.Hour, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			path := filepath.Join(t.TempDir(), "app", "session.json")
			var calls atomic.Int64
			holder, killed := make(chan string, 1), make(chan struct{})
			iss := w.server.Config.Handler
			w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/auth/refresh" || calls.Add(1) > 1 || !c.kill {
					iss.ServeHTTP(rw, r)
					return
				}
				if c.rotates {
					iss.ServeHTTP(httptest.NewRecorder(), r)
				}
				holder <- r.Header.Get(pidHeader)
				<-killed
				panic(http.ErrAbortHandler)
			})
			logInAndExpire(t, w, path)

			running := map[string]*process{}
			for range processes {
				p := start(t, w.server.URL, path)
				running[strconv.Itoa(p.Process.Pid)] = p
			}
			for _, p := range running {
				hold(t, p.said() == "ready", "a process did not begin")
			}
			for _, p := range running {
				_, err := io.WriteString(p.in, "go\n")
				good(t, err)
			}
			if c.kill {
				pid := <-holder
				w.pass(c.late)
				good(t, running[pid].Process.Kill())
				_ = running[pid].Wait()
				close(killed)
				delete(running, pid)
			}
			for _, p := range running {
				answered := p.said()
				hold(t, answered == strconv.Itoa(requests), "%s of %d requests were answered", answered, requests)
				good(t, p.Wait())
			}
			hold(t, calls.Load() == c.refreshes, "the issuer was called %d times, and not %d", calls.Load(), c.refreshes)
			hold(t, w.session().Generation == 1, "the session is at generation %d", w.session().Generation)

			// And the session goes on, for who starts next.
			transport, err := fileTransport(w.server.URL, path)
			good(t, err)
			defer transport.Close()
			w.pass(time.Hour)
			good(t, transport.Refresh(t.Context()))
			hold(t, w.session().Generation == 2, "the session is at generation %d", w.session().Generation)
			for _, kind := range w.told() {
				harmless := []issuer.EventKind{issuer.EventLogin, issuer.EventRefresh, issuer.EventRepeat, issuer.EventLateRetry}
				hold(t, slices.Contains(harmless, kind), "there was the event %s", kind)
			}
		})
	}
}

// logInAndExpire logs in and leaves a file in which the access token has expired.
func logInAndExpire(t *testing.T, w *world, path string) {
	t.Helper()
	transport, err := fileTransport(w.server.URL, path)
	good(t, err)
	defer transport.Close()
	good(t, transport.Login(t.Context(), refresher.Credentials{Username: user, Password: password}))
	store, err := refresher.NewFileStore(path)
	good(t, err)
	tokens, err := store.Load(t.Context())
	good(t, err)
	hold(t, tokens.RetryKey != "", "there is no retry key in the file")
	tokens.Expiry = time.Now().Add(-time.Minute)
	good(t, store.Save(t.Context(), tokens))
	w.pass(time.Minute) // more than the grace: a second refresh token for this one would be a replay
}

type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t *testing.T, server, path string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0])}
	p.Env = append(os.Environ(), envServer+"="+server, envFile+"="+path)
	p.Stderr = os.Stderr
	in, err := p.StdinPipe()
	good(t, err)
	out, err := p.StdoutPipe()
	good(t, err)
	p.in, p.out = in, bufio.NewReader(out)
	good(t, p.Start())
	return p
}

// said returns the next line of p, or "" at its end.
func (p *process) said() string {
	line, _ := p.out.ReadString('\n')
	return strings.TrimSpace(line)
}

// The test above can fail: without the retry key of the file the process that
// comes after the killed one is taken for a thief.
func TestProcessesWithoutTheRetryKey(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "app", "session.json")
	logInAndExpire(t, w, path)
	data, err := os.ReadFile(path)
	good(t, err)
	w.pass(time.Hour)
	first, err := fileTransport(w.server.URL, path)
	good(t, err)
	defer first.Close()
	good(t, first.Refresh(t.Context()))
	w.pass(time.Hour)

	// What was there before, as if the first had been killed, without its key.
	var kept struct {
		Version int            `json:"version"`
		Tokens  map[string]any `json:"tokens"`
	}
	good(t, json.Unmarshal(data, &kept))
	delete(kept.Tokens, "retry_key")
	data, err = json.Marshal(kept)
	good(t, err)
	good(t, os.WriteFile(path, data, 0o600))
	second, err := fileTransport(w.server.URL, path)
	good(t, err)
	defer second.Close()
	hold(t, second.Refresh(t.Context()) != nil, "the refresh succeeds")
	hold(t, slices.Contains(w.told(), issuer.EventReplay), "there was no replay")
}
