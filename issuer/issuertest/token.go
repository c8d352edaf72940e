package issuertest

import (
	"cmp"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// A Token says what to mint. The zero value is a good access token with every
// claim that RFC 9068, Section 2.2, requires; each field changes one thing.
type Token struct {
	Subject  string        // "sub"; empty means "alice"
	Scope    string        // "scope", separated by spaces; empty means none
	Issuer   string        // "iss"; empty means that of the Fake
	Audience []string      // "aud"; nil means that of the Fake
	Lifetime time.Duration // between "iat" and "exp", in whole seconds; zero means Config.Lifetime

	Expired     bool // "exp" was an hour ago
	NotYetValid bool // "nbf" is in an hour, and "exp" a lifetime after it

	// Bound binds the token to a key of the Fake's (RFC 9449, Section 6.1), by
	// which Proof makes proofs.
	Bound bool

	// Claims are added to the others or replace them. A nil removes the claim,
	// and a time.Time becomes a NumericDate.
	Claims map[string]any

	// Header is for the JOSE header what Claims are for the payload. It does
	// not change how the token is signed, whatever "alg" it names.
	Header map[string]any

	// RawPayload and RawHeader replace the JSON, for what Claims and Header
	// cannot spell: a name twice, no JSON at all.
	RawPayload string
	RawHeader  string

	// Forged signs with a key that is not the issuer's, under the "kid" of the
	// one that is.
	Forged bool

	// UnknownKey signs with a key that was never published, under a "kid" of
	// its own. A verifier of HS256 that has no names for its secrets cannot tell
	// it from Forged.
	UnknownKey bool

	// Algorithm signs with another algorithm under the "kid" of the issuer's
	// key, which no verifier may accept: ES256, RS256 and EdDSA with a key of
	// their own, HS256 with the issuer's public key, in PEM, as the secret (RFC
	// 8725, Section 2.1), and "none", in any case, not at all. Empty means that
	// of the Fake.
	Algorithm string
}

// Token returns a good access token for subject.
func (f *Fake) Token(subject string) string {
	f.tb.Helper()
	return f.Mint(Token{Subject: subject})
}

// Mint returns the token that t describes, in compact form. It ends the test if t
// contradicts itself.
func (f *Fake) Mint(t Token) string {
	f.tb.Helper()
	token, err := f.mint(t)
	if err != nil {
		f.tb.Fatalf("%v", err)
	}
	return token
}

func (f *Fake) mint(t Token) (string, error) {
	if err := t.check(f.c.Algorithm); err != nil {
		return "", err
	}
	payload := []byte(t.RawPayload)
	if t.RawPayload == "" {
		var err error
		if payload, err = json.Marshal(f.claims(t)); err != nil {
			return "", fmt.Errorf("issuertest: Claims: %w", err)
		}
	}
	named := f.signer()
	signer := named
	switch {
	case t.UnknownKey:
		signer = f.foreignKey(named.algorithm)
		named = signer
	case t.Forged:
		signer = f.foreignKey(named.algorithm)
	case t.Algorithm == issuer.HS256 && named.algorithm != issuer.HS256:
		der, err := x509.MarshalPKIXPublicKey(named.public)
		if err != nil {
			return "", fmt.Errorf("issuertest: the public key: %w", err)
		}
		secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		signer = &key{algorithm: issuer.HS256, private: secret}
	case isNone(t.Algorithm):
		signer = &key{algorithm: t.Algorithm}
	case t.Algorithm != "" && t.Algorithm != named.algorithm:
		signer = f.foreignKey(t.Algorithm)
	}
	header := []byte(t.RawHeader)
	if t.RawHeader == "" {
		var err error
		members := map[string]any{"alg": signer.algorithm, "typ": "at+jwt", "kid": named.id}
		if header, err = json.Marshal(change(members, t.Header)); err != nil {
			return "", fmt.Errorf("issuertest: Header: %w", err)
		}
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode(header) + "." + encode(payload)
	if isNone(signer.algorithm) {
		return input + ".", nil
	}
	signature, err := methods[signer.algorithm].Sign(input, signer.private)
	if err != nil {
		return "", fmt.Errorf("issuertest: sign: %w", err)
	}
	return input + "." + encode(signature), nil
}

// claims returns those of RFC 9068, Section 2.2, and the "sid" and "auth_time"
// that package issuer adds, as t changes them.
func (f *Fake) claims(t Token) map[string]any {
	now := f.Now().Truncate(time.Second)
	lifetime := cmp.Or(t.Lifetime, f.c.Lifetime)
	issued, expiry := now, now.Add(lifetime)
	switch {
	case t.Expired:
		expiry = now.Add(-time.Hour)
		issued = expiry.Add(-lifetime)
	case t.NotYetValid:
		expiry = expiry.Add(time.Hour)
	}
	all := map[string]any{
		"iss": cmp.Or(t.Issuer, f.c.Issuer), "sub": cmp.Or(t.Subject, "alice"), "aud": f.c.Audience,
		"client_id": "test-client", "jti": rand.Text(), "sid": rand.Text(),
		"iat": issued, "exp": expiry, "auth_time": issued,
	}
	if t.Audience != nil {
		all["aud"] = t.Audience
	}
	if t.Scope != "" {
		all["scope"] = t.Scope
	}
	if t.NotYetValid {
		all["nbf"] = now.Add(time.Hour)
	}
	if t.Bound {
		all["cnf"] = map[string]string{"jkt": f.client.Thumbprint}
	}
	all = change(all, t.Claims)
	for name, value := range all {
		if date, ok := value.(time.Time); ok {
			all[name] = date.Unix()
		}
	}
	return all
}

// change returns all with changes, where nil removes.
func change(all, changes map[string]any) map[string]any {
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// check returns every contradiction in t.
func (t Token) check(algorithm string) error {
	var mistakes []error
	mistake := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("issuertest: "+format, args...))
	}
	if t.Lifetime < 0 || t.Lifetime%time.Second != 0 {
		mistake("Lifetime is %v, and can be whole seconds", t.Lifetime)
	}
	if t.Expired && t.NotYetValid {
		mistake("both Expired and NotYetValid are set")
	}
	if t.RawPayload != "" && (t.Subject != "" || t.Scope != "" || t.Issuer != "" || t.Audience != nil ||
		t.Lifetime != 0 || t.Expired || t.NotYetValid || t.Bound || t.Claims != nil) {
		mistake("RawPayload is set, and so are fields that it replaces")
	}
	if t.RawHeader != "" && t.Header != nil {
		mistake("both RawHeader and Header are set")
	}
	other := t.Algorithm != "" && t.Algorithm != algorithm
	if t.Forged && t.UnknownKey || other && (t.Forged || t.UnknownKey) {
		mistake("more than one of Forged, UnknownKey and Algorithm is set")
	}
	if methods[t.Algorithm] == nil && t.Algorithm != "" && !isNone(t.Algorithm) {
		mistake("Algorithm %q is not one of %s, none", t.Algorithm, strings.Join(algorithms, ", "))
	}
	return errors.Join(mistakes...)
}

func isNone(algorithm string) bool { return strings.EqualFold(algorithm, "none") }

// foreignKey returns a key of this algorithm that is not the issuer's.
func (f *Fake) foreignKey(algorithm string) *key {
	f.tb.Helper()
	f.mu.Lock()
	k := f.foreign[algorithm]
	f.mu.Unlock()
	if k == nil {
		k = f.newKey(algorithm)
		f.mu.Lock()
		f.foreign[algorithm] = k
		f.mu.Unlock()
	}
	return k
}
