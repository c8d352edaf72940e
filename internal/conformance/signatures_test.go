package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// signatures are those of somebody else, of something else, or damaged.
func signatures(a *algorithm) []line {
	input := b64(text(a.header())) + "." + b64(text(claims()))
	good := a.sign(input)
	var lines []line
	add := func(name string, s []byte, reason jwterrors.Reason) {
		lines = append(lines, line{"signature: " + name, input + "." + b64(s), reason})
	}
	flip := func(at int, bit byte) []byte {
		s := slices.Clone(good)
		s[at] ^= bit
		return s
	}
	for _, at := range []int{0, 1, len(good)/2 - 1, len(good) / 2, len(good) - 1} {
		for _, bit := range []byte{0x01, 0x80} {
			add(fmt.Sprintf("bit %#x of byte %d", bit, at), flip(at, bit), signature)
		}
	}
	add("nothing", nil, format)
	add("one byte", good[:1], signature)
	add("half", good[:len(good)/2], signature)
	add("without its first byte", good[1:], signature)
	add("without its last byte", good[:len(good)-1], signature)
	add("a zero before it", append([]byte{0}, good...), signature)
	add("a zero behind it", append(slices.Clone(good), 0), signature)
	add("twice", append(slices.Clone(good), good...), signature)
	add("backwards", func() []byte { s := slices.Clone(good); slices.Reverse(s); return s }(), signature)
	add("zeros", make([]byte, len(good)), signature)
	add("ones", bytes.Repeat([]byte{0xff}, len(good)), signature)
	add("in hexadecimal", fmt.Appendf(nil, "%x", good), signature)
	add("in base64 once more", []byte(b64(good)), signature)
	add("of another token", a.sign(b64(text(a.header()))+"."+b64(text(claims("sub", "bob")))), signature)
	add("of the payload", a.sign(strings.Split(input, ".")[1]), signature)
	add("of nothing", a.sign(""), signature)
	switch {
	case a.key == nil:
		longer := mac(crypto.SHA512, a.secret, input)
		add("of another hash", mac(crypto.SHA1, a.secret, input), signature)
		if a.hash != crypto.SHA512 {
			add("SHA-512, cut", longer[:a.hash.Size()], signature)
		}
		add("the bare hash", sum(a.hash, input), signature)
		add("the hash of secret and input", sum(a.hash, string(a.secret)+input), signature)
		add("80 bits of it", good[:10], signature)
	case a.name[:2] == "ES":
		ecdsaSignatures(a, input, good, add)
	case a.name[:2] == "Ed":
		order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
		s := slices.Clone(good[32:])
		slices.Reverse(s)
		shifted := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
		slices.Reverse(shifted)
		add("s and the order of the group", append(slices.Clone(good[:32]), shifted...), signature)
		add("r and s changed places", append(slices.Clone(good[32:]), good[:32]...), signature)
		add("Ed25519ph", must(a.key.(ed25519.PrivateKey).Sign(nil, sum(crypto.SHA512, input), crypto.SHA512)), signature)
		add("Ed25519ctx", must(a.key.(ed25519.PrivateKey).Sign(nil, []byte(input), &ed25519.Options{Context: "x"})), signature)
		add("of the hash", a.sign(string(sum(crypto.SHA512, input))), signature)
	default:
		rsaSignatures(a, input, good, add)
	}
	return lines
}

