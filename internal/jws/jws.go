// Package jws reads a compact JWS (RFC 7515, Section 7.1) and the JSON in it,
// more strictly than the packages underneath: one spelling of each token, one
// value of each member, names in their exact case. It verifies nothing.
package jws

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrFormat is the error of Split and Decode: what was read is no compact JWS.
var ErrFormat = errors.New("not a compact JWS")

// ErrPayload is the error of Members and ParseClaims: the JSON is not an
// object, is ambiguous, or has a member of the wrong type.
var ErrPayload = errors.New("not a set of claims")

// A Token is a compact JWS cut in three. Header, Payload and Signature are
// still encoded, and share the memory of the string that they were cut from.
type Token struct {
	Header, Payload, Signature string
	SigningInput               string // Header + "." + Payload
}

// Cut cuts raw in its three segments. It refuses a raw that is longer than max
// bytes before it looks at it, and one that has not three segments, or an empty
// header or payload. The signature is empty where there is none (RFC 7518, Section
// 3.6). A JWE, which has five parts, is refused with an error that says so. The
// characters of a segment are not looked at: AppendDecode does that.
func Cut(raw string, max int) (Token, error) {
	if len(raw) > max {
		return Token{}, fmt.Errorf("%w: %d bytes are more than the limit of %d", ErrFormat, len(raw), max)
	}
	first := strings.IndexByte(raw, '.')
	second := first + 1 + strings.IndexByte(raw[first+1:], '.')
	if first <= 0 || second <= first+1 {
		return Token{}, errParts
	}
	if strings.IndexByte(raw[second+1:], '.') >= 0 {
		if strings.Count(raw, ".") == 4 {
			return Token{}, errJWE
		}
		return Token{}, errParts
	}
	return Token{raw[:first], raw[first+1 : second], raw[second+1:], raw[:second]}, nil
}

// Split is Cut, and refuses an empty signature and any other character than
// base64url has.
func Split(raw string, max int) (Token, error) {
	t, err := Cut(raw, max)
	if err != nil {
		return t, err
	}
	if t.Signature == "" {
		return Token{}, errParts
	}
	for i := range len(raw) {
		if !alphabet[raw[i]] && raw[i] != '.' {
			return Token{}, fmt.Errorf("%w: byte %d is not base64url", ErrFormat, i)
		}
	}
	return t, nil
}

var (
	errParts = fmt.Errorf("%w: it has no three parts", ErrFormat)
	errJWE   = fmt.Errorf("%w: five parts are a JWE", ErrFormat)
	errText  = fmt.Errorf("%w: a segment is not canonical base64url", ErrFormat)
)

var alphabet = func() (ok [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		ok[c] = true
	}
	return ok
}()

// Decode decodes one segment: base64url without padding and, so that each
// token has one spelling only, without line breaks and stray bits at its end.
func Decode(segment string) ([]byte, error) {
	return AppendDecode(nil, segment)
}

// AppendDecode is Decode, and appends to dst.
func AppendDecode[S string | []byte](dst []byte, segment S) ([]byte, error) {
	n := len(segment)
	data, err := strict.AppendDecode(dst, []byte(segment))
	// A length that no encoder writes, or fewer bytes than it stands for:
	// encoding/base64 skipped a line break.
	if err != nil || n%4 == 1 || len(data) != len(dst)+strict.DecodedLen(n) {
		return dst, errText
	}
	return data, nil
}

var strict = base64.RawURLEncoding.Strict()

// maxDepth limits how deep objects and arrays may nest.
const maxDepth = 16

// Members returns the members of the JSON object that data is, each still
// encoded. It refuses invalid UTF-8, a name that occurs twice in any object,
// names of the outermost object that differ by case alone, nesting beyond 16
// levels, and anything after the object.
func Members(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrPayload)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := value(dec, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return nil, fmt.Errorf("%w: it is not one object", ErrPayload)
	}
	return members, nil
}

// value reads one JSON value.
func value(dec *json.Decoder, depth int) error {
	t, err := dec.Token()
	if err != nil {
		return errors.New("it is not JSON")
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	names := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			t, err := dec.Token()
			if err != nil {
				return errors.New("it is not JSON")
			}
			name, _ := t.(string)
			if depth == 0 {
				name = fold(name)
			}
			if names[name] {
				return errors.New("a name occurs twice")
			}
			names[name] = true
		}
		if err := value(dec, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// fold returns one spelling for all that differ by case alone. Readers like
// encoding/json take each of them for the others.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, name)
}

// Claims are the registered claims (RFC 7519, Section 4.1) and all members.
// An absent time is zero.
type Claims struct {
	Issuer    string
	Subject   string
	Audience  []string
	Expiry    time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	ID        string
	Members   map[string]json.RawMessage
}

// registered are the claims whose other spellings ("ISS") are refused: readers
// that ignore case would take them for the real ones.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// ParseClaims reads the registered claims from a decoded payload. A registered
// claim of the wrong type, null included, is an error.
func ParseClaims(payload []byte) (*Claims, error) {
	members, err := Members(payload)
	if err != nil {
		return nil, err
	}
	for name := range members {
		for _, exact := range registered {
			if name != exact && strings.EqualFold(name, exact) {
				return nil, fmt.Errorf("%w: a name differs from %q by case alone", ErrPayload, exact)
			}
		}
	}
	c := &Claims{Members: members}
	for name, target := range map[string]*string{"iss": &c.Issuer, "sub": &c.Subject, "jti": &c.ID} {
		if raw, ok := members[name]; ok {
			if *target, err = String(raw); err != nil {
				return nil, fmt.Errorf("%w: %q is not a string", ErrPayload, name)
			}
		}
	}
	for name, target := range map[string]*time.Time{"exp": &c.Expiry, "nbf": &c.NotBefore, "iat": &c.IssuedAt} {
		if raw, ok := members[name]; ok {
			if *target, err = NumericDate(raw); err != nil {
				return nil, fmt.Errorf("%w: %q is not a date", ErrPayload, name)
			}
		}
	}
	if raw, ok := members["aud"]; ok {
		if c.Audience, err = Strings(raw); err != nil {
			return nil, fmt.Errorf(`%w: "aud" is neither a string nor an array of strings`, ErrPayload)
		}
	}
	return c, nil
}

// String reads a JSON string and nothing else.
func String(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", ErrPayload
	}
	if end := len(raw) - 1; end > 0 && raw[end] == '"' && plain(raw[1:end]) {
		return string(raw[1:end]), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// plain reports whether text means itself between the quotes of a JSON string.
func plain(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Strings reads a JSON string or an array of strings.
func Strings(raw json.RawMessage) ([]string, error) {
	if len(raw) > 0 && raw[0] == '"' {
		s, err := String(raw)
		return []string{s}, err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil || items == nil {
		return nil, ErrPayload
	}
	all := make([]string, len(items))
	for i, item := range items {
		s, err := String(item)
		if err != nil {
			return nil, err
		}
		all[i] = s
	}
	return all, nil
}

// lastSecond is the end of the year 9999, the last date that RFC 3339 has.
const lastSecond = 253402300799

// NumericDate reads a JSON number of seconds since 1970 (RFC 7519, Section 2),
// whole or not, from after 1970 to the year 9999.
func NumericDate(raw json.RawMessage) (time.Time, error) {
	var f float64
	if len(raw) == 0 || raw[0] < '0' || raw[0] > '9' || json.Unmarshal(raw, &f) != nil || f <= 0 || f > lastSecond {
		return time.Time{}, ErrPayload
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}
