package issuer_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// Here a server process kills itself (SIGKILL) before and after every call of its
// store and its denylist, which live in the process of the test and survive, and
// between the other steps of a request; then a new process with the same keys goes
// on. A request is repeated with one more step each time, until it comes to its
// end before it is killed.
//
// TestTheServerThatIsKilled is that process: the test binary, started again.

const (
	killStore  = "TOKENLOOP_TEST_STORE"  // the address of the store
	killAt     = "TOKENLOOP_TEST_KILL"   // the step to die at; 0 means none
	killOffset = "TOKENLOOP_TEST_OFFSET" // what the clock is ahead
	killSingle = "TOKENLOOP_TEST_SINGLE" // Config.SingleSession
)

// surviving is the store and the denylist of all server processes, by net/rpc.
type surviving struct {
	*issuer.MemoryStore
	denied *denylist
}

type (
	RotateArgs struct {
		ID     string
		From   uint64
		Update issuer.Rotation
	}
	RevokeArgs struct {
		ID string
		At time.Time
	}
	RevokeSubjectArgs struct {
		Subject, Except string
		At              time.Time
	}
	ListArgs struct {
		Subject string
		At      time.Time
	}
	DenySubjectArgs struct {
		Subject       string
		Before, Until time.Time
	}
)

// StoreRPC are the methods that the server processes call.
type StoreRPC struct{ s *surviving }

func (r StoreRPC) Create(s issuer.Session, _ *bool) error {
	return r.s.Create(context.Background(), s)
}

func (r StoreRPC) Replace(s issuer.Session, ids *[]string) (err error) {
	*ids, err = r.s.Replace(context.Background(), s)
	return err
}

func (r StoreRPC) Get(id string, s *issuer.Session) (err error) {
	*s, err = r.s.Get(context.Background(), id)
	return err
}

func (r StoreRPC) Rotate(a RotateArgs, ok *bool) (err error) {
	*ok, err = r.s.Rotate(context.Background(), a.ID, a.From, a.Update)
	return err
}

func (r StoreRPC) Revoke(a RevokeArgs, _ *bool) error {
	return r.s.Revoke(context.Background(), a.ID, a.At)
}

func (r StoreRPC) RevokeSubject(a RevokeSubjectArgs, ids *[]string) (err error) {
	*ids, err = r.s.RevokeSubject(context.Background(), a.Subject, a.Except, a.At)
	return err
}

func (r StoreRPC) List(a ListArgs, all *[]issuer.Session) (err error) {
	*all, err = r.s.List(context.Background(), a.Subject, a.At)
	return err
}

func (r StoreRPC) DenySession(a RevokeArgs, _ *bool) error {
	return r.s.denied.DenySession(context.Background(), a.ID, a.At)
}

func (r StoreRPC) DenySubject(a DenySubjectArgs, _ *bool) error {
	return r.s.denied.DenySubject(context.Background(), a.Subject, a.Before, a.Until)
}

// remote is the Store and the Denier of a server process.
type remote struct {
	issuer.Store // for what no request calls
	c            *rpc.Client
	step         func(string)
}

func (r *remote) call(method string, args, reply any) error {
	r.step("before " + method)
	err := r.c.Call("StoreRPC."+method, args, reply)
	r.step("after " + method)
	for _, known := range []error{issuer.ErrNoSession, issuer.ErrSessionExists, issuer.ErrSubjectRevoked} {
		if err != nil && err.Error() == known.Error() {
			return known
		}
	}
	return err
}

func (r *remote) Create(_ ctx, s issuer.Session) error { return r.call("Create", s, new(bool)) }

func (r *remote) Replace(_ ctx, s issuer.Session) (ids []string, err error) {
	err = r.call("Replace", s, &ids)
	return ids, err
}

func (r *remote) Get(_ ctx, id string) (s issuer.Session, err error) {
	err = r.call("Get", id, &s)
	return s, err
}

