package issuer

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A "cnf" is taken in the two forms that the issuer signs. What another version of
// it may have signed is refused, and never as if it were not there.
func TestWhatATokenMayBeBoundTo(t *testing.T) { // RFC 9449, Section 6.1; RFC 8705, Section 3.1
	checker, mistakes := newChecker(&DPoP{}, "https://id.example.com", time.Now)
	assert.Empty(t, mistakes)
	i := &Issuer{proofs: checker}
	for cnf, want := range map[string]string{
		`{"jkt":"x"}`: "jkt:x", `{"x5t#S256":"y"}`: "x5t#S256:y",
		`{}`: "", `null`: "", `[]`: "", `"jkt"`: "", `{"jkt":""}`: "", `{"jkt":1}`: "", `{"jkt":null}`: "", `{"jkt":["x"]}`: "",
		`{"jkt":"x","x5t#S256":"y"}`: "", `{"jkt":"x","jkt":"x"}`: "", `{"jkt":"x","kid":"z"}`: "", `{"JKT":"x"}`: "", `{"jwk":{}}`: "", `{"kid":"x"}`: "",
	} {
		got, err := ofClaim([]byte(cnf))
		assert.Equal(t, want, got, cnf)
		r := httptest.NewRequest("GET", "https://id.example.com/auth/sessions", nil)
		held := i.held(httptest.NewRecorder(), r, "Bearer", "token", []byte(cnf))
		assert.ErrorIs(t, held, jwterrors.ProofInvalid, cnf)
		if want == "" {
			assert.ErrorIs(t, err, jwterrors.ProofInvalid, cnf)
			continue
		}
		assert.NoError(t, err)
		assert.JSONEq(t, cnf, string(asClaim(got)))
	}
	confirmation, err := ofClaim(nil)
	assert.NoError(t, err)
	assert.Empty(t, confirmation)
	assert.Nil(t, asClaim(""))
}

// FuzzConfirmation: what is read of a "cnf" is written as the same.
func FuzzConfirmation(f *testing.F) {
	for _, cnf := range []string{`{"jkt":"x"}`, `{"x5t#S256":"y:z"}`, `{}`, `null`, `{"jkt":"\u0000"}`, `{"jkt":"x","jkt":"y"}`} {
		f.Add([]byte(cnf))
	}
	f.Fuzz(func(t *testing.T, cnf []byte) {
		confirmation, err := ofClaim(cnf)
		if err != nil || cnf == nil {
			if confirmation != "" {
				t.Errorf("ofClaim(%q) = %q, %v", cnf, confirmation, err)
			}
			return
		}
		if again, err := ofClaim(asClaim(confirmation)); err != nil || again != confirmation {
			t.Errorf("ofClaim(%q) = %q, and that is %q, %v", cnf, confirmation, again, err)
		}
	})
}
