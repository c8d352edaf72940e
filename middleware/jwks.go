package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jwa"
)

// JWKSOptions are the options of [JWKS]. The zero value is ready to use.
type JWKSOptions struct {
	// Client makes the requests. Nil means one with http.DefaultTransport. A
	// copy is used, which follows redirects only within the URL's origin.
	Client *http.Client

	// Timeout limits one fetch from its beginning to the last byte. Zero means
	// 5 seconds.
	Timeout time.Duration

	// RefreshAfter is the age at which the set is fetched again, in the
	// background, when a token is verified: so long a key can live on here
	// after the issuer removed it, while the endpoint answers. An answer that
	// is fresh for less by its Cache-Control (RFC 9111) is fetched again then,
	// but not within a minute. Up to a tenth is taken off at random. Zero means
	// 15 minutes.
	RefreshAfter time.Duration

	// MaxStale is the age at which the set is not used any more. Until then, an
	// endpoint that cannot be reached, or answers something else than a set,
	// changes nothing. It is longer than RefreshAfter. Zero means 6 hours.
	MaxStale time.Duration

	// MissInterval is the shortest time between two fetches that are made because
	// tokens name keys that are not in the set. Zero means 5 seconds.
	MissInterval time.Duration

	// MaxBytes limits the length of the document, in bytes. Zero means 524288.
	MaxBytes int64

	// RSAAlgorithm is the algorithm of RSA keys that do not name theirs in
	// "alg". Empty means RS256.
	RSAAlgorithm string

	// InsecureAllowHTTP allows a URL with the scheme http. Who can change what
	// passes on that way can sign tokens.
	InsecureAllowHTTP bool

	// Logger is told of each failed fetch. Nil means that nobody is.
	Logger *slog.Logger
}

const defaultMaxBytes = 512 << 10

// JWKS returns a source that fetches the JWK Set (RFC 7517, Section 5) of an
// issuer from a URL, with the algorithms of [PublicKeys]. Nothing is fetched
// before the first token. Mistakes in the arguments are reported by [New].
//
// Of a set count the public keys for signatures, with RSA keys of 2048 to 8192
// bits. A key is for the algorithm that its "alg" names, or else for that of its
// curve (EdDSA for Ed25519), or RSAAlgorithm. Other keys are left out. A set of which nothing is
// left, and one of more than 256 keys, is treated like a failed fetch.
//
// A token is verified with the key that its "kid" names. One without a kid is
// accepted only when a single key of the set is for its algorithm. A kid that is
// not in the set causes a fetch, one for all requests that wait for it, and no
// more than one in MissInterval; a kid that was not found is not asked for again at
// once. Requests never wait for a fetch that is not due: beyond the limit,
// unknown keys are answered with AUTH_TOKEN_KEY_UNKNOWN, and while the endpoint
// is failing with AUTH_KEYS_UNAVAILABLE. Requests with known keys do not wait at
// all. A bad signature never causes a fetch.
func JWKS(rawURL string, options JWKSOptions) KeySource {
	return newJWKS(rawURL, options)
}

func newJWKS(rawURL string, options JWKSOptions) *jwks {
	s := &jwks{options: options, absent: map[string]time.Time{}}
	s.err = s.configure(rawURL)
	return s
}

type jwks struct {
	options JWKSOptions
	url     string // of the set, or of the issuer
	issuer  string // whose metadata say where the set is; "" where url does
	getter
	err error // mistakes in the configuration

	state atomic.Pointer[jwksState]

	mu       sync.Mutex
	flight   *flight              // nil when none is under way
	failures int                  // since the last success
	retryAt  time.Time            // after failures, no fetch starts before
	failure  error                // the last failure; nil after a success
	missAt   time.Time            // no fetch for a missing kid starts before
	absent   map[string]time.Time // kids that a fetch did not bring, and until when that is believed
}

