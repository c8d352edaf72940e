package main

import (
	"context"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// A bearer gives calls the access token of a session (credentials.PerRPCCredentials).
type bearer struct {
	session *refresher.Transport

	// InsecureAllowPlaintext allows connections without TLS, on which everybody
	// on the way can read the token.
	InsecureAllowPlaintext bool
}

func (b bearer) RequireTransportSecurity() bool { return !b.InsecureAllowPlaintext }

// GetRequestMetadata returns the token, after having it renewed if it is about to
// expire. Calls that come together wait for one refresh.
func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	tokens, ok := b.session.Tokens()
	if !ok || !tokens.Expiry.IsZero() && time.Until(tokens.Expiry) < 10*time.Second {
		if err := b.session.Refresh(ctx); err != nil {
			code := codes.Unauthenticated // the user must log in
			if jwterrors.ReasonOf(err).Action() == jwterrors.ActionRetry {
				code = codes.Unavailable
			}
			return nil, status.Error(code, err.Error())
		}
		tokens, _ = b.session.Tokens()
	}
	return map[string]string{"authorization": "Bearer " + tokens.AccessToken}, nil
}

// retry calls once more with a new token if that is what the server's reason asks
// for: a revoked token, for example, has not expired.
func (b bearer) retry(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := call(ctx, method, req, reply, conn, opts...)
	if reasonOf(err).Action() != jwterrors.ActionRefresh || b.session.Refresh(ctx) != nil {
		return err
	}
	return call(ctx, method, req, reply, conn, opts...)
}

// reasonOf reads back what refusal wrote. It is "" for any other error.
func reasonOf(err error) jwterrors.Reason {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == domain {
			return jwterrors.Reason(info.Reason)
		}
	}
	return ""
}