func (r *remote) Rotate(_ ctx, id string, from uint64, u issuer.Rotation) (ok bool, err error) {
	err = r.call("Rotate", RotateArgs{id, from, u}, &ok)
	return ok, err
}

func (r *remote) Revoke(_ ctx, id string, at time.Time) error {
	return r.call("Revoke", RevokeArgs{id, at}, new(bool))
}

func (r *remote) RevokeSubject(_ ctx, subject, except string, at time.Time) (ids []string, err error) {
	err = r.call("RevokeSubject", RevokeSubjectArgs{subject, except, at}, &ids)
	return ids, err
}

func (r *remote) List(_ ctx, subject string, at time.Time) (all []issuer.Session, err error) {
	err = r.call("List", ListArgs{subject, at}, &all)
	return all, err
}

func (r *remote) DenySession(_ ctx, sid string, until time.Time) error {
	return r.call("DenySession", RevokeArgs{sid, until}, new(bool))
}

func (r *remote) DenyToken(ctx, string, time.Time) error { return errors.New("nobody calls it") }

func (r *remote) DenySubject(_ ctx, subject string, before, until time.Time) error {
	return r.call("DenySubject", DenySubjectArgs{subject, before, until}, new(bool))
}

// stepping is a signer that counts as a step.
type stepping struct {
	crypto.Signer
	step func(string)
}

func (s stepping) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	s.step("before the signature")
	defer s.step("after the signature")
	return s.Signer.Sign(r, digest, o)
}

// killConfig is the configuration that all server processes share.
func killConfig(store issuer.Store, denier issuer.Denier, step func(string), now func() time.Time) issuer.Config {
	private := ed25519.NewKeyFromSeed([]byte("an obviously fake seed, 32 bytes"))
	key := must(issuer.NewKey(stepping{private, step}))
	return issuer.Config{
		Issuer: issuerURL, Audience: []string{"orders"}, Keys: must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: key, Now: now})),
		MasterKeys: []issuer.MasterKey{{ID: "m1", Secret: masterSecret}}, Store: store, Denylist: denier, Now: now,
		Authenticate: func(ctx ctx, c issuer.Credentials) (issuer.User, error) {
			step("within Authenticate")
			return authenticate(ctx, c)
		},
		OnEvent: func(e issuer.Event) { step("at the event " + string(e.Kind)) },
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// TestTheServerThatIsKilled is no test of its own: the tests below start it.
func TestTheServerThatIsKilled(t *testing.T) {
	if os.Getenv(killStore) == "" {
		t.Skip("TestAKilledServerLosesNobody starts it")
	}
	go func() { // end with the test, however that ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	client := must(rpc.Dial("tcp", os.Getenv(killStore)))
	at := must(strconv.ParseInt(os.Getenv(killAt), 10, 64))
	ahead := must(time.ParseDuration(os.Getenv(killOffset)))
	var steps atomic.Int64
	step := func(name string) {
		if steps.Add(1) != at {
			return
		}
		fmt.Println("killed " + name)
		self := must(os.FindProcess(os.Getpid()))
		_ = self.Kill()
		select {}
	}
	store := &remote{c: client, step: step}
	c := killConfig(store, store, step, func() time.Time { return time.Now().Add(ahead) })
	c.SingleSession = os.Getenv(killSingle) != ""
	iss := must(issuer.New(c))
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	for path, revoke := range map[string]func(ctx, string) error{
		"POST /operator/session/{id}": iss.RevokeSession, "POST /operator/subject/{id}": iss.RevokeSubject,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := revoke(r.Context(), r.PathValue("id")); err != nil {
				http.Error(w, "failed", http.StatusServiceUnavailable)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println("listening " + l.Addr().String())
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		step("before the request")
		mux.ServeHTTP(w, r)
		step("before the answer is sent")
		_ = http.NewResponseController(w).Flush()
		step("after the answer")
		fmt.Println("done")
	}))
}

