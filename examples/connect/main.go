// Connect protects the procedures of a service of connectrpc.com/connect, and
// calls them.
//
// Handler stands around connect's handlers, and not an interceptor inside: a
// request that is refused is refused before its message is read, and what guards
// net/http guards streams, too, and all three protocols. What an interceptor would
// do better, to answer in the protocol of the client, is done by respond.
//
//	go run ./examples/connect
//
// It starts an issuer, the service and its client, and ends by itself.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tokenloop/tokenloop/examples/internal/loopback"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// newHandler mounts each procedure with the scope that it asks for. One that is
// not listed does not exist.
func newHandler(auth *middleware.Middleware, options ...connect.HandlerOption) http.Handler {
	service := ordersHandler(options...)
	mux := http.NewServeMux()
	for procedure, scope := range map[string]string{
		"/orders.Orders/Get":    "api:read",
		"/orders.Orders/Watch":  "api:read",
		"/orders.Orders/Delete": "admin",
	} {
		mux.Handle(procedure, auth.Handler(middleware.RequireScopes(scope)(service)))
	}
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	return mux
}

func main() {
	issuer := loopback.Issuer() // in real life somewhere else
	auth := must(middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuer+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}), // on loopback
		Issuer: issuer, Audience: []string{"api"},
		Respond: respond,
	}))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	go func() { log.Fatal(http.Serve(listener, newHandler(auth))) }()

	// In Connect's own protocol a refusal is a 401, so that the session's client
	// refreshes and calls again by itself. In gRPC's it is a 200, and the caller
	// has to look at reasonOf.
	url := "http://" + listener.Addr().String()
	session := must(refresher.New(refresher.Config{AuthURL: issuer + "/auth", Origins: []string{url}, InsecureAllowHTTP: true})) // on loopback
	defer session.Close()
	ctx := context.Background()
	if err := session.Login(ctx, refresher.Credentials{Username: "alice", Password: "correct horse battery staple"}); err != nil {
		log.Fatal(err)
	}
	for _, procedure := range []string{"/orders.Orders/Get", "/orders.Orders/Delete"} {
		client := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](session.Client(), url+procedure)
		answer, err := client.CallUnary(ctx, connect.NewRequest(wrapperspb.String("7")))
		if err != nil {
			fmt.Println(procedure, err, reasonOf(err))
			continue
		}
		fmt.Println(procedure, answer.Msg.Value)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
