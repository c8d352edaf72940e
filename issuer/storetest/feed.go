package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// A Feed writes denials to an engine, and its Run keeps an issuer.Mirror in step
// with it until ctx is done, when it returns ctx.Err().
type Feed interface {
	issuer.Denier
	Run(ctx context.Context) error
}

// A NewFeed makes feeds of one list of denials: each fills a mirror of its own, and
// stands for a process of its own. Clean-up is for t.Cleanup. What it returns
// beside the feed takes the engine away from that feed alone, and gives it back;
// where it is nil, the test of that is skipped.
type NewFeed func(t *testing.T, m issuer.Mirror) (f Feed, cut func(away bool))

// RunFeed holds the feeds of an engine to what a verifier relies on. Each call of
// newList returns the maker of the feeds of a list that is empty. Their clock is
// time.Now.
//
//	func TestFeed(t *testing.T) {
//		storetest.RunFeed(t, func(t *testing.T) storetest.NewFeed { return newList(t) })
//	}
func RunFeed(t *testing.T, newList func(t *testing.T) NewFeed) {
	for _, c := range []struct {
		name string
		test func(*testing.T, NewFeed)
	}{
		{"what is denied arrives everywhere", feedArrives}, // AX-16
		{"what was denied before is there before the first Synced", feedLoads},
		{"what is over does not arrive", feedExpired},
		{"a denial grows and does not shrink", feedGrows},
		{"hostile text arrives as it is", feedText},
		{"a context that is done is an error", feedCancelled},
		{"a mirror that refuses is not in step", feedRefused},
		{"a feed that starts again", feedRestart},
		{"race: of many writers none is missed", feedRace},
		{"a feed that was cut off catches up by itself", feedCut},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newList(t)) })
	}
}

// A denial is what a mirror was told of one id.
type denial struct{ issuedBefore, until time.Time }

// A mirror remembers what it was told, by kind and id. In Synced it looks whether
// all that is promised is there.
type mirror struct {
	t       *testing.T
	log     *denialLog
	changed chan struct{} // has room for one

	mu     sync.Mutex
	told   map[string]denial
	synced time.Time
	times  int // that it was told that it is in step
	refuse string
}

// A denialLog is what was denied, and when that was done.
type denialLog struct {
	mu   sync.Mutex
	done map[string]time.Time
}

func (l *denialLog) add(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[key] = time.Now()
}

func newLog() *denialLog { return &denialLog{done: map[string]time.Time{}} }

func newMirror(t *testing.T, log *denialLog) *mirror {
	return &mirror{t: t, log: log, changed: make(chan struct{}, 1), told: map[string]denial{}}
}

var errRefused = errors.New("storetest: the mirror takes nothing")

func (m *mirror) add(key string, d denial) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != "" && m.refuse == key {
		return errRefused
	}
	if was, ok := m.told[key]; ok {
		if was.until.After(d.until) {
			d.until = was.until
		}
		if was.issuedBefore.After(d.issuedBefore) {
			d.issuedBefore = was.issuedBefore
		}
	}
	m.told[key] = d
	m.wake()
	return nil
}

func (m *mirror) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func (m *mirror) DenySession(_ context.Context, sid string, until time.Time) error {
	return m.add("sid "+sid, denial{until: until})
}

func (m *mirror) DenyToken(_ context.Context, jti string, until time.Time) error {
	return m.add("jti "+jti, denial{until: until})
}

func (m *mirror) DenySubject(_ context.Context, subject string, issuedBefore, until time.Time) error {
	return m.add("sub "+subject, denial{issuedBefore, until})
}

func (m *mirror) Synced(at time.Time) {
	now := time.Now()
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.After(now) {
		m.t.Errorf("Synced tells of a time that is %v ahead", at.Sub(now))
	}
	for key, done := range m.log.done {
		if _, ok := m.told[key]; done.Before(at) && !ok {
			m.t.Errorf("in step with what was denied until %v ago, and what was denied %v ago is missing", now.Sub(at), now.Sub(done))
		}
	}
	if at.After(m.synced) {
		m.synced = at
	}
	m.times++
	m.wake()
}

