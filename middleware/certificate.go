package middleware

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenloop/tokenloop/internal/dpop"
)

// ofConnection returns the client's certificate of the TLS connection, as DER, or
// nil where there is none. TLS has proved that the client has its key.
func ofConnection(r *http.Request) ([]byte, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	return r.TLS.PeerCertificates[0].Raw, nil
}

// CertificateHeader returns a [Config].ClientCertificate for a service behind
// proxies that end TLS, and pass on the client's certificate in the header field
// called field: as RFC 9440 wants it, which calls the field Client-Cert, or as PEM
// with URL escapes, as nginx ($ssl_client_escaped_cert) and others do.
//
// The field is believed of proxies alone, which are networks by the address of the
// connection. They must replace what a client sends in it. A request that does not
// come from one has the certificate of its own connection, whatever is in the field.
//
// It fails for what can be no field, without proxies, and for a network of 0 bits.
func CertificateHeader(field string, proxies ...netip.Prefix) (func(*http.Request) ([]byte, error), error) {
	var mistakes []error
	if !isFieldName(field) {
		mistakes = append(mistakes, fmt.Errorf("middleware: certificate header: %q cannot be the name of a field", field))
	}
	if len(proxies) == 0 {
		mistakes = append(mistakes, errors.New("middleware: certificate header: there are no proxies to believe"))
	}
	if err := judgeProxies(proxies); err != nil {
		mistakes = append(mistakes, fmt.Errorf("middleware: certificate header: proxies: %w", err))
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	field, proxies = textproto.CanonicalMIMEHeaderKey(field), slices.Clone(proxies)
	return func(r *http.Request) ([]byte, error) {
		if !dpop.From(r, proxies) {
			return ofConnection(r)
		}
		switch values := r.Header[field]; {
		case len(values) == 0 || len(values) == 1 && values[0] == "":
			return nil, nil // not that of the connection, which is the proxy's
		case len(values) > 1:
			return nil, fmt.Errorf("there is more than one %s", field)
		default:
			der, err := readCertificate(values[0])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", field, err)
			}
			return der, nil
		}
	}, nil
}

// maxCertificate limits the length of a certificate in a field, in bytes.
const maxCertificate = 16 << 10

// readCertificate reads the DER of a certificate that a proxy passes on. That it is
// one is the proxy's word: here it is hashed and nothing else.
func readCertificate(value string) ([]byte, error) {
	if len(value) > maxCertificate {
		return nil, fmt.Errorf("it has more than %d bytes", maxCertificate)
	}
	if inner, ok := strings.CutPrefix(value, ":"); ok { // RFC 9440, Section 2.1
		inner, ok = strings.CutSuffix(inner, ":")
		der, err := base64.StdEncoding.Strict().DecodeString(inner)
		if !ok || err != nil || len(der) == 0 || strings.ContainsAny(inner, "\r\n") {
			return nil, errors.New("it is not a byte sequence of RFC 9440")
		}
		return der, nil
	}
	text, err := url.PathUnescape(value)
	if err != nil || !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----") {
		return nil, errors.New("it is neither a byte sequence of RFC 9440 nor PEM with URL escapes")
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || len(block.Bytes) == 0 || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("it is not PEM of one certificate")
	}
	return block.Bytes, nil
}

// isFieldName reports whether s is a token (RFC 9110, Section 5.1).
func isFieldName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}
