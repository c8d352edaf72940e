package issuer_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/issuer"
)

// A prover is a client with a key.
type prover struct {
	t       testing.TB
	now     func() time.Time
	private *ecdsa.PrivateKey
	key     *dpop.Key
	nonce   string
}

func newProver(f *fixture) *prover {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return &prover{f.t, f.now, private, must(dpop.NewKey(private)), ""}
}

// proof returns a proof for a request to path, with an access token or without.
func (p *prover) proof(method, path, token string) string {
	p.t.Helper()
	hash := ""
	if token != "" {
		hash = dpop.TokenHash(token)
	}
	return must(p.key.Proof(method, issuerURL+path, hash, p.nonce, p.now()))
}

// forged returns a proof that golang-jwt has made of a good one and change.
func (p *prover) forged(method, path, token string, change func(header, claims map[string]any) (jwt.SigningMethod, any)) string {
	p.t.Helper()
	private, err := p.private.ECDH()
	require.NoError(p.t, err)
	point := private.PublicKey().Bytes()
	encode := base64.RawURLEncoding.EncodeToString
	j := jwt.New(jwt.SigningMethodES256)
	j.Header = map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": map[string]any{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}}
	claims := jwt.MapClaims{"jti": rand.Text(), "htm": method, "htu": issuerURL + path, "iat": p.now().Unix()}
	if token != "" {
		claims["ath"] = dpop.TokenHash(token)
	}
	if p.nonce != "" {
		claims["nonce"] = p.nonce
	}
	j.Claims = claims
	var key any = p.private
	if m, k := change(j.Header, claims); m != nil {
		j.Method, key = m, k
		j.Header["alg"] = m.Alg()
	}
	return must(j.SignedString(key))
}

// do sends a request with a proof.
func (p *prover) do(f *fixture, method, path, body string, headers ...string) reply {
	p.t.Helper()
	bare, _, _ := strings.Cut(path, "?")
	return f.do(method, path, body, append(headers, "DPoP", p.proof(method, bare, ""))...)
}

func (p *prover) login(f *fixture) reply {
	p.t.Helper()
	r := p.do(f, "POST", "/auth/login", loginBody)
	require.Equal(p.t, 200, r.status, r.text)
	return r
}

func (p *prover) refresh(f *fixture, token string, headers ...string) reply {
	p.t.Helper()
	return p.do(f, "POST", "/auth/refresh", `{"refresh_token":"`+token+`"}`, headers...)
}

func (p *prover) form(f *fixture, path, basic, body string) reply {
	p.t.Helper()
	return f.form(path, basic, body, "DPoP", p.proof("POST", "/auth"+path, ""))
}

// call sends a bound access token.
func (p *prover) call(f *fixture, method, path, token string) reply {
	p.t.Helper()
	bare, _, _ := strings.Cut(path, "?")
	return f.do(method, path, "", "Authorization", "DPoP "+token, "DPoP", p.proof(method, bare, token))
}

var loginBody = fmt.Sprintf(`{"username":"alice","password":%q,"device":"phone"}`, password)

func withDPoP(c *issuer.Config) {
	withOAuth(c)
	c.DPoP = &issuer.DPoP{}
}

// jkt returns what an access token is bound to.
func jkt(t testing.TB, r reply) string {
	t.Helper()
	cnf, _ := part(t, r.str("access_token"), 1)["cnf"].(map[string]any)
	s, _ := cnf["jkt"].(string)
	if s != "" {
		assert.Len(t, cnf, 1)
	}
	return s
}

func TestEveryGrantBindsItsTokens(t *testing.T) { // RFC 9449, Sections 5 and 6.1
	f := newFixture(t, func(c *issuer.Config) {
		withDPoP(c)
		c.Register = func(context.Context, issuer.Registration) (issuer.User, error) { return issuer.User{ID: "carol"}, nil }
	})
	p := newProver(f)
	login := p.login(f)
	for name, r := range map[string]reply{
		"login":              login,
		"signup":             p.do(f, "POST", "/auth/signup", loginBody),
		"refresh":            p.refresh(f, login.str("refresh_token")),
		"refresh_token":      p.form(f, "/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+p.login(f).str("refresh_token")),
		"client_credentials": p.form(f, "/token", app, "grant_type=client_credentials"),
		"authorization_code": p.form(f, "/token", app, exchange(f.code(nil), callback, verifier)),
	} {
		require.Contains(t, []int{200, 201}, r.status, name+r.text)
		assert.Equal(t, "DPoP", r.body["token_type"], name)
		assert.Equal(t, p.key.Thumbprint, jkt(t, r), name)
	}
	s := must(f.store.Get(t.Context(), sid(t, login)))
	assert.Equal(t, "jkt:"+p.key.Thumbprint, s.Confirmation)
}

func TestWithoutAProofTokensAreBearer(t *testing.T) { // RFC 9449, Section 5
	f := newFixture(t, withDPoP)
	login := f.login()
	assert.Equal(t, "Bearer", login.body["token_type"])
	assert.NotContains(t, part(t, login.str("access_token"), 1), "cnf")
	assert.Equal(t, 200, f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+login.str("access_token")).status)
	f.pass(time.Minute)
	p := newProver(f)
	r := p.refresh(f, login.str("refresh_token"))
	assert.Equal(t, p.key.Thumbprint, jkt(t, r), "a proof binds the access token that it asks for")
	assert.Equal(t, "DPoP", r.body["token_type"])
	assert.Empty(t, must(f.store.Get(t.Context(), sid(t, login))).Confirmation)
	f.pass(time.Minute)
	r = f.refresh(r.str("refresh_token"))
	assert.Equal(t, "Bearer", r.body["token_type"], "the session is as its login was: "+r.text)
}