// wait waits until ok is true of what the mirror holds.
func (m *mirror) wait(what string, ok func() bool) {
	m.t.Helper()
	limit := time.After(20 * time.Second)
	locked := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return ok()
	}
	for !locked() {
		select {
		case <-m.changed:
		case <-limit:
			m.t.Fatalf("after 20 s: %s", what)
		}
	}
}

// inStep waits until all that was denied by now is there.
func (m *mirror) inStep() {
	m.t.Helper()
	at := time.Now()
	m.wait("the mirror is not in step", func() bool { return m.synced.After(at) })
}

func (m *mirror) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.told)
}

// want looks for a denial that covers d, and not much more.
func (m *mirror) want(key string, d denial) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	got, ok := m.told[key]
	close := func(got, want time.Time) bool { return !got.Before(want) && got.Sub(want) < time.Second }
	switch {
	case !ok:
		m.t.Errorf("%q is not denied", key)
	case !close(got.until, d.until):
		m.t.Errorf("%q is denied until %v, want %v", key, got.until, d.until)
	case !d.issuedBefore.IsZero() && !close(got.issuedBefore, d.issuedBefore):
		m.t.Errorf("%q is denied if issued before %v, want %v", key, got.issuedBefore, d.issuedBefore)
	}
}

// run runs f until the test is over, or until it is called.
func run(t *testing.T, f Feed) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run returned %v, want the error of its context", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run goes on without its context")
		}
	})
	t.Cleanup(stop)
	return stop
}

func deny(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("deny: %v", err)
	}
}

func feedArrives(t *testing.T, newFeed NewFeed) {
	ctx, log := t.Context(), newLog()
	here, there := newMirror(t, log), newMirror(t, log)
	a, _ := newFeed(t, here)
	b, _ := newFeed(t, there)
	run(t, b)
	there.inStep() // with an empty list
	// In the second of its issuedBefore a token counts as issued before, but
	// not at a whole second.
	second := time.Now().Add(time.Second).Truncate(time.Second)
	until := time.Now().Add(time.Hour)
	subject := func(before time.Time) func() error {
		return func() error { return a.DenySubject(ctx, "id", before, until) }
	}
	for _, c := range []struct {
		key  string
		deny func() error
		want denial
	}{
		{"sid id", func() error { return a.DenySession(ctx, "id", until) }, denial{until: until}},
		{"jti id", func() error { return a.DenyToken(ctx, "id", until) }, denial{until: until}},
		{"sub id", subject(second), denial{second, until}},
		{"sub id", subject(second.Add(1)), denial{second.Add(1), until}},
	} {
		deny(t, c.deny())
		log.add(c.key)
		here.want(c.key, c.want) // at once, and without Run
		there.inStep()
		there.want(c.key, c.want)
	}
	if n := there.size(); n != 3 {
		t.Errorf("the mirror holds %d denials, want 3", n)
	}
	run(t, a)
	here.inStep()
}

func feedLoads(t *testing.T, newFeed NewFeed) {
	ctx, log, until := t.Context(), newLog(), time.Now().Add(time.Hour)
	a, _ := newFeed(t, newMirror(t, log))
	for n := range 5 {
		deny(t, a.DenySession(ctx, fmt.Sprint("s", n), until))
		deny(t, a.DenyToken(ctx, fmt.Sprint("t", n), until))
		deny(t, a.DenySubject(ctx, fmt.Sprint("u", n), until, until))
	}
	m := newMirror(t, log)
	b, _ := newFeed(t, m)
	run(t, b)
	m.wait("the mirror was never in step", func() bool {
		if m.times > 0 && len(m.told) != 15 {
			t.Fatalf("%d of 15 denials are there when the mirror is in step", len(m.told))
		}
		return m.times > 0
	})
}

