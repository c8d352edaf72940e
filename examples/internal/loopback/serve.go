package loopback

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"
)

// Serve serves handler, which has GET /orders/{id} for the tokens of the issuer, on the
// address of the flag -addr until the program is interrupted. It says what to try.
func Serve(issuer string, handler http.Handler) {
	addr := flag.String("addr", "127.0.0.1:8081", "address to listen on; port 0 takes a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, os.Stdout, *addr, issuer, handler); err != nil {
		log.Fatal(err)
	}
}

// serve serves until ctx is done.
func serve(ctx context.Context, out io.Writer, addr, issuer string, handler http.Handler) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w: -addr 127.0.0.1:0 takes a port that is free", err)
	}
	url := "http://" + listener.Addr().String()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Fprintf(out, `listening on %s
Ctrl-C stops it. In another shell, alice logs in and asks for an order:

    token=$(curl -s %s/auth/login -H 'Content-Type: application/json' \
        -d '{"username":"alice","password":"%s"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    curl -i %s/orders/7 -H "Authorization: Bearer $token"

`, url, issuer, password, url)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
