package issuer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The grant types of POST /token (RFC 6749, Sections 6, 4.4 and 4.1).
const (
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
	GrantAuthorizationCode = "authorization_code" // with PKCE (RFC 7636), S256 alone
)

// ErrNoClient is what Config.LookupClient returns for an unknown client.
var ErrNoClient = errors.New("issuer: no such client")

// A Client is a registered client (RFC 6749, Section 2). One with a secret is
// confidential and must authenticate with it; one without is public.
type Client struct {
	// ID is the client_id: 1 to 128 printable ASCII characters.
	ID string

	// Secrets are the client's secrets, each of at least 32 bytes and drawn at
	// random. All of them work, so that a client can change from one to the
	// next. SecretDigests are SHA-256 digests of such secrets, for a registry
	// that keeps no plain ones.
	Secrets       []string `json:"-"`
	SecretDigests [][]byte `json:"-"`

	// Grants are the grant types that the client may use, of Config.Grants.
	Grants []string

	// Scopes are what the client may be granted: with client_credentials, and
	// by a user who may have them too. Nil means none.
	Scopes []string

	// RedirectURIs are where codes may be sent. They are compared as strings
	// (RFC 9700, Section 2.1), except that the port of an http URL of
	// 127.0.0.1 or [::1] may be any (RFC 8252, Section 7.3). Each is https,
	// http of a loopback address, or of a scheme with a dot in it (RFC 8252,
	// Section 7.1), and has no fragment.
	RedirectURIs []string

	// MayIntrospect lets a confidential client use POST /introspect for the
	// tokens of all clients.
	MayIntrospect bool

	// DPoPBound refuses the client's requests for tokens without a proof
	// (dpop_bound_access_tokens; RFC 9449, Section 5.2). It needs Config.DPoP.
	DPoPBound bool

	// CertificateBound binds all tokens of the client to the certificate of its
	// TLS connections (tls_client_certificate_bound_access_tokens; RFC 8705,
	// Section 3.4): a request for tokens without one is refused, and proofs are
	// not looked at. Of a client that is looked up it needs
	// Config.ClientCertificate.
	CertificateBound bool
}

func (c Client) text() string { return "client " + strconv.Quote(c.ID) }

// Format names the client and hides its secrets, for every verb and flag.
func (c Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.text())) }

// LogValue returns what Format writes.
func (c Client) LogValue() slog.Value { return slog.StringValue(c.text()) }

// A client is a Client that was checked; its secrets are digests.
type client struct {
	Client
	digests [][]byte
}

const (
	minClientSecret = 32 // bytes
	maxClientID     = 128
)

// newClient returns c, or its mistakes.
func newClient(c Client, o *oauth) (*client, []error) {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("client %q: "+format, append([]any{c.ID}, args...)...))
	}
	if c.ID == "" || len(c.ID) > maxClientID || strings.ContainsFunc(c.ID, func(r rune) bool { return r < ' ' || r > '~' }) {
		wrong("ID is not 1 to %d printable ASCII characters", maxClientID)
	}
	k := &client{Client: c}
	for n, secret := range c.Secrets {
		if len(secret) < minClientSecret {
			wrong("Secrets[%d] has %d bytes; it needs at least %d", n, len(secret), minClientSecret)
		}
		sum := sha256.Sum256([]byte(secret))
		k.digests = append(k.digests, sum[:])
	}
	for n, digest := range c.SecretDigests {
		if len(digest) != sha256.Size {
			wrong("SecretDigests[%d] has %d bytes; a SHA-256 digest has %d", n, len(digest), sha256.Size)
		}
		k.digests = append(k.digests, slices.Clone(digest))
	}
	k.Secrets, k.SecretDigests = nil, nil
	k.Grants, k.Scopes, k.RedirectURIs = slices.Clone(c.Grants), slices.Clone(c.Scopes), slices.Clone(c.RedirectURIs)
	for _, g := range c.Grants {
		if !slices.Contains(o.grants, g) {
			wrong("Config.Grants does not list %q", g)
		}
	}
	for _, scope := range c.Scopes {
		if !isScope(scope) {
			wrong("%q is not a scope", scope)
		}
	}
	for _, uri := range c.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			wrong("redirect URI %q: %w", uri, err)
		}
	}
	code := slices.Contains(c.Grants, GrantAuthorizationCode)
	switch {
	case code && len(c.RedirectURIs) == 0:
		wrong("%s needs RedirectURIs", GrantAuthorizationCode)
	case !code && len(c.RedirectURIs) > 0:
		wrong("RedirectURIs are for %s", GrantAuthorizationCode)
	}
	if c.MayIntrospect && !o.introspection {
		wrong("MayIntrospect, and Config.Introspection is not set")
	}
	switch {
	case c.DPoPBound && c.CertificateBound:
		wrong("DPoPBound and CertificateBound; a session is bound to one of them")
	case c.DPoPBound && !o.dpop:
		wrong("DPoPBound, and Config.DPoP is not set")
	}
	if k.public() {
		if slices.Contains(c.Grants, GrantClientCredentials) {
			wrong("%s is for clients with a secret (RFC 6749, Section 4.4)", GrantClientCredentials)
		}
		if c.MayIntrospect {
			wrong("MayIntrospect is for clients with a secret (RFC 7662, Section 2.1)")
		}
	} else if c.ID == o.loginClient {
		wrong("it is Config.ClientID, whose sessions begin and go on where no client authenticates, and has a secret")
	}
	return k, mistakes
}

