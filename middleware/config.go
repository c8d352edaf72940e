package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Config says which tokens a Middleware accepts. Keys, Issuer and Audience are
// required, or else Resolve.
type Config struct {
	// Keys are the keys of Issuer: HS256, HS384, HS512, PublicKeys, JWKS, Discover
	// or LocalJWKS.
	Keys KeySource

	// Issuer is who must have issued a token. It is compared with "iss" (RFC
	// 7519, Section 4.1.1) byte by byte: a slash at the end counts.
	Issuer string

	// Audience lists who we are: one of these must be in "aud" (RFC 7519,
	// Section 4.1.3), byte by byte.
	Audience []string

	// Issuers are further trusted issuers, each with keys of its own.
	//
	// A token's "iss" selects the keys that it is verified with, and after that
	// is compared once more. One that names none of the issuers is verified
	// with Keys, so a forgery is told by its signature or its key, and only a
	// genuine token of Keys by its issuer, whether there are further issuers
	// or not.
	Issuers []Issuer

	// Resolve returns the issuer whose token a request must have, in place of
	// Keys, Issuer, Audience and Issuers, none of which can be set then: for
	// services with many tenants, and for secrets that belong to an API key. It
	// may look at everything in the request, which is nil for Verify, and at
	// issuer, the "iss" of the token, which is "" where there is none or where it
	// cannot be read. Nothing of that is verified: it selects one of the issuers
	// that are known, and nothing else. Who discovers whatever issuer a token
	// names trusts everybody.
	//
	// An Issuer without Keys means that there is none for the request, and refuses
	// the token with AUTH_TOKEN_KEY_UNKNOWN. An error refuses it with the error's
	// reason if it has one, and with AUTH_KEYS_UNAVAILABLE otherwise. An Issuer
	// that New would refuse does the latter, with its mistakes as the cause.
	//
	// Resolve is called once for each token that has the form of one, remembered
	// or not, so it should answer from memory; it must be safe for concurrent use.
	// It must return the same KeySource each time for one tenant: a token is
	// remembered for the KeySource that it was verified with, and a JWKS begins
	// with a fetch. "iss" and "aud" are compared with those of the Issuer each
	// time. Revocations and UserKey are those of all tenants.
	Resolve func(ctx context.Context, r *http.Request, issuer string) (Issuer, error)

	// Leeway is the difference that is tolerated between the issuer's clock and
	// ours, for "exp", "nbf" and "iat". Zero means 30 seconds, NoLeeway means
	// none. More than 5 minutes are refused by New.
	Leeway time.Duration

	// MaxLifetime is the shortest time between "iat" and "exp" that is too
	// long: a token is to live for less. Zero means 365 days.
	MaxLifetime time.Duration

	// MaxTokenBytes limits the length of a token, in bytes. A longer one is
	// refused unread. Zero means 8192. Of it, the encoded header may take 2048.
	MaxTokenBytes int

	// TokenTypes lists the accepted values of the header's "typ" (RFC 7515,
	// Section 4.1.9), where "" stands for a header without one. Case does not
	// count, and "application/" may be left out.
	//
	// Nil means "at+jwt", "JWT" and "": the type of RFC 9068, which names an
	// access token, and the two ways in which most other issuers leave it open.
	// All other types, such as "dpop+jwt" and "logout+jwt", are refused. Where
	// the type is left open, the claims are looked at, too: a token is refused
	// that says in "type", "typ", "token_type" or "token_use" that it is a
	// refresh, ID or logout token, or that has the claims of one ("at_hash",
	// "c_hash", a logout event). If all your issuers follow RFC 9068, ask for
	// []string{"at+jwt"}.
	TokenTypes []string

	// RequiredClaims are the names of claims that must be in a token and not null,
	// besides "exp" and "iat": AUTH_TOKEN_PAYLOAD_INVALID without. Nil means no
	// others. New refuses an empty name, and one that is listed twice.
	RequiredClaims []string

	// UserKey is the rule for tokens that name their user in "email" or
	// "userId". Nil means that there is none, and that either, both or neither
	// may be there.
	UserKey *UserKeyRule

	// CacheBytes is how much memory the cache of verified tokens may take, in
	// bytes. Zero means 16777216, and NoCache that there is none.
	//
	// A token that passed twice is in it, and is not verified again. Whether it
	// has expired and whether it was revoked, UserKey and Validate are looked at
	// for each request nevertheless, and it counts only as long as its issuer's
	// keys are those that it was verified with. The cache belongs to one
	// Middleware, and so to its issuers, audience and token types.
	CacheBytes int

	// ShareClaims gives all requests with a token that is in the cache the same
	// Claims. A copy for each of them, which is the default, takes about as long
	// as everything else that is done for such a token. Handlers must not change
	// the claims then: what one changes, the others see, as with all that is
	// shared in contexts. The Middleware and guards decide by claims that no
	// handler has. It cannot be had together with Validate, which may change them.
	ShareClaims bool

	// Revocations is asked whether a token was revoked. Nil means that tokens
	// are valid until they expire.
	Revocations Revocations

	// DPoP accepts tokens that are bound to a key of the client, with a proof that
	// it has the key (RFC 9449). Nil means that such tokens are refused with
	// AUTH_PROOF_INVALID. They never pass as bearer tokens, wherever they are, nor
	// in Verify, whatever is set.
	DPoP *DPoP

	// ClientCertificate returns the certificate of the client, as DER, or nil where
	// it has none: for tokens that are bound to one (RFC 8705, Section 3), behind a
	// proxy that ends TLS. Nil means that of the TLS connection. An error refuses
	// the request: with the error's reason if it has one, and with
	// AUTH_PROOF_INVALID otherwise. [CertificateHeader] makes one.
	ClientCertificate func(*http.Request) ([]byte, error)

	// StatusList is the list in which Issuer publishes what it has revoked: for
	// services that have no part in Revocations, in another organisation for
	// example. It is asked after them. Nil means that there is none.
	StatusList *StatusList

	// Validate is the caller's own check, the last one, of a token that passed
	// all others. Nil means none. An error refuses the token: with the error's
	// reason if it has one, and with AUTH_TOKEN_GENERIC_ERROR otherwise. What
	// Validate changes in the claims is what the handler gets.
	Validate func(context.Context, *Claims) error

	// TokenCookie is the name of a cookie that may hold the token, in place of
	// the Authorization header. Empty means none. Of all places that are
	// enabled with this and the next fields, exactly one may hold a token.
	//
	// A browser adds cookies to requests that other sites cause. Those with the
	// token in one are therefore refused with AUTH_REQUEST_INVALID where
	// CookieOrigins refuses them.
	TokenCookie string

	// CookieOrigins tells which cross-origin requests may have the token in a
	// cookie. Nil means none, except GET, HEAD and OPTIONS.
	CookieOrigins *http.CrossOriginProtection

	// TokenInQuery allows the token in the query parameter "access_token" of
	// GET and HEAD (RFC 6750, Section 2.3), for what can send no header. Their
	// answers get "Cache-Control: no-store, private", which the handler should
	// not take away. URLs end up in logs and histories: use it for tokens of
	// short life alone.
	TokenInQuery bool

	// TokenInForm allows the token in the parameter "access_token" of a POST
	// with the type application/x-www-form-urlencoded (RFC 6750, Section 2.2).
	// The handler can read the body as before.
	TokenInForm bool

	// MaxFormBytes limits the length of such a body, whether the token is in it
	// or not, in bytes. Zero means 65536. A longer one is refused with
	// AUTH_REQUEST_INVALID.
	MaxFormBytes int64

	// TokenFrom returns the token from another place, or "" where that is
	// empty. Nil means that there is none. An error refuses the request: with
	// the error's reason if it has one, and with AUTH_REQUEST_INVALID otherwise.
	// It may be called more than once for a request.
	TokenFrom func(*http.Request) (string, error)

	// Skip returns whether a route is public: its requests pass without being
	// looked at, and without claims, whether they have a token or not. Guards
	// behind Handler refuse them nevertheless. Nil means that no route is. It
	// should compare r.URL.Path exactly, as the router behind does. Check and
	// Verify do not ask it.
	Skip func(r *http.Request) bool

	// CheckPreflights makes Handler check CORS preflights as all other requests,
	// which refuses them for want of a token. See [Middleware.Handler].
	CheckPreflights bool

	// Realm is the protection space in the challenges of the default Respond
	// (RFC 9110, Section 11.5). Empty means none.
	Realm string

	// ResourceMetadata is the URL of the metadata of this service, which the
	// challenges of the default Respond then name (RFC 9728, Section 5.1), so that
	// a client learns who issues tokens for it: that of
	// [ProtectedResourceMetadata.URL]. Empty means none. New refuses what is no
	// absolute URL of https or http.
	ResourceMetadata string

	// Respond answers a refused request. Nil means jwterrors.Responder. The
	// error is a *jwterrors.Error; its cause is not for the client.
	Respond func(w http.ResponseWriter, r *http.Request, err error)

	// Logger is told of each request that Handler, Optional or a guard refuses, or
	// Observe would: at the level Warn if the reason is ours (AUTH_KEYS_UNAVAILABLE,
	// AUTH_STORE_UNAVAILABLE), at the level Info otherwise. Check and Verify tell it
	// nothing. Nil means that nobody is told.
	Logger *slog.Logger

	// Observer is told of each decision, for metrics. Nil means that nobody is,
	// which costs nothing.
	Observer Observer

	// Now returns the time. Nil means time.Now.
	Now func() time.Time

	// InsecureAnyIssuer accepts tokens of Keys whatever their "iss" says, or
	// without one, and lets Issuer be empty. It cannot be had together with
	// Issuers.
	InsecureAnyIssuer bool

	// InsecureAnyAudience accepts tokens whatever their "aud" says, or without
	// one, and lets Audience be empty: a token that was meant for another
	// service can be used here. It is for Keys alone: each of Issuers has its own.
	InsecureAnyAudience bool
}

