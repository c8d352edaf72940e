package errors

import "strings"

// A challenge is one scheme of WWW-Authenticate with its parameters, their
// names in lower case. Of a parameter given twice, the first is kept.
type challenge struct {
	scheme string
	params map[string]string
}

// parseChallenges reads WWW-Authenticate (RFC 9110, Section 11.6.1): one or
// more fields of one or more challenges each, separated by commas that separate
// their parameters, too. It stops at the first thing that it does not
// understand and returns what it had until then.
func parseChallenges(fields []string) []challenge {
	var all []challenge
	left := maxChallenge
	for _, field := range fields {
		if left -= len(field); left < 0 {
			break
		}
		all = append(all, parseField(field)...)
	}
	return all
}

func parseField(s string) []challenge {
	var all []challenge
	for {
		s = strings.TrimLeft(s, " \t,")
		var word string
		if word, s = cutToken(s); word == "" {
			return all
		}
		after := strings.TrimLeft(s, " \t")
		if strings.HasPrefix(after, "=") && len(all) > 0 { // a parameter of the last challenge
			value, rest, ok := cutValue(strings.TrimLeft(after[1:], " \t"))
			if !ok {
				return all
			}
			params := all[len(all)-1].params
			if name := strings.ToLower(word); !has(params, name) {
				params[name] = value
			}
			s = rest
			continue
		}
		all = append(all, challenge{word, map[string]string{}})
		if s != "" && s[0] != ' ' && s[0] != '\t' && s[0] != ',' {
			return all
		}
		s = skipToken68(after)
	}
}

func has(m map[string]string, name string) bool {
	_, ok := m[name]
	return ok
}

// skipToken68 drops a token68 from the front of s: the form in which schemes
// like Negotiate carry data. "a=b" is a parameter and "a=" or "a==" is not.
func skipToken68(s string) string {
	end := 0
	for end < len(s) && (isTokenByte(s[end]) || s[end] == '/') {
		end++
	}
	pads := end
	for pads < len(s) && s[pads] == '=' {
		pads++
	}
	tail := strings.TrimLeft(s[pads:], " \t")
	if end == 0 || tail != "" && tail[0] != ',' || pads == end && !strings.ContainsRune(s[:end], '/') {
		return s
	}
	return tail
}

// cutToken cuts a token (RFC 9110, Section 5.6.2) from the front of s.
func cutToken(s string) (token, rest string) {
	end := 0
	for end < len(s) && isTokenByte(s[end]) {
		end++
	}
	return s[:end], s[end:]
}

func isTokenByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// cutValue cuts a token or a quoted-string from the front of s.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}
