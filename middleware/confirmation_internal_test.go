package middleware

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// The causes tell an operator what an issuer writes wrongly.
func TestTheCauseOfAWrongConfirmation(t *testing.T) {
	for raw, want := range map[string]string{
		`"x"`: "not an unambiguous JSON object", `{"jkt":"x","jkt":"x"}`: "not an unambiguous JSON object", `{}`: "is empty",
		`{"jku":"x"}`: "not known here", `{"jkt":"x"}`: "no SHA-256 thumbprint", `{"jkt":7}`: "no SHA-256 thumbprint",
	} {
		if c := readConfirmation(json.RawMessage(raw)); c.wrong == nil || !strings.Contains(c.wrong.Error(), want) {
			t.Errorf("%s: %v", raw, c.wrong)
		}
	}
}

// FuzzConfirmation: what is read is one or two thumbprints and nothing else, and
// what is in a "cnf" beside them is never left out.
func FuzzConfirmation(f *testing.F) {
	thumbprint := base64.RawURLEncoding.EncodeToString(make([]byte, sha256.Size))
	for _, raw := range []string{
		`{"jkt":"T"}`, `{"x5t#S256":"T"}`, `{"jkt":"T","x5t#S256":"T"}`, `{"j\u006bt":"T"}`, `{"jkt":"T","jkt":"T"}`, `{"jkt":"T","JKT":"T"}`,
		`{"jkt":"T="}`, `{"jkt":"AAAA"}`, `{"jkt":""}`, `{"jkt":["T"]}`, `{"jkt":null}`, `{"jwk":{}}`, `{}`, `null`, `"T"`, `[{"jkt":"T"}]`, `{"jkt":"T"}{}`, `{`, ``,
	} {
		f.Add(strings.ReplaceAll(raw, "T", thumbprint))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c := readConfirmation(json.RawMessage(raw))
		if c.wrong != nil {
			if c.key != "" || c.certificate != "" {
				t.Fatalf("%q: %+v", raw, c)
			}
			return
		}
		var members map[string]string
		if err := json.Unmarshal([]byte(raw), &members); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		n := 0
		for name, value := range map[string]string{"jkt": c.key, "x5t#S256": c.certificate} {
			if sum, err := base64.RawURLEncoding.DecodeString(value); value != "" && (err != nil || len(sum) != sha256.Size || members[name] != value) {
				t.Fatalf("%q: %s is %q", raw, name, value)
			} else if value != "" {
				n++
			}
		}
		if n == 0 || n != len(members) {
			t.Fatalf("%q: %+v", raw, c)
		}
	})
}
