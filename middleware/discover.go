package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/tokenloop/tokenloop/internal/jws"
)

// Discover is [JWKS] for an issuer of which only the name is known, which is a
// URL of https. Where its set is, its metadata say: those of OpenID Connect
// Discovery, or else those of RFC 8414. They are asked each time before the set
// is fetched, within the same Timeout and with the same MaxBytes.
//
// Metadata that do not name exactly this issuer are refused (RFC 8414, Section
// 3.3), and so is a "jwks_uri" with another scheme than https, unless
// InsecureAllowHTTP is set. Its host may be another one. Config.Issuer, or that
// of the [Issuer] with this source, must be the same name.
func Discover(issuer string, options JWKSOptions) KeySource {
	s := newJWKS(issuer, options)
	s.issuer = issuer
	if u, err := url.Parse(issuer); err == nil && (u.RawQuery != "" || u.ForceQuery) {
		s.err = errors.Join(s.err, errors.New("Discover: the issuer has a query"))
	}
	return s
}

// metadataURLs returns where the metadata of an issuer can be.
func metadataURLs(issuer string) []string {
	trimmed := strings.TrimRight(issuer, "/")
	all := []string{trimmed + "/.well-known/openid-configuration"}
	if u, err := url.Parse(trimmed); err == nil { // RFC 8414, Section 3.1
		origin := url.URL{Scheme: u.Scheme, Host: u.Host} // which escapes the zone of an address
		all = append(all, origin.String()+"/.well-known/oauth-authorization-server"+u.EscapedPath())
	}
	return all
}

// locate returns the URL of the set.
func (s *jwks) locate(ctx context.Context) (string, error) {
	if s.issuer == "" {
		return s.url, nil
	}
	var failures []error
	for _, from := range metadataURLs(s.issuer) {
		found, err := s.readMetadata(ctx, from)
		if err == nil {
			return found, nil
		}
		failures = append(failures, err)
	}
	return "", errors.Join(failures...)
}

// readMetadata returns the "jwks_uri" of the metadata at a URL.
func (s *jwks) readMetadata(ctx context.Context, from string) (string, error) {
	_, document, err := s.get(ctx, from, "application/json", "")
	if err != nil {
		return "", err
	}
	members, err := jws.Members([]byte(document))
	if err != nil {
		return "", fmt.Errorf("metadata from %s: not an unambiguous JSON object", host(from))
	}
	if name, err := jws.String(members["issuer"]); err != nil || name != s.issuer {
		return "", fmt.Errorf("metadata from %s: they are of another issuer, %s", host(from), shown(name))
	}
	found, err := jws.String(members["jwks_uri"])
	if err != nil {
		return "", fmt.Errorf(`metadata from %s: there is no "jwks_uri"`, host(from))
	}
	if err := judgeURL(found, s.options.InsecureAllowHTTP); err != nil {
		return "", fmt.Errorf(`metadata from %s: "jwks_uri": %w`, host(from), err)
	}
	return found, nil
}
