package main

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

const (
	verifier  = "an-obviously-fake-verifier-of-a-public-client"
	localBack = "http://127.0.0.1:4711/callback"
)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// asking is a good authorization request, with changes: names and values.
func asking(changes ...string) url.Values {
	q := url.Values{
		"response_type": {"code"}, "client_id": {mobileID}, "redirect_uri": {localBack}, "scope": {"api:read"}, "state": {`a "state" & <more>`},
		"code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"}, "unknown": {"1", "2"},
	}
	for n := 0; n < len(changes); n += 2 {
		q.Set(changes[n], changes[n+1])
	}
	return q
}

// A browser follows no redirect by itself and keeps what a page has.
type browser struct {
	*process
	header http.Header // of each request
}

func newBrowser(p *process) *browser { return &browser{p, http.Header{}} }

func (b *browser) send(method, query string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.url+authorizePath+query, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header = b.header.Clone()
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(data)
}

var field = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// form opens the page and returns the fields of its form, filled in.
func (b *browser) form(q url.Values) url.Values {
	b.t.Helper()
	resp, page := b.send("GET", "?"+q.Encode(), nil)
	if resp.StatusCode != 200 {
		b.t.Fatalf("the page is answered with %d: %s", resp.StatusCode, page)
	}
	form := url.Values{"username": {userName}, "password": {userPassword}, "decision": {"allow"}}
	for _, f := range field.FindAllStringSubmatch(page, -1) {
		form.Add(f[1], html.UnescapeString(f[2]))
	}
	return form
}

// sentBack returns the parameters of a redirect to the client.
func (b *browser) sentBack(resp *http.Response, to string) url.Values {
	b.t.Helper()
	where, query, _ := strings.Cut(resp.Header.Get("Location"), "?")
	if resp.StatusCode != 303 || where != to {
		b.t.Fatalf("the answer is %d to %s", resp.StatusCode, where)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		b.t.Fatal(err)
	}
	return q
}

// code lets alice allow what q asks for.
func (b *browser) code(q url.Values) string {
	b.t.Helper()
	resp, _ := b.send("POST", "", b.form(q))
	back := b.sentBack(resp, q.Get("redirect_uri"))
	if back.Get("state") != q.Get("state") || back.Get("code") == "" || back.Has("error") {
		b.t.Fatalf("sent back is %v", back)
	}
	b.secrets = append(b.secrets, back.Get("code"))
	return back.Get("code")
}

// spend is a request for the tokens of a code, with changes.
func (b *browser) spend(code string, changes ...string) reply {
	b.t.Helper()
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {mobileID}, "redirect_uri": {localBack}, "code": {code}, "code_verifier": {verifier},
	}
	for n := 0; n < len(changes); n += 2 {
		form.Set(changes[n], changes[n+1])
	}
	r := b.process.form("/auth/token", false, form)
	for _, name := range []string{"access_token", "refresh_token"} {
		if token := r.str(name); token != "" {
			b.secrets = append(b.secrets, token[21:])
		}
	}
	return r
}

func TestTheCodeFlow(t *testing.T) {
	b := newBrowser(start(t, "-grace", "0s"))
	meta := b.do("GET", "/.well-known/oauth-authorization-server", "", "").body
	if meta["authorization_endpoint"] != b.url+authorizePath || meta["token_endpoint"] != b.url+"/auth/token" {
		t.Errorf("the metadata are %v", meta)
	}
	if grants, _ := meta["grant_types_supported"].([]any); !slices.Contains(grants, any("authorization_code")) {
		t.Errorf("the grants are %v", grants)
	}

	for _, to := range []string{localBack, mobileApp, mobileLoopback} {
		r := b.spend(b.code(asking("redirect_uri", to)), "redirect_uri", to)
		b.want(r, 200, "")
		me := b.do("GET", "/api/me", r.str("access_token"), "")
		if me.str("sub") != userName || me.str("client_id") != mobileID || me.str("scope") != "api:read" {
			t.Errorf("claims are %v", me.body)
		}
		next := b.process.form("/auth/token", false, url.Values{"grant_type": {"refresh_token"}, "client_id": {mobileID}, "refresh_token": {r.str("refresh_token")}})
		b.want(next, 200, "")
		b.secrets = append(b.secrets, next.str("access_token")[21:], next.str("refresh_token")[21:])
	}

	// Somebody who has the code alone gets nothing, and takes nothing away.
	code := b.code(asking("scope", "", "state", ""))
	b.want(b.spend(code, "code_verifier", verifier+"x"), 400, jwterrors.GrantInvalid)
	b.want(b.spend(code, "code_verifier", ""), 400, jwterrors.RequestInvalid)
	b.want(b.spend(code, "redirect_uri", mobileApp), 400, jwterrors.GrantInvalid)
	b.want(b.spend(code, "redirect_uri", "http://127.0.0.1:4712/callback"), 400, jwterrors.GrantInvalid)
	b.want(b.spend(code[:len(code)-4]+"AAAA"), 400, jwterrors.GrantInvalid)
	r := b.spend(code)
	b.want(r, 200, "")
	if r.str("scope") != "api:read api:write" {
		t.Errorf("without a scope, the scope is %q", r.str("scope"))
	}
	b.want(b.do("GET", "/api/me", r.str("access_token"), ""), 200, "")

	// A code that comes back was stolen: what it began ends.
	b.want(b.spend(code), 400, jwterrors.GrantInvalid)
	b.want(b.do("GET", "/api/me", r.str("access_token"), ""), 401, jwterrors.TokenInvalidated)
	b.want(b.do("POST", "/auth/refresh", "", refreshBody(r.str("refresh_token"))), 401, jwterrors.SessionRevoked)
}

