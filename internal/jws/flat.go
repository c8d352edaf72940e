package jws

import (
	"bytes"
	"encoding/json"
	"strings"
)

// maxFlat limits the members that Flat reads, since it compares every name with
// every other.
const maxFlat = 16

// Flat reads a JSON object whose names are strings of printable ASCII without
// escapes, and whose values are such strings or whole numbers, as nearly all clients
// send them. It reports false for any other text, good or bad: what that is Members
// says, at many times the cost. Whatever Flat takes Members takes too, as the same.
func Flat(data []byte) (map[string]json.RawMessage, bool) {
	s := flatScanner{data}
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
		if members[name], ok = s.value(); !ok {
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

// A flatScanner reads from the front of rest.
type flatScanner struct{ rest []byte }

// space skips white space (RFC 8259, Section 2).
func (s *flatScanner) space() { s.rest = bytes.TrimLeft(s.rest, " \t\r\n") }

// take skips white space and c, and reports whether c was there.
func (s *flatScanner) take(c byte) bool {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// value reads a string or a whole number.
func (s *flatScanner) value() (json.RawMessage, bool) {
	s.space()
	n := 0
	for n < len(s.rest) && '0' <= s.rest[n] && s.rest[n] <= '9' {
		n++
	}
	if n == 0 {
		return s.text()
	}
	number := s.rest[:n:n]
	s.rest = s.rest[n:]
	return number, n == 1 || number[0] != '0' // what follows it is not a part of it, or an error
}

// text reads a string and returns it in its quotes.
func (s *flatScanner) text() (json.RawMessage, bool) {
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
