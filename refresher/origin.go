package refresher

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// An origin is scheme, host and port (RFC 6454, Section 4). The host is in
// lower case and has its port only where that is not the scheme's own.
type origin struct{ scheme, host string }

var defaultPorts = map[string]string{"https": ":443", "http": ":80"}

// parseOrigin reads "scheme://host[:port]". Plain HTTP is refused unless
// allowHTTP is set.
func parseOrigin(s string, allowHTTP bool) (origin, error) {
	u, err := parseURL(s, allowHTTP)
	switch {
	case err != nil:
		return origin{}, err
	case u.Path != "" && u.Path != "/":
		return origin{}, errors.New("an origin has no path")
	}
	return originOf(u), nil
}

// parseURL reads an absolute URL that has nothing but a scheme, a host and a
// path.
func parseURL(s string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URL")
	case u.User != nil:
		return nil, errors.New("it has a user name in it")
	case u.Scheme == "http" && !allowHTTP:
		return nil, errors.New("plain http needs InsecureAllowHTTP")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("it does not begin with https://")
	case u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("it has no host")
	case strings.Contains(u.Host, "*"):
		return nil, errors.New("wildcards are not understood")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("it has a query or a fragment")
	case !ascii(u.Host):
		return nil, errors.New("a host name is written in ASCII (xn--...)")
	}
	return u, nil
}

// checkEndpoint checks the URL of an endpoint, which may have a query (RFC 6749,
// Section 3.2). Its errors quote nothing: there may be a secret in that.
func checkEndpoint(s string, allowHTTP bool) error {
	if _, err := url.Parse(s); err != nil {
		return errors.New("it is not a URL")
	}
	s, _, _ = strings.Cut(s, "?")
	_, err := parseURL(s, allowHTTP)
	return err
}

func originOf(u *url.URL) origin {
	return origin{u.Scheme, trimPort(u.Scheme, strings.ToLower(u.Host))}
}

func trimPort(scheme, host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(host, defaultPorts[scheme]), ":")
}

func (o origin) String() string { return fmt.Sprintf("%s://%s", o.scheme, o.host) }

// origins is a short list of origins.
type origins []origin

// take reports whether r belongs to one of the origins, by its URL and by its Host,
// which servers and proxies may go by instead.
func (list origins) take(r *http.Request) bool {
	if !list.has(r.URL) {
		return false
	}
	return r.Host == r.URL.Host || r.Host == "" || list.has(&url.URL{Scheme: r.URL.Scheme, Host: r.Host})
}

// has reports whether u belongs to one of the origins. What is spelled in a way
// that is not understood does not.
func (list origins) has(u *url.URL) bool {
	if u == nil || u.Opaque != "" && !namesHost(u) {
		return false
	}
	for i := range list {
		if u.Host == list[i].host && u.Scheme == list[i].scheme {
			return true
		}
	}
	if !ascii(u.Host) || u.Host == strings.ToLower(u.Host) && !strings.Contains(u.Host, ":") {
		return false
	}
	spelled := originOf(u)
	for i := range list {
		if spelled == list[i] {
			return true
		}
	}
	return false
}

// namesHost reports whether Opaque, which net/http puts into the request line as it
// is, names the host of u or none. A proxy goes by what is there.
func namesHost(u *url.URL) bool {
	rest, ok := strings.CutPrefix(u.Opaque, "//")
	if ok {
		rest, ok = strings.CutPrefix(rest, u.Host)
		return ok && (rest == "" || rest[0] == '/')
	}
	return strings.HasPrefix(u.Opaque, "/")
}

// hasString is has for a URL that was checked before.
func (list origins) hasString(s string) bool {
	u, err := url.Parse(s)
	return err == nil && list.has(u)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
