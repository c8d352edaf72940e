package refresher_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tokenloop/tokenloop/refresher"
)

func ExampleGenerateDPoPKey() {
	b := newBoundService(true)
	t, err := refresher.New(refresher.Config{
		AuthURL: "http://service.test/auth",
		Origins: []string{"http://service.test"},
		DPoP:    refresher.GenerateDPoPKey(),
		Base:    handlerTransport{b}, InsecureAllowHTTP: true, // in the place of the network
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	fmt.Println(t.Login(context.Background(), alice))
	show(t.Client().Get("http://service.test/api"))
	tokens, _ := t.Tokens()
	fmt.Println(tokens.TokenType)

	// Who has stolen the token cannot use it.
	req, _ := http.NewRequest("GET", "http://service.test/api", nil)
	req.Header.Set("Authorization", "DPoP "+tokens.AccessToken)
	thief := &http.Client{Transport: refresher.GenerateDPoPKey().Transport(handlerTransport{b})}
	show(thief.Do(req))
	// Output:
	// <nil>
	// 200 ok
	// DPoP
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"The proof of possession is not valid.","reason":"AUTH_PROOF_INVALID"}
}

func ExampleNewDPoPKey() {
	seed, _ := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A") // of RFC 8037, Appendix A.1
	key, err := refresher.NewDPoPKey(ed25519.NewKeyFromSeed(seed))
	fmt.Println(key, err)
	// Output: refresher.DPoPKey(kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k) <nil>
}

func ExampleLoadDPoPKey() {
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "dpop.pem") // beside the tokens of a FileStore
	first, err := refresher.LoadDPoPKey(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	again, err := refresher.LoadDPoPKey(path) // by a later launch
	fmt.Println(again.Thumbprint() == first.Thumbprint(), err)
	// Output: true <nil>
}

func ExampleDPoPKey_Thumbprint() {
	key := refresher.GenerateDPoPKey()
	// The code of this request can only be exchanged under the key (RFC 9449, Section 10).
	authorize := "https://id.example.com/authorize?response_type=code&client_id=app&dpop_jkt=" + key.Thumbprint()
	fmt.Println(len(key.Thumbprint()), strings.HasSuffix(authorize, key.Thumbprint()))
	// Output: 43 true
}

func ExampleDPoPKey_Proof() {
	b, key := newBoundService(false), refresher.GenerateDPoPKey()
	t, err := refresher.New(refresher.Config{
		AuthURL: "http://service.test/auth", Origins: []string{"http://service.test"}, DPoP: key,
		Base: handlerTransport{b}, InsecureAllowHTTP: true, // in the place of the network
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	tokens, err := t.Token(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	proof, err := key.Proof("GET", "http://service.test/api", tokens.AccessToken, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	req, _ := http.NewRequest("GET", "http://service.test/api", nil) // or what another transport sends
	req.Header.Set("Authorization", "DPoP "+tokens.AccessToken)
	req.Header.Set("DPoP", proof)
	show(handlerTransport{b}.RoundTrip(req))
	// Output:
	// <nil>
	// 200 ok
}

func ExampleDPoPKey_Transport() {
	b, key := newBoundService(true), refresher.GenerateDPoPKey()
	client := &http.Client{Transport: key.Transport(handlerTransport{b})} // or nil, for the network
	resp, err := client.Post("http://service.test/auth/login", "application/json", strings.NewReader(`{"username":"alice","password":"right"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	fmt.Println(resp.StatusCode, b.jkt == key.Thumbprint())
	// Output: 200 true
}

func ExampleDPoPKey_Format() {
	fmt.Printf("%+v\n", (*refresher.DPoPKey)(nil))
	// Output: refresher.DPoPKey(nil)
}
