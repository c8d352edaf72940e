package redisstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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

func newFeed(t *testing.T, client redis.UniversalClient, prefix string, m issuer.Mirror) *redisstore.Feed {
	t.Helper()
	f, err := redisstore.NewFeed(redisstore.FeedConfig{
		Client: client, Prefix: prefix, Mirror: m, Interval: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return f
}

func TestFeed(t *testing.T) {
	storetest.RunFeed(t, func(t *testing.T) storetest.NewFeed {
		client, prefix := shared(t)
		return func(t *testing.T, m issuer.Mirror) (storetest.Feed, func(bool)) {
			p := newProxy(t, client.Options().Addr)
			cut := func(away bool) {
				if away {
					p.cut()
				} else {
					p.mend()
				}
			}
			options := *client.Options()
			options.Addr = p.address
			through := redis.NewClient(&options)
			t.Cleanup(func() { through.Close() })
			return newFeed(t, through, prefix, m), cut
		}
	})
}

func TestFeedOnACluster(t *testing.T) {
	cluster := newCluster(t)
	storetest.RunFeed(t, func(t *testing.T) storetest.NewFeed {
		prefix := "test:" + t.Name() + ":"
		return func(t *testing.T, m issuer.Mirror) (storetest.Feed, func(bool)) {
			return newFeed(t, cluster, prefix, m), nil
		}
	})
}

// A mirror remembers which sessions it was told of, and when.
type mirror struct {
	mu     sync.Mutex
	told   map[string]time.Time
	synced time.Time
	total  int // what it was told, again included
}

func (m *mirror) add(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.told == nil {
		m.told = map[string]time.Time{}
	}
	if _, ok := m.told[id]; !ok {
		m.told[id] = time.Now()
	}
	m.total++
	return nil
}

func (m *mirror) DenySession(_ context.Context, sid string, _ time.Time) error    { return m.add(sid) }
func (m *mirror) DenyToken(_ context.Context, jti string, _ time.Time) error      { return m.add(jti) }
func (m *mirror) DenySubject(_ context.Context, sub string, _, _ time.Time) error { return m.add(sub) }

func (m *mirror) Synced(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.synced = at
}

func (m *mirror) at(id string) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.told[id]
	return at, ok
}

func (m *mirror) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.told)
}

// inStep waits until the mirror has what was denied by now.
func (m *mirror) inStep(t *testing.T) {
	t.Helper()
	at := time.Now()
	until(t, "the mirror is in step", func(context.Context) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.synced.After(at)
	})
}

// follow runs a feed into a mirror until the test is over.
func follow(t *testing.T, client redis.UniversalClient, prefix string) *mirror {
	t.Helper()
	m := &mirror{}
	run(t, newFeed(t, client, prefix, m))
	return m
}

