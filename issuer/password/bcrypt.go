package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	bcryptPrefix  = "$2"
	bcryptLength  = 60
	preHashPrefix = "$bcrypt-hmac-sha384$v=1"
	preHashKey    = "tokenloop bcrypt v1"
	maxBcrypt     = 72 // bytes; bcrypt ignores what comes after them
)

// A bcryptHash is a hash in the form that bcrypt has everywhere.
type bcryptHash struct {
	hash    string
	cost    int
	preHash bool
}

func (b *bcryptHash) matches(password string) bool {
	key, whole := bcryptKey(password, b.preHash), fitsBcrypt(password, b.preHash)
	return bcrypt.CompareHashAndPassword([]byte(b.hash), key) == nil && whole
}

func (b *bcryptHash) outdated(c *Config) bool {
	return c.Algorithm != Bcrypt || b.cost < c.Cost || b.preHash != c.PreHash
}

func (b *bcryptHash) encode() string {
	if b.preHash {
		return preHashPrefix + b.hash
	}
	return b.hash
}

// bcryptKey returns what bcrypt is given.
func bcryptKey(password string, preHash bool) []byte {
	if !preHash {
		return []byte(password)
	}
	mac := hmac.New(sha512.New384, []byte(preHashKey))
	mac.Write([]byte(password)) // a hash never fails
	return b64.AppendEncode(nil, mac.Sum(nil))
}

// fitsBcrypt reports whether a hash stands for password alone. The key of bcrypt
// is the password and a NUL, again and again: "a" and "a\x00a" are one.
func fitsBcrypt(password string, preHash bool) bool {
	return preHash || len(password) <= maxBcrypt && strings.IndexByte(password, 0) < 0
}

func newBcrypt(c *Config, password string) (*bcryptHash, error) {
	hash, err := bcrypt.GenerateFromPassword(bcryptKey(password, c.PreHash), c.Cost)
	if err != nil {
		return nil, fmt.Errorf("password: make a bcrypt hash: %w", err)
	}
	return &bcryptHash{hash: string(hash), cost: c.Cost, preHash: c.PreHash}, nil
}

const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// dummyBcrypt returns a random hash: that of no password that anybody knows.
func dummyBcrypt(c *Config) *bcryptHash {
	random := make([]byte, 53)
	rand.Read(random)
	for i, b := range random {
		random[i] = bcryptAlphabet[b%64]
	}
	return &bcryptHash{hash: fmt.Sprintf("$2a$%02d$%s", c.Cost, random), cost: c.Cost, preHash: c.PreHash}
}

// parseBcrypt reads a hash of 60 characters and holds it to the bounds.
func parseBcrypt(s string, preHash bool) (*bcryptHash, error) {
	if len(s) != bcryptLength || s[:2] != bcryptPrefix || !strings.Contains("aby", s[2:3]) || s[3] != '$' || s[6] != '$' ||
		strings.Trim(s[4:6], "0123456789") != "" || strings.Trim(s[7:], bcryptAlphabet) != "" {
		return nil, malformed("it is not a bcrypt hash of 60 characters")
	}
	cost := int(s[4]-'0')*10 + int(s[5]-'0')
	if cost < lowestCost || cost > maxCost {
		return nil, malformed("its cost is out of bounds")
	}
	return &bcryptHash{hash: s, cost: cost, preHash: preHash}, nil
}
