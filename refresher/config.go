package refresher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Values for fields of Config in which zero means the default.
const (
	NoRefreshWindow time.Duration = -1 // RefreshWindow: refresh when the token has expired
	NoSkew          time.Duration = -1 // Skew: trust the clock
	NoMaxLifetime   time.Duration = -1 // MaxLifetime: any lifetime will do
	NoRetries                     = -1 // MaxRetries: try once
)

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

	// Requests and Answers are the names of members in the JSON that the
	// issuer at AuthURL is sent and answers with. Empty names mean those of
	// the package issuer.
	Requests RequestNames
	Answers  AnswerNames

	// Origins are the only ones that ever get the access token, each as
	// "https://host" or "https://host:port".
	Origins []string

	// InsecureAllowHTTP allows plain http for AuthURL and Origins, on which
	// everybody on the way can read the tokens.
	InsecureAllowHTTP bool

	// ExpectContinue makes requests whose body cannot be read twice (it is
	// neither empty nor has a GetBody) ask before they send it, with "Expect:
	// 100-continue" (RFC 9110, Section 10.1.1). Then a server can refuse the
	// token first, and the request is sent once more. A request that has that
	// header by itself gets as much without the option. The base transport
	// must know it: http.DefaultTransport waits for one second at the most, an
	// http.Transport with a zero ExpectContinueTimeout not at all.
	ExpectContinue bool

	// OnlyOrigins makes requests to other origins fail with
	// AUTH_HOST_NOT_ALLOWED. Without it they are sent, without a token.
	OnlyOrigins bool

	// Source gets new tokens: an OAuth, ClientCredentials, a Fetcher, an
	// AuthHandler or one of the caller's own. Nil means <AuthURL>/refresh,
	// unless Push is set.
	Source Source

	// Unattended means that Source needs neither a user nor a refresh token,
	// so that there is a session without a login: the first request asks
	// Source, and so does one that finds the store empty. After Logout,
	// Identify with the zero Identity begins another. ClientCredentials are
	// always unattended.
	Unattended bool

	// Push means that nobody is asked for tokens: when they are needed,
	// OnFailure is told, and requests wait, as long as their contexts allow,
	// for SetTokens. It excludes Source.
	Push bool

	// Base sends the requests. Nil means http.DefaultTransport. What it does
	// with proxies, HTTP/2 and certificates is its own business.
	Base http.RoundTripper

	// Store keeps the tokens: a MemoryStore, a FileStore, a SplitStore, that
	// of the module refresher/keyring or one of the caller's own. Nil means a
	// MemoryStore. It is read when the first request comes, or by Restore.
	Store Store

	// Logouts keeps the logouts that the issuer could not be told of. Nil means
	// that they are kept for as long as the process lives; a FileLogouts keeps
	// them longer. Either holds 256, and the oldest gives way, if it can be
	// deleted. A logout is given up a day after its refresh token has expired, or
	// 90 days after the logout where that is not known, and OnFailure is told.
	Logouts LogoutQueue

	// RefreshWindow is how long before its expiry a token is refreshed in the
	// background, less up to a tenth at random; never more than half of the
	// token's lifetime. Zero means 60 seconds, NoRefreshWindow means that it
	// is refreshed when it has expired or was refused.
	RefreshWindow time.Duration

	// Skew is how long before its expiry a token is no longer sent, since the
	// server's clock may be ahead; never more than a quarter of its lifetime.
	// Zero means 30 seconds, NoSkew means not at all.
	Skew time.Duration

	// MaxLifetime is how long a JWT may be valid, from "iat" to "exp": one
	// that is valid for that long or longer is refused. Zero means 365 days,
	// NoMaxLifetime means no limit.
	MaxLifetime time.Duration

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

	// MaxFailures is how many generations of tokens in a row may be refused
	// before nobody is asked for new ones any more and requests that need one
	// fail with AUTH_PAUSED. OnFailure is told of the pause and, until it is
	// over, of no more refusals. An answer of 2xx or 3xx, a new session and
	// Resume end it; tokens from SetTokens are tried, but count on. Outages
	// do not count. Zero means 10.
	MaxFailures int

	// Refusals are the answers that mean "get another token". Nil means a 401
	// of which the reason, if it gives one, can be cured by a new token.
	Refusals []Refusal

	// Codes maps codes in the answers of foreign servers, the issuer's and the
	// API's, to reasons. See jwterrors.Codes.
	Codes jwterrors.Codes

	// Issuer and Audience are what the claims "iss" and "aud" of new tokens
	// must say; "aud" may name others besides. Empty means that they are not looked
	// at. Without PublicKeys
	// this finds mistakes, not forgeries.
	Issuer, Audience string

	// DPoP is the key that new tokens are to be bound to (RFC 9449), so that who
	// steals them cannot use them: GenerateDPoPKey, LoadDPoPKey or NewDPoPKey. Calls
	// of the issuer carry proofs then, and so does every request that gets a
	// bound token, as "Authorization: DPoP"; a Fetcher, an AuthHandler and other
	// Sources see to their own (see DPoPKey.Transport). New tokens that are not
	// bound to it are refused with AUTH_TOKEN_TYPE_INVALID. Those that the Store
	// has from before are used until they are refreshed, so that nobody is logged
	// out. A store of bound tokens needs the same key each time: another one
	// cannot refresh them. Nil means that there are no proofs.
	DPoP *DPoPKey

	// InsecureAllowBearer accepts new tokens that are not bound to DPoP, for
	// servers that do not know DPoP yet, or not for every client. Who takes the
	// proof out of a request on its way has tokens that can be stolen.
	InsecureAllowBearer bool

	// StepUp has the user log in again, where a server asks for a stronger or more
	// recent login than the token comes from (AUTH_AUTHENTICATION_INSUFFICIENT;
	// RFC 9470): as required says, by one of its ACRValues, if there are any, and
	// within its MaxAge, if that is not zero. It puts the new tokens in use with
	// Login or SetTokens, and returns nil. Then the request is sent once more, if
	// its body can be (StepUp is not called for others) and the tokens are not
	// another user's. After an error or a panic the caller gets the 401, as it does
	// when the server asks again.
	//
	// However many requests require the same, it is called once for them, and one
	// call follows the other where they require different things, unless the new
	// token is enough. A request waits as long as its own context allows. That of
	// StepUp has the values of one of the requests and ends with Close alone, since
	// the user may be typing; what is sent with it asks for no login. Nil means that
	// the caller gets the 401, and reads it with jwterrors.FromResponse.
	StepUp func(ctx context.Context, required *jwterrors.Error) error

	// PublicKeys are those of the issuer. With them every token that comes in,
	// from the Source, the caller or the Store, must be a JWT that one of them
	// verifies; nothing is fetched for it. To rotate, list the new key beside
	// the old one. None means that nothing is verified here.
	PublicKeys []PublicKey

	// OnFailure is told of everything that went wrong with a token or a
	// refresh: the reason, whose token it was, its first characters, and
	// when. Refusals are told once for each generation of tokens. When 256
	// events wait for a slow listener, failures are dropped. What holds for all
	// listeners stands at Listeners.
	OnFailure func(*jwterrors.Error)

	// OnSessionExpired is told once for each session that the server ended:
	// the user must log in again. Logout does not call it.
	OnSessionExpired func(*jwterrors.Error)

	// OnRefresh is told of the tokens that a refresh has brought, before a
	// request uses them, unless it takes longer than a second.
	OnRefresh func(Tokens)

	// Logger is told of failures at the level Warn and of refreshes at the
	// level Debug. Nil means that nobody is.
	Logger *slog.Logger

	// Now returns the time. Nil means time.Now. It may be wrong: lifetimes
	// count from when tokens came, and where there is only an "exp" claim, how
	// far the issuer's clock is off is learnt from the Date of its answers.
	Now func() time.Time
}

