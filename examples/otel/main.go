// Otel measures a middleware with OpenTelemetry: how often tokens are accepted
// and refused, why, and how long that takes. What there is to see is in
// observer.go. The metrics go to standard output every ten seconds.
//
//	go run ./examples/otel
//
// It serves on 127.0.0.1:8081 until it is interrupted, and says what to try. The issuer
// beside it is for the example: yours is somewhere else.
package main

import (
	"fmt"
	"log"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/tokenloop/tokenloop/examples/internal/loopback"
	"github.com/tokenloop/tokenloop/middleware"
)

func newHandler(auth *middleware.Middleware) http.Handler {
	mux := http.NewServeMux()
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprintf(w, "order %s of %s", r.PathValue("id"), claims.Subject)
	})
	mux.Handle("GET /orders/{id}", auth.Handler(middleware.RequireScopes("api:read")(answer)))
	mux.Handle("DELETE /orders/{id}", auth.Handler(middleware.RequireScopes("admin")(answer)))
	return mux
}

func main() {
	exporter := must(stdoutmetric.New(stdoutmetric.WithPrettyPrint()))
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithInterval(10*time.Second))))
	issuer := loopback.Issuer()
	auth := must(middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuer+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}), // on loopback
		Issuer: issuer, Audience: []string{"api"},
		Observer: must(newObserver(provider)),
	}))
	loopback.Serve(issuer, newHandler(auth))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