// Without the Config nobody looks at a proof, good or bad, and the answer says so.
func TestProofsAreNotLookedAtUnlessTheConfigSaysSo(t *testing.T) { // RFC 9449, Section 5
	f := newFixture(t, withOAuth)
	for _, proof := range []string{"x", newProver(f).proof("POST", "/auth/login", "")} {
		r := f.do("POST", "/auth/login", loginBody, "DPoP", proof)
		require.Equal(t, 200, r.status)
		assert.Equal(t, "Bearer", r.body["token_type"])
	}
}

// A session that is bound stays so when the Config is changed back.
func TestABoundSessionIsNotFreedByTheConfig(t *testing.T) {
	f := newFixture(t, withDPoP)
	p := newProver(f)
	login := p.login(f)
	c := f.config()
	withOAuth(&c)
	without := &fixture{t: t, server: httptest.NewServer(must(issuer.New(c)))}
	defer without.server.Close()
	for range 2 {
		assert.Equal(t, jwterrors.ProofInvalid, without.refresh(login.str("refresh_token")).reason)
		assert.Equal(t, jwterrors.ProofInvalid, p.refresh(without, login.str("refresh_token")).reason)
		assert.Equal(t, jwterrors.ProofInvalid, p.call(without, "GET", "/auth/sessions", login.str("access_token")).reason)
		assert.Equal(t, jwterrors.ProofInvalid, without.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+login.str("access_token")).reason)
	}
	assert.Equal(t, 200, p.refresh(f, login.str("refresh_token")).status, "and nothing has happened to it")
}

func TestAProofIsRequired(t *testing.T) { // RFC 9449, Section 5.2
	for _, c := range []struct {
		name   string
		change func(*issuer.Config)
		app    int // of client_credentials by "app"
	}{
		{"of all", func(c *issuer.Config) { c.DPoP.Required = true }, 400},
		{"of a client", func(c *issuer.Config) { c.Clients[1].DPoPBound = true }, 200},
		{"of a client that is looked up", func(c *issuer.Config) {
			mobile := c.Clients[1]
			mobile.DPoPBound = true
			c.Clients = []issuer.Client{c.Clients[0]}
			c.LookupClient = func(_ context.Context, id string) (issuer.Client, error) {
				if id != mobile.ID {
					return issuer.Client{}, issuer.ErrNoClient
				}
				return mobile, nil
			}
		}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := false
			f := newFixture(t, func(config *issuer.Config) {
				withDPoP(config)
				c.change(config)
				config.Authenticate = func(ctx ctx, who issuer.Credentials) (issuer.User, error) {
					asked = true
					return authenticate(ctx, who)
				}
				config.Limits.Account = issuer.Budget{Attempts: 1, Every: time.Minute}
			})
			for range 3 {
				r := f.do("POST", "/auth/login", loginBody)
				require.Equal(t, fmt.Sprint(401, jwterrors.ProofInvalid), fmt.Sprint(r.status, r.reason))
				assert.Regexp(t, `^DPoP algs="ES256 [^"]*", error="invalid_dpop_proof"`, r.header.Get("WWW-Authenticate"))
			}
			assert.False(t, asked, "no password was looked at")
			assert.Equal(t, []issuer.EventKind{issuer.EventProofRefused, issuer.EventProofRefused, issuer.EventProofRefused}, f.kinds())
			p := newProver(f)
			login := p.login(f)
			assert.Equal(t, fmt.Sprint(401, jwterrors.ProofInvalid), fmt.Sprint(f.refresh(login.str("refresh_token")).status, f.refresh(login.str("refresh_token")).reason))
			r := f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+login.str("refresh_token"))
			assert.Equal(t, "400 invalid_dpop_proof", fmt.Sprint(r.status, " ", r.body["error"]))
			assert.Equal(t, c.app, f.form("/token", app, "grant_type=client_credentials").status)
			assert.Equal(t, 200, p.refresh(f, login.str("refresh_token")).status)
		})
	}
}

// Whether a client needs a proof is asked only where proofs are looked at, and then
// it is known before anything is answered.
func TestAClientThatCannotBeLookedUp(t *testing.T) {
	down := func(c *issuer.Config) {
		withOAuth(c)
		c.ClientID, c.Clients = "elsewhere", c.Clients[:1]
		c.LookupClient = func(context.Context, string) (issuer.Client, error) {
			return issuer.Client{}, errors.New("no registry")
		}
	}
	assert.Equal(t, 200, newFixture(t, down).do("POST", "/auth/login", loginBody).status)
	f := newFixture(t, func(c *issuer.Config) { down(c); c.DPoP = &issuer.DPoP{} })
	p := newProver(f)
	assert.Equal(t, 503, f.do("POST", "/auth/login", loginBody).status)
	assert.Equal(t, 503, p.do(f, "POST", "/auth/login", loginBody).status)
	assert.Equal(t, 503, f.refresh("rt1.m1.x.0.x").status)
	assert.Empty(t, f.kinds())
}

