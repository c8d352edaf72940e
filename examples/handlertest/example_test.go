package handlertest_test

import (
	"net/http/httptest"
	"testing"

	"github.com/tokenloop/tokenloop/examples/handlertest"
	"github.com/tokenloop/tokenloop/issuer/issuertest"
	"github.com/tokenloop/tokenloop/middleware"
)

// Three lines: a fake issuer, the middleware that trusts it, a request with its
// token.
func TestAliceSeesHerOrders(t *testing.T) {
	fake := issuertest.New(t, issuertest.Config{})
	auth := must(middleware.New(middleware.Config{Keys: middleware.LocalJWKS(fake.JWKS), Issuer: fake.Issuer(), Audience: []string{fake.Audience()}}))
	r := httptest.NewRequest("GET", "/orders", nil)
	r.Header.Set("Authorization", "Bearer "+fake.Token("alice"))

	w := httptest.NewRecorder()
	handlertest.Orders(auth).ServeHTTP(w, r)
	if w.Code != 200 || w.Body.String() != "the orders of alice\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
