package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// bound logs alice in with a new key.
func (p *process) bound() (*refresher.Transport, *refresher.DPoPKey) {
	p.t.Helper()
	key := refresher.GenerateDPoPKey()
	session, err := refresher.New(refresher.Config{AuthURL: p.url + "/auth", Origins: []string{p.url}, DPoP: key, InsecureAllowHTTP: true})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { session.Close() })
	if err := session.Login(p.t.Context(), refresher.Credentials{Username: userName, Password: userPassword}); err != nil {
		p.t.Fatal(err)
	}
	p.keepSecret(session)
	return session, key
}

func (p *process) keepSecret(session *refresher.Transport) refresher.Tokens {
	tokens, _ := session.Tokens()
	p.secrets = append(p.secrets, tokens.AccessToken[21:], tokens.RefreshToken[21:])
	return tokens
}

// as sends GET with a token under a scheme, and a proof unless that is "".
func (p *process) as(client *http.Client, scheme, path, token, proof string) (reply, http.Header) {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", scheme+" "+token)
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	resp, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	a, err := read(resp)
	if err != nil {
		p.t.Fatal(err)
	}
	return a, resp.Header
}

func (p *process) proof(key *refresher.DPoPKey, url, token, nonce string) string {
	p.t.Helper()
	proof, err := key.Proof(http.MethodGet, url, token, nonce)
	if err != nil {
		p.t.Fatal(err)
	}
	return proof
}

func TestTokensAreBoundToAKey(t *testing.T) {
	for _, args := range [][]string{nil, {"-dpop-nonce"}, {"-dpop", "required", "-dpop-nonce"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			p := start(t, args...)
			session, key := p.bound()
			me, err := session.Client().Get(p.url + "/api/me?page=2")
			if err != nil {
				t.Fatal(err)
			}
			defer me.Body.Close()
			r, err := read(me)
			p.want(r, 200, "")
			if cnf, _ := r.body["cnf"].(map[string]any); err != nil || cnf["jkt"] != key.Thumbprint() {
				t.Errorf("the claims are %v, %v", r.body, err)
			}

			// Without the key the tokens are of no use to anybody.
			token := p.keepSecret(session).AccessToken
			bearer, header := p.as(http.DefaultClient, "Bearer", "/api/me", token, "")
			p.want(bearer, 401, jwterrors.ProofInvalid)
			if challenge := header.Get("WWW-Authenticate"); !strings.Contains(challenge, `DPoP`) {
				t.Errorf("the challenge is %q", challenge)
			}
			without, _ := p.as(http.DefaultClient, "DPoP", "/api/me", token, "")
			p.want(without, 401, jwterrors.ProofInvalid)
			thief := &http.Client{Transport: refresher.GenerateDPoPKey().Transport(nil)}
			stolen, _ := p.as(thief, "DPoP", "/api/me", token, "")
			p.want(stolen, 401, jwterrors.ProofInvalid)
			stolen, _ = p.as(thief, "DPoP", "/auth/sessions", token, "")
			p.want(stolen, 401, jwterrors.ProofInvalid)
			resp, err := thief.Post(p.url+"/auth/refresh", "application/json", strings.NewReader(refreshBody(p.keepSecret(session).RefreshToken)))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			stolen, err = read(resp)
			if p.want(stolen, 401, jwterrors.ProofInvalid); err != nil {
				t.Error(err)
			}

			// And nothing that the thief did has ended the session.
			if err := session.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
			owner := &http.Client{Transport: key.Transport(nil)}
			mine, _ := p.as(owner, "DPoP", "/auth/sessions", p.keepSecret(session).AccessToken, "")
			p.want(mine, 200, "")
		})
	}
}

func TestAProofIsGoodForOneRequest(t *testing.T) {
	p := start(t)
	session, key := p.bound()
	token := p.keepSecret(session).AccessToken
	for _, c := range []struct {
		name, url string
		reason    jwterrors.Reason
	}{
		{"for this request", p.url + "/api/me", ""},
		{"for another path", p.url + "/api/read", jwterrors.ProofInvalid},
		{"for another host", "http://localhost:1/api/me", jwterrors.ProofInvalid},
	} {
		proof := p.proof(key, c.url, token, "")
		r, _ := p.as(http.DefaultClient, "DPoP", "/api/me", token, proof)
		if r.reason != c.reason {
			t.Errorf("%s: %d %s", c.name, r.status, r.reason)
		}
		again, _ := p.as(http.DefaultClient, "DPoP", "/api/me", token, proof)
		p.want(again, 401, jwterrors.ProofInvalid)
	}
}

