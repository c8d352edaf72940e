package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

// Others against ours, and ours against others. Each script in the folder peers
// says at its top what it does; what it saw is compared here. Another peer is a
// script more, its package in peers/package.json, and a line here.
func TestPeers(t *testing.T) {
	folder := install(t)
	for _, peer := range []struct {
		name string
		test func(t *testing.T, folder string)
	}{
		{"jose verifies tokens of ours", joseVerifies},
		{"tokens of jose are verified", joseIssues},
		{"oauth4webapi", oauth4webapi},
		{"openid-client", openidClient},
		{"express-oauth2-jwt-bearer", expressBearer},
		{"oidc-provider", oidcProvider},
		{"oauth4webapi with DPoP", oauth4webapiDPoP},
		{"proofs of dpop", proofsOfDPoP},
		{"proofs for oauth4webapi", proofsForOAuth4webapi},
		{"oidc-provider with DPoP", oidcProviderDPoP},
	} {
		t.Run(peer.name, func(t *testing.T) { peer.test(t, folder) })
	}
}

func joseVerifies(t *testing.T, folder string) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256, issuer.EdDSA} {
		h := newHome(t, algorithm)
		assert.Equal(t, []step{
			{"step": "verified", "alg": algorithm, "sub": "alice", "client": "default"},
			{"step": "key", "count": 1.0, "thumbprint": true}, // RFC 7638
			{"step": "forged", "code": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"},
			{"step": "altered", "code": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"},
			{"step": "another audience", "code": "ERR_JWT_CLAIM_VALIDATION_FAILED"},
			{"step": "another issuer", "code": "ERR_JWT_CLAIM_VALIDATION_FAILED"},
		}, run(t, folder, "jose-verifies.mjs", h.url, h.api, h.login(t)))
	}
}

func joseIssues(t *testing.T, folder string) {
	url := serve(t, folder, "jose-issues.mjs")
	resp, err := http.Get(url + "/tokens")
	require.NoError(t, err)
	defer resp.Body.Close()
	var tokens []struct{ Name, Token, Secret string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&tokens))

	published := middleware.JWKS(url+"/jwks", middleware.JWKSOptions{InsecureAllowHTTP: true})
	secret := map[string]func(...[]byte) middleware.KeySource{"HS256": middleware.HS256, "HS384": middleware.HS384, "HS512": middleware.HS512}
	want := map[string]jwterrors.Reason{
		"RS256": accepted, "RS384": accepted, "RS512": accepted, "PS256": accepted, "PS384": accepted, "PS512": accepted,
		"ES256": accepted, "ES384": accepted, "ES512": accepted, "EdDSA": accepted, "Ed25519": accepted, "HS256": accepted, "HS384": accepted, "HS512": accepted,

		"unsecured": signature, "encrypted": format, "flattened": format, "general": format, "unencoded payload": format,
		"DPoP proof": typ, "expired": jwterrors.TokenExpired, "not yet valid": jwterrors.TokenNotYetValid, "of another key": signature,
	}
	got := map[string]jwterrors.Reason{}
	for _, token := range tokens {
		config := middleware.Config{Keys: published, Issuer: url, Audience: []string{"orders"}}
		if hmac := secret[token.Name]; hmac != nil {
			config.Keys = hmac(unb64(token.Secret))
		}
		got[token.Name], _ = judge(t, config, token.Token)
	}
	assert.Equal(t, want, got)
}

