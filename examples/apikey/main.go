// Command apikey shows JWT-enabled API keys: a back end mints tokens that name a
// user in "email" or "userId", for an API that shares a secret with it and knows
// neither sessions nor issuers. It plays one request and ends.
//
//	go run ./examples/apikey
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

func main() {
	secret := make([]byte, 32) // that of the API key: on servers alone, never in an app
	rand.Read(secret)
	minter, err := issuer.NewMinter(issuer.MinterConfig{
		Secrets: [][]byte{secret}, TTL: time.Hour, Reuse: 30 * time.Minute,
	})
	if err != nil {
		log.Fatal(err)
	}
	api, err := newAPI(secret)
	if err != nil {
		log.Fatal(err)
	}
	// The back end has a route like this behind its own login, for the app.
	token, err := minter.Mint(context.Background(), issuer.UserID("user123"))
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/users/user123", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Body) // of memory
	fmt.Println(w.Code, string(body))
}

// newAPI returns an API that serves each user what is the user's own. All secrets
// of its key are good, the newest and those that are to go.
func newAPI(secrets ...[]byte) (http.Handler, error) {
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.HS256(secrets...), TokenTypes: []string{"JWT"},
		// Such tokens say neither who made them nor for whom: the secret says it.
		InsecureAnyIssuer: true, InsecureAnyAudience: true,
		UserKey: &middleware.UserKeyRule{
			Matches: func(_ context.Context, r *http.Request, key middleware.UserKey) (bool, error) {
				if r == nil {
					return false, errors.New("the token of a request is needed")
				}
				return r.URL.Path == "/users/"+key.UserID, nil
			},
		},
	})
	if err != nil {
		return nil, err
	}
	return auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprint(w, "hello ", claims.UserID)
	})), nil
}
