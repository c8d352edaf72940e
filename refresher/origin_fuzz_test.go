package refresher_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tokenloop/tokenloop/refresher"
)

// Whatever a request says of where it goes: where the token is in it, a proxy and a
// server that read what net/http writes find one of the origins.
func FuzzWhereTheTokenGoes(f *testing.F) {
	for _, seed := range [][3]string{
		{"https://api.example.com/orders", "", ""},
		{"https://API.example.com:443/", "api.example.com", ""},
		{"https://api.example.com:8443/", "api.example.com:8443", ""},
		{"https://[::1]:9443/", "", ""},
		{"https://api.example.com/", "evil.test", ""},
		{"https://api.example.com/", "", "//evil.test/x"},
		{"https://api.example.com/", "", "https://evil.test/x"},
		{"https://api.example.com/", "", "//api.example.com/a%2Fb"},
		{"https://api.example.com/", "api.example.com.", "/x"},
		{"https://api.example.com@evil.test/", "", ""},
		{"https://user:password@api.example.com/", "", ""},
		{"https://api.example.com:/", "", ""},
		{"https://k.example.com/", "\u212a.example.com", ""},
		{"https://api.example.com//evil.test/", "", ""},
		{"http://api.example.com/", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	allowed := map[string]bool{"api.example.com": true, "[::1]:9443": true, "k.example.com": true}
	var sent *http.Request
	tr, err := refresher.New(refresher.Config{
		Origins: []string{"https://api.example.com", "https://[::1]:9443", "https://k.example.com"}, Push: true,
		Base: tripFunc(func(r *http.Request) (*http.Response, error) {
			sent = r
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
		}),
	})
	if err != nil {
		f.Fatal(err)
	}
	if err := tr.SetTokens(f.Context(), refresher.Tokens{AccessToken: "opaque"}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, address, host, opaque string) {
		req, err := http.NewRequest("GET", address, nil)
		if err != nil {
			return
		}
		if host != "" {
			req.Host = host
		}
		req.URL.Opaque += opaque
		if _, err := tr.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		if sent.Header.Get("Authorization") == "" {
			return
		}
		for name, write := range map[string]func(*http.Request, *bytes.Buffer) error{
			"a server": func(r *http.Request, b *bytes.Buffer) error { return r.Write(b) },
			"a proxy":  func(r *http.Request, b *bytes.Buffer) error { return r.WriteProxy(b) },
		} {
			var wire bytes.Buffer
			if write(sent, &wire) != nil {
				continue // and so is not sent
			}
			got, err := http.ReadRequest(bufio.NewReader(&wire))
			if err != nil {
				continue // and is not understood
			}
			for _, at := range []string{got.Host, got.URL.Host, sent.URL.Host} {
				plain := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(at), ":443"), ":")
				if at != "" && !allowed[plain] {
					t.Errorf("%q, %q, %q: %s finds the token for %q", address, host, opaque, name, at)
				}
			}
			if u, err := url.Parse(got.RequestURI); err == nil && u.Scheme != "" && u.Scheme != "https" {
				t.Errorf("%q, %q, %q: %s finds the token for %q", address, host, opaque, name, u.Scheme)
			}
		}
	})
}
