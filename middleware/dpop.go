package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/internal/jwa"
)

// DPoP says which proofs of possession are accepted (RFC 9449): small JWTs, in the
// header field DPoP, which a client signs for one request each, with the key that
// its token is bound to. Such tokens come as "Authorization: DPoP", and in no other
// way. PublicURL is required, or else InsecureAnyHost.
//
// A proof passes once. So a request is looked at once: behind Handler, ask
// [FromContext], and not Check again.
//
// Clients in browsers need the field DPoP among those that the CORS rules allow
// (Access-Control-Allow-Headers), and DPoP-Nonce and WWW-Authenticate among those
// that scripts may read (Access-Control-Expose-Headers).
type DPoP struct {
	// Required refuses tokens that are bound to nothing. Those that are bound to a
	// certificate (RFC 8705) pass: they are of no use to a thief either.
	Required bool

	// Algorithms are those that a proof may be signed with. Nil means ES256, EdDSA,
	// Ed25519, ES384, PS256 and RS256. Challenges name them, and
	// [ProtectedResourceMetadata].DPoPSigningAlgValuesSupported should. New refuses
	// what is not of a public key.
	Algorithms []string

	// MaxAge is how old a proof may be, by its "iat" and with Config.Leeway. Zero
	// means 60 seconds. More than 5 minutes are refused by New. Where a nonce is
	// required, that tells the age instead, and "iat" does not count.
	MaxAge time.Duration

	// RequireNonce refuses proofs without a nonce of this service, with
	// AUTH_PROOF_NONCE_REQUIRED and a nonce in the field DPoP-Nonce (RFC 9449,
	// Section 9): nobody can make proofs for later, and clients' clocks do not
	// matter. One is good for 1 to 2 minutes, and a client is told the next one
	// with an answer before it ends, which gets "Cache-Control: no-store".
	RequireNonce bool

	// NonceSecret makes the nonces, of 32 bytes or more. Processes that serve the
	// same clients need the same one. Nil means a random one.
	NonceSecret []byte `json:"-"`

	// PublicURL is the URL that "/" has for clients, without a query: that of the
	// proxy in front, if there is one. A proof names the URL of its request, which
	// must be this one and the path, as it came over the wire.
	PublicURL string

	// Replays remembers the proofs that were used. Nil means that this process
	// does: of several processes, each takes a proof once then.
	Replays Replays

	// MaxProofs limits how many proofs are remembered where Replays is nil. Zero
	// means 2097152. Beyond it requests are refused with AUTH_STORE_UNAVAILABLE,
	// since what is forgotten could be used again.
	MaxProofs int

	// InsecureAnyHost takes scheme and host of a request's URL from the request,
	// in place of PublicURL, by its Host and by whether it came over TLS. It is
	// for services with many names: what is in front must let through requests
	// for these alone, or a server to which somebody was lured passes on what it
	// was sent, with its own name as the Host.
	InsecureAnyHost bool

	// TrustedProxies are the networks of proxies whose X-Forwarded-Proto and
	// X-Forwarded-Host tell it then. New refuses a network of 0 bits.
	TrustedProxies []netip.Prefix
}

func (d DPoP) text() string {
	return fmt.Sprintf("DPoP with Required %t and RequireNonce %t", d.Required, d.RequireNonce)
}

// Format names what is no secret, for every verb and flag.
func (d DPoP) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(d.text())) }

// LogValue returns what Format writes.
func (d DPoP) LogValue() slog.Value { return slog.StringValue(d.text()) }

// Replays remembers which proofs were used, perhaps for several processes. It must
// be safe for concurrent use.
type Replays interface {
	// Use remembers a proof, by a name of at most 64 ASCII characters, until then
	// at least, and reports whether it was not used before. It decides in one
	// atomic step: of two calls at once, one gets true. An error means that this
	// is not known: the request is then refused with AUTH_STORE_UNAVAILABLE.
	Use(ctx context.Context, proof string, until time.Time) (first bool, err error)
}

// What zero means in DPoP, and the most that MaxAge can be.
const (
	defaultProofAge = time.Minute
	maxProofAge     = 5 * time.Minute
)

const minNonceSecret = 32 // bytes

// checker returns what judges proofs as d says, or every mistake in d.
func (d DPoP) checker(leeway time.Duration, now func() time.Time) (*dpop.Checker, []error) {
	var mistakes []error
	mistake := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("middleware: DPoP: "+format, args...))
	}
	c := &dpop.Checker{
		Algorithms: dpop.Algorithms,
		MaxAge:     cmp.Or(d.MaxAge, defaultProofAge),
		Leeway:     leeway,
		Site:       dpop.Site{Public: d.PublicURL, Proxies: slices.Clone(d.TrustedProxies)},
		Replays:    d.Replays,
		Now:        now,
	}
	if d.Algorithms != nil {
		c.Algorithms = slices.Clone(d.Algorithms)
		if len(d.Algorithms) == 0 {
			mistake("Algorithms is empty, so that no proof could pass")
		}
	}
	known := jwa.Methods()
	for i, name := range d.Algorithms {
		switch {
		case known[name] == nil:
			mistake("Algorithms contains %q, which is none of a public key", name)
		case slices.Contains(d.Algorithms[:i], name):
			mistake("Algorithms contains %q twice", name)
		}
	}
	if d.MaxAge < 0 || d.MaxAge > maxProofAge {
		mistake("MaxAge is %v, and can be 0 to %v", d.MaxAge, maxProofAge)
	}
	switch {
	case d.NonceSecret != nil && !d.RequireNonce:
		mistake("NonceSecret is set and RequireNonce is not")
	case d.NonceSecret != nil && len(d.NonceSecret) < minNonceSecret:
		mistake("NonceSecret has %d bytes, and needs %d", len(d.NonceSecret), minNonceSecret)
	case d.RequireNonce:
		c.Nonces = dpop.NewNonces(d.NonceSecret)
	}
	switch _, err := dpop.Normalize(d.PublicURL); {
	case d.InsecureAnyHost && d.PublicURL != "":
		mistake("InsecureAnyHost and PublicURL are set")
	case d.InsecureAnyHost:
	case d.PublicURL == "":
		mistake(`PublicURL is empty; it is what clients call "/" by`)
	case err != nil || strings.ContainsAny(d.PublicURL, "?#"):
		mistake("PublicURL is not an absolute URL of https or http without a query")
	}
	if len(d.TrustedProxies) > 0 && !d.InsecureAnyHost {
		mistake("TrustedProxies are set, which count where InsecureAnyHost is")
	}
	if err := judgeProxies(d.TrustedProxies); err != nil {
		mistake("TrustedProxies: %w", err)
	}
	switch {
	case d.MaxProofs < 0:
		mistake("MaxProofs is negative")
	case d.MaxProofs > 0 && d.Replays != nil:
		mistake("MaxProofs and Replays are set")
	case d.Replays == nil:
		c.Replays = dpop.NewMemory(cmp.Or(d.MaxProofs, dpop.MaxProofs), now)
	}
	return c, mistakes
}

// judgeProxies refuses a network that everybody is in, or nobody.
func judgeProxies(all []netip.Prefix) error {
	var mistakes []error
	for _, p := range all {
		switch {
		case !p.IsValid():
			mistakes = append(mistakes, errors.New("one is no network"))
		case p.Bits() == 0:
			mistakes = append(mistakes, fmt.Errorf("%s is everybody", p))
		case p.Addr().Is4In6():
			mistakes = append(mistakes, fmt.Errorf("%s is a network of IPv4, and must be written as one", p))
		}
	}
	return errors.Join(mistakes...)
}
