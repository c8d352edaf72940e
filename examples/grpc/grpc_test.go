package main

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// dial returns a connection to a new server for tokens of iss. What is behind the
// guard counts in ran.
func dial(t *testing.T, iss *exampletest.Issuer, ran *atomic.Int64, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(iss.Auth,
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			ran.Add(1)
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			ran.Add(1)
			return next(srv, s)
		}))
	go func() { _ = server.Serve(listener) }() // until Stop
	t.Cleanup(server.Stop)
	// Without TLS: nobody is in between on loopback, and a certificate would be
	// about something else than this test.
	conn, err := grpc.NewClient(listener.Addr().String(), append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// call calls a method of the service, and returns its first answer.
func call(ctx context.Context, conn *grpc.ClientConn, method string) (string, error) {
	var answer wrapperspb.StringValue
	if method != "Watch" {
		err := conn.Invoke(ctx, "/orders.Orders/"+method, wrapperspb.String("7"), &answer)
		return answer.Value, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := watch(ctx, conn)
	if err == nil {
		err = stream.RecvMsg(&answer)
	}
	return answer.Value, err
}

func watch(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	stream, err := conn.NewStream(ctx, &ordersDesc.Streams[0], "/orders.Orders/Watch")
	if err == nil {
		err = errors.Join(stream.SendMsg(wrapperspb.String("7")), stream.CloseSend())
	}
	return stream, err
}

func TestTheGuardJudgesCallsAndStreamsAlike(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	var ran atomic.Int64
	conn := dial(t, iss, &ran)
	reader := "Bearer " + iss.Token(t, "api:read", time.Hour)
	admin := "bearer " + iss.Token(t, "admin", time.Hour)
	old := "Bearer " + iss.Token(t, "api:read", -time.Hour)

	for _, tt := range []struct {
		name           string
		method         string
		authorizations []string
		code           codes.Code
		reason         jwterrors.Reason
		answer         string
	}{
		{"a good token", "Get", []string{reader}, codes.OK, "", "order 7 of alice"},
		{"a good token for a stream", "Watch", []string{reader}, codes.OK, "", "order 7 of alice"},
		{"the scheme in lower case", "Delete", []string{admin}, codes.OK, "", "order 7 of alice is gone"},
		{"no token", "Get", nil, codes.Unauthenticated, jwterrors.TokenMissing, ""},
		{"no token for a stream", "Watch", nil, codes.Unauthenticated, jwterrors.TokenMissing, ""},
		{"an empty value", "Get", []string{""}, codes.Unauthenticated, jwterrors.TokenMissing, ""},
		{"another scheme", "Get", []string{"Basic YTpi"}, codes.Unauthenticated, jwterrors.TokenMissing, ""},
		{"a token without a scheme", "Get", []string{strings.TrimPrefix(reader, "Bearer ")}, codes.Unauthenticated, jwterrors.TokenMissing, ""},
		{"a scheme without a token", "Get", []string{"Bearer"}, codes.Unauthenticated, jwterrors.TokenFormatInvalid, ""},
		{"two tokens in one value", "Get", []string{reader + ", " + reader}, codes.Unauthenticated, jwterrors.TokenFormatInvalid, ""},
		{"two values", "Get", []string{reader, reader}, codes.InvalidArgument, jwterrors.RequestInvalid, ""},
		{"two values for a stream", "Watch", []string{reader, "Basic YTpi"}, codes.InvalidArgument, jwterrors.RequestInvalid, ""},
		{"an expired token", "Get", []string{old}, codes.Unauthenticated, jwterrors.TokenExpired, ""},
		{"an expired token for a stream", "Watch", []string{old}, codes.Unauthenticated, jwterrors.TokenExpired, ""},
		{"a token without the scope", "Delete", []string{reader}, codes.PermissionDenied, jwterrors.ScopeInsufficient, ""},
		{"a token without the scope for a stream", "Watch", []string{admin}, codes.PermissionDenied, jwterrors.ScopeInsufficient, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := ran.Load()
			ctx := t.Context()
			for _, value := range tt.authorizations {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
			}
			answer, err := call(ctx, conn, tt.method)
			want(t, err, tt.code, tt.reason)
			if answer != tt.answer {
				t.Errorf("answer %q, want %q", answer, tt.answer)
			}
			if passed := ran.Load() != before; passed != (tt.code == codes.OK) {
				t.Errorf("what is behind the guard ran: %v", passed)
			}
		})
	}
}

// want checks what a client learns: the code, the reason, and nothing of the cause.
func want(t *testing.T, err error, code codes.Code, reason jwterrors.Reason) {
	t.Helper()
	if s := status.Convert(err); s.Code() != code || reasonOf(err) != reason || s.Message() != reason.Description() {
		t.Errorf("got %v with the reason %q, want %v with %q", err, reasonOf(err), code, reason)
	}
}

func TestMethodsThatNobodyListedAreClosed(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	conn := dial(t, iss, new(atomic.Int64))
	client := healthpb.NewHealthClient(conn)

	_, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{})
	want(t, err, codes.OK, "")

	_, err = client.List(t.Context(), &healthpb.HealthListRequest{})
	want(t, err, codes.Unauthenticated, jwterrors.TokenMissing)

	for _, scope := range []any{"api:read admin", []string{"", "admin"}} { // the second has a scope without a name
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+iss.Token(t, scope, time.Hour))
		_, err = client.List(ctx, &healthpb.HealthListRequest{})
		want(t, err, codes.PermissionDenied, jwterrors.ScopeInsufficient)
	}
}