// Every way in which a proof may be wrong, at the routes that take one. Nothing has
// happened then: no password was looked at, no token rotated.
func TestAProofThatIsWrong(t *testing.T) { // RFC 9449, Section 4.3
	asked := false
	f := newFixture(t, func(c *issuer.Config) {
		withDPoP(c)
		c.Authenticate = func(ctx ctx, who issuer.Credentials) (issuer.User, error) {
			asked = true
			return authenticate(ctx, who)
		}
	})
	p := newProver(f)
	login := p.login(f)
	type change = func(header, claims map[string]any) (jwt.SigningMethod, any)
	set := func(what string, name string, value any) change {
		return func(header, claims map[string]any) (jwt.SigningMethod, any) {
			target := claims
			if what == "header" {
				target = header
			}
			target[name] = value
			if value == nil {
				delete(target, name)
			}
			return nil, nil
		}
	}
	member := func(name string, value any) change {
		return func(header, _ map[string]any) (jwt.SigningMethod, any) {
			header["jwk"].(map[string]any)[name] = value
			return nil, nil
		}
	}
	changes := map[string]change{
		"another type (11.5)":    set("header", "typ", "JWT"),
		"an access token (11.5)": set("header", "typ", "at+jwt"),
		"no type":                set("header", "typ", nil),
		"no key":                 set("header", "jwk", nil),
		"a private key":          member("d", "AAAA"),
		"a key that is a secret": set("header", "jwk", map[string]any{"kty": "oct", "k": "AAAA"}),
		"a critical extension":   set("header", "crit", []string{"x"}),
		"none (11.6)": func(_, _ map[string]any) (jwt.SigningMethod, any) {
			return jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
		},
		"a shared secret (11.6)":     func(_, _ map[string]any) (jwt.SigningMethod, any) { return jwt.SigningMethodHS256, masterSecret },
		"an algorithm for itself":    set("header", "alg", "ES512"),
		"another method (11.7)":      set("claims", "htm", "GET"),
		"no method":                  set("claims", "htm", nil),
		"another route (11.7)":       set("claims", "htu", issuerURL+"/auth/logout"),
		"another host (11.7)":        set("claims", "htu", "https://id.example.org/auth/login"),
		"the host of the connection": set("claims", "htu", f.server.URL+"/auth/login"),
		"no URL":                     set("claims", "htu", nil),
		"no id":                      set("claims", "jti", nil),
		"an empty id":                set("claims", "jti", ""),
		"no time":                    set("claims", "iat", nil),
		"an old one":                 set("claims", "iat", f.now().Add(-92*time.Second).Unix()),
		"one of tomorrow (11.2)":     set("claims", "iat", f.now().Add(time.Hour).Unix()),
		"another key than that of the signature": func(header, _ map[string]any) (jwt.SigningMethod, any) {
			return jwt.SigningMethodES256, newProver(f).private
		},
	}
	asked = false
	f.kinds()
	for name, change := range changes {
		for _, path := range []string{"/auth/login", "/auth/refresh"} {
			proof := p.forged("POST", path, "", change)
			body := loginBody
			if path == "/auth/refresh" {
				body = `{"refresh_token":"` + login.str("refresh_token") + `"}`
			}
			r := f.do("POST", path, body, "DPoP", proof)
			assert.Equal(t, fmt.Sprint(401, jwterrors.ProofInvalid), fmt.Sprint(r.status, r.reason), name+path)
			assert.Equal(t, []issuer.EventKind{issuer.EventProofRefused}, f.kinds(), name)
		}
		r := f.form("/token", app, "grant_type=client_credentials", "DPoP", p.forged("POST", "/auth/token", "", change))
		assert.Equal(t, "400 invalid_dpop_proof", fmt.Sprint(r.status, " ", r.body["error"]), name)
		assert.Empty(t, r.header.Get("WWW-Authenticate"))
		f.kinds()
	}
	for name, proofs := range map[string][]string{
		"two of them": {p.proof("POST", "/auth/login", ""), p.proof("POST", "/auth/login", "")}, "an empty one": {""}, "no JWT": {"x"},
	} {
		req := must(http.NewRequest("POST", f.server.URL+"/auth/login", strings.NewReader(loginBody)))
		req.Header["Content-Type"], req.Header["Dpop"] = []string{"application/json"}, proofs
		assert.Equal(t, jwterrors.ProofInvalid, send(t, f.server.Client(), req).reason, name)
	}
	assert.False(t, asked)
	unchanged := func(_, _ map[string]any) (jwt.SigningMethod, any) { return nil, nil }
	r := f.do("POST", "/auth/refresh", `{"refresh_token":"`+login.str("refresh_token")+`"}`, "DPoP", p.forged("POST", "/auth/refresh", "", unchanged))
	assert.Equal(t, 200, r.status, "the proof of another library is taken: "+r.text)
	assert.EqualValues(t, 1, must(f.store.Get(t.Context(), sid(t, login))).Generation, "nothing was rotated before")
	assert.NotContains(t, f.logs.String(), "eyJ")
}

