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
	sum []byte
}

func newMACs(h crypto.Hash, secret []byte) *macs {
	return &macs{sync.Pool{New: func() any { return &mac{hmac.New(h.New, secret), make([]byte, 0, h.Size())} }}}
}

// verify reports, in a time that does not depend on where they differ, whether
// signature is that of input.
func (m *macs) verify(input, signature []byte) bool {
	one := m.pool.Get().(*mac)
	defer m.pool.Put(one)
	one.Reset()
	one.Write(input)
	return hmac.Equal(one.Sum(one.sum), signature)
}