// ecdsaSignatures are pairs of numbers (RFC 7518, Section 3.4).
func ecdsaSignatures(a *algorithm, input string, good []byte, add func(string, []byte, jwterrors.Reason)) {
	half := len(good) / 2
	r, s := new(big.Int).SetBytes(good[:half]), new(big.Int).SetBytes(good[half:])
	n, zero, one := a.order(), new(big.Int), big.NewInt(1)
	less := new(big.Int).Sub(n, one)
	type pair struct{ R, S *big.Int }
	der := must(asn1.Marshal(pair{r, s}))
	add("in DER", der, signature)
	add("in DER, with zeros up to its length", append(slices.Clone(der), make([]byte, max(0, len(good)-len(der)))...), signature)
	add("r and s changed places", a.pair(s, r), signature)
	// With every r, s there is also r, n-s: both are signatures of the input.
	add("n-s, which is as good", a.pair(r, new(big.Int).Sub(n, s)), accepted)
	for name, p := range map[string]pair{
		"0 and 0": {zero, zero}, "0 and 1": {zero, one}, "1 and 0": {one, zero}, "1 and 1": {one, one}, "r and 0": {r, zero}, "0 and s": {zero, s},
		"n and s": {n, s}, "r and n": {r, n}, "n and n": {n, n}, "n-1 and n-1": {less, less}, "0 and n-1": {zero, less}, "n-1 and 0": {less, zero},
		"1 and n-1": {one, less}, "n-1 and 1": {less, one},
	} {
		add(name, a.pair(p.R, p.S), signature)
	}
	wide := func(x *big.Int) []byte { return x.FillBytes(make([]byte, half+1)) }
	add("each a byte longer", append(wide(r), wide(s)...), signature)
	add("r and the order, a byte longer", append(wide(new(big.Int).Add(r, n)), wide(s)...), signature)
	add("s and the order, a byte longer", append(wide(r), wide(new(big.Int).Add(s, n))...), signature)
	add("r alone", good[:half], signature)
	add("of the whole input, unhashed", a.pair(must2(ecdsa.Sign(rand.Reader, a.key.(*ecdsa.PrivateKey), []byte(input)[:half]))), signature)
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if h != a.hash {
			add("of "+h.String(), a.pair(must2(ecdsa.Sign(rand.Reader, a.key.(*ecdsa.PrivateKey), sum(h, input)))), signature)
		}
	}
}

// rsaSignatures have another padding (RFC 7518, Sections 3.3 and 3.5).
func rsaSignatures(a *algorithm, input string, good []byte, add func(string, []byte, jwterrors.Reason)) {
	k := a.key.(*rsa.PrivateKey)
	digest := sum(a.hash, input)
	pss := a.name[:2] == "PS"
	raw := func(block []byte) []byte { // what RSA makes of a block
		return new(big.Int).Exp(new(big.Int).SetBytes(block), k.D, k.N).FillBytes(make([]byte, len(good)))
	}
	if pss {
		add("PKCS #1", must(rsa.SignPKCS1v15(rand.Reader, k, a.hash, digest)), signature)
	} else {
		add("PSS", a.pss(input, rsa.PSSSaltLengthEqualsHash), signature)
		add("PKCS #1, without the name of the hash", must(rsa.SignPKCS1v15(rand.Reader, k, 0, digest)), signature)
	}
	size := a.hash.Size()
	for _, salt := range []int{1, 8, 20, size - 1, size, size + 1, len(good) - size - 2} {
		reason := signature
		if pss && salt == size {
			reason = accepted
		}
		add(fmt.Sprintf("PSS with %d bytes of salt", salt), a.pss(input, salt), reason)
	}
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if h == a.hash {
			continue
		}
		add("PKCS #1 of "+h.String(), must(rsa.SignPKCS1v15(rand.Reader, k, h, sum(h, input))), signature)
		add("PSS of "+h.String(), must(rsa.SignPSS(rand.Reader, k, h, sum(h, input), nil)), signature)
	}
	s := new(big.Int).SetBytes(good)
	add("and the modulus", new(big.Int).Add(s, k.N).Bytes(), signature)
	add("the modulus less it", new(big.Int).Sub(k.N, s).FillBytes(make([]byte, len(good))), signature)
	add("0", make([]byte, len(good)), signature)
	add("1", append(make([]byte, len(good)-1), 1), signature)
	add("the modulus", k.N.Bytes(), signature)
	add("the modulus less one", new(big.Int).Sub(k.N, big.NewInt(1)).Bytes(), signature)
	add("the digest alone", raw(digest), signature)
	add("the digest and garbage", raw(slices.Concat([]byte{0, 1, 0xff, 0}, digest, bytes.Repeat([]byte{7}, len(good)-4-len(digest)))), signature)
}
