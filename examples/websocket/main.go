// Websocket protects a WebSocket and follows it: the handshake is an ordinary
// request, in which both sides have what they have elsewhere. What there is to see
// is in feed.go, the server's side, and in watch.go.
//
//	go run ./examples/websocket
//
// It starts an issuer, the service and its client, and ends after ten seconds.
//
// A browser can give a handshake no Authorization. For browsers there is
// middleware.Config.TokenCookie, and Accept looks at the Origin, so that another site's
// page does not get in with that cookie.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/tokenloop/tokenloop/examples/internal/loopback"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

func main() {
	issuer := loopback.Issuer() // in real life somewhere else
	auth := must(middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuer+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}), // on loopback
		Issuer: issuer, Audience: []string{"api"},
	}))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	go func() { log.Print(http.Serve(listener, auth.Handler(feed{auth, time.Second}))) }()

	service := "http://" + listener.Addr().String()
	session := must(refresher.New(refresher.Config{AuthURL: issuer + "/auth", Origins: []string{service}, InsecureAllowHTTP: true}))
	defer session.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := session.Login(ctx, refresher.Credentials{Username: "alice", Password: "correct horse battery staple"}); err != nil {
		log.Fatal(err)
	}
	w := watcher{client: &http.Client{Transport: session}, url: service, pause: time.Second}
	if err := w.watch(ctx, func(order string) { fmt.Println(order) }); !errors.Is(err, context.DeadlineExceeded) {
		log.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
