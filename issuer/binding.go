package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// The kinds of a Session.Confirmation, which are members of the claim "cnf" (RFC
// 9449, Section 6.1; RFC 8705, Section 3.1).
const (
	byKey         = "jkt"
	byCertificate = "x5t#S256"
)

// kind returns what comes before the thumbprint of a confirmation.
func kind(confirmation string) string {
	k, _, _ := strings.Cut(confirmation, ":")
	return k
}

// tokenType returns the "token_type" of access tokens that are bound so (RFC 9449,
// Section 5). One that is bound to a certificate goes as Bearer.
func tokenType(confirmation string) string {
	if kind(confirmation) == byKey {
		return dpop.Scheme
	}
	return "Bearer"
}

// appendConfirmation appends the claim "cnf", unless there is nothing to confirm.
func appendConfirmation(b []byte, confirmation string) []byte {
	if confirmation == "" {
		return b
	}
	return append(append(b, `,"cnf":`...), asClaim(confirmation)...)
}

// asClaim returns the value of "cnf".
func asClaim(confirmation string) json.RawMessage {
	if confirmation == "" {
		return nil
	}
	k, thumbprint, _ := strings.Cut(confirmation, ":")
	b := appendString([]byte("{"), k)
	return append(appendString(append(b, ':'), thumbprint), '}')
}

// ofClaim is the opposite of asClaim. It takes nothing else, since what is not
// understood could not be held to.
func ofClaim(cnf json.RawMessage) (string, error) {
	if cnf == nil {
		return "", nil
	}
	members, err := jws.Members(cnf)
	if err == nil && len(members) == 1 {
		for _, k := range []string{byKey, byCertificate} {
			if thumbprint, err := jws.String(members[k]); err == nil && thumbprint != "" {
				return k + ":" + thumbprint, nil
			}
		}
	}
	return "", misbound(errors.New(`the token's "cnf" is none of this issuer's`))
}

// misbound is a refusal for what something is bound to that is no matter of a proof
// (RFC 8705, Section 3).
func misbound(cause error) error {
	return &jwterrors.Error{Reason: jwterrors.ProofInvalid, Code: "invalid_token", Err: cause}
}

// loginClient returns the client whose sessions begin at /login, or nil where it is
// not registered. One that is looked up matters only where something can be bound.
func (i *Issuer) loginClient(ctx context.Context) (*client, error) {
	if i.oauth == nil {
		return nil, nil
	}
	if c := i.oauth.clients[i.c.ClientID]; c != nil || i.proofs == nil && i.c.ClientCertificate == nil {
		return c, nil
	}
	return i.client(ctx, i.c.ClientID)
}

// binding returns what the sender of r, a request for tokens, has proven to hold, in
// the form of Session.Confirmation: "" where it has proven nothing and need not. c
// may be nil. It is asked before anything is done for r.
func (i *Issuer) binding(w http.ResponseWriter, r *http.Request, c *client) (string, error) {
	e := Event{ClientID: i.c.ClientID, Address: address(r)}
	if c != nil {
		e.ClientID = c.ID
	}
	switch {
	case c != nil && c.CertificateBound:
		thumbprint, err := i.certificate(r)
		return byCertificate + ":" + thumbprint, i.proofRefused(e, err)
	case i.proofs == nil:
		return "", nil
	case len(r.Header[dpop.Header]) > 0:
		p, err := i.prove(w, r, "", "")
		if err != nil {
			return "", i.proofRefused(e, err)
		}
		return byKey + ":" + p.Thumbprint, nil
	case i.c.DPoP.Required || c != nil && c.DPoPBound:
		return "", i.proofRefused(e, refused(jwterrors.ProofInvalid, "there is no proof, and this client needs one"))
	}
	return "", nil
}

// loginBinding is binding for the client of the JSON routes.
func (i *Issuer) loginBinding(w http.ResponseWriter, r *http.Request) (string, error) {
	c, err := i.loginClient(r.Context())
	if err != nil {
		return "", err
	}
	return i.binding(w, r, c)
}

// proofRefused returns err, of which it tells unless it is but a nonce that is asked
// for.
func (i *Issuer) proofRefused(e Event, err error) error {
	if errors.Is(err, jwterrors.ProofInvalid) {
		e.Kind, e.Reason = EventProofRefused, jwterrors.ProofInvalid
		i.tell(e)
	}
	return err
}

// rotation returns how the refresh tokens of s rotate, whose Confirmation has been
// proven, for a client that is confidential or not.
func (i *Issuer) rotation(s *Session, confidential bool) BoundRotation {
	switch {
	case i.c.InsecureNoRotation:
		return NoRotation
	case s.Confirmation != "" || confidential:
		return i.c.BoundSessions
	}
	return ""
}

// heldBy says why a client that has proven binding may not refresh s, if it may not.
// A confidential client has authenticated, which is what its refresh tokens are bound
// to: its key and its certificate may be others by now (RFC 9449, Section 5; RFC
// 8705, Section 4).
func (s *Session) heldBy(binding string, confidential bool) error {
	switch {
	case s.Confirmation == "" || s.Confirmation == binding || confidential && kind(s.Confirmation) == kind(binding):
		return nil
	case kind(s.Confirmation) == byKey:
		return refused(jwterrors.ProofInvalid, "the session is bound to a key that was not proven")
	}
	return misbound(errors.New("the session is bound to another certificate"))
}

// certificate returns the thumbprint of the client certificate of r (RFC 8705,
// Section 3.1).
func (i *Issuer) certificate(r *http.Request) (string, error) {
	var der []byte
	if i.c.ClientCertificate != nil {
		var err error
		var reason jwterrors.Reason
		switch der, err = i.c.ClientCertificate(ofConnection(r)); {
		case errors.As(err, &reason) && reason != "":
			return "", err
		case err != nil:
			return "", misbound(fmt.Errorf("issuer: ClientCertificate: %w", err))
		}
	} else if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		der = r.TLS.PeerCertificates[0].Raw
	}
	if len(der) == 0 {
		return "", misbound(errors.New("there is no client certificate"))
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// held refuses an access token that is bound to what r does not prove. scheme is
// that of the Authorization field that it came in (RFC 9449, Section 7).
func (i *Issuer) held(w http.ResponseWriter, r *http.Request, scheme, token string, cnf json.RawMessage) error {
	confirmation, err := ofClaim(cnf)
	if err != nil {
		return err
	}
	proven := strings.EqualFold(scheme, dpop.Scheme)
	switch k, thumbprint, _ := strings.Cut(confirmation, ":"); {
	case k != byKey && proven:
		return misbound(errors.New("the token came as DPoP, and is bound to no key"))
	case k == byKey && i.proofs == nil:
		return misbound(errors.New("the token is bound to a key, and Config.DPoP is not set"))
	case k == byKey && !proven:
		return refused(jwterrors.ProofInvalid, "the token is bound to a key, and came as Bearer")
	case k == byKey:
		_, err := i.prove(w, r, token, thumbprint)
		return err
	case k == byCertificate:
		own, err := i.certificate(r)
		if err == nil && own != thumbprint {
			err = misbound(errors.New("the token is bound to another certificate"))
		}
		return err
	}
	return nil
}
