package conformance

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// What Wycheproof labels otherwise than it is judged here, by file and number.
var otherwise = map[string]struct {
	reason  jwterrors.Reason
	because string
}{
	"signature 259": {jwterrors.TokenFormatInvalid, emptyPayload},
	"signature 264": {jwterrors.TokenFormatInvalid, emptyPayload},
	"signature 268": {jwterrors.TokenFormatInvalid, emptyPayload},
	"signature 272": {jwterrors.TokenFormatInvalid, emptyPayload},
	"signature 320": {jwterrors.TokenFormatInvalid, emptyPayload},
	"signature 325": {jwterrors.TokenFormatInvalid, emptyPayload},
	"signature 346": {jwterrors.TokenSignatureInvalid, anotherAlg},
	"signature 350": {jwterrors.TokenSignatureInvalid, anotherAlg},
	"signature 347": {jwterrors.KeysUnavailable, unknownAlg},
	"signature 351": {jwterrors.KeysUnavailable, unknownAlg},
	"signature 367": {jwterrors.TokenPayloadInvalid, lostPadding},
	"signature 370": {jwterrors.TokenPayloadInvalid, lostPadding},
	"signature 372": {jwterrors.TokenFormatInvalid, strangeCharacter},
	"signature 373": {jwterrors.TokenFormatInvalid, strangeCharacter},
	"key 2":         {jwterrors.TokenSignatureInvalid, mixedSet},
	"crypto 48":     {jwterrors.TokenSignatureInvalid, mixedSet},
	"crypto 50":     {jwterrors.TokenFormatInvalid, encrypted},
	"crypto 67":     {jwterrors.TokenFormatInvalid, encrypted},
}

const (
	emptyPayload     = "labelled valid: a JWS may have an empty payload, a set of claims is never empty"
	anotherAlg       = "labelled valid: the token is for PS384, and its key says that it is for PS256"
	unknownAlg       = `labelled valid: the key says that it is for "ES521", which no algorithm is called`
	lostPadding      = "labelled invalid: the padding that it is named after is not in the token, which is that of 372 without its stray character"
	strangeCharacter = `labelled valid: "?" is not base64url (RFC 7515, Section 2)`
	mixedSet         = "labelled valid: the secret is in a set beside a public key, and sets have public keys alone"
)

// A group is some tests of one key.
type group struct {
	Comment         string
	Private, Public json.RawMessage
	Tests           []struct {
		ID       int    `json:"tcId"`
		Name     string `json:"comment"`
		JWS, JWE token
		Result   string
	}
}

// A token is a string, or the text of an object, which is one in JSON.
type token string

func (t *token) UnmarshalJSON(data []byte) error {
	*t = token(data)
	if data[0] != '"' {
		return nil
	}
	return json.Unmarshal(data, (*string)(t))
}

// source returns the keys of the group. A single secret with a fitting "alg" is
// one here; everything else is published.
func (g *group) source() middleware.KeySource {
	published := g.Public
	if published == nil {
		published = g.Private
	}
	var document struct{ Keys []jwk }
	var single jwk
	if json.Unmarshal(published, &document) != nil || document.Keys == nil {
		document.Keys = []jwk{nil}
		must(0, json.Unmarshal(published, &document.Keys[0]))
	}
	if single = document.Keys[0]; len(document.Keys) == 1 && single["kty"] == "oct" {
		switch single["alg"] {
		case "HS256":
			return middleware.HS256(single.bytes("k"))
		case "HS384":
			return middleware.HS384(single.bytes("k"))
		case "HS512":
			return middleware.HS512(single.bytes("k"))
		}
	}
	return set(document.Keys...)
}

// Project Wycheproof, of the Community Cryptography Specification Project. Its
// payloads are no claims: who gets that far has been verified.
func TestWycheproof(t *testing.T) {
	judged, seen := map[string]int{}, map[string]bool{}
	for _, file := range []string{"signature", "key", "crypto"} {
		data, err := fs.ReadFile(wycheproof.TestVectors, "json_web_"+file+"_test.json")
		require.NoError(t, err)
		var corpus struct {
			TestGroups []group
		}
		require.NoError(t, json.Unmarshal(data, &corpus))
		for _, g := range corpus.TestGroups {
			config := middleware.Config{Keys: g.source(), InsecureAnyIssuer: true, InsecureAnyAudience: true}
			_, unfit := middleware.New(config)
			for _, c := range g.Tests {
				id := fmt.Sprintf("%s %d", file, c.ID)
				t.Run(id+" "+g.Comment+" "+c.Name, func(t *testing.T) {
					judged[c.Result]++
					if unfit != nil {
						assert.Equal(t, "invalid", c.Result, "%v", unfit)
						assert.ErrorContains(t, unfit, "bytes, fewer than")
						return
					}
					got, err := judge(t, config, string(c.JWS+c.JWE))
					if other, ok := otherwise[id]; ok {
						seen[id] = true
						assert.NotEqual(t, c.Result == "valid", got == jwterrors.TokenPayloadInvalid, "%v", err)
						assert.Equal(t, other.reason, got, "%v: %s", err, other.because)
					} else {
						assert.Equal(t, c.Result == "valid", got == jwterrors.TokenPayloadInvalid, "labelled %s: %v", c.Result, err)
						assert.NotEmpty(t, got)
					}
				})
			}
		}
	}
	assert.Equal(t, map[string]int{"valid": 57, "invalid": 453}, judged, "the corpus has changed")
	assert.Len(t, seen, len(otherwise), "an exception is none any more")
}
