package main

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// A guard lets calls through to the methods that their tokens are good for.
type guard struct {
	auth   *middleware.Middleware
	public []string          // the methods that ask for no token
	scopes map[string]string // the scope that each other method asks for; one that is not in it is closed
}

// leeway is that of auth: a token is good for so long after its "exp".
const leeway = 30 * time.Second

// check returns the context that a handler of the method gets.
func (g guard) check(ctx context.Context, method string) (context.Context, error) {
	if slices.Contains(g.public, method) {
		return ctx, nil
	}
	claims, err := g.verify(ctx)
	if scope, listed := g.scopes[method]; err == nil && (!listed || !claims.HasScope(scope)) {
		err = &jwterrors.Error{Reason: jwterrors.ScopeInsufficient, Identity: claims.Subject}
	}
	if err != nil {
		slog.InfoContext(ctx, "call refused", "method", method, "error", err) // the cause is for us alone
		return nil, refusal(err)
	}
	return middleware.NewContext(ctx, claims), nil
}

// verify reads what is an Authorization header in HTTP. Verify judges the token,
// and leaves to us that there is one and no more.
func (g guard) verify(ctx context.Context) (*middleware.Claims, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) > 1 {
		return nil, jwterrors.RequestInvalid // which of them counts must not be a matter of taste
	}
	scheme, token, _ := strings.Cut(strings.Join(values, ""), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return nil, jwterrors.TokenMissing
	}
	return g.auth.Verify(ctx, token)
}

func (g guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := g.check(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// stream is unary for streams, which end with their token: what was true when one
// was opened is not true for ever.
func (g guard) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := g.check(s.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	if claims, ok := middleware.FromContext(ctx); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, claims.ExpiresAt.Add(leeway), jwterrors.TokenExpired)
		defer cancel()
	}
	if err = next(srv, &guarded{s, ctx}); err != nil && context.Cause(ctx) == error(jwterrors.TokenExpired) {
		return refusal(jwterrors.TokenExpired)
	}
	return err
}

// A guarded stream has the context of the guard. Handlers that wait must look at it.
type guarded struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *guarded) Context() context.Context { return s.ctx }

// domain and the reason are what a client may switch on.
const domain = "tokenloop"

// refusal is the status of a reason, with the reason as a detail.
func refusal(err error) error {
	reason := jwterrors.ReasonOf(err)
	code := codes.Internal
	switch reason.Status() {
	case http.StatusBadRequest:
		code = codes.InvalidArgument
	case http.StatusUnauthorized:
		code = codes.Unauthenticated
	case http.StatusForbidden:
		code = codes.PermissionDenied
	case http.StatusTooManyRequests:
		code = codes.ResourceExhausted
	case http.StatusServiceUnavailable: // our trouble: the token may be good
		code = codes.Unavailable
	}
	s := status.New(code, reason.Description())
	if detailed, err := s.WithDetails(&errdetails.ErrorInfo{Reason: string(reason), Domain: domain}); err == nil {
		s = detailed
	}
	return s.Err()
}
