package issuer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A MasterKey derives refresh tokens. It belongs in the configuration, never in
// the store of the sessions.
type MasterKey struct {
	// ID names the key in the tokens: 1 to 32 letters, digits, "_" and "-".
	// Empty means a name made of a hash of Secret.
	ID string

	// Secret is 32 random bytes or more.
	Secret []byte `json:"-"`
}

func (k MasterKey) text() string { return "master key " + strconv.Quote(k.KeyID()) }

// Format names the key and hides the secret, for every verb and flag.
func (k MasterKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.text())) }

// LogValue returns what Format writes.
func (k MasterKey) LogValue() slog.Value { return slog.StringValue(k.text()) }

// KeyID returns the ID, or the name made of a hash of Secret if it is empty. It is
// the Session.KeyID of the sessions whose refresh tokens this key makes.
func (k MasterKey) KeyID() string {
	if k.ID != "" {
		return k.ID
	}
	sum := sha256.Sum256(append([]byte("tokenloop master key id\x00"), k.Secret...))
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}

// masterKeys are the master keys of an issuer; the first makes tokens.
type masterKeys struct {
	first  string
	secret map[string][]byte
	hashes map[string]*sync.Pool // of HMACs that are keyed already
}

const minMasterKey = 32

func newMasterKeys(keys []MasterKey) (masterKeys, error) {
	m := masterKeys{secret: map[string][]byte{}, hashes: map[string]*sync.Pool{}}
	var wrong []error
	if len(keys) == 0 {
		wrong = append(wrong, errors.New("MasterKeys is required: 32 random bytes at least, the same in all processes and after a restart"))
	}
	for i, k := range keys {
		if len(k.Secret) < minMasterKey {
			wrong = append(wrong, fmt.Errorf("MasterKeys[%d] has %d bytes; it needs at least %d", i, len(k.Secret), minMasterKey))
		}
		id := k.KeyID()
		if !isKeyID(id) {
			wrong = append(wrong, fmt.Errorf("MasterKeys[%d]: ID %q is not 1 to 32 letters, digits, _ and -", i, id))
		}
		if m.secret[id] != nil {
			wrong = append(wrong, fmt.Errorf("MasterKeys[%d]: ID %q stands twice", i, id))
		}
		if i == 0 {
			m.first = id
		}
		secret := append([]byte(nil), k.Secret...)
		m.secret[id] = secret
		m.hashes[id] = &sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}
	}
	return m, errors.Join(wrong...)
}

func isKeyID(s string) bool {
	return s != "" && len(s) <= 32 && isBase64URL(s)
}

// isSessionID reports whether s has the form of a Session's ID.
func isSessionID(s string) bool {
	return len(s) == sidLength && isBase64URL(s)
}

func isBase64URL(s string) bool {
	for n := range len(s) {
		c := s[n]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// A refreshToken is a refresh token that was parsed and proves nothing yet.
type refreshToken struct {
	keyID, sid string
	generation uint64
	mac        []byte
}

const (
	tokenVersion = "rt1"
	sidLength    = 22 // of 128 bits in base64url
)

var errNotRefreshToken = refused(jwterrors.RefreshTokenInvalid, "it does not have the form of a refresh token")

// parseRefreshToken reads "rt1.<kid>.<sid>.<generation>.<mac>", of which there
// is one spelling.
func parseRefreshToken(s string) (refreshToken, error) {
	if len(s) > 256 {
		return refreshToken{}, errNotRefreshToken
	}
	parts := strings.Split(s, ".")
	if len(parts) != 5 || parts[0] != tokenVersion || !isKeyID(parts[1]) || !isSessionID(parts[2]) {
		return refreshToken{}, errNotRefreshToken
	}
	generation, err := strconv.ParseUint(parts[3], 10, 62)
	if err != nil || strconv.FormatUint(generation, 10) != parts[3] {
		return refreshToken{}, errNotRefreshToken
	}
	mac, err := base64.RawURLEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(mac) != sha256.Size || strings.ContainsAny(parts[4], "\r\n") {
		return refreshToken{}, errNotRefreshToken
	}
	return refreshToken{parts[1], parts[2], generation, mac}, nil
}

// mac computes what makes a refresh token of a generation genuine. It is nil
// when the master key is not known.
func (m masterKeys) mac(keyID string, s *Session, generation uint64) []byte {
	hashes := m.hashes[keyID]
	if hashes == nil {
		return nil
	}
	family := hashes.Get().(hash.Hash)
	family.Reset()
	b := make([]byte, 0, 128)
	b = append(append(append(append(b, "fam|"...), s.Seed...), '|'), s.ID...)
	family.Write(b)
	key := family.Sum(b[:0]) // b has been read
	hashes.Put(family)
	token := hmac.New(sha256.New, key)
	b = append(append(b[len(key):len(key)], tokenVersion+"|"...), s.ID...) // behind the key
	b = append(strconv.AppendUint(append(b, '|'), generation, 10), '|')
	token.Write(append(b, s.ClientID...))
	return token.Sum(nil)
}

// genuine reports whether t was made by this issuer for s, in constant time.
func (m masterKeys) genuine(t refreshToken, s *Session) bool {
	mac := m.mac(t.keyID, s, t.generation)
	return mac != nil && hmac.Equal(mac, t.mac)
}

// lacks is the error for a session whose master key this process does not have.
// Another process may have it, so the request is worth repeating.
func (m masterKeys) lacks(s *Session) error {
	return storeFailed("derive a refresh token", fmt.Errorf("master key %q, which session %s uses, is not configured here", s.KeyID, s.ID))
}

// token returns the refresh token of the session's current generation.
func (m masterKeys) token(s *Session) (string, error) {
	mac := m.mac(s.KeyID, s, s.Generation)
	if mac == nil {
		return "", m.lacks(s)
	}
	return tokenVersion + "." + s.KeyID + "." + s.ID + "." + strconv.FormatUint(s.Generation, 10) + "." +
		base64.RawURLEncoding.EncodeToString(mac), nil
}
