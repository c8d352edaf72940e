package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"
)

// options are the flags of the server.
type options struct {
	addr, store, alg, issuer, audience   string
	secretFile, keyFile, masterKeyFile   string
	accessTTL, refreshTTL, grace, leeway time.Duration
	clockOffset, transferAge             time.Duration
	dpop                                 string
	dpopNonce                            bool
	trust                                []trusted
	inspect, debug                       bool
	browser, unlimited                   bool
	origins                              []string
}

// trusted is another issuer whose tokens the API accepts.
type trusted struct{ issuer, jwks, audience, alg string }

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	flags.StringVar(&o.store, "store", "", "where sessions and users live: memory:, sqlite:FILE, postgres://..., mysql://... or redis://... (default: a SQLite file of this run)")
	flags.StringVar(&o.alg, "alg", "ES256", "signing algorithm: HS256, RS256, ES256 or EdDSA")
	flags.StringVar(&o.issuer, "issuer", "", "issuer URL (default: this server's own)")
	flags.StringVar(&o.audience, "audience", "api", "audience of the access tokens")
	flags.StringVar(&o.secretFile, "secret-file", "", "the HS256 secret (default: generated for this run)")
	flags.StringVar(&o.keyFile, "key-file", "", "a PKCS#8 signing key in PEM, read again at SIGHUP (default: generated for this run)")
	flags.StringVar(&o.masterKeyFile, "master-key-file", "", "32 random bytes for refresh tokens (default: kept beside the SQLite file, else generated for this run)")
	flags.DurationVar(&o.accessTTL, "access-ttl", 15*time.Minute, "lifetime of an access token")
	flags.DurationVar(&o.refreshTTL, "refresh-ttl", 720*time.Hour, "lifetime of a session")
	flags.DurationVar(&o.grace, "grace", 30*time.Second, "how long a rotated refresh token still answers; 0 is strict")
	flags.DurationVar(&o.leeway, "leeway", 30*time.Second, "clock skew that verification tolerates")
	flags.DurationVar(&o.clockOffset, "clock-offset", 0, "shift this server's clock")
	flags.StringVar(&o.dpop, "dpop", dpopAllowed, "tokens that are bound to a key of the client (RFC 9449): off, allowed or required; proofs name the host of -issuer")
	flags.BoolVar(&o.dpopNonce, "dpop-nonce", false, "have proofs carry a nonce of the server")
	flags.DurationVar(&o.transferAge, "transfer-age", 5*time.Minute, "how long ago the login may be for GET /api/transfer (RFC 9470)")
	flags.BoolVar(&o.inspect, "inspect", false, "serve /inspect, a page that explains tokens; for development, on a loopback -addr only")
	flags.BoolVar(&o.debug, "debug", false, "serve /debug/runtime, the memory and the goroutines of the process; for development, on a loopback -addr only")
	flags.BoolVar(&o.browser, "browser", false, "keep refresh tokens in a cookie instead of the body")
	flags.Func("origin", "let the pages of this origin use the issuer, such as http://localhost:5173 (repeatable)", func(s string) error {
		o.origins = append(o.origins, s)
		return nil
	})
	flags.BoolVar(&o.unlimited, "insecure-no-limits", false, "let everybody try as many logins as they like; for tests")
	flags.Func("trust", "accept another issuer: issuer=URL,jwks=URL,audience=A,alg=RS256 (repeatable)", func(s string) error {
		t, err := parseTrust(s)
		o.trust = append(o.trust, t)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.dpop != dpopOff && o.dpop != dpopAllowed && o.dpop != dpopRequired {
		return o, fmt.Errorf("-dpop is off, allowed or required, and not %q", o.dpop)
	}
	if o.dpopNonce && o.dpop == dpopOff {
		return o, errors.New("-dpop-nonce is for proofs, and -dpop is off")
	}
	if o.transferAge <= 0 {
		return o, errors.New("-transfer-age is more than 0")
	}
	if (o.inspect || o.debug) && !isLoopback(o.addr) {
		return o, fmt.Errorf("-inspect and -debug are for development: -addr %q is no loopback address", o.addr)
	}
	return o, nil
}

func parseTrust(s string) (trusted, error) {
	t := trusted{alg: "RS256"}
	fields := map[string]*string{"issuer": &t.issuer, "jwks": &t.jwks, "audience": &t.audience, "alg": &t.alg}
	for part := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(part, "=")
		field := fields[name]
		if !ok || field == nil {
			return t, fmt.Errorf("%q is not one of issuer=, jwks=, audience= and alg=", part)
		}
		*field = value
	}
	if t.issuer == "" || t.jwks == "" || t.audience == "" {
		return t, errors.New("issuer=, jwks= and audience= are required")
	}
	return t, nil
}

// orNegative turns the 0 of a flag, which means none, into the negative value
// that means none in a Config, where 0 means the default.
func orNegative(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
