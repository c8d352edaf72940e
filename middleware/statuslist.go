package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// StatusListOptions are the options of [NewStatusList]. The zero value is ready to
// use.
type StatusListOptions struct {
	// Client makes the requests. Nil means one with http.DefaultTransport. A
	// copy is used, which follows redirects only within the URL's origin.
	Client *http.Client

	// Timeout limits one fetch from its beginning to the last byte. Zero means
	// 5 seconds.
	Timeout time.Duration

	// RefreshAfter is the age at which the list is fetched again, in the background,
	// when a token is verified; up to a tenth is taken off at random. A list that
	// is to be kept for less by its "ttl" is fetched again then, but not within a
	// second. At twice that age a token waits for the fetch, unless the last one
	// failed: so long a token can live on here after it was revoked, while the
	// endpoint answers. Zero means 5 minutes.
	RefreshAfter time.Duration

	// MaxStale is the age at which the list is not used any more, if it has not
	// expired ("exp") before. Until then, an endpoint that cannot be reached, or
	// answers something else than a list, changes nothing. It is longer than
	// RefreshAfter. Zero means 15 minutes.
	MaxStale time.Duration

	// MaxBytes limits the length of the document, and that of the list in it when it
	// is unpacked, in bytes each. Zero means 4194304.
	MaxBytes int64

	// InsecureAllowNoStatus accepts tokens without the claim "status", as those
	// are that were issued before there was a list. They cannot be revoked by it.
	InsecureAllowNoStatus bool

	// InsecurePassWhenStale goes on with a list that is not to be used any more,
	// and without one before the first fetch: tokens that were revoked in the
	// meantime are accepted.
	InsecurePassWhenStale bool

	// InsecureAllowHTTP allows a URL with the scheme http. What passes on that way
	// is signed, but can be held back.
	InsecureAllowHTTP bool

	// Logger is told of each failed fetch. Nil means that nobody is.
	Logger *slog.Logger
}

// A StatusList is the list in which an issuer publishes which of its tokens are
// revoked: a Token Status List (draft-ietf-oauth-status-list, in the form of a JWT).
// It is the StatusList of a [Config] or an [Issuer], and safe for concurrent use.
type StatusList struct {
	options StatusListOptions
	url     string
	keys    KeySource
	getter
	err error // mistakes in the configuration

	state atomic.Pointer[statusState]

	mu       sync.Mutex
	flight   chan struct{} // closed when the fetch ends; nil when none is under way
	failures int           // since the last success
	retryAt  time.Time     // after failures, no fetch starts before
	failure  error         // the last failure; nil after a success
}

// statusState is a list with its age. It never changes.
type statusState struct {
	statuses
	etag      string    // "" for none
	fetchedAt time.Time // when the fetch began that brought or confirmed it, by time.Now
	refreshAt time.Time // the earliest time for the next one
	waitAt    time.Time // when a token waits for it
	staleAt   time.Time // when it is not used any more
}

// NewStatusList returns the list at a URL, which is the "uri" that tokens name and
// the "sub" of the list: a token that names another one is refused, and nothing is
// fetched for it. The list is signed with keys, which are usually those of the
// issuer of the tokens. Nothing is fetched before the first token. Mistakes in the
// arguments are reported by [New].
//
// Requests wait for the first list, and for one that is long overdue, one fetch for
// all of them. Without a list that can be used, tokens are refused with
// AUTH_STORE_UNAVAILABLE. A status other than 0 (VALID) refuses a token with
// AUTH_TOKEN_INVALIDATED: 1 (INVALID), 2 (SUSPENDED), and those that have no meaning
// here. A token without "status", or with an entry that is not in the list, is refused
// with AUTH_TOKEN_PAYLOAD_INVALID. A list that was signed before the one that is there
// changes nothing.
func NewStatusList(rawURL string, keys KeySource, options StatusListOptions) *StatusList {
	s := &StatusList{options: options, url: rawURL, keys: keys}
	s.err = s.configure()
	return s
}

func (s *StatusList) configure() error {
	o := &s.options
	var mistakes []error
	mistake := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("NewStatusList: "+format, args...))
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"Timeout", &o.Timeout, 5 * time.Second},
		{"RefreshAfter", &o.RefreshAfter, 5 * time.Minute},
		{"MaxStale", &o.MaxStale, 15 * time.Minute},
	} {
		if *d.value < 0 {
			mistake("%s is negative", d.name)
		}
		*d.value = cmp.Or(*d.value, d.zero)
	}
	if o.MaxStale <= o.RefreshAfter {
		mistake("MaxStale, %v, is not longer than RefreshAfter, %v", o.MaxStale, o.RefreshAfter)
	}
	if o.MaxBytes < 0 {
		mistake("MaxBytes is negative")
	}
	o.MaxBytes = cmp.Or(o.MaxBytes, defaultMaxListBytes)
	if err := judgeURL(s.url, o.InsecureAllowHTTP); err != nil {
		mistake("%w", err)
	}
	if s.keys == nil {
		mistake("the keys are nil")
	} else if err := s.keys.check(); err != nil {
		mistake("the keys: %w", err)
	}
	s.getter = getter{newClient(o.Client), o.MaxBytes}
	return errors.Join(mistakes...)
}

