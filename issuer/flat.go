package issuer

import (
	"bytes"
	"encoding/json"
	"strings"
)

// maxFlat limits the members that flat reads, since it compares every name with
// every other.
const maxFlat = 16

// flat reads a JSON object whose names and values are strings of printable ASCII
// without escapes, as nearly all clients send them. It reports false for any other
// text, good or bad: what that is jws.Members says, at many times the cost.
// Whatever flat takes jws.Members takes too, as the same.
func flat(data []byte) (map[string]json.RawMessage, bool) {
	s := scanner{data}
	members := map[string]json.RawMessage{}
	var names [maxFlat]string
	if !s.take('{') {
		return nil, false
	}
	for n := 0; ; n++ {
		if n == 0 && s.take('}') {
			break
		}
		quoted, ok := s.text()
		if !ok || n == maxFlat || !s.take(':') {
			return nil, false
		}
		name := string(quoted[1 : len(quoted)-1])
		for _, other := range names[:n] {
			if strings.EqualFold(name, other) {
				return nil, false
			}
		}
		names[n] = name
		if members[name], ok = s.text(); !ok {
			return nil, false
		}
		if s.take('}') {
			break
		}
		if !s.take(',') {
			return nil, false
		}
	}
	s.space()
	return members, len(s.rest) == 0
}

// A scanner reads from the front of rest.
type scanner struct{ rest []byte }

// space skips white space (RFC 8259, Section 2).
func (s *scanner) space() { s.rest = bytes.TrimLeft(s.rest, " \t\r\n") }

// take skips white space and c, and reports whether c was there.
func (s *scanner) take(c byte) bool {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// text reads a string and returns it in its quotes.
func (s *scanner) text() (json.RawMessage, bool) {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return nil, false
	}
	for n := 1; n < len(s.rest); n++ {
		switch c := s.rest[n]; {
		case c == '"':
			text := s.rest[: n+1 : n+1]
			s.rest = s.rest[n+1:]
			return text, true
		case c < ' ' || c > '~' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}
