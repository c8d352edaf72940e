package middleware_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/middleware"
)

// A service that knows nothing of the issuer but two URLs refuses who logged out.
// Here, entry 1 of the list is set.
func ExampleNewStatusList() {
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, signedExample("statuslist+jwt", jwt.MapClaims{
			"sub": server.URL + "/status-list", "iat": time.Now().Unix(), "ttl": 30,
			"status_list": map[string]any{"bits": 1, "lst": deflated([]byte{0b00000010})},
		}))
	}))
	defer server.Close()
	uri := server.URL + "/status-list"

	keys := middleware.PublicKeys(middleware.PublicKey{ID: "example", Key: ecKey.Public()})
	list := middleware.NewStatusList(uri, keys, middleware.StatusListOptions{Client: server.Client()})
	auth, err := middleware.New(middleware.Config{
		Keys: keys, Issuer: "https://id.example.com", Audience: []string{"orders"}, StatusList: list,
	})
	if err != nil {
		log.Fatal(err)
	}
	for entry := range 2 {
		token := signedExample("at+jwt", jwt.MapClaims{
			"iss": "https://id.example.com", "aud": "orders", "sub": "alice",
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
			"status": map[string]any{"status_list": map[string]any{"idx": entry, "uri": uri}},
		})
		_, err := auth.Verify(context.Background(), token)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// AUTH_TOKEN_INVALIDATED: its status is 1
}

// A list that is older than MaxStale is not used, so warn at half of it.
func ExampleStatusList_Age() {
	keys := middleware.PublicKeys(middleware.PublicKey{ID: "example", Key: ecKey.Public()})
	list := middleware.NewStatusList("https://id.example.com/auth/status-list", keys, middleware.StatusListOptions{})
	age, ever := list.Age()
	fmt.Println(age, ever)
	// Output: 0s false
}

func signedExample(typ string, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["typ"], token.Header["kid"] = typ, "example"
	text, err := token.SignedString(ecKey)
	if err != nil {
		log.Fatal(err)
	}
	return text
}
