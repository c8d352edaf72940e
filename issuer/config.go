package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Defaults of Config.
const (
	defaultPrefix     = "/auth"
	defaultClientID   = "default"
	DefaultAccessTTL  = 15 * time.Minute
	DefaultRefreshTTL = 30 * 24 * time.Hour
	DefaultGrace      = 30 * time.Second
)

// maxAccessTTL is the bound of the lifetime of an access token, which must be
// less than it: one year of 365 days.
const maxAccessTTL = 365 * 24 * time.Hour

// maxGrace is the longest Grace: more than a client waits for an answer before it
// repeats a request.
const maxGrace = 5 * time.Minute

// MaxLoginTime is the longest that a login may take, Authenticate included. A
// Store remembers for twice as long that a user was revoked, so that a login
// that was in flight then does not survive it.
const MaxLoginTime = 5 * time.Minute

// NoGrace is the Grace of strict mode: a rotated refresh token is replay at
// once, unless its retry key comes with it. A client that sends no key loses its
// session with the first answer that gets lost.
const NoGrace = time.Duration(-1)

// A Config describes an Issuer. Issuer, Audience, Keys, MasterKeys, Store and, unless
// Routes.Login is RouteOff, Authenticate are required. After them come how long things
// live, users and their sessions, revocation, the routes, browsers, OAuth clients, proof
// of possession, limits, and what the operator sees.
type Config struct {
	// Issuer is the claim "iss": an https URL without query and fragment
	// (RFC 8414, Section 2), or an http URL of a loopback address. Verifiers
	// compare it byte by byte: host and scheme are in lower case, and nothing
	// in it is escaped.
	Issuer string

	// Audience is the claim "aud" (RFC 7519, Section 4.1.3).
	Audience []string

	// Keys signs access tokens.
	Keys *KeyRing

	// MasterKeys derive refresh tokens, the first one new ones. All processes
	// that share a Store share these. To change them, append a new key in every
	// process; when all have it, move it to the front in every process. Drop
	// the old one RefreshTTL and Grace after that. Or drop it when Grace has
	// passed since no live session has it as its KeyID any more, which a Store
	// that is a KeyCounter tells: each rotation moves a session to the first
	// key, so those that are used leave it within AccessTTL or so. Then a late
	// retry or a replay of a token under it is refused as invalid. A process
	// that lacks the key of a live session answers StoreUnavailable, so that
	// the client tries again.
	MasterKeys []MasterKey

	// Store keeps the sessions.
	Store Store

	// Authenticate says who the user of the credentials is. It returns
	// jwterrors.CredentialsInvalid for every kind of wrong, so that nobody
	// learns which accounts exist, and takes as long for each; another reason,
	// such as RateLimited, is answered as it is, and an error without a
	// reason as StoreUnavailable. It runs for every login, concurrently, and
	// its context ends after MaxLoginTime. It may be nil where Routes.Login is
	// RouteOff.
	Authenticate func(ctx context.Context, c Credentials) (User, error)

	// AccessTTL is the lifetime of an access token, in whole seconds, and less
	// than a year. Zero means 15 minutes. Who lowers one that is longer than
	// an hour must know that a denial may then end before a token of the old
	// lifetime does: denials last for the new one, or an hour, if longer.
	AccessTTL time.Duration

	// RefreshTTL is the lifetime of a session, however often it is refreshed.
	// It must be longer than AccessTTL. Zero means 30 days.
	RefreshTTL time.Duration

	// IdleTTL ends a session whose refresh token was not rotated for so long.
	// A rotation alone puts this end off, not the repetition of a refresh, and
	// no access token outlives it. It must be longer than AccessTTL and Grace
	// together, since within Grace a refresh rotates nothing. Zero means that
	// only RefreshTTL ends it.
	IdleTTL time.Duration

	// Grace is how long after a rotation the old refresh token is answered
	// with the new one, and the new one not rotated again: for concurrent and
	// repeated requests. In that time a stolen token goes unnoticed, so it is
	// five minutes at most; what comes later has the retry key. Zero means 30
	// seconds; NoGrace is strict mode.
	Grace time.Duration

	// Reload is asked at every refresh who the user of a session is by now. An
	// error with the reason SessionRevoked, CredentialsInvalid or
	// TokenUserKeyInvalid means that the user may not go on, and revokes the
	// session; any other error is answered with 503 and changes nothing. A User
	// with another ID is a TokenGenerationError and changes nothing either. The
	// Session comes without Seed and RetryHash. Nil means that a session goes on
	// as its login began it.
	Reload func(ctx context.Context, s Session) (User, error)

	// Register adds a user: POST /signup, which there is only with it. See
	// Registration for what it is given and may return. Nil means that nobody
	// signs up.
	Register func(ctx context.Context, r Registration) (User, error)

	// Claims are the names of the claims that are signed, of those in
	// User.Claims. What is not listed is not stored either, and of a session
	// that began when it was listed, not signed any more. Names that the
	// issuer sets itself are refused, in any case. Nil means none.
	Claims []string

	// SingleSession lets a login end the user's other sessions: of several
	// logins at once the session of one is left. A login that fails leaves
	// the old session or, when the answer of the Store or the Denylist got
	// lost, the new one, of which the client has no token; never both.
	SingleSession bool

	// BindDevice binds a session to the device that its login named, in the member
	// "device" (RFC 9700, Section 2.2.2, asks for a stronger binding, which DPoP
	// is): a login without one is refused, and a refresh that does not name the same
	// one, in that member or, at /token, in the parameter "device", is a
	// RefreshTokenInvalid that changes nothing. A session that began without
	// one, before this was set, is bound to none. The device is no secret of
	// this issuer's: who steals it with the token is not kept out.
	BindDevice bool

	// InsecureNoRotation lets a refresh answer the refresh token that it was
	// sent, for clients that cannot store another one. A stolen token then
	// works beside its owner's until the session ends, and nobody notices
	// (RFC 9700, Section 2.2.2). IdleTTL cannot be had with it. Clients with a
	// key or a secret need it not: see BoundSessions.
	InsecureNoRotation bool

	// Denylist is told of sessions whose access tokens must die before they
	// expire. Nil means that they live on until then.
	Denylist Denier

	// StatusList is published for verifiers that have no part in the Denylist, at
	// GET <Prefix>/status-list, and each access token names its entry there. It is
	// told of all that the Denylist is told of. Several Issuers can have one. It
	// takes the name "status" from Claims. Nil means that there is none.
	StatusList *StatusList

	// Prefix is the path that the Issuer is mounted at, as in
	// mux.Handle("/auth/", iss): absolute, clean, without a slash at its end
	// and without anything to escape. "/" is the root of the host, where the
	// Issuer is mounted at "/" or at each of its routes. Zero means "/auth".
	Prefix string

	// PublicURL is the URL that clients know Prefix by, for the metadata and the
	// "htu" of proofs. Zero means Prefix at the host of Issuer.
	PublicURL string

	// ClientID is the claim "client_id" of sessions that begin at /login.
	// Zero means "default".
	ClientID string

	// Routes are the paths of the JSON routes, and Names those of the members
	// of their requests. Zero means the ones in the package documentation.
	Routes Routes
	Names  Names

	// Encode returns what a login, a signup or a refresh answers, for
	// encoding/json: a struct with names of the caller's own, for example. route
	// is "login", "signup" or "refresh". It must be safe for concurrent use. New
	// calls it with tokens that nobody has, and refuses one that leaves out what a
	// client cannot do without. What cannot be marshalled later is answered as a
	// TokenGenerationError, when the refresh token has been rotated: a repetition
	// within Grace, or with the retry key, gets the same tokens. Nil means the
	// Tokens themselves. Refusals have Respond.
	Encode func(route string, t Tokens) any

	// Respond answers refused requests. An err that is a *jwterrors.Error with
	// a Status of 403, 404, 405, 413 or 415 is to be answered with it, every other
	// one with the status of its reason. Nil means a jwterrors.Responder, which
	// does so.
	Respond func(w http.ResponseWriter, r *http.Request, err error)

	// Cookie is the name of the cookie that keeps the refresh token in
	// browsers, which begins with "__Host-": DefaultCookie, for example. Then
	// all answers have it there and not in the body, and requests of other
	// origins are refused: see the package documentation. Zero means that
	// there is no cookie.
	Cookie string

	// Origins are the origins whose pages may send requests and read answers
	// (CORS), besides that of the issuer itself: https origins as browsers
	// write them, or http ones of a loopback host. With Cookie they may send
	// it, and must be of the same site as the issuer for it to come (RFC
	// 6265bis, Section 5.2). Zero means none.
	Origins []string

	// Clients are the registered clients of the OAuth endpoints, and LookupClient
	// finds those that are not among them: it returns ErrNoClient for an
	// unknown one, and is called concurrently. A Client that it returns is
	// checked like the others, and one with a mistake in it is logged and
	// answered with 503. Without both there are no such endpoints. They
	// answer in the form of RFC 6749, Section 5.2, whatever Respond is.
	Clients      []Client
	LookupClient func(ctx context.Context, id string) (Client, error)

	// Grants are the grant types that POST /token answers: GrantRefreshToken,
	// GrantClientCredentials, GrantAuthorizationCode. Nil means that there is
	// no POST /token and no metadata (RFC 8414).
	Grants []string

	// Revocation is whether there is POST /revoke (RFC 7009), and
	// Introspection whether there is POST /introspect (RFC 7662). Tokens of
	// client_credentials belong to no session, so that Revocation of them
	// needs a Denylist; Introspection asks a Denylist that is a DenialReader.
	Revocation, Introspection bool

	// AuthorizationEndpoint is the URL of the caller's own page that logs a
	// user in, asks for consent and calls GrantCode; GrantAuthorizationCode
	// requires it.
	AuthorizationEndpoint string

	// ScopesSupported is for the metadata alone (RFC 8414, Section 2).
	ScopesSupported []string

	// DPoP lets clients bind their tokens to a key (RFC 9449). Nil means that
	// proofs are not looked at: the "token_type" of the answer tells clients.
	// Sessions that were bound before are refused then.
	DPoP *DPoP

	// ClientCertificate returns the certificate that the client of a request
	// has proven to hold in its TLS handshake, as DER, or nil where there is
	// none: for a service behind a proxy, such as a CertificateHeader of the
	// package middleware. An error without a reason is a ProofInvalid. It matters
	// for clients that are CertificateBound, and runs concurrently. Nil means
	// that of the connection, which the tls.Config must ask for:
	// RequestClientCert will do, since the certificate names nobody here (RFC
	// 8705, Section 3).
	ClientCertificate func(*http.Request) ([]byte, error)

	// BoundSessions says how the refresh tokens rotate that a thief could not
	// use (RFC 9700, Section 2.2.2): of sessions that are bound to a key or a
	// certificate, which has just been proven, and of clients with a secret,
	// which have just authenticated. Zero means as all others.
	BoundSessions BoundRotation

	// Limits say how often one may try to log in. Zero means the defaults.
	Limits Limits

	// ClientAddress returns the address that a request comes from, for Limits,
	// sessions and events; the zero Addr when it is not known, and then no
	// limit by address holds. It runs for every request, concurrently. Nil
	// means RemoteAddr: behind a proxy that is the proxy's, and all its
	// clients together have the budget of one address. See TrustedProxies.
	ClientAddress func(*http.Request) netip.Addr

	// OnEvent is called for every Event, in the goroutine of the request,
	// before it is answered: it must return at once. An EventQueue calls
	// another function off the request path. A panic in it is logged and
	// changes nothing. Nil means none.
	OnEvent func(Event)

	// TellAccounts lets events of refused logins have an Account.
	TellAccounts bool

	// Logger gets a record for what the operator should know: stores that do
	// not answer, replays, lost writes. Nil means slog.Default.
	Logger *slog.Logger

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// A Denier is told which access tokens must be refused although they have not
// expired. Verifiers ask what it was told. It must be safe for concurrent use.
type Denier interface {
	// DenySession denies all access tokens of a session until then.
	DenySession(ctx context.Context, sid string, until time.Time) error
	// DenyToken denies the access token with the id jti until then.
	DenyToken(ctx context.Context, jti string, until time.Time) error
	// DenySubject denies until then the access tokens of subject that were
	// issued before issuedBefore. Issue times have whole seconds: a token of
	// the same second counts as issued before.
	DenySubject(ctx context.Context, subject string, issuedBefore, until time.Time) error
}

// A Mirror is a copy of a list of denials, in the memory of a process that
// verifies tokens: the Denylist of the package middleware is one. A feed of
// the engine that holds the list tells it what was denied, here and elsewhere.
// It must be safe for concurrent use.
type Mirror interface {
	Denier
	// Synced tells that all that was denied before the time given is there.
	Synced(at time.Time)
}

// New checks c and returns its Issuer, or all the mistakes in c at once. It
// starts nothing.
func New(c Config) (*Issuer, error) {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("issuer: "+format, args...))
	}

	if err := checkIssuer(c.Issuer); err != nil {
		wrong("Issuer %q: %w", withoutUser(c.Issuer), err)
	}
	if len(c.Audience) == 0 || slices.Contains(c.Audience, "") {
		wrong("Audience is required, and must not hold an empty string")
	}
	if c.Keys == nil {
		wrong("Keys is required; NewKeyRing makes them")
	}
	masters, err := newMasterKeys(c.MasterKeys)
	if err != nil {
		wrong("%w", err)
	}
	if c.Store == nil {
		wrong("Store is required; NewMemoryStore keeps sessions until the process ends")
	}
	if c.Authenticate == nil && c.Routes.Login != RouteOff {
		wrong("Authenticate is required; it says whether a password is right")
	}

	c.Prefix = orDefault(c.Prefix, defaultPrefix)
	if c.Prefix == "/" {
		c.Prefix = ""
	} else if !isPath(c.Prefix) {
		wrong("Prefix %q is not a path like /auth: absolute, clean, with no slash at its end and nothing to escape", c.Prefix)
	}
	c.ClientID = orDefault(c.ClientID, defaultClientID)
	c.AccessTTL = orDefault(c.AccessTTL, DefaultAccessTTL)
	c.RefreshTTL = orDefault(c.RefreshTTL, DefaultRefreshTTL)
	switch {
	case c.AccessTTL < time.Second || c.AccessTTL%time.Second != 0:
		wrong("AccessTTL is %v; it is a whole number of seconds", c.AccessTTL)
	case c.AccessTTL >= maxAccessTTL:
		wrong("AccessTTL is %v; it must be less than a year", c.AccessTTL)
	}
	if c.RefreshTTL <= c.AccessTTL {
		wrong("RefreshTTL, %v, must be longer than AccessTTL, %v", c.RefreshTTL, c.AccessTTL)
	}
	if c.Keys != nil && c.Keys.retireAfter <= c.AccessTTL+c.Keys.leeway {
		wrong("the key ring retires keys after %v, when tokens of %v may still be alive, with a leeway of %v", c.Keys.retireAfter, c.AccessTTL, c.Keys.leeway)
	}
	switch {
	case c.Grace == NoGrace:
		c.Grace = 0
	case c.Grace == 0:
		c.Grace = DefaultGrace
	case c.Grace < 0:
		wrong("Grace is %v; use NoGrace for strict mode", c.Grace)
	case c.Grace > maxGrace:
		wrong("Grace is %v; it is at most %v", c.Grace, maxGrace)
	}
	if c.IdleTTL != 0 && c.IdleTTL <= c.AccessTTL+c.Grace {
		wrong("IdleTTL, %v, must be longer than AccessTTL and Grace together, %v", c.IdleTTL, c.AccessTTL+c.Grace)
	}
	renamed, errs := c.Names.renamed()
	routes, more := c.Routes.withDefaults(c.Register != nil)
	var besides []string
	if c.StatusList != nil {
		besides = []string{"status"}
	}
	errs = append(append(errs, more...), checkClaims(c.Claims, besides...)...)
	if c.Encode != nil {
		errs = append(errs, checkEncode(c.Encode, c.Cookie == "", !c.InsecureNoRotation)...)
	}
	if c.IdleTTL != 0 && c.InsecureNoRotation {
		wrong("IdleTTL is put off by rotations, and InsecureNoRotation has none")
	}
	switch b := c.BoundSessions; {
	case b != "" && b != NoRotation && b != AnyRetry:
		wrong("BoundSessions is %q, and can be NoRotation or AnyRetry", b)
	case b == NoRotation && c.IdleTTL != 0:
		wrong("IdleTTL is put off by rotations, and BoundSessions of NoRotation have none")
	case b != "" && c.InsecureNoRotation:
		wrong("BoundSessions is %s, and InsecureNoRotation is for all sessions", b)
	}
	mistakes = append(mistakes, errs...)
	c.Routes, c.Claims = routes, slices.Clone(c.Claims)
	oauth, errs := newOAuth(&c)
	for _, err := range errs {
		wrong("%w", err)
	}
	if c.Respond == nil {
		c.Respond = c.responder().Respond
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}

	limits, errs := c.Limits.withDefaults(c.Now)
	c.Limits = limits
	b, more := newBrowser(c.Cookie, c.Origins)
	mistakes = append(append(mistakes, errs...), more...)
	proofs, errs := newChecker(c.DPoP, c.publicURL(), c.Now)
	mistakes = append(mistakes, errs...)

	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	c.Clients = nil    // oauth has digests
	c.MasterKeys = nil // masters has copies; nothing else needs them
	if c.DPoP != nil {
		c.DPoP = &DPoP{Required: c.DPoP.Required} // proofs has the rest
	}
	i := &Issuer{c: c, masters: masters, claims: firstClaims(c.Issuer, c.Audience), renamed: renamed, browser: b, oauth: oauth, proofs: proofs}
	i.status, i.denier = newStatusPublisher(&c, c.publicURL()), newDenier(&c)
	i.routes()
	return i, nil
}

