// Package handlertest shows how to test handlers that access tokens protect. The
// service is an ordinary one; its tests are the example.
package handlertest

import (
	"fmt"
	"net/http"

	"github.com/tokenloop/tokenloop/middleware"
)

// Orders is the service. Its program makes auth of the issuer's keys, and its
// tests make one of a fake issuer's.
func Orders(auth *middleware.Middleware) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprintf(w, "the orders of %s\n", claims.Subject)
	})
	mux.Handle("DELETE /orders", middleware.RequireScopes("orders:write")(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })))
	return auth.Handler(mux)
}
