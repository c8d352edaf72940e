package middleware

import (
	"crypto"
	"crypto/hmac"
	"hash"
	"sync"
)

// macs verify with one secret. golang-jwt's method prepares the secret anew for
// each token, which takes as long as the rest of the verification; here that is
// done once for each of the few that are in use at a time.
type macs struct {
	pool sync.Pool // of *mac
}

type mac struct {
	hash.Hash
	input, sum []byte
}

func newMACs(h crypto.Hash, secret []byte) *macs {
	return &macs{sync.Pool{New: func() any { return &mac{Hash: hmac.New(h.New, secret)} }}}
}

// verify reports, in a time that does not depend on where they differ, whether
// signature is that of input.
func (m *macs) verify(input string, signature []byte) bool {
	one := m.pool.Get().(*mac)
	defer m.pool.Put(one)
	one.Reset()
	for rest := input; rest != ""; { // a part at a time, since a mac takes no strings
		n := min(len(rest), maxPart)
		one.input = append(one.input[:0], rest[:n]...)
		one.Write(one.input)
		rest = rest[n:]
	}
	one.sum = one.Sum(one.sum[:0])
	return hmac.Equal(one.sum, signature)
}

// maxPart limits what a mac keeps in memory, in bytes.
const maxPart = 4096