func feedExpired(t *testing.T, newFeed NewFeed) {
	ctx, log := t.Context(), newLog()
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	a, _ := newFeed(t, newMirror(t, log))
	deny(t, a.DenySession(ctx, "old", past))
	deny(t, a.DenyToken(ctx, "old", past))
	deny(t, a.DenySubject(ctx, "old", past, past))
	deny(t, a.DenySession(ctx, "new", future))
	m := newMirror(t, log)
	b, _ := newFeed(t, m)
	run(t, b)
	m.inStep()
	m.want("sid new", denial{until: future})
	if n := m.size(); n != 1 {
		t.Errorf("the mirror holds %d denials, want the one that is not over", n)
	}
}

func feedGrows(t *testing.T, newFeed NewFeed) {
	ctx, log, at := t.Context(), newLog(), time.Now()
	a, _ := newFeed(t, newMirror(t, log))
	m := newMirror(t, log)
	b, _ := newFeed(t, m)
	run(t, b)
	for _, c := range []struct{ say, want denial }{
		{denial{at, at.Add(time.Hour)}, denial{at, at.Add(time.Hour)}},
		{denial{at, at.Add(time.Hour)}, denial{at, at.Add(time.Hour)}}, // again
		{denial{at, at.Add(2 * time.Hour)}, denial{at, at.Add(2 * time.Hour)}},
		{denial{at.Add(time.Minute), at.Add(time.Hour)}, denial{at.Add(time.Minute), at.Add(2 * time.Hour)}},
		{denial{at.Add(-time.Minute), at.Add(time.Minute)}, denial{at.Add(time.Minute), at.Add(2 * time.Hour)}},
	} {
		deny(t, a.DenySubject(ctx, "alice", c.say.issuedBefore, c.say.until))
		deny(t, a.DenySession(ctx, "s", c.say.until))
		m.inStep()
		m.want("sub alice", c.want)
		m.want("sid s", denial{until: c.want.until})
	}
	late := newMirror(t, log)
	c, _ := newFeed(t, late)
	run(t, c)
	late.inStep()
	late.want("sub alice", denial{at.Add(time.Minute), at.Add(2 * time.Hour)})
	late.want("sid s", denial{until: at.Add(2 * time.Hour)})
}

