package bench_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A signer makes the access token of a serial number.
type signer struct {
	name  string
	build func(alg string) func(serial int) string
}

// signers are all that is compared: the claims change with every token, and so
// do the times.
func signers() []signer {
	return []signer{{"floor", signFloor}, {"golang-jwt", signGolangJWT}, {"tokenloop", signOwn}}
}

// signFloor writes the claims by hand behind a header that is encoded once.
func signFloor(alg string) func(int) string {
	k := keys[alg]()
	header := k.header() + "."
	fixed := `{"iss":"` + issuerName + `","sub":"` + subject + `","aud":"` + audience + `","client_id":"` + clientID +
		`","scope":"` + scope + `","sid":"c2Vzc2lvbi1vZi1hLXVzZQ","jti":"bench-`
	var sign func(input []byte) []byte
	if secret, ok := k.private.([]byte); ok {
		pool := sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}
		sign = func(input []byte) []byte {
			mac := pool.Get().(hash.Hash)
			defer pool.Put(mac)
			mac.Reset()
			mac.Write(input)
			return mac.Sum(nil)
		}
	} else {
		sign = k.sign
	}
	return func(serial int) string {
		now := time.Now().Unix()
		payload := append(make([]byte, 0, 512), fixed...)
		payload = strconv.AppendInt(payload, int64(serial)+1e16, 10)
		payload = strconv.AppendInt(append(payload, `","exp":`...), now+900, 10)
		payload = strconv.AppendInt(append(payload, `,"iat":`...), now, 10)
		payload = strconv.AppendInt(append(payload, `,"nbf":`...), now, 10)
		payload = strconv.AppendInt(append(payload, `,"auth_time":`...), now, 10)
		payload = append(payload, '}')
		token := make([]byte, 0, 1024)
		token = append(token, header...)
		token = base64.RawURLEncoding.AppendEncode(token, payload)
		signature := sign(token)
		token = append(token, '.')
		return string(base64.RawURLEncoding.AppendEncode(token, signature))
	}
}

// signGolangJWT is github.com/golang-jwt/jwt with SignedString.
func signGolangJWT(alg string) func(int) string {
	k := keys[alg]()
	method := jwt.GetSigningMethod(alg)
	return func(serial int) string {
		now := time.Now()
		token := jwt.NewWithClaims(method, &structClaims{
			RegisteredClaims: jwt.RegisteredClaims{
				Issuer: issuerName, Subject: subject, Audience: jwt.ClaimStrings{audience},
				ExpiresAt: jwt.NewNumericDate(now.Add(15 * time.Minute)), IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
				ID: "bench-" + strconv.Itoa(serial+1e16),
			},
			ClientID: clientID, Scope: scope, Session: "c2Vzc2lvbi1vZi1hLXVzZQ", AuthTime: now.Unix(),
		})
		if k.kid != "" {
			token.Header["kid"] = k.kid
		}
		return must(token.SignedString(k.private))
	}
}

// BenchmarkIssue is one access token, out of claims that change each time.
func BenchmarkIssue(b *testing.B) {
	for _, alg := range algorithms {
		b.Run("alg="+alg+"/mode=serial", func(b *testing.B) {
			b.Run("impl=bare", func(b *testing.B) { benchmarkBareSignature(b, alg) })
			for _, s := range signers() {
				b.Run("impl="+s.name, func(b *testing.B) {
					sign := s.build(alg)
					b.ReportAllocs()
					serial := 0
					for b.Loop() {
						sign(serial)
						serial++
					}
				})
			}
		})
	}
}

// benchmarkBareSignature is the operation on a finished digest, where it takes
// one.
func benchmarkBareSignature(b *testing.B, alg string) {
	sign := bareSignature(b, alg)
	b.ReportAllocs()
	for b.Loop() {
		sign()
	}
}

func bareSignature(b *testing.B, alg string) func() {
	k := keys[alg]()
	input := []byte(k.header() + "." + encode(goodClaims().payload(0)))
	digest := sha256.Sum256(input)
	var sign func() error
	switch private := k.private.(type) {
	case []byte:
		mac := hmac.New(sha256.New, private)
		var sum [sha256.Size]byte
		sign = func() error {
			mac.Reset()
			mac.Write(input)
			mac.Sum(sum[:0])
			return nil
		}
	case *rsa.PrivateKey:
		sign = func() error {
			_, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
			return err
		}
	case *ecdsa.PrivateKey:
		sign = func() error {
			_, _, err := ecdsa.Sign(rand.Reader, private, digest[:])
			return err
		}
	case ed25519.PrivateKey:
		sign = func() error {
			ed25519.Sign(private, input)
			return nil
		}
	}
	return func() {
		if err := sign(); err != nil {
			b.Fatal(err)
		}
	}
}

// Every signer makes tokens that a verifier takes, of about the same length and
// none shorter.
func TestEverySignerMakesGoodTokens(t *testing.T) {
	for _, s := range signers() {
		for _, alg := range algorithms {
			t.Run(s.name+"/"+alg, func(t *testing.T) {
				verifier := golangJWT(t, alg, ignore)
				sign := s.build(alg)
				for serial := range 2 {
					token, w := sign(serial), newSink()
					verifier.ServeHTTP(w, request("Bearer "+token))
					require.False(t, w.refused())
					want := len(strings.TrimPrefix(rings[alg]()[0], "Bearer "))
					assert.GreaterOrEqual(t, len(token), want-8)
					assert.LessOrEqual(t, len(token), want+64, "a kid that is a thumbprint is longer")
				}
				assert.NotEqual(t, sign(1), sign(2))
			})
		}
	}
}
