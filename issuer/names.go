package issuer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// Names are the names of the members that JSON requests carry. Empty means the
// default. The names of answers are for Config.Encode.
type Names struct {
	Username string // "username"
	Email    string // "email"
	Password string // "password"
	Device   string // "device"
	Scope    string // "scope"

	// RefreshToken is taken besides "refresh_token" and "refreshToken",
	// which are taken always.
	RefreshToken string
}

// renamed returns the names that differ from the defaults, by default name, or
// what is wrong with them.
func (n Names) renamed() (map[string]string, []error) {
	var wrong []error
	renamed := map[string]string{}
	seen := map[string]string{"refresh_token": "the refresh token", "refreshtoken": "the refresh token"}
	for _, m := range []struct{ field, standard, name string }{
		{"Username", "username", n.Username}, {"Email", "email", n.Email}, {"Password", "password", n.Password},
		{"Device", "device", n.Device}, {"Scope", "scope", n.Scope}, {"RefreshToken", "refresh_token", n.RefreshToken},
	} {
		if m.field == "RefreshToken" && (m.name == "" || m.name == "refresh_token" || m.name == "refreshToken") {
			continue
		}
		name := cmp.Or(m.name, m.standard)
		if !utf8.ValidString(name) {
			wrong = append(wrong, fmt.Errorf("issuer: Names.%s is not UTF-8", m.field))
		}
		if other := seen[strings.ToLower(name)]; other != "" {
			wrong = append(wrong, fmt.Errorf("issuer: Names.%s is %q, which stands for %s", m.field, name, other))
		}
		seen[strings.ToLower(name)] = "Names." + m.field
		if name != m.standard {
			renamed[m.standard] = name
		}
	}
	return renamed, wrong
}

// body reads a JSON request and returns the strings of the members with these
// default names, whatever they are called on the wire.
func (i *Issuer) body(w http.ResponseWriter, r *http.Request, names ...string) (map[string]string, error) {
	members, err := readMembers(w, r)
	if err != nil {
		return nil, err
	}
	return i.pick(members, names...)
}

// pick takes the members with these default names out of members, and returns
// their strings.
func (i *Issuer) pick(members map[string]json.RawMessage, names ...string) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range names {
		wire := cmp.Or(i.renamed[name], name)
		if err := take(members, wire, name, values); err != nil {
			return nil, err
		}
		if name == "refresh_token" && wire != name {
			if err := take(members, name, name, values); err != nil {
				return nil, err
			}
		}
	}
	return values, nil
}

// take moves the string of a member to values, unless it is absent or null.
func take(members map[string]json.RawMessage, wire, name string, values map[string]string) error {
	raw, ok := members[wire]
	delete(members, wire)
	if !ok || string(raw) == "null" {
		return nil
	}
	value, err := jws.String(raw)
	if err != nil {
		return refused(jwterrors.RequestInvalid, fmt.Sprintf("%q is not a string", wire))
	}
	if before := values[name]; before != "" && before != value {
		return refused(jwterrors.RequestInvalid, "the refresh token has two names and two values")
	}
	values[name] = value
	return nil
}
