package middleware_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/middleware"
)

// newCertificate returns one that its own key has signed (RFC 8705, Section 2.2).
func newCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key := newEC()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(random(8)), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// boundTo returns a token that is bound to a certificate.
func boundTo(c tls.Certificate) string { return hs(hsHeader, claims().with("cnf", confirmedBy(c))) }

func confirmedBy(c tls.Certificate) object {
	sum := sha256.Sum256(c.Certificate[0])
	return object{"x5t#S256": encode(sum[:])}
}

// serveTLS runs a server that asks for certificates and answers with the subject.
func serveTLS(t testing.TB, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert} // whoever signed them: the token says which one
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func subject(w http.ResponseWriter, r *http.Request) {
	c, _ := middleware.FromContext(r.Context())
	_, _ = io.WriteString(w, c.Subject)
}

// client returns one of server that shows certificates. Each request has a new
// connection, which goes on with the TLS session of the last.
func client(server *httptest.Server, certificates ...tls.Certificate) *http.Client {
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = certificates
	transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	transport.DisableKeepAlives = true
	return &http.Client{Transport: transport}
}

func sendAs(t testing.TB, c *http.Client, url, token string, header ...string) *http.Response {
	t.Helper()
	r := must(http.NewRequest("GET", url, nil))
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// RFC 8705, Section 3: a token that is bound to a certificate passes on a connection
// with it, over TLS, and nothing need be configured.
func TestATokenBoundToACertificate(t *testing.T) {
	mine, thiefs := newCertificate(t), newCertificate(t)
	auth := newAuth(t)
	server := serveTLS(t, auth.Handler(http.HandlerFunc(subject)))
	token := boundTo(mine)
	me := client(server, mine)
	var resumed int
	for range 5 { // the token is in the cache from the third on
		resp := sendAs(t, me, server.URL, token)
		expect(t, resp, 200, "")
		if resp.TLS.DidResume {
			resumed++
		}
	}
	assert.Positive(t, resumed)
	for name, c := range map[string]*http.Client{"no certificate": client(server), "another certificate": client(server, thiefs)} {
		resp := sendAs(t, c, server.URL, token)
		assert.Equal(t, `Bearer error="invalid_token", error_description="The proof of possession is not valid.", reason="AUTH_PROOF_INVALID"`, resp.Header.Get("WWW-Authenticate"), name)
		expect(t, resp, 401, jwterrors.ProofInvalid)
	}
	expect(t, sendAs(t, client(server, mine), server.URL, good()), 200, "")
	expect(t, sendAs(t, http.DefaultClient, serve(t, auth), token), 401, jwterrors.ProofInvalid)
	expect(t, sendAs(t, me, server.URL, token, "Client-Cert", ":"+base64.StdEncoding.EncodeToString(thiefs.Certificate[0])+":"), 200, "")

	require.ErrorIs(t, verify(auth, token), jwterrors.ProofInvalid)
	assert.Equal(t, jwterrors.ProofInvalid, agree(t, auth, token).Reason)
}

// A token with both must meet both, and one that is bound to a certificate alone
// passes where DPoP is required.
func TestATokenBoundToAKeyAndACertificate(t *testing.T) {
	mine, thiefs := newCertificate(t), newCertificate(t)
	h := newHolder(t, ecKey, func(c object) {
		c["cnf"].(object)["x5t#S256"] = confirmedBy(mine)["x5t#S256"]
	})
	var auth *middleware.Middleware
	server := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth.Handler(http.HandlerFunc(subject)).ServeHTTP(w, r)
	}))
	auth = newAuth(t, withDPoP(func(d *middleware.DPoP) { d.PublicURL, d.Required = server.URL, true }))
	token := h.token
	do := func(c *http.Client, scheme, proof string) *http.Response {
		r := must(http.NewRequest("GET", server.URL, nil))
		r.Header.Set("Authorization", scheme+" "+token)
		r.Header.Set("DPoP", proof)
		resp, err := c.Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	proof := func() string { return h.proof("GET", server.URL, "") }
	expect(t, do(client(server, mine), "DPoP", proof()), 200, "")
	expect(t, do(client(server, thiefs), "DPoP", proof()), 401, jwterrors.ProofInvalid)
	expect(t, do(client(server), "DPoP", proof()), 401, jwterrors.ProofInvalid)
	expect(t, do(client(server, mine), "DPoP", "x"), 401, jwterrors.ProofInvalid)
	expect(t, do(client(server, mine), "Bearer", proof()), 401, jwterrors.ProofInvalid)

	token = boundTo(mine)
	expect(t, do(client(server, mine), "Bearer", ""), 200, "")
	expect(t, do(client(server, mine), "DPoP", must(h.Proof("GET", server.URL, dpop.TokenHash(token), "", time.Now()))), 401, jwterrors.ProofInvalid)
}