func run(t *testing.T, f *redisstore.Feed) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { assert.ErrorIs(t, f.Run(ctx), context.Canceled) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// heard is the first line of a log.
type heard chan string

func (h heard) Write(line []byte) (int, error) {
	select {
	case h <- string(line):
	default:
	}
	return len(line), nil
}

func soon() time.Time { return time.Now().Add(time.Hour) }

func TestARevocationArrivesElsewhereWithin100ms(t *testing.T) {
	client, prefix := shared(t)
	there := follow(t, connect(t, sharedURL()), prefix)
	there.inStep(t)
	f := newFeed(t, client, prefix, &mirror{})
	var took []time.Duration
	for n := range times(300) {
		id, began := fmt.Sprint("s", n), time.Now()
		require.NoError(t, f.DenySession(t.Context(), id, soon()))
		var at time.Time
		until(t, "it is refused elsewhere", func(context.Context) (ok bool) {
			at, ok = there.at(id)
			return ok
		})
		took = append(took, at.Sub(began))
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	t.Logf("from revoke to refusal elsewhere: p50 %v, p99 %v, most %v", p50, p99, took[len(took)-1])
	assert.Less(t, p99, 100*time.Millisecond)
}

// While a process is cut off, more is denied than the news hold.
func TestNewsThatWereTrimmedAreReadFromTheList(t *testing.T) {
	client, prefix := shared(t)
	p := newProxy(t, client.Options().Addr)
	through := impatient(t, "redis://"+p.address)
	there := follow(t, through, prefix)
	f := newFeed(t, client, prefix, &mirror{})
	require.NoError(t, f.DenySession(t.Context(), "first", soon()))
	there.inStep(t)
	p.cut()
	for n := range 50 {
		require.NoError(t, f.DenySession(t.Context(), fmt.Sprint("s", n), soon()))
	}
	require.NoError(t, client.XTrimMaxLen(t.Context(), prefix+"{denied}:news", 3).Err())
	p.mend()
	there.inStep(t)
	assert.Equal(t, 51, there.size())
}

// After a cut that the news reach over, nothing is read twice.
func TestACutIsCaughtUpByTheNews(t *testing.T) {
	client, prefix := shared(t)
	p := newProxy(t, client.Options().Addr)
	there := follow(t, impatient(t, "redis://"+p.address), prefix)
	f := newFeed(t, client, prefix, &mirror{})
	for n := range 10 {
		require.NoError(t, f.DenySession(t.Context(), fmt.Sprint("before ", n), soon()))
	}
	there.inStep(t)
	p.cut()
	for n := range 10 {
		require.NoError(t, f.DenySession(t.Context(), fmt.Sprint("meanwhile ", n), soon()))
	}
	p.mend()
	there.inStep(t)
	assert.Equal(t, 20, there.size())
	assert.LessOrEqual(t, there.total, 30, "the first ten at most were read twice, by the first load and the news")
}

// A server that has lost its last writes takes others in their place.
func TestNothingIsMissedOfAServerThatLostItsLastWrites(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(t *testing.T, client *redis.Client, prefix string)
	}{
		{"the last ones", func(t *testing.T, client *redis.Client, prefix string) {
			ctx := t.Context()
			news, err := client.XRevRangeN(ctx, prefix+"{denied}:news", "+", "-", 2).Result()
			require.NoError(t, err)
			for _, m := range news {
				require.NoError(t, client.XDel(ctx, prefix+"{denied}:news", m.ID).Err())
				require.NoError(t, client.ZRem(ctx, prefix+"{denied}:list", m.Values["denial"]).Err())
				require.NoError(t, client.Set(ctx, prefix+"{denied}:head", m.Values["before"], 0).Err())
			}
		}},
		{"all", func(t *testing.T, client *redis.Client, prefix string) {
			for _, key := range []string{"list", "news", "head"} {
				require.NoError(t, client.Del(t.Context(), prefix+"{denied}:"+key).Err())
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, prefix := shared(t)
			p := newProxy(t, client.Options().Addr)
			there := follow(t, impatient(t, "redis://"+p.address), prefix)
			f := newFeed(t, client, prefix, &mirror{})
			for n := range 5 {
				require.NoError(t, f.DenySession(t.Context(), fmt.Sprint("before ", n), soon()))
			}
			there.inStep(t)
			p.cut()
			c.lose(t, client, prefix)
			for n := range 5 {
				require.NoError(t, f.DenySession(t.Context(), fmt.Sprint("after ", n), soon()))
			}
			p.mend()
			there.inStep(t)
			assert.Equal(t, 10, there.size())
			require.NoError(t, f.DenySession(t.Context(), "later", soon()))
			there.inStep(t)
			assert.Equal(t, 11, there.size())
		})
	}
}

func TestAServerThatIsRestartedEmptyIsFollowed(t *testing.T) {
	s := newServer(t) // nothing is kept
	there := follow(t, impatient(t, s.url()), "")
	f := newFeed(t, impatient(t, s.url()), "", &mirror{})
	require.NoError(t, f.DenySession(t.Context(), "before", soon()))
	there.inStep(t)
	s.kill(t)
	require.Error(t, f.DenySession(t.Context(), "nobody has taken it", soon()))
	s.start(t)
	require.NoError(t, f.DenySession(t.Context(), "after", soon()))
	there.inStep(t)
	_, ok := there.at("after")
	assert.True(t, ok)
	assert.Equal(t, 2, there.size(), "what the mirror knew it knows")
}

// What is over leaves by itself, and what is denied again takes no room.
func TestTheListIsBounded(t *testing.T) {
	client, prefix := shared(t)
	ctx := t.Context()
	var ahead time.Duration
	f, err := redisstore.NewFeed(redisstore.FeedConfig{
		Client: client, Prefix: prefix, Mirror: &mirror{}, MaxEntries: 3,
		Now: func() time.Time { return time.Now().Add(ahead) },
	})
	require.NoError(t, err)
	end := time.Now().Add(time.Hour)
	for range 20 {
		for n := range 3 {
			require.NoError(t, f.DenySession(ctx, fmt.Sprint("s", n), end))
		}
	}
	require.ErrorContains(t, f.DenySession(ctx, "s3", end), "the list is full, with 3 entries")
	require.EqualValues(t, 3, client.ZCard(ctx, prefix+"{denied}:list").Val())
	require.EqualValues(t, 3, client.XLen(ctx, prefix+"{denied}:news").Val())
	for _, key := range []string{"list", "news"} {
		left := client.PTTL(ctx, prefix+"{denied}:"+key).Val()
		assert.InDelta(t, (time.Hour + 10*time.Minute).Seconds(), left.Seconds(), 60)
	}

	// A process whose clock is ahead has some that end at once.
	require.NoError(t, client.Del(ctx, prefix+"{denied}:list").Err())
	require.NoError(t, f.DenySession(ctx, "long", end))
	ahead = time.Hour + 10*time.Minute - 200*time.Millisecond
	for n := range 2 {
		require.NoError(t, f.DenySession(ctx, fmt.Sprint("t", n), end))
	}
	ahead = 0
	require.Error(t, f.DenySession(ctx, "s3", end))
	until(t, "what is over makes room", func(ctx context.Context) bool {
		return f.DenySession(ctx, "s3", end) == nil && client.ZCard(ctx, prefix+"{denied}:list").Val() == 2
	})
}

// An entry that is not understood may be a denial.
func TestAListThatIsNotUnderstoodIsNotInStep(t *testing.T) {
	for _, entry := range []string{"", "sid", "sid 1 2", "sid x 2 id", "sid 1 x id", "sid 1 2 ", "new 99999999999999999 0 id"} {
		client, prefix := shared(t)
		require.NoError(t, client.ZAdd(t.Context(), prefix+"{denied}:list", redis.Z{Score: 1e15, Member: entry}).Err())
		there, said := &mirror{}, make(heard, 1)
		f, err := redisstore.NewFeed(redisstore.FeedConfig{
			Client: client, Prefix: prefix, Mirror: there, Interval: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(said, nil)),
		})
		require.NoError(t, err)
		run(t, f)
		assert.Contains(t, <-said, "the feed of denials is cut off")
		there.mu.Lock()
		assert.True(t, there.synced.IsZero(), "%q", entry)
		there.mu.Unlock()
		require.NoError(t, client.ZRem(t.Context(), prefix+"{denied}:list", entry).Err())
		there.inStep(t)
	}
}

func TestNewFeedReportsEveryMistake(t *testing.T) {
	_, err := redisstore.NewFeed(redisstore.FeedConfig{Prefix: "{", Interval: -1, MaxEntries: -1})
	for _, part := range []string{"Config.Client", "Config.Prefix", "FeedConfig.Mirror", "FeedConfig.Interval is -1ns", "FeedConfig.MaxEntries is -1"} {
		assert.ErrorContains(t, err, part)
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{RouteByLatency: true})
	defer cluster.Close()
	_, err = redisstore.NewFeed(redisstore.FeedConfig{Client: cluster, Mirror: &mirror{}})
	assert.ErrorContains(t, err, "reads from replicas")
}

func TestManyDenialsAreReadInPages(t *testing.T) {
	client, prefix := shared(t)
	f := newFeed(t, client, prefix, &mirror{})
	const some = 2500
	var wg sync.WaitGroup
	for part := range 10 {
		wg.Go(func() {
			for n := range some / 10 {
				assert.NoError(t, f.DenyToken(t.Context(), fmt.Sprint(part, "-", n), soon()))
			}
		})
	}
	wg.Wait()
	there := follow(t, connect(t, sharedURL()), prefix)
	there.inStep(t)
	assert.Equal(t, some, there.size())
	assert.Equal(t, some, there.total)
	t.Logf("%d bytes for each of %d entries of the list", client.MemoryUsage(t.Context(), prefix+"{denied}:list", 0).Val()/some, some)
	t.Logf("%d bytes for each of them in the news", client.MemoryUsage(t.Context(), prefix+"{denied}:news", 0).Val()/some)
}

// asked is a mirror that can be asked.
type asked struct{ mirror }

func (a *asked) Revoked(_ context.Context, sid, jti, subject string, _ time.Time) (bool, error) {
	for _, id := range []string{sid, jti, subject} {
		if _, ok := a.at(id); ok {
			return true, nil
		}
	}
	return false, nil
}

func TestAFeedAsksItsMirror(t *testing.T) {
	client, prefix := shared(t)
	f, ctx := newFeed(t, client, prefix, &asked{}), t.Context()
	require.NoError(t, f.DenyToken(ctx, "t1", soon()))
	for jti, want := range map[string]bool{"t1": true, "t2": false} {
		got, err := f.Revoked(ctx, "s1", jti, "alice", time.Now())
		require.NoError(t, err)
		assert.Equal(t, want, got, jti)
	}
	_, err := newFeed(t, client, prefix, &mirror{}).Revoked(ctx, "s1", "t1", "alice", time.Now())
	assert.ErrorContains(t, err, "cannot be asked")
}

// A network that is silent looks like a server with nothing to tell.
func TestASilentNetworkIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds until silence is noticed")
	}
	client, prefix := shared(t)
	p := newProxy(t, client.Options().Addr)
	options := *client.Options()
	options.Addr, options.ContextTimeoutEnabled = p.address, true
	through := redis.NewClient(&options)
	t.Cleanup(func() { through.Close() })
	there := follow(t, through, prefix)
	there.inStep(t)
	f := newFeed(t, client, prefix, &mirror{})
	p.silent.Store(true)
	require.NoError(t, f.DenySession(t.Context(), "s", soon()))
	time.Sleep(500 * time.Millisecond) // of silence
	there.mu.Lock()
	assert.Greater(t, time.Since(there.synced), 300*time.Millisecond)
	there.mu.Unlock()
	p.silent.Store(false) // what was swallowed does not come back
	mended := time.Now()
	there.inStep(t)
	assert.Less(t, time.Since(mended), 8*time.Second)
	_, ok := there.at("s")
	assert.True(t, ok)
}

