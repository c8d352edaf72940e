package issuer

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/internal/jwa"
)

// DPoP lets clients bind tokens to a key of their own (RFC 9449): a request for
// tokens that comes with a proof, in the field DPoP, is answered with an access token
// and a refresh token that are of no use without the key. The zero value is ready
// to use. Printed it shows no secret.
type DPoP struct {
	// Required refuses requests for tokens without a proof, except those of
	// clients that are CertificateBound. Client.DPoPBound does so for one client.
	Required bool

	// Algorithms are what proofs may be signed with (RFC 7518, Section 3.1).
	// Nil means ES256, EdDSA, Ed25519, ES384, PS256 and RS256.
	Algorithms []string

	// MaxAge is how old a proof may be, one second to ten minutes; 30 seconds
	// more are tolerated between clocks. Zero means 60 seconds.
	MaxAge time.Duration

	// RequireNonce refuses a proof without a nonce of this issuer, which is then
	// in the field DPoP-Nonce of the answer: a client has to try twice at first
	// (RFC 9449, Section 8). No proof can be made in advance then, and a nonce,
	// which lasts for one to two minutes, stands for the client's clock.
	RequireNonce bool

	// NonceSecret is 32 random bytes or more, the same in all processes, which
	// then take one another's nonces. It takes RequireNonce. Nil means that this
	// process draws its own.
	NonceSecret []byte `json:"-"`

	// Replays remember the proofs that were used, since each is good for one
	// request (RFC 9449, Section 11.1). Nil means in the memory of this
	// process: of several processes each would take a proof once. That memory
	// holds two million proofs at most; what is beyond is answered with 503.
	Replays Replays
}

// Replays remember which proofs were used. They are safe for concurrent use.
type Replays interface {
	// Use remembers a proof, by a name of at most 64 ASCII characters, until
	// the time given at least. It reports whether it was not used before: of any
	// number of calls, one reports true. An error means that this is not known.
	Use(ctx context.Context, proof string, until time.Time) (first bool, err error)
}

func (d DPoP) text() string {
	return fmt.Sprintf("DPoP with Required %t and RequireNonce %t", d.Required, d.RequireNonce)
}

// Format names what is no secret, for every verb and flag.
func (d DPoP) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(d.text())) }

// LogValue returns what Format writes.
func (d DPoP) LogValue() slog.Value { return slog.StringValue(d.text()) }

// algorithms returns a copy of Algorithms, or of what nil means.
func (d *DPoP) algorithms() []string {
	if d.Algorithms == nil {
		return slices.Clone(dpop.Algorithms)
	}
	return slices.Clone(d.Algorithms)
}

const (
	defaultProofAge = time.Minute
	maxProofAge     = 10 * time.Minute
	proofLeeway     = 30 * time.Second
	minNonceSecret  = 32 // bytes
)

// newChecker returns the judge of proofs for d, or all that is wrong with d. public
// is the URL of Config.Prefix.
func newChecker(d *DPoP, public string, now func() time.Time) (*dpop.Checker, []error) {
	if d == nil {
		return nil, nil
	}
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("issuer: DPoP."+format, args...))
	}
	known := jwa.Methods()
	for n, name := range d.Algorithms {
		switch {
		case known[name] == nil:
			wrong("Algorithms: %q is not an algorithm of key pairs", name)
		case slices.Contains(d.Algorithms[:n], name):
			wrong("Algorithms: %q stands twice", name)
		}
	}
	if d.Algorithms != nil && len(d.Algorithms) == 0 {
		wrong("Algorithms is empty, and not nil")
	}
	if d.MaxAge != 0 && (d.MaxAge < time.Second || d.MaxAge > maxProofAge) {
		wrong("MaxAge is %v; it is a second to %v", d.MaxAge, maxProofAge)
	}
	switch {
	case d.NonceSecret == nil:
	case !d.RequireNonce:
		wrong("NonceSecret is for RequireNonce, which is not set")
	case len(d.NonceSecret) < minNonceSecret:
		wrong("NonceSecret has %d bytes; it needs at least %d", len(d.NonceSecret), minNonceSecret)
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	c := &dpop.Checker{
		Algorithms: d.algorithms(), MaxAge: orDefault(d.MaxAge, defaultProofAge), Leeway: proofLeeway,
		Site: dpop.Site{Public: public}, Replays: d.Replays, Now: now,
	}
	if d.RequireNonce {
		c.Nonces = dpop.NewNonces(d.NonceSecret)
	}
	if c.Replays == nil {
		c.Replays = dpop.NewMemory(dpop.MaxProofs, now)
	}
	return c, nil
}

// prove checks the proof of r, and puts the next nonce into the answer. token is the
// access token that it must be for, and jkt the thumbprint that its key must have;
// each may be empty.
//
// The URL that clients know is PublicURL and what follows Prefix in the path, as the
// routes see it: a proxy, or a handler in front, may have moved it.
func (i *Issuer) prove(w http.ResponseWriter, r *http.Request, token, jkt string) (*dpop.Proof, error) {
	below := r.WithContext(r.Context()) // a copy
	below.RequestURI = ""
	below.URL = &url.URL{Path: strings.TrimPrefix(r.URL.Path, i.c.Prefix), RawPath: strings.TrimPrefix(r.URL.RawPath, i.c.Prefix)}
	p, err := i.proofs.Check(below, token, jkt)
	if nonce := i.proofs.Nonce(p, err); nonce != "" {
		w.Header()[dpop.NonceHeader] = []string{nonce}
	}
	return p, err
}
