// Otel measures a middleware with OpenTelemetry: how often tokens are accepted
// and refused, why, and how long that takes. What there is to see is in
// observer.go. The metrics go to standard output every ten seconds.
//
//	go run ./examples/server    # the issuer, on 127.0.0.1:8080
//	go run ./examples/otel      # this service, on 127.0.0.1:8081
//
//	curl -s 127.0.0.1:8080/auth/login -H 'Content-Type: application/json' -d '{"username":"alice","password":"correct horse battery staple"}'
//	curl -i 127.0.0.1:8081/orders/7 -H "Authorization: Bearer $access_token"
package main

import (
	"fmt"
	"log"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

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
	const issuer = "http://127.0.0.1:8080"
	auth := must(middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuer+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}), // on loopback
		Issuer: issuer, Audience: []string{"api"},
		Observer: must(newObserver(provider)),
	}))
	log.Fatal(http.ListenAndServe("127.0.0.1:8081", newHandler(auth)))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