// Who has stolen a refresh token and lacks its key can neither use it nor end the
// session of its owner, whatever the age of the token.
func TestAStolenRefreshTokenIsWorthNothing(t *testing.T) { // RFC 9449, Sections 5 and 11.8
	f := newFixture(t, withDPoP)
	p, thief := newProver(f), newProver(f)
	login := p.login(f)
	old := login.str("refresh_token")
	current := p.refresh(f, old).str("refresh_token")
	f.pass(time.Hour)
	next := p.refresh(f, current).str("refresh_token")
	require.NotEmpty(t, next)
	f.pass(time.Hour)
	before := must(f.store.Get(t.Context(), sid(t, login)))
	f.kinds()
	for _, token := range []string{old, current, next} {
		for name, r := range map[string]reply{
			"without a proof":       f.refresh(token),
			"with a key of its own": thief.refresh(f, token),
			"and a retry key":       thief.refresh(f, token, "Idempotency-Key", "k"),
			"at the token endpoint": thief.form(f, "/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+token),
			"there without a proof": f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+token),
		} {
			assert.Equal(t, jwterrors.ProofInvalid, r.reason, name)
			assert.Empty(t, r.header.Get("DPoP-Nonce"))
		}
	}
	assert.Equal(t, before, must(f.store.Get(t.Context(), sid(t, login))), "nothing is rotated or revoked")
	assert.False(t, f.denied.has(sid(t, login)))
	f.mu.Lock()
	assert.Len(t, f.events, 15)
	for _, e := range f.events {
		assert.Equal(t, issuer.EventProofRefused, e.Kind)
		assert.Equal(t, sid(t, login)+"alicemobile", e.SessionID+e.Subject+e.ClientID)
		assert.Equal(t, jwterrors.ProofInvalid, e.Reason)
	}
	f.mu.Unlock()
	assert.Equal(t, 200, p.refresh(f, next).status, "the owner goes on")

	f.pass(time.Hour)
	f.kinds()
	assert.Equal(t, jwterrors.RefreshTokenReused, p.refresh(f, old).reason, "with the key the table of rotation is what counts")
	assert.Equal(t, []issuer.EventKind{issuer.EventReplay}, f.kinds())
}

func TestAProofIsForOneUse(t *testing.T) { // RFC 9449, Section 11.1
	f := newFixture(t, withDPoP)
	p := newProver(f)
	proof := p.proof("POST", "/auth/login", "")
	require.Equal(t, 200, f.do("POST", "/auth/login", loginBody, "DPoP", proof).status)
	assert.Equal(t, jwterrors.ProofInvalid, f.do("POST", "/auth/login", loginBody, "DPoP", proof).reason)

	login := p.login(f)
	body := `{"refresh_token":"` + login.str("refresh_token") + `"}`
	proof = p.proof("POST", "/auth/refresh", "")
	var passed, refused int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			r := f.do("POST", "/auth/refresh", body, "DPoP", proof)
			mu.Lock()
			defer mu.Unlock()
			if r.status == 200 {
				passed++
			} else if r.reason == jwterrors.ProofInvalid {
				refused++
			}
		})
	}
	wg.Wait()
	assert.Equal(t, "1 15", fmt.Sprint(passed, " ", refused))

	access := login.str("access_token")
	proof = p.proof("GET", "/auth/sessions", access)
	assert.Equal(t, 200, f.do("GET", "/auth/sessions", "", "Authorization", "DPoP "+access, "DPoP", proof).status)
	assert.Equal(t, jwterrors.ProofInvalid, f.do("GET", "/auth/sessions", "", "Authorization", "DPoP "+access, "DPoP", proof).reason)
}

// replays are those of several processes.
type replays struct {
	mu   sync.Mutex
	used map[string]time.Time
	fail error
}

func (r *replays) Use(_ context.Context, proof string, until time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, before := r.used[proof]
	r.used[proof] = until
	return !before, r.fail
}

func TestReplaysOfTheCallers(t *testing.T) {
	shared := &replays{used: map[string]time.Time{}}
	f := newFixture(t, func(c *issuer.Config) { withDPoP(c); c.DPoP.Replays = shared })
	p := newProver(f)
	login := p.login(f)
	require.Len(t, shared.used, 1)
	for name, until := range shared.used {
		assert.LessOrEqual(t, len(name), 64)
		assert.InDelta(t, 120, until.Sub(f.now()).Seconds(), 2, "a proof is of a minute, and clocks differ")
	}
	shared.fail = errors.New("no connection")
	r := p.refresh(f, login.str("refresh_token"))
	assert.Equal(t, fmt.Sprint(503, jwterrors.StoreUnavailable), fmt.Sprint(r.status, r.reason))
	assert.Contains(t, f.logs.String(), "no connection")
	assert.Equal(t, 503, p.call(f, "GET", "/auth/sessions", login.str("access_token")).status)
	assert.Equal(t, 503, p.call(f, "POST", "/auth/logout", login.str("access_token")).status)
	shared.fail = nil
	assert.Equal(t, 200, p.refresh(f, login.str("refresh_token")).status)
}

// Ten refreshes at once, each with a proof of its own, are one rotation.
func TestConcurrentRefreshesWithProofs(t *testing.T) {
	f := newFixture(t, withDPoP)
	p := newProver(f)
	login := p.login(f)
	for generation := uint64(1); generation <= 5; generation++ {
		f.pass(issuer.DefaultGrace)
		var wg sync.WaitGroup
		answers := make([]reply, 10)
		for n := range answers {
			wg.Go(func() { answers[n] = p.refresh(f, login.str("refresh_token")) })
		}
		wg.Wait()
		tokens := map[string]bool{}
		for _, r := range answers {
			require.Equal(t, 200, r.status, r.text)
			assert.Equal(t, p.key.Thumbprint, jkt(t, r))
			tokens[r.str("refresh_token")] = true
		}
		assert.Len(t, tokens, 1)
		assert.Equal(t, generation, must(f.store.Get(t.Context(), sid(t, login))).Generation)
		login = answers[0]
	}
}

