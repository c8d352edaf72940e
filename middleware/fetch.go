package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxRedirects limits how many redirects a fetch follows.
const maxRedirects = 3

// newClient returns a copy of c that stays within the origin of its first
// request, so that an open redirect at the issuer's host names no other keys.
func newClient(c *http.Client) *http.Client {
	var own http.Client
	if c != nil {
		own = *c
	}
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errors.New("too many redirects")
		}
		if first := via[0].URL; r.URL.Scheme != first.Scheme || r.URL.Host != first.Host {
			return errors.New("a redirect to another origin")
		}
		return nil
	}
	return &own
}

// fetch gets the JWK Set once. Its errors show nothing of the URL but the host,
// since a path or a query may hold a secret.
func (s *jwks) fetch() (*keySet, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.options.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, "", errors.New("the URL is wrong")
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, "", fmt.Errorf("GET from %s: %w", host(s.url), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("GET from %s: status %d", host(s.url), resp.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(resp.Body, s.options.MaxBytes+1))
	if err != nil {
		return nil, "", fmt.Errorf("GET from %s: %w", host(s.url), err)
	}
	if int64(len(document)) > s.options.MaxBytes {
		return nil, "", fmt.Errorf("GET from %s: more than %d bytes", host(s.url), s.options.MaxBytes)
	}
	set, err := parseKeySet(document, s.options.MaxKeys, s.options.RSAAlgorithm)
	if err != nil {
		return nil, "", fmt.Errorf("GET from %s: %w", host(s.url), err)
	}
	return set, string(document), nil
}

func host(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Host
}
