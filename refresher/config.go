package refresher

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// NoSkew is the Skew of a client that trusts its clock.
const NoSkew = time.Duration(-1)

// NoRetries is the MaxRetries of a refresh that is tried once.
const NoRetries = -1

// Config configures a Transport. Origins is required, and so is one of AuthURL,
// Source and Push.
type Config struct {
	// AuthURL is where the issuer is mounted, for example
	// "https://id.example.com/auth": <AuthURL>/login, /refresh and /logout are
	// called. Its origin gets no access token unless it is among Origins.
	AuthURL string

	// LoginPath, RefreshPath and LogoutPath are appended to AuthURL. Empty
	// means "/login", "/refresh" and "/logout".
	LoginPath, RefreshPath, LogoutPath string

	// Origins are the only ones that ever get the access token, each as
	// "https://host" or "https://host:port".
	Origins []string

	// InsecureAllowHTTP allows plain http for AuthURL and Origins, on which
	// everybody on the way can read the tokens.
	InsecureAllowHTTP bool

	// Source gets new tokens. Nil means <AuthURL>/refresh.
	Source Source

	// Push means that nobody is asked for tokens: when they are needed,
	// OnFailure is told, and requests wait, as long as their contexts allow,
	// for SetTokens. It excludes Source.
	Push bool

	// Base sends the requests. Nil means http.DefaultTransport. What it does
	// with proxies, HTTP/2 and certificates is its own business.
	Base http.RoundTripper

	// Store keeps the tokens. Nil means a MemoryStore.
	Store Store

	// RefreshWindow is how long before its expiry a token is refreshed in the
	// background, less up to a tenth at random; never more than half of the
	// token's lifetime. Zero means 60 seconds.
	RefreshWindow time.Duration

	// Skew is how long before its expiry a token is no longer sent, since the
	// server's clock may be ahead; never more than a quarter of its lifetime.
	// Zero means 30 seconds, NoSkew means not at all.
	Skew time.Duration

	// MaxRetries is how often a failed refresh is repeated, RetryBackoff how
	// the waits in between grow, and RetryInterval the first of them. Zero
	// means 5, Exponential and 2 seconds; NoRetries means not at all. A
	// Retry-After of the server makes a wait longer.
	MaxRetries    int
	RetryBackoff  Backoff
	RetryInterval time.Duration

	// MaxRetryInterval limits each wait, Retry-After included. Zero means one
	// minute.
	MaxRetryInterval time.Duration

	// NoJitter takes the randomness out of all waits.
	NoJitter bool

	// AttemptTimeout limits one call of the issuer or the source, and
	// RefreshTimeout a refresh with all its repetitions. Zero means 15 seconds
	// and 2 minutes.
	AttemptTimeout, RefreshTimeout time.Duration

	// Pause is how long refreshing pauses after a failure that a person must
	// mend. Zero means one minute.
	Pause time.Duration

	// MaxFailures is how many generations of tokens in a row may fail before
	// nothing more is tried. Any success counts from the beginning again; new
	// tokens, a new session and Resume do, too. Zero means 10.
	MaxFailures int

	// Refusals are the answers that mean "get another token". Nil means a 401
	// of which the reason, if it gives one, can be cured by a new token.
	Refusals []Refusal

	// Codes maps codes of foreign servers to reasons.
	Codes map[string]jwterrors.Reason

	// Issuer and Audience are what the claims "iss" and "aud" of new tokens
	// must say. Empty means that they are not looked at. Nothing is verified:
	// this finds mistakes, not forgeries.
	Issuer, Audience string

	// OnFailure is told of everything that went wrong with a token or a
	// refresh, with the reason, whose token it was and when. It is for logs
	// and, in push mode, for getting a token.
	OnFailure func(*jwterrors.Error)

	// OnSessionExpired is told once for each session that the server ended:
	// the user must log in again.
	OnSessionExpired func(*jwterrors.Error)

	// OnRefresh is told of new tokens before a request uses them.
	OnRefresh func(Tokens)

	// The three are called one after the other, on a goroutine of their own.
	// They may call the Transport. One that is slow or panics holds up no
	// request; requests wait for OnRefresh for one second at the most.

	// Logger is told what a developer wants to know, at the levels Debug and
	// Warn. Nil means that nobody is.
	Logger *slog.Logger

	// Now returns the time. Nil means time.Now.
	Now func() time.Time
}

