package middleware

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenloop/tokenloop/internal/jws"
)

// scanClaims reads a payload of the plain form that issuers write, without the
// cost of a general JSON decoder. It returns nil for everything that it does not
// understand in full (escapes, names of another case, duplicates, deep nesting,
// a wrong type, claims of a bound token or of another kind of token), valid or not: readClaimsSlowly
// decides then. What it does read, it reads as that one does.
func scanClaims(payload string) *record {
	s := scanner{s: payload, plain: isPlain(payload)}
	if !s.plain && !utf8.ValidString(payload) {
		return nil
	}
	r := &record{Claims: Claims{payload: payload}}
	var azp, scope, kind string
	var seen uint32 // a bit for each claim that is read
	var others names
	more, ok := s.open('{', '}')
	for more && ok {
		var name string
		var upper bool
		if name, upper, ok = s.member(); !ok {
			return nil
		}
		var bit uint32
		switch name {
		case "iss":
			bit, ok = 1<<0, s.text(&r.Issuer)
		case "sub":
			bit, ok = 1<<1, s.text(&r.Subject)
		case "aud":
			bit, ok = 1<<2, s.texts(r, &r.Audience)
		case "exp":
			bit, ok = 1<<3, s.date(&r.ExpiresAt)
		case "nbf":
			bit, ok = 1<<4, s.date(&r.NotBefore)
		case "iat":
			bit, ok = 1<<5, s.date(&r.IssuedAt)
		case "jti":
			bit, ok = 1<<6, s.text(&r.ID)
		case "client_id":
			bit, ok = 1<<7, s.text(&r.ClientID)
		case "azp":
			bit, ok = 1<<8, s.text(&azp)
		case "sid":
			bit, ok = 1<<9, s.text(&r.SessionID)
		case "acr":
			bit, ok = 1<<10, s.text(&r.ACR)
		case "amr":
			bit, ok = 1<<11, s.texts(r, &r.AMR)
		case "auth_time":
			bit, ok = 1<<12, s.date(&r.AuthTime)
		case "email":
			ok = others.add(name, true) && s.text(&r.Email)
		case "userId":
			ok = others.add(name, true) && s.text(&r.UserID)
		case "scope", "scp": // only one of them
			if bit = 1 << 13; s.peek() == '"' {
				ok = s.text(&scope)
			} else {
				ok = s.texts(r, &r.Scopes)
			}
		case "type", "typ", "token_type", "token_use":
			ok = others.add(name, true) && s.text(&kind) && kindOf(kind) == 0
		case "cnf", "at_hash", "c_hash", "events":
			return nil
		default:
			ok = !(upper && respells(name)) && others.add(name, true) && s.skip(1)
		}
		if seen&bit != 0 || !ok {
			return nil
		}
		seen |= bit
		more, ok = s.next('}')
	}
	if s.space(); !ok || s.i != len(payload) {
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
	for _, list := range [][]string{registered, sensitive} {
		for _, exact := range list {
			if strings.EqualFold(name, exact) {
				return true
			}
		}
	}
	return false
}

// registered are the names of which jws.ParseClaims refuses other spellings.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// room returns an empty list with the space that is left in r.
func (r *record) room() []string {
	return r.lists[r.used:r.used]
}

// keep takes list, which was appended to room, out of that space.
func (r *record) keep(list []string) []string {
	if n := int(r.used) + len(list); n <= len(r.lists) {
		r.used = int32(n)
	}
	return list[:len(list):len(list)]
}

// scanIssuer returns the "iss" of a payload that scanClaims does not read, or "".
// It judges nothing, so that a payload nobody signed costs little: it passes over
// everything else, a name that is spelled with escapes, too.
func scanIssuer(payload string) string {
	s := scanner{s: payload}
	for depth := 0; s.i < len(payload); {
		switch payload[s.i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			start := s.i
			if !s.skipText() {
				return ""
			}
			if depth == 1 && payload[start:s.i] == `"iss"` {
				if s.space(); s.byte(':') { // or else it is a value
					s.space()
					start = s.i
					if !s.skipText() {
						return ""
					}
					name, _ := jws.String([]byte(payload[start:s.i]))
					return name
				}
			}
			continue
		}
		s.i++
	}
	return ""
}

// A scanner walks over JSON. Its methods report whether they understood what
// stands at i, and leave i behind it.
type scanner struct {
	s     string
	i     int
	plain bool // isPlain(s): a string then ends with the next quotation mark
}

// isPlain reports whether s is of printable ASCII without a backslash, as the
// payloads of most tokens are. It looks at eight characters at a time.
func isPlain(s string) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	var odd uint64
	for len(s) >= 8 {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		backslash := x ^ '\\'*each
		// The highest bit of a character is set in x if it is no ASCII, and in
		// the differences if it is less than a space, or a backslash. A borrow
		// from one of those may set the bit of the next: odd is odd already.
		odd |= x | (x - ' '*each) | (backslash - each)
		s = s[8:]
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return odd&high == 0
}

func (s *scanner) space() {
	for s.i < len(s.s) && s.s[s.i] <= ' ' {
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

// open reads the beginning of an object or array, and whether something is in it.
func (s *scanner) open(begin, end byte) (more, ok bool) {
	if s.space(); !s.byte(begin) {
		return false, false
	}
	s.space()
	return !s.byte(end), true
}

// next reads what follows a member or element: a comma, or the end.
func (s *scanner) next(end byte) (more, ok bool) {
	if s.space(); s.byte(',') {
		s.space()
		return true, true
	}
	return false, s.byte(end)
}

// member reads the name of a member and what stands before its value.
func (s *scanner) member() (name string, upper, ok bool) {
	if name, upper, ok = s.name(); !ok {
		return "", false, false
	}
	if s.space(); !s.byte(':') {
		return "", false, false
	}
	s.space()
	return name, upper, true
}

// names are those of an object's members, as far as they are compared with one
// another, and so few that this costs little.
type names struct {
	list [32]string
	n    int
}

// add reports whether there is room for name, and it is new. Where fold is set,
// the case does not count.
func (n *names) add(name string, fold bool) bool {
	if n.n == len(n.list) {
		return false
	}
	for _, before := range n.list[:n.n] {
		if len(before) == len(name) && (before == name || fold && strings.EqualFold(before, name)) {
			return false
		}
	}
	n.list[n.n] = name
	n.n++
	return true
}

// object reads an object and calls member for each name, when it stands before
// the value. Names that differ by case alone are not taken where fold is set.
func (s *scanner) object(member func(name string, upper bool) bool, fold bool) bool {
	var all names
	more, ok := s.open('{', '}')
	for more && ok {
		name, upper, named := s.member()
		if !named || !all.add(name, fold) || !member(name, upper) {
			return false
		}
		more, ok = s.next('}')
	}
	return ok
}

// name reads a name of ASCII characters, and whether one is in upper case.
func (s *scanner) name() (name string, upper, ok bool) {
	if !s.byte('"') {
		return "", false, false
	}
	rest := s.s[s.i:]
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '"':
			s.i += i + 1
			return rest[:i], upper, true
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
	rest := s.s[s.i:]
	if s.plain {
		i := strings.IndexByte(rest, '"')
		if i < 0 {
			return false
		}
		*target = rest[:i]
		s.i += i + 1
		return true
	}
	for i := range len(rest) {
		if c := rest[i]; ends[c] {
			*target = rest[:i]
			s.i += i + 1
			return c == '"'
		}
	}
	return false
}

// ends are the characters that are not part of a string without escapes.
var ends = func() (all [256]bool) {
	for c := range byte(' ') {
		all[c] = true
	}
	all['"'], all['\\'] = true, true
	return all
}()

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
	more, ok := s.open('[', ']')
	for more && ok {
		if !element() {
			return false
		}
		more, ok = s.next(']')
	}
	return ok
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
