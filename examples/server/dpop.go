package main

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

// What -dpop can be.
const (
	dpopOff      = "off"
	dpopAllowed  = "allowed"
	dpopRequired = "required"
)

// replays remember which proofs were used, for all servers on a storage.
type replays interface {
	Use(ctx context.Context, proof string, until time.Time) (first bool, err error)
}

// proofs returns what the flags say of DPoP (RFC 9449), for the issuer and for the
// API: nil where it is off. Servers that share a master key take one another's
// nonces.
func (a *app) proofs(o options, master []byte) (*issuer.DPoP, *middleware.DPoP, error) {
	if o.dpop == dpopOff {
		return nil, nil, nil
	}
	var secret []byte
	if o.dpopNonce {
		var err error
		if secret, err = hkdf.Key(sha256.New, master, nil, "nonces of the example server", 32); err != nil {
			return nil, nil, fmt.Errorf("-dpop-nonce: %w", err)
		}
	}
	required := o.dpop == dpopRequired
	return &issuer.DPoP{Required: required, RequireNonce: o.dpopNonce, NonceSecret: secret, Replays: a.store.replays},
		&middleware.DPoP{Required: required, RequireNonce: o.dpopNonce, NonceSecret: secret, Replays: a.store.replays, PublicURL: site(o.issuer)},
		nil
}

// site returns the URL that "/" of this server has for clients, by its issuer URL.
func site(issuerURL string) string {
	u, err := url.Parse(issuerURL)
	if err != nil {
		return "" // issuer.New says what is wrong with it
	}
	return u.Scheme + "://" + u.Host
}

// describe serves the metadata of the API (RFC 9728) and returns their URL, where
// -audience is a URL: what is none cannot be the resource that they describe.
func describe(mux *http.ServeMux, o options) (at string, err error) {
	u, err := url.Parse(o.audience)
	if err != nil || u.Host == "" {
		return "", nil
	}
	about := middleware.ProtectedResourceMetadata{
		Resource: o.audience, AuthorizationServers: []string{o.issuer}, BearerMethodsSupported: []string{"header"}, ScopesSupported: scopes,
		InsecureAllowHTTP: true, // as everything on loopback here
	}
	if o.dpop != dpopOff {
		about.DPoPSigningAlgValuesSupported = []string{"ES256", "EdDSA", "Ed25519", "ES384", "PS256", "RS256"} // those that are the default
		about.DPoPBoundAccessTokensRequired = o.dpop == dpopRequired
	}
	handler, err := about.Handler()
	if err != nil {
		return "", fmt.Errorf("-audience: %w", err)
	}
	mux.Handle("/.well-known/oauth-protected-resource", handler)
	mux.Handle("/.well-known/oauth-protected-resource/", handler)
	return about.URL(), nil
}
