// Command explain says of a token what every check of the middleware says, and
// goes on after the first that fails. It is for developers and support.
//
//	go run ./examples/server &
//	go run ./examples/explain TOKEN      a token of that server
//	go run ./examples/explain - <FILE    the same, and not in the shell's history
//
// The keys are found from -issuer: by its metadata, or, for plain HTTP, which is
// for loopback addresses only, at /.well-known/jwks.json, where the reference
// server has them. -jwks says where else they are, and -secret-file holds the
// HS256 secret. Whether a token was revoked, only its server knows.
//
// The table goes to the standard output, and why keys cannot be had to the
// standard error. The exit status is 0 for a token that is accepted, 1 for one
// that is refused, and 2 for flags that cannot work; under "go run" it is 1 for
// both of these.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/middleware"
)

// The exit statuses.
const (
	accepted = 0
	refused  = 1
	misused  = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, stdin, stderr)
	if errors.Is(err, errFlags) {
		return misused // the flags have said what is wrong
	}
	var auth *middleware.Middleware
	if err == nil {
		auth, err = newAuth(o, slog.New(slog.NewTextHandler(stderr, nil)))
	}
	if err != nil {
		fmt.Fprintln(stderr, "explain:", err)
		return misused
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	e := auth.Explain(ctx, o.token)
	fmt.Fprint(stdout, e)
	if e.Reason != "" {
		return refused
	}
	return accepted
}

// options are the flags and the token.
type options struct {
	issuer, audience, jwks, secretFile string
	leeway                             time.Duration
	token                              string
}

// errFlags says that there is no more to say.
var errFlags = errors.New("the flags are wrong")

// maxToken limits what is read of the standard input, in bytes. The middleware
// reads far less.
const maxToken = 1 << 20

func parse(args []string, stdin io.Reader, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("explain", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: explain [flags] TOKEN, or - to read it from the standard input")
		flags.PrintDefaults()
	}
	flags.StringVar(&o.issuer, "issuer", "http://127.0.0.1:8080", "`URL` of who must have issued the token, from which its keys are found")
	flags.StringVar(&o.audience, "audience", "api", "whom the token must be for")
	flags.StringVar(&o.jwks, "jwks", "", "`URL` of the JWK Set (default: found from -issuer)")
	flags.StringVar(&o.secretFile, "secret-file", "", "`FILE` with the HS256 secret, in place of public keys")
	flags.DurationVar(&o.leeway, "leeway", 30*time.Second, "clock skew that is tolerated")
	if flags.Parse(args) != nil {
		return o, errFlags
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return o, errFlags
	}
	if o.jwks != "" && o.secretFile != "" {
		return o, errors.New("-jwks and -secret-file exclude each other")
	}
	if o.token = flags.Arg(0); o.token == "-" {
		text, err := io.ReadAll(io.LimitReader(stdin, maxToken+1))
		if err != nil {
			return o, fmt.Errorf("read the standard input: %w", err)
		}
		o.token = strings.TrimSpace(string(text))
	}
	return o, nil
}

// newAuth returns the Middleware of the flags.
func newAuth(o options, log *slog.Logger) (*middleware.Middleware, error) {
	keys, err := keySource(o, log)
	if err != nil {
		return nil, err
	}
	if o.leeway == 0 {
		o.leeway = middleware.NoLeeway
	}
	return middleware.New(middleware.Config{
		Keys: keys, Issuer: o.issuer, Audience: []string{o.audience}, Leeway: o.leeway, CacheBytes: middleware.NoCache,
	})
}

func keySource(o options, log *slog.Logger) (middleware.KeySource, error) {
	if o.secretFile != "" {
		secret, err := os.ReadFile(o.secretFile)
		if err != nil {
			return nil, fmt.Errorf("-secret-file: %w", err)
		}
		return middleware.HS256(secret), nil
	}
	name, where := "-issuer", o.issuer
	if o.jwks != "" {
		name, where = "-jwks", o.jwks
	}
	u, err := url.Parse(where)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%s is not a URL", name)
	}
	local := u.Scheme == "http"
	if local && !isLoopback(u.Hostname()) {
		return nil, fmt.Errorf("%s: plain HTTP is for loopback addresses only, use https", name)
	}
	options := middleware.JWKSOptions{InsecureAllowHTTP: local, Logger: log}
	switch {
	case o.jwks != "":
		return middleware.JWKS(o.jwks, options), nil
	case local:
		return middleware.JWKS(strings.TrimRight(o.issuer, "/")+"/.well-known/jwks.json", options), nil
	default:
		return middleware.Discover(o.issuer, options), nil
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
