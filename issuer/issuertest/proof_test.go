package issuertest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/issuer/issuertest"
)

// What a server checks of a proof holds for those of a fake.
func TestAProofIsTakenOnce(t *testing.T) { // RFC 9449, Section 4.3
	fake, other := inMemory(t), inMemory(t)
	fake.Advance(24 * time.Hour)
	c := &dpop.Checker{Algorithms: dpop.Algorithms, MaxAge: time.Minute, Nonces: dpop.NewNonces(nil), Replays: dpop.NewMemory(100, fake.Now), Now: fake.Now}
	nonce := c.Nonces.Current(fake.Now())
	token := fake.Mint(issuertest.Token{Bound: true})
	cnf := object(t, part(t, token, 1))["cnf"].(map[string]any)
	require.Len(t, cnf, 1)
	jkt := cnf["jkt"].(string)
	outgoing, err := http.NewRequest("GET", "http://user@EXAMPLE.com:80/orders?page=2#top", nil)
	require.NoError(t, err)
	for name, r := range map[string]*http.Request{
		"a path":             httptest.NewRequest("GET", "/orders?page=2", nil),
		"a URL":              httptest.NewRequest("GET", "http://example.com/orders", nil),
		"that of a client's": outgoing,
	} {
		for _, proof := range []string{fake.Proof(r, token, nonce), fake.Proof(r, token, nonce)} {
			in := httptest.NewRequest("GET", "http://example.com/orders", nil)
			in.Header.Set("DPoP", proof)
			_, err := c.Check(in, token, jkt)
			assert.NoError(t, err, name)
			_, err = c.Check(in, token, jkt)
			assert.ErrorIs(t, err, jwterrors.ProofInvalid, "again")
		}
	}
	r := httptest.NewRequest("GET", "/orders", nil)
	for name, c2 := range map[string]struct {
		proof  string
		reason jwterrors.Reason
	}{
		"of another key":   {other.Proof(r, token, nonce), jwterrors.ProofInvalid},
		"of another token": {fake.Proof(r, fake.Token("bob"), nonce), jwterrors.ProofInvalid},
		"without a nonce":  {fake.Proof(r, token, ""), jwterrors.ProofNonceRequired},
	} {
		r.Header.Set("DPoP", c2.proof)
		_, err := c.Check(r, token, jkt)
		assert.ErrorIs(t, err, c2.reason, name)
	}
	assert.NotContains(t, part(t, fake.Token("alice"), 1), "cnf")
}