// The refresh tokens of a client with a secret are bound to that; what its login
// began with a proof needs one, of any key.
func TestAConfidentialClientMayChangeItsKey(t *testing.T) { // RFC 9449, Section 5
	f := newFixture(t, withDPoP)
	p, other := newProver(f), newProver(f)
	r := p.form(f, "/token", app, exchange(f.code(nil), callback, verifier))
	require.Equal(t, 200, r.status, r.text)
	refresh := "grant_type=refresh_token&refresh_token=" + r.str("refresh_token")
	assert.Equal(t, "invalid_dpop_proof", f.form("/token", app, refresh).body["error"])
	next := other.form(f, "/token", app, refresh)
	require.Equal(t, 200, next.status, next.text)
	assert.Equal(t, other.key.Thumbprint, jkt(t, next))
	assert.Equal(t, "jkt:"+p.key.Thumbprint, must(f.store.Get(t.Context(), sid(t, r))).Confirmation, "the session stays as its login was")

	bearer := f.form("/token", app, exchange(f.code(nil), callback, verifier))
	refresh = "grant_type=refresh_token&refresh_token=" + bearer.str("refresh_token")
	assert.Equal(t, p.key.Thumbprint, jkt(t, p.form(f, "/token", app, refresh)))
	assert.Equal(t, "Bearer", f.form("/token", app, refresh).body["token_type"])
}

func TestACodeIsBoundToAKey(t *testing.T) { // RFC 9449, Sections 10 and 11.9
	f := newFixture(t, withDPoP)
	p, thief := newProver(f), newProver(f)
	bound := func(r *issuer.CodeRequest) { r.DPoPJKT = p.key.Thumbprint }
	code := f.code(bound)
	f.kinds()
	for name, r := range map[string]reply{
		"no proof":    f.form("/token", app, exchange(code, callback, verifier)),
		"another key": thief.form(f, "/token", app, exchange(code, callback, verifier)),
	} {
		assert.Equal(t, "400 invalid_dpop_proof", fmt.Sprint(r.status, " ", r.body["error"]), name)
		assert.Equal(t, jwterrors.ProofInvalid, r.reason)
	}
	assert.Equal(t, []issuer.EventKind{issuer.EventProofRefused, issuer.EventProofRefused}, f.kinds())
	r := p.form(f, "/token", app, exchange(code, callback, verifier))
	require.Equal(t, 200, r.status, "nothing was used up: "+r.text)
	assert.Equal(t, p.key.Thumbprint, jkt(t, r))
	assert.Equal(t, jwterrors.ProofInvalid, thief.form(f, "/token", app, exchange(code, callback, verifier)).reason)
	assert.Equal(t, 200, p.form(f, "/token", app, "grant_type=refresh_token&refresh_token="+r.str("refresh_token")).status, "and its session goes on")

	wrong := codeRequest()
	for _, thumbprint := range []string{"x", p.key.Thumbprint + "x", strings.Repeat("=", 43)} {
		wrong.DPoPJKT = thumbprint
		_, err := f.issuer.GrantCode(t.Context(), wrong)
		assert.ErrorIs(t, err, jwterrors.RequestInvalid)
	}
	held := newFixture(t, func(c *issuer.Config) { withDPoP(c); c.Clients[0].CertificateBound = true })
	wrong.DPoPJKT = p.key.Thumbprint
	_, err := held.issuer.GrantCode(t.Context(), wrong)
	assert.ErrorIs(t, err, jwterrors.RequestInvalid, "the proofs of a client that is held to a certificate are not looked at")
	wrong.DPoPJKT = ""
	_, err = held.issuer.GrantCode(t.Context(), wrong)
	assert.NoError(t, err)
	off := newFixture(t, withOAuth)
	r = off.form("/token", app, exchange(off.code(bound), callback, verifier))
	assert.Equal(t, "Bearer", r.body["token_type"], "without the Config nobody looks at it")
}

