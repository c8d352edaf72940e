package password_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokenloop/tokenloop/issuer/password"
)

// A hash is refused, or read in the one form that it has.
func FuzzParse(f *testing.F) {
	h := newHasher(f, password.Config{})
	for _, v := range vectors {
		f.Add(v.hash)
	}
	f.Add("$bcrypt-hmac-sha384$v=1" + vectors[3].hash)
	f.Add("$argon2id$v=19$m=4294967295,t=0,p=256$$")
	f.Add("$2b$31$")
	f.Add("")
	f.Fuzz(func(t *testing.T, encoded string) {
		again, err := h.Parse(encoded)
		switch {
		case err == nil && again != encoded:
			t.Errorf("Parse(%q) = %q", encoded, again)
		case err != nil && encoded != "" && !errors.Is(err, password.ErrHash):
			t.Errorf("Parse(%q): %v", encoded, err)
		case err != nil && len(encoded) > 24 && strings.Contains(err.Error(), encoded):
			t.Errorf("Parse(%q) shows it: %v", encoded, err)
		}
	})
}