// While keys cannot be had, nothing is known about the token: a client that took
// this for Unauthenticated would throw its session away.
func TestAnOutageOfTheIssuerIsUnavailable(t *testing.T) {
	down := httptest.NewServer(nil)
	down.Close()
	iss := exampletest.NewIssuer(t)
	var err error
	iss.Auth, err = middleware.New(middleware.Config{
		Keys:   middleware.JWKS(down.URL, middleware.JWKSOptions{InsecureAllowHTTP: true}),
		Issuer: "https://id.example.com", Audience: []string{"api"},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, iss, new(atomic.Int64))
	// A token of the algorithm that a JWKS can have: {"alg":"ES256","kid":"k"}.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.AAAA")
	_, err = call(ctx, conn, "Get")
	want(t, err, codes.Unavailable, jwterrors.KeysUnavailable)
}

// In memory, so that the clock is the bubble's.
func TestAStreamEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := exampletest.NewIssuer(t)
		listener := bufconn.Listen(1 << 16)
		server := newServer(iss.Auth)
		go func() { _ = server.Serve(listener) }() // until Stop
		defer server.Stop()
		conn, err := grpc.NewClient("passthrough:memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()

		start := time.Now()
		stream, err := watch(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+iss.Token(t, "api:read", time.Minute)), conn)
		if err != nil {
			t.Fatal(err)
		}
		var order wrapperspb.StringValue
		if err := stream.RecvMsg(&order); err != nil || order.Value != "order 7 of alice" {
			t.Fatalf("got %q, %v", order.Value, err)
		}
		want(t, stream.RecvMsg(&order), codes.Unauthenticated, jwterrors.TokenExpired)
		if lasted := time.Since(start); lasted != time.Minute+leeway {
			t.Errorf("the stream ended after %v, want a minute and the leeway", lasted)
		}
	})
}

// A source gives a session its next tokens.
type source func() (refresher.Tokens, error)

func (s source) Refresh(context.Context, refresher.Tokens) (refresher.Tokens, error) { return s() }

// session begins with token, and gets others from next.
func session(t *testing.T, token string, next source) *refresher.Transport {
	t.Helper()
	s, err := refresher.New(refresher.Config{
		Origins: []string{"https://api.example.com"}, Source: next, MaxRetries: refresher.NoRetries, RefreshWindow: refresher.NoRefreshWindow,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.SetTokens(t.Context(), refresher.Tokens{AccessToken: token}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheClientRenewsItsToken(t *testing.T) {
	iss, another := exampletest.NewIssuer(t), exampletest.NewIssuer(t)
	for _, tt := range []struct {
		name      string
		token     string
		method    string
		refreshes int64
		code      codes.Code
		reason    jwterrors.Reason
	}{
		{"not while it is good", iss.Token(t, "api:read", time.Hour), "Get", 0, codes.OK, ""},
		{"when it has expired", iss.Token(t, "api:read", -time.Second), "Get", 1, codes.OK, ""},
		{"when it has expired, for a stream", iss.Token(t, "api:read", -time.Second), "Watch", 1, codes.OK, ""},
		{"when the server asks for it", another.Token(t, "api:read", time.Hour), "Get", 1, codes.OK, ""},
		{"not when that cannot help", iss.Token(t, "api:read", time.Hour), "Delete", 0, codes.PermissionDenied, jwterrors.ScopeInsufficient},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var refreshes, ran atomic.Int64
			b := bearer{InsecureAllowPlaintext: true, session: session(t, tt.token, func() (refresher.Tokens, error) {
				refreshes.Add(1)
				return refresher.Tokens{AccessToken: iss.Token(t, "api:read", time.Hour)}, nil
			})}
			conn := dial(t, iss, &ran, grpc.WithPerRPCCredentials(b), grpc.WithUnaryInterceptor(b.unary))
			_, err := call(t.Context(), conn, tt.method)
			want(t, err, tt.code, tt.reason)
			if refreshes.Load() != tt.refreshes {
				t.Errorf("%d refreshes, want %d", refreshes.Load(), tt.refreshes)
			}
		})
	}
}

func TestACallThatGetsNoTokenSaysWhatToDo(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	for _, tt := range []struct {
		name string
		err  error
		code codes.Code
	}{
		{"the issuer is down: try later", errors.New("no route to host"), codes.Unavailable},
		{"the session is over: log in", jwterrors.SessionRevoked, codes.Unauthenticated},
		{"a person must mend the client", jwterrors.ClientInvalid, codes.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ran atomic.Int64
			b := bearer{InsecureAllowPlaintext: true, session: session(t, iss.Token(t, "api:read", -time.Second), func() (refresher.Tokens, error) {
				return refresher.Tokens{}, tt.err
			})}
			conn := dial(t, iss, &ran, grpc.WithPerRPCCredentials(b), grpc.WithUnaryInterceptor(b.unary))
			_, err := call(t.Context(), conn, "Get")
			if status.Code(err) != tt.code || ran.Load() != 0 {
				t.Errorf("got %v, want %v; the handler ran %d times", err, tt.code, ran.Load())
			}
		})
	}
}

// Calls that are refused together cost one refresh, and are all answered: also the
// second time, since the token of the first was accepted.
func TestARefusalCostsOneRefresh(t *testing.T) {
	var revoked sync.Map // tokens
	iss := exampletest.NewIssuer(t, func(c *middleware.Config) {
		c.Validate = func(_ context.Context, claims *middleware.Claims) error {
			if _, ok := revoked.Load(claims.ExpiresAt.Unix()); ok {
				return jwterrors.TokenInvalidated
			}
			return nil
		}
	})
	life := time.Hour
	next := func() string {
		life += time.Minute
		return iss.Token(t, "api:read", life)
	}
	var ran, refreshes atomic.Int64
	b := bearer{InsecureAllowPlaintext: true, session: session(t, next(), func() (refresher.Tokens, error) {
		refreshes.Add(1)
		return refresher.Tokens{AccessToken: next()}, nil
	})}
	conn := dial(t, iss, &ran, grpc.WithPerRPCCredentials(b), grpc.WithUnaryInterceptor(b.unary))
	for n := range int64(3) {
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if answer, err := call(t.Context(), conn, "Get"); err != nil || answer != "order 7 of alice" {
					t.Errorf("got %q, %v", answer, err)
				}
			})
		}
		wg.Wait()
		if refreshes.Load() != n || ran.Load() != 100*(n+1) {
			t.Errorf("%d refreshes and %d calls, want %d and %d", refreshes.Load(), ran.Load(), n, 100*(n+1))
		}
		tokens, _ := b.session.Tokens()
		revoked.Store(tokens.Expiry.Unix(), true)
	}
}

