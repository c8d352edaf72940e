package main

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// ask sends a request for /inspect and returns the answer and its body.
func (p *process) ask(method, query, body string, header ...string) (*http.Response, string) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url+"/inspect"+query, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.Host = r.Header.Get("Host")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, string(data)
}

// inspected posts a token and returns the page.
func (p *process) inspected(token string) string {
	p.t.Helper()
	resp, page := p.ask("POST", "", url.Values{"token": {token}}.Encode())
	if resp.StatusCode != 200 {
		p.t.Errorf("status %d: %s", resp.StatusCode, page)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 12 && strings.Contains(page, part) {
			p.t.Error("the page shows a part of the token")
		}
	}
	return page
}

func contains(t *testing.T, page string, all ...string) {
	t.Helper()
	for _, text := range all {
		if !strings.Contains(page, text) {
			t.Errorf("there is no %s in %s", text, page)
		}
	}
}

func TestTheInspectPageExplainsTokens(t *testing.T) {
	p := start(t, "-inspect")
	access, refresh := p.login()
	verdict := func(reason jwterrors.Reason) string {
		if reason == "" {
			return "<h2>Accepted</h2>"
		}
		return "<h2>Refused: " + string(reason) + "</h2>"
	}
	const unverified = "anybody can have written"

	page := p.inspected(access)
	contains(t, page, verdict(""), "<title>Accepted", "alice", p.url, `<th scope="row">revocation</th><td>passed</td>`)
	if strings.Contains(page, unverified) {
		t.Error("the token is verified")
	}
	contains(t, p.inspected(" "+access+"\r\n"), verdict(""))
	contains(t, p.inspected(access[:len(access)-8]+"AAAAAAAA"), verdict(jwterrors.TokenSignatureInvalid), unverified, "What the token says (unverified)")
	contains(t, p.inspected(refresh), verdict(jwterrors.TokenFormatInvalid))
	contains(t, p.inspected(""), verdict(jwterrors.TokenFormatInvalid))
	contains(t, p.inspected(strings.Repeat("x", 60_000)), verdict(jwterrors.TokenFormatInvalid), "60000 bytes")

	p.want(p.do("POST", "/auth/logout", "", `{"refresh_token":"`+refresh+`"}`), 204, "")
	contains(t, p.inspected(access), verdict(jwterrors.TokenInvalidated), `<th scope="row">revocation</th><td>failed</td>`)
}

// The page is small, needs nothing from elsewhere, and can be used without
// looking at it.
func TestTheInspectPage(t *testing.T) {
	p := start(t, "-inspect")
	for _, method := range []string{"GET", "POST"} {
		resp, page := p.ask(method, "", "token=x")
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
			"Cache-Control":           "no-store",
			"Content-Type":            "text/html; charset=utf-8",
			"X-Content-Type-Options":  "nosniff",
			"X-Frame-Options":         "DENY",
			"Referrer-Policy":         "same-origin",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", method, name, got)
			}
		}
		contains(t, page, `<html lang="en">`, "<title>", `<label for="token">`, `<textarea id="token" name="token"`, `<form method="post" action="/inspect"`)
		for _, text := range []string{"<script", "src=", "href=", "http-equiv", "onclick", "@import", "url("} {
			if strings.Contains(page, text) {
				t.Errorf("%s: the page has %s", method, text)
			}
		}
		if (method == "POST") != strings.Contains(page, "<table>") {
			t.Errorf("%s: %s", method, page)
		}
	}
}

