package bench_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The floor is about the least that a correct middleware has to do, with the
// standard library's cryptography: it knows one header by heart, reads the
// claims without encoding/json, and copies the request once. It is no library:
// whatever it does not expect, it refuses.
func floor(_ testing.TB, alg string, next reached) http.Handler {
	f, handler := newFloor(alg), behind(next, flatSubject)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok {
			unauthorized(w)
			return
		}
		c, err := f.check(token)
		if err != nil {
			unauthorized(w)
			return
		}
		handler.ServeHTTP(w, r.WithContext(&flatContext{r.Context(), c}))
	})
}

// seenFloor is the floor for tokens that were verified before: one lookup by
// the whole token, one look at the clock. It forgets nothing and is never
// written to, which no real cache can afford. Tokens that it does not know go to
// the floor.
func seenFloor(_ testing.TB, alg string, next reached) http.Handler {
	f, handler := newFloor(alg), behind(next, flatSubject)
	seen := map[string]*flatClaims{}
	known := strings.TrimPrefix(rings[alg]()[0], "Bearer ")
	seen[known] = must(f.check(known))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok {
			unauthorized(w)
			return
		}
		c := seen[token]
		if c == nil || c.expires <= time.Now().Unix() {
			var err error
			if c, err = f.check(token); err != nil {
				unauthorized(w)
				return
			}
		}
		handler.ServeHTTP(w, r.WithContext(&flatContext{r.Context(), c}))
	})
}

type flatVerifier struct {
	header string
	verify func(input []byte, signature []byte) bool
	inputs sync.Pool // of *[]byte
}

func newFloor(alg string) *flatVerifier {
	k := keys[alg]()
	f := &flatVerifier{header: k.header(), verify: bare(k)}
	f.inputs.New = func() any { return new(make([]byte, 0, 4096)) }
	return f
}

var strict = base64.RawURLEncoding.Strict()

var errRefused = errors.New("refused")

func (f *flatVerifier) check(token string) (*flatClaims, error) {
	first := strings.IndexByte(token, '.')
	last := strings.LastIndexByte(token, '.')
	if first < 0 || first == last || token[:first] != f.header {
		return nil, errRefused
	}
	// One buffer for the signing input, and behind it the signature.
	buffer := f.inputs.Get().(*[]byte)
	defer f.inputs.Put(buffer)
	input := append((*buffer)[:0], token...)
	*buffer = input
	signature, err := strict.AppendDecode(input[len(token):], input[last+1:])
	if err != nil || !f.verify(input[:last], signature) {
		return nil, errRefused
	}
	payload, err := strict.AppendDecode(input[len(token):len(token)], input[first+1:last])
	if err != nil {
		return nil, err
	}
	c := new(flatClaims)
	if err := c.scan(string(payload)); err != nil {
		return nil, err
	}
	now := time.Now().Unix()
	if now >= c.expires || now < c.notBefore || c.issuer != issuerName || c.audience != audience {
		return nil, errRefused
	}
	return c, nil
}

// A flatContext carries the claims without context.WithValue.
type flatContext struct {
	context.Context
	claims *flatClaims
}

type flatKey struct{}

func flatSubject(ctx context.Context) string { return ctx.Value(flatKey{}).(*flatClaims).subject }

func (c *flatContext) Value(key any) any {
	if key == (flatKey{}) {
		return c.claims
	}
	return c.Context.Value(key)
}