// A server that takes no token at all costs one refresh, not one for each call,
// also when another accepts them.
func TestAServerThatRefusesEverythingCostsOneRefresh(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	var ran, refreshes atomic.Int64
	b := bearer{InsecureAllowPlaintext: true, session: session(t, iss.Token(t, "api:read", time.Hour), func() (refresher.Tokens, error) {
		refreshes.Add(1)
		return refresher.Tokens{AccessToken: iss.Token(t, "api:read", time.Hour)}, nil
	})}
	options := []grpc.DialOption{grpc.WithPerRPCCredentials(b), grpc.WithUnaryInterceptor(b.unary)}
	good, bad := dial(t, iss, &ran, options...), dial(t, exampletest.NewIssuer(t), &ran, options...)
	for range 10 {
		_, err := call(t.Context(), good, "Get")
		want(t, err, codes.OK, "")
		_, err = call(t.Context(), bad, "Get")
		want(t, err, codes.Unauthenticated, jwterrors.TokenSignatureInvalid)
	}
	if refreshes.Load() != 1 {
		t.Errorf("%d refreshes, want 1", refreshes.Load())
	}
}

// What was sent on a stream is gone, so that it fails; the next one has a new token.
func TestAStreamThatWasRefusedIsFollowedByAGoodOne(t *testing.T) {
	iss, another := exampletest.NewIssuer(t), exampletest.NewIssuer(t)
	var ran, refreshes atomic.Int64
	b := bearer{InsecureAllowPlaintext: true, session: session(t, another.Token(t, "api:read", time.Hour), func() (refresher.Tokens, error) {
		refreshes.Add(1)
		return refresher.Tokens{AccessToken: iss.Token(t, "api:read", time.Hour)}, nil
	})}
	conn := dial(t, iss, &ran, grpc.WithPerRPCCredentials(b), grpc.WithStreamInterceptor(b.stream))
	_, err := call(t.Context(), conn, "Watch")
	want(t, err, codes.Unauthenticated, jwterrors.TokenSignatureInvalid)
	for deadline := time.Now().Add(10 * time.Second); refreshes.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // nobody waits for it
	}
	answer, err := call(t.Context(), conn, "Watch")
	if err != nil || answer != "order 7 of alice" {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestNoTokenLeavesWithoutTLSUnlessAllowed(t *testing.T) {
	b := bearer{session: session(t, exampletest.NewIssuer(t).Token(t, "", time.Hour), nil)}
	conn, err := grpc.NewClient("127.0.0.1:1", grpc.WithPerRPCCredentials(b), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		_ = conn.Close()
		t.Fatal("a connection without TLS was allowed")
	}
}