// Nothing in a token becomes a part of the page.
func TestTheInspectPageWithHostileTokens(t *testing.T) {
	p := start(t, "-inspect")
	encode := base64.RawURLEncoding.EncodeToString
	const html = `</td></table></textarea><script>alert(1)</script><img src=x onerror=alert(1)>' \"{{.}}`
	for _, token := range []string{
		"<script>alert(1)</script><img src=x onerror=alert(1)>",
		"</textarea>.<script>.<img",
		encode([]byte(`{"alg":"`+html+`"}`)) + ".e30.AAAA",
		encode([]byte(`{"alg":"ES256","kid":"`+html+`","typ":"`+html+`"}`)) + ".e30.AAAA",
		encode([]byte(`{"alg":"ES256","kid":"`+html+`"}`)) + "." + encode([]byte(`{"iss":"`+html+`","aud":["`+html+`"],"sub":"`+html+`","jti":"`+html+`","sid":"`+html+`","scope":"`+html+`"}`)) + ".AAAA",
		encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(`{"iss":{"`+html+`":1},"exp":"`+html+`","`+html+`":1}`)) + ".AAAA",
	} {
		page := p.inspected(token)
		for _, text := range []string{"<script", "<img"} {
			if strings.Contains(page, text) {
				t.Errorf("%q: the page has %s: %s", token, text, page)
			}
		}
		if n := strings.Count(page, "<textarea"); n != 1 || strings.Count(page, "</textarea>") != 1 {
			t.Errorf("%q: there are %d text areas", token, n)
		}
		if open, closed := strings.Count(page, "<t"), strings.Count(page, "</t"); open != closed {
			t.Errorf("%q: %d elements of tables begin, and %d end", token, open, closed)
		}
		if strings.HasPrefix(token, "eyJ") {
			contains(t, page, "&lt;script&gt;alert(1)&lt;/script&gt;")
		}
	}
}

func TestTheInspectPageRefusesWhatIsNotItsForm(t *testing.T) {
	p := start(t, "-inspect")
	access, _ := p.login()
	form := "token=" + access
	for _, c := range []struct {
		name, method, query, body string
		header                    []string
		status                    int
	}{
		{"its own form", "POST", "", form, []string{"Sec-Fetch-Site", "same-origin", "Origin", p.url}, 200},
		{"its own form in an old browser", "POST", "", form, []string{"Origin", p.url}, 200},
		{"its form by another name of the machine", "POST", "", form, []string{"Host", "localhost:1", "Origin", "http://localhost:1"}, 200},
		{"the form of another site", "POST", "", form, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"the form of another port", "POST", "", form, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"}, 403},
		{"the form of another site in an old browser", "POST", "", form, []string{"Origin", "https://evil.example"}, 403},
		{"the name of another site that points here", "POST", "", form, []string{"Host", "evil.example", "Origin", "http://evil.example", "Sec-Fetch-Site", "same-origin"}, 403},
		{"the same, to read", "GET", "", "", []string{"Host", "127.0.0.1.evil.example"}, 403},
		{"a token in the URL", "GET", "?" + form, "", nil, 400},
		{"a token in the URL of a form", "POST", "?" + form, "", nil, 400},
		{"no token", "POST", "", "x=y", nil, 400},
		{"two tokens", "POST", "", form + "&" + form, nil, 400},
		{"a malformed form", "POST", "", "token=%zz", nil, 400},
		{"JSON", "POST", "", `{"token":"x"}`, []string{"Content-Type", "application/json"}, 415},
		{"another form", "POST", "", form, []string{"Content-Type", "multipart/form-data; boundary=x"}, 415},
		{"a long body", "POST", "", "token=" + strings.Repeat("x", maxInspectBytes), nil, 413},
		{"another method", "PUT", "", form, nil, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, page := p.ask(c.method, c.query, c.body, c.header...)
			if resp.StatusCode != c.status {
				t.Errorf("status %d: %s", resp.StatusCode, page)
			}
			if (c.status == 200) != strings.Contains(page, "alice") {
				t.Error(page)
			}
			if strings.Contains(page, access[21:]) {
				t.Error("the page has the token")
			}
		})
	}
}

func TestTheInspectPageIsOffByDefault(t *testing.T) {
	p := start(t)
	if resp, _ := p.ask("GET", "", ""); resp.StatusCode != 404 {
		t.Errorf("status %d", resp.StatusCode)
	}
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1.example.com:0"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		out, err := exec.CommandContext(ctx, binary, "-addr", addr, "-inspect").CombinedOutput()
		cancel()
		if err == nil || !strings.Contains(string(out), "no loopback address") {
			t.Errorf("%q: %v, %s", addr, err, out)
		}
	}
}
