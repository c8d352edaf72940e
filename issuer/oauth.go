package issuer

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// The kinds of events of the OAuth endpoints.
const (
	EventClientFailed EventKind = "client_failed" // a client was not authenticated; ClientID is what it said, if there is such a client
	EventCodeReplay   EventKind = "code_replay"   // an authorization code came back, and its session was revoked
	EventClientToken  EventKind = "client_token"  // a client got an access token for itself
)

// oauth is what New makes of the OAuth part of a Config.
type oauth struct {
	clients       map[string]*client
	grants        []string
	introspection bool
	dpop          bool // whether clients can be DPoPBound
	loginClient   string
	public        string // the URL of Prefix
	issuerPath    string // of Config.Issuer, without a slash at its end
	authMethods   []string

	withKeys, withoutKeys *metadata
}

// newOAuth checks the OAuth part of c and returns it, or nil when there is none.
func newOAuth(c *Config) (*oauth, []error) {
	var mistakes []error
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }

	c.Grants = slices.Clone(c.Grants)
	for n, g := range c.Grants {
		switch {
		case g != GrantRefreshToken && g != GrantClientCredentials && g != GrantAuthorizationCode:
			wrong("Grants: %q is not a grant type that there is", g)
		case slices.Contains(c.Grants[:n], g):
			wrong("Grants: %q stands twice", g)
		}
	}
	code := slices.Contains(c.Grants, GrantAuthorizationCode)
	switch {
	case code && !isPage(c.AuthorizationEndpoint):
		wrong("AuthorizationEndpoint %q is not an https URL without fragment, which %s needs", c.AuthorizationEndpoint, GrantAuthorizationCode)
	case !code && c.AuthorizationEndpoint != "":
		wrong("AuthorizationEndpoint is for %s, which Grants does not list", GrantAuthorizationCode)
	}
	if c.Revocation && c.Denylist == nil && c.StatusList == nil && slices.Contains(c.Grants, GrantClientCredentials) {
		wrong("Revocation of tokens of %s needs a Denylist or a StatusList", GrantClientCredentials)
	}
	c.ScopesSupported = slices.Clone(c.ScopesSupported)
	for _, scope := range c.ScopesSupported {
		if !isScope(scope) {
			wrong("ScopesSupported: %q is not a scope", scope)
		}
	}
	if c.PublicURL != "" {
		if err := checkIssuer(c.PublicURL); err != nil || strings.HasSuffix(c.PublicURL, "/") {
			wrong("PublicURL %q is not an https URL in plain form, without a slash at its end", c.PublicURL)
		}
	}

	o := &oauth{
		clients: map[string]*client{}, grants: c.Grants, introspection: c.Introspection, dpop: c.DPoP != nil, loginClient: c.ClientID, public: c.publicURL(),
	}
	if u, err := url.Parse(c.Issuer); err == nil {
		o.issuerPath = strings.TrimSuffix(u.Path, "/")
	}
	confidential, public := c.LookupClient != nil, c.LookupClient != nil
	for n, registered := range c.Clients {
		k, errs := newClient(registered, o)
		for _, err := range errs {
			wrong("Clients[%d]: %w", n, err)
		}
		if o.clients[k.ID] != nil {
			wrong("Clients[%d]: ID %q stands twice", n, k.ID)
		}
		o.clients[k.ID] = k
		confidential, public = confidential || !k.public(), public || k.public()
	}
	if confidential {
		o.authMethods = append(o.authMethods, "client_secret_basic", "client_secret_post")
	}
	if public {
		o.authMethods = append(o.authMethods, "none")
	}
	used := len(c.Grants) > 0 || c.Revocation || c.Introspection
	switch some := confidential || public; {
	case used && !some:
		wrong("Grants, Revocation and Introspection need Clients or LookupClient")
	case some && !used:
		wrong("Clients are for Grants, Revocation and Introspection, of which there is none")
	}
	if c.Introspection && c.LookupClient == nil && !slices.ContainsFunc(c.Clients, func(k Client) bool { return k.MayIntrospect }) {
		wrong("Introspection is set, and no client may introspect")
	}
	if len(mistakes) > 0 || !used {
		return nil, mistakes
	}
	o.withKeys, o.withoutKeys = newMetadata(c, o, true), newMetadata(c, o, false)
	return o, nil
}

// isPage reports whether s is the URL of a page (RFC 6749, Section 3.1).
func isPage(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Hostname() != "" && u.User == nil && !strings.Contains(s, "#") &&
		(u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()))
}

// oauthRoutes mounts the endpoints that the Config asks for.
func (i *Issuer) oauthRoutes() {
	handle := func(on bool, path, method string, e endpoint) {
		if on {
			i.mux.Handle(i.c.Prefix+path, i.handler(map[string]endpoint{method: e}))
		}
	}
	handle(len(i.c.Grants) > 0, "/token", "POST", i.inOAuthForm(i.limitRefresh(i.token)))
	handle(i.c.Revocation, "/revoke", "POST", i.inOAuthForm(i.revoke))
	handle(i.c.Introspection, "/introspect", "POST", i.inOAuthForm(i.introspect))
	handle(len(i.c.Grants) > 0, metadataPath, "GET", i.metadata)
}

