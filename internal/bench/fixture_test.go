package bench_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// What every verifier is configured with, and every good token says.
const (
	issuerName = "https://id.example.com"
	audience   = "orders"
	clientID   = "mobile"
	scope      = "orders:read orders:write profile"
	subject    = "7b1f6f0e-4711-4c1a-9d2e-0b5a3c8e2f90"
)

// The algorithms, in the order of the tables.
var algorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

// A key signs, and is what a peer verifies with. The keys live as long as the
// process: the first use of each algorithm makes one.
type key struct {
	alg     string
	kid     string // empty for HS256, whose keys no JWKS publishes
	private any
	public  any // the secret itself for HS256
}

var keys = func() map[string]func() *key {
	all := map[string]func() *key{}
	for _, alg := range algorithms {
		all[alg] = sync.OnceValue(func() *key { return newKey(alg) })
	}
	return all
}()

func newKey(alg string) *key {
	k := &key{alg: alg}
	switch alg {
	case "HS256":
		secret := make([]byte, 32)
		rand.Read(secret)
		k.private, k.public = secret, secret
	case "RS256":
		private := must(rsa.GenerateKey(rand.Reader, 2048))
		k.kid, k.private, k.public = "bench-rsa-1", private, &private.PublicKey
	case "ES256":
		private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		k.kid, k.private, k.public = "bench-ecdsa", private, &private.PublicKey
	case "EdDSA":
		public, private, err := ed25519.GenerateKey(rand.Reader)
		k.kid, k.private, k.public = "bench-25519", private, public
		must(0, err)
	default:
		panic("no such algorithm: " + alg)
	}
	return k
}

// header returns the JOSE header of k's tokens, encoded.
func (k *key) header() string {
	if k.kid == "" {
		return encode(fmt.Appendf(nil, `{"alg":%q,"typ":"JWT"}`, k.alg))
	}
	return encode(fmt.Appendf(nil, `{"alg":%q,"typ":"JWT","kid":%q}`, k.alg, k.kid))
}

// sign returns the JWS signature of input (RFC 7518, Section 3, and RFC 8037),
// with the standard library alone.
func (k *key) sign(input []byte) []byte {
	digest := sha256.Sum256(input)
	switch private := k.private.(type) {
	case []byte:
		mac := hmac.New(sha256.New, private)
		mac.Write(input)
		return mac.Sum(nil)
	case *rsa.PrivateKey:
		return must(rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:]))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		must(0, err)
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature
	case ed25519.PrivateKey:
		return ed25519.Sign(private, input)
	}
	panic("no key")
}

// token returns a compact JWS of payload.
func (k *key) token(payload []byte) string {
	input := k.header() + "." + encode(payload)
	return input + "." + encode(k.sign([]byte(input)))
}

// claims are those of the tokens, which have 293 bytes when all is well.
type claims struct {
	issuer, audience string
	expires          time.Time
}

func goodClaims() claims { return claims{issuerName, audience, time.Now().Add(time.Hour)} }

// payload returns the claims as JSON. Tokens differ in "jti", by serial.
func (c claims) payload(serial int) []byte {
	issued := c.expires.Add(-2 * time.Hour).Unix()
	return fmt.Appendf(nil, `{"iss":%q,"sub":%q,"aud":%q,"exp":%d,"iat":%d,"nbf":%d,"jti":"bench-%017d",`+
		`"client_id":%q,"scope":%q,"sid":"c2Vzc2lvbi1vZi1hLXVzZQ","auth_time":%d}`,
		c.issuer, subject, c.audience, c.expires.Unix(), issued, issued, serial, clientID, scope, issued)
}

// ringSize is how many different tokens of an algorithm there are. They take
// more room than a core's caches have; RSA signs slowly, so it gets fewer.
func ringSize(alg string) int {
	if alg == "RS256" {
		return 2048
	}
	return 8192
}

// rings holds the values of Authorization with good tokens, all different.
var rings = func() map[string]func() []string {
	all := map[string]func() []string{}
	for _, alg := range algorithms {
		all[alg] = sync.OnceValue(func() []string {
			k, c := keys[alg](), goodClaims()
			ring := make([]string, ringSize(alg))
			for i := range ring {
				ring[i] = "Bearer " + k.token(c.payload(i))
			}
			return ring
		})
	}
	return all
}()

// jwksURL is the URL of a JWK Set with the public keys, on a server of this
// process that is never closed.
var jwksURL = sync.OnceValue(func() string {
	document := jwksDocument()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(document)
	}))
	return server.URL + "/jwks.json"
})

// jwksDocument returns the JWK Set (RFC 7517, Section 5).
var jwksDocument = sync.OnceValue(func() []byte {
	var set []map[string]string
	for _, alg := range algorithms {
		k := keys[alg]()
		jwk := map[string]string{"kid": k.kid, "alg": alg, "use": "sig"}
		switch public := k.public.(type) {
		case *rsa.PublicKey:
			jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
		case *ecdsa.PublicKey:
			point := must(public.Bytes())
			jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", "P-256", encode(point[1:33]), encode(point[33:])
		case ed25519.PublicKey:
			jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", encode(public)
		default: // a secret is not published
			continue
		}
		set = append(set, jwk)
	}
	return must(json.Marshal(map[string]any{"keys": set}))
})

// request returns one with the value of Authorization and what else a client
// sends. The value can be replaced in place: r.Header["Authorization"][0].
func request(authorization string) *http.Request {
	r := httptest.NewRequest("GET", "https://api.example.com/orders", nil)
	r.Header = http.Header{
		"Accept":        {"application/json"},
		"User-Agent":    {"bench"},
		"Authorization": {authorization},
	}
	return r
}

// A sink is a ResponseWriter that keeps the status of the answer alone.
type sink struct {
	header http.Header
	status int // 0: nothing was written, which net/http answers with 200
}

func newSink() *sink { return &sink{header: http.Header{}} }

func (s *sink) Header() http.Header { return s.header }

func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

func (s *sink) reset() {
	if s.status != 0 {
		clear(s.header)
		s.status = 0
	}
}

func (s *sink) refused() bool { return s.status >= 400 }

// TestMain evens out what the first rows would pay for and the last would not: a
// ballast keeps the collector from running more often while the heap is small,
// and the memory that the rows will allocate has been touched once, so that it
// is there. GODEBUG=madvdontneed=0 lets it stay.
func TestMain(m *testing.M) {
	ballast := make([]byte, 64<<20)
	touch(make([]byte, 128<<20))
	runtime.GC()
	code := m.Run()
	runtime.KeepAlive(ballast)
	os.Exit(code)
}

func touch(memory []byte) {
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// must returns v. A failure here is a mistake in this package.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
