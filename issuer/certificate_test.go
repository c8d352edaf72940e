package issuer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// newCertificate returns a certificate that nobody but its key has signed.
func newCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func thumbprint(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// x5t returns what an access token is bound to.
func x5t(t testing.TB, r reply) any {
	t.Helper()
	cnf, _ := part(t, r.str("access_token"), 1)["cnf"].(map[string]any)
	return cnf["x5t#S256"]
}

// newTLSFixture returns a fixture over TLS, and a function that changes the
// certificate that its client has.
func newTLSFixture(t *testing.T, change func(*issuer.Config)) (*fixture, func(*tls.Certificate)) {
	t.Helper()
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.Clients[0].CertificateBound, c.Clients[1].CertificateBound = true, true
		if change != nil {
			change(c)
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/auth/", f.issuer)
	mux.Handle("/.well-known/", f.issuer.WellKnown())
	f.server = httptest.NewUnstartedServer(mux)
	f.server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	held := &tls.Certificate{}
	transport := f.server.Client().Transport.(*http.Transport)
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return held, nil }
	transport.DisableKeepAlives = true
	return f, func(c *tls.Certificate) { held = c }
}

func TestTokensAreBoundToACertificate(t *testing.T) { // RFC 8705, Sections 3, 3.1, 3.2 and 3.4
	f, hold := newTLSFixture(t, nil)
	own := newCertificate(t)
	hold(own)
	login := f.login()
	for name, r := range map[string]reply{
		"login":              login,
		"refresh":            f.refresh(login.str("refresh_token")),
		"refresh_token":      f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+login.str("refresh_token")),
		"client_credentials": f.form("/token", app, "grant_type=client_credentials"),
		"authorization_code": f.form("/token", app, exchange(f.code(nil), callback, verifier)),
	} {
		require.Equal(t, 200, r.status, name+r.text)
		assert.Equal(t, thumbprint(own), x5t(t, r), name)
		assert.Equal(t, "Bearer", r.body["token_type"], name)
		assert.Equal(t, map[string]any{"x5t#S256": thumbprint(own)}, f.introspect(r.str("access_token")).body["cnf"], name)
	}
	assert.Equal(t, "x5t#S256:"+thumbprint(own), must(f.store.Get(t.Context(), sid(t, login))).Confirmation)
	assert.Equal(t, 200, f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+login.str("access_token")).status)

	f.kinds()
	for name, c := range map[string]*tls.Certificate{"none": {}, "another": newCertificate(t)} {
		hold(c)
		r := f.do("GET", "/auth/sessions", "", "Authorization", "Bearer "+login.str("access_token"))
		assert.Equal(t, fmt.Sprint(401, jwterrors.ProofInvalid), fmt.Sprint(r.status, r.reason), name)
		assert.Contains(t, r.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`, "which is no matter of DPoP")
	}
	assert.Equal(t, []issuer.EventKind{issuer.EventProofRefused, issuer.EventProofRefused}, f.kinds())
	hold(own)
	r := f.do("GET", "/auth/sessions", "", "Authorization", "DPoP "+login.str("access_token"))
	assert.Equal(t, jwterrors.ProofInvalid, r.reason, "it is bound to no key")
}

func TestTheSessionsOfAPublicClientAreBoundToItsCertificate(t *testing.T) { // RFC 8705, Section 4
	f, hold := newTLSFixture(t, nil)
	own, other := newCertificate(t), newCertificate(t)
	hold(own)
	login := f.login()
	token := login.str("refresh_token")
	before := must(f.store.Get(t.Context(), sid(t, login)))
	for name, c := range map[string]*tls.Certificate{"none": {}, "another": other} {
		hold(c)
		assert.Equal(t, jwterrors.ProofInvalid, f.refresh(token).reason, name)
		r := f.form("/token", "", "grant_type=refresh_token&client_id=mobile&refresh_token="+token)
		assert.Equal(t, fmt.Sprint("400 invalid_request ", jwterrors.ProofInvalid), fmt.Sprint(r.status, " ", r.body["error"], " ", r.reason), name)
	}
	assert.Equal(t, before, must(f.store.Get(t.Context(), sid(t, login))))
	hold(own)
	assert.Equal(t, 200, f.refresh(token).status)

	theirs := f.form("/token", app, exchange(f.code(nil), callback, verifier)).str("refresh_token")
	hold(other)
	r := f.form("/token", app, "grant_type=refresh_token&refresh_token="+theirs)
	require.Equal(t, 200, r.status, "a client with a secret may have a new certificate: "+r.text)
	assert.Equal(t, thumbprint(other), x5t(t, r))
	hold(&tls.Certificate{})
	r = f.form("/token", app, "grant_type=refresh_token&refresh_token="+r.str("refresh_token"))
	assert.Equal(t, jwterrors.ProofInvalid, r.reason, "but not none")
}

func TestACertificateIsNeeded(t *testing.T) { // RFC 8705, Section 3.4
	asked := false
	f, hold := newTLSFixture(t, func(c *issuer.Config) {
		c.Authenticate = func(ctx ctx, who issuer.Credentials) (issuer.User, error) {
			asked = true
			return authenticate(ctx, who)
		}
		c.DPoP = &issuer.DPoP{Required: true}
	})
	r := f.do("POST", "/auth/login", loginBody)
	assert.Equal(t, fmt.Sprint(401, jwterrors.ProofInvalid), fmt.Sprint(r.status, r.reason))
	assert.Equal(t, jwterrors.ProofInvalid, f.form("/token", app, "grant_type=client_credentials").reason)
	assert.Equal(t, jwterrors.ProofInvalid, newProver(f).do(f, "POST", "/auth/login", loginBody).reason, "a proof does not stand for it")
	assert.False(t, asked)
	hold(newCertificate(t))
	assert.NotNil(t, x5t(t, f.login()), "and it stands for the proof that the others need")
	assert.Equal(t, jwterrors.ProofInvalid, f.form("/token", "a b:|"+newSecret, "grant_type=client_credentials").reason)
}

func TestTheCertificateThatAProxyPassesOn(t *testing.T) { // RFC 8705, Section 6.5
	own := newCertificate(t)
	known := own.Certificate[0]
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		mobile := c.Clients[1]
		mobile.CertificateBound = true
		c.Clients = c.Clients[:1]
		c.LookupClient = func(_ context.Context, id string) (issuer.Client, error) {
			if id != mobile.ID {
				return issuer.Client{}, issuer.ErrNoClient
			}
			return mobile, nil
		}
		c.ClientAddress = func(*http.Request) netip.Addr { return netip.MustParseAddr("203.0.113.7") }
		c.ClientCertificate = func(r *http.Request) ([]byte, error) {
			if !strings.HasPrefix(r.RemoteAddr, "127.0.0.1:") {
				return nil, errors.New("the connection is not that of the proxy")
			}
			switch r.Header.Get("X-Test-Certificate") {
			case "own":
				return known, nil
			case "broken":
				return nil, errors.New("no PEM")
			case "not verified":
				return known, errors.New("its chain is not ours")
			case "away":
				return known, jwterrors.StoreUnavailable
			case "empty":
				return []byte{}, nil
			}
			return nil, nil
		}
	})
	r := f.do("POST", "/auth/login", loginBody, "X-Test-Certificate", "own")
	require.Equal(t, 200, r.status, r.text)
	assert.Equal(t, thumbprint(own), x5t(t, r), "a client that is looked up, at /login")
	assert.Equal(t, "203.0.113.7", must(f.store.Get(t.Context(), sid(t, r))).Address)
	for _, what := range []string{"", "broken", "not verified", "empty"} {
		assert.Equal(t, jwterrors.ProofInvalid, f.do("POST", "/auth/login", loginBody, "X-Test-Certificate", what).reason, what)
	}
	assert.Equal(t, 503, f.do("POST", "/auth/login", loginBody, "X-Test-Certificate", "away").status, "an error that has a reason")
	assert.Equal(t, true, f.do("GET", "/.well-known/oauth-authorization-server", "").body["tls_client_certificate_bound_access_tokens"])
}

// The hook sees the address of the connection where no ClientAddress has replaced it.
func TestACertificateWithoutAClientAddress(t *testing.T) {
	own := newCertificate(t)
	f := newFixture(t, func(c *issuer.Config) {
		withOAuth(c)
		c.Clients[1].CertificateBound = true
		c.ClientCertificate = func(r *http.Request) ([]byte, error) {
			if !strings.HasPrefix(r.RemoteAddr, "127.0.0.1:") {
				return nil, errors.New("the connection is not that of the proxy")
			}
			return own.Certificate[0], nil
		}
	})
	r := f.do("POST", "/auth/login", loginBody)
	require.Equal(t, 200, r.status, r.text)
	assert.Equal(t, thumbprint(own), x5t(t, r))
}

// A client that is looked up could not be held to its certificate at /login.
func TestALookedUpClientNeedsTheHookForItsCertificate(t *testing.T) {
	f, hold := newTLSFixture(t, func(c *issuer.Config) {
		c.LookupClient = func(_ context.Context, id string) (issuer.Client, error) {
			return issuer.Client{ID: id, Secrets: []string{appSecret}, Grants: []string{issuer.GrantClientCredentials}, CertificateBound: true}, nil
		}
	})
	hold(newCertificate(t))
	assert.Equal(t, 503, f.form("/token", "found|"+appSecret, "grant_type=client_credentials").status)
	assert.Contains(t, f.logs.String(), "needs Config.ClientCertificate")
}

func TestTheMetadataSayThatTokensAreBoundToCertificates(t *testing.T) { // RFC 8705, Section 3.3
	const name = "tls_client_certificate_bound_access_tokens"
	f, _ := newTLSFixture(t, nil)
	assert.Equal(t, true, f.do("GET", "/.well-known/oauth-authorization-server", "").body[name])
	assert.NotContains(t, newFixture(t, withOAuth).do("GET", "/.well-known/oauth-authorization-server", "").body, name)
}
