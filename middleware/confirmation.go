package middleware

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// A confirmation is what a token is bound to, by its "cnf" (RFC 7800, Section 3.1).
// It is shared and never changes.
type confirmation struct {
	key         string // "jkt", the thumbprint of a key (RFC 9449, Section 6.1); "" for none
	certificate string // "x5t#S256", that of a certificate (RFC 8705, Section 3.1); "" for none
	wrong       error  // why nobody can have what the token is bound to
}

// readConfirmation reads a "cnf". What it does not understand is never left out:
// the token is bound to something else then.
func readConfirmation(raw json.RawMessage) *confirmation {
	members, err := jws.Members(raw)
	if err != nil {
		return &confirmation{wrong: errors.New(`"cnf" is not an unambiguous JSON object`)}
	}
	c := new(confirmation)
	for name, raw := range members {
		thumbprint, _ := jws.String(raw)
		sum, _ := jws.Decode(thumbprint) // nothing, of what is no string in base64url
		switch {
		case name != "jkt" && name != "x5t#S256":
			return &confirmation{wrong: errors.New(`"cnf" has the member ` + shown(name) + `, which is not known here`)}
		case len(sum) != sha256.Size:
			return &confirmation{wrong: errors.New(`"cnf" has in ` + shown(name) + ` no SHA-256 thumbprint in base64url`)}
		case name == "jkt":
			c.key = thumbprint
		default:
			c.certificate = thumbprint
		}
	}
	if *c == (confirmation{}) {
		return &confirmation{wrong: errors.New(`"cnf" is empty`)}
	}
	return c
}

// possessed judges whether who sent a token has what it is bound to. c is nil for
// a token that is bound to nothing, request and from are where there is no request.
// It is asked for each request, and returns the nonce for the next one, if there is
// one to give.
func (m *Middleware) possessed(request *http.Request, from *source, token string, c *confirmation) (nonce string, err error) {
	withProof := from != nil && from.name == inDPoP
	switch {
	case c == nil && withProof:
		return "", misbound("the token is bound to no key, and came with the scheme DPoP")
	case c == nil && m.bound:
		return "", misbound("the token is bound to nothing, and Config.DPoP.Required is set")
	case c == nil:
		return "", nil
	case c.wrong != nil:
		return "", misbound(c.wrong.Error())
	case c.key == "" && withProof:
		return "", misbound("the token is bound to a certificate and to no key, and came with the scheme DPoP")
	case c.key != "" && m.proofs == nil:
		return "", misbound("the token is bound to a key, and Config.DPoP is not set")
	case request == nil:
		return "", refuse(jwterrors.ProofInvalid, errors.New("the token is bound, and where there is no request there is no proof"))
	case c.key != "" && !withProof:
		return "", refuse(jwterrors.ProofInvalid, errors.New("the token is bound to a key, and did not come with the scheme DPoP"))
	}
	if c.certificate != "" {
		if err := m.judgeCertificate(request, c.certificate); err != nil {
			return "", err
		}
	}
	if c.key == "" {
		return "", nil
	}
	proof, err := m.proofs.Check(request, token, c.key)
	nonce = m.proofs.Nonce(proof, err)
	var e *jwterrors.Error
	if errors.As(err, &e) && e.Reason == jwterrors.ProofNonceRequired {
		e.Nonce = nonce // for who answers after Check
	}
	return nonce, err
}

// misbound is the refusal of a token that is not bound as it must be, whatever
// the proof (RFC 8705, Section 3).
func misbound(cause string) error {
	return &jwterrors.Error{Reason: jwterrors.ProofInvalid, Code: "invalid_token", Err: errors.New(cause)}
}

// judgeCertificate judges whether the certificate of the client is the one with
// the thumbprint (RFC 8705, Section 3).
func (m *Middleware) judgeCertificate(r *http.Request, thumbprint string) error {
	der, err := m.certificate(r)
	var reason jwterrors.Reason
	switch {
	case err != nil && errors.As(err, &reason) && reason != "":
		return err
	case err != nil:
		return &jwterrors.Error{Reason: jwterrors.ProofInvalid, Code: "invalid_token", Err: err}
	case len(der) == 0:
		return misbound("the token is bound to a certificate, and the client showed none")
	}
	sum := sha256.Sum256(der)
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(thumbprint)) != 1 {
		return misbound("the token is bound to another certificate than that of the client")
	}
	return nil
}
