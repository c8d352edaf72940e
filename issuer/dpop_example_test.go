package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/issuer"
)

// A deviceKey is what a client signs its proofs with (RFC 9449, Section 4).
type deviceKey struct{ key *dpop.Key }

func newDeviceKey() deviceKey {
	return deviceKey{must(dpop.NewKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))}
}

// post sends JSON and a proof, and returns the status and what was answered.
func (d deviceKey) post(h http.Handler, path, body string) (int, map[string]any) {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("DPoP", must(d.key.Proof("POST", "https://id.example.com"+path, "", "", time.Now())))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var answer map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

func ExampleDPoP() {
	config := exampleConfig()
	config.DPoP = &issuer.DPoP{}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	phone, thief := newDeviceKey(), newDeviceKey()
	_, tokens := phone.post(iss, "/auth/login", `{"username":"alice","password":"correct horse battery staple"}`)
	fmt.Println(tokens["token_type"])

	refresh := fmt.Sprintf(`{"refresh_token":%q}`, tokens["refresh_token"])
	status, answer := thief.post(iss, "/auth/refresh", refresh)
	fmt.Println(status, answer["reason"])
	status, answer = phone.post(iss, "/auth/refresh", refresh)
	fmt.Println(status, answer["token_type"])
	// Output:
	// DPoP
	// 401 AUTH_PROOF_INVALID
	// 200 DPoP
}

func ExampleDPoP_incorrect() {
	config := exampleConfig()
	config.DPoP = &issuer.DPoP{Algorithms: []string{"HS256"}, NonceSecret: []byte("secret")}
	_, err := issuer.New(config)
	fmt.Println(err)
	// Output:
	// issuer: DPoP.Algorithms: "HS256" is not an algorithm of key pairs
	// issuer: DPoP.NonceSecret is for RequireNonce, which is not set
}

func ExampleDPoP_Format() {
	fmt.Println(issuer.DPoP{RequireNonce: true, NonceSecret: []byte("an obviously fake nonce secret 32")})
	// Output: DPoP with Required false and RequireNonce true
}