// An Issuer is one of several that a Middleware trusts. Issuer, Audience and Keys
// are required.
type Issuer struct {
	Issuer   string    // as Config.Issuer; different for each
	Audience []string  // as Config.Audience
	Keys     KeySource // used for this issuer alone

	// StatusList is as in Config, for the tokens of this issuer. Resolve must return
	// the same one each time.
	StatusList *StatusList

	// InsecureAnyIssuer is as in Config, for Issuers that Resolve returns. Among
	// Config.Issuers New refuses it, since "iss" selects one of those.
	InsecureAnyIssuer bool

	// InsecureAnyAudience is as in Config, for the tokens of this issuer.
	InsecureAnyAudience bool
}

// trusted returns i as what a Middleware works with. It copies nothing.
func (i *Issuer) trusted() *issuer {
	return &issuer{name: i.Issuer, audience: i.Audience, keys: i.Keys, statusList: i.StatusList, anyIssuer: i.InsecureAnyIssuer, anyAudience: i.InsecureAnyAudience}
}

// NoLeeway is the Leeway that tolerates no difference between clocks.
const NoLeeway time.Duration = -1

// NoCache is the CacheBytes of a Middleware that remembers no tokens.
const NoCache = -1

// What zero means in a Config.
const (
	defaultLeeway        = 30 * time.Second
	defaultMaxLifetime   = 365 * 24 * time.Hour
	defaultMaxTokenBytes = 8192
	defaultMaxFormBytes  = 65536
	defaultCacheBytes    = 16 << 20
)