// An oauthError has a code that no reason stands for: unauthorized_client (RFC
// 6749, Section 5.2) and invalid_target (RFC 8707, Section 2).
type oauthError struct {
	status  int
	code    string
	reason  jwterrors.Reason
	message string
}

func (e *oauthError) Error() string { return e.code + ": " + e.message }

// Unwrap returns the reason.
func (e *oauthError) Unwrap() error { return e.reason }

func oauthRefused(status int, code string, reason jwterrors.Reason, message string) error {
	return &oauthError{status, code, reason, message}
}

// inOAuthForm answers the refusals of e as RFC 6749, Section 5.2, says.
func (i *Issuer) inOAuthForm(e endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := e(w, r)
		if err == nil {
			return nil
		}
		if jwterrors.ReasonOf(err).Status() >= 500 {
			i.c.Logger.ErrorContext(r.Context(), "issuer: request failed", "path", r.URL.Path, "err", err)
		}
		var own *oauthError
		if errors.As(err, &own) {
			noStore(w)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(own.status)
			encode(w, struct {
				Error       string           `json:"error"`
				Description string           `json:"error_description"`
				Reason      jwterrors.Reason `json:"reason"`
			}{own.code, own.message, own.reason})
			return nil
		}
		jwterrors.Responder{}.RespondOAuth(&challengeless{w}, r, err)
		return nil
	}
}

// challengeless leaves the challenge out of what is no 401: what it would ask for
// is a bearer token, of which these endpoints have no use.
type challengeless struct{ http.ResponseWriter }

func (w *challengeless) WriteHeader(status int) {
	if status != http.StatusUnauthorized {
		w.Header().Del("WWW-Authenticate")
	}
	w.ResponseWriter.WriteHeader(status)
}

// readForm reads the parameters of an OAuth request: from the body alone, each
// once (RFC 6749, Section 3.2), except "resource" (RFC 8707, Section 2). An empty
// one is as if it were not there.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.URL.RawQuery != "" {
		return nil, refused(jwterrors.RequestInvalid, "there are parameters in the URL")
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, httpError(http.StatusUnsupportedMediaType, "The body must be application/x-www-form-urlencoded.")
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, httpError(http.StatusRequestEntityTooLarge, "The body is too large.")
	} else if err != nil {
		return nil, refused(jwterrors.RequestInvalid, "the body broke off")
	}
	form, err := url.ParseQuery(string(data))
	if err != nil {
		return nil, refused(jwterrors.RequestInvalid, "the body is not a form")
	}
	for name, values := range form {
		if len(values) > 1 && name != "resource" {
			return nil, refused(jwterrors.RequestInvalid, "a parameter is given twice")
		}
		form[name] = slices.DeleteFunc(values, func(v string) bool { return v == "" })
	}
	return form, nil
}

// authenticated returns the client of an OAuth request, by client_secret_basic,
// client_secret_post or none (RFC 6749, Section 2.3.1; RFC 7591, Section 2).
func (i *Issuer) authenticated(r *http.Request, form url.Values) (*client, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if form.Has("client_assertion") {
		return nil, refused(jwterrors.ClientInvalid, "client assertions are not supported")
	}
	if fields := r.Header.Values("Authorization"); len(fields) > 0 {
		if len(fields) > 1 || secret != "" {
			return nil, refused(jwterrors.RequestInvalid, "the client authenticates in two ways")
		}
		user, password, ok := r.BasicAuth()
		user, err1 := url.QueryUnescape(user)
		password, err2 := url.QueryUnescape(password)
		if !ok || err1 != nil || err2 != nil || user == "" || password == "" {
			return nil, i.clientFailed(r, "", "the Authorization field is not that of client_secret_basic")
		}
		if id != "" && id != user {
			return nil, refused(jwterrors.RequestInvalid, "client_id and the Authorization field differ")
		}
		id, secret = user, password
	}
	c, err := i.client(r.Context(), id)
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return nil, i.clientFailed(r, "", "there is no such client")
	case !c.public() && !c.has(secret):
		return nil, i.clientFailed(r, c.ID, "the secret is not the client's")
	case c.public() && secret != "":
		return nil, i.clientFailed(r, c.ID, "the client has no secret")
	}
	return c, nil
}

func (i *Issuer) clientFailed(r *http.Request, id, cause string) error {
	i.tell(Event{Kind: EventClientFailed, Reason: jwterrors.ClientInvalid, ClientID: id, Address: address(r)})
	return refused(jwterrors.ClientInvalid, cause)
}

// request reads an OAuth request and authenticates its client.
func (i *Issuer) request(w http.ResponseWriter, r *http.Request) (url.Values, *client, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, nil, err
	}
	c, err := i.authenticated(r, form)
	return form, c, err
}
