package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

func where() string {
	if s := os.Getenv("TOKENLOOP_TEST_REDIS"); s != "" {
		return s
	}
	return "redis://127.0.0.1:6379"
}

// newRedis returns a client and a prefix of the test's own.
func newRedis(t *testing.T) (*redis.Client, string) {
	t.Helper()
	logging.Disable()
	options, err := redis.ParseURL(where())
	check(t, err)
	client, prefix := redis.NewClient(options), "test:"+rand.Text()+":"
	if err := client.Ping(t.Context()).Err(); err != nil {
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatalf("no Redis answers: %v", err)
		}
		t.Skip("no Redis answers")
	}
	t.Cleanup(func() {
		forget(context.Background(), client, prefix)
		client.Close()
	})
	return client, prefix
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// NV-19, AX-16: the program shows it.
func TestALogoutIsHeardElsewhere(t *testing.T) {
	client, prefix := newRedis(t)
	var out bytes.Buffer
	check(t, play(t.Context(), &out, where(), prefix))
	const want = "the service answers 200: the orders of alice\n" +
		"alice logs out at the issuer\n" +
		"the service answers 401: AUTH_TOKEN_INVALIDATED\n"
	if out.String() != want {
		t.Errorf("%s", &out)
	}
	if left := client.Keys(t.Context(), prefix+"*"); left.Err() != nil || len(left.Val()) != 0 {
		t.Errorf("it leaves %v, %v", left.Val(), left.Err())
	}
}

// world is an issuer, and a service whose way to the Redis can be cut.
type world struct {
	t       *testing.T
	issuer  string
	service string
	cut     func(away bool)
}

func newWorld(t *testing.T, maxAge time.Duration) *world {
	t.Helper()
	client, prefix := newRedis(t)
	w := &world{t: t}
	var iss http.Handler
	issuerServer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { iss.ServeHTTP(rw, r) }))
	t.Cleanup(issuerServer.Close)
	w.issuer = issuerServer.URL
	made, err := newIssuer(client, prefix, w.issuer)
	check(t, err)
	mux := http.NewServeMux()
	mux.Handle("/auth/", made)
	mux.Handle("/.well-known/", made.WellKnown())
	iss = mux

	options := *client.Options()
	address, cut := newCable(t, options.Addr)
	w.cut = cut
	options.Addr = address
	through := redis.NewClient(&options)
	t.Cleanup(func() { through.Close() })
	service, feed, err := newService(through, prefix, w.issuer, maxAge, slog.New(slog.DiscardHandler))
	check(t, err)
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	w.service = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = feed.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return w
}

// newCable connects what dials its address with the server.
func newCable(t *testing.T, server string) (address string, cut func(away bool)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	var mu sync.Mutex
	isCut, open := false, map[net.Conn]bool{}
	cut = func(away bool) {
		mu.Lock()
		defer mu.Unlock()
		isCut = away
		for c := range open {
			if away {
				c.Close()
			}
		}
	}
	t.Cleanup(func() {
		l.Close()
		cut(true)
	})
	keep := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if isCut {
			c.Close()
			return false
		}
		open[c] = true
		return true
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil || !keep(client) || !keep(upstream) {
				client.Close()
				continue
			}
			for _, ends := range [][2]net.Conn{{client, upstream}, {upstream, client}} {
				go func() {
					_, _ = io.Copy(ends[0], ends[1])
					ends[0].Close()
					ends[1].Close()
				}()
			}
		}
	}()
	return l.Addr().String(), cut
}

// shows wants the service to come to answer so.
func (w *world) shows(token string, status int) {
	w.t.Helper()
	check(w.t, shows(w.t.Context(), io.Discard, w.service, token, status))
}

func (w *world) login() tokens {
	w.t.Helper()
	got, err := login(w.t.Context(), w.issuer, "alice")
	check(w.t, err)
	return got
}

func TestAServiceThatIsCutOffFromTheListRefusesAndComesBackByItself(t *testing.T) {
	w := newWorld(t, 250*time.Millisecond)
	stays, leaves := w.login(), w.login()
	w.shows(stays.Access, http.StatusOK)
	w.shows(leaves.Access, http.StatusOK)
	for range 2 {
		w.cut(true)
		check(t, logout(t.Context(), w.issuer, leaves.Refresh)) // which the service cannot hear of
		w.shows(stays.Access, http.StatusServiceUnavailable)    // beyond maxAge
		w.shows(leaves.Access, http.StatusServiceUnavailable)
		w.cut(false)
		w.shows(stays.Access, http.StatusOK)
		for {
			status, _, err := get(t.Context(), w.service, leaves.Access)
			check(t, err)
			if status == http.StatusUnauthorized {
				break
			}
			if status != http.StatusServiceUnavailable { // the list may be too old again, on a busy machine
				t.Fatalf("after the cut the service answers %d to who has logged out meanwhile", status)
			}
		}
		leaves = w.login()
		w.shows(leaves.Access, http.StatusOK)
	}
}

// NV-19: over HTTP from end to end, with the verified-token cache in between.
func TestALogoutIsHeardWithin100ms(t *testing.T) {
	w := newWorld(t, 10*time.Second)
	logins := 300
	if testing.Short() {
		logins = 30
	}
	var took []time.Duration
	for range logins {
		user := w.login()
		w.shows(user.Access, http.StatusOK)
		check(t, logout(t.Context(), w.issuer, user.Refresh))
		answered := time.Now()
		for {
			status, reason, err := get(t.Context(), w.service, user.Access)
			check(t, err)
			if status == http.StatusUnauthorized && reason == "AUTH_TOKEN_INVALIDATED" {
				break
			}
			if time.Since(answered) > 10*time.Second {
				t.Fatalf("ten seconds after the logout the service answers %d %s", status, reason)
			}
		}
		took = append(took, time.Since(answered))
	}
	slices.Sort(took)
	most := took[len(took)*99/100]
	t.Logf("from the answer to a logout to the refusal: p50 %v, p99 %v", took[len(took)/2], most)
	if most > 100*time.Millisecond {
		t.Errorf("p99 is %v", most)
	}
}

func TestARedisThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	l.Close()
	logging.Disable()
	err = play(t.Context(), io.Discard, fmt.Sprintf("redis://%s?max_retries=-1", l.Addr()), "test:")
	if err == nil || !strings.Contains(err.Error(), "AUTH_STORE_UNAVAILABLE") {
		t.Errorf("%v, want AUTH_STORE_UNAVAILABLE", err)
	}
}
