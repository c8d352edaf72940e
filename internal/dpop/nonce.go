package dpop

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// noncePeriod is how long a server gives the same nonce to everybody.
const noncePeriod = time.Minute

// Nonces are nonces of a server (RFC 9449, Sections 8 and 9), which hold the time
// in a form that nobody else can make. One is good for one to two minutes, for any
// number of requests. Nothing is kept, so that all processes with the same secret
// take one another's. It is safe for concurrent use.
type Nonces struct{ secret []byte }

// NewNonces returns the Nonces of a secret, or of a random one where it is nil.
func NewNonces(secret []byte) *Nonces {
	own := append([]byte(nil), secret...)
	if secret == nil {
		own = make([]byte, 32)
		rand.Read(own)
	}
	return &Nonces{own}
}

// Current returns the nonce to give out now.
func (n *Nonces) Current(now time.Time) string { return n.of(period(now)) }

// Check reports whether a nonce is good, and for how long it is. A good one that is
// older than the current one is about to end. The next one is good too: a process
// whose clock is a little ahead gives it out.
func (n *Nonces) Check(nonce string, now time.Time) (until time.Time, current, ok bool) {
	p := period(now)
	for _, other := range [...]int64{p, p - 1, p + 1} {
		if hmac.Equal([]byte(nonce), []byte(n.of(other))) {
			return time.Unix((other+2)*int64(noncePeriod/time.Second), 0), other >= p, true
		}
	}
	return time.Time{}, false, false
}

func period(now time.Time) int64 { return now.Unix() / int64(noncePeriod/time.Second) }

func (n *Nonces) of(period int64) string {
	mac := hmac.New(sha256.New, n.secret)
	mac.Write([]byte("dpop nonce|"))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(period)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
}
