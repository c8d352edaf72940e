package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

const (
	maxKeyName = 128  // bytes of a kid
	maxRSA     = 8192 // bits of a JWK, since checking it takes time
)

// parseJWKSet reads the private keys of a JWK Set.
func parseJWKSet(data []byte) ([]*Key, error) {
	set, err := jwkMembers(data)
	if err != nil {
		return nil, fmt.Errorf("issuer: the JWK Set %w", err)
	}
	var list []json.RawMessage
	switch err := json.Unmarshal(set["keys"], &list); {
	case set["keys"] == nil && set["kty"] != nil: // a JWK alone
		list = []json.RawMessage{data}
	case err != nil || len(list) == 0:
		return nil, errors.New(`issuer: the JWK Set has no member "keys" with keys in it`)
	case len(list) > maxSlots:
		return nil, fmt.Errorf("issuer: the JWK Set holds %d keys; %d at most", len(list), maxSlots)
	}
	var keys []*Key
	var wrong []error
	for n, raw := range list {
		k, err := parseJWK(raw)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("issuer: key %d of the JWK Set: %w", n+1, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return keys, nil
}

// A jwk is a JWK and the mistakes found in it, which hold nothing of its values.
type jwk struct {
	members map[string]json.RawMessage
	wrong   []error
}

func (j *jwk) mistake(format string, args ...any) {
	j.wrong = append(j.wrong, fmt.Errorf(format, args...))
}

// parseJWK reads a private JWK. Members that are not known are passed over (RFC
// 7517, Section 4).
func parseJWK(data []byte) (*Key, error) {
	members, err := jwkMembers(data)
	if err != nil {
		return nil, fmt.Errorf("it %w", err)
	}
	j := &jwk{members: members}
	if members["keys"] != nil && members["kty"] == nil {
		return nil, errors.New("it is a JWK Set, which ParseKeys reads")
	}
	var signer crypto.Signer
	var secret []byte
	var algorithm string
	switch j.text("kty", true) {
	case "RSA":
		algorithm, signer = RS256, j.rsa()
	case "EC":
		algorithm, signer = ES256, j.ec()
	case "OKP":
		algorithm, signer = EdDSA, j.okp()
	case "oct":
		algorithm, secret = HS256, j.octets("k")
	default:
		j.mistake(`"kty" is not one of RSA, EC, OKP and oct`)
	}
	if alg := j.text("alg", false); algorithm != "" && alg != "" && alg != algorithm {
		j.mistake(`"alg" is not %s`, algorithm)
	}
	if use := j.text("use", false); use != "" && use != "sig" {
		j.mistake(`"use" is not sig`)
	}
	if raw := members["key_ops"]; raw != nil {
		var ops []string
		if json.Unmarshal(raw, &ops) != nil || !slices.Contains(ops, "sign") {
			j.mistake(`"key_ops" does not hold sign`)
		}
	}
	kid := j.text("kid", false)
	if len(kid) > maxKeyName || strings.ContainsFunc(kid, func(c rune) bool { return c <= ' ' || c > '~' }) {
		j.mistake(`"kid" is not 1 to %d visible characters of ASCII`, maxKeyName)
	}
	if len(j.wrong) > 0 {
		return nil, errors.Join(j.wrong...)
	}
	var k *Key
	if algorithm == HS256 {
		k, err = NewSecretKey(secret)
	} else {
		k, err = NewKey(signer)
	}
	if err != nil {
		return nil, err
	}
	if kid != "" {
		k.setID(kid)
	}
	return k, nil
}

// jwkMembers reads an object whose members have each one name.
func jwkMembers(data []byte) (map[string]json.RawMessage, error) {
	if !json.Valid(data) || !isJSON(data) {
		return nil, errors.New("is not a JSON object") // the errors of json show text
	}
	d := json.NewDecoder(bytes.NewReader(data))
	_, _ = d.Token() // the brace that isJSON saw; the rest is valid, too
	members := map[string]json.RawMessage{}
	for d.More() {
		name, _ := d.Token()
		var value json.RawMessage
		_ = d.Decode(&value)
		if _, ok := members[name.(string)]; ok {
			return nil, errors.New("has a member twice")
		}
		members[name.(string)] = value
	}
	return members, nil
}

// text returns a member that is a string, or "" and a mistake. A member that is
// there is not empty.
func (j *jwk) text(name string, required bool) string {
	raw, ok := j.members[name]
	var s *string
	switch {
	case !ok && !required:
	case !ok:
		j.mistake("%q is missing", name)
	case json.Unmarshal(raw, &s) != nil || s == nil || *s == "":
		j.mistake("%q is not a string, or empty", name)
	default:
		return *s
	}
	return ""
}

// octets returns a member in base64url, without padding and in its one spelling
// (RFC 7515, Section 2).
func (j *jwk) octets(name string) []byte {
	s := j.text(name, true)
	if s == "" {
		return nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || !isBase64URL(s) {
		j.mistake("%q is not base64url", name)
		return nil
	}
	return b
}

// fixed is octets of a length.
func (j *jwk) fixed(name string, length int) []byte {
	b := j.octets(name)
	if b != nil && len(b) != length {
		j.mistake("%q has %d bytes, not %d", name, len(b), length)
	}
	return b
}

// number returns a Base64urlUInt (RFC 7518, Section 2), which is positive here.
func (j *jwk) number(name string) *big.Int {
	b := j.octets(name)
	switch {
	case len(b) > 0 && b[0] == 0:
		j.mistake("%q begins with a zero byte", name)
	case len(b) > maxRSA/8:
		j.mistake("%q has more than %d bits", name, maxRSA)
	}
	return new(big.Int).SetBytes(b)
}

// rsa reads the members of RFC 7518, Section 6.3.2, all of which are there.
func (j *jwk) rsa() crypto.Signer {
	if j.members["oth"] != nil {
		j.mistake(`"oth": a key of more than two primes is not taken`)
	}
	n, e, d, p, q := j.number("n"), j.number("e"), j.number("d"), j.number("p"), j.number("q")
	dp, dq, qi := j.number("dp"), j.number("dq"), j.number("qi")
	if len(j.wrong) > 0 {
		return nil
	}
	if e.BitLen() > 31 {
		j.mistake(`"e" has more than 31 bits`)
		return nil
	}
	if bits := n.BitLen(); bits < minRSA {
		j.mistake("an RSA key needs %d bits, and this one has %d", minRSA, bits)
		return nil
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: int(e.Int64())}, D: d, Primes: []*big.Int{p, q}}
	if key.Validate() != nil {
		j.mistake("its numbers are not those of one RSA key")
		return nil
	}
	key.Precompute()
	if c := key.Precomputed; c.Dp == nil || c.Dp.Cmp(dp) != 0 || c.Dq.Cmp(dq) != 0 || c.Qinv.Cmp(qi) != 0 {
		j.mistake(`"dp", "dq" or "qi" does not belong to the key`)
		return nil
	}
	return key
}

// ec reads the members of RFC 7518, Section 6.2.
func (j *jwk) ec() crypto.Signer {
	if crv := j.text("crv", true); crv != "" && crv != "P-256" {
		j.mistake(`"crv" is not P-256`)
	}
	x, y, d := j.fixed("x", 32), j.fixed("y", 32), j.fixed("d", 32)
	if len(j.wrong) > 0 {
		return nil
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		j.mistake(`"d" is not a private key of P-256`)
		return nil
	}
	point, err := key.PublicKey.Bytes()
	if err != nil || !bytes.Equal(point[1:], slices.Concat(x, y)) {
		j.mistake(`"x" and "y" are not the public key of "d"`)
		return nil
	}
	return key
}

// okp reads the members of RFC 8037, Section 2.
func (j *jwk) okp() crypto.Signer {
	if crv := j.text("crv", true); crv != "" && crv != "Ed25519" {
		j.mistake(`"crv" is not Ed25519`)
	}
	x, d := j.fixed("x", ed25519.PublicKeySize), j.fixed("d", ed25519.SeedSize)
	if len(j.wrong) > 0 {
		return nil
	}
	key := ed25519.NewKeyFromSeed(d)
	if !bytes.Equal(key[ed25519.SeedSize:], x) {
		j.mistake(`"x" is not the public key of "d"`)
		return nil
	}
	return key
}
