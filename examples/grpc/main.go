// Grpc protects the methods of a gRPC service and calls them. What there is to
// see is in guard.go, the server's side, and in client.go.
//
//	go run ./examples/grpc
//
// It starts an issuer, the service and its client, and ends by itself.
package main

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tokenloop/tokenloop/examples/internal/loopback"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

func newServer(auth *middleware.Middleware, more ...grpc.ServerOption) *grpc.Server {
	g := guard{
		auth:   auth,
		public: []string{"/grpc.health.v1.Health/Check"}, // the load balancer has no token
		scopes: map[string]string{
			"/orders.Orders/Get":    "api:read",
			"/orders.Orders/Watch":  "api:read",
			"/orders.Orders/Delete": "admin",
		},
	}
	// First of all interceptors, so that none of the others works for nobody.
	first := []grpc.ServerOption{grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream)}
	server := grpc.NewServer(append(first, more...)...)
	server.RegisterService(&ordersDesc, orders{})
	healthpb.RegisterHealthServer(server, health.NewServer())
	return server
}

func main() {
	issuer := loopback.Issuer() // in real life somewhere else
	auth := must(middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuer+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}), // on loopback
		Issuer: issuer, Audience: []string{"api"},
	}))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	server := newServer(auth)
	defer server.Stop()
	go func() { log.Print(server.Serve(listener)) }()

	// Origins are those of HTTP requests, which this session is not used for: the
	// connection below is the one place that gets its tokens.
	session := must(refresher.New(refresher.Config{AuthURL: issuer + "/auth", Origins: []string{issuer}, InsecureAllowHTTP: true}))
	defer session.Close()
	ctx := context.Background()
	if err := session.Login(ctx, refresher.Credentials{Username: "alice", Password: "correct horse battery staple"}); err != nil {
		log.Fatal(err)
	}
	b := bearer{session: session, InsecureAllowPlaintext: true} // on loopback
	conn := must(grpc.NewClient(listener.Addr().String(), grpc.WithPerRPCCredentials(b),
		grpc.WithUnaryInterceptor(b.unary), grpc.WithStreamInterceptor(b.stream), grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer conn.Close()

	for _, method := range []string{"Get", "Delete"} {
		var answer wrapperspb.StringValue
		err := conn.Invoke(ctx, "/orders.Orders/"+method, wrapperspb.String("7"), &answer)
		fmt.Printf("%s: %q %v %s\n", method, answer.Value, err, reasonOf(err))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