// jwksState is a set with its age. A refresh that brings the same document
// changes the age alone.
type jwksState struct {
	set       *keySet
	document  string
	url       string    // where it is from
	etag      string    // "" for none
	fetchedAt time.Time // when the fetch began
	refreshAt time.Time // the earliest time for the next one
	staleAt   time.Time // when it is too old to be used
}

// A flight is one fetch, on nobody's context: who waits for it may leave.
type flight struct {
	done chan struct{} // closed when set and err are there
	set  *keySet
	err  error
}

// maxAbsent limits the number of kids that are remembered as absent.
const maxAbsent = 1024

// leastRefresh is the shortest time after which an endpoint can ask to be asked
// again.
const leastRefresh = time.Minute

// The wait after failed fetches: the first, doubled each time, up to the last.
const (
	firstRetry = time.Second
	lastRetry  = 16 * time.Second
)

func (s *jwks) configure(rawURL string) error {
	o := &s.options
	var mistakes []error
	mistake := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("JWKS: "+format, args...))
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"Timeout", &o.Timeout, 5 * time.Second},
		{"RefreshAfter", &o.RefreshAfter, 15 * time.Minute},
		{"MaxStale", &o.MaxStale, 6 * time.Hour},
		{"MissInterval", &o.MissInterval, 5 * time.Second},
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
	o.MaxBytes = cmp.Or(o.MaxBytes, defaultMaxBytes)
	o.RSAAlgorithm = cmp.Or(o.RSAAlgorithm, "RS256")
	if _, err := jwa.Choose(o.RSAAlgorithm, jwa.RSA...); err != nil {
		mistake("RSAAlgorithm: %w", err)
	}
	if err := judgeURL(rawURL, o.InsecureAllowHTTP); err != nil {
		mistake("%w", err)
	}
	s.url = rawURL
	s.getter = getter{newClient(o.Client), o.MaxBytes}
	return errors.Join(mistakes...)
}

// judgeURL refuses URLs that nothing is fetched from. They may hold anything, so
// they are not shown.
func judgeURL(rawURL string, allowHTTP bool) error {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the URL is not one of https")
	case u.User != nil || u.Fragment != "":
		return errors.New("the URL has a user or a fragment")
	case u.Scheme == "http" && !allowHTTP:
		return errors.New("the URL is not one of https, and InsecureAllowHTTP is not set")
	}
	return nil
}

func (s *jwks) check() error { return s.err }

func (s *jwks) allows(alg *algorithm) bool { return alg.public() }

func (s *jwks) snapshot(now time.Time) *keySet {
	state := s.usable(now)
	if state == nil {
		return nil
	}
	if !now.Before(state.refreshAt) {
		s.mu.Lock()
		if s.flight == nil && !now.Before(s.retryAt) && s.state.Load() == state {
			s.start(now, "")
		}
		s.mu.Unlock()
	}
	return state.set
}

// usable returns the last good state unless it is too old.
func (s *jwks) usable(now time.Time) *jwksState {
	state := s.state.Load()
	if state == nil || state.tooOld(now) {
		return nil
	}
	return state
}

func (s *jwksState) tooOld(now time.Time) bool { return !now.Before(s.staleAt) }

func (s *jwks) lookup(ctx context.Context, now time.Time, kid string) (*keySet, error) {
	began := time.Now()
	for waited := false; ; waited = true {
		now := now.Add(time.Since(began))
		set, f, own, err := s.decide(now, kid)
		if f == nil {
			return set, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, &jwterrors.Error{Reason: jwterrors.KeysUnavailable, Err: context.Cause(ctx)}
		}
		// A fetch that had begun before this request came may be too old to
		// have brought its key. One more is tried then, if it is allowed.
		if f.err == nil && !f.set.has(kid) && !own && !waited {
			continue
		}
		if f.err == nil {
			return f.set, nil
		}
		s.mu.Lock()
		err = s.unavailable(now)
		s.mu.Unlock()
		return nil, err
	}
}

