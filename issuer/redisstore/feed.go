package redisstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	randv2 "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tokenloop/tokenloop/issuer"
)

// Defaults of FeedConfig.
const (
	defaultInterval   = time.Second
	defaultMaxEntries = 1_000_000
)

// FeedConfig is what NewFeed needs.
type FeedConfig struct {
	// Client and Prefix are those of Config. The feed needs no connection of
	// its own, but Run occupies one.
	Client redis.UniversalClient
	Prefix string

	// Mirror is kept in step by Run, and is told at once of what this process
	// denies. It is required, and the Denylist of the package middleware is one.
	Mirror issuer.Mirror

	// Interval is how often Run tells the Mirror that it is in step when
	// nothing is denied. A denial does not wait for it. At least a
	// millisecond; zero means one second.
	Interval time.Duration

	// MaxEntries is how many denials the list holds at most. More are refused
	// with an error. Zero means 1,000,000.
	MaxEntries int

	// Logger gets a record when Run loses the server and when it is back. Nil
	// means slog.Default.
	Logger *slog.Logger

	// Now is the clock that denials are made by. Nil means time.Now.
	Now func() time.Time
}

// A Feed keeps a list of denied tokens in Redis, for any number of issuers that
// deny and of services that verify. As the Denylist of an issuer.Config it writes;
// its Run keeps the mirror of a process in step, whoever has written. It is safe
// for concurrent use.
type Feed struct {
	client           redis.UniversalClient
	list, head, news string // keys, in one slot
	mirror           issuer.Mirror
	interval         time.Duration
	most             int
	logger           *slog.Logger
	now              func() time.Time
}

var (
	_ issuer.Denier       = (*Feed)(nil)
	_ issuer.DenialReader = (*Feed)(nil)
)

// NewFeed returns a feed of the list on c.Client. It asks the server nothing, and
// starts nothing: see Run.
func NewFeed(c FeedConfig) (*Feed, error) {
	base := Config{Client: c.Client, Prefix: c.Prefix, Now: c.Now}
	mistakes := []error{base.check()}
	if c.Mirror == nil {
		mistakes = append(mistakes, errors.New("redisstore: FeedConfig.Mirror is required"))
	}
	if c.Interval != 0 && c.Interval < time.Millisecond {
		mistakes = append(mistakes, fmt.Errorf("redisstore: FeedConfig.Interval is %v, want 1ms or more", c.Interval))
	}
	if c.MaxEntries < 0 {
		mistakes = append(mistakes, fmt.Errorf("redisstore: FeedConfig.MaxEntries is %d; it cannot be negative", c.MaxEntries))
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	tag := base.Prefix + "{denied}:"
	return &Feed{
		client: c.Client, list: tag + "list", head: tag + "head", news: tag + "news", mirror: c.Mirror,
		interval: c.Interval, most: c.MaxEntries, logger: c.Logger, now: base.Now,
	}, nil
}

// The kinds of denials, by the claim that they are about.
const (
	kindSession = "sid"
	kindToken   = "jti"
	kindSubject = "sub"
)

// A denial is an entry of the list.
type denial struct {
	kind, id            string
	issuedBefore, until time.Time
}

// microsUp rounds up, since a denial may concern more but not less than it says.
func microsUp(t time.Time) string { return micros(t.Add(time.Microsecond - 1)) }

func (d denial) String() string {
	return strings.Join([]string{d.kind, microsUp(d.until), microsUp(d.issuedBefore), d.id}, " ")
}

func parseDenial(text string) (d denial, err error) {
	parts := strings.SplitN(text, " ", 4)
	if len(parts) < 4 || parts[3] == "" {
		return d, errors.New("an entry of the list is no denial")
	}
	until, err := strconv.ParseInt(parts[1], 10, 64)
	if err == nil {
		var before int64
		before, err = strconv.ParseInt(parts[2], 10, 64)
		d = denial{kind: parts[0], id: parts[3], until: time.UnixMicro(until).UTC(), issuedBefore: time.UnixMicro(before).UTC()}
	}
	if err != nil {
		return denial{}, errors.New("a time in the list of denials is no number")
	}
	return d, nil
}

const (
	// keepDenied is how long a denial is kept when it is over: five minutes
	// for the leeway of verifiers, and as much for their clocks.
	keepDenied = 10 * time.Minute

	newsLength = 10_000 // about, of which a process that was cut off needs no more than it missed
	expireMost = 100    // denials that are over, removed by one that comes
)

// write adds a denial to the list and to the news, unless it is there. Each news
// names the one before it, so that a reader knows whether it has missed one. It
// answers 0 when the list is full. How long a denial is kept is counted by the
// clock of the server, from now on. One that is to be kept a minute longer is news
// again: it moves in the list, maybe past a reader.
//
//	list, news, head: denial, milliseconds, name of the news, most entries, length of the news, how many to remove
var write = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local over = redis.call('ZCOUNT', KEYS[1], '-inf', string.format('%.0f', now))
if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, math.min(over, ARGV[6]) - 1) end
local ends = now + ARGV[2]
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not before and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
if not before or tonumber(before) + 60000 < ends then
  local head = redis.call('GET', KEYS[3]) or ''
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'before', head, 'name', ARGV[3], 'denial', ARGV[1])
  redis.call('SET', KEYS[3], ARGV[3])
  redis.call('ZADD', KEYS[1], string.format('%.0f', ends), ARGV[1])
