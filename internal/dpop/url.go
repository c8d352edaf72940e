package dpop

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Normalize returns the one spelling of an absolute URL of https or http in which
// two are compared: scheme and host in lower case, without the port of the scheme,
// without query and fragment, the path without dot segments, and escaped only
// where it must be (RFC 9449, Section 4.3; RFC 3986, Sections 6.2.2 and 6.2.3).
func Normalize(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Opaque != "" {
		return "", errors.New("it is no absolute URL of https or http")
	}
	return join(u.Scheme, u.Host, u.EscapedPath()), nil
}

// join is Normalize for what a URL is made of. The path is escaped.
func join(scheme, host, escaped string) string {
	host = strings.ToLower(host)
	if name, port, err := net.SplitHostPort(host); err == nil && (port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80") {
		if host = name; strings.Contains(name, ":") {
			host = "[" + name + "]"
		}
	}
	return scheme + "://" + host + cleanPath(escaped)
}

// cleanPath takes the escapes off what needs none, writes the others in upper case,
// and removes dot segments, but no empty ones.
func cleanPath(escaped string) string {
	if plain(escaped) {
		return escaped
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c != '%' || i+2 >= len(escaped) || unhex(escaped[i+1]) < 0 || unhex(escaped[i+2]) < 0 {
			b.WriteByte(c)
			continue
		}
		if d := byte(unhex(escaped[i+1])<<4 | unhex(escaped[i+2])); isUnreserved(d) {
			b.WriteByte(d)
		} else {
			b.WriteString(strings.ToUpper(escaped[i : i+3]))
		}
		i += 2
	}
	var kept []string
	segments := strings.Split(strings.TrimPrefix(b.String(), "/"), "/")
	for n, s := range segments {
		last := n == len(segments)-1
		switch {
		case s == "..":
			kept = kept[:max(len(kept)-1, 0)]
		case s != ".":
			kept = append(kept, s)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// plain reports whether a path is as cleanPath would have it.
func plain(escaped string) bool {
	return strings.HasPrefix(escaped, "/") && !strings.Contains(escaped, "%") && !strings.Contains(escaped, "/.")
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// A Site knows by what URL clients ask for what a server is asked for.
type Site struct {
	// Public is the URL that the root of the server's paths has for clients. Empty
	// means that the request tells: by its Host, and by whether it came over TLS.
	Public string

	// Proxies are the networks of proxies whose X-Forwarded-Proto and
	// X-Forwarded-Host are believed.
	Proxies []netip.Prefix
}

// URL returns the URL of r as Normalize spells it. It goes by what the client
// sent, and not by what a handler made of the path since.
func (s Site) URL(r *http.Request) string {
	escaped := r.URL.EscapedPath()
	if sent, err := url.ParseRequestURI(r.RequestURI); err == nil && r.RequestURI != "" {
		escaped = sent.EscapedPath()
	}
	if s.Public != "" {
		if public, err := url.Parse(s.Public); err == nil {
			return join(public.Scheme, public.Host, strings.TrimSuffix(public.EscapedPath(), "/")+escaped)
		}
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if From(r, s.Proxies) {
		if v := last(r.Header["X-Forwarded-Proto"]); v == "https" || v == "http" {
			scheme = v
		}
		if v := last(r.Header["X-Forwarded-Host"]); v != "" {
			host = v
		}
	}
	return join(scheme, host, escaped)
}

// From reports whether the connection of r comes from one of networks.
func From(r *http.Request, networks []netip.Prefix) bool {
	if len(networks) == 0 {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) })
}

// last returns the last element of a list in fields, which the nearest proxy wrote.
func last(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	v := fields[len(fields)-1]
	return strings.Trim(v[strings.LastIndexByte(v, ',')+1:], " \t")
}
