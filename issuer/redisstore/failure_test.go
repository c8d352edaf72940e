package redisstore_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

func has(text, part string) bool { return strings.Contains(text, part) }

func TestStoreOnACluster(t *testing.T) {
	cluster := newCluster(t)
	storetest.Run(t, func(t *testing.T) issuer.Store {
		return newStore(t, cluster, "test:"+rand.Text()+":")
	})
}

func TestTheSlotOfASubjectThatLostAMomentIsRepaired(t *testing.T) {
	cluster := newCluster(t)
	st, ctx := newStore(t, cluster, ""), t.Context()
	s := newSession("alice")
	require.NoError(t, st.Create(ctx, s))
	keys := scan(t, cluster, "*}")
	require.Len(t, keys, 1)
	require.NoError(t, cluster.Del(ctx, keys[0]).Err())
	live, err := st.List(ctx, "alice", time.Now())
	require.NoError(t, err)
	require.Empty(t, live)

	_, err = st.Get(ctx, s.ID) // as its first refresh does
	require.NoError(t, err)
	ids, err := st.RevokeSubject(ctx, "alice", "", time.Now())
	require.NoError(t, err)
	assert.Equal(t, []string{s.ID}, ids)
}

func scan(t *testing.T, cluster *redis.ClusterClient, pattern string) (keys []string) {
	t.Helper()
	var mu sync.Mutex
	require.NoError(t, cluster.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		some, err := node.Keys(ctx, pattern).Result()
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, some...)
		return err
	}))
	return keys
}

// An app is an issuer, and a client that keeps its refresh token.
type app struct {
	handler    http.Handler
	token, key string
}

func newIssuer(t *testing.T, st issuer.Store, event func(issuer.Event)) http.Handler {
	t.Helper()
	key, err := issuer.GenerateKey(issuer.EdDSA)
	require.NoError(t, err)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	require.NoError(t, err)
	secret := make([]byte, 32)
	rand.Read(secret)
	iss, err := issuer.New(issuer.Config{
		Issuer: "https://id.example.com", Audience: []string{"orders"}, Keys: ring, Grace: issuer.NoGrace,
		MasterKeys: []issuer.MasterKey{{Secret: secret}}, Store: st, Logger: slog.New(slog.DiscardHandler),
		Limits: issuer.Limits{InsecureOff: true}, OnEvent: event,
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			return issuer.User{ID: c.Username}, nil
		},
	})
	require.NoError(t, err)
	return iss
}