end
for n = 1, 2 do
  if redis.call('PTTL', KEYS[n]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[n], ARGV[2]) end
end
return 1`)

// DenySession denies all access tokens of a session until then: in the mirror at
// once, elsewhere within milliseconds. It returns nil when the server has taken it.
// After an error that may or may not be so, and it can be called again.
func (f *Feed) DenySession(ctx context.Context, sid string, until time.Time) error {
	return f.deny(ctx, f.mirror.DenySession(ctx, sid, until), denial{kind: kindSession, id: sid, until: until})
}

// DenyToken denies the access token with the id jti, as DenySession does.
func (f *Feed) DenyToken(ctx context.Context, jti string, until time.Time) error {
	return f.deny(ctx, f.mirror.DenyToken(ctx, jti, until), denial{kind: kindToken, id: jti, until: until})
}

// DenySubject denies the access tokens of subject that were issued before
// issuedBefore, as DenySession does.
func (f *Feed) DenySubject(ctx context.Context, subject string, issuedBefore, until time.Time) error {
	return f.deny(ctx, f.mirror.DenySubject(ctx, subject, issuedBefore, until),
		denial{kind: kindSubject, id: subject, issuedBefore: issuedBefore, until: until})
}

// Revoked asks the mirror, which must be an issuer.DenialReader, as the Denylist
// of the package middleware is.
func (f *Feed) Revoked(ctx context.Context, sid, jti, subject string, issuedAt time.Time) (bool, error) {
	if m, ok := f.mirror.(issuer.DenialReader); ok {
		return m.Revoked(ctx, sid, jti, subject, issuedAt)
	}
	return false, fmt.Errorf("redisstore: a mirror that is a %T cannot be asked", f.mirror)
}

// over reports whether a denial concerns nobody any more.
func (f *Feed) over(until time.Time) bool { return !f.now().Before(until.Add(keepDenied)) }

// deny writes d whether or not the mirror, which has answered told, took it.
func (f *Feed) deny(ctx context.Context, told error, d denial) error {
	switch {
	case d.id == "":
		return errors.Join(told, errors.New("redisstore: deny: the identifier is empty"))
	case ctx.Err() != nil:
		return errors.Join(told, failed("deny", ctx.Err()))
	case f.over(d.until):
		return told
	}
	kept := d.until.Sub(f.now()) + keepDenied
	taken, err := write.Run(ctx, f.client, []string{f.list, f.news, f.head},
		d.String(), kept.Milliseconds()+1, rand.Text(), f.most, newsLength, expireMost).Bool()
	switch {
	case err != nil:
		err = failed("deny", err)
	case !taken:
		err = fmt.Errorf("redisstore: deny: the list is full, with %d entries", f.most)
	}
	return errors.Join(told, err)
}

const (
	page       = 1000
	pageTime   = 5 * time.Second // for a page; a connection that is dead and does not say so is given up
	firstPause = 50 * time.Millisecond
	longPause  = 2 * time.Second
)

// Run keeps the mirror in step until ctx is done, and then returns ctx.Err(). It
// first reads all that is denied, a thousand at a time, and then waits for news.
// When the server does not answer, it tries again after a pause of up to two
// seconds. It has missed nothing when it is back: when the news do not reach back
// to what it knows, it reads all again.
func (f *Feed) Run(ctx context.Context) error {
	r, failures := reader{Feed: f}, 0
	for {
		err := r.catchUp(ctx)
		if err == nil {
			if failures > 0 {
				f.logger.Info("redisstore: the feed of denials is in step again", "failures", failures)
			}
			failures = 0
			err = r.wait(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		if failures++; failures == 1 {
			f.logger.Warn("redisstore: the feed of denials is cut off", "err", err)
		}
		pause := min(firstPause<<min(failures, 10), longPause)
		timer := time.NewTimer(pause/2 + randv2.N(pause/2))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// A reader is how far a Run has come.
type reader struct {
	*Feed
	loaded bool
	name   string // of the last news that it knows
	last   string // its place in the stream
}

var errMissed = errors.New("redisstore: news are missing")

// catchUp tells the mirror of all that it does not know yet.
func (r *reader) catchUp(ctx context.Context) error {
	for {
		if !r.loaded {
			if err := r.load(ctx); err != nil {
				return fmt.Errorf("redisstore: read what is denied: %w", err)
			}
		}
		at := r.now() // what was denied by now is seen
		more, err := r.read(ctx)
		switch {
		case errors.Is(err, errMissed):
			r.loaded = false
		case err != nil:
			return fmt.Errorf("redisstore: read what was denied: %w", err)
		case !more:
			r.mirror.Synced(at)
			return nil
		}
	}
}

// load reads the whole list. What is denied meanwhile is in the news that follow
// those of before. It begins with what is kept the longest: what leaves the list
// meanwhile comes last, and what joins it pushes nothing out of a page to come.
func (r *reader) load(ctx context.Context) error {
	name, news, err := r.ask(ctx, func(ctx context.Context, p redis.Pipeliner) *redis.XMessageSliceCmd {
		return p.XRevRangeN(ctx, r.news, "+", "-", 1)
	})
	if err != nil {
		return err
	}
	last := "0-0"
	if len(news) > 0 {
		last = news[0].ID
	}
	var refused error // by the mirror, which still takes what it can
	for from := int64(0); ; from += page {
		some, err := r.part(ctx, from)
		if err != nil {
			return err
		}
		for _, text := range some {
			refused = cmp.Or(refused, r.tell(ctx, text))
		}
		if len(some) < page {
			break
		}
	}
	if refused != nil {
		return refused
	}
	r.loaded, r.name, r.last = true, name, last
	return nil
}

func (r *reader) part(ctx context.Context, from int64) ([]string, error) {
	ctx, stop := context.WithTimeout(ctx, pageTime)
	defer stop()
	return r.client.ZRevRange(ctx, r.list, from, from+page-1).Result()
}

// ask returns the name of the last news, and those that get asks for, as they are
// at one moment.
func (r *reader) ask(ctx context.Context, get func(context.Context, redis.Pipeliner) *redis.XMessageSliceCmd) (string, []redis.XMessage, error) {
	ctx, stop := context.WithTimeout(ctx, pageTime)
	defer stop()
	var head *redis.StringCmd
	var news *redis.XMessageSliceCmd
	_, _ = r.client.TxPipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
		head, news = p.Get(ctx, r.head), get(ctx, p)
		return nil
	})
	if err := head.Err(); err != nil && !errors.Is(err, redis.Nil) { // nothing was ever denied
		return "", nil, err
	}
	return head.Val(), news.Val(), news.Err()
}

// read tells the mirror of a page of news, and reports whether there may be more.
// When they do not follow one another from what it knows to the last one, the
// error is errMissed: they are too old, or the server has lost some.
func (r *reader) read(ctx context.Context) (more bool, err error) {
	head, news, err := r.ask(ctx, func(ctx context.Context, p redis.Pipeliner) *redis.XMessageSliceCmd {
		return p.XRangeN(ctx, r.news, "("+r.last, "+", page)
	})
	if err != nil {
		return false, err
	}
	var refused error
	name, last := r.name, r.last
	for _, m := range news {
		before, _ := m.Values["before"].(string)
		text, _ := m.Values["denial"].(string)
		if before != name {
			return false, errMissed
		}
		refused = cmp.Or(refused, r.tell(ctx, text))
		name, _ = m.Values["name"].(string)
		last = m.ID
	}
	if refused != nil {
		return false, refused
	}
	r.name, r.last = name, last
	if len(news) == page {
		return true, nil
	}
	if head != r.name {
		return false, errMissed
	}
	return false, nil
}

func (r *reader) tell(ctx context.Context, text string) error {
	d, err := parseDenial(text)
	switch {
	case err != nil:
		return err
	case r.over(d.until):
		return nil
	case d.kind == kindSession:
		return r.mirror.DenySession(ctx, d.id, d.until)
	case d.kind == kindToken:
		return r.mirror.DenyToken(ctx, d.id, d.until)
	case d.kind == kindSubject:
		return r.mirror.DenySubject(ctx, d.id, d.issuedBefore, d.until)
	}
	return fmt.Errorf("a denial is of the kind %q, which this version does not know", d.kind)
}

// wait returns when there are news, or an Interval has passed. The client does not
// heed a context while it reads, so it is left to itself when ctx is done.
func (r *reader) wait(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, r.interval+pageTime)
	defer stop()
	woken := make(chan error, 1)
	args := &redis.XReadArgs{Streams: []string{r.news, r.last}, Count: 1, Block: r.interval}
	go func() { woken <- r.client.XRead(ctx, args).Err() }()
	select {
	case err := <-woken:
		if err == nil || errors.Is(err, redis.Nil) {
			return nil
		}
		return fmt.Errorf("redisstore: wait for denials: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("redisstore: wait for denials: %w", ctx.Err())
	}
}