// RFC 9440: behind a proxy that ends TLS, its word counts, and nobody else's.
func TestTheCertificateBehindAProxy(t *testing.T) {
	mine, thiefs := newCertificate(t), newCertificate(t)
	behind := func(network string) http.Handler {
		from, err := middleware.CertificateHeader("client-cert", netip.MustParsePrefix(network))
		require.NoError(t, err)
		return newAuth(t, func(c *middleware.Config) { c.ClientCertificate = from }).Handler(http.HandlerFunc(subject))
	}
	service := httptest.NewServer(behind("127.0.0.0/8"))
	defer service.Close()
	proxy := serveTLS(t, &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(must(url.Parse(service.URL)))
		p.Out.Header.Del("Client-Cert")
		if all := p.In.TLS.PeerCertificates; len(all) > 0 {
			p.Out.Header.Set("Client-Cert", ":"+base64.StdEncoding.EncodeToString(all[0].Raw)+":")
		}
	}})
	token := boundTo(mine)
	expect(t, sendAs(t, client(proxy, mine), proxy.URL, token), 200, "")
	expect(t, sendAs(t, client(proxy, thiefs), proxy.URL, token), 401, jwterrors.ProofInvalid)
	expect(t, sendAs(t, client(proxy), proxy.URL, token), 401, jwterrors.ProofInvalid)

	forged := ":" + base64.StdEncoding.EncodeToString(mine.Certificate[0]) + ":"
	expect(t, sendAs(t, client(proxy, thiefs), proxy.URL, token, "Client-Cert", forged), 401, jwterrors.ProofInvalid)

	// One that believes another proxy, and one that has TLS connections of its own.
	direct := httptest.NewServer(behind("10.0.0.0/8"))
	defer direct.Close()
	expect(t, sendAs(t, http.DefaultClient, direct.URL, token, "Client-Cert", forged), 401, jwterrors.ProofInvalid)
	own := serveTLS(t, behind("10.0.0.0/8"))
	expect(t, sendAs(t, client(own, thiefs), own.URL, token, "Client-Cert", forged), 401, jwterrors.ProofInvalid)
	expect(t, sendAs(t, client(own, mine), own.URL, token), 200, "")

	// The certificate of the proxy's own connection is not the client's.
	hop := serveTLS(t, behind("127.0.0.0/8"))
	expect(t, sendAs(t, client(hop, mine), hop.URL, token), 401, jwterrors.ProofInvalid)
	expect(t, sendAs(t, client(hop, thiefs), hop.URL, token, "Client-Cert", forged), 200, "")
}

func TestTheFormsOfACertificateHeader(t *testing.T) {
	der := newCertificate(t).Certificate[0]
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	b64 := base64.StdEncoding.EncodeToString(der)
	from, err := middleware.CertificateHeader("Client-Cert", netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"))
	require.NoError(t, err)
	read := func(values ...string) ([]byte, error) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "[::ffff:192.0.2.1]:1"
		r.Header["Client-Cert"] = values
		return from(r)
	}
	for name, value := range map[string]string{
		"RFC 9440":                      ":" + b64 + ":",
		"PEM with escapes, of nginx":    url.PathEscape(text),
		"PEM with all escaped":          strings.ReplaceAll(url.QueryEscape(text), "+", "%20"),
		"PEM with few escapes, of AWS":  strings.NewReplacer("\n", "%0A", " ", "%20").Replace(text),
		"PEM without the last new line": url.PathEscape(strings.TrimSpace(text)),
	} {
		got, err := read(value)
		require.NoError(t, err, name)
		assert.Equal(t, der, got, name)
	}
	for name, values := range map[string][]string{"no field": nil, "an empty one": {""}} {
		got, err := read(values...)
		require.NoError(t, err, name)
		assert.Empty(t, got, name)
	}
	for name, values := range map[string][]string{
		"two fields":             {":" + b64 + ":", ":" + b64 + ":"},
		"two, the first empty":   {"", ":" + b64 + ":"},
		"a line break":           {":" + b64[:40] + "\r\n" + b64[40:] + ":"},
		"a key after half a one": {url.PathEscape("-----BEGIN CERTIFICATE-----\nAAAA\n" + string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))},
		"no colon at the end":    {":" + b64},
		"a colon alone":          {":"},
		"no bytes":               {"::"},
		"parameters":             {":" + b64 + ":;a=1"},
		"a list":                 {":" + b64 + ":, :" + b64 + ":"},
		"base64url":              {":" + base64.URLEncoding.EncodeToString([]byte{0xff, 0xfe, 0xfd}) + ":"},
		"base64 alone":           {b64},
		"half an escape":         {url.PathEscape(text) + "%2"},
		"something else in PEM":  {url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))},
		"two certificates":       {url.PathEscape(text + text)},
		"PEM with a header":      {url.PathEscape(strings.Replace(text, "\n", "\nA: b\n\n", 1))},
		"PEM of nothing":         {url.PathEscape("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")},
		"something before it":    {url.PathEscape("x\n" + text)},
		"longer than any should": {":" + strings.Repeat("AAAA", 5000) + ":"},
	} {
		_, err := read(values...)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), b64[:20])
	}
	for _, address := range []string{"192.0.3.1:1", "", "192.0.2.1", "@"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = address
		r.Header.Set("Client-Cert", ":"+b64+":")
		got, err := from(r)
		require.NoError(t, err)
		assert.Empty(t, got, "of %q nothing is believed", address)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "[2001:db8::1]:1"
	r.Header.Set("Client-Cert", ":"+b64+":")
	got, err := from(r)
	require.NoError(t, err)
	assert.Equal(t, der, got)
}