func (s *jwks) inspect(now time.Time) KeyState {
	s.mu.Lock()
	state := KeyState{Err: s.failure}
	s.mu.Unlock()
	if last := s.state.Load(); last != nil {
		state.FetchedAt = last.fetchedAt
		state.Stale = last.tooOld(now)
		if !state.Stale {
			state.Keys = len(last.set.keys)
		}
	}
	return state
}

// decide returns the keys, or a fetch to wait for and whether it was started
// here, or why there are no keys and none can be had.
func (s *jwks) decide(now time.Time, kid string) (set *keySet, f *flight, own bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.usable(now)
	miss := state != nil
	if miss && (state.set.has(kid) || now.Before(s.absent[kid])) {
		return state.set, nil, false, nil
	}
	switch {
	case s.flight != nil:
		return nil, s.flight, false, nil
	case now.Before(s.retryAt):
		return nil, nil, false, s.unavailable(now)
	case miss && now.Before(s.missAt):
		return state.set, nil, false, nil
	case miss:
		s.missAt = now.Add(s.options.MissInterval)
		return nil, s.start(now, kid), true, nil
	default:
		return nil, s.start(now, kid), true, nil
	}
}

// unavailable says when to come again. The caller holds the lock.
func (s *jwks) unavailable(now time.Time) error {
	return &jwterrors.Error{
		Reason: jwterrors.KeysUnavailable, Err: s.failure,
		RetryAfter: max(s.retryAt.Sub(now), time.Second),
	}
}

// start begins a fetch for a token that needs the key called missing, or, where
// that is empty, for none in particular. The caller holds the lock.
func (s *jwks) start(now time.Time, missing string) *flight {
	f := &flight{done: make(chan struct{}), err: errors.New("the fetch was ended")}
	s.flight = f
	began := time.Now()
	go func() {
		var got fetched
		err := f.err // stays when the client panics or exits
		defer func() {
			if v := recover(); v != nil {
				err = errors.New("the HTTP client panicked")
			}
			s.finish(f, now, now.Add(time.Since(began)), got, err, missing)
		}()
		got, err = s.fetch(s.state.Load())
	}()
	return f
}

// finish publishes the outcome of a fetch.
func (s *jwks) finish(f *flight, began, now time.Time, got fetched, err error, missing string) {
	if err != nil && s.options.Logger != nil {
		s.options.Logger.Warn("middleware: fetch the JWK Set", "host", host(s.url), "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	s.flight, s.failure, f.err = nil, err, err
	last := s.state.Load()
	if err != nil {
		s.retryAt = now.Add(min(firstRetry<<min(s.failures, 10), lastRetry))
		s.failures++
		if last != nil {
			later := *last
			later.refreshAt = s.retryAt // so nobody waits for a step to pass
			s.state.Store(&later)
		}
		return
	}
	s.failures = 0
	s.retryAt = time.Time{}
	if last != nil && last.document == got.document {
		got.set = last.set
	}
	after := s.options.RefreshAfter
	if got.maxAge >= 0 {
		after = min(after, max(got.maxAge, leastRefresh))
	}
	early := time.Duration(rand.Int64N(int64(after)/10 + 1))
	s.state.Store(&jwksState{got.set, got.document, got.url, got.etag, began, began.Add(after - early), began.Add(s.options.MaxStale)})
	f.set = got.set
	if !got.set.has(missing) {
		s.remember(missing, now)
	}
}

// remember notes that kid was not found. The caller holds the lock.
func (s *jwks) remember(kid string, now time.Time) {
	if len(s.absent) >= maxAbsent {
		for k, until := range s.absent {
			if !now.Before(until) {
				delete(s.absent, k)
			}
		}
		if len(s.absent) >= maxAbsent {
			clear(s.absent)
		}
	}
	s.absent[kid] = now.Add(4 * s.options.MissInterval)
}
