package main

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"time"
)

// factor is alice's second factor: in real life that of one account, and encrypted.
var factor = []byte("an obviously fake second factor")

// code returns the one-time code of six digits for 30 seconds (RFC 6238), which the
// user reads on a phone that has the secret, too.
func code(secret []byte, at time.Time) string {
	mac := hmac.New(sha1.New, secret)
	_ = binary.Write(mac, binary.BigEndian, at.Unix()/30)
	sum := mac.Sum(nil)
	from := sum[len(sum)-1] & 15 // RFC 4226, Section 5.3
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[from:])&0x7fffffff%1_000_000)
}

// valid reports whether given is the code of now, or the one before, which the user
// may have read a moment ago (RFC 6238, Section 5.2).
func valid(given string, now time.Time) bool {
	is := subtle.ConstantTimeCompare([]byte(given), []byte(code(factor, now)))
	was := subtle.ConstantTimeCompare([]byte(given), []byte(code(factor, now.Add(-30*time.Second))))
	return is|was == 1
}
