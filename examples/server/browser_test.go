package main

import (
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

func TestLoginsAreLimited(t *testing.T) { // IT-04
	const wrong = `{"username":"alice","password":"x"}`
	p := start(t)
	_, refresh := p.login()
	for range triesOfAlice.Attempts {
		p.want(p.do("POST", "/auth/login", "", wrong), 401, jwterrors.CredentialsInvalid)
	}
	p.want(p.do("POST", "/auth/login", "", credentials), 429, jwterrors.RateLimited)
	p.want(p.do("POST", "/auth/refresh", "", `{"refresh_token":"`+refresh+`"}`), 200, "")

	p = start(t, "-insecure-no-limits")
	for range triesOfAlice.Attempts + 1 {
		p.want(p.do("POST", "/auth/login", "", wrong), 401, jwterrors.CredentialsInvalid)
	}
	p.login()
}

func TestNoEventIsLostAtTheEnd(t *testing.T) { // JG-17
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM")
	}
	p := start(t)
	const logins = 50
	for range logins {
		p.login()
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(p.stderr.String(), "kind=login "); n != logins {
		t.Errorf("%d events of %d logins", n, logins)
	}
}

func TestTheBrowserMode(t *testing.T) {
	const origin = "http://localhost:5173"
	p := start(t, "-browser", "-origin", origin)
	// send sends the cookie, as browsers do to a loopback address also without TLS.
	send := func(path, body, site, origin, cookie string) (*http.Response, string) {
		req, err := http.NewRequest("POST", p.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		req.Header.Set("Sec-Fetch-Site", site)
		req.Header.Set("Origin", origin)
		if cookie != "" {
			req.AddCookie(&http.Cookie{Name: "__Host-refresh", Value: cookie})
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for _, c := range resp.Cookies() {
			cookie = c.Value
		}
		return resp, cookie
	}
	resp, cookie := send("/auth/login", credentials, "same-site", origin, "")
	if resp.StatusCode != 200 || cookie == "" || resp.Header.Get("Access-Control-Allow-Origin") != origin {
		t.Fatalf("login: %d %v", resp.StatusCode, resp.Header)
	}
	p.secrets = append(p.secrets, cookie[21:])
	if resp, _ = send("/auth/refresh", "", "same-site", origin, cookie); resp.StatusCode != 200 {
		t.Errorf("refresh: %d", resp.StatusCode)
	}
	if resp, _ = send("/auth/refresh", "", "cross-site", "https://evil.example", cookie); resp.StatusCode != 403 {
		t.Errorf("refresh from another origin: %d", resp.StatusCode)
	}
	if resp, left := send("/auth/logout", "", "same-site", origin, cookie); resp.StatusCode != 204 || left != "" {
		t.Errorf("logout: %d, and the cookie is %q", resp.StatusCode, left)
	}
	if resp, left := send("/auth/refresh", "", "same-site", origin, cookie); resp.StatusCode != 401 || left != "" {
		t.Errorf("after logout: %d, and the cookie is %q", resp.StatusCode, left)
	}
}