// The form keeps what the request says, for what the code is made of.
func TestTheAuthorizationFormKeepsTheRequest(t *testing.T) { // RFC 9449, Section 10
	b := newBrowser(start(t))
	asked := asking("dpop_jkt", challenge("stands for the thumbprint of a key"))
	form := b.form(asked)
	for _, name := range authorizeParameters {
		if form.Get(name) == "" || form.Get(name) != asked.Get(name) {
			t.Errorf("%s is %q in the form, and was %q", name, form.Get(name), asked.Get(name))
		}
	}
	if form.Has("unknown") {
		t.Error("the form has what nobody asks for")
	}
}

func TestAuthorizationRequestsThatAreRefused(t *testing.T) {
	b := newBrowser(start(t))
	const back = "back" // to the client, with the error; else the page says it
	for _, c := range []struct {
		name, what, value, where, want string
	}{
		{"an unknown client", "client_id", "nobody", "", "not known"},
		{"a client that has no codes", "client_id", appID, "", "not known"},
		{"no redirect URI", "redirect_uri", "", "", "not known"},
		{"another host", "redirect_uri", "https://evil.example/callback", "", "not known"},
		{"another path", "redirect_uri", "http://127.0.0.1:4711/callback/", "", "not known"},
		{"a query", "redirect_uri", "http://127.0.0.1:4711/callback?x=1", "", "not known"},
		{"a fragment", "redirect_uri", "http://127.0.0.1:4711/callback#x", "", "not known"},
		{"a name for loopback", "redirect_uri", "http://localhost:4711/callback", "", "not known"},
		{"a user before the host", "redirect_uri", "http://127.0.0.1:4711@evil.example/callback", "", "not known"},
		{"a prefix of the scheme", "redirect_uri", "com.example.mobile2:/callback", "", "not known"},
		{"a script", "redirect_uri", "javascript:alert(1)", "", "not known"},
		{"no response type", "response_type", "", back, "invalid_request"},
		{"the implicit grant", "response_type", "token", back, "unsupported_response_type"},
		{"no challenge", "code_challenge", "", back, "invalid_request"},
		{"a plain challenge", "code_challenge_method", "plain", back, "invalid_request"},
		{"no method", "code_challenge_method", "", back, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := asking(c.what, c.value)
			form := asking(c.what, c.value, "username", userName, "password", userPassword, "decision", "allow")
			for method, send := range map[string]func() (*http.Response, string){
				"GET":  func() (*http.Response, string) { return b.send("GET", "?"+q.Encode(), nil) },
				"POST": func() (*http.Response, string) { return b.send("POST", "", form) },
			} {
				resp, page := send()
				if c.where == back {
					if got := b.sentBack(resp, localBack); got.Get("error") != c.want || got.Get("state") != q.Get("state") || got.Has("code") {
						t.Errorf("%s: sent back is %v", method, got)
					}
				} else if resp.StatusCode != 400 || resp.Header.Get("Location") != "" || !strings.Contains(page, c.want) || strings.Contains(page, "evil") {
					t.Errorf("%s: the answer is %d to %q: %s", method, resp.StatusCode, resp.Header.Get("Location"), page)
				}
			}
		})
	}

	for _, name := range authorizeParameters {
		q := asking("dpop_jkt", challenge("x"))
		q.Add(name, q.Get(name))
		if resp, _ := b.send("GET", "?"+q.Encode(), nil); resp.StatusCode != 400 {
			t.Errorf("%s twice: %d", name, resp.StatusCode)
		}
	}
	resp, _ := b.send("POST", "", b.form(asking("scope", "api:read admin")))
	if got := b.sentBack(resp, localBack); got.Get("error") != "invalid_scope" {
		t.Errorf("a scope that nobody has: %v", got)
	}
	form := b.form(asking())
	form.Set("decision", "refuse")
	form.Del("password")
	resp, _ = b.send("POST", "", form)
	if got := b.sentBack(resp, localBack); got.Get("error") != "access_denied" || got.Get("state") != asking().Get("state") {
		t.Errorf("a user who refuses: %v", got)
	}
	form.Set("decision", "")
	if resp, _ = b.send("POST", "", form); resp.StatusCode != 400 {
		t.Errorf("a form without a decision: %d", resp.StatusCode)
	}
	if resp, _ = b.send("POST", "?"+asking().Encode(), b.form(asking())); resp.StatusCode != 400 {
		t.Errorf("a form with a query: %d", resp.StatusCode)
	}
	if resp, _ = b.send("DELETE", "", nil); resp.StatusCode != 405 {
		t.Errorf("another method: %d", resp.StatusCode)
	}
	if resp, _ = b.send("POST", "", url.Values{"x": {strings.Repeat("x", maxAuthorizeBytes)}}); resp.StatusCode != 400 {
		t.Errorf("a form that is too long: %d", resp.StatusCode)
	}
}