// afterPage calls its function once, after the first page of the list was read.
type afterPage struct {
	once sync.Once
	call func()
}

func (*afterPage) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *afterPage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error {
		err := next(ctx, c)
		if c.Name() == "zrevrange" {
			a.once.Do(a.call)
		}
		return err
	}
}

func (*afterPage) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A denial that is sent again, because its answer was lost, is kept a little longer
// and moves forward in the list, past who is reading it.
func TestADenialThatIsSentAgainIsNotMissedByWhoReadsTheList(t *testing.T) {
	const page = 1000
	client, prefix := shared(t)
	writer := newFeed(t, client, prefix, &mirror{})
	at := soon()
	for n := range page + 1 { // the last of the list is the first
		require.NoError(t, writer.DenySession(t.Context(), fmt.Sprint("s", n), at.Add(time.Duration(n)*time.Second)))
	}
	slow, err := redisstore.NewFeed(redisstore.FeedConfig{ // by its clock, that is an hour more
		Client: client, Prefix: prefix, Mirror: &mirror{}, Now: func() time.Time { return time.Now().Add(-time.Hour) },
	})
	require.NoError(t, err)
	reader := redis.NewClient(client.Options())
	t.Cleanup(func() { reader.Close() })
	reader.AddHook(&afterPage{call: func() { assert.NoError(t, slow.DenySession(t.Context(), "s0", at)) }})
	m := follow(t, reader, prefix)
	m.inStep(t)
	_, told := m.at("s0")
	assert.True(t, told)
	assert.Equal(t, page+1, m.size())
}