// public reports whether the client has no secret (RFC 6749, Section 2.1).
func (c *client) public() bool { return len(c.digests) == 0 }

// has reports whether secret is one of the client's. It looks at all of them, in
// constant time.
func (c *client) has(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	equal := 0
	for _, digest := range c.digests {
		equal |= subtle.ConstantTimeCompare(sum[:], digest)
	}
	return equal == 1
}

// redirectsTo reports whether uri is a redirect URI of the client.
func (c *client) redirectsTo(uri string) bool {
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	bare, ok := withoutPort(uri)
	return ok && slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		b, ok := withoutPort(registered)
		return ok && b == bare
	})
}

// withoutPort cuts the port out of an http URL of a loopback IP address, and
// reports whether uri is one in plain form.
func withoutPort(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.User != nil || u.String() != uri || !isPort(u) || checkRedirectURI(uri) != nil {
		return "", false
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.IsLoopback() {
		return "", false
	}
	u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	return u.String(), true
}

// checkRedirectURI says what is wrong with a redirect URI (RFC 6749, Section
// 3.1.2; RFC 8252, Section 7; RFC 9700, Section 2.6).
func checkRedirectURI(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || !u.IsAbs() || strings.Contains(s, "#") || u.User != nil || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("it is not an absolute URL without user and fragment")
	case u.Scheme == "https" && u.Hostname() != "", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	case u.Scheme == "http" || u.Scheme == "https" || !strings.Contains(u.Scheme, "."):
		return errors.New("it is neither https, nor http of a loopback address, nor of a scheme with a dot")
	}
	return nil
}

// client returns a registered client, or nil when there is none.
func (i *Issuer) client(ctx context.Context, id string) (*client, error) {
	if c := i.oauth.clients[id]; c != nil {
		return c, nil
	}
	if i.c.LookupClient == nil || id == "" || len(id) > maxClientID {
		return nil, nil
	}
	found, err := i.c.LookupClient(ctx, id)
	switch {
	case errors.Is(err, ErrNoClient):
		return nil, nil
	case err != nil:
		return nil, storeFailed("look up a client", err)
	case found.ID != id:
		return nil, storeFailed("look up a client", errors.New("LookupClient returned another one"))
	}
	c, mistakes := newClient(found, i.oauth)
	if found.CertificateBound && i.c.ClientCertificate == nil {
		mistakes = append(mistakes, fmt.Errorf("client %q: CertificateBound, for which one that is looked up needs Config.ClientCertificate", id))
	}
	if len(mistakes) > 0 {
		return nil, storeFailed("look up a client", errors.Join(mistakes...))
	}
	return c, nil
}