// New returns a Transport, or everything that is wrong with config. It starts
// nothing: the store is read when the first request comes.
func New(config Config) (*Transport, error) {
	var mistakes []error
	mistake := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("refresher: "+format, args...))
	}
	t := &Transport{
		base: config.Base, store: config.Store, source: config.Source, refusals: config.Refusals,
		reader: jwterrors.Reader{Codes: config.Codes},
		window: cmp.Or(config.RefreshWindow, 60*time.Second), skew: cmp.Or(config.Skew, 30*time.Second),
		maxRetries: cmp.Or(config.MaxRetries, 5), backoff: config.RetryBackoff,
		retryInterval: cmp.Or(config.RetryInterval, 2*time.Second), maxRetryInterval: cmp.Or(config.MaxRetryInterval, time.Minute),
		noJitter: config.NoJitter, pause: cmp.Or(config.Pause, time.Minute),
		attemptTimeout: cmp.Or(config.AttemptTimeout, 15*time.Second), refreshTimeout: cmp.Or(config.RefreshTimeout, 2*time.Minute),
		maxFailures: int32(cmp.Or(config.MaxFailures, 10)), maxLifetime: 365 * 24 * time.Hour,
		issuer: config.Issuer, audience: config.Audience,
		onFailure: config.OnFailure, onExpired: config.OnSessionExpired, onRefresh: config.OnRefresh,
		logger: config.Logger, now: config.Now, closed: make(chan struct{}),
	}
	if t.base == nil {
		t.base = http.DefaultTransport
	}
	if t.store == nil {
		t.store = &MemoryStore{}
	}
	if t.refusals == nil {
		t.refusals = defaultRefusals
	}
	if t.logger == nil {
		t.logger = slog.New(slog.DiscardHandler)
	}
	if t.now == nil {
		t.now = time.Now
	}
	t.events.logger = t.logger

	if len(config.Origins) == 0 {
		mistake("Origins is empty, so that no request would get a token")
	}
	for _, s := range config.Origins {
		o, err := parseOrigin(s, config.InsecureAllowHTTP)
		if err != nil {
			mistake("origin %q: %w", shown(s), err)
		}
		t.origins = append(t.origins, o)
	}
	t.endpoint = &endpoint{base: t.base, reader: t.reader, now: t.now, timeout: t.attemptTimeout}
	if config.AuthURL != "" {
		if _, err := parseURL(config.AuthURL, config.InsecureAllowHTTP); err != nil {
			mistake("AuthURL %q: %w", shown(config.AuthURL), err)
		}
		for _, path := range []struct {
			target     *string
			name, zero string
		}{
			{&t.endpoint.login, config.LoginPath, "/login"},
			{&t.endpoint.refresh, config.RefreshPath, "/refresh"},
			{&t.endpoint.logout, config.LogoutPath, "/logout"},
		} {
			name := cmp.Or(path.name, path.zero)
			if !strings.HasPrefix(name, "/") || strings.ContainsAny(name, "?#") {
				mistake("path %q does not begin with a slash, or is more than a path", name)
			}
			*path.target = strings.TrimSuffix(config.AuthURL, "/") + name
		}
	}
	switch {
	case config.Push && config.Source != nil:
		mistake("Push and Source exclude one another")
	case config.Push || config.Source != nil:
	case config.AuthURL == "":
		mistake("one of AuthURL, Source and Push is needed to get tokens from")
	default:
		t.source = t.endpoint
	}

	if config.Skew == NoSkew {
		t.skew = 0
	}
	if config.MaxRetries == NoRetries {
		t.maxRetries = 0
	}
	for name, d := range map[string]time.Duration{
		"RefreshWindow": t.window, "Skew": t.skew, "RetryInterval": t.retryInterval, "MaxRetryInterval": t.maxRetryInterval,
		"AttemptTimeout": t.attemptTimeout, "RefreshTimeout": t.refreshTimeout, "Pause": t.pause,
		"MaxRetries": time.Duration(t.maxRetries), "MaxFailures": time.Duration(t.maxFailures),
	} {
		if d < 0 {
			mistake("%s is negative", name)
		}
	}
	if t.backoff != Exponential && t.backoff != Linear {
		mistake("RetryBackoff is neither Exponential nor Linear")
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	sess := newSession(0, Identity{})
	t.state.Store(&state{status: unloaded, session: sess, gen: &generation{}})
	return t, nil
}

// shown hides what a URL may hold beside its host.
func shown(s string) string {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		s = s[at+1:]
	}
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	return s
}