// post returns the status and the reason of the answer, and takes its tokens.
func (a *app) post(path, body string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", a.key)
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	var answer struct {
		RefreshToken string `json:"refresh_token"`
		Reason       string `json:"reason"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	if w.Code == http.StatusOK {
		a.token, a.key = answer.RefreshToken, rand.Text()
	}
	return w.Code, answer.Reason
}

func (a *app) login(user string) (int, string) {
	return a.post("/auth/login", `{"username":"`+user+`","password":"x"}`)
}

func (a *app) refresh() (int, string) {
	return a.post("/auth/refresh", `{"refresh_token":"`+a.token+`"}`)
}

func TestAServerThatIsKilledAndStartedAgainUnderLoad(t *testing.T) {
	for _, fsync := range []string{"everysec", "always"} {
		t.Run("appendfsync "+fsync, func(t *testing.T) {
			s := newServer(t, "--appendonly", "yes", "--appendfsync", fsync)
			handler := newIssuer(t, newStore(t, impatient(t, s.url()), ""), nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			const clients = 8
			refreshed := make([]chan time.Time, clients) // the latest, at most
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			var outages int
			var mu sync.Mutex
			for n := range clients {
				a := &app{handler: handler, key: rand.Text()}
				code, reason := a.login(fmt.Sprint("user ", n))
				require.Equal(t, http.StatusOK, code, reason)
				refreshed[n] = make(chan time.Time)
				wg.Go(func() {
					for ctx.Err() == nil {
						began := time.Now()
						switch code, reason := a.refresh(); {
						case code == http.StatusOK:
							select {
							case refreshed[n] <- began:
							default:
							}
						case code == http.StatusServiceUnavailable && reason == "AUTH_STORE_UNAVAILABLE":
							mu.Lock()
							outages++
							mu.Unlock()
						default:
							t.Errorf("client %d: %d %s", n, code, reason)
							return
						}
					}
				})
			}
			for range 2 {
				time.Sleep(100 * time.Millisecond) // of load
				s.kill(t)
				time.Sleep(300 * time.Millisecond) // of outage
				s.start(t)
				back := time.Now()
				for n := range refreshed {
					timeout := time.After(5*time.Second - time.Since(back))
					for after := false; !after; {
						select {
						case at := <-refreshed[n]:
							after = at.After(back)
						case <-timeout:
							t.Fatalf("client %d does not refresh within 5 s", n)
						}
					}
				}
				t.Logf("every client refreshed within %v", time.Since(back))
			}
			mu.Lock()
			defer mu.Unlock()
			assert.NotZero(t, outages, "somebody noticed")
		})
	}
}

// What a server that takes over without the last write does to a session.
func TestALostRotationEndsNoSession(t *testing.T) {
	client, prefix := shared(t)
	var events []issuer.EventKind
	a := &app{handler: newIssuer(t, newStore(t, client, prefix), func(e issuer.Event) { events = append(events, e.Kind) }), key: "k"}
	a.login("alice")
	ctx := t.Context()
	keys, err := client.Keys(ctx, prefix+"s:*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	before, err := client.Dump(ctx, keys[0]).Result()
	require.NoError(t, err)
	code, _ := a.refresh()
	require.Equal(t, http.StatusOK, code)
	require.NoError(t, client.RestoreReplace(ctx, keys[0], time.Hour, before).Err())

	code, reason := a.refresh()
	require.Equal(t, http.StatusOK, code, reason)
	assert.Contains(t, events, issuer.EventLostWrite)
	code, reason = a.refresh()
	require.Equal(t, http.StatusOK, code, reason)
}

func TestServersThatCannotBeUsed(t *testing.T) {
	ctx := t.Context()
	locked := newServer(t, "--requirepass", "the right one")
	full := newServer(t, "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0")
	replica := newServer(t, "--replicaof", "127.0.0.1 "+full.port)
	bare := newServer(t, "--rename-command", "EVALSHA", "", "--rename-command", "EVAL", "")
	s := newSession("alice")
	require.NoError(t, newStore(t, connect(t, full.url()), "").Create(ctx, s))
	copied := connect(t, replica.url())
	until(t, "the replica has the session", func(ctx context.Context) bool { return copied.DBSize(ctx).Val() >= 2 })
	admin := connect(t, full.url())
	require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "1mb").Err())

	for _, c := range []struct {
		name, url string
		is        func(error) bool
	}{
		{"no server", "redis://127.0.0.1:" + freePort(t), func(err error) bool { var e *net.OpError; return errors.As(err, &e) }},
		{"a wrong password", "redis://:wrong-password@" + locked.address(), redis.IsAuthError},
		{"no password", locked.url(), redis.IsAuthError},
		{"a replica", replica.url(), redis.IsReadOnlyError},
		{"no memory", full.url(), redis.IsOOMError},
		{"no scripts", bare.url(), func(err error) bool { return has(err.Error(), "unknown command") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, c.url)
			if c.name == "no server" {
				client = impatient(t, c.url)
			}
			st := newStore(t, client, "")
			next := newSession("alice")
			next.Seed = []byte(strings.Repeat("seed", 8))
			_, replaced := st.Replace(ctx, next)
			_, rotated := st.Rotate(ctx, s.ID, 0, rotation(1))
			_, revoked := st.RevokeSubject(ctx, "alice", "", time.Now())
			for _, err := range []error{st.Create(ctx, next), replaced, rotated, st.Revoke(ctx, s.ID, time.Now()), revoked} {
				require.Error(t, err)
				assert.True(t, c.is(err), "%v", err)
				assert.NotContains(t, err.Error(), "seed")
				assert.NotContains(t, err.Error(), "wrong-password")
				assert.True(t, strings.HasPrefix(err.Error(), "redisstore: "), "%v", err)
			}
			a := &app{handler: newIssuer(t, st, nil)}
			code, reason := a.login("alice")
			assert.Equal(t, http.StatusServiceUnavailable, code)
			assert.Equal(t, "AUTH_STORE_UNAVAILABLE", reason)
		})
	}

	require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "0").Err())
	st := newStore(t, admin, "")
	got, err := st.Get(ctx, s.ID)
	require.NoError(t, err)
	assert.Zero(t, got.Generation)
	live, err := st.List(ctx, "alice", time.Now())
	require.NoError(t, err)
	assert.Len(t, live, 1, "nothing is lost")
}

func TestCheckSaysWhatIsWrongWithAServer(t *testing.T) {
	good := newServer(t, "--appendonly", "yes")
	bad := newServer(t, "--maxmemory-policy", "allkeys-lru", "--replicaof", "127.0.0.1 "+good.port)
	ctx := t.Context()
	require.NoError(t, redisstore.Check(ctx, connect(t, good.url())))

	err := redisstore.Check(ctx, connect(t, bad.url()))
	assert.ErrorContains(t, err, "no append-only file")
	require.ErrorContains(t, redisstore.Check(ctx, nil), "Client is required")
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": good.address()}})
	defer ring.Close()
	require.ErrorContains(t, redisstore.Check(ctx, ring), "is a Ring")
	assert.NotErrorIs(t, err, redisstore.ErrNotDurable, "who lets that pass lets the others pass with it")
	assert.ErrorContains(t, err, "the server is a slave")
	assert.ErrorContains(t, err, `maxmemory-policy is "allkeys-lru"`)

	err = redisstore.Check(ctx, impatient(t, "redis://127.0.0.1:"+freePort(t)))
	assert.ErrorContains(t, err, "connect")
}

func TestNewReportsEveryMistake(t *testing.T) {
	_, err := redisstore.New(redisstore.Config{Prefix: "{app}"})
	assert.ErrorContains(t, err, "Config.Client is required")
	assert.ErrorContains(t, err, `Config.Prefix is "{app}"`)
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	_, err = redisstore.New(redisstore.Config{Client: ring})
	assert.ErrorContains(t, err, "Ring")
}

// A cut loses one command, before it is sent, or its answer.
type cut struct {
	at      int  // the command that it hits
	answer  bool // the server has it
	counted int
}

var errCut = errors.New("the connection was cut")

func (c *cut) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cut) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return c.hit(func() error { return next(ctx, cmd) }, cmd)
	}
}

func (c *cut) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return c.hit(func() error { return next(ctx, cmds) }, cmds...)
	}
}

func (c *cut) hit(next func() error, cmds ...redis.Cmder) error {
	c.counted++
	if c.counted != c.at+1 {
		return next()
	}
	if c.answer {
		_ = next()
	}
	for _, cmd := range cmds {
		cmd.SetErr(errCut)
	}
	return errCut
}

func TestALoginThatIsCutOffAnywhereReplacesAllOrNothing(t *testing.T) {
	ctx := t.Context()
	for _, answer := range []bool{false, true} {
		for at, done := 0, false; !done; at++ {
			require.Less(t, at, 20)
			t.Run(fmt.Sprintf("command %d, its answer: %v", at, answer), func(t *testing.T) {
				whole, prefix := shared(t)
				client := connect(t, sharedURL())
				require.NoError(t, client.Ping(ctx).Err()) // a new connection has commands of its own
				c := &cut{at: at, answer: answer}
				client.AddHook(c)
				st := newStore(t, whole, prefix)
				old, s := newSession("alice"), newSession("alice")
				require.NoError(t, st.Create(ctx, old))
				_, err := newStore(t, client, prefix).Replace(ctx, s)
				if done = err == nil; !done {
					require.ErrorIs(t, err, errCut)
				}
				got, err := st.Get(ctx, s.ID) // before the other one
				there := err == nil
				if !there {
					require.ErrorIs(t, err, issuer.ErrNoSession)
				}
				before, err := st.Get(ctx, old.ID)
				require.NoError(t, err)
				assert.Equal(t, there, !before.RevokedAt.IsZero(), "both parts were done or neither")
				assert.True(t, got.RevokedAt.IsZero())
				live, err := st.List(ctx, "alice", time.Now())
				require.NoError(t, err)
				require.Len(t, live, 1)
				last, err := st.RevokeSubject(ctx, "alice", "", time.Now())
				require.NoError(t, err)
				assert.Equal(t, []string{live[0].ID}, last)
				again := s
				again.AuthTime = time.Now().Add(time.Minute)
				if there {
					assert.ErrorIs(t, st.Create(ctx, again), issuer.ErrSessionExists)
				}
			})
		}
	}
}

// The client sends a command again when its answer is lost: that must not be taken
// for another login.
func TestACommandWhoseAnswerIsLostIsSentAgain(t *testing.T) {
	client, prefix := shared(t)
	host := strings.TrimPrefix(client.Options().Addr, "redis://")
	for at := range 4 {
		p := newProxy(t, host)
		through := connect(t, "redis://"+p.address)
		st := newStore(t, through, prefix)
		require.NoError(t, st.Create(t.Context(), newSession("bob"))) // the scripts are known
		p.loseAnswer.Store(int64(at) + 1)
		s := newSession("alice")
		_, err := st.Replace(t.Context(), s)
		require.NoError(t, err, "answer %d was lost", at)
		live, err := st.List(t.Context(), "alice", time.Now())
		require.NoError(t, err)
		require.Len(t, live, 1)
		require.Equal(t, s.ID, live[0].ID)
	}
}

// Nor for a rotation by somebody else, who would have the refresh token too: in strict
// mode that ends the session.
func TestARotationWhoseAnswerIsLostIsSentAgain(t *testing.T) {
	client, prefix := shared(t)
	p := newProxy(t, client.Options().Addr)
	through := connect(t, "redis://"+p.address)
	st, ctx := newStore(t, through, prefix), t.Context()
	known, s := newSession("bob"), newSession("alice")
	for _, v := range []issuer.Session{known, s} {
		require.NoError(t, st.Create(ctx, v))
	}
	_, err := st.Rotate(ctx, known.ID, 0, rotation(1)) // the script is known
	require.NoError(t, err)
	update := rotation(1)
	p.loseAnswer.Store(1)
	ok, err := st.Rotate(ctx, s.ID, 0, update)
	require.NoError(t, err)
	assert.True(t, ok)
	ok, err = st.Rotate(ctx, s.ID, 0, update)
	require.NoError(t, err)
	assert.False(t, ok, "somebody else")
	got, err := st.Get(ctx, s.ID)
	require.NoError(t, err)
	assert.EqualValues(t, 1, got.Generation)
}

// A twice sends one command again when something else has happened.
type twice struct {
	at, counted int
	between     func()
}

func (h *twice) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *twice) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.counted++
		if h.counted == h.at+1 {
			_ = next(ctx, cmd)
			h.between()
		}
		return next(ctx, cmd)
	}
}

func (h *twice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestACommandThatIsSentAgainAfterAnotherLogin(t *testing.T) {
	for at := range 3 { // what begins, decides and finishes
		client, prefix := shared(t)
		st := newStore(t, client, prefix)
		require.NoError(t, st.Create(t.Context(), newSession("alice"))) // the scripts are known
		next := newSession("alice")
		through := connect(t, sharedURL())
		require.NoError(t, through.Ping(t.Context()).Err()) // a new connection has commands of its own
		through.AddHook(&twice{at: at, between: func() {
			_, err := st.Replace(t.Context(), next)
			require.NoError(t, err)
		}})
		s := newSession("alice")
		_, err := newStore(t, through, prefix).Replace(t.Context(), s)
		require.NoError(t, err)
		live, err := st.List(t.Context(), "alice", time.Now())
		require.NoError(t, err)
		require.Len(t, live, 1, "the last login")
		last := next
		if at == 0 {
			last = s
		}
		require.Equal(t, last.ID, live[0].ID)
	}
}

func TestClaimsOfAnySize(t *testing.T) {
	st := sharedStore(t)
	for _, size := range []int{64, 65, 2048, 2049, 1 << 20} {
		s := newSession("alice")
		s.Claims = json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`)
		require.NoError(t, st.Create(t.Context(), s))
		got, err := st.Get(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, s.Claims, got.Claims)
	}
}