// A doomed is a server process.
type doomed struct {
	cmd   *exec.Cmd
	url   string
	stdin io.Closer
	said  chan string // what it said last
}

// killWorld is what survives the server processes.
type killWorld struct {
	*fixture
	address string
	single  bool
}

func newKillWorld(t *testing.T) *killWorld {
	w := &killWorld{}
	// The fixture's own server, in this process, prepares sessions.
	w.fixture = newFixture(t, nil)
	w.issuer = must(issuer.New(killConfig(w.store, w.denied, func(string) {}, w.now)))
	mux := http.NewServeMux()
	mux.Handle("/auth/", w.issuer)
	w.server.Config.Handler = mux
	server := rpc.NewServer()
	require.NoError(t, server.Register(StoreRPC{&surviving{w.store, w.denied}}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.address = l.Addr().String()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { server.ServeConn(c) })
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return w
}

// start starts a server process that dies at a step.
func (w *killWorld) start(at int) *doomed {
	w.t.Helper()
	w.mu.Lock()
	ahead := w.offset
	w.mu.Unlock()
	d := &doomed{cmd: exec.Command(must(os.Executable()), "-test.run=^TestTheServerThatIsKilled$"), said: make(chan string, 1)}
	d.cmd.Env = append(os.Environ(), killStore+"="+w.address, killAt+"="+strconv.Itoa(at), killOffset+"="+ahead.String())
	if w.single {
		d.cmd.Env = append(d.cmd.Env, killSingle+"=1")
	}
	stdin, err := d.cmd.StdinPipe()
	require.NoError(w.t, err)
	d.stdin = stdin
	stdout, err := d.cmd.StdoutPipe()
	require.NoError(w.t, err)
	var stderr bytes.Buffer
	d.cmd.Stderr = &stderr
	require.NoError(w.t, d.cmd.Start())
	lines := bufio.NewScanner(stdout)
	require.True(w.t, lines.Scan(), "the server did not start: %s", &stderr)
	host, ok := strings.CutPrefix(lines.Text(), "listening ")
	require.True(w.t, ok, lines.Text())
	d.url = "http://" + host
	go func() {
		said := ""
		for said == "" && lines.Scan() {
			said = lines.Text()
		}
		d.said <- said
		_, _ = io.Copy(io.Discard, stdout)
	}()
	return d
}

// end waits until the process was killed or has answered its one request, ends it,
// and returns the step that it was killed at, or "".
func (d *doomed) end(t *testing.T) string {
	t.Helper()
	said := <-d.said
	name, killed := strings.CutPrefix(said, "killed ")
	if !killed {
		_ = d.stdin.Close()
		require.Equal(t, "done", said, "the server ended by itself")
		name = ""
	}
	require.Error(t, d.cmd.Wait())
	return name
}

// ask sends a request; the status is 0 when no answer came.
func (d *doomed) ask(t *testing.T, q question) reply {
	t.Helper()
	req, err := http.NewRequest(q.method, d.url+q.path, strings.NewReader(q.body))
	require.NoError(t, err)
	if q.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range map[string]string{"Authorization": q.bearer, "Idempotency-Key": q.key} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}
	}
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode}
	if e := jwterrors.FromResponse(resp); e != nil {
		r.reason = e.Reason
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}
	}
	_ = json.Unmarshal(data, &r.body)
	return r
}

type question struct{ method, path, body, bearer, key string }

// A killed is a request that is asked twice: of a server that dies, and of the
// one that comes after it.
type killed struct {
	q question

	// after looks at what is left when the first server is dead: r is what it
	// answered, if anything.
	after func(t *testing.T, r reply)

	// in the end, r is what the second server answered to the same.
	end func(t *testing.T, r reply)
}

