package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
)

// maxHops bounds how many addresses of a field are looked at.
const maxHops = 32

// TrustedProxies returns a Config.ClientAddress for a service behind proxies that
// add the address of their client to the end of a field such as X-Forwarded-For,
// or set a field such as X-Real-IP to it. The client is the last address that is
// not in one of the networks trusted, beginning with the one that the connection
// comes from; what stands before it in the field is its own claim and is not
// read. Where the field ends, or holds what is no address, it is the last address
// that was found. New proxies that are not listed make their clients one.
//
// The proxies must see to it that the field does not pass them as the client sent
// it. The field Forwarded (RFC 7239) has another form and is refused.
func TrustedProxies(field string, trusted ...netip.Prefix) (func(*http.Request) netip.Addr, error) {
	var mistakes []error
	name := textproto.CanonicalMIMEHeaderKey(field)
	if !isToken(field) || name == "Forwarded" {
		mistakes = append(mistakes, fmt.Errorf("issuer: %q is not the name of a field like X-Forwarded-For", field))
	}
	if len(trusted) == 0 {
		mistakes = append(mistakes, errors.New("issuer: no proxy is trusted"))
	}
	networks := make([]netip.Prefix, 0, len(trusted))
	for _, p := range trusted {
		switch {
		case !p.IsValid():
			mistakes = append(mistakes, errors.New("issuer: a network of trusted proxies is not valid"))
		case p.Bits() == 0:
			mistakes = append(mistakes, fmt.Errorf("issuer: %v trusts everybody", p))
		case p.Addr().Is4In6():
			mistakes = append(mistakes, fmt.Errorf("issuer: %v is an IPv4 network in the form of IPv6", p))
		default:
			networks = append(networks, p.Masked())
		}
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	isProxy := func(a netip.Addr) bool {
		return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return func(r *http.Request) netip.Addr {
		client, _ := hop(r.RemoteAddr) // no address is no proxy's
		values := r.Header[name]
		rest := ""
		for hops := 0; hops < maxHops && isProxy(client); hops++ {
			if rest == "" {
				if len(values) == 0 {
					break
				}
				rest, values = values[len(values)-1], values[:len(values)-1]
			}
			last := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			next, ok := hop(strings.Trim(last, " \t"))
			if !ok {
				break
			}
			client = next
		}
		return client
	}, nil
}

// hop reads an address with or without port.
func hop(s string) (netip.Addr, bool) {
	if len(s) > 64 {
		return netip.Addr{}, false
	}
	if both, err := netip.ParseAddrPort(s); err == nil {
		return both.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(inner, "]")
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

// isToken reports whether s is a token (RFC 9110, Section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	})
}

// connection is the key of the RemoteAddr that a request had before it was placed.
type connection struct{}

// ofConnection is the opposite of placed, for who asks which proxy a request is from.
func ofConnection(r *http.Request) *http.Request {
	address, placed := r.Context().Value(connection{}).(string)
	if !placed {
		return r
	}
	r = r.WithContext(r.Context())
	r.RemoteAddr = address
	return r
}

// placed returns r with the address of its client as RemoteAddr, which is where
// everything else looks for it.
func (i *Issuer) placed(r *http.Request) *http.Request {
	if i.c.ClientAddress == nil {
		return r
	}
	a := i.c.ClientAddress(r)
	ctx := r.Context()
	if i.c.ClientCertificate != nil {
		ctx = context.WithValue(ctx, connection{}, r.RemoteAddr)
	}
	r = r.WithContext(ctx) // a copy: r is the caller's
	r.RemoteAddr = ""
	if a.IsValid() {
		r.RemoteAddr = netip.AddrPortFrom(a.Unmap().WithZone(""), 0).String()
	}
	return r
}