func TestASessionThatIsNotUnderstoodIsAnError(t *testing.T) {
	client, prefix := shared(t)
	st, ctx := newStore(t, client, prefix), t.Context()
	s := newSession("alice")
	require.NoError(t, st.Create(ctx, s))
	require.NoError(t, client.HSet(ctx, prefix+"s:"+s.ID, "e", "a secret").Err())
	_, err := st.Get(ctx, s.ID)
	require.ErrorContains(t, err, `field "e" of a session is no number`)
	assert.NotContains(t, err.Error(), "a secret")
	_, err = st.List(ctx, "alice", time.Now())
	require.ErrorContains(t, err, `field "e" of a session is no number`)
	_, err = st.Rotate(ctx, s.ID, 0, rotation(1))
	require.Error(t, err)
	_, err = st.CountKeys(ctx, time.Now())
	require.ErrorContains(t, err, "redisstore: count sessions: a time of a session is no number")
}

func TestManySessionsAreCountedOnce(t *testing.T) {
	client, prefix := shared(t)
	st := newStore(t, client, prefix)
	const some = 2000
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range some / 10 {
				assert.NoError(t, st.Create(t.Context(), newSession("alice")))
			}
		})
	}
	wg.Wait()
	counts, err := st.CountKeys(t.Context(), time.Now())
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"k1": some}, counts)
	removed, err := st.DeleteExpired(t.Context(), time.Now().Add(2*time.Hour), some-1)
	require.NoError(t, err)
	assert.Equal(t, some-1, removed)
	counts, err = st.CountKeys(t.Context(), time.Now())
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"k1": 1}, counts)
}