func feedText(t *testing.T, newFeed NewFeed) {
	ctx, log, until := t.Context(), newLog(), time.Now().Add(time.Hour)
	a, _ := newFeed(t, newMirror(t, log))
	m := newMirror(t, log)
	b, _ := newFeed(t, m)
	texts := []string{
		`'; DROP TABLE denials; --`, `"quotes" and \backslashes\`, "ünï — 日本語 🔑", "%s %n $1 ? :x @x", strings.Repeat("x", 1024), "a b", "a:b",
		"*", "{}[]", " spaces at both ends ", "tab\tand\nline", "-1", "alice", "Alice", "alice ", "álice", "a\u0301lice", "alice\u00ad",
	}
	for _, text := range texts {
		deny(t, a.DenySubject(ctx, text, until, until))
		log.add("sub " + text)
	}
	run(t, b)
	m.inStep()
	for _, text := range texts {
		m.want("sub "+text, denial{until, until})
	}
	if n := m.size(); n != len(texts) {
		t.Errorf("the mirror holds %d denials, want %d", n, len(texts))
	}
}

func feedCancelled(t *testing.T, newFeed NewFeed) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	log, until := newLog(), time.Now().Add(time.Hour)
	a, _ := newFeed(t, newMirror(t, log))
	for name, err := range map[string]error{
		"DenySession": a.DenySession(ctx, "s", until),
		"DenyToken":   a.DenyToken(ctx, "t", until),
		"DenySubject": a.DenySubject(ctx, "u", until, until),
	} {
		if err == nil {
			t.Errorf("%s returns nil though its context was done", name)
		}
	}
	if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run returns %v, want the error of its context", err)
	}
}

// feedRefused: a mirror is full, for example.
func feedRefused(t *testing.T, newFeed NewFeed) {
	ctx, log, until := t.Context(), newLog(), time.Now().Add(time.Hour)
	a, _ := newFeed(t, newMirror(t, log))
	m := newMirror(t, log)
	m.refuse = "sid s3"
	b, _ := newFeed(t, m)
	for n := range 6 {
		deny(t, a.DenySession(ctx, fmt.Sprint("s", n), until))
		log.add(fmt.Sprint("sid s", n))
	}
	run(t, b) // Synced would complain
	m.wait("nothing has come", func() bool { return len(m.told) >= 3 })
	m.mu.Lock()
	m.refuse = ""
	m.mu.Unlock()
	m.inStep()
	if n := m.size(); n != 6 {
		t.Errorf("the mirror holds %d denials, want 6", n)
	}
	if err := b.DenySession(ctx, "", until); err == nil {
		t.Error("nobody is denied, and no error says so")
	}
}

func feedRestart(t *testing.T, newFeed NewFeed) {
	ctx, log, until := t.Context(), newLog(), time.Now().Add(time.Hour)
	a, _ := newFeed(t, newMirror(t, log))
	m := newMirror(t, log)
	b, _ := newFeed(t, m)
	for round := range 3 {
		stop := run(t, b)
		m.inStep()
		stop()
		key := fmt.Sprint("s", round)
		deny(t, a.DenySession(ctx, key, until))
		log.add("sid " + key)
	}
	run(t, b)
	m.inStep()
	fresh := newMirror(t, log)
	c, _ := newFeed(t, fresh)
	run(t, c)
	fresh.inStep()
	for _, m := range []*mirror{m, fresh} {
		if n := m.size(); n != 3 {
			t.Errorf("a mirror holds %d denials, want 3", n)
		}
	}
}

// feedRace lets 8 goroutines deny by three feeds. Each mirror looks at each Synced
// whether something is missing.
func feedRace(t *testing.T, newFeed NewFeed) {
	ctx, log, until := t.Context(), newLog(), time.Now().Add(time.Hour)
	var feeds []Feed
	var mirrors []*mirror
	for range 3 {
		m := newMirror(t, log)
		f, _ := newFeed(t, m)
		run(t, f)
		feeds, mirrors = append(feeds, f), append(mirrors, m)
	}
	each := rounds(25)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range each {
				id := fmt.Sprint(w, "-", n)
				if err := feeds[(w+n)%len(feeds)].DenySession(ctx, id, until); err != nil {
					t.Errorf("deny: %v", err)
				}
				log.add("sid " + id)
			}
		})
	}
	wg.Wait()
	for _, m := range mirrors {
		m.inStep()
		if n := m.size(); n != 8*each {
			t.Errorf("a mirror holds %d denials, want %d", n, 8*each)
		}
	}
}

func feedCut(t *testing.T, newFeed NewFeed) {
	ctx, log, until := t.Context(), newLog(), time.Now().Add(time.Hour)
	m := newMirror(t, log)
	f, cut := newFeed(t, m)
	if cut == nil {
		t.Skip("these feeds cannot be cut off")
	}
	run(t, f)
	m.inStep()
	other, _ := newFeed(t, newMirror(t, log))
	for round := range 3 {
		cut(true)
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		if err := f.DenyToken(short, fmt.Sprint("t", round), until); err == nil {
			t.Error("a denial that the engine has not taken returns nil")
		}
		cancel()
		for n := range 5 {
			id := fmt.Sprint(round, "-", n)
			deny(t, other.DenySession(ctx, id, until))
			log.add("sid " + id)
		}
		cut(false)
		m.inStep()
		deny(t, f.DenyToken(ctx, fmt.Sprint("t", round), until))
	}
	for round := range 3 {
		for n := range 5 {
			m.want(fmt.Sprint("sid ", round, "-", n), denial{until: until})
		}
	}
}
