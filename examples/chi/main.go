// Chi protects routes of github.com/go-chi/chi. Its middleware has the form of
// net/http, so there is nothing to adapt.
//
//	go run ./examples/chi
//
// It serves on 127.0.0.1:8081 until it is interrupted, and says what to try. The issuer
// beside it is for the example: yours is somewhere else.
package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/tokenloop/tokenloop/examples/internal/loopback"
	"github.com/tokenloop/tokenloop/middleware"
)

func router(auth *middleware.Middleware) *chi.Mux {
	r := chi.NewRouter()
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })

	// A group, since Use on the router itself would close /healthz as well. Its
	// middleware runs in the order of these lines: auth first, since the guards
	// look at the claims that it leaves in the request's context.
	r.Group(func(r chi.Router) {
		r.Use(auth.Handler)
		r.With(middleware.RequireScopes("api:read")).Get("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
			claims, _ := middleware.FromContext(r.Context())
			fmt.Fprintf(w, "order %s of %s", chi.URLParam(r, "id"), claims.Subject)
		})
		r.With(middleware.RequireScopes("admin")).Delete("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
			claims, _ := middleware.FromContext(r.Context())
			fmt.Fprintf(w, "order %s of %s is gone", chi.URLParam(r, "id"), claims.Subject)
		})
	})
	return r
}

func main() {
	issuer := loopback.Issuer()
	auth, err := middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuer+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}), // on loopback
		Issuer: issuer, Audience: []string{"api"},
	})
	if err != nil {
		log.Fatal(err)
	}
	loopback.Serve(issuer, router(auth))
}
