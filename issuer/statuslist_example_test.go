package issuer_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// The list of an issuer of one process, which the package middleware reads with
// NewStatusList, and any other verifier of the draft.
func ExampleNewStatusList() {
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: newExampleKey()})
	if err != nil {
		panic(err)
	}
	list, err := issuer.NewStatusList(issuer.StatusListConfig{})
	if err != nil {
		panic(err)
	}
	iss, err := issuer.New(issuer.Config{
		Issuer: "https://id.example.com", Audience: []string{"orders"}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: []byte("an obviously fake master key, 32+ bytes")}},
		Store:      issuer.NewMemoryStore(), Authenticate: authenticate, StatusList: list,
	})
	if err != nil {
		panic(err)
	}
	w := httptest.NewRecorder()
	iss.ServeHTTP(w, httptest.NewRequest("GET", "/auth/status-list", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"))
	// Output: 200 application/statuslist+jwt public, max-age=30
}

// Where several processes issue tokens, a Feed of sqlstore or redisstore tells the
// list of each what the others have denied: its Mirror is the list. Before the first
// time, nobody knows what is missing.
func ExampleStatusList_Synced() {
	list, err := issuer.NewStatusList(issuer.StatusListConfig{MaxAge: time.Minute})
	if err != nil {
		panic(err)
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: newExampleKey()})
	if err != nil {
		panic(err)
	}
	iss, err := issuer.New(issuer.Config{
		Issuer: "https://id.example.com", Audience: []string{"orders"}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: []byte("an obviously fake master key, 32+ bytes")}},
		Store:      issuer.NewMemoryStore(), Authenticate: authenticate, StatusList: list,
	})
	if err != nil {
		panic(err)
	}
	ask := func() int {
		w := httptest.NewRecorder()
		iss.ServeHTTP(w, httptest.NewRequest("GET", "/auth/status-list", nil))
		return w.Code
	}
	fmt.Println(ask())
	list.Synced(time.Now()) // as a feed does
	fmt.Println(ask())
	// Output:
	// 503
	// 200
}

// The list is a Mirror: what a feed tells it is denied, and a denial that is over
// is none.
func ExampleStatusList_DenySession() {
	list, err := issuer.NewStatusList(issuer.StatusListConfig{})
	if err != nil {
		panic(err)
	}
	ctx, until := context.Background(), time.Now().Add(15*time.Minute)
	fmt.Println(list.DenySession(ctx, "a session", until))
	fmt.Println(list.DenyToken(ctx, "a token without session", until))
	fmt.Println(list.DenySession(ctx, "", until))
	// Output:
	// <nil>
	// <nil>
	// issuer: deny in the status list: the identifier is empty
}

func newExampleKey() *issuer.Key {
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		panic(err)
	}
	return key
}
