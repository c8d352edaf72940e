package issuertest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/issuertest"
)

// An exampleTB stands in for the *testing.T that an Example does not have.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (*exampleTB) Helper()                           {}
func (t *exampleTB) Cleanup(f func())                { t.cleanups = append(t.cleanups, f) }
func (*exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleTB) end() {
	for _, f := range t.cleanups {
		f()
	}
}

var t = &exampleTB{}

// payload returns the JSON of a token's claims.
func payload(token string) string {
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		panic(err)
	}
	return string(data)
}

// status asks for a document.
func status(c *http.Client, url string) string {
	resp, err := c.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	return resp.Status
}

func Example() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	r := httptest.NewRequest("GET", "/orders", nil)
	r.Header.Set("Authorization", "Bearer "+fake.Token("alice"))
	fmt.Println(fake.Issuer(), fake.Audience(), fake.JWKSURL())
	// Output: https://issuer.test test-audience https://issuer.test/.well-known/jwks.json
}

func ExampleNew() {
	t := &exampleTB{} // that of a test: func TestOrders(t *testing.T)
	defer t.end()

	fake := issuertest.New(t, issuertest.Config{})
	fmt.Println(strings.HasPrefix(fake.Issuer(), "http://127.0.0.1:"))
	fmt.Println(status(http.DefaultClient, fake.JWKSURL()))
	// Output:
	// true
	// 200 OK
}

func ExampleNew_incorrect() {
	defer func() { fmt.Println(recover()) }() // t.Fatalf ends a real test
	issuertest.New(t, issuertest.Config{Algorithm: "ES512"})
	// Output: issuertest: Algorithm "ES512" is not one of ES256, RS256, EdDSA, HS256
}

func ExampleFake_Issuer() {
	fake := issuertest.New(t, issuertest.Config{Issuer: "https://id.example.com", NoServer: true})
	fmt.Println(fake.Issuer())
	// Output: https://id.example.com
}

func ExampleFake_Audience() {
	fake := issuertest.New(t, issuertest.Config{Audience: "orders", NoServer: true})
	fmt.Println(fake.Audience())
	// Output: orders
}

func ExampleFake_Token() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	token := fake.Token("bob")
	fmt.Println(strings.Contains(payload(token), `"sub":"bob"`))
	// Output: true
}

func ExampleFake_Mint() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	withoutExpiry := fake.Mint(issuertest.Token{
		Scope:  "orders:read",
		Claims: map[string]any{"roles": []string{"clerk"}, "exp": nil},
	})
	fmt.Println(strings.Contains(payload(withoutExpiry), `"scope":"orders:read"`))
	fmt.Println(strings.Contains(payload(withoutExpiry), `"roles":["clerk"]`))
	fmt.Println(strings.Contains(payload(withoutExpiry), `"exp"`))
	// Output:
	// true
	// true
	// false
}

func ExampleFake_Mint_raw() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fmt.Println(payload(fake.Mint(issuertest.Token{RawPayload: `{"sub":"alice","sub":"root"}`})))
	// Output: {"sub":"alice","sub":"root"}
}

func ExampleFake_Now() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fmt.Println(time.Until(fake.Now()).Round(time.Hour)) // it is time.Now, until Advance
	// Output: 0s
}

func ExampleFake_Advance() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fake.Advance(24 * time.Hour)
	fmt.Println(time.Until(fake.Now()).Round(time.Hour))
	// Output: 24h0m0s
}

func ExampleFake_KeyID() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fmt.Println(strings.Contains(string(fake.JWKS()), `"kid":"`+fake.KeyID()+`"`))
	// Output: true
}

func ExampleFake_PublicKey() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fmt.Printf("%T\n", fake.PublicKey())
	// Output: *ecdsa.PublicKey
}

func ExampleFake_Secret() {
	fake := issuertest.New(t, issuertest.Config{Algorithm: issuer.HS256, NoServer: true})
	fmt.Println(len(fake.Secret()), "bytes")
	// Output: 32 bytes
}

func ExampleFake_JWKS() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fmt.Println(strings.Count(string(fake.JWKS()), `"kty":"EC"`), "key")
	// Output: 1 key
}

func ExampleFake_Rotate() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	before := fake.KeyID()
	fake.Rotate()
	fmt.Println(fake.KeyID() == before)
	fmt.Println(strings.Contains(string(fake.JWKS()), before))
	// Output:
	// false
	// true
}

func ExampleFake_Unpublish() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	before := fake.KeyID()
	fake.Rotate()
	fake.Unpublish()
	fmt.Println(strings.Contains(string(fake.JWKS()), before))
	// Output: false
}

func ExampleFake_Down() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fake.Down(true)
	fmt.Println(status(fake.Client(), fake.JWKSURL()))
	fake.Down(false)
	fmt.Println(status(fake.Client(), fake.JWKSURL()))
	// Output:
	// 503 Service Unavailable
	// 200 OK
}

func ExampleFake_Fetches() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	status(fake.Client(), fake.JWKSURL())
	fmt.Println(fake.Fetches())
	// Output: 1
}

func ExampleFake_JWKSURL() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fmt.Println(fake.JWKSURL())
	// Output: https://issuer.test/.well-known/jwks.json
}

func ExampleFake_Client() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	fmt.Println(status(fake.Client(), fake.JWKSURL()))
	// Output: 200 OK
}

func ExampleFake_Handler() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	w := httptest.NewRecorder()
	fake.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/openid-configuration", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 application/json
}

func ExampleFake_Format() {
	fmt.Println(issuertest.New(t, issuertest.Config{NoServer: true}))
	// Output: issuertest.Fake(https://issuer.test)
}

func ExampleFake_Proof() {
	fake := issuertest.New(t, issuertest.Config{NoServer: true})
	token := fake.Mint(issuertest.Token{Bound: true})
	r := httptest.NewRequest("GET", "https://api.example.com/orders", nil)
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Set("DPoP", fake.Proof(r, token, ""))
	fmt.Println(strings.Contains(payload(token), `"cnf":{"jkt":`))
	fmt.Println(strings.Contains(payload(r.Header.Get("DPoP")), `"htu":"https://api.example.com/orders"`))
	// Output:
	// true
	// true
}
