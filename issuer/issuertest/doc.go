// Package issuertest is for tests of handlers that access tokens protect: a fake
// issuer that mints any token, good and bad, with its JWK Set and metadata on a
// loopback server.
//
//	fake := issuertest.New(t, issuertest.Config{})
//	auth, err := middleware.New(middleware.Config{
//		Keys:   middleware.JWKS(fake.JWKSURL(), middleware.JWKSOptions{Client: fake.Client(), InsecureAllowHTTP: true}),
//		Issuer: fake.Issuer(), Audience: []string{fake.Audience()}, Now: fake.Now,
//	})
//	...
//	r.Header.Set("Authorization", "Bearer "+fake.Token("alice"))
//
// A bad token is a good one with one thing changed:
//
//	fake.Mint(issuertest.Token{Expired: true})
//	fake.Mint(issuertest.Token{Forged: true})
//	fake.Mint(issuertest.Token{Claims: map[string]any{"exp": nil}})
//
// The folder examples/handlertest has this as a test that runs, with each reason
// for which a token is refused.
//
// # Bound tokens
//
// A token that is bound to a key comes with a proof of it (RFC 9449):
//
//	token := fake.Mint(issuertest.Token{Bound: true})
//	r.Header.Set("Authorization", "DPoP "+token)
//	r.Header.Set("DPoP", fake.Proof(r, token, ""))
//
// What must be refused is had by leaving the proof out, sending the token as Bearer,
// or the proof of another request or of another Fake. A token for a certificate (RFC
// 8705, Section 3.1) has Claims of {"cnf": {"x5t#S256": thumbprint}}.
//
// # Keys
//
// A verifier gets the keys in the way that it gets them in production, or in one
// that is quicker to write down:
//
//	middleware.JWKS(fake.JWKSURL(), ...)     over HTTP, from the loopback server or by Client
//	middleware.Discover(fake.Issuer(), ...)  likewise, by way of the metadata
//	middleware.LocalJWKS(fake.JWKS)          without HTTP; it follows Rotate and Unpublish at once
//	middleware.PublicKeys(...)               of KeyID and PublicKey, which Rotate changes
//	middleware.HS256(fake.Secret())          for a fake of HS256, which publishes nothing
//
// # Time
//
// The fake's clock is time.Now, moved on by Advance. Give Now to the verifier, and
// both go by the same clock.
//
// In a bubble of testing/synctest, time.Sleep moves that clock as well. A real
// socket keeps a bubble awake, and the test would hang: set NoServer there, which
// starts none, and reach the JWK Set by Client, which never needs one:
//
//	synctest.Test(t, func(t *testing.T) {
//		fake := issuertest.New(t, issuertest.Config{NoServer: true})
//		keys := middleware.JWKS(fake.JWKSURL(), middleware.JWKSOptions{Client: fake.Client()})
//		...
//		time.Sleep(time.Hour) // the token expires
//	})
package issuertest
