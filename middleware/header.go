package middleware

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// A header is a JOSE header (RFC 7515, Section 4) that was judged, and the keys
// that may have signed under it. It is shared and never changes.
type header struct {
	alg  *algorithm
	kid  string
	typ  string // as normalType spells it
	keys []*key
}

// readHeader reads the encoded header of a token and judges what does not
// depend on keys, in this order: the algorithm, the type, the key's name, the
// extensions. Members that could bring a key along (jwk, jku, x5u, x5c) are not
// looked at: keys come from the issuer's source alone.
func readHeader(segment string, types []string, allows func(*algorithm) bool) (*header, error) {
	data, err := jws.Decode(segment)
	if err != nil {
		return nil, refuse(jwterrors.TokenFormatInvalid, err)
	}
	if bytes.Count(data, []byte{','}) > maxHeaderCommas {
		return nil, errManyMembers
	}
	f := scanHeader(string(data))
	if f == nil {
		if f, err = readHeaderSlowly(data); err != nil {
			return nil, refuse(jwterrors.TokenFormatInvalid, err)
		}
	}
	h := &header{alg: algorithms[f.alg], kid: f.kid, typ: normalType(f.typ)}
	switch {
	case h.alg == nil || !allows(h.alg):
		return nil, refuse(jwterrors.TokenSignatureInvalid, notAllowed{"algorithm", f.alg})
	case !allowsType(types, h.typ) || f.hasTyp && f.typ == "":
		return nil, refuse(jwterrors.TokenTypeInvalid, notAllowed{"type", f.typ})
	case f.hasKID && (h.kid == "" || !validID(h.kid)):
		return nil, refuse(jwterrors.TokenKeyUnknown, errors.New("the kid is empty, too long or has control characters"))
	case f.extension != "":
		return nil, refuse(jwterrors.TokenFormatInvalid, notAllowed{"header", f.extension})
	}
	return h, nil
}

// maxHeaderBytes limits the length of an encoded header, in bytes. What counts in
// one is short, and a long one would cost more to read than its signature.
const maxHeaderBytes = 2048

// maxHeaderCommas limits the commas in a header, and so its members and what is
// listed in them: many small ones are short and take long to read.
const maxHeaderCommas = 32

var errManyMembers = refuse(jwterrors.TokenFormatInvalid, fmt.Errorf("the header has more than %d commas", maxHeaderCommas))

// headerFields are the members of a header that count.
type headerFields struct {
	alg, typ, kid  string
	hasTyp, hasKID bool

	// extension is the name of a member that changes how a token must be read.
	// No extension is known here, so every "crit" is one too many (RFC 7515,
	// Section 4.1.11); "b64" would be one (RFC 7797), and "enc" makes a token a
	// JWE (RFC 7516, Section 9).
	extension string
}

// scanHeader reads a header of the plain form that issuers write, or returns nil,
// as scanClaims does. What it does read, it reads as readHeaderSlowly does.
func scanHeader(data string) *headerFields {
	if !utf8.ValidString(data) {
		return nil
	}
	f, s := new(headerFields), scanner{s: data}
	ok := s.object(func(name string, _ bool) bool {
		switch name {
		case "alg":
			return s.text(&f.alg)
		case "typ":
			f.hasTyp = true
			return s.text(&f.typ)
		case "kid":
			f.hasKID = true
			return s.text(&f.kid)
		case "crit", "b64", "enc":
			return false
		default:
			return s.skip(1)
		}
	}, true)
	if s.space(); !ok || s.i != len(data) {
		return nil
	}
	return f
}

// readHeaderSlowly reads any header.
func readHeaderSlowly(data []byte) (*headerFields, error) {
	members, err := jws.Members(data)
	if err != nil {
		return nil, errors.New("the header is not an unambiguous JSON object")
	}
	f := new(headerFields)
	for name, target := range map[string]*string{"alg": &f.alg, "typ": &f.typ, "kid": &f.kid} {
		if raw, ok := members[name]; ok {
			if *target, err = jws.String(raw); err != nil {
				return nil, fmt.Errorf("the header's %q is not a string", name)
			}
		}
	}
	_, f.hasTyp = members["typ"]
	_, f.hasKID = members["kid"]
	for _, name := range []string{"crit", "b64", "enc"} {
		if _, ok := members[name]; ok {
			f.extension = name
			break
		}
	}
	return f, nil
}

// A notAllowed is why a header is refused. Most are never shown.
type notAllowed struct{ what, value string }

func (e notAllowed) Error() string {
	return "the " + e.what + " " + shown(e.value) + " is not allowed"
}

// normalType returns the one spelling of a media type that header and
// configuration are compared in: lower case, without the "application/" that
// may be left out (RFC 7515, Section 4.1.9).
func normalType(typ string) string {
	typ = strings.ToLower(typ)
	if rest, ok := strings.CutPrefix(typ, "application/"); ok && rest != "" && !strings.Contains(rest, "/") {
		return rest
	}
	return typ
}

func allowsType(types []string, typ string) bool {
	for _, t := range types {
		if t == typ {
			return true
		}
	}
	return false
}

// shown quotes and shortens what a header says, for an error's text.
func shown(s string) string {
	if len(s) > 64 {
		return fmt.Sprintf("%q...", s[:64])
	}
	return fmt.Sprintf("%q", s)
}

// A headerMemo remembers the headers of tokens that were verified, by their
// encoded form, for one issuer of one Middleware and one state of its keys. An
// issuer's tokens share a handful of headers. It is bounded, and a forger cannot
// put anything in it.
type headerMemo struct {
	current atomic.Pointer[memo]
	mu      sync.Mutex // one writer at a time
}

type memo struct {
	set     *keySet
	headers []memoHeader // the commonest ones are among the first that came
}

type memoHeader struct {
	segment string
	header  *header
}

// The bounds of a memo: the number of headers, and the length of one in bytes.
const (
	maxHeaders   = 32
	maxMemoBytes = 512
)

func (m *headerMemo) get(set *keySet, segment string) *header {
	c := m.current.Load()
	if c == nil || c.set != set {
		return nil
	}
	for i := range c.headers {
		if c.headers[i].segment == segment {
			return c.headers[i].header
		}
	}
	return nil
}

// put remembers h, which verified a token with the keys of set. When the memo is
// full it stays as it is: the common headers came first.
func (m *headerMemo) put(set *keySet, segment string, h *header) {
	if len(segment) > maxMemoBytes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := &memo{set: set}
	if c := m.current.Load(); c != nil && c.set == set {
		if len(c.headers) >= maxHeaders || m.get(set, segment) != nil {
			return
		}
		next.headers = slices.Clip(c.headers)
	}
	// Not a part of the token, which would keep it in memory.
	next.headers = append(next.headers, memoHeader{strings.Clone(segment), h})
	m.current.Store(next)
}
