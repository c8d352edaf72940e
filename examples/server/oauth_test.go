package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// form posts a form, as the confidential client or as nobody.
func (p *process) form(path string, asApp bool, form url.Values) reply {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodPost, p.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if asApp {
		r.SetBasicAuth(appID, appSecret)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	a, err := read(resp)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func TestTheOAuthEndpoints(t *testing.T) {
	p := start(t)
	p.secrets = append(p.secrets, appSecret)
	own := p.form("/auth/token", true, url.Values{"grant_type": {"client_credentials"}, "scope": {"api:read"}})
	p.want(own, 200, "")
	p.want(p.do("GET", "/api/read", own.str("access_token"), ""), 200, "")
	p.want(p.form("/auth/token", false, url.Values{"grant_type": {"client_credentials"}, "client_id": {appID}}), 401, jwterrors.ClientInvalid)

	access, refresh := p.login()
	r := p.form("/auth/token", false, url.Values{"grant_type": {"refresh_token"}, "client_id": {mobileID}, "refresh_token": {refresh}})
	p.want(r, 200, "")
	p.secrets = append(p.secrets, r.str("access_token")[21:], r.str("refresh_token")[21:], own.str("access_token")[21:])
	active := func(token string) any {
		return p.form("/auth/introspect", true, url.Values{"token": {token}}).body["active"]
	}
	for _, token := range []string{own.str("access_token"), access, r.str("refresh_token")} {
		if active(token) != true {
			t.Error("a live token is not active")
		}
	}
	p.want(p.form("/auth/revoke", true, url.Values{"token": {own.str("access_token")}}), 200, "")
	p.want(p.do("GET", "/api/me", own.str("access_token"), ""), 401, jwterrors.TokenInvalidated)
	p.want(p.form("/auth/revoke", false, url.Values{"token": {r.str("refresh_token")}, "client_id": {mobileID}}), 200, "")
	p.want(p.do("GET", "/api/me", access, ""), 401, jwterrors.TokenInvalidated)
	for _, token := range []string{own.str("access_token"), access, r.str("refresh_token")} {
		if active(token) != false {
			t.Error("a revoked token is active")
		}
	}
}

// Another service finds the keys by the name of the issuer alone.
func TestTheIssuerIsDiscovered(t *testing.T) {
	p := start(t)
	auth, err := middleware.New(middleware.Config{
		Keys:   middleware.Discover(p.url, middleware.JWKSOptions{InsecureAllowHTTP: true}),
		Issuer: p.url, Audience: []string{"api"},
	})
	if err != nil {
		t.Fatal(err)
	}
	access, _ := p.login()
	claims, err := auth.Verify(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Subject != userName {
		t.Errorf("the subject is %q", claims.Subject)
	}
}
