package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

const (
	argon2idPrefix = "$argon2id$"
	saltLength     = 16 // RFC 9106, Section 3.1
	sumLength      = 32
)

var b64 = base64.RawStdEncoding.Strict()

// An argon2idHash is a hash with its parameters.
type argon2idHash struct {
	memory, time, lanes int
	salt, sum           []byte
}

func (a *argon2idHash) of(password string) []byte {
	return argon2.IDKey([]byte(password), a.salt, uint32(a.time), uint32(a.memory), uint8(a.lanes), uint32(len(a.sum)))
}

func (a *argon2idHash) matches(password string) bool {
	return subtle.ConstantTimeCompare(a.of(password), a.sum) == 1
}

// outdated reports whether a is weaker than c asks for. Fewer passes over more
// memory are not.
func (a *argon2idHash) outdated(c *Config) bool {
	return c.Algorithm != Argon2id || a.memory < c.Memory || a.memory*a.time < c.Memory*c.Time ||
		len(a.salt) < saltLength || len(a.sum) < sumLength
}

func (a *argon2idHash) encode() string {
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argon2idPrefix, argon2.Version,
		a.memory, a.time, a.lanes, b64.EncodeToString(a.salt), b64.EncodeToString(a.sum))
}

// newArgon2id returns a hash with a random salt, and random itself: that of no
// password that anybody knows.
func newArgon2id(c *Config) *argon2idHash {
	a := &argon2idHash{memory: c.Memory, time: c.Time, lanes: c.Parallelism, salt: make([]byte, saltLength), sum: make([]byte, sumLength)}
	rand.Read(a.salt)
	rand.Read(a.sum)
	return a
}

// parseArgon2id reads a PHC string and holds it to the bounds.
func parseArgon2id(s string, maxMemory int) (*argon2idHash, error) {
	parts := strings.Split(s, "$") // s is short
	if len(parts) != 6 || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, malformed("it is not a PHC string of version 19")
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return nil, malformed("it has other parameters than m, t and p")
	}
	a := &argon2idHash{}
	for i, p := range []struct {
		name  string
		into  *int
		least int
		most  int
	}{{"m=", &a.memory, 8, maxMemory}, {"t=", &a.time, 1, maxTime}, {"p=", &a.lanes, 1, maxLanes}} {
		digits, ok := strings.CutPrefix(params[i], p.name)
		n, err := strconv.Atoi(digits)
		if !ok || err != nil {
			return nil, malformed("it has other parameters than m, t and p")
		}
		if n < p.least || n > p.most {
			return nil, malformed("its parameter " + p.name[:1] + " is out of bounds")
		}
		*p.into = n
	}
	if a.memory < 8*a.lanes {
		return nil, malformed("its parameter m is out of bounds")
	}
	var err error
	if a.salt, err = b64.DecodeString(parts[4]); err != nil || len(a.salt) < 8 || len(a.salt) > 64 {
		return nil, malformed("its salt is not base64 of 8 to 64 bytes")
	}
	if a.sum, err = b64.DecodeString(parts[5]); err != nil || len(a.sum) < 16 || len(a.sum) > 64 {
		return nil, malformed("its hash is not base64 of 16 to 64 bytes")
	}
	if a.encode() != s { // signs, leading zeros, line breaks within base64
		return nil, malformed("it is not in the one form that it has")
	}
	return a, nil
}