func TestMistakesInACertificateHeader(t *testing.T) {
	_, err := middleware.CertificateHeader("a b", netip.MustParsePrefix("0.0.0.0/0"), netip.Prefix{})
	for _, want := range []string{`"a b" cannot be`, "everybody", "no network"} {
		assert.ErrorContains(t, err, want)
	}
	for _, field := range []string{"Client:Cert", "Client\tCert", "Client-Cért"} {
		_, err = middleware.CertificateHeader(field, netip.MustParsePrefix("192.0.2.0/24"))
		assert.ErrorContains(t, err, "cannot be the name of a field", field)
	}
	_, err = middleware.CertificateHeader("")
	assert.ErrorContains(t, err, `""`)
	assert.ErrorContains(t, err, "no proxies")
}

// What the caller's function answers decides, and a reason of its own is told.
func TestTheCallersCertificates(t *testing.T) {
	mine := newCertificate(t)
	token := boundTo(mine)
	for _, c := range []struct {
		name   string
		der    []byte
		err    error
		reason jwterrors.Reason
	}{
		{"the right one", mine.Certificate[0], nil, ""},
		{"another one", []byte{1}, nil, jwterrors.ProofInvalid},
		{"none", nil, nil, jwterrors.ProofInvalid},
		{"an error", mine.Certificate[0], errors.New("broken"), jwterrors.ProofInvalid},
		{"an error of no reason", mine.Certificate[0], &jwterrors.Error{Err: errors.New("broken")}, jwterrors.ProofInvalid},
		{"an error with a reason", mine.Certificate[0], fmt.Errorf("broken: %w", jwterrors.RequestInvalid), jwterrors.RequestInvalid},
	} {
		auth := newAuth(t, func(config *middleware.Config) {
			config.ClientCertificate = func(*http.Request) ([]byte, error) { return c.der, c.err }
		})
		_, err := auth.Check(request("Bearer " + token))
		assert.Equal(t, c.reason, jwterrors.ReasonOf(err), c.name)
		_, err = auth.Check(request("Bearer " + good()))
		require.NoError(t, err, "it is not asked about other tokens")
	}
}

// FuzzCertificateHeader: what is read is bytes that RFC 9440 writes in one way.
func FuzzCertificateHeader(f *testing.F) {
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("not one")}))
	for _, value := range []string{"", ":", "::", ":AAAA:", ":AAA=:", ":AA\nAA:", url.PathEscape(text), url.PathEscape(text + text), text, "%", "-----BEGIN CERTIFICATE-----"} {
		f.Add(value)
	}
	from, err := middleware.CertificateHeader("Client-Cert", netip.MustParsePrefix("192.0.2.0/24"))
	require.NoError(f, err)
	read := func(value string) ([]byte, error) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Client-Cert", value)
		return from(r)
	}
	f.Fuzz(func(t *testing.T, value string) {
		der, err := read(value)
		if err != nil || value == "" {
			if der != nil {
				t.Fatalf("%q: %x and %v", value, der, err)
			}
			return
		}
		again, err := read(":" + base64.StdEncoding.EncodeToString(der) + ":")
		if len(der) == 0 || err != nil && len(der) < 8<<10 || err == nil && string(again) != string(der) {
			t.Fatalf("%q: %x, then %x, %v", value, der, again, err)
		}
	})
}