func TestABoundTokenNeedsAProofAtTheIssuersRoutes(t *testing.T) { // RFC 9449, Sections 7.1 and 7.2
	f := newFixture(t, withDPoP)
	p, thief := newProver(f), newProver(f)
	login, other, bearer := p.login(f), p.login(f), f.login()
	access := login.str("access_token")
	for _, c := range []struct{ method, path string }{
		{"GET", "/auth/sessions"}, {"DELETE", "/auth/sessions/" + sid(t, login)}, {"DELETE", "/auth/sessions?others=true"}, {"POST", "/auth/logout"},
	} {
		bare, _, _ := strings.Cut(c.path, "?")
		f.kinds()
		replies := map[string]reply{
			"as Bearer":                 f.do(c.method, c.path, "", "Authorization", "Bearer "+access),
			"as Bearer, with a proof":   f.do(c.method, c.path, "", "Authorization", "Bearer "+access, "DPoP", p.proof(c.method, bare, access)),
			"without a proof":           f.do(c.method, c.path, "", "Authorization", "DPoP "+access),
			"with another key (11.8)":   thief.call(f, c.method, c.path, access),
			"a proof without the token": f.do(c.method, c.path, "", "Authorization", "DPoP "+access, "DPoP", p.proof(c.method, bare, "")),
			"a proof of another token":  f.do(c.method, c.path, "", "Authorization", "DPoP "+access, "DPoP", p.proof(c.method, bare, other.str("access_token"))),
			"a proof of another method": f.do(c.method, c.path, "", "Authorization", "DPoP "+access, "DPoP", p.proof("PUT", bare, access)),
			"a proof of another route":  f.do(c.method, c.path, "", "Authorization", "DPoP "+access, "DPoP", p.proof(c.method, bare+"/x", access)),
		}
		assert.Equal(t, slices.Repeat([]issuer.EventKind{issuer.EventProofRefused}, len(replies)), f.kinds())
		for name, r := range replies {
			assert.Equal(t, fmt.Sprint(401, jwterrors.ProofInvalid), fmt.Sprint(r.status, r.reason), c.method+c.path+" "+name)
			assert.Regexp(t, `^DPoP algs="ES256 [^"]*", error="invalid_dpop_proof"`, r.header.Get("WWW-Authenticate"))
		}
		r := p.call(f, c.method, c.path, bearer.str("access_token"))
		assert.Equal(t, jwterrors.ProofInvalid, r.reason, "a token that is bound to no key came as DPoP")
		assert.Contains(t, r.header.Get("WWW-Authenticate"), `error="invalid_token"`)
	}
	all, err := f.store.List(t.Context(), "alice", f.now())
	require.NoError(t, err)
	assert.Len(t, all, 3, "nothing has ended")
	r := p.call(f, "GET", "/auth/sessions", access)
	assert.Equal(t, 200, r.status, r.text)
	assert.Equal(t, 204, p.call(f, "DELETE", "/auth/sessions?others=true", access).status)
	f.pass(issuer.DefaultAccessTTL)
	assert.Equal(t, 401, f.do("POST", "/auth/logout", "", "Authorization", "Bearer "+access).status)
	assert.Equal(t, 204, p.call(f, "POST", "/auth/logout", access).status, "it has expired, and may still log out")
	assert.Equal(t, jwterrors.SessionRevoked, p.refresh(f, login.str("refresh_token")).reason)
}

func TestTheNoncesOfTheIssuer(t *testing.T) { // RFC 9449, Sections 8, 8.2, 9 and 11.2
	secret := bytes.Repeat([]byte{7}, 32)
	asked := false
	f := newFixture(t, func(c *issuer.Config) {
		withDPoP(c)
		c.DPoP.RequireNonce, c.DPoP.NonceSecret = true, secret
		c.Limits.Account = issuer.Budget{Attempts: 1, Every: time.Minute}
		c.Limits.Refresh = issuer.Budget{Attempts: 1, Every: time.Minute}
		c.Authenticate = func(ctx ctx, who issuer.Credentials) (issuer.User, error) {
			asked = true
			return authenticate(ctx, who)
		}
	})
	f.pass(f.now().Truncate(time.Minute).Add(70 * time.Second).Sub(f.now())) // a nonce is that of a minute, and none ends by itself
	p := newProver(f)
	for range 3 {
		r := p.do(f, "POST", "/auth/login", loginBody)
		require.Equal(t, fmt.Sprint(401, jwterrors.ProofNonceRequired), fmt.Sprint(r.status, r.reason))
		assert.Regexp(t, `^DPoP algs="ES256 [^"]*", error="use_dpop_nonce"`, r.header.Get("WWW-Authenticate"))
		r = p.form(f, "/token", app, "grant_type=client_credentials")
		require.Equal(t, "400 use_dpop_nonce", fmt.Sprint(r.status, " ", r.body["error"]), "to ask for a nonce takes nothing from a budget")
		require.NotEmpty(t, r.header.Get("DPoP-Nonce"))
		p.nonce = ""
	}
	assert.Empty(t, f.kinds(), "a handshake is no event")
	assert.False(t, asked)

	p.nonce = p.do(f, "POST", "/auth/login", loginBody).header.Get("DPoP-Nonce")
	login := p.login(f)
	assert.Empty(t, login.header.Get("DPoP-Nonce"), "the nonce is still the current one")
	p.now = func() time.Time { return f.now().Add(-24 * time.Hour) }
	r := p.call(f, "GET", "/auth/sessions", login.str("access_token"))
	assert.Equal(t, 200, r.status, "the nonce stands for the clock: "+r.text)
	f.pass(time.Minute)
	r = p.call(f, "GET", "/auth/sessions", login.str("access_token"))
	require.Equal(t, 200, r.status, "the one before is good too")
	next := r.header.Get("DPoP-Nonce")
	require.NotEmpty(t, next, "and a new one is handed out in time")
	require.NotEqual(t, p.nonce, next)
	made := p.proof("POST", "/auth/refresh", "") // in advance, by somebody who had the key for a moment
	f.pass(time.Minute)
	body := `{"refresh_token":"` + login.str("refresh_token") + `"}`
	r = f.do("POST", "/auth/refresh", body, "DPoP", made)
	assert.Equal(t, fmt.Sprint(401, jwterrors.ProofNonceRequired), fmt.Sprint(r.status, r.reason), "it is of no use later (11.2)")
	r = p.call(f, "GET", "/auth/sessions", login.str("access_token"))
	assert.Equal(t, fmt.Sprint(401, jwterrors.ProofNonceRequired), fmt.Sprint(r.status, r.reason), "an old nonce, at a protected route (9)")
	p.nonce = strings.ToUpper(next)
	assert.Equal(t, jwterrors.ProofNonceRequired, p.refresh(f, login.str("refresh_token")).reason, "a nonce of others")
	p.nonce = ""
	assert.Equal(t, jwterrors.ProofNonceRequired, p.refresh(f, login.str("refresh_token")).reason, "none (11.3)")

	twin := newFixture(t, func(c *issuer.Config) {
		withDPoP(c)
		c.DPoP.RequireNonce, c.DPoP.NonceSecret, c.Now = true, secret, f.now
	})
	p.nonce = p.do(f, "POST", "/auth/login", loginBody).header.Get("DPoP-Nonce")
	assert.Equal(t, 200, p.do(twin, "POST", "/auth/login", loginBody).status, "another process takes it")
	assert.NotContains(t, f.logs.String(), p.nonce)
}

