package redisstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// Fields of a session. What is empty is not there. One more, "x", is the nonce of the
// last rotation, at which the script alone looks.
const (
	fieldBegun      = "p" // by the login of this nonce, and not there yet for others
	fieldSeed       = "s"
	fieldGeneration = "g"
	fieldKeyID      = "k"
	fieldRotatedAt  = "r"
	fieldRetryHash  = "h"
	fieldSubject    = "u"
	fieldClientID   = "c"
	fieldScopes     = "o"
	fieldEmail      = "m"
	fieldUserID     = "n"
	fieldClaims     = "l"
	fieldACR        = "q"
	fieldAuthTime   = "t"
	fieldDevice     = "d"
	fieldAddress    = "a"
	fieldUserAgent  = "b"
	fieldConfirm    = "f"
	fieldCreatedAt  = "w"
	fieldExpiresAt  = "e"
	fieldIdleUntil  = "i"
	fieldRevokedAt  = "v"
)

// Redis keeps a hash in a third of the memory while no value is longer than
// piece (hash-max-listpack-value) and there are not many of them. So longer
// text, to a limit, is cut in pieces: field, field1, field2.
const (
	piece     = 64
	maxPieces = 32
)

func micros(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }

// encode returns the fields of v and their values in turn.
func encode(v *issuer.Session) (all []any) {
	put := func(field, value string) {
		for n := 0; value != ""; n++ {
			some := value
			if n > 0 || len(value) <= piece*maxPieces {
				some = value[:min(piece, len(value))]
			}
			value = value[len(some):]
			name := field
			if n > 0 {
				name += strconv.Itoa(n)
			}
			all = append(all, name, some)
		}
	}
	at := func(field string, t time.Time) {
		if !t.IsZero() {
			put(field, micros(t))
		}
	}
	put(fieldGeneration, strconv.FormatUint(v.Generation, 10))
	all = append(all, fieldExpiresAt, micros(v.ExpiresAt))
	at(fieldIdleUntil, v.IdleUntil)
	at(fieldRotatedAt, v.RotatedAt)
	at(fieldAuthTime, v.AuthTime)
	at(fieldCreatedAt, v.CreatedAt)
	at(fieldRevokedAt, v.RevokedAt)
	all = append(all, fieldKeyID, v.KeyID)
	if len(v.RetryHash) > 0 {
		all = append(all, fieldRetryHash, string(v.RetryHash))
	}
	put(fieldSeed, string(v.Seed))
	put(fieldSubject, v.Subject)
	put(fieldClientID, v.ClientID)
	put(fieldScopes, strings.Join(v.Scopes, " "))
	put(fieldEmail, v.Email)
	put(fieldUserID, v.UserID)
	put(fieldClaims, string(v.Claims))
	put(fieldACR, v.ACR)
	put(fieldDevice, v.Device)
	put(fieldAddress, v.Address)
	put(fieldUserAgent, v.UserAgent)
	put(fieldConfirm, v.Confirmation)
	return all
}

// decode is the opposite of encode. begun means that the login has begun, and
// nobody has brought it to its end.
func decode(id string, fields map[string]string) (v issuer.Session, begun bool, err error) {
	text := func(field string) string {
		all := fields[field]
		for n, last := 1, all; len(last) == piece; n++ {
			last = fields[field+strconv.Itoa(n)]
			all += last
		}
		return all
	}
	raw := func(field string) []byte {
		if all := text(field); all != "" {
			return []byte(all)
		}
		return nil
	}
	wrong := func(field string) {
		err = errors.Join(err, fmt.Errorf("field %q of a session is no number", field)) // its value may be a secret
	}
	at := func(field string) time.Time {
		all, ok := fields[field]
		if !ok {
			return time.Time{}
		}
		n, e := strconv.ParseInt(all, 10, 64)
		if e != nil {
			wrong(field)
		}
		return time.UnixMicro(n).UTC()
	}
	generation, e := strconv.ParseUint(fields[fieldGeneration], 10, 64)
	if e != nil {
		wrong(fieldGeneration)
	}
	_, begun = fields[fieldBegun]
	v = issuer.Session{
		ID: id, Seed: raw(fieldSeed), Generation: generation, KeyID: fields[fieldKeyID], RotatedAt: at(fieldRotatedAt),
		Subject: text(fieldSubject), ClientID: text(fieldClientID), Scopes: strings.Fields(text(fieldScopes)),
		Email: text(fieldEmail), UserID: text(fieldUserID), Claims: json.RawMessage(raw(fieldClaims)), ACR: text(fieldACR),
		AuthTime: at(fieldAuthTime), Device: text(fieldDevice), Address: text(fieldAddress), UserAgent: text(fieldUserAgent),
		Confirmation: text(fieldConfirm),
		CreatedAt:    at(fieldCreatedAt), ExpiresAt: at(fieldExpiresAt), IdleUntil: at(fieldIdleUntil), RevokedAt: at(fieldRevokedAt),
	}
	if hash := fields[fieldRetryHash]; hash != "" {
		v.RetryHash = []byte(hash)
	}
	return v, begun, err
}