func TestTheAuthorizationPageIsGuarded(t *testing.T) {
	b := newBrowser(start(t))
	resp, page := b.send("GET", "?"+asking("state", `"><script>alert(1)</script>`, "scope", "<b>").Encode(), nil)
	if strings.Contains(page, "<script") || strings.Contains(page, "<b>&lt;b&gt;</b>") || strings.Contains(page, "<li><b>") {
		t.Errorf("the page has what the request says: %s", page)
	}
	want := "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' http://127.0.0.1:4711"
	if got := resp.Header.Get("Content-Security-Policy"); got != want {
		t.Errorf("the policy is %s", got)
	}
	resp, _ = b.send("GET", "?"+asking("redirect_uri", mobileApp).Encode(), nil)
	if got := resp.Header.Get("Content-Security-Policy"); !strings.HasSuffix(got, "form-action 'self' com.example.mobile:") {
		t.Errorf("the policy is %s", got)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Set-Cookie": ""} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}

	form := b.form(asking())
	for _, h := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}, {"Origin": {"null"}},
	} {
		b.header = h
		if resp, _ := b.send("POST", "", form); resp.StatusCode != 403 {
			t.Errorf("a form with %v: %d", h, resp.StatusCode)
		}
	}
	b.header = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {b.url}}
	resp, _ = b.send("POST", "", form)
	if got := b.sentBack(resp, localBack); !got.Has("code") {
		t.Errorf("the page's own form: %v", got)
	}
}

func TestThePasswordOnTheAuthorizationPage(t *testing.T) { // IT-04
	if raceEnabled {
		t.Skip("a hundred hashes take long under the race detector")
	}
	b := newBrowser(start(t))
	form := b.form(asking())
	good := form.Get("password")
	b.secrets = append(b.secrets, "a wrong password")
	form.Set("password", "a wrong password")
	for _, name := range []string{userName, "nobody"} {
		form.Set("username", name)
		resp, page := b.send("POST", "", form)
		if resp.StatusCode != 401 || resp.Header.Get("Location") != "" || !strings.Contains(page, "is wrong") || strings.Contains(page, "a wrong password") {
			t.Errorf("%s: %d, %s", name, resp.StatusCode, page)
		}
	}
	form.Set("username", userName)
	for range triesOfAlice.Attempts - 1 {
		b.send("POST", "", form)
	}
	form.Set("password", good)
	resp, _ := b.send("POST", "", form)
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Location") != "" {
		t.Errorf("after too many attempts: %d %v", resp.StatusCode, resp.Header)
	}
}

// IT-04: a guesser with a whole IPv6 network has one budget.
func TestTheNetworkOfAnAddress(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2::3": "2001:db8:1:2::/64", "2001:db8:1:2:ffff::": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"": "", "@": "",
	} {
		if got := network(host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}
