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
	if raceEnabled {
		t.Skip("a hundred hashes take long under the race detector")
	}
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

// Where servers count together, what one refuses another one refuses.
func TestServersOnRedisLimitLoginsTogether(t *testing.T) { // IT-04
	if raceEnabled {
		t.Skip("a hundred hashes take long under the race detector")
	}
	flags := shared(t, newRedis(t))
	a, b := start(t, flags...), start(t, flags...)
	for range triesOfAlice.Attempts {
		a.want(a.do("POST", "/auth/login", "", `{"username":"alice","password":"x"}`), 401, jwterrors.CredentialsInvalid)
	}
	b.want(b.do("POST", "/auth/login", "", credentials), 429, jwterrors.RateLimited)
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

// What pages may do with the OAuth endpoints. Nothing there looks at the cookie,
// and refresh tokens are in the body: they are for clients of their own.
func TestTheOAuthEndpointsAndPages(t *testing.T) {
	const known, evil = "http://localhost:5173", "https://evil.example"
	for _, mode := range []struct {
		name    string
		flags   []string
		cookies bool
	}{
		{"with the cookie", []string{"-browser", "-origin", known}, true},
		{"without the cookie", []string{"-origin", known}, false},
	} {
		t.Run(mode.name, func(t *testing.T) {
			p := start(t, mode.flags...)
			p.secrets = append(p.secrets, appSecret)
			send := func(method, path, form string, header ...string) (*http.Response, reply) {
				t.Helper()
				r, err := http.NewRequest(method, p.url+path, strings.NewReader(form))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				for n := 0; n < len(header); n += 2 {
					r.Header.Set(header[n], header[n+1])
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				answer, err := read(resp)
				if err != nil {
					t.Fatal(err)
				}
				return resp, answer
			}
			readers := func(resp *http.Response, origin string) {
				t.Helper()
				if got := resp.Header.Get("Access-Control-Allow-Origin"); got != origin {
					t.Errorf("%s may read it, not %q", got, origin)
				}
				want := ""
				if mode.cookies && origin != "" {
					want = "true"
				}
				if got := resp.Header.Get("Access-Control-Allow-Credentials"); got != want {
					t.Errorf("it may be read with credentials: %q", got)
				}
				if len(resp.Cookies()) > 0 {
					t.Error("it sets a cookie")
				}
			}
			const own = "grant_type=client_credentials&client_id=" + appID + "&client_secret=" + appSecret
			for path, form := range map[string]string{
				"/auth/token":      own,
				"/auth/revoke":     "token=x&client_id=" + mobileID,
				"/auth/introspect": "token=x&client_id=" + appID + "&client_secret=" + appSecret,
			} {
				ask := []string{"Origin", known, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"}
				resp, _ := send("OPTIONS", path, "", ask...)
				readers(resp, known)
				if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Methods") != "POST" ||
					!strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
					t.Errorf("%s: the preflight is answered %d %v", path, resp.StatusCode, resp.Header)
				}
				ask[1] = evil
				if resp, _ = send("OPTIONS", path, "", ask...); resp.StatusCode != 403 {
					t.Errorf("%s: the preflight of another origin is answered %d", path, resp.StatusCode)
				}
				readers(resp, "")

				resp, r := send("POST", path, form, "Origin", known, "Sec-Fetch-Site", "same-site")
				p.want(r, 200, "")
				readers(resp, known)
				resp, r = send("POST", path, form, "Origin", evil, "Sec-Fetch-Site", "cross-site")
				readers(resp, "")
				if mode.cookies && r.status != 403 || !mode.cookies && r.status != 200 {
					t.Errorf("%s: another origin is answered %d", path, r.status)
				}
				resp, r = send("POST", path, form) // no browser
				p.want(r, 200, "")
				readers(resp, "")
			}
			resp, r := send("POST", "/auth/introspect", "token=x&client_id="+appID+"&client_secret=wrong", "Origin", known)
			p.want(r, 401, jwterrors.ClientInvalid)
			readers(resp, known)

			b := newBrowser(p)
			answer := b.spend(b.code(asking()))
			p.want(answer, 200, "")
			refresh := answer.str("refresh_token")
			_, r = send("POST", "/auth/token", "grant_type=refresh_token&client_id="+mobileID, "Cookie", "__Host-refresh="+refresh)
			p.want(r, 400, jwterrors.RefreshTokenMissing)
			resp, r = send("POST", "/auth/token", "grant_type=refresh_token&client_id="+mobileID+"&refresh_token="+refresh, "Origin", known)
			p.want(r, 200, "")
			readers(resp, known)
			p.secrets = append(p.secrets, r.str("refresh_token")[21:])

			// The page is for people: no other page reads it, known or not.
			if resp, _ := send("GET", authorizePath+"?"+asking().Encode(), "", "Origin", known); resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("the authorization page: %d %v", resp.StatusCode, resp.Header)
			}
		})
	}
}
