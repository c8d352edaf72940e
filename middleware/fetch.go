package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
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

// A fetched is what came of one fetch.
type fetched struct {
	set      *keySet
	url      string
	document string
	etag     string        // "" for none
	maxAge   time.Duration // for how long it is fresh; negative where that is not said
}

// fetch gets the JWK Set once. What last, which may be nil, has of it need not be
// sent again (RFC 9110, Section 13.1.2).
func (s *jwks) fetch(last *jwksState) (fetched, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.options.Timeout)
	defer cancel()
	where, err := s.locate(ctx)
	if err != nil {
		return fetched{}, err
	}
	etag := ""
	if last != nil && last.url == where {
		etag = last.etag
	}
	resp, document, err := s.get(ctx, where, "application/jwk-set+json, application/json", etag)
	if err != nil {
		return fetched{}, err
	}
	got := fetched{url: where, document: document, etag: resp.Header.Get("ETag"), maxAge: freshness(resp.Header)}
	if len(got.etag) > maxETag {
		got.etag = ""
	}
	if resp.StatusCode == http.StatusNotModified {
		got.set, got.document, got.etag = last.set, last.document, last.etag
		return got, nil
	}
	if got.set, err = parseKeySet([]byte(document), s.options.RSAAlgorithm); err != nil {
		return fetched{}, fmt.Errorf("GET from %s: %w", host(where), err)
	}
	return got, nil
}

// A getter gets documents of maxBytes at most.
type getter struct {
	client   *http.Client
	maxBytes int64
}

// get gets a document, or the answer that it is the one with the etag. Its
// errors show nothing of the URL but the host, since a path or a query may hold
// a secret.
func (g *getter) get(ctx context.Context, rawURL, accept, etag string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, "", errors.New("the URL is wrong")
	}
	r.Header.Set("Accept", accept)
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	resp, err := g.client.Do(r)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, "", fmt.Errorf("GET from %s: %w", host(rawURL), err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && etag != "":
		return resp, "", nil
	case resp.StatusCode == http.StatusNotFound:
		return nil, "", fmt.Errorf("GET from %s: status %d: is the path of the URL right?", host(rawURL), resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("GET from %s: status %d", host(rawURL), resp.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(resp.Body, g.maxBytes+1))
	if err != nil {
		return nil, "", fmt.Errorf("GET from %s: %w", host(rawURL), err)
	}
	if int64(len(document)) > g.maxBytes {
		return nil, "", fmt.Errorf("GET from %s: more than %d bytes", host(rawURL), g.maxBytes)
	}
	return resp, string(document), nil
}

// maxETag is the length of the longest ETag that is kept, in bytes.
const maxETag = 1024

// freshness returns for how long an answer is fresh, by "max-age" (RFC 9111,
// Section 5.2.2.1), or a negative value where it does not say.
func freshness(h http.Header) time.Duration {
	fresh := time.Duration(-1)
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil && fresh < 0 {
				fresh = time.Duration(n) * time.Second
			}
		}
	}
	if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil && fresh > 0 {
		fresh = max(0, fresh-time.Duration(age)*time.Second)
	}
	return fresh
}

func host(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Host
}
