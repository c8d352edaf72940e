package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/middleware"
)

func TestRoutes(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	r := router(iss.Auth)
	var ran atomic.Int64
	r.Group(func(r chi.Router) {
		r.Use(iss.Auth.Handler, middleware.RequireScopes("admin"))
		r.Use(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ran.Add(1)
				next.ServeHTTP(w, r)
			})
		})
		r.HandleFunc(exampletest.Probe, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "probed") })
	})
	exampletest.Routes(t, iss, r, func() int { return int(ran.Load()) })
}