func oauth4webapi(t *testing.T, folder string) {
	h := newHome(t, issuer.ES256)
	refused := func(reason jwterrors.Reason) map[string]any {
		return map[string]any{"status": 401.0, "scheme": "bearer", "error": "invalid_token", "reason": string(reason)}
	}
	assert.Equal(t, []step{
		{"step": "discovery", "issuer": true, "pkce": []any{"S256"}},
		{"step": "code", "type": "bearer", "scope": "api:read", "refreshable": true, "sub": "alice"},
		{"step": "call", "status": 204.0},
		refusedStep("refused", refused(jwterrors.TokenSignatureInvalid)),
		{"step": "wrong audience", "code": "OAUTH_JWT_CLAIM_COMPARISON_FAILED"},
		{"step": "wrong verifier", "code": "invalid_grant"},
		{"step": "code twice", "code": "invalid_grant"},
		{"step": "its session", "code": "invalid_grant"},
		{"step": "refresh", "rotated": true, "sub": "alice"},
		{"step": "refresh of another client", "code": "invalid_grant"},
		{"step": "replay", "code": "invalid_grant"},
		{"step": "after the replay", "code": "invalid_grant"},
		{"step": "client_credentials", "scope": "api:read", "refreshable": false, "sub": "app"},
		{"step": "in the body", "sub": "app"},
		{"step": "wrong secret", "code": "challenge basic"}, // RFC 6749, Section 5.2
		{"step": "no secret", "code": "challenge basic"},
		{"step": "wrong scope", "code": "invalid_scope"},
		{"step": "wrong resource", "code": "invalid_target"},
		{"step": "introspect", "active": true, "sub": "alice", "client": "spa"},
		{"step": "introspect nothing", "active": false},
		{"step": "revoked", "refresh": "invalid_grant", "introspect": false, "call": refused(jwterrors.TokenInvalidated)},
		refusedStep("revoked itself", refused(jwterrors.TokenInvalidated)),
		{"step": "revoked nothing"},
	}, run(t, folder, "oauth4webapi.mjs", h.url, h.api, redirectURI, clientSecret))
}

func openidClient(t *testing.T, folder string) {
	h := newHome(t, issuer.RS256)
	assert.Equal(t, []step{
		{"step": "discovery", "issuer": true, "pkce": true},
		{"step": "code", "type": "bearer", "scope": "api:read", "expires": true, "call": 204.0},
		{"step": "code, with a secret", "call": 204.0},
		{"step": "refresh", "rotated": true, "call": 204.0},
		{"step": "refresh of another client", "code": "invalid_grant"},
		{"step": "client_credentials", "scope": "api:read", "call": 204.0},
		{"step": "in the body", "call": 204.0},
		{"step": "unknown grant", "code": "unsupported_grant_type"},
		{"step": "introspect", "active": true, "sub": "alice"},
		{"step": "revoked", "refresh": "invalid_grant", "introspect": false, "call": 401.0},
	}, run(t, folder, "openid-client.mjs", h.url, h.api, redirectURI, clientSecret))
}

func expressBearer(t *testing.T, folder string) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256, issuer.EdDSA} {
		h := newHome(t, algorithm)
		assert.Equal(t, []step{
			{"step": "accepted", "status": 200.0, "sub": "alice"},
			{"step": "scope", "read": 200.0, "admin": 403.0},
			{"step": "forged", "status": 401.0},
			{"step": "altered", "status": 401.0},
			{"step": "without", "status": 401.0},
			{"step": "another audience", "status": 401.0},
		}, run(t, folder, "express.mjs", h.url, h.api, h.login(t)), algorithm)
	}
}

// A step is what a script saw.
type step map[string]any

func refusedStep(name string, what map[string]any) step {
	what["step"] = name
	return what
}

// install returns a folder with the scripts and their packages.
func install(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS("peers")))
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatalf("npm ci: %v: %s", err, out)
		}
		t.Skipf("needs Node and packages from npm: npm ci: %v", err)
	}
	return folder
}

// run runs a script to its end and returns what it saw.
func run(t *testing.T, folder, script string, args ...string) []step {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", append([]string{script}, args...)...)
	node.Dir = folder
	var stderr bytes.Buffer
	node.Stderr = &stderr
	out, err := node.Output()
	require.NoError(t, err, "%s%s", out, stderr.String())
	var steps []step
	for line := range bytes.Lines(out) {
		var s step
		require.NoError(t, json.Unmarshal(line, &s), "%s", line)
		steps = append(steps, s)
	}
	return steps
}

// serve runs a script that is a server, until the test ends, and returns its URL.
func serve(t *testing.T, folder, script string, args ...string) string {
	t.Helper()
	node := exec.Command("node", append([]string{script}, args...)...)
	node.Dir = folder
	stdin, err := node.StdinPipe()
	require.NoError(t, err)
	stdout, err := node.StdoutPipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	node.Stderr = &stderr
	require.NoError(t, node.Start())
	t.Cleanup(func() {
		_ = stdin.Close() // asks it to end
		_ = node.Wait()
	})
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = node.Wait() // has written it all then
		t.Fatalf("%s: %v: %s", script, err, stderr.String())
	}
	return strings.TrimSpace(url)
}