// The "htu" is the URL that clients know, wherever the handler is mounted.
func TestTheURLOfAProof(t *testing.T) { // RFC 9449, Section 4.3
	for _, c := range []struct {
		name, prefix, public string
		mount                func(*issuer.Issuer) http.Handler
		path, htu            string
	}{
		{"by default", "", "", nil, "/auth/login", issuerURL + "/auth/login"},
		{"in another spelling", "", "", nil, "/auth/login", "HTTPS://ID.example.com:443/x/../auth/%6Cogin?q#f"},
		{"at the root", "/", "", nil, "/login", issuerURL + "/login"},
		{"behind a proxy that moves it", "", "https://login.example.com/oauth", nil, "/auth/login", "https://login.example.com/oauth/login"},
		{"behind a handler that strips", "/", issuerURL + "/v1", func(i *issuer.Issuer) http.Handler { return http.StripPrefix("/v1", i) }, "/v1/login", issuerURL + "/v1/login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(config *issuer.Config) {
				config.DPoP, config.Prefix, config.PublicURL = &issuer.DPoP{}, c.prefix, c.public
			})
			var h http.Handler = f.issuer
			if c.mount != nil {
				h = c.mount(f.issuer)
			}
			p := newProver(f)
			for htu, status := range map[string]int{c.htu: 200, c.htu + "/": 401, "http://127.0.0.1" + c.path: 401} {
				if strings.Contains(htu, "#f/") {
					continue
				}
				r := httptest.NewRequest("POST", "http://127.0.0.1"+c.path, strings.NewReader(loginBody))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("DPoP", must(p.key.Proof("POST", htu, "", "", f.now())))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				assert.Equal(t, status, w.Code, htu+w.Body.String())
			}
		})
	}
}

func TestIntrospectionOfBoundTokens(t *testing.T) { // RFC 9449, Section 6.2
	f := newFixture(t, withDPoP)
	p := newProver(f)
	login := p.login(f)
	cnf := map[string]any{"jkt": p.key.Thumbprint}
	access, refresh := f.introspect(login.str("access_token")).body, f.introspect(login.str("refresh_token")).body
	assert.Equal(t, "DPoP", access["token_type"])
	assert.Equal(t, cnf, access["cnf"])
	assert.Equal(t, "refresh_token", refresh["token_type"])
	assert.Equal(t, cnf, refresh["cnf"])
	bearer := f.introspect(f.login().str("access_token")).body
	assert.Equal(t, "Bearer", bearer["token_type"])
	assert.NotContains(t, bearer, "cnf")
	assert.Equal(t, "DPoP", f.introspect(p.form(f, "/token", app, "grant_type=client_credentials").str("access_token")).body["token_type"])
	r := f.form("/revoke", "", "client_id=mobile&token="+url.QueryEscape(login.str("refresh_token")))
	assert.Equal(t, 200, r.status, "a token in a body needs no proof (RFC 7009)")
	assert.Equal(t, inactive, f.introspect(login.str("access_token")).text)
}

func TestTheMetadataSayHowProofsAreSigned(t *testing.T) { // RFC 9449, Section 5.1
	const name = "dpop_signing_alg_values_supported"
	for want, d := range map[string]*issuer.DPoP{
		"[ES256 EdDSA Ed25519 ES384 PS256 RS256]": {}, "[EdDSA]": {Algorithms: []string{"EdDSA"}}, "<nil>": nil,
	} {
		f := newFixture(t, func(c *issuer.Config) { withOAuth(c); c.DPoP = d })
		assert.Equal(t, want, fmt.Sprint(f.do("GET", "/.well-known/oauth-authorization-server", "").body[name]))
	}
	f := newFixture(t, func(c *issuer.Config) { withOAuth(c); c.DPoP = &issuer.DPoP{Algorithms: []string{"EdDSA"}} })
	assert.Equal(t, jwterrors.ProofInvalid, newProver(f).do(f, "POST", "/auth/login", loginBody).reason, "ES256 is not there")
}