func TestTheModesOfDPoP(t *testing.T) {
	login := func(p *process) reply {
		t.Helper()
		client := &http.Client{Transport: refresher.GenerateDPoPKey().Transport(nil)}
		resp, err := client.Post(p.url+"/auth/login", "application/json", strings.NewReader(credentials))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		r, err := read(resp)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"access_token", "refresh_token"} {
			if token := r.str(name); token != "" {
				p.secrets = append(p.secrets, token[21:])
			}
		}
		return r
	}
	for mode, want := range map[string]struct {
		kind      string
		bearer    int
		described bool
	}{
		"off": {"Bearer", 200, false}, "allowed": {"DPoP", 200, true}, "required": {"DPoP", 401, true},
	} {
		t.Run(mode, func(t *testing.T) {
			const audience = "https://api.example.com/api"
			p := start(t, "-dpop", mode, "-audience", audience)
			if r := login(p); r.status != 200 || r.str("token_type") != want.kind {
				t.Errorf("a login with a proof is answered with %d, and tokens of the type %q", r.status, r.str("token_type"))
			}
			plain := p.do("POST", "/auth/login", "", credentials)
			if plain.status != want.bearer {
				t.Errorf("a login without a proof is answered with %d %s", plain.status, plain.reason)
			}
			if want.bearer == 200 {
				access, _ := p.login()
				p.want(p.do("GET", "/api/me", access, ""), 200, "")
			}
			issuerSays := p.do("GET", "/.well-known/oauth-authorization-server", "", "").body["dpop_signing_alg_values_supported"]
			api := p.do("GET", "/.well-known/oauth-protected-resource/api", "", "").body
			apiSays, _ := api["dpop_signing_alg_values_supported"].([]any)
			same, _ := issuerSays.([]any)
			if !slices.Equal(same, apiSays) || (len(same) > 0) != want.described || api["resource"] != audience {
				t.Errorf("the issuer says %v, and the API %v", issuerSays, api)
			}
			if required, _ := api["dpop_bound_access_tokens_required"].(bool); required != (mode == "required") {
				t.Errorf("the API says %v", api)
			}
			_, header := p.as(http.DefaultClient, "Bearer", "/api/me", "x", "")
			if !strings.Contains(header.Get("WWW-Authenticate"), `resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/api"`) {
				t.Errorf("the challenge is %q", header.Get("WWW-Authenticate"))
			}
		})
	}
}

// Servers on one Redis take a proof once, and one another's nonces.
func TestServersShareProofsAndNonces(t *testing.T) {
	const name = "https://id.example.com"
	dir := t.TempDir()
	master, key := filepath.Join(dir, "master"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(master, bytes.Repeat([]byte("fake"), 8), 0o600); err != nil {
		t.Fatal(err)
	}
	writeKey(t, key)
	args := []string{"-store", newRedis(t), "-issuer", name, "-master-key-file", master, "-key-file", key, "-dpop-nonce"}
	a, b := start(t, args...), start(t, args...)
	holder := refresher.GenerateDPoPKey()

	nonce := ""
	login := func(p *process) (r reply) {
		t.Helper()
		proof, err := holder.Proof(http.MethodPost, name+"/auth/login", "", nonce)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, p.url+"/auth/login", strings.NewReader(credentials))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("DPoP", proof)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if r, err = read(resp); err != nil {
			t.Fatal(err)
		}
		if said := resp.Header.Get("DPoP-Nonce"); said != "" {
			nonce = said
		}
		return r
	}
	a.want(login(a), 401, jwterrors.ProofNonceRequired)
	r := login(b)
	b.want(r, 200, "")
	token := r.str("access_token")
	for _, p := range []*process{a, b} {
		p.secrets = append(p.secrets, token[21:], r.str("refresh_token")[21:])
	}
	proof := a.proof(holder, name+"/api/me", token, nonce)
	first, _ := a.as(http.DefaultClient, "DPoP", "/api/me", token, proof)
	a.want(first, 200, "")
	second, _ := b.as(http.DefaultClient, "DPoP", "/api/me", token, proof)
	b.want(second, 401, jwterrors.ProofInvalid)
}

// RFC 9470: a refresh does not make a login more recent, and a login does.
func TestATransferNeedsARecentLogin(t *testing.T) {
	p := start(t, "-transfer-age", "1s", "-leeway", "0s", "-grace", "0s")
	access, refresh := p.login()
	for range 100 { // the login is recent for a second at the most
		r, header := p.as(http.DefaultClient, "Bearer", "/api/transfer", access, "")
		if r.status == 200 {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		p.want(r, 401, jwterrors.AuthenticationInsufficient)
		if challenge := header.Get("WWW-Authenticate"); !strings.Contains(challenge, `max_age="1"`) && !strings.Contains(challenge, "max_age=1") {
			t.Errorf("the challenge is %q", challenge)
		}
		p.want(p.do("GET", "/api/me", access, ""), 200, "")
		again := p.do("POST", "/auth/refresh", "", refreshBody(refresh))
		p.want(again, 200, "")
		p.secrets = append(p.secrets, again.str("access_token")[21:], again.str("refresh_token")[21:])
		p.want(p.do("GET", "/api/transfer", again.str("access_token"), ""), 401, jwterrors.AuthenticationInsufficient)
		return
	}
	t.Error("the login stays recent")
}

func TestATransferAfterALogin(t *testing.T) {
	p := start(t)
	access, _ := p.login()
	p.want(p.do("GET", "/api/transfer", access, ""), 200, "")
	p.want(p.do("GET", "/api/transfer", "", ""), 401, jwterrors.TokenMissing)
}
