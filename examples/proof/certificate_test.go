package proof_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// RFC 8705, Section 3: over TLS, with certificates that no authority has signed. What
// the issuer gives to the holder of one is of no use to who holds another, or none.
func TestACertificateFromEndToEnd(t *testing.T) {
	const secret = "an obviously fake secret of a client"
	signing, err := issuer.GenerateKey(issuer.ES256)
	good(t, err)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: signing})
	good(t, err)
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	iss, err := issuer.New(issuer.Config{
		Issuer: server.URL, Audience: []string{audience}, Keys: ring, Store: issuer.NewMemoryStore(), Logger: slog.New(slog.DiscardHandler),
		MasterKeys:   []issuer.MasterKey{{ID: "m1", Secret: bytes.Repeat([]byte("fake"), 8)}},
		Authenticate: func(context.Context, issuer.Credentials) (issuer.User, error) { return issuer.User{ID: user}, nil },
		ClientID:     "mobile", Grants: []string{issuer.GrantRefreshToken, issuer.GrantClientCredentials},
		Clients: []issuer.Client{
			{ID: "mobile", Grants: []string{issuer.GrantRefreshToken}, CertificateBound: true},
			{ID: "service", Grants: []string{issuer.GrantClientCredentials}, Secrets: []string{secret}, CertificateBound: true},
		},
	})
	good(t, err)
	auth, err := middleware.New(middleware.Config{Keys: middleware.LocalJWKS(iss.JWKS), Issuer: server.URL, Audience: []string{audience}})
	good(t, err)
	mux.Handle("/auth/", iss)
	mux.Handle("/api", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		_, _ = io.WriteString(w, claims.Subject)
	})))

	certificate, another := newCertificate(t), newCertificate(t)
	over := func(own ...tls.Certificate) *http.Transport {
		config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.Certificates = own
		transport := &http.Transport{TLSClientConfig: config}
		t.Cleanup(transport.CloseIdleConnections)
		return transport
	}
	thieves := map[string]*http.Client{
		"with a certificate of his own": {Transport: over(another)}, "without a certificate": {Transport: over()},
	}

	for name, config := range map[string]refresher.Config{
		"mobile":  {AuthURL: server.URL + "/auth"},
		"service": {Source: refresher.ClientCredentials{TokenURL: server.URL + "/auth/token", ClientID: "service", ClientSecret: secret}, Unattended: true},
	} {
		t.Run(name, func(t *testing.T) {
			config.Base, config.Origins = over(certificate), []string{server.URL}
			session, err := refresher.New(config)
			good(t, err)
			defer session.Close()
			subject := name
			if name == "mobile" {
				subject = user
				good(t, session.Login(t.Context(), refresher.Credentials{Username: user, Password: password}))
			}
			for range 2 {
				resp, err := session.Client().Get(server.URL + "/api")
				good(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				good(t, err)
				hold(t, resp.StatusCode == 200 && string(body) == subject, "the holder gets %d %s", resp.StatusCode, body)

				tokens, _ := session.Tokens()
				var claims struct {
					Confirmation map[string]string `json:"cnf"`
				}
				good(t, tokens.UnverifiedClaims(&claims))
				sum := sha256.Sum256(certificate.Certificate[0])
				thumbprint := base64.RawURLEncoding.EncodeToString(sum[:])
				hold(t, tokens.TokenType == "Bearer" && len(claims.Confirmation) == 1 && claims.Confirmation["x5t#S256"] == thumbprint, "%s, and the claim says %v", tokens.TokenType, claims.Confirmation)
				for how, thief := range thieves {
					r, err := http.NewRequest(http.MethodGet, server.URL+"/api", nil)
					good(t, err)
					r.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
					hold(t, refusal(t, thief, r) == jwterrors.ProofInvalid, "the API takes the token %s", how)
					if name != "mobile" {
						continue
					}
					r, err = http.NewRequest(http.MethodPost, server.URL+"/auth/refresh", strings.NewReader(`{"refresh_token":"`+tokens.RefreshToken+`"}`))
					good(t, err)
					r.Header.Set("Content-Type", "application/json")
					hold(t, refusal(t, thief, r) == jwterrors.ProofInvalid, "the issuer refreshes %s", how)
				}
				good(t, session.Refresh(t.Context())) // nothing of that has ended the session
			}
		})
	}

	// Who shows no certificate gets no tokens.
	r, err := http.NewRequest(http.MethodPost, server.URL+"/auth/login", strings.NewReader(`{"username":"alice","password":"`+password+`"}`))
	good(t, err)
	r.Header.Set("Content-Type", "application/json")
	hold(t, refusal(t, thieves["without a certificate"], r) == jwterrors.ProofInvalid, "a login without a certificate")
	r, err = http.NewRequest(http.MethodPost, server.URL+"/auth/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	good(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("service", url.QueryEscape(secret))
	hold(t, refusal(t, thieves["without a certificate"], r) == jwterrors.ProofInvalid, "a token without a certificate")
}

// refusal returns why r is refused.
func refusal(t *testing.T, client *http.Client, r *http.Request) jwterrors.Reason {
	t.Helper()
	resp, err := client.Do(r)
	good(t, err)
	defer resp.Body.Close()
	if e := jwterrors.FromResponse(resp); e != nil {
		return e.Reason
	}
	return ""
}

// newCertificate returns one that its holder has signed.
func newCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	good(t, err)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	good(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