func TestMistakesInTheDPoPConfig(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct {
		name   string
		change func(*issuer.Config)
		want   []string
	}{
		{"nothing is wrong", func(c *issuer.Config) { c.Clients[1].DPoPBound = true }, nil},
		{"several at once", func(c *issuer.Config) {
			c.DPoP = &issuer.DPoP{Algorithms: []string{"ES256", "HS256", "none", "ES256"}, MaxAge: time.Hour, NonceSecret: []byte("short")}
			c.BoundSessions = "never"
		}, []string{`"HS256" is not`, `"none" is not`, `"ES256" stands twice`, "MaxAge is 1h0m0s", "NonceSecret is for RequireNonce", `BoundSessions is "never"`}},
		{"a short secret", func(c *issuer.Config) { c.DPoP = &issuer.DPoP{RequireNonce: true, NonceSecret: []byte("short")} }, []string{"NonceSecret has 5 bytes"}},
		{"an age below a second", func(c *issuer.Config) { c.DPoP.MaxAge = time.Millisecond }, []string{"MaxAge is 1ms"}},
		{"no algorithm", func(c *issuer.Config) { c.DPoP.Algorithms = []string{} }, []string{"Algorithms is empty"}},
		{"a client that must prove what nobody looks at", func(c *issuer.Config) { c.DPoP, c.Clients[0].DPoPBound = nil, true }, []string{"Config.DPoP is not set"}},
		{"a client with two bindings", func(c *issuer.Config) { c.Clients[0].DPoPBound, c.Clients[0].CertificateBound = true, true }, []string{"DPoPBound and CertificateBound"}},
		{"no rotation that puts off an end", func(c *issuer.Config) { c.BoundSessions, c.IdleTTL = issuer.NoRotation, time.Hour }, []string{"IdleTTL"}},
		{"no rotation for all, and more", func(c *issuer.Config) { c.BoundSessions, c.InsecureNoRotation = issuer.AnyRetry, true }, []string{"InsecureNoRotation is for all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := f.config()
			withDPoP(&config)
			c.change(&config)
			_, err := issuer.New(config)
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
			assert.Len(t, strings.Split(err.Error(), "\n"), len(c.want))
		})
	}
}

// What a Config points to is the caller's, and the Issuer has a copy.
func TestAChangedDPoPConfigChangesNoIssuer(t *testing.T) {
	d := &issuer.DPoP{Required: true, Algorithms: []string{"ES256"}}
	f := newFixture(t, func(c *issuer.Config) { c.DPoP = d })
	d.Required, d.Algorithms[0] = false, "EdDSA"
	assert.Equal(t, jwterrors.ProofInvalid, f.do("POST", "/auth/login", loginBody).reason)
	newProver(f).login(f)
}

func TestPrintingADPoPConfigShowsNoSecret(t *testing.T) {
	d := issuer.DPoP{RequireNonce: true, NonceSecret: []byte("an obviously fake nonce secret 32")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		assert.Equal(t, "DPoP with Required false and RequireNonce true", fmt.Sprintf(verb, d))
	}
	assert.Equal(t, fmt.Sprint(d), d.LogValue().String())
}

// Refresh tokens that a thief could not use need not rotate.
func TestBoundSessionsThatDoNotRotate(t *testing.T) { // RFC 9700, Section 2.2.2
	f := newFixture(t, func(c *issuer.Config) { withDPoP(c); c.BoundSessions = issuer.NoRotation })
	p := newProver(f)
	bound := p.login(f).str("refresh_token")
	theirs := f.form("/token", app, exchange(f.code(nil), callback, verifier)).str("refresh_token")
	bearer := f.login().str("refresh_token")
	for range 3 {
		f.pass(time.Hour)
		r := p.refresh(f, bound)
		assert.Equal(t, bound, r.str("refresh_token"), r.text)
		assert.NotEqual(t, 200, f.refresh(bound).status)
		r = f.form("/token", app, "grant_type=refresh_token&refresh_token="+theirs)
		assert.Equal(t, theirs, r.str("refresh_token"), "a client with a secret has authenticated")
	}
	next := p.refresh(f, bearer)
	assert.NotEqual(t, bearer, next.str("refresh_token"), "a proof does not bind a session that is not")
	f.pass(time.Hour)
	assert.Equal(t, jwterrors.RefreshTokenReused, f.refresh(bearer).reason)
}

func TestBoundSessionsThatMayBeRetriedAtAnyTime(t *testing.T) { // RFC 9700, Section 2.2.2
	f := newFixture(t, func(c *issuer.Config) { withDPoP(c); c.BoundSessions = issuer.AnyRetry })
	p, thief := newProver(f), newProver(f)
	first := p.login(f).str("refresh_token")
	second := p.refresh(f, first).str("refresh_token")
	f.pass(48 * time.Hour)
	f.kinds()
	assert.Equal(t, jwterrors.ProofInvalid, thief.refresh(f, first).reason)
	assert.Equal(t, true, f.introspect(first).body["active"], "a refresh would be answered")
	f.kinds()
	r := p.refresh(f, first)
	assert.Equal(t, second, r.str("refresh_token"), "its answer may have been lost: "+r.text)
	assert.Equal(t, []issuer.EventKind{issuer.EventLateRetry}, f.kinds())
	third := p.refresh(f, second).str("refresh_token")
	f.pass(48 * time.Hour)
	assert.Equal(t, jwterrors.RefreshTokenReused, p.refresh(f, first).reason, "an older one is a replay")
	assert.Equal(t, jwterrors.SessionRevoked, p.refresh(f, third).reason)

	bearer := f.login().str("refresh_token")
	require.Equal(t, 200, f.refresh(bearer).status)
	f.pass(48 * time.Hour)
	assert.Equal(t, jwterrors.RefreshTokenReused, f.refresh(bearer).reason, "who holds nothing has no such window")
}