// check returns the mistakes in the configuration. None is no mistake.
func (s *StatusList) check() error {
	if s != nil && s.client == nil {
		return errors.New("NewStatusList makes one")
	}
	if s != nil {
		return s.err
	}
	return nil
}

const defaultMaxListBytes = 4 << 20

// Age returns how long ago the list was fetched, or confirmed to be the latest, and
// whether it ever was.
func (s *StatusList) Age() (time.Duration, bool) {
	state := s.state.Load()
	if state == nil {
		return 0, false
	}
	return time.Since(state.fetchedAt), true
}

// current returns the list for a token that is verified now, or nil where it passes
// without one. It may wait, for as long as ctx allows.
func (s *StatusList) current(ctx context.Context, now time.Time) (*statusState, error) {
	if state := s.state.Load(); state != nil && now.Before(state.refreshAt) {
		return state, nil
	}
	began := time.Now()
	s.mu.Lock()
	state := s.state.Load()
	if s.flight == nil && !now.Before(s.retryAt) && (state == nil || !now.Before(state.refreshAt)) {
		s.start(now, state)
	}
	flight, waits := s.flight, s.failures == 0
	s.mu.Unlock()
	usable := state != nil && now.Before(state.staleAt) || s.options.InsecurePassWhenStale && !waits
	if usable && (flight == nil || !waits || now.Before(state.waitAt)) {
		return state, nil
	}
	if flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: context.Cause(ctx)}
		}
	}
	now = now.Add(time.Since(began))
	if state = s.state.Load(); state != nil && now.Before(state.staleAt) || s.options.InsecurePassWhenStale {
		return state, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return nil, &jwterrors.Error{
		Reason: jwterrors.StoreUnavailable, RetryAfter: max(s.retryAt.Sub(now), time.Second),
		Err: fmt.Errorf("middleware: there is no status list that can be used: %w", cmp.Or(s.failure, errOverdue)),
	}
}

var errOverdue = errors.New("the last one is too old")

// start begins a fetch, on nobody's context. The caller holds the lock.
func (s *StatusList) start(now time.Time, last *statusState) {
	flight := make(chan struct{})
	s.flight = flight
	began := time.Now()
	go func() {
		var next *statusState
		err := errors.New("the fetch was ended") // stays when the client panics or exits
		defer func() {
			if v := recover(); v != nil {
				err = errors.New("the HTTP client panicked")
			}
			s.finish(flight, now.Add(time.Since(began)), next, err)
		}()
		next, err = s.fetch(now, last)
	}()
}

// finish publishes the outcome of a fetch.
func (s *StatusList) finish(flight chan struct{}, now time.Time, next *statusState, err error) {
	if err != nil && s.options.Logger != nil {
		s.options.Logger.Warn("middleware: fetch the status list", "host", host(s.url), "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(flight)
	s.flight, s.failure = nil, err
	if err == nil {
		s.failures, s.retryAt = 0, time.Time{}
		s.state.Store(next)
		return
	}
	s.retryAt = now.Add(min(firstRetry<<min(s.failures, 10), lastRetry))
	s.failures++
	if last := s.state.Load(); last != nil {
		later := *last
		later.refreshAt = earlier(s.retryAt, last.staleAt)
		s.state.Store(&later)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// fetch gets the list once. What last, which may be nil, has of it need not be sent
// again.
func (s *StatusList) fetch(now time.Time, last *statusState) (*statusState, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.options.Timeout)
	defer cancel()
	began := time.Now()
	etag := ""
	if last != nil && now.Before(last.expires) {
		etag = last.etag
	}
	resp, document, err := s.get(ctx, s.url, "application/statuslist+jwt", etag)
	if err != nil {
		return nil, err
	}
	next := &statusState{fetchedAt: began}
	if resp.StatusCode == http.StatusNotModified {
		next.statuses, next.etag = last.statuses, last.etag
	} else {
		if next.statuses, err = s.read(ctx, document, now.Add(time.Since(began))); err != nil {
			return nil, fmt.Errorf("GET from %s: %s", host(s.url), cause(err)) // whose reason is not the token's
		}
		if next.etag = resp.Header.Get("ETag"); len(next.etag) > maxETag {
			next.etag = ""
		}
		if last != nil && next.issuedAt.Before(last.issuedAt) && now.Before(last.expires) {
			next.statuses, next.etag = last.statuses, last.etag
		}
	}
	after := s.options.RefreshAfter
	if next.ttl > 0 {
		after = min(after, max(next.ttl, leastListRefresh))
	}
	next.staleAt = earlier(now.Add(s.options.MaxStale), next.expires)
	next.waitAt = earlier(now.Add(2*after), next.staleAt)
	next.refreshAt = earlier(now.Add(after-time.Duration(rand.Int64N(int64(after)/10+1))), next.staleAt)
	return next, nil
}

// leastListRefresh is the shortest time after which a list can ask to be fetched
// again.
const leastListRefresh = time.Second