var defaultTokenTypes = []string{"at+jwt", "jwt", ""}

// New returns a Middleware, or everything that is wrong with config. It starts
// nothing: keys are fetched when the first token comes.
func New(config Config) (*Middleware, error) {
	var mistakes []error
	mistake := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("middleware: "+format, args...))
	}
	m := &Middleware{
		byName:        map[string]*issuer{},
		leeway:        cmp.Or(config.Leeway, defaultLeeway),
		maxLifetime:   cmp.Or(config.MaxLifetime, defaultMaxLifetime),
		maxTokenBytes: cmp.Or(config.MaxTokenBytes, defaultMaxTokenBytes),
		types:         defaultTokenTypes,
		required:      slices.Clone(config.RequiredClaims),
		revocations:   config.Revocations,
		validate:      config.Validate,
		share:         config.ShareClaims,
		respond:       config.Respond,
		logger:        config.Logger,
		resolve:       config.Resolve,
		observer:      config.Observer,
		now:           config.Now,
		certificate:   config.ClientCertificate,

		skip:            config.Skip,
		checkPreflights: config.CheckPreflights,
	}
	m.sources = config.sources()
	switch {
	case config.CacheBytes < NoCache:
		mistake("CacheBytes is %d, and can be 0 or more or NoCache", config.CacheBytes)
	case config.CacheBytes != NoCache:
		m.cache = newCache(cmp.Or(config.CacheBytes, defaultCacheBytes))
	}
	if config.ShareClaims && config.Validate != nil {
		mistake("ShareClaims and Validate are set")
	}
	if config.UserKey != nil {
		m.userKey = new(*config.UserKey)
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.certificate == nil {
		m.certificate = ofConnection
	}
	switch {
	case config.Leeway == NoLeeway:
		m.leeway = 0
	case config.Leeway < 0 || config.Leeway > maxLeeway:
		mistake("Leeway is %v, and can be 0 to %v or NoLeeway", config.Leeway, maxLeeway)
	}
	responder := jwterrors.Responder{Realm: config.Realm, ResourceMetadata: config.ResourceMetadata}
	if config.DPoP != nil {
		checker, wrong := config.DPoP.checker(m.leeway, m.now)
		mistakes = append(mistakes, wrong...)
		m.proofs, m.bound = checker, config.DPoP.Required
		responder.DPoPAlgorithms, responder.DPoPRequired = strings.Join(checker.Algorithms, " "), m.bound
	}
	if m.respond == nil {
		m.respond = responder.Respond
	}
	if config.MaxLifetime < 0 {
		mistake("MaxLifetime is negative")
	}
	if config.MaxTokenBytes < 0 {
		mistake("MaxTokenBytes is negative")
	}
	if config.MaxFormBytes < 0 {
		mistake("MaxFormBytes is negative")
	}
	if cookie := (&http.Cookie{Name: config.TokenCookie, Value: "x"}); config.TokenCookie != "" && cookie.Valid() != nil {
		mistake("TokenCookie, %q, cannot be the name of a cookie", config.TokenCookie)
	}
	if config.CookieOrigins != nil && config.TokenCookie == "" {
		mistake("CookieOrigins is set and TokenCookie is not")
	}
	if config.TokenTypes != nil {
		m.types = nil
		for _, t := range config.TokenTypes {
			m.types = append(m.types, normalType(t))
		}
		if len(m.types) == 0 {
			mistake("TokenTypes is empty, so that no token could pass")
		}
	}
	for i, name := range config.RequiredClaims {
		switch {
		case name == "":
			mistake("RequiredClaims contains an empty string")
		case slices.Contains(config.RequiredClaims[:i], name):
			mistake("RequiredClaims contains %q twice", name)
		}
	}
	if config.ResourceMetadata != "" && !isURL(config.ResourceMetadata) {
		mistake("ResourceMetadata is not an absolute URL of https or http")
	}
	if config.InsecureAnyIssuer && len(config.Issuers) > 0 {
		mistake("InsecureAnyIssuer is set and there are further Issuers")
	}
	var all []Issuer
	if config.Resolve == nil {
		all = append([]Issuer{{
			config.Issuer, config.Audience, config.Keys, config.StatusList, config.InsecureAnyIssuer, config.InsecureAnyAudience,
		}}, config.Issuers...)
	} else {
		for _, name := range config.besideResolve() {
			mistake("Resolve is set and so is %s, which Resolve returns", name)
		}
	}
	for i, trusted := range all {
		is := trusted.trusted()
		is.audience = slices.Clone(is.audience)
		for _, problem := range is.check() {
			mistake("issuer %q: %w", is.name, problem)
		}
		if i > 0 && is.anyIssuer {
			mistake("issuer %q: InsecureAnyIssuer is set, and it is one of several", is.name)
		}
		if m.byName[is.name] != nil && is.name != "" {
			mistake("issuer %q is listed twice", is.name)
		}
		for _, other := range all[:i] {
			if trusted.Keys != nil && other.Keys == trusted.Keys {
				mistake("issuer %q has the keys of issuer %q: each needs its own source", is.name, other.Issuer)
			}
			if trusted.StatusList != nil && other.StatusList == trusted.StatusList {
				mistake("issuer %q has the StatusList of issuer %q: each needs its own", is.name, other.Issuer)
			}
		}
		m.byName[is.name] = is
		m.issuers = append(m.issuers, is)
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return m, nil
}

// An issuer is one that is trusted, with what was learnt of its tokens.
type issuer struct {
	name        string
	audience    []string
	keys        KeySource
	statusList  *StatusList // nil for none
	anyIssuer   bool
	anyAudience bool
	resolved    bool       // for one request
	memo        headerMemo // empty where resolved
}

// check returns the mistakes in the configuration of is. An empty name or
// audience is one: unset variables must not switch a check off.
func (is *issuer) check() []error {
	var mistakes []error
	if is.name == "" && !is.anyIssuer {
		mistakes = append(mistakes, errors.New(`its name, Issuer, is empty; it is what its tokens have in "iss"`))
	}
	if len(is.audience) == 0 && !is.anyAudience {
		mistakes = append(mistakes, errors.New(`its Audience is empty; it is what its tokens call this service in "aud"`))
	}
	if slices.Contains(is.audience, "") {
		mistakes = append(mistakes, errors.New("its Audience contains an empty string"))
	}
	if is.keys == nil {
		return append(mistakes, errors.New("its Keys are nil; HS256, PublicKeys, JWKS, Discover and LocalJWKS make them"))
	}
	if err := is.statusList.check(); err != nil {
		mistakes = append(mistakes, fmt.Errorf("its StatusList: %w", err))
	}
	if err := is.keys.check(); err != nil {
		mistakes = append(mistakes, fmt.Errorf("its Keys: %w", err))
	}
	if from, ok := is.keys.(*jwks); ok && from.issuer != "" && from.issuer != is.name && !is.anyIssuer {
		mistakes = append(mistakes, fmt.Errorf("its Keys are discovered of another issuer, %q", from.issuer))
	}
	return mistakes
}
