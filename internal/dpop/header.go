package dpop

import (
	"crypto"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/internal/jwa"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// A header is that of a proof (RFC 9449, Section 4.2). It is shared and never changes.
type header struct {
	method     jwt.SigningMethod
	key        crypto.PublicKey
	thumbprint string
}

// readHeader reads an encoded header and judges it (RFC 9449, Section 4.3, checks 4,
// 5 and 7).
func readHeader(segment string, algorithms []string) (*header, error) {
	data, err := jws.Decode(segment)
	if err != nil {
		return nil, err
	}
	m, err := jws.Members(data)
	if err != nil {
		return nil, errors.New("its header is not an unambiguous JSON object")
	}
	typ, _ := jws.String(m["typ"])
	alg, _ := jws.String(m["alg"])
	method := methods[alg]
	switch {
	case typ != Type:
		return nil, errors.New(`its "typ" is not ` + Type)
	case method == nil || !slices.Contains(algorithms, alg):
		return nil, errors.New(`its "alg" is not allowed`)
	case m["crit"] != nil || m["b64"] != nil || m["enc"] != nil:
		return nil, errors.New("its header asks for an extension")
	}
	key, err := jwa.ParsePublicKey(m["jwk"], alg)
	if err != nil {
		return nil, err
	}
	return &header{method, key, jwa.Thumbprint(key)}, nil
}

// headers remember the headers of proofs that were genuine, since a client's are all
// the same. They are for one list of algorithms. Nobody without a key puts anything
// in, and when they are too many, all are forgotten. Nil remembers none.
type headers struct {
	mu  sync.RWMutex
	all map[string]*header
}

// The bounds of headers: their number, and the length of one in bytes.
const (
	maxHeaders     = 1024
	maxHeaderBytes = 1024
)

func (k *headers) get(segment string) *header {
	if k == nil {
		return nil
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.all[segment]
}

func (k *headers) put(segment string, h *header) {
	if k == nil || len(segment) > maxHeaderBytes {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil || len(k.all) >= maxHeaders {
		k.all = make(map[string]*header)
	}
	k.all[strings.Clone(segment)] = h // not a part of the proof, which would stay in memory
}