// dead asserts that a session is revoked and its access tokens are denied.
func (w *killWorld) dead(t *testing.T, id string) {
	t.Helper()
	s, err := w.store.Get(t.Context(), id)
	require.NoError(t, err)
	assert.False(t, s.RevokedAt.IsZero(), "the session is alive")
	assert.True(t, w.denied.has(id), "its access tokens are alive")
}

func (w *killWorld) alive(t testing.TB, id string) issuer.Session {
	t.Helper()
	s, err := w.store.Get(t.Context(), id)
	require.NoError(t, err)
	assert.True(t, s.Live(w.now()), "the session has ended")
	assert.False(t, w.denied.has(id), "its access tokens are denied")
	return s
}

// good asserts that tokens of the session id came, and that they work.
func (w *killWorld) good(t *testing.T, r reply, id string) {
	t.Helper()
	require.Equal(t, 200, r.status, r.reason)
	if id != "" {
		assert.Equal(t, id, sid(t, r))
	}
	listed := w.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+r.str("access_token"))
	assert.Equal(t, 200, listed.status, "the access token works")
	w.pass(time.Hour)
	next := w.refresh(r.str("refresh_token"))
	assert.Equal(t, 200, next.status, "the refresh token works: %s", next.reason)
}

// once calls fn where the client was told that it is done.
func once(fn func(t *testing.T)) func(*testing.T, reply) {
	return func(t *testing.T, r reply) {
		if r.status == 204 {
			fn(t)
		}
	}
}