// responder returns what answers refused requests, and offers DPoP where it is taken
// (RFC 9449, Section 7.1).
func (c *Config) responder() jwterrors.Responder {
	if c.DPoP == nil {
		return jwterrors.Responder{}
	}
	return jwterrors.Responder{DPoPAlgorithms: strings.Join(c.DPoP.algorithms(), " "), DPoPRequired: c.DPoP.Required}
}

// publicURL returns the URL that clients know Prefix by, if c is in order.
func (c *Config) publicURL() string {
	u, err := url.Parse(c.Issuer)
	if c.PublicURL != "" || err != nil {
		return c.PublicURL
	}
	return u.Scheme + "://" + u.Host + c.Prefix
}

// checkIssuer takes one spelling of an issuer, since verifiers compare strings.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return errors.New("it is required")
	case err != nil || u.User != nil || strings.ContainsAny(s, "?#"):
		return errors.New("it is not a URL without user, query and fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("it does not begin with https://, and is no loopback address, which alone may have http")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it is not a URL that begins with https://")
	case u.Hostname() == "":
		return errors.New("it has no host")
	case u.String() != s || strings.Contains(s, "%") || strings.ToLower(u.Host) != u.Host || !isPort(u) || !isPath("/x"+strings.TrimSuffix(u.Path, "/")):
		return errors.New("it is not a URL in its plain form: lower case, no escapes, no dot segments")
	}
	return nil
}

// withoutUser returns the URL s without its user, who may have a password in it.
func withoutUser(s string) string {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		return "..." + s[at:]
	}
	return s
}

// isPort reports whether the port of u, if there is a colon for one, is a number.
func isPort(u *url.URL) bool {
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" && !strings.HasSuffix(u.Host, ":") || err == nil && n > 0
}

// isPath reports whether s is an absolute path, clean and without a slash at its
// end, of the characters that need no escape (RFC 3986, Section 3.3).
func isPath(s string) bool {
	return len(s) > 1 && s[0] == '/' && path.Clean(s) == s && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("/-._~!$&'()*+,;=:@", c))
	})
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