// New returns a Transport, or everything that is wrong with config. It starts
// nothing.
func New(config Config) (*Transport, error) {
	var mistakes []error
	mistake := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("refresher: "+format, args...))
	}
	t := &Transport{
		base: config.Base, store: config.Store, source: config.Source, onlyOrigins: config.OnlyOrigins, expectContinue: config.ExpectContinue,
		refusals: slices.Clone(config.Refusals), codes: codes(config),
		window: cmp.Or(config.RefreshWindow, 60*time.Second), skew: cmp.Or(config.Skew, 30*time.Second),
		maxRetries: cmp.Or(config.MaxRetries, 5), backoff: cmp.Or(config.RetryBackoff, Exponential),
		retryInterval: cmp.Or(config.RetryInterval, 2*time.Second), maxRetryInterval: cmp.Or(config.MaxRetryInterval, time.Minute),
		allowBearer: config.InsecureAllowBearer, stepUp: config.StepUp, noJitter: config.NoJitter, pause: cmp.Or(config.Pause, time.Minute),
		attemptTimeout: cmp.Or(config.AttemptTimeout, attemptTimeout), refreshTimeout: cmp.Or(config.RefreshTimeout, 2*time.Minute),
		maxFailures: int32(min(cmp.Or(config.MaxFailures, 10), math.MaxInt32)), maxLifetime: cmp.Or(config.MaxLifetime, 365*24*time.Hour),
		issuer: config.Issuer, audience: config.Audience,
		logger: config.Logger, now: config.Now, closed: make(chan struct{}),
		outbox: newOutbox(config.Logouts),
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
	t.Listen(Listeners{config.OnFailure, config.OnSessionExpired, config.OnRefresh})

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
	t.endpoint = &endpoint{
		requests: config.Requests.withDefaults(), answers: config.Answers.withDefaults(),
		base: t.base, codes: t.codes, now: t.now, timeout: t.attemptTimeout, clock: new(clock),
	}
	if config.DPoP != nil && config.DPoP.key == nil {
		mistake("DPoP is no key: GenerateDPoPKey, LoadDPoPKey and NewDPoPKey make one")
	} else if config.DPoP != nil {
		t.prover = &prover{key: config.DPoP.key, base: t.base, codes: t.codes, now: t.now, clock: t.endpoint.clock}
		t.endpoint.prover = &prover{key: config.DPoP.key, base: t.base, codes: t.codes, now: t.now, clock: t.endpoint.clock}
	}
	if err := errors.Join(t.endpoint.requests.check(), t.endpoint.answers.check()); err != nil {
		mistake("%w", err)
	}
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
	if source, ok := config.Source.(bindable); ok {
		calls := *t.endpoint
		calls.answers = AnswerNames{}.withDefaults()
		bound, err := source.bind(&calls, config.InsecureAllowHTTP)
		if err != nil {
			for _, one := range each(err) {
				mistake("Source: %w", one)
			}
		}
		if source, ok := bound.(interface{ revocation() (string, revoker) }); ok {
			if to, revoke := source.revocation(); to != "" {
				t.endpoint.logout, t.endpoint.revoker = to, revoke
			}
		}
		t.source = bound
	}
	if _, ok := config.Source.(interface{ unattended() }); ok || config.Unattended {
		if t.unattended = true; config.Source == nil {
			mistake("Unattended needs a Source")
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

	switchedOff(&t.window, NoRefreshWindow)
	switchedOff(&t.skew, NoSkew)
	switchedOff(&t.maxRetries, NoRetries)
	switchedOff(&t.maxLifetime, NoMaxLifetime)
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"RefreshWindow", int64(t.window)}, {"Skew", int64(t.skew)}, {"MaxLifetime", int64(t.maxLifetime)},
		{"MaxRetries", int64(t.maxRetries)}, {"RetryInterval", int64(t.retryInterval)}, {"MaxRetryInterval", int64(t.maxRetryInterval)},
		{"AttemptTimeout", int64(t.attemptTimeout)}, {"RefreshTimeout", int64(t.refreshTimeout)},
		{"Pause", int64(t.pause)}, {"MaxFailures", int64(t.maxFailures)},
	} {
		if field.value < 0 {
			mistake("%s is negative", field.name)
		}
	}
	var err error
	if t.verifier, err = newVerifier(config.PublicKeys); err != nil {
		mistake("%w", err)
	}
	for _, r := range t.refusals {
		if r.Status < 400 || r.Status > 499 {
			mistake("a Refusal has the status %d, which is no 4xx", r.Status)
		}
	}
	if t.backoff != Exponential && t.backoff != Linear {
		mistake("RetryBackoff is neither Exponential nor Linear")
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	first := &state{status: unloaded, session: newSession(0, Identity{}), gen: &generation{}}
	if config.Store == nil {
		first = t.blank(first.session) // there is nothing to read
	}
	t.state.Store(first)
	return t, nil
}

// attemptTimeout is the default of Config.AttemptTimeout.
const attemptTimeout = 15 * time.Second

// each returns the errors that were joined to err.
func each(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	for _, one := range joined.Unwrap() {
		all = append(all, each(one)...)
	}
	return all
}

// switchedOff makes the value that means "off" a zero.
func switchedOff[T comparable](value *T, off T) {
	if *value == off {
		var zero T
		*value = zero
	}
}

// codes returns the codes that are understood: those of config.Codes, and those
// of its Refusals that nobody else knows.
func codes(config Config) jwterrors.Codes {
	all := make(jwterrors.Codes)
	for _, r := range config.Refusals {
		if r.Code != "" && !jwterrors.Reason(r.Code).Known() {
			all[r.Code] = jwterrors.TokenGenericError
		}
	}
	maps.Copy(all, config.Codes)
	return all
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