func TestAKilledServerLosesNobody(t *testing.T) { // AX-14, AX-16, NV-18, NV-19
	ends := func(w *killWorld, q question, ids ...string) killed {
		done := func(t *testing.T) {
			for _, id := range ids {
				w.dead(t, id)
			}
		}
		return killed{q, once(done), func(t *testing.T, r reply) {
			assert.Equal(t, 204, r.status, "it can be repeated until it is done")
			done(t)
		}}
	}
	body := func(token string) string { return `{"refresh_token":"` + token + `"}` }
	loginBody := fmt.Sprintf(`{"username":"alice","password":%q}`, password)
	refreshed := func(w *killWorld, key string, wait time.Duration) killed {
		login := w.login()
		id := sid(w.t, login)
		w.pass(time.Hour)
		lost := ""
		return killed{question{"POST", "/auth/refresh", body(login.str("refresh_token")), "", key},
			func(t *testing.T, r reply) {
				lost = r.str("refresh_token")
				assert.LessOrEqual(t, w.alive(t, id).Generation, uint64(1))
				w.pass(wait)
			},
			func(t *testing.T, r reply) {
				assert.EqualValues(t, 1, w.alive(t, id).Generation, "one successor")
				if lost != "" {
					assert.Equal(t, lost, r.str("refresh_token"), "and it is the same")
				}
				w.good(t, r, id)
			}}
	}
	for _, c := range []struct {
		name    string
		prepare func(w *killWorld) killed
		steps   string // some that must have been met
	}{
		{"login", func(w *killWorld) killed {
			return killed{question{method: "POST", path: "/auth/login", body: loginBody}, func(*testing.T, reply) {},
				func(t *testing.T, r reply) { w.good(t, r, "") }}
		}, "within Authenticate, after the signature, before Create, after Create, at the event login"},
		{"login that ends the other sessions", func(w *killWorld) killed {
			old := sid(w.t, w.login())
			w.single = true
			return killed{question{method: "POST", path: "/auth/login", body: loginBody},
				func(t *testing.T, r reply) {
					if r.status == 200 {
						w.dead(t, old)
					}
					assert.LessOrEqual(t, len(must(w.store.List(t.Context(), "alice", w.now()))), 1, "one is alive")
				},
				func(t *testing.T, r reply) {
					w.dead(t, old)
					live := must(w.store.List(t.Context(), "alice", w.now()))
					require.Len(t, live, 1)
					assert.Equal(t, sid(t, r), live[0].ID)
					w.good(t, r, "")
				}}
		}, "before Replace, after Replace, after List, after DenySession"},
		{"refresh with a retry key, repeated hours later", func(w *killWorld) killed {
			return refreshed(w, "the-key", 5*time.Hour)
		}, "after Get, after the signature, before Rotate, after Rotate, at the event refresh, before the answer is sent, after the answer"},
		{"refresh without a retry key, repeated within the grace", func(w *killWorld) killed {
			return refreshed(w, "", 20*time.Second)
		}, "before Rotate, after Rotate"},
		{"replay", func(w *killWorld) killed {
			login := w.login()
			id, token := sid(w.t, login), login.str("refresh_token")
			for r := login; w.alive(w.t, id).Generation < 2; {
				w.pass(time.Hour)
				r = w.refresh(r.str("refresh_token"))
			}
			return killed{question{method: "POST", path: "/auth/refresh", body: body(token)},
				func(t *testing.T, r reply) {
					if r.status == 401 {
						w.dead(t, id)
					}
				},
				func(t *testing.T, r reply) {
					assert.Contains(t, []jwterrors.Reason{jwterrors.RefreshTokenReused, jwterrors.SessionRevoked}, r.reason)
					w.dead(t, id)
				}}
		}, "before DenySession, after DenySession, before Revoke, after Revoke, at the event replay"},
		{"logout by refresh token", func(w *killWorld) killed {
			login := w.login()
			return ends(w, question{method: "POST", path: "/auth/logout", body: body(login.str("refresh_token"))}, sid(w.t, login))
		}, "before DenySession, after DenySession, before Revoke, after Revoke, at the event logout, after the answer"},
		{"logout by access token", func(w *killWorld) killed {
			login := w.login()
			return ends(w, question{method: "POST", path: "/auth/logout", bearer: "Bearer " + login.str("access_token")}, sid(w.t, login))
		}, "after DenySession, after Revoke"},
		{"revocation of one other session", func(w *killWorld) killed {
			login, other := w.login(), sid(w.t, w.login())
			return ends(w, question{method: "DELETE", path: "/auth/sessions/" + other, bearer: "Bearer " + login.str("access_token")}, other)
		}, "after DenySession, after Revoke"},
		{"revocation of all other sessions", func(w *killWorld) killed {
			login, others := w.login(), []string{sid(w.t, w.login()), sid(w.t, w.login())}
			return ends(w, question{method: "DELETE", path: "/auth/sessions?others=true", bearer: "Bearer " + login.str("access_token")}, others...)
		}, "after RevokeSubject, after List, before DenySession, after DenySession"},
		{"revocation of a session by the operator", func(w *killWorld) killed {
			id := sid(w.t, w.login())
			return ends(w, question{method: "POST", path: "/operator/session/" + id}, id)
		}, "after DenySession, after Revoke"},
		{"revocation of a user by the operator", func(w *killWorld) killed {
			ids := []string{sid(w.t, w.login()), sid(w.t, w.login())}
			return ends(w, question{method: "POST", path: "/operator/subject/alice"}, ids...)
		}, "after DenySubject, after RevokeSubject, after List, after DenySession"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			met := map[string]bool{}
			defer func() {
				for step := range strings.SplitSeq(c.steps, ", ") {
					assert.True(t, met[step], "it was never killed %s: %v", step, met)
				}
			}()
			for at := 1; ; at++ {
				require.Less(t, at, 64, "the request never comes to its end")
				w := newKillWorld(t)
				k := c.prepare(w)
				first := w.start(at)
				r := first.ask(t, k.q)
				step := first.end(t)
				met[step] = true
				ok := t.Run("killed "+cmp.Or(step, "afterwards"), func(t *testing.T) {
					w.t = t
					k.after(t, r)
					second := w.start(0)
					again := second.ask(t, k.q)
					second.end(t)
					k.end(t, again)
				})
				if !ok || step == "" {
					return
				}
			}
		})
	}
}