// bare returns the verification of a signature of k and nothing around it. For
// HMAC it takes the hash from a pool, since a new one costs as much again.
func bare(k *key) func(input, signature []byte) bool {
	switch public := k.public.(type) {
	case []byte:
		pool := sync.Pool{New: func() any { return hmac.New(sha256.New, public) }}
		return func(input, signature []byte) bool {
			mac := pool.Get().(hash.Hash)
			defer pool.Put(mac)
			mac.Reset()
			mac.Write(input)
			var sum [sha256.Size]byte
			return hmac.Equal(mac.Sum(sum[:0]), signature)
		}
	case *rsa.PublicKey:
		return func(input, signature []byte) bool {
			digest := sha256.Sum256(input)
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
		}
	case *ecdsa.PublicKey:
		return func(input, signature []byte) bool {
			if len(signature) != 64 {
				return false
			}
			digest := sha256.Sum256(input)
			r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
			return ecdsa.Verify(public, digest[:], r, s)
		}
	case ed25519.PublicKey:
		return func(input, signature []byte) bool {
			return len(signature) == ed25519.SignatureSize && ed25519.Verify(public, input, signature)
		}
	}
	panic("no key")
}

// bearer returns the token of r, as the peers that bring no extraction of their
// own are given it.
func bearer(r *http.Request) (string, bool) {
	values := r.Header["Authorization"]
	const scheme = "Bearer "
	if len(values) != 1 || len(values[0]) <= len(scheme) || !strings.EqualFold(values[0][:len(scheme)], scheme) {
		return "", false
	}
	return values[0][len(scheme):], true
}

// unauthorized is the answer of the peers that bring none of their own.
func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	w.WriteHeader(http.StatusUnauthorized)
}

// flatClaims are the claims of an object whose members are strings without
// escapes and whole numbers.
type flatClaims struct {
	issuer, subject, audience, id, clientID, scope, session string
	expires, notBefore, issuedAt, authTime                  int64
}

// scan reads payload, and keeps parts of it.
func (c *flatClaims) scan(payload string) error {
	rest, ok := strings.CutPrefix(payload, "{")
	if !ok {
		return errRefused
	}
	for {
		name, after, err := flatString(rest)
		if err != nil {
			return err
		}
		if rest, ok = strings.CutPrefix(after, ":"); !ok || rest == "" {
			return errRefused
		}
		var text string
		var number int64
		if rest[0] == '"' {
			text, rest, err = flatString(rest)
		} else {
			number, rest, err = flatNumber(rest)
		}
		if err != nil || !c.set(name, text, number) || rest == "" {
			return errRefused
		}
		switch {
		case rest[0] == ',':
			rest = rest[1:]
		case rest == "}":
			return nil
		default:
			return errRefused
		}
	}
}

// set stores a member. It refuses one that was set before, and one of the wrong
// type, whose value is the zero one.
func (c *flatClaims) set(name, text string, number int64) bool {
	var textTarget *string
	var numberTarget *int64
	switch name {
	case "iss":
		textTarget = &c.issuer
	case "sub":
		textTarget = &c.subject
	case "aud":
		textTarget = &c.audience
	case "jti":
		textTarget = &c.id
	case "client_id":
		textTarget = &c.clientID
	case "scope":
		textTarget = &c.scope
	case "sid":
		textTarget = &c.session
	case "exp":
		numberTarget = &c.expires
	case "nbf":
		numberTarget = &c.notBefore
	case "iat":
		numberTarget = &c.issuedAt
	case "auth_time":
		numberTarget = &c.authTime
	default:
		return false
	}
	if textTarget != nil {
		if *textTarget != "" || text == "" {
			return false
		}
		*textTarget = text
		return true
	}
	if *numberTarget != 0 || number == 0 {
		return false
	}
	*numberTarget = number
	return true
}

// flatString reads a string without escapes from the beginning of s.
func flatString(s string) (value, rest string, err error) {
	if s == "" || s[0] != '"' {
		return "", "", errRefused
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[1:i], s[i+1:], nil
		case c < ' ' || c == '\\' || c > '~':
			return "", "", errRefused
		}
	}
	return "", "", errRefused
}

// flatNumber reads a whole number from the beginning of s.
func flatNumber(s string) (value int64, rest string, err error) {
	end := 0
	for end < len(s) && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	value, err = strconv.ParseInt(s[:end], 10, 64)
	return value, s[end:], err
}
