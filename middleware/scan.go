package middleware

import (
	"strings"
	"time"
	"unicode/utf8"
)

// scanClaims reads a payload of the plain form that issuers write, without the
// cost of a general JSON decoder. It returns nil for everything that it does not
// understand in full (escapes, names of another case, duplicates, deep nesting,
// a wrong type, claims of another kind of token), valid or not: readClaimsSlowly
// decides then. What it does read, it reads as that one does.
func scanClaims(payload string) *record {
	if !utf8.ValidString(payload) {
		return nil
	}
	s := scanner{s: payload}
	r := &record{Claims: Claims{payload: payload}}
	var azp, scope string
	var hasScope, hasScp bool
	ok := s.object(func(name string, upper bool) bool {
		switch name {
		case "iss":
			return s.text(&r.Issuer)
		case "sub":
			return s.text(&r.Subject)
		case "jti":
			return s.text(&r.ID)
		case "aud":
			return s.texts(r, &r.Audience)
		case "exp":
			return s.date(&r.ExpiresAt)
		case "nbf":
			return s.date(&r.NotBefore)
		case "iat":
			return s.date(&r.IssuedAt)
		case "client_id":
			return s.text(&r.ClientID)
		case "azp":
			return s.text(&azp)
		case "sid":
			return s.text(&r.SessionID)
		case "acr":
			return s.text(&r.ACR)
		case "amr":
			return s.texts(r, &r.AMR)
		case "auth_time":
			return s.date(&r.AuthTime)
		case "email":
			return s.text(&r.Email)
		case "userId":
			return s.text(&r.UserID)
		case "scope", "scp":
			hasScope, hasScp = hasScope || name == "scope", hasScp || name == "scp"
			if s.peek() == '"' {
				return s.text(&scope)
			}
			return s.texts(r, &r.Scopes)
		case "type", "typ", "token_type", "token_use":
			var kind string
			return s.text(&kind) && kindOf(kind) == ""
		case "at_hash", "c_hash", "events":
			return false
		default:
			return !(upper && respells(name)) && s.skip(1)
		}
	}, true)
	if s.space(); !ok || s.i != len(payload) || hasScope && hasScp {
		return nil
	}
	if scope != "" {
		r.Scopes = r.keep(splitScopes(r.room(), scope))
	}
	if r.ClientID == "" {
		r.ClientID = azp
	}
	return r
}

// respells reports whether name is that of a claim in another case.
func respells(name string) bool {
	for _, exact := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"} {
		if strings.EqualFold(name, exact) {
			return true
		}
	}
	for _, exact := range sensitive {
		if strings.EqualFold(name, exact) {
			return true
		}
	}
	return false
}

// room returns an empty list with the space that is left in r.
func (r *record) room() []string {
	return r.lists[r.used:r.used]
}

// keep takes list, which was appended to room, out of that space.
func (r *record) keep(list []string) []string {
	if n := len(list); r.used+n <= len(r.lists) {
		r.used += n
	}
	return list[:len(list):len(list)]
}

// A scanner walks over JSON. Its methods report whether they understood what
// stands at i, and leave i behind it.
type scanner struct {
	s string
	i int
}

func (s *scanner) space() {
	for s.i < len(s.s) {
		switch s.s[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.s) {
		return s.s[s.i]
	}
	return 0
}

func (s *scanner) byte(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// maxNames limits the members of an object, since each name is compared with
// those before.
const maxNames = 32

// object reads an object and calls member for each name, when it stands before
// the value. Names that differ by case alone are not taken where fold is set.
func (s *scanner) object(member func(name string, upper bool) bool, fold bool) bool {
	var names [maxNames]string
	n := 0
	s.space()
	if !s.byte('{') {
		return false
	}
	if s.space(); s.byte('}') {
		return true
	}
	for {
		s.space()
		name, upper, ok := s.name()
		if !ok || n == maxNames {
			return false
		}
		for _, before := range names[:n] {
			if len(before) == len(name) && (before == name || fold && strings.EqualFold(before, name)) {
				return false
			}
		}
		names[n] = name
		n++
		if s.space(); !s.byte(':') {
			return false
		}
		if s.space(); !member(name, upper) {
			return false
		}
		if s.space(); s.byte('}') {
			return true
		}
		if !s.byte(',') {
			return false
		}
	}
}

// name reads a name of ASCII characters, and whether one is in upper case.
func (s *scanner) name() (name string, upper, ok bool) {
	if !s.byte('"') {
		return "", false, false
	}
	for start := s.i; s.i < len(s.s); s.i++ {
		switch c := s.s[s.i]; {
		case c == '"':
			s.i++
			return s.s[start : s.i-1], upper, true
		case c < ' ' || c == '\\' || c >= utf8.RuneSelf:
			return "", false, false
		case 'A' <= c && c <= 'Z':
			upper = true
		}
	}
	return "", false, false
}

// text reads a string without escapes.
func (s *scanner) text(target *string) bool {
	if !s.byte('"') {
		return false
	}
	for start := s.i; s.i < len(s.s); s.i++ {
		switch c := s.s[s.i]; {
		case c == '"':
			*target = s.s[start:s.i]
			s.i++
			return true
		case c < ' ' || c == '\\':
			return false
		}
	}
	return false
}

// skipText reads a string, with escapes (RFC 8259, Section 7): nobody asks what
// they stand for.
func (s *scanner) skipText() bool {
	if !s.byte('"') {
		return false
	}
	for ; s.i < len(s.s); s.i++ {
		switch c := s.s[s.i]; {
		case c == '"':
			s.i++
			return true
		case c < ' ':
			return false
		case c == '\\':
			s.i++
			if c := s.peek(); c == 'u' {
				for range 4 {
					s.i++
					if !isHex(s.peek()) {
						return false
					}
				}
			} else if strings.IndexByte(`"\/bfnrt`, c) < 0 {
				return false
			}
		}
	}
	return false
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// texts reads a string, or an array of strings.
func (s *scanner) texts(r *record, target *[]string) bool {
	list := r.room()
	var one string
	if s.peek() == '"' {
		ok := s.text(&one)
		*target = r.keep(append(list, one))
		return ok
	}
	ok := s.array(func() bool {
		ok := s.text(&one)
		list = append(list, one)
		return ok
	})
	*target = r.keep(list)
	return ok
}

func (s *scanner) array(element func() bool) bool {
	if !s.byte('[') {
		return false
	}
	if s.space(); s.byte(']') {
		return true
	}
	for {
		if s.space(); !element() {
			return false
		}
		if s.space(); s.byte(']') {
			return true
		}
		if !s.byte(',') {
			return false
		}
	}
}

// date reads a whole number of seconds after 1970, to the year 9999.
func (s *scanner) date(target *time.Time) bool {
	const lastSecond, digits = 253402300799, 12
	start := s.i
	var n int64
	for ; s.i < len(s.s) && s.i-start <= digits; s.i++ {
		c := s.s[s.i]
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	switch s.peek() {
	case '.', 'e', 'E': // a fraction or an exponent
		return false
	}
	if s.i == start || s.s[start] == '0' || n > lastSecond {
		return false
	}
	*target = time.Unix(n, 0)
	return true
}

// maxScanDepth limits how deep a value that nobody asked for may nest.
const maxScanDepth = 8

// skip reads any value.
func (s *scanner) skip(depth int) bool {
	switch c := s.peek(); {
	case depth > maxScanDepth:
		return false
	case c == '"':
		return s.skipText()
	case c == '{':
		return s.object(func(string, bool) bool { return s.skip(depth + 1) }, false)
	case c == '[':
		return s.array(func() bool { return s.skip(depth + 1) })
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

func (s *scanner) word(w string) bool {
	if !strings.HasPrefix(s.s[s.i:], w) {
		return false
	}
	s.i += len(w)
	return true
}

// number reads a number (RFC 8259, Section 6).
func (s *scanner) number() bool {
	s.byte('-')
	if !s.byte('0') && !s.digits() {
		return false
	}
	if s.byte('.') && !s.digits() {
		return false
	}
	if s.byte('e') || s.byte('E') {
		if !s.byte('+') {
			s.byte('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.i++
	}
	return s.i > start
}
